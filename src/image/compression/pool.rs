//! The threads that compress, shared by all layers of the process: as many as there are processors, up to a bound.

use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};

use super::Compression;
use super::codec::Codec;

/// More would need more memory than a push may have.
const MOST_WORKERS: usize = 4;

struct Job {
    compression: Compression,
    raw: Vec<u8>,
    filled: usize,
    packed: Vec<u8>,
    done: SyncSender<Done>,
}

/// Both buffers come back.
pub(super) struct Done {
    pub(super) raw: Vec<u8>,
    pub(super) packed: io::Result<Vec<u8>>,
}

pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS)
}

/// Compresses what `raw` is filled with into `packed`, in one of the threads.
pub(super) fn compress(
    compression: Compression,
    raw: Vec<u8>,
    filled: usize,
    packed: Vec<u8>,
) -> io::Result<Receiver<Done>> {
    static JOBS: OnceLock<Sender<Job>> = OnceLock::new();
    let (done, result) = sync_channel(1);
    let job = Job { compression, raw, filled, packed, done };
    let sent = JOBS.get_or_init(start).send(job);
    sent.map_err(|_| io::Error::other("the compressing threads are gone"))?;
    Ok(result)
}

fn start() -> Sender<Job> {
    let (sender, receiver) = channel::<Job>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..workers() {
        let receiver = Arc::clone(&receiver);
        std::thread::spawn(move || {
            let mut codec = Codec::default();
            while let Some(Job { compression, raw, filled, packed, done }) = next(&receiver) {
                let packed = codec.compress(compression, &raw[..filled], packed);
                let _ = done.send(Done { raw, packed });
            }
        });
    }
    sender
}

fn next(receiver: &Mutex<Receiver<Job>>) -> Option<Job> {
    receiver.lock().ok()?.recv().ok()
}
