//! What layers are compressed to: the same content again, for every client, and not larger than it must be.

use std::io::{Read, Write};

use proptest::prelude::*;
use steadystate::image::compression::{Compression, Compressor};
use steadystate::image::digest::{self, Hasher};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn compress(raw: &[u8], compression: Compression) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut compressor = Compressor::new(
        |block| {
            packed.extend_from_slice(block.as_ref());
            Ok(())
        },
        compression,
        1,
    );
    let mut content = Hasher::new();
    compressor.read_from(&mut &raw[..], &mut content, |_| {}).unwrap();
    assert_eq!(content.finish(), digest::of(raw));
    compressor.finish().unwrap();
    packed
}

fn decompress(packed: &[u8], compression: Compression) -> Vec<u8> {
    let mut raw = Vec::new();
    match compression {
        Compression::Gzip => flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut raw).unwrap(),
        Compression::Zstd => zstd::stream::read::Decoder::new(packed).unwrap().read_to_end(&mut raw).unwrap(),
    };
    raw
}

/// Bytes by chance, the same ones every time.
fn chance(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn text(size: usize) -> Vec<u8> {
    let words = ["cluster", "service", "task", "target", "steady", "digest", "layer"];
    let numbers = chance(7, size);
    let words = numbers.iter().flat_map(|n| [words[usize::from(*n) % words.len()].as_bytes(), b" "]);
    words.flatten().copied().take(size).collect()
}

#[test]
fn what_compresses_is_compressed_and_what_does_not_is_not_tried() {
    let doubled = [chance(1, 16 * KIB), chance(1, 16 * KIB)].concat().repeat(4);
    let table: [(&str, Vec<u8>, f64); 6] = [
        ("nothing", Vec::new(), f64::INFINITY),
        ("text", text(3 * MIB), 0.45),
        ("zeros", vec![0; 3 * MIB], 0.02),
        ("chance", chance(2, 3 * MIB + 100), 1.001),
        ("the same again after 16 KiB", doubled, 0.2),
        (
            "text and chance by turns",
            (0..8).flat_map(|n| [text(192 * KIB), chance(n, 64 * KIB)].concat()).collect(),
            0.6,
        ),
    ];
    for (what, raw, most) in table {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let packed = compress(&raw, compression);
            assert!(!packed.is_empty());
            let ratio = packed.len() as f64 / raw.len() as f64;
            assert!(ratio <= most, "{what}, {}: {ratio}", compression.name());
            assert!(decompress(&packed, compression) == raw, "{what}, {}", compression.name());
        }
    }
}

#[test]
fn a_block_is_stored_only_where_compressing_would_have_gained_nothing() {
    // zlib's fastest on the same bytes says what there was to gain.
    let base64: Vec<u8> = chance(3, MIB)
        .iter()
        .map(|byte| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[usize::from(byte % 64)])
        .collect();
    let inside: Vec<u8> = (0..32).flat_map(|n| [chance(n, 30 * KIB), text(2 * KIB)].concat()).collect();
    let shuffled: Vec<u8> = (0..MIB).map(|at| (at.wrapping_mul(167) >> 3) as u8).collect();
    for raw in [base64, inside, shuffled] {
        let mut peer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
        peer.write_all(&raw).unwrap();
        let (ours, theirs) = (compress(&raw, Compression::Gzip).len(), peer.finish().unwrap().len());
        assert!(ours <= theirs + theirs / 25 + 100, "{ours} for {theirs}");
    }
}

#[test]
fn memory_is_bounded_by_who_takes_the_blocks() {
    let (blocks, taken) = std::sync::mpsc::channel();
    let compressing = std::thread::spawn(move || {
        let mut compressor =
            Compressor::new(|block| blocks.send(block).map_err(std::io::Error::other), Compression::Gzip, 1);
        compressor.read_from(&mut std::io::repeat(7).take(64 * MIB as u64), &mut Hasher::new(), |_| {}).unwrap();
        compressor.finish().unwrap();
    });
    let mut held = Vec::new();
    while let Ok(block) = taken.recv_timeout(std::time::Duration::from_millis(500)) {
        held.push(block);
    }
    assert!((1..=10).contains(&held.len()), "{} blocks of 64 were compressed while nobody let go of one", held.len());
    drop(held);
    assert!(taken.iter().count() > 50);
    compressing.join().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_content_comes_back(parts in proptest::collection::vec((0..4u8, 1..300_000usize, any::<u64>()), 0..8)) {
        let raw: Vec<u8> = parts
            .into_iter()
            .flat_map(|(kind, size, seed)| match kind {
                0 => chance(seed, size),
                1 => vec![seed as u8; size],
                2 => chance(seed, size / 100 + 1).repeat(100),
                _ => text(size),
            })
            .collect();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let packed = compress(&raw, compression);
            prop_assert!(decompress(&packed, compression) == raw);
            prop_assert!(compress(&raw, compression) == packed);
        }
    }
}
