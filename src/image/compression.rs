//! Compression whose output depends on nothing but its input: members (gzip) or frames (zstd) of one size at one level,
//! with no time in them, compressed side by side.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use libdeflater::CompressionLvl;
use serde::{Deserialize, Serialize};

use super::manifest::{LAYER_GZIP, LAYER_ZSTD};

/// How layers travel.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// What every engine can pull.
    #[default]
    Gzip,
    /// Smaller and sooner unpacked; Docker before 23 cannot pull it.
    Zstd,
}

/// Sizes and levels are part of every layer's digest: a change to one renames every layer that was ever pushed.
impl Compression {
    fn block(self) -> usize {
        match self {
            Compression::Gzip => 1 << 20,
            Compression::Zstd => 2 << 20,
        }
    }

    fn level(self) -> i32 {
        match self {
            Compression::Gzip => 1,
            Compression::Zstd => 3,
        }
    }

    /// Memory is blocks: each is held once as it came and once compressed.
    fn most_workers(self) -> usize {
        match self {
            Compression::Gzip => 8,
            Compression::Zstd => 4,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Compression::Gzip => LAYER_GZIP,
            Compression::Zstd => LAYER_ZSTD,
        }
    }
}

struct Job {
    raw: Vec<u8>,
    done: SyncSender<io::Result<Vec<u8>>>,
}

/// Compresses what is written to it into `out`. Holds at most one block a worker in memory, and one more.
pub struct Compressor<W: Write> {
    out: W,
    compression: Compression,
    block: Vec<u8>,
    running: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    jobs: Option<SyncSender<Job>>,
    workers: usize,
}

impl<W: Write> Compressor<W> {
    pub fn new(out: W, compression: Compression) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(compression.most_workers());
        Compressor { out, compression, block: Vec::new(), running: VecDeque::new(), jobs: None, workers }
    }

    /// Writes what is left and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        // An empty input is one empty block, for zero bytes are no compressed file.
        let only = self.jobs.is_none();
        if only {
            let block = Codec::new(self.compression)?.compress(&self.block)?;
            self.out.write_all(&block)?;
        } else if !self.block.is_empty() {
            self.submit()?;
        }
        while self.write_oldest()? {}
        Ok(self.out)
    }

    fn submit(&mut self) -> io::Result<()> {
        if self.running.len() > self.workers {
            self.write_oldest()?;
        }
        let (workers, compression) = (self.workers, self.compression);
        let jobs = self.jobs.get_or_insert_with(|| start(workers, compression));
        let (done, result) = sync_channel(1);
        let raw = std::mem::take(&mut self.block);
        jobs.send(Job { raw, done }).map_err(|_| io::Error::other("the compressing threads are gone"))?;
        self.running.push_back(result);
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<bool> {
        let Some(oldest) = self.running.pop_front() else { return Ok(false) };
        let block = oldest.recv().map_err(|_| io::Error::other("a compressing thread is gone"))??;
        self.out.write_all(&block)?;
        Ok(true)
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.compression.block();
        if self.block.len() == most {
            self.submit()?;
        }
        let taken = bytes.len().min(most - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Threads that end when the sender does.
fn start(workers: usize, compression: Compression) -> SyncSender<Job> {
    let (sender, receiver) = sync_channel::<Job>(workers);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..workers {
        let receiver = Arc::clone(&receiver);
        std::thread::spawn(move || {
            let mut codec = Codec::new(compression);
            while let Some(job) = next(&receiver) {
                let result = match &mut codec {
                    Ok(codec) => codec.compress(&job.raw),
                    Err(error) => Err(io::Error::other(error.to_string())),
                };
                let _ = job.done.send(result);
            }
        });
    }
    sender
}

fn next(receiver: &Mutex<Receiver<Job>>) -> Option<Job> {
    receiver.lock().ok()?.recv().ok()
}

enum Codec {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Codec {
    fn new(compression: Compression) -> io::Result<Codec> {
        let level = compression.level();
        Ok(match compression {
            Compression::Gzip => {
                let level = CompressionLvl::new(level).map_err(|_| io::Error::other("no such compression level"))?;
                Codec::Gzip(libdeflater::Compressor::new(level))
            }
            Compression::Zstd => Codec::Zstd(zstd::bulk::Compressor::new(level)?),
        })
    }

    fn compress(&mut self, raw: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Codec::Gzip(compressor) => {
                let mut member = vec![0; compressor.gzip_compress_bound(raw.len())];
                let size =
                    compressor.gzip_compress(raw, &mut member).map_err(|error| io::Error::other(error.to_string()))?;
                member.truncate(size);
                Ok(member)
            }
            Codec::Zstd(compressor) => compressor.compress(raw),
        }
    }
}
