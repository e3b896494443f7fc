//! A compressed blob in a file of its own, on its way from an engine or from stdin to a registry.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempPath;

use super::cache::{BlobCache, Compressed};
use super::compression::Compression;

/// Gone with its last user. What is wanted and was not sent goes into the cache, so that the next run need not ask the engine
/// for it again.
#[derive(Debug)]
pub struct Spool {
    file: Option<TempPath>,
    cache: BlobCache,
    compressed: Compressed,
    /// The layer that it was compressed from.
    layer: Option<(String, Compression)>,
    kept: AtomicBool,
}

impl Spool {
    pub(super) fn new(
        file: TempPath,
        cache: BlobCache,
        compressed: Compressed,
        layer: Option<(String, Compression)>,
    ) -> Spool {
        Spool { file: Some(file), cache, compressed, layer, kept: AtomicBool::new(false) }
    }

    pub fn path(&self) -> PathBuf {
        self.file.as_deref().map(Path::to_owned).unwrap_or_default()
    }

    pub fn compressed(&self) -> &Compressed {
        &self.compressed
    }

    /// It is part of the image.
    pub fn wanted(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// A registry has it.
    pub fn sent(&self) {
        self.kept.store(false, Ordering::Relaxed);
        self.remember();
    }

    fn remember(&self) {
        if let Some((diff_id, compression)) = &self.layer {
            // not to know it costs a later run some time, and no more
            let _ = self.cache.remember(diff_id, *compression, &self.compressed);
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if self.kept.load(Ordering::Relaxed)
            && let Some(path) = self.cache.path(&self.compressed.digest)
            && file.persist(path).is_ok()
        {
            self.remember();
        }
    }
}
