//! The bytes of a blob on their way: streamed from where they are, hashed as they go.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use tokio::sync::mpsc;

use crate::image::buffers::Buffers;
use crate::image::digest::Hasher;
use crate::image::{Blob, BlobSource, Descriptor};

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

    /// Whether the blob turned out to be another one than its digest says.
    pub(super) fn changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }
}

/// The blob as a stream of exactly its size. The last piece is held back until the digest is right: of a blob that
/// changed on disk the registry never gets the end.
pub(super) fn stream(blob: &Blob, meter: Arc<Meter>) -> io::Result<impl Stream<Item = io::Result<Bytes>> + use<>> {
    let (reader, cached): (Box<dyn Read + Send>, _) = match &blob.source {
        BlobSource::Memory(bytes) => (Box::new(io::Cursor::new(bytes.clone())), None),
        BlobSource::File { path, offset } => {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(*offset))?;
            (Box::new(file), None)
        }
        BlobSource::Cached(path) => (Box::new(File::open(path)?), Some(path.clone())),
        BlobSource::Spooled(spool) => (Box::new(File::open(spool.path())?), None),
        BlobSource::InRegistry | BlobSource::Elsewhere => return Err(io::Error::other("only a registry has it")),
    };
    let Descriptor { digest, size, .. } = blob.descriptor.clone();
    let (pieces, received) = mpsc::channel(AHEAD);
    // A spool was hashed when it was written just now, and nobody else writes it.
    let hasher = (!matches!(blob.source, BlobSource::Spooled(_))).then(Hasher::new);
    // A thread of its own reads and hashes while the connection sends.
    let told = Arc::clone(&meter);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(reader, size, hasher, &digest, &pieces) {
            told.changed.store(true, Ordering::Relaxed);
            if let Some(path) = cached {
                let _ = std::fs::remove_file(path);
            }
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

/// Fails for a blob that is not what its digest says.
fn send(
    mut reader: Box<dyn Read + Send>,
    size: u64,
    mut hasher: Option<Hasher>,
    digest: &str,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let buffers = Buffers::new(AHEAD + 1);
    let mut left = size;
    while left > 0 {
        let mut buffer = buffers.take();
        buffer.resize(usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK), 0);
        reader.read_exact(&mut buffer)?;
        if let Some(hasher) = &mut hasher {
            hasher.update(&buffer);
        }
        left -= buffer.len() as u64;
        if left == 0 && hasher.take().is_some_and(|hasher| hasher.finish() != digest) {
            return Err(io::Error::other("the blob changed on disk"));
        }
        if pieces.blocking_send(Ok(Bytes::from_owner(buffers.lend(buffer)))).is_err() {
            // Nobody takes it any more.
            return Ok(());
        }
    }
    Ok(())
}
