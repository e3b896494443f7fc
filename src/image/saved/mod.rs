//! An image that comes as a stream of a tar, from an engine's `save` or on stdin: read once, each layer compressed and
//! hashed as it passes. What the registry has is passed over; no layer is kept as it came.

mod resolve;
mod stream;
mod v1;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::archive::normalize;
use super::buffers::Buffer;
use super::compression::{Compressor, ReadOrWrite};
use super::digest::{self, Hasher};
use super::layout::MAX_DOCUMENT;
use super::manifest::{LAYER_GZIP, LAYER_ZSTD};
use super::{Blob, BlobCache, BlobSource, Compression, Descriptor, config};
use crate::error::{Error, Result};
pub use stream::from_stdin;

/// Read at once.
const CHUNK: usize = 256 << 10;

/// No image has so many layers that its archive would have more members.
const MAX_MEMBERS: usize = 10_000;

/// What is looked for in a stream. By default all of it.
#[derive(Debug, Clone, Default)]
pub struct Sought {
    /// The digest of the image's config: with that and all of `missing`, the rest of the stream is not read.
    pub config: Option<String>,
    /// DiffIDs of all layers, lowest first, if they are known.
    pub diff_ids: Vec<String>,
    /// Those of layers that have to come.
    pub missing: HashSet<String>,
    /// Digests that need not be read, of layers as they are or compressed: they are where the image goes.
    pub passed: HashSet<String>,
}

/// A layer that came by.
#[derive(Debug, Clone)]
pub struct Layer {
    pub diff_id: String,
    pub blob: Blob,
}

/// What a stream held.
pub enum Found {
    /// The config and every layer that was missing; there may be more.
    Enough(Bytes),
    All(Saved),
}

/// All members of a stream that was read to its end.
pub struct Saved {
    /// As errors call it.
    name: String,
    members: HashMap<String, Member>,
    /// By diffID.
    plain: HashMap<String, Layer>,
    /// DiffIDs by the names of members, where something before them told.
    told: HashMap<String, String>,
    cache: BlobCache,
    compression: Compression,
    /// Where documents are; goes with the last of them.
    documents: TempDir,
}

enum Member {
    Document(std::path::PathBuf, u64),
    /// Compressed already.
    Packed(Descriptor, BlobSource),
    /// A layer as it is, and what it was compressed to.
    Plain(Layer, u64),
    /// Not read: its digest by its name, and its size.
    Passed(String, u64),
    Link(String),
}

