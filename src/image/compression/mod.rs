//! Compression whose output depends on nothing but its input: members (gzip) or frames (zstd) of one size at one level,
//! with no time in them, compressed side by side.

mod codec;
mod pool;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::mpsc::Receiver;

use serde::{Deserialize, Serialize};

use super::buffers::{Buffer, Buffers};
use super::digest::Hasher;
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

/// What is compressed at once. Its size and the levels are part of every layer's digest: a change to one renames every layer
/// that was ever pushed.
const BLOCK: usize = 1 << 20;

impl Compression {
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

/// Compresses what is written to it, and gives the blocks to `out` in their order. So many blocks are compressed ahead of
/// `out` and not yet dropped by it, and no more.
pub struct Compressor<F> {
    out: F,
    compression: Compression,
    /// A whole block of memory, filled as far as `filled`.
    raw: Vec<u8>,
    filled: usize,
    spare: Vec<Vec<u8>>,
    running: VecDeque<Receiver<pool::Done>>,
    packed: Buffers,
    is_empty: bool,
}

impl<F: FnMut(Buffer) -> io::Result<()>> Compressor<F> {
    /// `beside` is how many layers are compressed at once: they share the processors and the memory.
    pub fn new(out: F, compression: Compression, beside: usize) -> Self {
        let ahead = (1 + pool::workers().div_ceil(beside.max(1))).max(2);
        Compressor {
            out,
            compression,
            raw: vec![0; BLOCK],
            filled: 0,
            spare: Vec::new(),
            running: VecDeque::with_capacity(ahead),
            packed: Buffers::new(ahead),
            is_empty: true,
        }
    }

    /// Reads to the end, without a copy in between. `content` gets what was read, and `on_read` how much.
    pub fn read_from(
        &mut self,
        reader: &mut impl Read,
        content: &mut Hasher,
        mut on_read: impl FnMut(usize),
    ) -> Result<(), ReadOrWrite> {
        loop {
            if self.filled == BLOCK {
                self.submit().map_err(ReadOrWrite::Write)?;
            }
            let read = match reader.read(&mut self.raw[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(ReadOrWrite::Read)?,
            };
            if read == 0 {
                return Ok(());
            }
            content.update(&self.raw[self.filled..self.filled + read]);
            self.filled += read;
            on_read(read);
        }
    }

    /// Gives out what is left.
    pub fn finish(mut self) -> io::Result<()> {
        // An empty input is one empty block, for zero bytes are no compressed file.
        if self.is_empty || self.filled > 0 {
            self.submit()?;
        }
        while self.give_oldest()? {}
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        self.is_empty = false;
        let packed = loop {
            if let Some(packed) = self.packed.try_take() {
                break packed;
            }
            // Without one under way, all of them are with `out`, which drops them as it goes.
            if !self.give_oldest()? {
                break self.packed.take();
            }
        };
        let next = self.spare.pop().unwrap_or_else(|| vec![0; BLOCK]);
        let raw = std::mem::replace(&mut self.raw, next);
        let filled = std::mem::take(&mut self.filled);
        self.running.push_back(pool::compress(self.compression, raw, filled, packed)?);
        Ok(())
    }

    fn give_oldest(&mut self) -> io::Result<bool> {
        let Some(oldest) = self.running.pop_front() else { return Ok(false) };
        let done = oldest.recv().map_err(|_| io::Error::other("a compressing thread is gone"))?;
        self.spare.push(done.raw);
        (self.out)(self.packed.lend(done.packed?))?;
        Ok(true)
    }
}

/// Which side of a copy failed.
#[derive(Debug)]
pub enum ReadOrWrite {
    Read(io::Error),
    Write(io::Error),
}

impl<F: FnMut(Buffer) -> io::Result<()>> Write for Compressor<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled == BLOCK {
            self.submit()?;
        }
        let taken = bytes.len().min(BLOCK - self.filled);
        self.raw[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
