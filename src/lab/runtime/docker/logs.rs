//! What a container writes, from the engine's stream of frames.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc::Sender;

use crate::lab::runtime::lines::{Splitter, Writer};
use crate::lab::runtime::spec::Output;

/// A frame's head: its stream, three zeroes, the length of what follows.
const HEAD: usize = 8;
const STDERR: u8 = 2;

/// Takes frames apart, wherever they are cut.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    /// Of the frame that is being read.
    rest: usize,
    stderr: bool,
}

impl Frames {
    /// The next piece of one stream, whether it is standard error, and what follows it. `None`: there is none yet.
    fn next<'a>(&mut self, mut bytes: &'a [u8]) -> Option<(&'a [u8], bool, &'a [u8])> {
        while self.rest == 0 {
            let missing = (HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            let [stream, _, _, _, length @ ..] = <[u8; HEAD]>::try_from(self.head.as_slice()).ok()?;
            self.head.clear();
            self.stderr = stream == STDERR;
            self.rest = u32::from_be_bytes(length) as usize;
        }
        let (piece, after) = bytes.split_at(self.rest.min(bytes.len()));
        self.rest -= piece.len();
        (!piece.is_empty()).then_some((piece, self.stderr, after))
    }
}

/// Reads until the container has ended.
pub async fn follow(mut body: Incoming, writer: Writer, output: Sender<Output>) {
    let mut streams = [Splitter::new(writer.clone(), false), Splitter::new(writer, true)];
    let mut frames = Frames::default();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let mut bytes: &[u8] = &data;
        while let Some((piece, stderr, after)) = frames.next(bytes) {
            streams[usize::from(stderr)].take(piece, &output).await;
            bytes = after;
        }
    }
    for mut stream in streams {
        stream.end(&output).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_wherever_the_stream_is_cut() {
        let frame = |stream: u8, text: &str| {
            let mut frame = vec![stream, 0, 0, 0];
            frame.extend((text.len() as u32).to_be_bytes());
            frame.extend(text.as_bytes());
            frame
        };
        let all = [frame(1, "one"), frame(2, ""), frame(2, "two\n"), frame(1, "three")].concat();
        for cut in 1..=all.len() {
            let mut frames = Frames::default();
            let mut streams = [String::new(), String::new()];
            for chunk in all.chunks(cut) {
                let mut bytes = chunk;
                while let Some((piece, stderr, after)) = frames.next(bytes) {
                    streams[usize::from(stderr)] += std::str::from_utf8(piece).unwrap();
                    bytes = after;
                }
            }
            assert_eq!(streams, ["onethree", "two\n"], "cut every {cut} bytes");
        }
    }
}