/// Reads a stream until it has what is sought, else to its end. Each layer that is missing goes to `on_layer` at once.
/// Blocks.
///
/// # Errors
/// `Input` when this is no tar; `BuildOrPush` when it is cut short or a layer is not what its name says.
pub fn read(
    stream: impl Read,
    name: &str,
    sought: &Sought,
    cache: &BlobCache,
    compression: Compression,
    on_layer: &mut dyn FnMut(Layer),
) -> Result<Found> {
    let documents = tempfile::Builder::new()
        .prefix(".writing-")
        .tempdir_in(cache.folder())
        .map_err(|error| Error::build_or_push("cannot make a folder for the image's documents").cause(error))?;
    let cut = |error: io::Error| {
        Error::build_or_push(format!("{name} was cut short"))
            .cause(error)
            .hint("it is not there to its end: save it again")
    };
    let mut saved = Saved {
        name: name.to_owned(),
        members: HashMap::new(),
        plain: HashMap::new(),
        told: HashMap::new(),
        cache: cache.clone(),
        compression,
        documents,
    };
    let mut found_config = None;
    let mut missing = sought.missing.clone();
    let chain_ids = v1::chain_ids(&sought.diff_ids);
    let mut tar = tar::Archive::new(stream);
    for entry in tar.entries().map_err(cut)? {
        let mut entry = entry.map_err(|error| match saved.members.is_empty() {
            true => resolve::no_image(name).cause(error),
            false => cut(error),
        })?;
        let path = normalize(&String::from_utf8_lossy(&entry.path_bytes()));
        let kind = entry.header().entry_type();
        let link = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
        let member = match link {
            Some(target) if kind.is_symlink() => {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                Member::Link(normalize(&format!("{folder}/{target}")))
            }
            Some(target) if kind.is_hard_link() => Member::Link(normalize(&target)),
            _ if !kind.is_file() => continue,
            _ => {
                let size = entry.size();
                saved.member(&path, &mut entry, size, sought)?
            }
        };
        if let (Member::Document(text, _), Some(folder)) = (&member, path.strip_suffix("/json"))
            && !chain_ids.is_empty()
        {
            let text = std::fs::read(text).map_err(|error| cache.failed(error))?;
            if let Some(at) = v1::position(folder, &text, &chain_ids) {
                saved.told.insert(format!("{folder}/layer.tar"), sought.diff_ids[at].clone());
            }
        }
        match &member {
            Member::Document(path, _) if sought.config.is_some() && found_config.is_none() => {
                let text = std::fs::read(path).map_err(|error| cache.failed(error))?;
                // An image of docker's containerd store has a manifest's digest for its id.
                let is_config = |text: &Bytes| {
                    Some(digest::of(text)) == sought.config
                        && config::diff_ids(text).is_ok_and(|diff_ids| diff_ids == sought.diff_ids)
                };
                found_config = Some(Bytes::from(text)).filter(is_config);
            }
            Member::Plain(layer, _) if missing.remove(&layer.diff_id) => {
                want(&layer.blob);
                on_layer(layer.clone());
            }
            _ => {}
        }
        if let (Some(config), true) = (&found_config, missing.is_empty()) {
            return Ok(Found::Enough(config.clone()));
        }
        let member = saved.once(member);
        saved.members.insert(path, member);
        if saved.members.len() > MAX_MEMBERS {
            return Err(Error::input(format!("{name} has too many members to be an image"))
                .hint("it is to be what `docker save` writes, or an OCI layout in a tar"));
        }
    }
    Ok(Found::All(saved))
}

fn want(blob: &Blob) {
    if let BlobSource::Spooled(spool) = &blob.source {
        spool.wanted();
    }
}

impl Saved {
    /// Old dockers save a layer that an image has twice under two names.
    fn once(&mut self, member: Member) -> Member {
        let Member::Plain(layer, size) = member else { return member };
        let first = self.plain.entry(layer.diff_id.clone()).or_insert(layer);
        Member::Plain(first.clone(), size)
    }

    fn member(&self, path: &str, content: &mut dyn Read, size: u64, sought: &Sought) -> Result<Member> {
        let named = digest_in(path).or_else(|| self.told.get(path).cloned());
        if let Some(digest) = named.as_ref().filter(|digest| sought.passed.contains(*digest)) {
            return Ok(Member::Passed(digest.clone(), size));
        }
        let mut head = vec![0; 4];
        let read = fill(content, &mut head).map_err(|error| self.cut(path, error))?;
        head.truncate(read);
        if size <= MAX_DOCUMENT && matches!(head.first(), Some(b'{' | b'[' | b' ' | b'\n' | b'\t')) {
            content.read_to_end(&mut head).map_err(|error| self.cut(path, error))?;
            // A layer may begin so, too, but no tar is JSON.
            if serde_json::from_slice::<serde::de::IgnoredAny>(&head).is_ok() {
                return self.document(&head);
            }
        }
        let media_type = match head[..] {
            [0x1f, 0x8b, ..] => Some(LAYER_GZIP),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(LAYER_ZSTD),
            _ => None,
        };
        let mut content = io::Cursor::new(head).chain(content);
        let (found, member) = match media_type {
            Some(media_type) => self.packed(path, &mut content, size, media_type)?,
            None => self.plain(path, &mut content, size)?,
        };
        match named {
            Some(named) if named != found => Err(Error::build_or_push(format!("a layer of {} is damaged", self.name))
                .hint(format!("its name is `{named}`, and its content `{found}`: make the image again"))),
            _ => Ok(member),
        }
    }

