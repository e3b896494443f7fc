//! One-off tasks to their end: what changes is told, and what their container logs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::logs::{self, Log};
use super::{Watched, left, pace};
use crate::aws::reply::{id, list, text};
use crate::aws::{Clients, Failure};
use crate::deploy::event::{Event, Events};
use crate::deploy::follow::TaskTeller;
use crate::deploy::follow::known_tasks;
use crate::deploy::follow::steady::Task;

/// How the following ended; the tasks are as they were last seen.
#[derive(Debug)]
pub enum End {
    Stopped(Vec<Task>),
    /// Time was up, or we were interrupted, and ECS was asked to stop them; those that have not ended since, too.
    Late(Vec<Task>),
    Interrupted(Vec<Task>),
    /// ECS cannot be asked any more: they go on by themselves.
    Lost(Failure),
}

/// How long tasks are followed, and what ends them before their time.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    /// After so long ECS is asked to stop them.
    pub timeout: Option<Duration>,
    /// When this is cancelled, too.
    pub interrupted: CancellationToken,
}

/// The longest `stopTimeout` that there is, and what ECS takes beside it.
const STOPPING: Duration = Duration::from_secs(180);

/// How long every look may fail.
const LOST_AFTER: Duration = Duration::from_secs(120);

/// The agent writes the last lines beside the end of the task: a log is at its end when it was silent for so many looks.
const SILENT: u32 = 2;
const LAST_LOOKS: Duration = Duration::from_millis(400);

/// Follows until all have stopped.
pub async fn follow(watched: &Watched, patience: &Patience, clients: &Clients, events: &Events) -> End {
    let started = Instant::now();
    let deadline = patience.timeout.map(|timeout| started + timeout);
    let mut logs = logs::of(watched, clients).unwrap_or_else(|why| {
        let message = format!("the log of `{}` is not shown: {why}", watched.container);
        events.emit(Event::Notice { message });
        Vec::new()
    });
    let mut teller = TaskTeller::default();
    // Why ECS was asked to stop them, and until when that is waited for.
    let mut ending: Option<(Ending, Instant)> = None;
    let mut failing_since: Option<Instant> = None;
    let mut missing_since: Option<Instant> = None;
    let mut last: Vec<Task> = Vec::new();
    loop {
        let looked = tokio::select! {
            biased;
            // It may hang for as long as an attempt may.
            () = patience.interrupted.cancelled(), if ending.is_none() => None,
            looked = look(watched, clients) => Some(looked),
        };
        match looked {
            Some(Ok(tasks)) => {
                failing_since = None;
                logs.iter_mut().for_each(|log| tasks.iter().for_each(|task| log.know(task)));
                // What was started a moment ago may not be there yet; ECS forgets a task an hour after its end.
                missing_since = (tasks.len() < watched.arns.len()).then(|| missing_since.unwrap_or_else(Instant::now));
                if missing_since.is_some_and(|since| since.elapsed() >= LOST_AFTER) {
                    return End::Lost(Failure::late("ECS", "DescribeTasks"));
                }
                last = tasks.iter().map(known_tasks::task).collect();
                last.iter().for_each(|task| teller.tell(task, events));
                tell(&mut logs, events).await;
                let stopped = last.iter().filter(|task| task.last_status == "STOPPED").count();
                if stopped == watched.arns.len() {
                    rest(&mut logs, events).await;
                    return match ending {
                        None => End::Stopped(last),
                        Some((ending, _)) => ending.end(last),
                    };
                }
            }
            Some(Err(failure)) => {
                let hopeless = failure.is_expired() || failure.is_denied() || failure.is_credentials();
                let since = *failing_since.get_or_insert_with(Instant::now);
                if hopeless || (since.elapsed() >= LOST_AFTER && !failure.is_throttled()) {
                    return End::Lost(failure);
                }
                if since.elapsed().is_zero() {
                    events.warn(format!("{failure}; looking again"), None);
                }
            }
            None => {}
        }
        match &ending {
            None => {
                let why = match patience.interrupted.is_cancelled() {
                    true => Some(Ending::Interrupted),
                    false => left(deadline).is_zero().then_some(Ending::Late),
                };
                if let Some(why) = why {
                    stop(watched, why.reason(), clients, events).await;
                    ending = Some((why, Instant::now() + STOPPING));
                }
            }
            Some((ending, until)) if Instant::now() >= *until => return ending.end(last),
            Some(_) => {}
        }
        let pause = pace(started.elapsed()).min(left(deadline.filter(|_| ending.is_none())).max(pace(Duration::ZERO)));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = patience.interrupted.cancelled(), if ending.is_none() => {}
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Late,
    Interrupted,
}

impl Ending {
    fn reason(self) -> &'static str {
        match self {
            Ending::Late => "steady: its time is up",
            Ending::Interrupted => "steady: interrupted",
        }
    }

    fn end(self, tasks: Vec<Task>) -> End {
        match self {
            Ending::Late => End::Late(tasks),
            Ending::Interrupted => End::Interrupted(tasks),
        }
    }
}

/// Asks ECS to stop the tasks. One that cannot be stopped goes on, and that is said.
pub async fn stop(watched: &Watched, reason: &str, clients: &Clients, events: &Events) {
    let message = format!("asks ECS to stop {}; its program has up to its stop timeout to end", watched.names());
    events.emit(Event::Notice { message });
    for arn in &watched.arns {
        let input = json!({ "cluster": watched.cluster, "task": arn, "reason": reason });
        if let Err(failure) = clients.stop_task(input).await {
            events.warn(format!("the task {} goes on: {failure}", id(arn)), failure.hint());
        }
    }
}

async fn look(watched: &Watched, clients: &Clients) -> Result<Vec<Value>, Failure> {
    let input = json!({ "cluster": watched.cluster, "tasks": watched.arns });
    let reply = clients.describe_tasks(input).await?;
    Ok(list(&reply, "tasks").iter().filter(|task| !text(task, "taskArn").is_empty()).cloned().collect())
}

async fn tell(logs: &mut [Log], events: &Events) -> usize {
    let mut told = 0;
    for log in logs {
        told += log.tell(events).await;
    }
    told
}

/// The last lines, which may come when the task has stopped already.
async fn rest(logs: &mut [Log], events: &Events) {
    let mut silent = 0;
    while !logs.is_empty() && silent < SILENT {
        tokio::time::sleep(LAST_LOOKS).await;
        silent = if tell(logs, events).await == 0 { silent + 1 } else { 0 };
    }
}
