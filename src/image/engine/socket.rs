//! The docker daemon's own socket, where an image comes without docker's client copying all of it once more.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::process::{self, Command, Reading};
use crate::error::{Error, Result};

/// Read at once.
const CHUNK: usize = 256 << 10;

/// An answer's first lines are no longer.
const MAX_HEAD: u64 = 64 << 10;

/// The daemon's socket, as docker's own client finds it: `DOCKER_HOST`, `DOCKER_CONTEXT` or the context in use. `None` for
/// daemons that are elsewhere, and where docker does not say.
pub async fn socket(ask: &Command) -> Option<PathBuf> {
    let text = |pipe: io::PipeReader| {
        let mut text = String::new();
        let read = pipe.take(MAX_HEAD).read_to_string(&mut text);
        Ok(Reading::ToTheEnd(read.map(|_| text).map_err(|error| Error::build_or_push("cannot read it").cause(error))))
    };
    let said = process::read(ask, text).await.ok()?;
    let path = said.trim().strip_prefix("unix://")?;
    path.starts_with('/').then(|| path.into())
}

/// The image of this id, as `docker save` has it. `None` when the daemon gives none: docker's own client can say why.
pub async fn get(socket: &Path, id: &str) -> Option<Given> {
    let path = format!("/images/{id}/get");
    let asked = async || {
        let connection = UnixStream::connect(socket)?;
        // Whoever is dropped while the daemon makes up its mind leaves no thread behind that waits for it.
        let ends = Ends(connection.try_clone()?);
        let body = tokio::task::spawn_blocking(move || ask(connection, &path)).await??;
        Ok::<_, io::Error>(Given { body, _ends: ends })
    };
    asked().await.inspect_err(|error| tracing::debug!(%error, "the daemon's socket is of no use")).ok()
}

/// An answer whose first lines were read.
pub struct Given {
    body: BufReader<UnixStream>,
    _ends: Ends,
}

impl Given {
    /// Reads it on a thread of its own, which finds the end when this future is dropped.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn read<T: Send + 'static>(
        self,
        read: impl FnOnce(BufReader<UnixStream>) -> Result<Reading<T>> + Send + 'static,
    ) -> Result<T> {
        let Given { body, _ends } = self;
        let reading = tokio::task::spawn_blocking(move || read(body)).await;
        match reading
            .map_err(|error| Error::build_or_push("reading what docker gave was broken off").cause(error))??
        {
            Reading::Enough(value) => Ok(value),
            Reading::ToTheEnd(value) => value,
        }
    }
}

struct Ends(UnixStream);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// HTTP/1.0, whose answer is the bytes as they are, to the end of the connection.
fn ask(mut connection: UnixStream, path: &str) -> io::Result<BufReader<UnixStream>> {
    write!(connection, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut body = BufReader::with_capacity(CHUNK, connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if body.by_ref().take(MAX_HEAD - head.len() as u64).read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = head.lines().next().unwrap_or_default();
    let is_raw = !head.to_ascii_lowercase().contains("\r\ntransfer-encoding:");
    match status.starts_with("HTTP/1.") && status.split(' ').nth(1) == Some("200") && is_raw {
        true => Ok(body),
        false => Err(io::Error::other(format!("it answers {status:?}"))),
    }
}
