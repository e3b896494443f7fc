//! Images assembled from files: no engine, no Dockerfile, and the same digest wherever the files are the same.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use super::buffers::Buffer;
use super::cache::{BlobCache, Compressed};
use super::compression::{Compression, Compressor};
use super::config::{self, Execution, LayerRecord};
use super::digest::Hasher;
use super::entries::Tree;
use super::owners::Accounts;
use super::{Blob, BlobSource, Image, Platform};
use super::{base_files, manifest};
use crate::error::{Error, Result};

pub use super::entries::LayerEntry;
pub use super::ignore::{IGNORE_FILE, Ignore};

/// What to assemble.
#[derive(Debug, Clone)]
pub struct LayersSpec {
    /// Where relative `from` paths begin.
    pub project: PathBuf,
    /// Each becomes one layer, lowest first: a change in one leaves the others' digests.
    pub layers: Vec<Vec<LayerEntry>>,
    pub execution: Execution,
    pub platform: Platform,
    /// Seconds since 1970 for the image's `created` (`SOURCE_DATE_EPOCH`); without it an image has no time in it.
    pub created: Option<i64>,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
    pub compression: Compression,
    pub cache: BlobCache,
}

/// Assembles an image over `base`, or over nothing. Blocks; layers that were compressed before are only hashed.
///
/// # Errors
/// `BuildOrPush` when a file is missing, cannot be read, or changes meanwhile; `Input` when the spec cannot be meant.
pub fn assemble(spec: LayersSpec, base: Option<Image>) -> Result<Image> {
    if let Some(base) = &base {
        check_base(base, &spec.platform)?;
    }
    let mut blobs = base.as_ref().map_or(Vec::new(), |base| base.layers().to_vec());
    for blob in &mut blobs {
        blob.descriptor.media_type = manifest::oci_layer_type(&blob.descriptor.media_type).to_owned();
    }
    let mut records = Vec::new();
    let mut earlier: Vec<Tree> = Vec::new();
    let mut accounts = Accounts::new(base.as_ref());
    for entries in &spec.layers {
        let mut tree = Tree::collect(&spec.project, entries, &earlier, &mut accounts)?;
        if let Some(base) = &base {
            tree = tree.over_a_base();
            let folders = tree.folders();
            if !folders.is_empty() {
                let of_base = base_files::find(base, &folders)?;
                tree = tree.leave(&of_base);
            }
        }
        tree.follow(&earlier);
        let (diff_id, blob) = layer(&tree, spec.compression, &spec.cache)?;
        blobs.push(blob);
        let targets: Vec<&str> = entries.iter().map(|entry| entry.to.as_str()).collect();
        records.push(LayerRecord { diff_id, created_by: format!("steady: {}", targets.join(" ")) });
        earlier.push(tree);
    }
    let base_config = base.as_ref().map(|base| base.config.as_ref());
    let config = config::build(base_config, &spec.platform, &spec.execution, &records, spec.created)?;
    Ok(manifest::write_annotated(blobs, config, spec.platform, &spec.annotations))
}

fn check_base(base: &Image, platform: &Platform) -> Result<()> {
    if !base.platform.matches(platform) {
        return Err(Error::input(format!("the base image is for {}, and the build for {platform}", base.platform))
            .hint(format!("set `platform: {}`, or take a base that has {platform}", base.platform)));
    }
    if config::diff_ids(&base.config)?.len() != base.layers().len() {
        return Err(Error::build_or_push("the base image has layers that its config does not list, or lacks some")
            .hint("layers that may not be distributed (Windows bases have them) cannot be built upon"));
    }
    Ok(())
}

/// The layer's diffID, and the blob it is compressed to.
fn layer(tree: &Tree, compression: Compression, cache: &BlobCache) -> Result<(String, Blob)> {
    let mut hasher = Hasher::new();
    tree.write(&mut io::BufWriter::with_capacity(1 << 16, &mut hasher))?;
    let diff_id = hasher.finish();
    let blob = cached(cache, &diff_id, compression, |out| tree.write(out))?;
    Ok((diff_id, blob))
}

/// The compressed layer in the cache, from what `write` writes unless it is there.
pub(super) fn cached(
    cache: &BlobCache,
    diff_id: &str,
    compression: Compression,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Blob> {
    let (compressed, path) = match cache.compressed(diff_id, compression) {
        Some(known) => known,
        None => compress(cache, diff_id, compression, write)?,
    };
    Ok(Blob { descriptor: compressed.descriptor(compression), source: BlobSource::Cached(path) })
}

/// Compresses what `write` writes into the cache, and holds it to its diffID.
fn compress(
    cache: &BlobCache,
    diff_id: &str,
    compression: Compression,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<(Compressed, PathBuf)> {
    let mut writer = cache.writer()?;
    let compressor = Compressor::new(|block: Buffer| writer.write_all(block.as_ref()), compression, 1);
    let mut out = Tee { hasher: Hasher::new(), compressor };
    write(&mut out)?;
    let found = out.hasher.finish();
    if found != diff_id {
        return Err(Error::build_or_push("a layer's content is not what its digest says").hint(format!(
            "it was to be `{diff_id}`, and is `{found}`: files changed while they were read, or the image is damaged"
        )));
    }
    out.compressor.finish().map_err(|error| {
        Error::build_or_push("cannot write a compressed layer")
            .cause(error)
            .hint("is the disk of the cache folder full?")
    })?;
    let (compressed, path) = writer.keep()?;
    cache.remember(diff_id, compression, &compressed)?;
    Ok((compressed, path))
}

struct Tee<W> {
    hasher: Hasher,
    compressor: W,
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.compressor.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.compressor.flush()
    }
}
