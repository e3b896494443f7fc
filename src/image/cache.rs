//! The folder where blobs wait between runs, named by their content.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::compression::Compression;
use super::digest::{self, Hasher};
use super::spool::Spool;
use super::{Descriptor, Platform};
use crate::error::{Error, Kind, Result};

/// No run writes one blob for so long.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// What was not used for longer than this goes.
const UNUSED: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// Nothing sound is larger.
const MAX_CONFIG: u64 = 8 << 20;

const OTHER_FOLDER: &str = "set XDG_CACHE_HOME to a folder that you can write to";

/// A content-addressed folder, mode 0700: `sha256/<hex>` holds blobs, and `gzip/<hex of a diffID>` and `zstd/…` name the
/// blob that a layer was compressed to. Files appear whole (written aside, then renamed), so that runs may share it.
#[derive(Debug, Clone)]
pub struct BlobCache {
    folder: PathBuf,
}

/// What a layer was compressed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compressed {
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

impl Compressed {
    /// As a manifest names this layer.
    pub fn descriptor(&self, compression: Compression) -> Descriptor {
        let media_type = compression.media_type().to_owned();
        Descriptor { media_type, digest: self.digest.clone(), size: self.size }
    }
}

impl BlobCache {
    /// Opens `$XDG_CACHE_HOME/steady/blobs`, else `~/.cache/steady/blobs`, else a folder of this user's among the
    /// temporary files.
    ///
    /// # Errors
    /// As [`BlobCache::open`] and [`BlobCache::open_among`].
    pub fn open_default() -> Result<Self> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        match absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache"))) {
            Some(caches) => BlobCache::open(caches.join("steady/blobs")),
            None => BlobCache::open_among(&std::env::temp_dir()),
        }
    }

    /// Opens this user's cache in a folder where others may make files, too: what becomes an image must be ours.
    ///
    /// # Errors
    /// `Other` when a folder of the cache cannot be made, or is not ours alone to write.
    pub fn open_among(temporary: &Path) -> Result<Self> {
        let user = rustix::process::geteuid().as_raw();
        let first = temporary.join(format!("steady-cache-{user}"));
        let folder = first.join("blobs");
        for level in [&first, &folder, &folder.join("sha256"), &folder.join("gzip"), &folder.join("zstd")] {
            let failed = |error: io::Error| {
                Error::other(format!("cannot make the blob cache `{}`", level.display()))
                    .cause(error)
                    .hint(OTHER_FOLDER)
            };
            match DirBuilder::new().mode(0o700).create(level) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
            // not through a link, which another user may have put there
            let found = std::fs::symlink_metadata(level).map_err(failed)?;
            if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
                return Err(Error::other(format!(
                    "`{}` is not a folder that only this user may write: the blob cache would not be safe there",
                    level.display()
                ))
                .hint("remove it, or set XDG_CACHE_HOME to a folder of your own"));
            }
        }
        BlobCache::open(folder)
    }

    /// Opens the cache, making its folder if there is none.
    ///
    /// # Errors
    /// `Other` when the folder cannot be made or belongs to someone who lets others write.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        for part in ["sha256", "gzip", "zstd"] {
            let part = folder.join(part);
            DirBuilder::new().recursive(true).mode(0o700).create(&part).map_err(|error| {
                Error::other(format!("cannot make the blob cache `{}`", part.display())).cause(error).hint(OTHER_FOLDER)
            })?;
        }
        let mode = |error: io::Error| Error::other(format!("cannot protect `{}`", folder.display())).cause(error);
        if folder.metadata().map_err(mode)?.permissions().mode() & 0o077 != 0 {
            std::fs::set_permissions(&folder, Permissions::from_mode(0o700))
                .map_err(|error| mode(error).hint(OTHER_FOLDER))?;
        }
        sweep(&folder);
        Ok(BlobCache { folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the blob of a valid digest is or would be.
    pub(super) fn path(&self, digest: &str) -> Option<PathBuf> {
        Some(self.folder.join("sha256").join(digest::hex_of(digest)?))
    }

    /// The blob, if it is here and has its size. Its content is verified where it is read, and a damaged blob
    /// is removed there ([`BlobCache::verify`] does it now).
    pub fn find(&self, digest: &str, size: u64) -> Option<PathBuf> {
        let path = self.path(digest)?;
        let file = File::open(&path).ok().filter(|file| file.metadata().is_ok_and(|found| found.len() == size))?;
        // who is of use stays
        let _ = file.set_modified(SystemTime::now());
        Some(path)
    }

    /// The blob, if it is here and its content is what its name says.
    pub fn verify(&self, digest: &str, size: u64) -> Option<PathBuf> {
        let path = self.find(digest, size)?;
        let mut hasher = Hasher::new();
        io::copy(&mut File::open(&path).ok()?, &mut hasher).ok()?;
        if hasher.finish() == digest {
            return Some(path);
        }
        let _ = std::fs::remove_file(&path);
        None
    }

    /// A blob to be written; it is nowhere until [`BlobWriter::keep`].
    ///
    /// # Errors
    /// `Other` when the folder cannot be written.
    pub fn writer(&self) -> Result<BlobWriter> {
        let file = NamedTempFile::with_prefix_in(".writing-", &self.folder).map_err(|error| self.failed(error))?;
        Ok(BlobWriter { cache: self.clone(), file, hasher: Hasher::new() })
    }

    /// What the layer with this diffID was compressed to, if that is still here.
    pub fn compressed(&self, diff_id: &str, compression: Compression) -> Option<(Compressed, PathBuf)> {
        let compressed = self.recall(diff_id, compression)?;
        let path = self.find(&compressed.digest, compressed.size)?;
        Some((compressed, path))
    }

    /// What the layer with this diffID was compressed to, wherever that went.
    pub fn recall(&self, diff_id: &str, compression: Compression) -> Option<Compressed> {
        let name = self.folder.join(compression.name()).join(digest::hex_of(diff_id)?);
        serde_json::from_slice(&std::fs::read(name).ok()?).ok()
    }

    /// # Errors
    /// `Other` when the folder cannot be written.
    pub fn remember(&self, diff_id: &str, compression: Compression, compressed: &Compressed) -> Result<()> {
        let Some(hex) = digest::hex_of(diff_id) else { return Ok(()) };
        let path = self.folder.join(compression.name()).join(hex);
        let written = serde_json::to_vec(compressed).map_err(io::Error::from).and_then(|text| self.put(&path, &text));
        written.map_err(|error| self.failed(error))
    }

    /// The image config of this digest, if it was kept and is sound.
    pub fn config(&self, digest: &str) -> Option<Bytes> {
        let path = self.path(digest)?;
        if std::fs::metadata(&path).ok()?.len() > MAX_CONFIG {
            return None;
        }
        let config = std::fs::read(path).ok()?;
        (digest::of(&config) == digest).then(|| config.into())
    }

    /// Keeps an image config: an engine that holds the image has to be asked for all of it to tell its config.
    ///
    /// # Errors
    /// `Other` when the folder cannot be written.
    pub fn keep_config(&self, config: &[u8]) -> Result<()> {
        let mut writer = self.writer()?;
        writer.write_all(config).map_err(|error| self.failed(error))?;
        writer.keep().map(drop)
    }

    /// The manifest that an engine's image turned out to be, where its id says neither its config nor its manifest.
    pub fn manifest_of(&self, id: &str, platform: &Platform, compression: Compression) -> Option<String> {
        let manifest = std::fs::read_to_string(self.note(id, platform, compression)?).ok()?;
        digest::is_valid(&manifest).then_some(manifest)
    }

    /// # Errors
    /// `Other` when the folder cannot be written.
    pub fn note_manifest(&self, id: &str, platform: &Platform, compression: Compression, manifest: &str) -> Result<()> {
        let Some(path) = self.note(id, platform, compression) else { return Ok(()) };
        self.put(&path, manifest.as_bytes()).map_err(|error| self.failed(error))
    }

    fn note(&self, id: &str, platform: &Platform, compression: Compression) -> Option<PathBuf> {
        let platform = platform.to_string().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        Some(self.folder.join(compression.name()).join(format!("{}.{platform}", digest::hex_of(id)?)))
    }

    pub(super) fn put(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::with_prefix_in(".writing-", &self.folder)?;
        file.write_all(text)?;
        file.persist(path)?;
        Ok(())
    }

    /// The error for this cache's folder.
    pub(crate) fn failed(&self, error: io::Error) -> Error {
        Error::new(Kind::Other, format!("cannot use the blob cache `{}`", self.folder.display()))
            .cause(error)
            .hint("free some space there, or set XDG_CACHE_HOME to another folder")
    }
}

/// Removes what runs that were killed left half written, and, once a day, what nobody has used for long.
fn sweep(folder: &Path) {
    remove_older(folder, ABANDONED, |name| name.starts_with(".writing-"));
    let swept = folder.join(".swept");
    if std::fs::metadata(&swept).is_ok_and(|found| age(&found).is_some_and(|age| age < ABANDONED)) {
        return;
    }
    let mark = NamedTempFile::with_prefix_in(".writing-", folder).map(|mark| mark.persist(&swept).is_ok());
    if mark.is_ok_and(|marked| marked) {
        for part in ["sha256", "gzip", "zstd"] {
            remove_older(&folder.join(part), UNUSED, |_| true);
        }
        for registry in std::fs::read_dir(folder.join("places")).into_iter().flatten().flatten() {
            remove_older(&registry.path(), UNUSED, |_| true);
        }
    }
}

fn remove_older(folder: &Path, than: Duration, of: impl Fn(&str) -> bool) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let old = entry.metadata().is_ok_and(|found| age(&found).is_some_and(|age| age > than));
        if old && of(&entry.file_name().to_string_lossy()) {
            let path = entry.path();
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
        }
    }
}

