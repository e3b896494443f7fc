//! The bytes of a blob on their way: streamed from where they are, hashed as they go.

use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{Stream, try_unfold};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::image::digest::Hasher;
use crate::image::{Blob, BlobSource};

/// Read and sent at once. Uploads hold two or three of these each.
const CHUNK: usize = 256 << 10;

/// What an upload's stream tells of itself.
#[derive(Default)]
pub(super) struct Meter {
    sent: AtomicU64,
    changed: AtomicBool,
}

impl Meter {
    /// Bytes that were handed to the connection.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the blob turned out to be another one than its digest says.
    pub(super) fn changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }
}

struct Source {
    reader: Reader,
    hasher: Option<Hasher>,
    left: u64,
    digest: String,
    /// Removed when it is damaged.
    cached: Option<PathBuf>,
    meter: Arc<Meter>,
}

enum Reader {
    Memory(Bytes),
    File(File),
}

/// The blob as a stream of exactly its size. The last piece is held back until the digest is right: of a blob that
/// changed on disk the registry never gets the end.
pub(super) async fn stream(
    blob: &Blob,
    meter: Arc<Meter>,
) -> io::Result<impl Stream<Item = io::Result<Bytes>> + use<>> {
    let (reader, cached) = match &blob.source {
        BlobSource::Memory(bytes) => (Reader::Memory(bytes.clone()), None),
        BlobSource::File { path, offset } => {
            let mut file = File::open(path).await?;
            file.seek(SeekFrom::Start(*offset)).await?;
            (Reader::File(file), None)
        }
        BlobSource::Cached(path) => (Reader::File(File::open(path).await?), Some(path.clone())),
        BlobSource::Spooled(spool) => (Reader::File(File::open(spool.path()).await?), None),
        BlobSource::InRegistry | BlobSource::Elsewhere => return Err(io::Error::other("only a registry has it")),
    };
    let descriptor = &blob.descriptor;
    let (left, digest) = (descriptor.size, descriptor.digest.clone());
    let source = Source { reader, hasher: Some(Hasher::new()), left, digest, cached, meter };
    Ok(try_unfold(source, |mut source| async move {
        let chunk = source.next().await?;
        Ok(chunk.map(|chunk| (chunk, source)))
    }))
}

impl Source {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(CHUNK);
        let chunk = match &mut self.reader {
            Reader::Memory(bytes) => bytes.split_to(want.min(bytes.len())),
            Reader::File(file) => {
                let mut buffer = BytesMut::with_capacity(want);
                while buffer.len() < want
                    && (&mut *file).take((want - buffer.len()) as u64).read_buf(&mut buffer).await? > 0
                {
                }
                buffer.freeze()
            }
        };
        if chunk.len() < want {
            return Err(self.damaged());
        }
        self.left -= chunk.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        if self.left == 0 && self.hasher.take().map(Hasher::finish).as_ref() != Some(&self.digest) {
            return Err(self.damaged());
        }
        self.meter.add(chunk.len());
        Ok(Some(chunk))
    }

    fn damaged(&self) -> io::Error {
        self.meter.changed.store(true, Ordering::Relaxed);
        if let Some(path) = &self.cached {
            let _ = std::fs::remove_file(path);
        }
        io::Error::other("the blob changed on disk")
    }
}
