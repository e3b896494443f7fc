//! An image whose layers are not all compressed yet: its config is known, its manifest comes with the layers' digests.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::cache::BlobCache;
use super::compression::Compression;
use super::engine::Held;
use super::engine::overlay2::{NotAsKept, Unpacked};
use super::{Blob, BlobSource, Descriptor, Image, Platform, Tree, index, layers, manifest};
use crate::error::{Error, Result};

/// What a build came to.
#[derive(Debug, Clone)]
pub enum Built {
    Image(Image),
    Draft(Draft),
    /// It is fetched from its engine only if something of it is missing where it goes.
    Held(Box<Held>),
    /// An index that exists, with all that it names.
    Index(Tree),
    /// An image for each platform, which become an index once each has its digest.
    Platforms(Vec<Built>),
}

#[derive(Debug, Clone)]
pub struct Draft {
    /// The image config, byte for byte.
    pub config: Bytes,
    /// Lowest first.
    pub layers: Vec<DraftLayer>,
    pub platform: Platform,
    pub compression: Compression,
    pub cache: BlobCache,
}

#[derive(Debug, Clone)]
pub struct DraftLayer {
    /// The digest of the layer's tar.
    pub diff_id: String,
    pub content: LayerContent,
}

#[derive(Debug, Clone)]
pub enum LayerContent {
    /// Compressed already.
    Ready(Blob),
    Plain(PlainLayer),
}

/// A layer's tar.
#[derive(Debug, Clone)]
pub enum PlainLayer {
    /// `size` bytes of a file from `offset` on.
    InFile {
        path: PathBuf,
        offset: u64,
        size: u64,
    },
    Unpacked(Arc<Unpacked>),
}

impl PlainLayer {
    pub fn size(&self) -> u64 {
        match self {
            PlainLayer::InFile { size, .. } => *size,
            PlainLayer::Unpacked(unpacked) => unpacked.size,
        }
    }

    /// # Errors
    /// When the file is gone.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            PlainLayer::InFile { path, offset, size } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                Ok(Box::new(file.take(*size)))
            }
            PlainLayer::Unpacked(unpacked) => Ok(Box::new(unpacked.open()?)),
        }
    }

    /// The error when reading it failed.
    pub fn unreadable(&self, error: io::Error) -> Error {
        let message = |path: &Path| Error::build_or_push(format!("cannot read a layer of `{}`", path.display()));
        match self {
            PlainLayer::InFile { path, .. } => message(path).cause(error),
            PlainLayer::Unpacked(unpacked) => message(&unpacked.folder).cause(NotAsKept(error.to_string())),
        }
    }

    /// The error when it is not what the image's config says.
    pub fn damaged(&self, diff_id: &str) -> Error {
        let message = |path: &Path| Error::build_or_push(format!("a layer of `{}` is damaged", path.display()));
        let why = format!("its content is not `{diff_id}`, as the image's config says");
        match self {
            PlainLayer::InFile { path, .. } => message(path).hint(format!("{why}: make the image again")),
            PlainLayer::Unpacked(unpacked) => message(&unpacked.folder).cause(NotAsKept(why)),
        }
    }
}

impl Built {
    /// As the step that built it says it.
    pub fn detail(&self) -> String {
        match self {
            Built::Image(image) => image.digest.clone(),
            Built::Draft(draft) => format!("{} layers for {}", draft.layers.len(), draft.platform),
            Built::Held(held) => {
                format!("{} layers for {}, held by {}", held.diff_ids.len(), held.platform, held.engine.builder)
            }
            Built::Index(tree) => format!("{} for {}", tree.root.digest, index::listed(&tree.platforms())),
            Built::Platforms(_) => format!("an index for {}", index::listed(&self.platforms())),
        }
    }

    /// What is not compressed yet.
    pub fn draft(&self) -> Option<&Draft> {
        match self {
            Built::Draft(draft) => Some(draft),
            _ => None,
        }
    }

    pub fn platforms(&self) -> Vec<Platform> {
        match self {
            Built::Image(image) => vec![image.platform.clone()],
            Built::Draft(draft) => vec![draft.platform.clone()],
            Built::Held(held) => vec![held.platform.clone()],
            Built::Index(tree) => tree.platforms(),
            Built::Platforms(all) => all.iter().flat_map(Built::platforms).collect(),
        }
    }

    /// Whether it runs on this platform.
    pub fn is_for(&self, wanted: &Platform) -> bool {
        self.platforms().iter().any(|platform| platform.matches(wanted))
    }

    /// The one image, its layers compressed into the cache. Blocks. What an engine holds has to be fetched before.
    ///
    /// # Errors
    /// `BuildOrPush` when a layer cannot be read or is not what the config says, and `Input` for several platforms.
    pub fn settled(self) -> Result<Image> {
        match self {
            Built::Image(image) => Ok(image),
            Built::Draft(draft) => draft.compressed(),
            Built::Held(held) => Err(Error::other(format!("{} was not fetched", held.name()))),
            Built::Index(_) | Built::Platforms(_) => {
                let has = index::listed(&self.platforms());
                Err(Error::input(format!("this is an image for several platforms: {has}")).hint("name one of them"))
            }
        }
    }

    /// The image or the index, layers compressed into the cache. Blocks.
    ///
    /// # Errors
    /// As [`Built::settled`].
    pub fn tree(self) -> Result<Tree> {
        match self {
            Built::Index(tree) => Ok(tree),
            Built::Platforms(all) => index::of(&all.into_iter().map(Built::settled).collect::<Result<Vec<Image>>>()?),
            one => one.settled().map(|image| Tree::from(&image)),
        }
    }
}

impl Draft {
    /// The layers of several drafts as if they were one image's: those that they share are sent once.
    pub fn together(drafts: &[&Draft]) -> Option<Draft> {
        let layers = drafts.iter().flat_map(|draft| draft.layers.clone()).collect();
        drafts.first().map(|first| Draft { layers, ..(*first).clone() })
    }

    /// The image that these layers make.
    pub fn image(&self, layers: Vec<Blob>) -> Image {
        manifest::write(layers, self.config.clone(), self.platform.clone())
    }

    /// The image, if `known` tells what each layer was compressed to before, here or in another image. Only a registry
    /// that has those layers can take it.
    pub fn recalled(&self, known: &dyn Fn(&str) -> Option<Descriptor>) -> Option<Image> {
        let layers = self.layers.iter().map(|layer| match &layer.content {
            LayerContent::Ready(blob) => Some(blob.clone()),
            LayerContent::Plain(_) => Some(Blob { descriptor: known(&layer.diff_id)?, source: BlobSource::InRegistry }),
        });
        Some(self.image(layers.collect::<Option<Vec<Blob>>>()?))
    }

    /// Whether `known` has all layers that are not compressed yet.
    pub fn is_recalled(&self, known: &dyn Fn(&str) -> bool) -> bool {
        self.layers.iter().all(|layer| matches!(layer.content, LayerContent::Ready(_)) || known(&layer.diff_id))
    }

    fn compressed(self) -> Result<Image> {
        let layers = self.layers.iter().map(|layer| match &layer.content {
            LayerContent::Ready(blob) => Ok(blob.clone()),
            LayerContent::Plain(plain) => layers::cached(&self.cache, &layer.diff_id, self.compression, |out| {
                let copied = plain.open().and_then(|mut layer| io::copy(&mut layer, out));
                copied.map(drop).map_err(|error| plain.unreadable(error))
            }),
        });
        Ok(self.image(layers.collect::<Result<Vec<Blob>>>()?))
    }
}
