//! A container's standard output and error, line by line.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::lines::{LINE_LIMIT, Splitter, Writer};
use super::spec::Output;

/// What is read (bytes) at most when nobody is waited for any more: as much as the largest pipe holds.
const REST: usize = 1 << 20;

/// One of a container's streams.
pub struct Stream {
    pub pipe: OwnedFd,
    pub writer: Writer,
    pub stderr: bool,
}

/// Reads until all writers are gone or, once `enough` is said, until the pipe is empty.
pub async fn follow(stream: Stream, output: Sender<Output>, enough: CancellationToken) {
    let Ok(mut pipe) = pipe::Receiver::from_owned_fd(stream.pipe) else { return };
    let mut lines = Splitter::new(stream.writer, stream.stderr);
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
        lines.take(&buffer[..count], &output).await;
    }
    lines.end(&output).await;
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
