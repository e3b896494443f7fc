//! Gzip whose output depends on nothing but its input: members of 1 MiB each at one level, with no time in them,
//! compressed side by side.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use libdeflater::{CompressionLvl, Compressor};

/// These two are part of every layer's digest: a change to one renames every layer that was ever pushed.
const MEMBER: usize = 1 << 20;
const LEVEL: i32 = 1;

const MAX_WORKERS: usize = 8;

struct Job {
    raw: Vec<u8>,
    done: SyncSender<io::Result<Vec<u8>>>,
}

/// Compresses what is written to it into `out`. Holds at most two members a worker in memory.
pub struct GzipWriter<W: Write> {
    out: W,
    block: Vec<u8>,
    running: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    jobs: Option<SyncSender<Job>>,
    workers: usize,
}

impl<W: Write> GzipWriter<W> {
    pub fn new(out: W) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        GzipWriter { out, block: Vec::new(), running: VecDeque::new(), jobs: None, workers }
    }

    /// Writes what is left and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        // An empty input is one empty member, for zero bytes are no gzip file.
        let only = self.jobs.is_none();
        if only {
            let member = compress(&mut compressor()?, &self.block)?;
            self.out.write_all(&member)?;
        } else if !self.block.is_empty() {
            self.submit()?;
        }
        while self.write_oldest()? {}
        Ok(self.out)
    }

    fn submit(&mut self) -> io::Result<()> {
        if self.running.len() >= self.workers * 2 {
            self.write_oldest()?;
        }
        let workers = self.workers;
        let jobs = self.jobs.get_or_insert_with(|| start(workers));
        let (done, result) = sync_channel(1);
        let raw = std::mem::take(&mut self.block);
        jobs.send(Job { raw, done }).map_err(|_| io::Error::other("the compressing threads are gone"))?;
        self.running.push_back(result);
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<bool> {
        let Some(oldest) = self.running.pop_front() else { return Ok(false) };
        let member = oldest.recv().map_err(|_| io::Error::other("a compressing thread is gone"))??;
        self.out.write_all(&member)?;
        Ok(true)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == MEMBER {
            self.submit()?;
        }
        if self.block.capacity() == 0 {
            self.block.reserve_exact(MEMBER);
        }
        let taken = bytes.len().min(MEMBER - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Threads that end when the sender does.
fn start(workers: usize) -> SyncSender<Job> {
    let (sender, receiver) = sync_channel::<Job>(workers * 2);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..workers {
        let receiver = Arc::clone(&receiver);
        std::thread::spawn(move || {
            let mut compressor = compressor();
            while let Some(job) = next(&receiver) {
                let result = match &mut compressor {
                    Ok(compressor) => compress(compressor, &job.raw),
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

fn compressor() -> io::Result<Compressor> {
    let level = CompressionLvl::new(LEVEL).map_err(|_| io::Error::other("no such compression level"))?;
    Ok(Compressor::new(level))
}

fn compress(compressor: &mut Compressor, raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = vec![0; compressor.gzip_compress_bound(raw.len())];
    let size = compressor.gzip_compress(raw, &mut member).map_err(|error| io::Error::other(error.to_string()))?;
    member.truncate(size);
    Ok(member)
}
