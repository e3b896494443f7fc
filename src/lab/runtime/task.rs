//! One running task, from the lab's side: its helper, and what the helper says.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Child;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::launch::{Channel, Launch, Reply, Request};
use super::output;
use super::probe;
use super::spec::{RuntimeEvent, StartError};

/// How long a container's output is waited for after its end: a process that it left behind may hold the pipe.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(500);

type Ticket = oneshot::Sender<(Option<SocketAddr>, Option<OwnedFd>)>;

/// The line to a helper.
pub struct Helper {
    channel: AsyncFd<Channel>,
    tickets: Mutex<HashMap<u64, Ticket>>,
    next_ticket: AtomicU64,
}

/// What a helper says until it ends, as events.
pub struct Watch {
    helper: Arc<Helper>,
    child: Child,
    task_id: String,
    names: Vec<String>,
    readers: Vec<Vec<JoinHandle<()>>>,
    events: UnboundedSender<RuntimeEvent>,
}

/// Starts a helper and gives it its task.
pub fn launch(
    executable: &Path,
    launch: &Launch,
    task_id: &str,
    names: Vec<String>,
    events: UnboundedSender<RuntimeEvent>,
) -> io::Result<(Arc<Helper>, Watch)> {
    let (channel, theirs) = Channel::pair()?;
    let child = tokio::process::Command::from(probe::command(executable)).stdin(Stdio::from(theirs)).spawn()?;
    let mut fds = vec![launch.to_memory()?];
    let mut readers = Vec::new();
    for name in &names {
        let mut of_container = Vec::new();
        for stderr in [false, true] {
            let (ours, theirs) = io::pipe()?;
            fds.push(theirs.into());
            let events = events.clone();
            let follow = output::follow(ours.into(), task_id.to_owned(), name.clone(), stderr, events);
            of_container.push(tokio::spawn(follow));
        }
        readers.push(of_container);
    }
    channel.send(&Request::Launch, &fds.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
    let channel = channel.into_async()?;
    let helper = Arc::new(Helper { channel, tickets: Mutex::default(), next_ticket: AtomicU64::new(0) });
    let watch = Watch { helper: helper.clone(), child, task_id: task_id.to_owned(), names, readers, events };
    Ok((helper, watch))
}

impl Helper {
    async fn send(&self, request: &Request) -> io::Result<()> {
        loop {
            let mut ready = self.channel.writable().await?;
            if let Ok(sent) = ready.try_io(|channel| channel.get_ref().send(request, &[])) {
                return sent;
            }
        }
    }

    async fn receive(&self) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        loop {
            let mut ready = self.channel.readable().await?;
            if let Ok(received) = ready.try_io(|channel| channel.get_ref().receive()) {
                return received;
            }
        }
    }

    /// Signals every container; its own stop signal when not given. A helper that is gone has none left.
    pub async fn kill(&self, signal: Option<i32>) {
        let _ = self.send(&Request::Kill { signal }).await;
    }

    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.tickets().insert(ticket, sender);
        let asked = Asked { helper: self, ticket };
        self.send(&Request::Connect { ticket, port }).await?;
        let gone = |_| io::Error::new(io::ErrorKind::NotFound, "the task has ended");
        let (address, socket) = answer.await.map_err(gone)?;
        drop(asked);
        let Some(address) = address else {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("nothing listens on port {port}")));
        };
        let socket = match socket {
            Some(socket) => TcpSocket::from_std_stream(socket.into()),
            None if address.is_ipv4() => TcpSocket::new_v4()?,
            None => TcpSocket::new_v6()?,
        };
        socket.connect(address).await
    }

    fn tickets(&self) -> MutexGuard<'_, HashMap<u64, Ticket>> {
        self.tickets.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Takes a ticket back when its owner stops waiting.
struct Asked<'a> {
    helper: &'a Helper,
    ticket: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.helper.tickets().remove(&self.ticket);
    }
}

impl Watch {
    /// Tells `started` how the start went, then emits what happens, and returns when the helper is gone.
    pub async fn run(mut self, started: oneshot::Sender<Result<(), StartError>>) {
        let mut started = Some(started);
        let mut running = 0;
        let mut failed = false;
        let mut ends: Vec<Option<RuntimeEvent>> = vec![None; self.names.len()];
        let mut reported = JoinSet::new();
        while let Ok(Some((reply, mut fds))) = self.helper.receive().await {
            match reply {
                Reply::Started { .. } => running += 1,
                Reply::Failed { container, reason } => {
                    failed = true;
                    let name = self.names.get(container).map_or("", String::as_str);
                    let reason = format!("unable to start container process: {reason}");
                    if let Some(started) = started.take() {
                        let _ = started.send(Err(StartError::cannot_start(name, reason)));
                    }
                }
                Reply::Exited { container, exit_code, signal, oom_killed } if container < ends.len() => {
                    ends[container] = Some(self.exited(container, exit_code, signal, oom_killed));
                }
                Reply::Exited { .. } => {}
                Reply::Connect { ticket, address } => {
                    if let Some(asker) = self.helper.tickets().remove(&ticket) {
                        let _ = asker.send((address, fds.pop()));
                    }
                }
            }
            if running == self.names.len() && !failed {
                if let Some(started) = started.take() {
                    let _ = started.send(Ok(()));
                }
                for (at, end) in ends.iter_mut().enumerate() {
                    if let Some(end) = end.take() {
                        reported.spawn(report(std::mem::take(&mut self.readers[at]), end, self.events.clone()));
                    }
                }
            }
        }
        self.helper.tickets().clear();
        let _ = self.child.wait().await;
        if let Some(started) = started {
            let name = self.names.first().map_or("", String::as_str);
            let _ = started.send(Err(StartError::cannot_start(name, "the lab's helper process ended early")));
        } else if !failed {
            // a helper that was killed took its containers with it
            for at in 0..self.names.len() {
                let readers = std::mem::take(&mut self.readers[at]);
                if !readers.is_empty() {
                    let end = self.exited(at, 128 + libc::SIGKILL, Some(libc::SIGKILL), false);
                    reported.spawn(report(readers, end, self.events.clone()));
                }
            }
        }
        reported.join_all().await;
    }

    fn exited(&self, container: usize, exit_code: i32, signal: Option<i32>, oom_killed: bool) -> RuntimeEvent {
        let container = self.names[container].clone();
        RuntimeEvent::Exited { task_id: self.task_id.clone(), container, exit_code, signal, oom_killed }
    }
}

async fn report(readers: Vec<JoinHandle<()>>, end: RuntimeEvent, events: UnboundedSender<RuntimeEvent>) {
    for mut reader in readers {
        if tokio::time::timeout(OUTPUT_PATIENCE, &mut reader).await.is_err() {
            reader.abort();
        }
    }
    let _ = events.send(end);
}
