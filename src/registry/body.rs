//! The bytes of a blob on their way: streamed from where they are. Its digest is known, and the registry holds what came
//! to it: they are hashed here only where the registry says that they are others.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use tokio::sync::mpsc;

use crate::image::buffers::Buffers;
use crate::image::digest::Hasher;
use crate::image::{Blob, BlobSource};

/// Read at once.
const CHUNK: usize = 512 << 10;
/// Handed to the connection at once: on a slow one, this is what has to move before it counts as stalled.
const PART: usize = 256 << 10;
/// Pieces of one upload that wait for the connection.
const AHEAD: usize = 2;

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

    /// Whether the blob could not be read to its end.
    pub(super) fn changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }
}

/// The blob as a stream of exactly its size.
pub(super) fn stream(blob: &Blob, meter: Arc<Meter>) -> io::Result<impl Stream<Item = io::Result<Bytes>> + use<>> {
    let mut reader = open(blob)?;
    let (size, cached) = (blob.descriptor.size, cached(blob));
    let (pieces, received) = mpsc::channel(AHEAD);
    // A thread of its own reads while the connection sends.
    let told = Arc::clone(&meter);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&mut *reader, size, &pieces) {
            told.changed.store(true, Ordering::Relaxed);
            forget(cached);
            let _ = pieces.blocking_send(Err(error));
        }
    });
    Ok(unfold((received, Bytes::new(), meter), |(mut received, mut rest, meter)| async move {
        if rest.is_empty() {
            rest = match received.recv().await? {
                Ok(piece) => piece,
                Err(error) => return Some((Err(error), (received, rest, meter))),
            };
        }
        let part = rest.split_to(rest.len().min(PART));
        meter.add(part.len());
        Some((Ok(part), (received, rest, meter)))
    }))
}

/// Whether the blob is what its digest says. One of the cache's own that is not is removed, so that it is made anew.
pub(super) async fn is_sound(blob: &Blob) -> bool {
    let (reader, digest, cached) = (open(blob), blob.descriptor.digest.clone(), cached(blob));
    let sound = tokio::task::spawn_blocking(move || {
        let mut hasher = Hasher::new();
        let sound =
            reader.and_then(|mut reader| io::copy(&mut reader, &mut hasher)).is_ok() && hasher.finish() == digest;
        if !sound {
            forget(cached);
        }
        sound
    });
    sound.await.unwrap_or(false)
}

fn open(blob: &Blob) -> io::Result<Box<dyn Read + Send>> {
    let size = blob.descriptor.size;
    Ok(match &blob.source {
        BlobSource::Memory(bytes) => Box::new(io::Cursor::new(bytes.clone())),
        BlobSource::File { path, offset } => {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(*offset))?;
            Box::new(file.take(size))
        }
        BlobSource::Cached(path) => Box::new(File::open(path)?),
        BlobSource::Spooled(spool) => Box::new(File::open(spool.path())?),
        BlobSource::InRegistry | BlobSource::Elsewhere => return Err(io::Error::other("only a registry has it")),
    })
}

fn cached(blob: &Blob) -> Option<PathBuf> {
    match &blob.source {
        BlobSource::Cached(path) => Some(path.clone()),
        _ => None,
    }
}

fn forget(cached: Option<PathBuf>) {
    if let Some(path) = cached {
        let _ = std::fs::remove_file(path);
    }
}

fn send(reader: &mut dyn Read, size: u64, pieces: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let buffers = Buffers::new(AHEAD + 1);
    let mut left = size;
    while left > 0 {
        let mut buffer = buffers.take();
        buffer.resize(usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK), 0);
        reader.read_exact(&mut buffer)?;
        left -= buffer.len() as u64;
        if pieces.blocking_send(Ok(Bytes::from_owner(buffers.lend(buffer)))).is_err() {
            // Nobody takes it any more.
            return Ok(());
        }
    }
    Ok(())
}
