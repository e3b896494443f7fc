//! One running task, from the lab's side: its helper, and what the helper says.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::health::{self, Verdict};
use super::launch::{Channel, Launch, Reply, Request};
use super::lines::{Reports, Writer};
use super::link::{Answer, Helper};
use super::order::{Order, Step};
use super::output::{self, Stream};
use super::probe;
use super::spec::{ContainerSpec, HealthCheck, RestartPolicy, RuntimeEvent, StartError};
use super::stopping::{Blow, Stopping};

/// How long a container's output is waited for after its end: a process that it left behind may hold the pipe.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(500);

/// What a helper says until it ends, as events.
pub struct Watch {
    helper: Arc<Helper>,
    child: Child,
    task_id: String,
    containers: Vec<Watched>,
    order: Order,
    stopping: Option<Stopping>,
    reports: Reports,
    verdicts: (UnboundedSender<Verdict>, UnboundedReceiver<Verdict>),
}

struct Watched {
    name: String,
    readers: Vec<Reader>,
    health_check: Option<HealthCheck>,
    checks: Option<AbortHandle>,
    restart: Option<RestartPolicy>,
    restarted: bool,
    /// As long as it runs.
    began: Option<Instant>,
    /// Not told yet.
    end: Option<RuntimeEvent>,
}

/// Of one of a container's streams.
struct Reader {
    task: JoinHandle<()>,
    enough: CancellationToken,
}

