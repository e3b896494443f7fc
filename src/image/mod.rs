//! Images as data: references, platforms, layouts, archives, layers assembled from files, engines.
//!
//! An [`Image`] is what a push needs, whatever it came from: the exact bytes of its manifest and
//! config, and where the bytes of each blob are. Nothing here talks to a registry.

pub mod archive;
mod base_files;
pub mod buffers;
pub mod cache;
pub mod compression;
pub mod config;
pub mod digest;
pub mod draft;
pub mod ecr_host;
pub mod engine;
pub mod entries;
pub mod group;
pub mod ignore;
pub mod index;
mod layer_tar;
pub mod layers;
pub mod layout;
pub mod manifest;
pub mod owners;
pub mod places;
pub mod platform;
pub mod reference;
pub mod saved;
pub mod spool;
pub mod whole;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
pub use cache::BlobCache;
pub use compression::Compression;
pub use draft::{Built, Draft};
pub use ecr_host::EcrHost;
pub use index::{Manifested, Tree};
pub use platform::Platform;
pub use reference::Reference;
pub use spool::Spool;

/// One image for one platform.
#[derive(Debug, Clone)]
pub struct Image {
    /// The manifest, byte for byte as its digest was taken.
    pub manifest: Bytes,
    pub media_type: String,
    /// `sha256:…` of [`Image::manifest`].
    pub digest: String,
    /// The image config, byte for byte.
    pub config: Bytes,
    /// Everything the manifest names that a registry must hold: the layers in their order, then the config.
    pub blobs: Vec<Blob>,
    pub platform: Platform,
}

impl Image {
    /// Bytes of all blobs as they travel, compressed; the manifest itself not counted.
    pub fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.descriptor.size).sum()
    }

    /// The layers' blobs, lowest first.
    pub fn layers(&self) -> &[Blob] {
        &self.blobs[..self.blobs.len().saturating_sub(1)]
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

#[derive(Debug, Clone)]
pub struct Blob {
    pub descriptor: Descriptor,
    pub source: BlobSource,
}

impl Blob {
    /// The registry that it goes to has it: nothing of it need be kept for that.
    pub fn arrived(&self) {
        if let BlobSource::Spooled(spool) = &self.source {
            spool.sent();
        }
    }
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub enum BlobSource {
    Memory(Bytes),
    /// `size` bytes of a file from `offset` on.
    File {
        path: PathBuf,
        offset: u64,
    },
    /// A whole file of the [`BlobCache`]: whoever finds it damaged removes it, so that the next run makes it anew.
    Cached(PathBuf),
    /// On its way from where it cannot be read twice.
    Spooled(Arc<Spool>),
    /// Nowhere here: the registry that the image goes to has it.
    InRegistry,
    /// In the registry that the image comes from.
    Elsewhere,
}

/// How to open an image that exists.
#[derive(Debug, Clone)]
pub struct Open {
    /// Which platform of an index is meant; `None` when there can be only one.
    pub platform: Option<Platform>,
    /// Where layers go that must be compressed first, and how.
    pub cache: BlobCache,
    pub compression: Compression,
}

/// Opens an OCI layout folder, an OCI archive or a `docker save` archive, whichever `path` is.
///
/// # Errors
/// `Input` when there is no image at `path`, or none for the platform; `BuildOrPush` when what is there is damaged.
pub fn open(path: &Path, open: &Open) -> Result<Image> {
    draft(path, open)?.settled()
}

/// The same, its layers as they are: what must be compressed is left to whoever sends it.
///
/// # Errors
/// As [`open`].
pub fn draft(path: &Path, open: &Open) -> Result<Built> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        Error::input(format!("there is no image at `{}`", path.display()))
            .cause(error)
            .hint("give the path of an OCI layout folder, of an OCI archive, or of what `docker save` wrote")
    })?;
    if metadata.is_dir() { layout::open(path, open).map(Built::Image) } else { archive::draft(path, open) }
}
