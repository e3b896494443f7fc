//! Blobs on disk, named by their content, and uploads on their way there.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::digest::{Algorithm, Context, SHA256, SHA512, digest};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::OwnedMutexGuard;

use super::EcrState;
use crate::lab::api::random_hex;
use crate::lab::disk;

/// The algorithms that OCI registers, by their names in digests. What is pushed without a digest has the first.
const ALGORITHMS: [(&str, &Algorithm); 2] = [("sha256", &SHA256), ("sha512", &SHA512)];

/// `<data>/blobs`: a folder for each algorithm, in it one file a blob, its name the digits of its digest.
pub fn blobs_folder(data: &Path) -> PathBuf {
    data.join("blobs")
}

/// Where a blob is, or would be. `digest` must be one ([`is_digest`]).
pub fn blob_path(data: &Path, digest: &str) -> PathBuf {
    debug_assert!(is_digest(digest));
    let (algorithm, digits) = digest.split_once(':').unwrap_or(("sha256", digest));
    blobs_folder(data).join(algorithm).join(digits)
}

/// As [`blob_path`], with the folder there.
pub fn prepared_path(data: &Path, digest: &str) -> io::Result<PathBuf> {
    let path = blob_path(data, digest);
    if let Some(folder) = path.parent() {
        disk::private_folder(folder)?;
    }
    Ok(path)
}

/// The digests of all blobs that have a file.
pub fn stored(data: &Path) -> Vec<String> {
    let names = |name: &'static str| {
        let files = fs::read_dir(blobs_folder(data).join(name)).into_iter().flatten().flatten();
        files.filter_map(move |file| Some(format!("{name}:{}", file.file_name().into_string().ok()?)))
    };
    ALGORITHMS.iter().flat_map(|(name, _)| names(name)).collect()
}

/// A registered algorithm, a colon and its lower-case hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    let Some((_, algorithm, digits)) = parts(text) else { return false };
    digits.len() == 2 * algorithm.output_len()
        && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn parts(text: &str) -> Option<(&'static str, &'static Algorithm, &str)> {
    let (name, digits) = text.split_once(':')?;
    let (name, algorithm) = ALGORITHMS.into_iter().find(|(known, _)| *known == name)?;
    Some((name, algorithm, digits))
}

pub fn digest_of(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, content)))
}

/// The digest of `content` by the algorithm of the digest that was announced for it.
pub fn digest_like(announced: Option<&str>, content: &[u8]) -> String {
    match announced.and_then(parts) {
        Some((name, algorithm, _)) => format!("{name}:{}", hex::encode(digest(algorithm, content))),
        None => digest_of(content),
    }
}

/// The uploads that are open. They end with the lab.
pub struct Uploads {
    folder: PathBuf,
    open: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Upload>>>>,
    pub(super) url_key: hmac::Key,
}

/// Of all parts but the last, in bytes.
pub const SMALLEST_PART: u64 = 5 * 1024 * 1024;
/// What ECR says of a smaller one when the upload is to end.
pub const SMALL_PART: &str = "All layer parts except the last part should be at least 5MB";

/// One upload: a file that grows, and the hash of what is in it so far.
pub struct Upload {
    pub id: String,
    pub repository: String,
    path: PathBuf,
    hash: Context,
    /// Bytes so far.
    pub size: u64,
    /// Where the last whole part ended, and its length.
    parts_end: u64,
    last_part: Option<u64>,
    small_part: bool,
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
        let hash = Context::new(&SHA256);
        let repository = repository.to_owned();
        let upload = Upload {
            id: id.clone(),
            repository,
            path,
            hash,
            size: 0,
            parts_end: 0,
            last_part: None,
            small_part: false,
        };
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

    /// Says that a part ends here. All but the last have to be of a size.
    pub fn end_part(&mut self) {
        let length = self.size - self.parts_end;
        if length > 0 {
            self.small_part |= self.last_part.is_some_and(|size| size < SMALLEST_PART);
            self.last_part = Some(length);
            self.parts_end = self.size;
        }
    }

    /// Whether another part than the last one was too small.
    pub fn has_small_part(&self) -> bool {
        self.small_part
    }

    /// The digest of what was written so far.
    pub fn digest(&self) -> String {
        format!("sha256:{}", hex::encode(self.hash.clone().finish()))
    }

    /// The same by the algorithm of an announced digest. For another than sha256 the file is read again, which blocks.
    pub fn digest_like(&self, announced: &str) -> io::Result<String> {
        let Some((name, algorithm, _)) = parts(announced).filter(|(_, algorithm, _)| *algorithm != &SHA256) else {
            return Ok(self.digest());
        };
        let mut hash = Context::new(algorithm);
        let mut file = fs::File::open(&self.path)?;
        let mut block = vec![0; 256 * 1024];
        loop {
            match file.read(&mut block)? {
                0 => return Ok(format!("{name}:{}", hex::encode(hash.finish()))),
                read => hash.update(&block[..read]),
            }
        }
    }

    /// Makes it a blob of its repository, under a digest that is its own. The caller holds the state, so that no
    /// collection comes between.
    pub fn store(&self, digest: &str, state: &mut EcrState, data: &Path, uploads: &Uploads) -> io::Result<()> {
        let Some(repository) = state.repositories.get_mut(&self.repository) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the repository is gone"));
        };
        fs::rename(&self.path, prepared_path(data, digest)?)?;
        repository.blobs.insert(digest.to_owned(), self.size);
        uploads.lock().remove(&self.id);
        Ok(())
    }
}
