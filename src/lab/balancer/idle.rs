//! How long a client's connection may be silent, by its load balancer's idle timeout.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout_at};

/// What a client's connection was heard of.
pub(super) struct Heard {
    at: Mutex<Instant>,
    /// A request is with its target: that has a time-out of its own.
    asking: AtomicBool,
}

impl Heard {
    pub(super) fn new() -> Arc<Heard> {
        Arc::new(Heard { at: Mutex::new(Instant::now()), asking: AtomicBool::new(false) })
    }

    pub(super) fn asks(&self, asking: bool) {
        *self.lock() = Instant::now();
        self.asking.store(asking, Ordering::Relaxed);
    }

    /// Ends when nothing was heard for `idle`, asked for each time.
    pub(super) async fn silence(&self, idle: impl Fn() -> Duration) {
        loop {
            let asking = self.asking.load(Ordering::Relaxed);
            let until = if asking { Instant::now() } else { *self.lock() } + idle();
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's connection that notes when bytes move.
pub(super) struct Heeded<T> {
    pub(super) stream: T,
    pub(super) heard: Arc<Heard>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heeded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            *self.heard.lock() = Instant::now();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heeded<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(1..))) {
            *self.heard.lock() = Instant::now();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// When the last of a request's body came, and whether the client is waited for.
pub(super) struct Upload {
    came: Instant,
    pub(super) is_awaited: bool,
}

/// A client's body that tells how far it is.
pub(super) struct Noted {
    body: Incoming,
    upload: Arc<Mutex<Upload>>,
}

impl Noted {
    pub(super) fn new(body: Incoming) -> (Noted, Arc<Mutex<Upload>>) {
        let upload = Arc::new(Mutex::new(Upload { came: Instant::now(), is_awaited: false }));
        (Noted { body, upload: Arc::clone(&upload) }, upload)
    }
}

impl Body for Noted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        // a target that takes no more of it is not the client's fault: nobody polls then
        let mut upload = lock(&self.upload);
        upload.is_awaited = frame.is_pending();
        if frame.is_ready() {
            upload.came = Instant::now();
        }
        drop(upload);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(super) fn lock(upload: &Mutex<Upload>) -> MutexGuard<'_, Upload> {
    upload.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `exchange` comes to, or `None` when for so long nothing was heard of either side: an upload may take longer.
pub(super) async fn unless_silent<T>(
    idle: Duration,
    upload: &Mutex<Upload>,
    exchange: impl Future<Output = T>,
) -> Option<T> {
    let mut exchange = std::pin::pin!(exchange);
    let mut until = Instant::now() + idle;
    loop {
        if let Ok(done) = timeout_at(until, exchange.as_mut()).await {
            return Some(done);
        }
        let later = lock(upload).came + idle;
        if later <= until {
            return None;
        }
        until = later;
    }
}
