//! One block at a time: gzip members or zstd frames.

use std::io;

use libdeflater::CompressionLvl;

use super::Compression;

const GZIP_LEVEL: i32 = 1;
const ZSTD_LEVEL: i32 = 3;

/// What is looked at to tell whether it is worth compressing.
const PIECE: usize = 64 << 10;

/// Contexts, made when they are needed first.
#[derive(Default)]
pub(super) struct Codec {
    gzip: Option<libdeflater::Compressor>,
    gzip_stored: Option<libdeflater::Compressor>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    zstd_stored: Option<zstd::bulk::Compressor<'static>>,
}

impl Codec {
    /// The block, compressed into the memory of `packed`.
    pub(super) fn compress(
        &mut self,
        compression: Compression,
        raw: &[u8],
        mut packed: Vec<u8>,
    ) -> io::Result<Vec<u8>> {
        packed.clear();
        for (is_dense, run) in runs(raw) {
            match compression {
                Compression::Gzip if is_dense => member(deflate(&mut self.gzip_stored, 0)?, run, &mut packed)?,
                Compression::Gzip => member(deflate(&mut self.gzip, GZIP_LEVEL)?, run, &mut packed)?,
                Compression::Zstd if is_dense => frame(zstd(&mut self.zstd_stored, fastest())?, run, &mut packed)?,
                Compression::Zstd => frame(zstd(&mut self.zstd, ZSTD_LEVEL)?, run, &mut packed)?,
            }
        }
        Ok(packed)
    }
}

/// So far from a search for what repeats that dense runs are copied.
fn fastest() -> i32 {
    *zstd::compression_level_range().start()
}

fn deflate(slot: &mut Option<libdeflater::Compressor>, level: i32) -> io::Result<&mut libdeflater::Compressor> {
    Ok(match slot {
        Some(compressor) => compressor,
        none => {
            let level = CompressionLvl::new(level).map_err(|_| io::Error::other("no such compression level"))?;
            none.insert(libdeflater::Compressor::new(level))
        }
    })
}

fn member(compressor: &mut libdeflater::Compressor, run: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
    let from = packed.len();
    packed.resize(from + compressor.gzip_compress_bound(run.len()), 0);
    let size = compressor.gzip_compress(run, &mut packed[from..]);
    packed.truncate(from + size.map_err(|error| io::Error::other(error.to_string()))?);
    Ok(())
}

fn zstd<'c>(
    slot: &'c mut Option<zstd::bulk::Compressor<'static>>,
    level: i32,
) -> io::Result<&'c mut zstd::bulk::Compressor<'static>> {
    Ok(match slot {
        Some(compressor) => compressor,
        none => none.insert(zstd::bulk::Compressor::new(level)?),
    })
}

fn frame(compressor: &mut zstd::bulk::Compressor<'_>, run: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
    let from = packed.len();
    packed.resize(from + zstd::zstd_safe::compress_bound(run.len()), 0);
    let size = compressor.compress_to_buffer(run, &mut packed[from..])?;
    packed.truncate(from + size);
    Ok(())
}

/// The block in runs that are worth compressing and runs that are not: most of the time would go into the latter, which
/// archives in layers (jars, wheels, pictures) are full of. The empty block is one empty run.
fn runs(raw: &[u8]) -> Vec<(bool, &[u8])> {
    let mut runs: Vec<(bool, &[u8])> = Vec::new();
    let mut from = 0;
    let mut current = None;
    for at in (0..raw.len()).step_by(PIECE) {
        let piece = &raw[at..raw.len().min(at + PIECE)];
        let is_dense = is_dense(piece);
        if let Some(before) = current.replace(is_dense)
            && before != is_dense
        {
            runs.push((before, &raw[from..at]));
            from = at;
        }
    }
    runs.push((current.unwrap_or(false), &raw[from..]));
    runs
}

/// Whether a piece looks like it was compressed or encrypted: no byte is more frequent than another, and nothing in it
/// was there before.
fn is_dense(piece: &[u8]) -> bool {
    piece.len() == PIECE && is_even(piece) && !repeats(piece)
}

/// Sums the squares of the bytes' frequencies in a sample: n²/256 + n for bytes by chance.
fn is_even(piece: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    let mut n = 0;
    for line in piece.chunks_exact(64) {
        line[..16].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        n += 16;
    }
    let squares: u64 = counts.iter().map(|count| u64::from(*count).pow(2)).sum();
    let by_chance = n * n / 256 + n;
    squares * 100 < by_chance * 103
}

/// Whether strings of some length come again: every 32nd place is remembered, and two windows are looked up.
fn repeats(piece: &[u8]) -> bool {
    const SLOTS: usize = 1 << (64 - 52);
    let word = |at: usize| u64::from_le_bytes(piece[at..at + 8].try_into().unwrap_or_default());
    let slot = |word: u64| (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize;
    let mut seen = [0u16; SLOTS];
    let mut found = 0;
    for (window, remembered) in [(PIECE / 2, 0), (PIECE - 1024, PIECE / 2)] {
        for at in (remembered..window).step_by(32) {
            seen[slot(word(at))] = at as u16;
        }
        found += (window..window + 1024 - 8)
            .filter(|at| {
                let before = usize::from(seen[slot(word(*at))]);
                before < *at && word(before) == word(*at)
            })
            .count();
    }
    found > 2
}
