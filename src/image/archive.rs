//! Archives of images: what `docker save` writes, and OCI layouts in a tar. Read by offset, without unpacking.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;

use super::digest::{self, Hasher};
use super::draft::{Built, Draft, DraftLayer, LayerContent, PlainLayer};
use super::layout::{self, Located, Reading};
use super::manifest::{self, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD};
use super::{Blob, BlobSource, Descriptor, Image, Open, Platform, config, index};
use crate::error::{Error, Result};

/// Opens the one image of an archive, its layers compressed into the cache. Blocks.
///
/// # Errors
/// As [`draft`].
pub fn open(path: &Path, open: &Open) -> Result<Image> {
    draft(path, open)?.settled()
}

/// The one image of an archive, its layers as they are. Blocks where layers are compressed already and have no digest.
///
/// # Errors
/// `Input` when this is no image archive or holds several images; `BuildOrPush` when it is damaged.
pub fn draft(path: &Path, open: &Open) -> Result<Built> {
    let archive = Archive::index(path)?;
    let name = format!("`{}`", path.display());
    let built = if archive.is_layout() {
        let image = layout::resolve(
            &archive.read("index.json")?,
            &|descriptor| archive.blob(descriptor),
            open.platform.as_ref(),
            &name,
        )?;
        of_layout(image, open)?
    } else if archive.members.contains_key("manifest.json") {
        Built::Draft(docker(&archive, open, &name)?)
    } else {
        return Err(Error::input(format!("{name} is not an archive of an image"))
            .hint("`docker save -o image.tar NAME`, `podman save` and `skopeo copy … oci-archive:` write them"));
    };
    match &open.platform {
        Some(wanted) if !built.is_for(wanted) => {
            let has = index::listed(&built.platforms());
            Err(Error::input(format!("{name} holds an image for {has}, and {wanted} is wanted"))
                .hint(manifest::OTHER_PLATFORM))
        }
        _ => Ok(built),
    }
}

/// Gives the `index.json` of an OCI layout in an archive, and how its blobs are found, to `read`. `None` when the archive
/// holds none.
pub(super) fn with_index<T>(path: &Path, read: &mut Reading<'_, Option<T>>) -> Result<Option<T>> {
    let archive = Archive::index(path)?;
    if !archive.is_layout() {
        return Ok(None);
    }
    read(&archive.read("index.json")?, &|descriptor| archive.blob(descriptor))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub(super) config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    pub(super) layers: Vec<String>,
}

/// The images that a `manifest.json` lists.
pub(super) fn docker_images(text: &[u8], name: &str) -> Result<Vec<DockerImage>> {
    serde_json::from_slice(text)
        .map_err(|error| Error::build_or_push(format!("`manifest.json` of {name} is malformed")).cause(error))
}

impl DockerImage {
    pub(super) fn only(mut images: Vec<DockerImage>, name: &str) -> Result<DockerImage> {
        if images.len() == 1
            && let Some(image) = images.pop()
        {
            return Ok(image);
        }
        let count = images.len();
        let tags: Vec<String> = images.into_iter().flat_map(|image| image.repo_tags.unwrap_or_default()).collect();
        Err(Error::input(format!("{name} holds {count} images: {}", tags.join(", ")))
            .hint("save one: `docker save -o image.tar NAME`"))
    }
}

fn docker(archive: &Archive<'_>, open: &Open, name: &str) -> Result<Draft> {
    let image = DockerImage::only(docker_images(&archive.read("manifest.json")?, name)?, name)?;
    let config = archive.read(&image.config)?;
    let diff_ids = config::diff_ids(&config)?;
    if diff_ids.len() != image.layers.len() {
        return Err(Error::build_or_push(format!(
            "{name} holds {} layers, and its config lists {}",
            image.layers.len(),
            diff_ids.len()
        )));
    }
    let layers = image.layers.iter().zip(diff_ids).map(|(layer, diff_id)| {
        let found = archive.locate(layer).ok_or_else(|| archive.lacks(layer))?;
        archive.layer(found, diff_id)
    });
    let layers = layers.collect::<Result<Vec<DraftLayer>>>()?;
    let platform = manifest::platform_of(&config)?;
    Ok(draft_of(config, layers, platform, open))
}

fn draft_of(config: Bytes, layers: Vec<DraftLayer>, platform: Platform, open: &Open) -> Draft {
    let (compression, cache) = (open.compression, open.cache.clone());
    Draft { config, layers, platform, compression, cache }
}

/// Docker's containerd-less store saves OCI archives with plain layers: compressed, they make a new manifest.
/// An image whose layers are all compressed stays as it is, with its digest.
fn of_layout(image: Image, open: &Open) -> Result<Built> {
    let plain = |blob: &Blob| manifest::oci_layer_type(&blob.descriptor.media_type) == LAYER_TAR;
    if !image.layers().iter().any(plain) {
        return Ok(Built::Image(image));
    }
    let diff_ids = config::diff_ids(&image.config)?;
    if diff_ids.len() != image.layers().len() {
        return Err(Error::build_or_push("the image's config lists another number of layers than it has"));
    }
    let layers = image.layers().iter().zip(diff_ids).map(|(blob, diff_id)| {
        let content = match &blob.source {
            BlobSource::File { path, offset } if plain(blob) => {
                let (path, offset, size) = (path.clone(), *offset, blob.descriptor.size);
                LayerContent::Plain(PlainLayer::InFile { path, offset, size })
            }
            _ => {
                let mut blob = blob.clone();
                blob.descriptor.media_type = manifest::oci_layer_type(&blob.descriptor.media_type).to_owned();
                LayerContent::Ready(blob)
            }
        };
        DraftLayer { diff_id, content }
    });
    let layers = layers.collect();
    Ok(Built::Draft(draft_of(image.config.clone(), layers, image.platform, open)))
}

