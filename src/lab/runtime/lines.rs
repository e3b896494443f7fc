//! From what a container writes to lines, and where they go.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::sync::oneshot;

use super::spec::{Line, Output, RuntimeEvent};

/// Longer lines come in pieces, as Docker's log drivers do it.
pub const LINE_LIMIT: usize = 16 << 10;
/// So many lines may wait to be taken; then their containers wait.
pub const WAITING_LINES: usize = 256;

/// Where a runtime says what happens.
#[derive(Clone)]
pub struct Reports {
    pub events: UnboundedSender<RuntimeEvent>,
    pub output: Sender<Output>,
}

impl Reports {
    /// Tells a container's end when all that it wrote was taken.
    pub async fn end(&self, end: RuntimeEvent) {
        let (taken, all_taken) = oneshot::channel();
        if self.output.send(Output::End(taken)).await.is_ok() {
            let _ = all_taken.await;
        }
        let _ = self.events.send(end);
    }
}

/// Who wrote a line: a task's id and its container's name.
#[derive(Clone)]
pub struct Writer {
    pub task_id: Arc<str>,
    pub container: Arc<str>,
}

/// Cuts one stream into lines.
pub struct Splitter {
    writer: Writer,
    stderr: bool,
    pending: Vec<u8>,
}

impl Splitter {
    pub fn new(writer: Writer, stderr: bool) -> Self {
        Splitter { writer, stderr, pending: Vec::new() }
    }

    /// Nobody listens when the lab is ending; its containers may still say goodbye.
    pub async fn take(&mut self, bytes: &[u8], output: &Sender<Output>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            while self.pending.len() > LINE_LIMIT {
                let rest = self.pending.split_off(LINE_LIMIT);
                let _ = output.send(self.line(rest)).await;
            }
            if piece.ends_with(b"\n") {
                let _ = output.send(self.line(Vec::new())).await;
            }
        }
    }

    /// The last line may have no end.
    pub async fn end(&mut self, output: &Sender<Output>) {
        if !self.pending.is_empty() {
            let _ = output.send(self.line(Vec::new())).await;
        }
    }

    /// What is pending; `rest` is from now on.
    fn line(&mut self, rest: Vec<u8>) -> Output {
        let bytes = std::mem::replace(&mut self.pending, rest);
        let text = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(&bytes)).into_owned();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let Writer { task_id, container } = self.writer.clone();
        Output::Line(Line { task_id, container, text, stderr: self.stderr, at })
    }
}
