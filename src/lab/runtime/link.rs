//! The line to a helper: what is asked there, and who waits for which answer.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::launch::{Channel, Reply, Request};

/// What a helper answers to the one who asked.
pub enum Answer {
    Connect(Option<SocketAddr>, Option<OwnedFd>),
    Executed(i32),
}

type Ticket = oneshot::Sender<Answer>;

/// The line to a helper.
pub struct Helper {
    channel: AsyncFd<Channel>,
    tickets: Mutex<HashMap<u64, Ticket>>,
    next_ticket: AtomicU64,
    /// How long its containers have, once they are to stop.
    stop: watch::Sender<Option<Duration>>,
}

impl Helper {
    pub fn new(channel: Channel) -> io::Result<Self> {
        Ok(Helper {
            channel: channel.into_async()?,
            tickets: Mutex::default(),
            next_ticket: AtomicU64::new(0),
            stop: watch::Sender::new(None),
        })
    }

    pub async fn send(&self, request: &Request) -> io::Result<()> {
        self.send_with(request, &[]).await
    }

    pub async fn send_with(&self, request: &Request, fds: &[OwnedFd]) -> io::Result<()> {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        loop {
            let mut ready = self.channel.writable().await?;
            if let Ok(sent) = ready.try_io(|channel| channel.get_ref().send(request, &fds)) {
                return sent;
            }
        }
    }

    pub async fn receive(&self) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        loop {
            let mut ready = self.channel.readable().await?;
            if let Ok(received) = ready.try_io(|channel| channel.get_ref().receive()) {
                return received;
            }
        }
    }

    /// Has the containers end, each with this long after its stop signal; they may be told to hurry up.
    pub fn stop(&self, timeout: Duration) {
        self.stop.send_modify(|known| *known = Some(known.map_or(timeout, |known| known.min(timeout))));
    }

    /// What [`Helper::stop`] said last.
    pub fn stop_asked(&self) -> watch::Receiver<Option<Duration>> {
        self.stop.subscribe()
    }

    /// It answers nobody any more.
    pub fn ended(&self) {
        self.tickets().clear();
    }

    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let answer = self.ask(|ticket| Request::Connect { ticket, port }).await?.wait().await?;
        let Answer::Connect(Some(address), socket) = answer else {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("nothing listens on port {port}")));
        };
        let socket = match socket {
            Some(socket) => TcpSocket::from_std_stream(socket.into()),
            None if address.is_ipv4() => TcpSocket::new_v4()?,
            None => TcpSocket::new_v6()?,
        };
        socket.connect(address).await
    }

    /// Runs a command in the container at this position; its exit code. It is killed when it takes longer than
    /// `limit`.
    pub async fn exec(&self, container: usize, arguments: &[String], limit: Duration) -> io::Result<i32> {
        let arguments = arguments.to_vec();
        let asked = self.ask(|ticket| Request::Exec { ticket, container, arguments }).await?;
        let ticket = asked.ticket;
        match timeout(limit, asked.wait()).await {
            Ok(Ok(Answer::Executed(exit_code))) => Ok(exit_code),
            Ok(Ok(Answer::Connect(..))) => Err(io::ErrorKind::InvalidData.into()),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                self.send(&Request::Abort { ticket }).await?;
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    async fn ask(&self, request: impl FnOnce(u64) -> Request) -> io::Result<Asked<'_>> {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.tickets().insert(ticket, sender);
        let asked = Asked { helper: self, ticket, answer };
        self.send(&request(ticket)).await?;
        Ok(asked)
    }

    pub fn answer(&self, ticket: u64, answer: Answer) {
        if let Some(asker) = self.tickets().remove(&ticket) {
            let _ = asker.send(answer);
        }
    }

    fn tickets(&self) -> MutexGuard<'_, HashMap<u64, Ticket>> {
        self.tickets.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Takes a ticket back when its owner stops waiting.
struct Asked<'a> {
    helper: &'a Helper,
    ticket: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Asked<'_> {
    async fn wait(mut self) -> io::Result<Answer> {
        let gone = |_| io::Error::new(io::ErrorKind::NotFound, "the task has ended");
        (&mut self.answer).await.map_err(gone)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.helper.tickets().remove(&self.ticket);
    }
}