/// Starts a helper and gives it its task.
pub fn launch(
    executable: &Path,
    launch: &Launch,
    task_id: &str,
    containers: Vec<ContainerSpec>,
    reports: Reports,
) -> io::Result<(Arc<Helper>, Watch)> {
    let order = Order::new(&containers).map_err(io::Error::other)?;
    let (channel, theirs) = Channel::pair()?;
    let child = tokio::process::Command::from(probe::command(executable)).stdin(Stdio::from(theirs)).spawn()?;
    let mut fds = vec![launch.to_memory()?];
    let mut watched = Vec::new();
    for container in containers {
        let (readers, pipes) = readers(task_id, &container.name, &reports)?;
        fds.extend(pipes);
        watched.push(Watched {
            name: container.name,
            readers,
            health_check: container.health_check,
            checks: None,
            restart: container.restart,
            restarted: false,
            began: None,
            end: None,
        });
    }
    channel.send(&Request::Launch, &fds.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
    let helper = Arc::new(Helper::new(channel)?);
    let watch = Watch {
        helper: helper.clone(),
        child,
        task_id: task_id.to_owned(),
        containers: watched,
        order,
        stopping: None,
        reports,
        verdicts: mpsc::unbounded_channel(),
    };
    Ok((helper, watch))
}

/// What reads a container's standard output and error, and where it writes them.
fn readers(task_id: &str, container: &str, reports: &Reports) -> io::Result<(Vec<Reader>, Vec<OwnedFd>)> {
    let (mut readers, mut pipes) = (Vec::new(), Vec::new());
    for stderr in [false, true] {
        let (ours, theirs) = io::pipe()?;
        pipes.push(theirs.into());
        let writer = Writer { task_id: task_id.into(), container: container.into() };
        let enough = CancellationToken::new();
        let stream = Stream { pipe: ours.into(), writer, stderr };
        let task = tokio::spawn(output::follow(stream, reports.output.clone(), enough.clone()));
        readers.push(Reader { task, enough });
    }
    Ok((readers, pipes))
}

impl Watch {
    /// Starts the containers in their order, tells `started` how that went, then emits what happens, and returns when
    /// the helper is gone.
    pub async fn run(mut self, started: oneshot::Sender<Result<(), StartError>>) {
        let mut started = Some(started);
        let mut failed = false;
        let mut reported = JoinSet::new();
        let helper = self.helper.clone();
        let mut asked = helper.stop_asked();
        loop {
            let patience = *asked.borrow_and_update();
            if let Some(timeout) = patience {
                self.stop(timeout).await;
            } else if !failed {
                self.start_what_is_due().await;
            }
            if !self.stop_what_is_due().await {
                let _ = self.child.start_kill();
                break;
            }
            let complete = self.order.is_complete();
            if complete
                && !failed
                && self.stopping.is_none()
                && let Some(started) = started.take()
            {
                let _ = started.send(Ok(()));
            }
            if (started.is_none() || self.order.is_staged()) && !failed {
                for container in &mut self.containers {
                    if let Some(end) = container.end.take() {
                        let readers = std::mem::take(&mut container.readers);
                        reported.spawn(report(readers, end, self.reports.clone()));
                    }
                }
            }
            let now = Instant::now();
            let deadline = match &self.stopping {
                Some(stopping) => stopping.deadline(&self.order),
                None => self.order.deadline(now),
            };
            let (reply, mut fds) = tokio::select! {
                received = self.helper.receive() => match received {
                    Ok(Some(received)) => received,
                    _ => break,
                },
                Some((at, healthy)) = self.verdicts.1.recv() => {
                    // the last check of a container that has just ended says nothing
                    if self.containers[at].checks.is_some() {
                        self.order.health(at, healthy);
                        let (task_id, container) = self.named(at);
                        let _ = self.reports.events.send(RuntimeEvent::Health { task_id, container, healthy });
                    }
                    continue;
                }
                () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => continue,
                _ = asked.changed() => continue,
            };
            match reply {
                Reply::Started { container, .. } if container < self.containers.len() => self.started(container),
                Reply::Failed { container, reason } => {
                    failed = true;
                    let name = self.containers.get(container).map_or("", |container| &container.name);
                    let reason = format!("unable to start container process: {reason}");
                    if let Some(started) = started.take() {
                        let _ = started.send(Err(StartError::cannot_start(name, reason)));
                    }
                }
                Reply::Exited { container, exit_code, signal, oom_killed } if container < self.containers.len() => {
                    self.ended(container, exit_code, signal, oom_killed).await;
                }
                Reply::Started { .. } | Reply::Exited { .. } => {}
                Reply::Connect { ticket, address } => self.helper.answer(ticket, Answer::Connect(address, fds.pop())),
                Reply::Executed { ticket, exit_code } => self.helper.answer(ticket, Answer::Executed(exit_code)),
            }
        }
        self.helper.ended();
        for checks in self.containers.iter_mut().filter_map(|container| container.checks.take()) {
            checks.abort();
        }
        let _ = self.child.wait().await;
        if let Some(started) = started {
            let name = self.containers.first().map_or("", |container| &container.name);
            let _ = started.send(Err(StartError::cannot_start(name, "the lab's helper process ended early")));
        } else if !failed {
            // a helper that was killed took its containers with it
            for at in 0..self.containers.len() {
                let readers = std::mem::take(&mut self.containers[at].readers);
                if !readers.is_empty() {
                    let told = self.containers[at].end.take();
                    let killed = || self.exited(at, 128 + libc::SIGKILL, Some(libc::SIGKILL), false);
                    let end = told.unwrap_or_else(killed);
                    reported.spawn(report(readers, end, self.reports.clone()));
                }
            }
        }
        reported.join_all().await;
    }

    async fn ended(&mut self, at: usize, exit_code: i32, signal: Option<i32>, oom_killed: bool) {
        let stopping = self.stopping.is_some();
        let container = &mut self.containers[at];
        if let Some(checks) = container.checks.take() {
            checks.abort();
        }
        let ran = container.began.take().map(|began| began.elapsed());
        if let Some((policy, ran)) = container.restart.as_ref().zip(ran)
            && !stopping
            && policy.applies(exit_code, ran)
            && let Ok((readers, pipes)) = readers(&self.task_id, &container.name, &self.reports)
        {
            container.readers.retain(|reader| !reader.task.is_finished());
            container.readers.extend(readers);
            container.restarted = true;
            self.order.restarting(at);
            let _ = self.helper.send_with(&Request::Restart { container: at }, &pipes).await;
            return;
        }
        if container.restart.is_some() {
            let _ = self.helper.send(&Request::Skip { container: at }).await;
        }
        self.order.ended(at, exit_code);
        self.containers[at].end = Some(self.exited(at, exit_code, signal, oom_killed));
    }

    /// What has not started no longer will.
    async fn stop(&mut self, timeout: Duration) {
        if self.stopping.is_none() {
            for container in 0..self.containers.len() {
                if self.order.is_waiting(container) {
                    let _ = self.helper.send(&Request::Skip { container }).await;
                }
            }
            self.order.skip_waiting();
        }
        self.stopping.get_or_insert_with(|| Stopping::new(self.containers.len(), timeout)).hurry(timeout);
    }

    /// False when the helper does not do what it is told.
    async fn stop_what_is_due(&mut self) -> bool {
        let Some(stopping) = &mut self.stopping else { return true };
        for blow in stopping.due(Instant::now(), &self.order) {
            let (container, signal) = match blow {
                Blow::Soft(container) => (container, None),
                Blow::Hard(container) => (container, Some(libc::SIGKILL)),
                Blow::GiveUp => return false,
            };
            let _ = self.helper.send(&Request::Kill { container, signal }).await;
        }
        true
    }

    /// A helper that is gone cannot be told, and shows it soon.
    async fn start_what_is_due(&mut self) {
        for step in self.order.due(Instant::now()) {
            match step {
                Step::Start(container) => {
                    let _ = self.helper.send(&Request::Start { container }).await;
                }
                Step::Skip(at, reason) => {
                    let _ = self.helper.send(&Request::Skip { container: at }).await;
                    self.containers[at].readers.clear();
                    let (task_id, container) = self.named(at);
                    let _ = self.reports.events.send(RuntimeEvent::Skipped { task_id, container, reason });
                }
            }
        }
    }

    fn started(&mut self, at: usize) {
        self.order.started(at, Instant::now());
        let (task_id, container) = self.named(at);
        let event = match self.containers[at].restarted {
            true => RuntimeEvent::Restarted { task_id, container },
            false => RuntimeEvent::Started { task_id, container },
        };
        let _ = self.reports.events.send(event);
        self.containers[at].began = Some(Instant::now());
        if let Some(check) = self.containers[at].health_check.clone() {
            let watch = health::watch(self.helper.clone(), at, check, self.verdicts.0.clone());
            self.containers[at].checks = Some(tokio::spawn(watch).abort_handle());
        }
    }

    fn named(&self, at: usize) -> (String, String) {
        (self.task_id.clone(), self.containers[at].name.clone())
    }

    fn exited(&self, container: usize, exit_code: i32, signal: Option<i32>, oom_killed: bool) -> RuntimeEvent {
        let (task_id, container) = self.named(container);
        RuntimeEvent::Exited { task_id, container, exit_code, signal, oom_killed }
    }
}

/// Tells a container's end when all that it wrote was taken.
async fn report(readers: Vec<Reader>, end: RuntimeEvent, reports: Reports) {
    for mut reader in readers {
        if timeout(OUTPUT_PATIENCE, &mut reader.task).await.is_err() {
            reader.enough.cancel();
            let _ = reader.task.await;
        }
    }
    reports.end(end).await;
}
