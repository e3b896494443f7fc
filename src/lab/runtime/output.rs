//! A container's standard output and error, line by line.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio_util::sync::CancellationToken;

use super::spec::{Line, Output, RuntimeEvent};

/// Longer lines come in pieces, as Docker's log drivers do it.
const LINE_LIMIT: usize = 16 << 10;
/// So many lines may wait to be taken; then their containers wait.
pub const WAITING_LINES: usize = 256;
/// What is read (bytes) at most when nobody is waited for any more: as much as the largest pipe holds.
const REST: usize = 1 << 20;

/// Where a runtime says what happens.
#[derive(Clone)]
pub struct Reports {
    pub events: UnboundedSender<RuntimeEvent>,
    pub output: Sender<Output>,
}

/// One of a container's streams.
pub struct Stream {
    pub pipe: OwnedFd,
    pub task_id: Arc<str>,
    pub container: Arc<str>,
    pub stderr: bool,
}

/// Reads until all writers are gone or, once `enough` is said, until the pipe is empty.
pub async fn follow(stream: Stream, output: Sender<Output>, enough: CancellationToken) {
    let Ok(mut pipe) = pipe::Receiver::from_owned_fd(stream.pipe) else { return };
    let line = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let (task_id, container) = (stream.task_id.clone(), stream.container.clone());
        Output::Line(Line { task_id, container, text, stderr: stream.stderr, at })
    };
    let mut pending = Vec::new();
    let mut buffer = vec![0; LINE_LIMIT];
    let mut rest = REST;
    loop {
        let count = tokio::select! {
            biased;
            read = pipe.read(&mut buffer) => read.unwrap_or(0),
            () = enough.cancelled() => at_once(&pipe, &mut buffer),
        };
        if count == 0 || rest == 0 {
            break;
        }
        if enough.is_cancelled() {
            rest = rest.saturating_sub(count);
        }
        // nobody listens when the lab is ending; its containers may still say goodbye
        for piece in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
            pending.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            while pending.len() > LINE_LIMIT {
                let rest = pending.split_off(LINE_LIMIT);
                let _ = output.send(line(&std::mem::replace(&mut pending, rest))).await;
            }
            if piece.ends_with(b"\n") {
                let _ = output.send(line(&std::mem::take(&mut pending))).await;
            }
        }
    }
    if !pending.is_empty() {
        let _ = output.send(line(&pending)).await;
    }
}

/// What is in the pipe now, past what tokio has heard of it; 0 for nothing.
fn at_once(pipe: &pipe::Receiver, buffer: &mut [u8]) -> usize {
    loop {
        match rustix::io::read(pipe, &mut *buffer) {
            Err(Errno::INTR) => {}
            read => return read.unwrap_or(0),
        }
    }
}