    fn document(&self, text: &[u8]) -> Result<Member> {
        let mut file = tempfile::Builder::new()
            .prefix("document-")
            .tempfile_in(self.documents.path())
            .map_err(|error| self.cache.failed(error))?;
        file.write_all(text).map_err(|error| self.cache.failed(error))?;
        let (_, path) = file.keep().map_err(|error| self.cache.failed(error.error))?;
        Ok(Member::Document(path, text.len() as u64))
    }

    fn packed(&self, path: &str, content: &mut dyn Read, size: u64, media_type: &str) -> Result<(String, Member)> {
        let mut out = self.cache.writer()?;
        self.copied(path, content, size, &mut |piece| out.write_all(piece))?;
        let spool = out.spool(None);
        let digest = spool.compressed().digest.clone();
        let descriptor = Descriptor { media_type: media_type.to_owned(), digest: digest.clone(), size };
        Ok((digest, Member::Packed(descriptor, BlobSource::Spooled(Arc::new(spool)))))
    }

    fn plain(&self, path: &str, content: &mut dyn Read, size: u64) -> Result<(String, Member)> {
        let mut writer = self.cache.writer()?;
        let mut out = Compressor::new(|block: Buffer| writer.write_all(block.as_ref()), self.compression, 1);
        let mut hasher = Hasher::new();
        out.read_from(&mut content.take(size), &mut hasher, |_| {}).map_err(|error| match error {
            ReadOrWrite::Read(error) => self.cut(path, error),
            ReadOrWrite::Write(error) => self.cache.failed(error),
        })?;
        if hasher.size() < size {
            return Err(self.cut(path, io::ErrorKind::UnexpectedEof.into()));
        }
        out.finish().map_err(|error| self.cache.failed(error))?;
        let diff_id = hasher.finish();
        let spool = writer.spool(Some((diff_id.clone(), self.compression)));
        let descriptor = spool.compressed().descriptor(self.compression);
        let blob = Blob { descriptor, source: BlobSource::Spooled(Arc::new(spool)) };
        Ok((diff_id.clone(), Member::Plain(Layer { diff_id, blob }, size)))
    }

    fn copied(
        &self,
        path: &str,
        content: &mut dyn Read,
        size: u64,
        write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        let mut left = size;
        while left > 0 {
            let read = content.read(&mut buffer).map_err(|error| self.cut(path, error))?;
            if read == 0 {
                return Err(self.cut(path, io::ErrorKind::UnexpectedEof.into()));
            }
            write(&buffer[..read]).map_err(|error| self.cache.failed(error))?;
            left = left.saturating_sub(read as u64);
        }
        Ok(())
    }

    fn cut(&self, path: &str, error: io::Error) -> Error {
        Error::build_or_push(format!("{} was cut short within `{path}`", self.name))
            .cause(error)
            .hint("it is not there to its end: save it again")
    }

    fn read_document(&self, name: &str) -> Result<Bytes> {
        let Some(Member::Document(path, _)) = self.find(name) else { return Err(self.lacks(name)) };
        let mut text = Vec::new();
        File::open(path).and_then(|mut file| file.read_to_end(&mut text)).map_err(|error| self.cache.failed(error))?;
        Ok(text.into())
    }

    fn lacks(&self, name: &str) -> Error {
        Error::build_or_push(format!("{} lacks `{name}`", self.name)).hint("save the image again")
    }

    fn find(&self, name: &str) -> Option<&Member> {
        let mut member = self.members.get(&normalize(name))?;
        for _ in 0..8 {
            match member {
                Member::Link(target) => member = self.members.get(target)?,
                found => return Some(found),
            }
        }
        None
    }
}

/// The digest that a member's name has: `blobs/sha256/HEX`, or `HEX.tar` as podman and buildah name layers.
fn digest_in(path: &str) -> Option<String> {
    let hex = path.strip_prefix("blobs/sha256/").or_else(|| path.strip_suffix(".tar"))?;
    let digest = format!("sha256:{hex}");
    digest::is_valid(&digest).then_some(digest)
}

/// As much of a buffer as there is.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
