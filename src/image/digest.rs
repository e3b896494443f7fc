//! `sha256:…`, the name of every blob.

use ring::digest::{Context, SHA256};

/// The digest of a whole text, as `sha256:<hex>`.
pub fn of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(ring::digest::digest(&SHA256, bytes)))
}

/// Whether `text` is a SHA-256 digest in the one spelling that registries accept.
pub fn is_valid(text: &str) -> bool {
    hex_of(text).is_some()
}

/// The hexadecimal part of a valid digest: its file name in a layout. `None` for anything else, so that
/// a digest out of a hostile index never becomes a path.
pub fn hex_of(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("sha256:")?;
    (hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))).then_some(hex)
}

/// A digest of what comes in pieces.
#[derive(Clone)]
pub struct Hasher {
    context: Context,
    size: u64,
}

impl Hasher {
    pub fn new() -> Self {
        Hasher { context: Context::new(&SHA256), size: 0 }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn finish(self) -> String {
        format!("sha256:{}", hex::encode(self.context.finish()))
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher::new()
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
