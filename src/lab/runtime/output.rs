//! A container's standard output and error, line by line.

use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc::UnboundedSender;

use super::spec::RuntimeEvent;

/// Longer lines come in pieces, as Docker's log drivers do it.
const LINE_LIMIT: usize = 16 << 10;

/// Reads until all writers are gone.
pub async fn follow(
    pipe: OwnedFd,
    task_id: String,
    container: String,
    stderr: bool,
    events: UnboundedSender<RuntimeEvent>,
) {
    let Ok(mut pipe) = pipe::Receiver::from_owned_fd(pipe) else { return };
    let emit = |line: &[u8]| {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let (task_id, container) = (task_id.clone(), container.clone());
        // the lab is ending when nobody listens
        let _ = events.send(RuntimeEvent::Output { task_id, container, line, stderr, at });
    };
    let mut pending = Vec::new();
    let mut buffer = vec![0; LINE_LIMIT];
    loop {
        let count = match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        for piece in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
            pending.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            while pending.len() > LINE_LIMIT {
                let rest = pending.split_off(LINE_LIMIT);
                emit(&std::mem::replace(&mut pending, rest));
            }
            if piece.ends_with(b"\n") {
                emit(&std::mem::take(&mut pending));
            }
        }
    }
    if !pending.is_empty() {
        emit(&pending);
    }
}
