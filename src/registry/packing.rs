//! A layer on its way that is compressed as it goes: read once, hashed before and after, sent while the rest is read.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{Stream, StreamExt, unfold};
use tokio::sync::{mpsc, oneshot};

use super::body::Meter;
use crate::error::{Error, Result};
use crate::image::buffers::Buffer;
use crate::image::cache::Compressed;
use crate::image::compression::{Compression, Compressor, ReadOrWrite};
use crate::image::digest::Hasher;
use crate::image::draft::PlainLayer;

/// Compressed blocks that wait for the connection; the compressor bounds their number.
const QUEUE: usize = 8;

/// Layers that are compressed at once: where the registry is far, each connection is slower than a processor.
pub(super) const AT_ONCE: usize = 4;

/// What a layer turned out to be, once all of it was read.
pub(super) type Outcome = oneshot::Receiver<Result<Compressed, Spoiled>>;

pub(super) enum Spoiled {
    /// It cannot be read, or is not what its config says.
    Damaged(Error),
    /// Nobody takes it any more.
    GivenUp,
}

/// The compressed layer as a stream, whose length only its end tells. `beside` is how many are
/// compressed at once; `meter` counts what was read of the layer.
pub(super) fn stream(
    layer: &PlainLayer,
    diff_id: &str,
    compression: Compression,
    beside: usize,
    meter: Arc<Meter>,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + use<>, Outcome) {
    let (blocks, received) = mpsc::channel(QUEUE);
    let (done, outcome) = oneshot::channel();
    let (layer, diff_id) = (layer.clone(), diff_id.to_owned());
    tokio::task::spawn_blocking(move || {
        let packed = pack(&layer, &diff_id, compression, beside, &meter, &blocks);
        if packed.is_err() {
            // The registry never gets the end of a layer that is damaged.
            let _ = blocks.blocking_send(Err(io::Error::other("the layer is not what it was to be")));
        }
        let _ = done.send(packed);
    });
    let stream = unfold(received, |mut received| async move { received.recv().await.map(|block| (block, received)) });
    (stream, outcome)
}

/// A small layer, compressed in memory.
pub(super) async fn whole(layer: &PlainLayer, diff_id: &str, compression: Compression) -> Result<(Compressed, Bytes)> {
    let (stream, outcome) = stream(layer, diff_id, compression, AT_ONCE, Arc::default());
    let mut stream = std::pin::pin!(stream);
    let mut bytes = BytesMut::new();
    while let Some(Ok(block)) = stream.next().await {
        bytes.extend_from_slice(&block);
    }
    match outcome.await {
        Ok(Ok(packed)) => Ok((packed, bytes.freeze())),
        Ok(Err(Spoiled::Damaged(error))) => Err(error),
        Ok(Err(Spoiled::GivenUp)) | Err(_) => Err(Error::other("compressing a layer was broken off")),
    }
}

fn pack(
    layer: &PlainLayer,
    diff_id: &str,
    compression: Compression,
    beside: usize,
    meter: &Meter,
    blocks: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<Compressed, Spoiled> {
    let cannot = |error: io::Error| Spoiled::Damaged(layer.unreadable(error));
    let mut reader = layer.open().map_err(cannot)?;
    let mut held = None;
    let mut hasher = Hasher::new();
    // The last block is held back until the layer is known to be sound.
    let send = |block: Buffer| {
        hasher.update(block.as_ref());
        match held.replace(Bytes::from_owner(block)) {
            Some(before) => blocks.blocking_send(Ok(before)).map_err(io::Error::other),
            None => Ok(()),
        }
    };
    let mut compressor = Compressor::new(send, compression, beside);
    let mut content = Hasher::new();
    compressor.read_from(&mut reader, &mut content, |read| meter.add(read)).map_err(|error| match error {
        ReadOrWrite::Read(error) => cannot(error),
        ReadOrWrite::Write(_) => Spoiled::GivenUp,
    })?;
    compressor.finish().map_err(|_| Spoiled::GivenUp)?;
    if content.size() != layer.size() || content.finish() != diff_id {
        return Err(Spoiled::Damaged(layer.damaged(diff_id)));
    }
    if let Some(last) = held {
        blocks.blocking_send(Ok(last)).map_err(|_| Spoiled::GivenUp)?;
    }
    Ok(Compressed { size: hasher.size(), digest: hasher.finish() })
}
