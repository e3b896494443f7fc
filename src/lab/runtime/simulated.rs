//! The runtime that runs nothing: containers go through their states by their definitions alone.
//!
//! A container runs until its task is stopped, or ends with 0 at once where another one waits for its end. The
//! variable `FAIL` in its environment rehearses a bad release, as in `examples/hello`: `start` ends it with 1, `health`
//! fails its health checks and those of its targets. The variable `EXIT` rehearses a job: it ends at once with that code.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::order::{Order, Step};
use super::spec::{Condition, ContainerSpec, RuntimeEvent, StartError, TaskSpec};

pub struct Simulated {
    running: Arc<Mutex<HashMap<String, Running>>>,
    events: UnboundedSender<RuntimeEvent>,
}

struct Running {
    /// Containers that have started and not ended.
    containers: Vec<String>,
    fails_health: bool,
    stop: CancellationToken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    None,
    Start,
    Health,
}

fn variable<'a>(name: &str, container: &'a ContainerSpec) -> Option<&'a str> {
    container.environment.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

fn failure(container: &ContainerSpec) -> Failure {
    match variable("FAIL", container) {
        Some("start") => Failure::Start,
        Some("health") => Failure::Health,
        _ => Failure::None,
    }
}

impl Simulated {
    pub fn new(events: UnboundedSender<RuntimeEvent>) -> Self {
        Simulated { running: Arc::default(), events }
    }

    pub async fn start(&self, task: TaskSpec) -> Result<(), StartError> {
        let first = task.containers.first().map_or("", |container| container.name.as_str());
        let mut order = Order::new(&task.containers).map_err(|why| StartError::cannot_start(first, why))?;
        let fails_health = task.containers.iter().any(|container| failure(container) == Failure::Health);
        let stop = CancellationToken::new();
        let running = Running { containers: Vec::new(), fails_health, stop: stop.clone() };
        if self.lock().insert(task.task_id.clone(), running).is_some() {
            return Err(StartError::cannot_start(first, "the task runs already"));
        }
        // When a container's health check has a verdict.
        let mut verdicts: Vec<(Instant, usize)> = Vec::new();
        loop {
            let now = Instant::now();
            let steps = order.due(now);
            let idle = steps.is_empty();
            for step in steps {
                match step {
                    Step::Start(at) => self.begin(&task, at, &mut order, &mut verdicts),
                    Step::Skip(at, reason) => {
                        let (task_id, container) = (task.task_id.clone(), task.containers[at].name.clone());
                        let _ = self.events.send(RuntimeEvent::Skipped { task_id, container, reason });
                    }
                }
            }
            if order.is_complete() {
                break;
            }
            if !idle {
                continue;
            }
            let until = verdicts.iter().map(|(at, _)| *at).chain(order.deadline(now)).min();
            tokio::select! {
                () = sleep_until(until.unwrap_or(now)), if until.is_some() => {}
                () = stop.cancelled() => return Ok(()),
            }
            let now = Instant::now();
            verdicts.retain(|(due, at)| {
                if *due <= now {
                    self.judge(&task.task_id, &task.containers[*at]);
                    order.health(*at, failure(&task.containers[*at]) != Failure::Health);
                }
                *due > now
            });
        }
        if !verdicts.is_empty() {
            verdicts.sort();
            let (events, running) = (self.events.clone(), self.running.clone());
            tokio::spawn(async move {
                let simulated = Simulated { running, events };
                for (due, at) in verdicts {
                    tokio::select! {
                        () = sleep_until(due) => simulated.judge(&task.task_id, &task.containers[at]),
                        () = stop.cancelled() => return,
                    }
                }
            });
        }
        Ok(())
    }

    /// A container starts; it may end at once.
    fn begin(&self, task: &TaskSpec, at: usize, order: &mut Order, verdicts: &mut Vec<(Instant, usize)>) {
        let (container, now) = (&task.containers[at], Instant::now());
        let (task_id, name) = (task.task_id.clone(), container.name.clone());
        order.started(at, now);
        let _ = self.events.send(RuntimeEvent::Started { task_id: task_id.clone(), container: name.clone() });
        let dependencies = task.containers.iter().flat_map(|other| &other.depends_on);
        let awaited = dependencies
            .filter(|on| on.container == name)
            .any(|on| matches!(on.condition, Condition::Complete | Condition::Success));
        let ended = match failure(container) {
            Failure::Start => Some(1),
            _ => variable("EXIT", container).and_then(|code| code.parse().ok()).or(awaited.then_some(0)),
        };
        if let Some(exit_code) = ended {
            order.ended(at, exit_code);
            return self.exited(task_id, name, exit_code);
        }
        if let Some(running) = self.lock().get_mut(&task_id) {
            running.containers.push(name);
        }
        if let Some(check) = &container.health_check {
            let verdict = match failure(container) {
                Failure::Health => check.start_period + check.interval * check.retries,
                _ => check.interval,
            };
            verdicts.push((now + verdict, at));
        }
    }

    fn judge(&self, task_id: &str, container: &ContainerSpec) {
        let healthy = failure(container) != Failure::Health;
        let (task_id, container) = (task_id.to_owned(), container.name.clone());
        let _ = self.events.send(RuntimeEvent::Health { task_id, container, healthy });
    }

    fn exited(&self, task_id: String, container: String, exit_code: i32) {
        let event = RuntimeEvent::Exited { task_id, container, exit_code, signal: None, oom_killed: false };
        let _ = self.events.send(event);
    }

    /// Containers end with 0 at their stop signal, as programs do that take it for what it is.
    pub fn stop(&self, task_id: &str) {
        let Some(ended) = self.lock().remove(task_id) else { return };
        ended.stop.cancel();
        for container in ended.containers {
            self.exited(task_id.to_owned(), container, 0);
        }
    }

    pub fn shutdown(&self) {
        for (_, ended) in self.lock().drain() {
            ended.stop.cancel();
        }
    }

    /// Whether a task would pass the health checks of its targets; `None` when it does not run.
    pub fn answers(&self, task_id: &str) -> Option<bool> {
        self.lock().get(task_id).map(|running| !running.fails_health)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
