//! Memory that goes round: as many buffers as there were to begin with, each used again once whoever had it drops it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

pub struct Buffers {
    free: Receiver<Vec<u8>>,
    home: SyncSender<Vec<u8>>,
}

/// A buffer that is lent.
pub struct Buffer {
    bytes: Vec<u8>,
    home: SyncSender<Vec<u8>>,
}

impl Buffers {
    pub fn new(count: usize) -> Self {
        let (home, free) = sync_channel(count);
        for _ in 0..count {
            let _ = home.try_send(Vec::new());
        }
        Buffers { free, home }
    }

    /// The memory of a buffer that nobody has: empty, or with what was in it last. Waits for one.
    pub fn take(&self) -> Vec<u8> {
        // `home` is not gone.
        self.free.recv().unwrap_or_default()
    }

    pub fn try_take(&self) -> Option<Vec<u8>> {
        self.free.try_recv().ok()
    }

    pub fn lend(&self, bytes: Vec<u8>) -> Buffer {
        Buffer { bytes, home: self.home.clone() }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let _ = self.home.try_send(std::mem::take(&mut self.bytes));
    }
}