/// Where the members of a tar are.
struct Archive<'a> {
    path: &'a Path,
    members: HashMap<String, Member>,
}

enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// Older versions of docker save a layer that two images share as a link.
    Link(String),
}

impl<'a> Archive<'a> {
    fn index(path: &'a Path) -> Result<Self> {
        let cannot = |error: io::Error| Error::input(format!("cannot read `{}`", path.display())).cause(error);
        let mut file = File::open(path).map_err(cannot)?;
        let mut magic = [0; 4];
        let read = file.read(&mut magic).map_err(cannot)?;
        if let Some(tool) = unpacker(&magic[..read]) {
            return Err(Error::input(format!("`{}` is compressed", path.display()))
                .hint(format!("unpack it first: `{tool} -dk {}`", path.display())));
        }
        file.rewind().map_err(cannot)?;
        let not_a_tar = |error: io::Error| {
            Error::input(format!("`{}` is not an archive of an image", path.display()))
                .cause(error)
                .hint("`docker save -o image.tar NAME` writes one")
        };
        let length = file.metadata().map_err(cannot)?.len();
        let mut members = HashMap::new();
        let mut tar = tar::Archive::new(file);
        for entry in tar.entries_with_seek().map_err(not_a_tar)? {
            let entry = entry.map_err(not_a_tar)?;
            let name = normalize(&String::from_utf8_lossy(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let (offset, size) = (entry.raw_file_position(), entry.size());
                if offset.checked_add(size).is_none_or(|end| end > length) {
                    return Err(Error::build_or_push(format!("`{}` ends within `{name}`", path.display()))
                        .hint("the archive was not written to its end: save it again"));
                }
                members.insert(name, Member::File { offset, size });
            } else if (kind.is_symlink() || kind.is_hard_link())
                && let Some(target) = entry.link_name_bytes()
            {
                let target = String::from_utf8_lossy(&target).into_owned();
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                let target = if kind.is_symlink() { format!("{folder}/{target}") } else { target };
                members.insert(name, Member::Link(normalize(&target)));
            }
        }
        Ok(Archive { path, members })
    }

    fn is_layout(&self) -> bool {
        self.members.contains_key("index.json") && self.members.contains_key("oci-layout")
    }

    fn blob(&self, descriptor: &Descriptor) -> Option<Located> {
        self.locate(&format!("blobs/sha256/{}", digest::hex_of(&descriptor.digest)?))
    }

    fn locate(&self, name: &str) -> Option<Located> {
        let mut member = self.members.get(&normalize(name))?;
        for _ in 0..8 {
            match member {
                Member::File { offset, size } => {
                    return Some(Located { path: self.path.to_owned(), offset: *offset, size: *size });
                }
                Member::Link(target) => member = self.members.get(target)?,
            }
        }
        None
    }

    fn read(&self, name: &str) -> Result<Bytes> {
        let found = self.locate(name).ok_or_else(|| self.lacks(name))?;
        layout::read_range(&found).map_err(|error| {
            Error::build_or_push(format!("cannot read `{name}` of `{}`", self.path.display())).cause(error)
        })
    }

    fn lacks(&self, name: &str) -> Error {
        Error::build_or_push(format!("`{}` lacks `{name}`", self.path.display())).hint("save the image again")
    }

    /// A layer as it is: plain, or compressed already and verified.
    fn layer(&self, found: Located, diff_id: String) -> Result<DraftLayer> {
        let Located { path, offset, size } = found;
        let plain = PlainLayer::InFile { path: path.clone(), offset, size };
        let cannot = |error: io::Error| plain.unreadable(error);
        let mut magic = [0; 4];
        let read = plain.open().and_then(|mut layer| layer.read(&mut magic)).map_err(cannot)?;
        let media_type = match unpacker(&magic[..read]) {
            None => return Ok(DraftLayer { diff_id, content: LayerContent::Plain(plain) }),
            Some("gzip") => LAYER_GZIP,
            Some(_) => LAYER_ZSTD,
        };
        let layer = plain.open().map_err(cannot)?;
        let mut reader = Hashed { inner: layer, hasher: Hasher::new() };
        let mut content = Hasher::new();
        let unpacked = if media_type == LAYER_GZIP {
            io::copy(&mut flate2::bufread::MultiGzDecoder::new(io::BufReader::new(&mut reader)), &mut content)
        } else {
            zstd::stream::read::Decoder::new(&mut reader).and_then(|mut raw| io::copy(&mut raw, &mut content))
        };
        unpacked.and_then(|_| io::copy(&mut reader, &mut io::sink())).map_err(cannot)?;
        if content.finish() != diff_id {
            return Err(plain.damaged(&diff_id));
        }
        let descriptor = Descriptor { media_type: media_type.to_owned(), digest: reader.hasher.finish(), size };
        let blob = Blob { descriptor, source: BlobSource::File { path, offset } };
        Ok(DraftLayer { diff_id, content: LayerContent::Ready(blob) })
    }
}

struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// The tool that unpacks what begins like this.
fn unpacker(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd] => Some("zstd"),
        _ => None,
    }
}

/// A member's name without `.`, `..` and slashes that mean nothing.
pub(super) fn normalize(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