fn age(found: &std::fs::Metadata) -> Option<Duration> {
    found.modified().ok()?.elapsed().ok()
}

/// Hashes what it writes.
pub struct BlobWriter {
    cache: BlobCache,
    file: NamedTempFile,
    hasher: Hasher,
}

impl BlobWriter {
    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.hasher.size()
    }

    /// The blob in its file of its own, until it is sent; `layer` is what it was compressed from, and how.
    pub fn spool(self, layer: Option<(String, Compression)>) -> Spool {
        let compressed = Compressed { size: self.hasher.size(), digest: self.hasher.finish() };
        Spool::new(self.file.into_temp_path(), self.cache, compressed, layer)
    }

    /// Puts the blob under its digest.
    ///
    /// # Errors
    /// `Other` when the folder cannot be written.
    pub fn keep(self) -> Result<(Compressed, PathBuf)> {
        let compressed = Compressed { size: self.hasher.size(), digest: self.hasher.finish() };
        let hex = digest::hex_of(&compressed.digest).unwrap_or_default();
        let path = self.cache.folder.join("sha256").join(hex);
        self.file.persist(&path).map_err(|error| self.cache.failed(error.error))?;
        Ok((compressed, path))
    }

    /// Puts the blob under the digest it was expected to have.
    ///
    /// # Errors
    /// `BuildOrPush` when it has another one; nothing is kept then.
    pub fn keep_as(self, expected: &str) -> Result<PathBuf> {
        let found = self.hasher.clone().finish();
        if found != expected {
            return Err(Error::build_or_push(format!(
                "a blob is damaged: it was to be `{expected}`, and is `{found}`"
            )));
        }
        self.keep().map(|(_, path)| path)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
