//! An image's layers become one directory tree.
//!
//! A layer is text from outside: it may name `..`, link out of its root, carry devices or set-user-id programs,
//! blow up a thousandfold, or not be what its config says. Nothing is written outside the root, and a tree is
//! only handed out when every diffID is right.

mod entry;
mod header;
mod tree;
mod whiteout;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use ring::digest::{Context, SHA256};

use super::inroot::InRoot;
use super::spec::{ImageSource, LayerBlob};
use header::Extensions;

pub(super) use tree::{copy_tree, remove_tree};

/// How much one image may unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of all layers together.
    pub bytes: u64,
    pub entries: u64,
    /// Unpacked bytes for each byte of a layer's blob, beyond [`Limits::ratio_from`].
    pub ratio: u64,
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 16 << 30, entries: 1_000_000, ratio: 250, ratio_from: 64 << 20 }
    }
}

#[derive(Debug)]
pub struct UnpackError(String);

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnpackError {}

/// Applies all layers of an image to the empty directory `root`. On failure the caller removes it.
pub fn unpack(image: &ImageSource, diff_ids: &[String], root: &Path, limits: Limits) -> Result<(), UnpackError> {
    if diff_ids.len() != image.layers.len() {
        return Err(UnpackError(format!(
            "the image's config names {} layers, its manifest {}",
            diff_ids.len(),
            image.layers.len()
        )));
    }
    let root = InRoot::open(root).map_err(|error| UnpackError(format!("{}: {error}", root.display())))?;
    let mut budget = Budget { bytes: limits.bytes, entries: limits.entries };
    for (layer, diff_id) in image.layers.iter().zip(diff_ids) {
        let found = apply(layer, &root, limits, &mut budget)
            .map_err(|error| UnpackError(format!("failed to register layer {}: {error}", layer.digest)))?;
        if found != *diff_id {
            return Err(UnpackError(format!(
                "failed to register layer {}: its content is {found}, but the image's config says {diff_id}",
                layer.digest
            )));
        }
    }
    Ok(())
}

struct Budget {
    bytes: u64,
    entries: u64,
}

fn apply(layer: &LayerBlob, root: &InRoot, limits: Limits, budget: &mut Budget) -> io::Result<String> {
    let blob = File::open(&layer.path)?;
    let ratio_limit = blob.metadata()?.len().saturating_mul(limits.ratio).max(limits.ratio_from);
    let left = ratio_limit.min(budget.bytes);
    let mut content = Content { inner: decompress(layer, blob)?, hash: Context::new(&SHA256), left, read: 0 };
    {
        let mut archive = tar::Archive::new(&mut content);
        let mut applied = entry::Applied::new(root);
        let mut extensions = Extensions::default();
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            budget.entries = budget.entries.checked_sub(1).ok_or_else(|| io::Error::other("too many entries"))?;
            if let Some(header) = extensions.next(&mut entry)? {
                applied
                    .apply(&header, &mut entry)
                    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", header.path.display())))?;
            }
        }
    }
    // the diffID covers what follows the archive's end, too
    io::copy(&mut content, &mut io::sink())?;
    budget.bytes = budget.bytes.saturating_sub(content.read);
    Ok(format!("sha256:{}", hex::encode(content.hash.finish())))
}

fn decompress(layer: &LayerBlob, blob: File) -> io::Result<Box<dyn Read>> {
    let blob = BufReader::with_capacity(128 << 10, blob);
    let media_type = layer.media_type.as_str();
    if media_type.ends_with("+gzip") || media_type.ends_with(".gzip") {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(blob)))
    } else if media_type.ends_with("+zstd") || media_type.ends_with(".zstd") {
        Ok(Box::new(zstd::Decoder::with_buffer(blob)?))
    } else if media_type.ends_with(".tar") {
        Ok(Box::new(blob))
    } else {
        Err(io::Error::other(format!("layers of media type {media_type:?} cannot be unpacked")))
    }
}

/// The uncompressed layer: hashed, and cut off where it grows beyond its limit.
struct Content {
    inner: Box<dyn Read>,
    hash: Context,
    left: u64,
    read: u64,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.read += count as u64;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other("it unpacks to more than this lab allows for its size"))?;
        Ok(count)
    }
}
