//! The loop that feeds [`super::steady::verdict`]: it looks, says what is new, and looks again until there is an end.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::event::{ContainerExit, Event, Events};
use super::observe::Eye;
use super::steady::{Observation, Ours, Target, Task, Verdict, is_ours, verdict};
use crate::aws::reply::{list, millis, text};
use crate::aws::{Clients, Failure};

/// How a follow ended, when nothing went wrong.
#[derive(Debug, Clone)]
pub struct Steady {
    pub deployment_id: String,
    pub service_deployment: Option<String>,
    pub desired: i64,
    pub running: i64,
    pub note: Option<String>,
    /// The service as it was last seen.
    pub service: Value,
}

impl Steady {
    pub fn detail(&self) -> String {
        format!("{} of {} tasks running", self.running, self.desired)
    }
}

/// Why the loop ended.
#[derive(Debug)]
pub enum End {
    Verdict(Verdict),
    /// Time is up: what it waited for last.
    Deadline(String),
    /// AWS cannot be asked any more.
    Lost(Failure),
}

/// The loop's end, with the last look.
#[derive(Debug)]
pub struct Followed {
    pub end: End,
    pub seen: Observation,
    pub service: Value,
    pub service_deployment: Option<String>,
}

/// How long to wait between two looks: at first as fast as a lab rolls, then slower, so that many deploys at once stay
/// within an account's request budget (service reads 20 a second, load balancer reads 10).
pub fn pace(since_start: Duration) -> Duration {
    match since_start.as_millis() {
        0..2_000 => Duration::from_millis(60),
        2_000..6_000 => Duration::from_millis(200),
        6_000..30_000 => Duration::from_millis(1_000),
        30_000..300_000 => Duration::from_millis(3_000),
        _ => Duration::from_millis(6_000),
    }
}

/// How many looks in a row may fail; the SDK has retried each of them.
const LOST_AFTER: u32 = 5;

pub async fn follow(
    ours: &Ours<'_>,
    mut eye: Eye,
    deadline: Instant,
    teller: &mut Teller<'_>,
    clients: &Clients,
    stop_at: impl Fn(&Verdict) -> bool,
) -> Followed {
    let started = Instant::now();
    let mut failures = 0;
    let mut last = (Observation::default(), Value::Null);
    let mut waits_for = "the first look".to_owned();
    let ended = |end, last: (Observation, Value), eye: Eye| Followed {
        end,
        seen: last.0,
        service: last.1,
        service_deployment: eye.service_deployment,
    };
    loop {
        match eye.look(ours.deployment_id, clients).await {
            Ok((seen, service)) => {
                failures = 0;
                teller.tell(&seen, &service, ours);
                let verdict = verdict(&seen, ours);
                last = (seen, service);
                if let Verdict::Pending(what) = &verdict {
                    waits_for.clone_from(what);
                } else if stop_at(&verdict) {
                    return ended(End::Verdict(verdict), last, eye);
                }
            }
            Err(failure) => {
                failures += 1;
                let hopeless = failure.is_expired() || failure.is_denied() || failure.is_credentials();
                if hopeless || failures >= LOST_AFTER {
                    return ended(End::Lost(failure), last, eye);
                }
                if failures == 1 {
                    teller.events.warn(format!("{failure}; looking again"), None);
                }
            }
        }
        let pause = pace(started.elapsed()) * 2u32.pow(failures.min(4));
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return ended(End::Deadline(waits_for), last, eye);
        }
        tokio::time::sleep(pause.min(left)).await;
    }
}

/// Says each thing once.
pub struct Teller<'a> {
    events: &'a Events,
    told_events: HashSet<String>,
    deployments: HashMap<String, (String, i64, i64, i64, i64)>,
    tasks: HashMap<String, (String, Option<String>)>,
    targets: HashMap<String, (String, Option<String>)>,
    /// As they were when they were last seen unhealthy: at the end ECS has often deregistered them.
    unhealthy: Vec<Target>,
    /// What ECS said of this deployment.
    messages: Vec<String>,
}

impl<'a> Teller<'a> {
    /// Service events with these ids are old.
    pub fn new(events: &'a Events, told_events: HashSet<String>) -> Self {
        Teller {
            events,
            told_events,
            deployments: HashMap::new(),
            tasks: HashMap::new(),
            targets: HashMap::new(),
            unhealthy: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// Targets that were seen unhealthy, the last one last.
    pub fn unhealthy(&self) -> &[Target] {
        &self.unhealthy
    }

    /// The service events that were told, oldest first.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }

    pub fn events(&self) -> &'a Events {
        self.events
    }

    pub fn tell(&mut self, seen: &Observation, service: &Value, ours: &Ours<'_>) {
        // ECS lists the newest first.
        for event in list(service, "events").iter().rev() {
            let id = text(event, "id");
            if self.told_events.insert(id.to_owned()) {
                self.messages.push(text(event, "message").to_owned());
                self.events.emit(Event::ServiceEvent {
                    id: id.to_owned(),
                    created_at: millis(event, "createdAt"),
                    message: text(event, "message").to_owned(),
                });
            }
        }
        for one in &seen.deployments {
            let status = match &one.rollout_state {
                Some(rollout) => format!("{} {rollout}", one.status),
                None => one.status.clone(),
            };
            let now = (status, one.desired, one.running, one.pending, one.failed);
            if self.deployments.get(&one.id) != Some(&now) {
                self.events.emit(Event::Deployment {
                    id: one.id.clone(),
                    status: now.0.clone(),
                    desired: one.desired,
                    running: one.running,
                    pending: one.pending,
                    failed: one.failed,
                });
                self.deployments.insert(one.id.clone(), now);
            }
        }
        for task in seen.tasks.iter().filter(|task| is_ours(task, ours)) {
            self.task(task);
        }
        for target in &seen.targets {
            self.target(target);
        }
    }

    fn task(&mut self, task: &Task) {
        let now = (task.last_status.clone(), task.health.clone());
        if self.tasks.get(&task.id) == Some(&now) {
            return;
        }
        self.tasks.insert(task.id.clone(), now);
        let exits = task.containers.iter().filter(|one| one.exit_code.is_some() || one.reason.is_some());
        self.events.emit(Event::Task {
            id: task.id.clone(),
            task_definition: task.task_definition.clone(),
            last_status: task.last_status.clone(),
            health: task.health.clone(),
            stopped_reason: task.stopped_reason.clone(),
            exit_codes: exits
                .map(|one| ContainerExit {
                    container: one.name.clone(),
                    exit_code: one.exit_code,
                    reason: one.reason.clone(),
                })
                .collect(),
        });
    }

    fn target(&mut self, target: &Target) {
        let key = format!("{} {}", target.group, target.id);
        let now = (target.state.clone(), target.reason.clone());
        if self.targets.get(&key) != Some(&now) {
            self.targets.insert(key, now);
            if target.state == "unhealthy" {
                self.unhealthy.retain(|other| other.id != target.id);
                self.unhealthy.push(target.clone());
            }
            self.events.emit(Event::Target {
                target_group: target.group.clone(),
                target: target.id.clone(),
                state: target.state.clone(),
                reason: target.reason.clone(),
            });
        }
    }
}
