//! Which repository of a registry has a blob, as far as this machine knows: another one may mount it from there.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use super::cache::BlobCache;
use super::digest;

/// Notes it. What cannot be noted costs bytes some day, and no more.
pub fn remember(cache: &BlobCache, registry: &str, repository: &str, digest: &str) {
    let Some(path) = path(cache, registry, digest) else { return };
    if std::fs::read_to_string(&path).is_ok_and(|known| known == repository) {
        return;
    }
    if let Err(error) = write(cache, &path, repository) {
        tracing::debug!(%error, digest, "where a blob is was not noted");
    }
}

/// The repository that had it last.
pub fn find(cache: &BlobCache, registry: &str, digest: &str) -> Option<String> {
    let repository = std::fs::read_to_string(path(cache, registry, digest)?).ok()?;
    // It becomes part of a URL.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    (!repository.is_empty() && repository.chars().all(plain)).then_some(repository)
}

fn path(cache: &BlobCache, registry: &str, digest: &str) -> Option<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let named = registry.starts_with(|c: char| c != '.') && registry.chars().all(plain);
    Some(cache.folder().join("places").join(named.then_some(registry)?).join(digest::hex_of(digest)?))
}

fn write(cache: &BlobCache, path: &std::path::Path, repository: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    cache.put(path, repository.as_bytes())
}
