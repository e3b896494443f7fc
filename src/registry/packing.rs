//! A layer on its way that is compressed as it goes: read once, hashed before and after, sent while the rest is read.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{Stream, StreamExt, unfold};
use tokio::sync::{mpsc, oneshot};

use super::body::Meter;
use crate::error::{Error, Result};
use crate::image::cache::Compressed;
use crate::image::compression::{Compression, Compressor};
use crate::image::digest::Hasher;
use crate::image::draft::PlainLayer;

/// Read at once.
const CHUNK: usize = 256 << 10;
/// Compressed blocks that wait for the connection.
const QUEUE: usize = 4;

/// What a layer turned out to be, once all of it was read.
pub(super) type Outcome = oneshot::Receiver<Result<Compressed, Spoiled>>;

pub(super) enum Spoiled {
    /// It cannot be read, or is not what its config says.
    Damaged(Error),
    /// Nobody takes it any more.
    GivenUp,
}

/// The compressed layer as a stream, whose length only its end tells. `meter` counts what was read of the layer.
pub(super) fn stream(
    layer: &PlainLayer,
    diff_id: &str,
    compression: Compression,
    meter: Arc<Meter>,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + use<>, Outcome) {
    let (blocks, received) = mpsc::channel(QUEUE);
    let (done, outcome) = oneshot::channel();
    let (layer, diff_id) = (layer.clone(), diff_id.to_owned());
    tokio::task::spawn_blocking(move || {
        let packed = pack(&layer, &diff_id, compression, &meter, &blocks);
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
    let (stream, outcome) = stream(layer, diff_id, compression, Arc::default());
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
    meter: &Meter,
    blocks: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<Compressed, Spoiled> {
    let cannot = |error: io::Error| {
        let name = layer.path.display();
        Spoiled::Damaged(Error::build_or_push(format!("cannot read a layer of `{name}`")).cause(error))
    };
    let given_up = |_: io::Error| Spoiled::GivenUp;
    let mut reader = layer.open().map_err(cannot)?;
    let mut out = Compressor::new(Out { hasher: Hasher::new(), held: None, blocks }, compression);
    let mut content = Hasher::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = reader.read(&mut buffer).map_err(cannot)?;
        if read == 0 {
            break;
        }
        content.update(&buffer[..read]);
        out.write_all(&buffer[..read]).map_err(given_up)?;
        meter.add(read);
    }
    let mut out = out.finish().map_err(given_up)?;
    if content.size() != layer.size || content.finish() != diff_id {
        return Err(Spoiled::Damaged(
            Error::build_or_push(format!("a layer of `{}` is damaged", layer.path.display()))
                .hint(format!("its content is not `{diff_id}`, as the image's config says: make the image again")),
        ));
    }
    out.flush().map_err(given_up)?;
    Ok(Compressed { size: out.hasher.size(), digest: out.hasher.finish() })
}

/// Holds the last block back until the layer is known to be sound.
struct Out<'a> {
    hasher: Hasher,
    held: Option<Bytes>,
    blocks: &'a mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Out<'_> {
    fn write(&mut self, block: &[u8]) -> io::Result<usize> {
        self.flush()?;
        self.hasher.update(block);
        self.held = Some(Bytes::copy_from_slice(block));
        Ok(block.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(block) = self.held.take() else { return Ok(()) };
        self.blocks.blocking_send(Ok(block)).map_err(|_| io::Error::other("the upload was given up"))
    }
}
