//! Blobs on disk, named by their content, and uploads on their way there.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::digest::{Context, SHA256, digest};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::OwnedMutexGuard;

use super::EcrState;
use crate::lab::api::random_hex;
use crate::lab::disk;

/// `<data>/blobs/sha256`: one file a blob, its name the 64 digits of its digest.
pub fn blobs_folder(data: &Path) -> PathBuf {
    data.join("blobs").join("sha256")
}

/// Where a blob is, or would be. `digest` must be one ([`is_digest`]).
pub fn blob_path(data: &Path, digest: &str) -> PathBuf {
    debug_assert!(is_digest(digest));
    blobs_folder(data).join(digest.trim_start_matches("sha256:"))
}

/// `sha256:` and 64 lower-case hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

pub fn digest_of(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, content)))
}

/// The uploads that are open. They end with the lab.
pub struct Uploads {
    folder: PathBuf,
    open: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Upload>>>>,
    pub(super) url_key: hmac::Key,
}

/// One upload: a file that grows, and the hash of what is in it so far.
pub struct Upload {
    pub id: String,
    pub repository: String,
    path: PathBuf,
    hash: Context,
    /// Bytes so far.
    pub size: u64,
}

/// An upload while a request writes to it. The next request may have it when this is dropped, however the first ended.
pub type Taken = OwnedMutexGuard<Upload>;

/// Why an upload cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    Unknown,
    /// Another request is writing to it.
    Busy,
}

impl Uploads {
    pub fn new(data: &Path) -> Self {
        let url_key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Uploads {
            folder: data.join("uploads"),
            open: Mutex::default(),
            url_key: url_key.expect("the system's random source answers"),
        }
    }

    /// Opens an upload and returns its id, a UUID.
    pub fn begin(&self, repository: &str) -> io::Result<String> {
        let digits = random_hex(32);
        let id = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-");
        disk::private_folder(&self.folder)?;
        let path = self.folder.join(&id);
        disk::new_private_file(&path)?;
        let upload =
            Upload { id: id.clone(), repository: repository.to_owned(), path, hash: Context::new(&SHA256), size: 0 };
        self.lock().insert(id.clone(), Arc::new(tokio::sync::Mutex::new(upload)));
        Ok(id)
    }

    /// Takes an upload for writing.
    pub fn take(&self, id: &str, repository: &str) -> Result<Taken, Unavailable> {
        let open = self.lock();
        let upload = open.get(id).ok_or(Unavailable::Unknown)?;
        let taken = upload.clone().try_lock_owned().map_err(|_| Unavailable::Busy)?;
        if taken.repository == repository { Ok(taken) } else { Err(Unavailable::Unknown) }
    }

    /// Ends an upload without a blob.
    pub fn discard(&self, upload: Taken) {
        self.lock().remove(&upload.id);
        let _ = fs::remove_file(&upload.path);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<Upload>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// Appends to the upload.
    pub fn writer(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().append(true).open(&self.path)
    }

    /// Writes to a file that [`Upload::writer`] opened.
    pub fn write(&mut self, file: &mut fs::File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// The digest of what was written so far.
    pub fn digest(&self) -> String {
        format!("sha256:{}", hex::encode(self.hash.clone().finish()))
    }

    /// Makes it a blob of its repository. The caller holds the state, so that no collection comes between.
    pub fn store(&self, state: &mut EcrState, data: &Path, uploads: &Uploads) -> io::Result<String> {
        let digest = self.digest();
        let Some(repository) = state.repositories.get_mut(&self.repository) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the repository is gone"));
        };
        disk::private_folder(&blobs_folder(data))?;
        fs::rename(&self.path, blob_path(data, &digest))?;
        repository.blobs.insert(digest.clone(), self.size);
        uploads.lock().remove(&self.id);
        Ok(digest)
    }
}
