//! The loop that feeds [`steady::verdict`]: it looks, says what is new, and looks again until there is an end.

pub mod batch;
pub mod deadline;
pub(super) mod known_tasks;
pub mod observe;
pub mod poller;
pub mod running;
pub mod stage;
pub mod steady;
pub mod targets;
pub mod traffic;
pub mod waits;

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::event::{ContainerExit, Event, Events};
use super::failure;
use super::failure::cause;
use super::pause::Pauses;
use crate::aws::reply::{list, millis, text};
use crate::aws::{Clients, Failure};
use observe::Eye;
use poller::{Nearness, gap};
use stage::StageTeller;
use steady::{Observation, Ours, Target, Task, Verdict, failures, is_ours, verdict};

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
    /// What it learnt, for whoever looks on.
    pub eye: Eye,
}

const MOST_PAUSE: Duration = Duration::from_secs(15);

/// A verdict that two looks have to agree on is not kept waiting.
const AGREE_WITHIN: Duration = Duration::from_millis(200);

/// How long every look may fail; the rollout goes on meanwhile. Throttling alone is waited out to the deadline.
const LOST_AFTER: Duration = Duration::from_secs(180);

/// So many tasks that stopped for the same cause are no accident.
const REPEATS: usize = 2;

/// Nobody is left for longer without a word; who waits for long already hears it less often.
const WORD: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(10 * 60);
const RARE_WORD: Duration = Duration::from_secs(5 * 60);

/// A look that hangs may outlast the deadline by so much.
const LAST_LOOK: Duration = Duration::from_secs(2);

pub async fn follow(
    ours: &Ours<'_>,
    mut eye: Eye,
    mut deadline: Instant,
    teller: &mut Teller<'_>,
    clients: &Clients,
    stop_at: impl Fn(&Verdict) -> bool,
) -> Followed {
    let started = Instant::now();
    let _following = eye.poller().following();
    let mut due = started;
    let mut lost_looks: u32 = 0;
    let mut failing_since = None;
    let mut last_failure: Option<Failure>;
    let mut last = (Observation::default(), Value::Null);
    let mut waits_for = "the first look".to_owned();
    let mut word_due = WORD;
    let mut doubtful = None;
    let mut pauses = Pauses::default();
    let ended = |end, last: (Observation, Value), eye: Eye| Followed { end, seen: last.0, service: last.1, eye };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let look = tokio::time::timeout(left + LAST_LOOK, eye.glance(ours, due.min(deadline), clients)).await;
        let looked_at = Instant::now();
        let (mut nearness, mut unsure) = (Nearness::Near, false);
        match look.unwrap_or_else(|_| Err(Failure::late("ECS", "DescribeServices"))) {
            Ok((seen, service)) => {
                (lost_looks, failing_since) = (0, None);
                last_failure = None;
                teller.tell(&seen, &service, ours);
                deadline = pauses.deadline(deadline, &seen, ours.on_pause);
                let verdict = verdict(&seen, ours);
                nearness = eye.nearness(&seen, ours);
                if matches!(verdict, Verdict::Pending(_)) {
                    teller.forewarn(&seen, ours, clients).await;
                }
                last = (seen, service);
                // The service and its service deployment are read side by side, and reads may lag: two looks agree.
                let agreed = doubtful == Some(discriminant(&verdict));
                let sure = agreed || matches!(verdict, Verdict::Steady { .. } | Verdict::RollingBack(_));
                doubtful = Some(discriminant(&verdict));
                if !matches!(verdict, Verdict::Pending(_)) && sure && stop_at(&verdict) {
                    return ended(End::Verdict(verdict), last, eye);
                }
                match &verdict {
                    Verdict::Pending(what) => waits_for.clone_from(what),
                    Verdict::RollingBack(_) => "ECS rolls it back".clone_into(&mut waits_for),
                    _ => {}
                }
                if word_due <= started.elapsed() {
                    let waited = Duration::from_secs(started.elapsed().as_secs());
                    let message = format!("not steady after {}: {waits_for}", humantime::format_duration(waited));
                    teller.events.emit(Event::Notice { message });
                    word_due = started.elapsed() + if word_due < LONG { WORD } else { RARE_WORD };
                }
                unsure = !sure && !matches!(verdict, Verdict::Pending(_));
            }
            Err(failure) => {
                lost_looks += 1;
                let hopeless = failure.is_expired() || failure.is_denied() || failure.is_credentials();
                let since = *failing_since.get_or_insert_with(Instant::now);
                if hopeless || (since.elapsed() >= LOST_AFTER && !failure.is_throttled()) {
                    return ended(End::Lost(failure), last, eye);
                }
                if lost_looks == 1 {
                    teller.events.warn(format!("{failure}; looking again"), None);
                }
                last_failure = Some(failure);
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return ended(last_failure.map_or(End::Deadline(waits_for), End::Lost), last, eye);
        }
        let gap = gap(started.elapsed(), nearness) * 2u32.pow(lost_looks.min(5));
        due = looked_at + gap.min(if unsure { AGREE_WITHIN } else { MOST_PAUSE });
    }
}

/// Says each thing once.
pub struct Teller<'a> {
    events: &'a Events,
    told_events: HashSet<String>,
    deployments: HashMap<String, (String, i64, i64, i64, i64)>,
    tasks: TaskTeller,
    targets: HashMap<String, (String, Option<String>)>,
    /// As they were when they were last seen unhealthy: at the end ECS has often deregistered them.
    unhealthy: Vec<Target>,
    /// What ECS said of this deployment.
    messages: Vec<String>,
    told_denied: bool,
    stages: StageTeller,
    told_tasks_denied: bool,
    /// A cause that repeats was told of.
    forewarned: bool,
    /// Task and container whose log was shown.
    logged: HashSet<(String, String)>,
}

impl<'a> Teller<'a> {
    /// Service events with these ids are old.
    pub fn new(events: &'a Events, told_events: HashSet<String>) -> Self {
        Teller {
            events,
            told_events,
            deployments: HashMap::new(),
            tasks: TaskTeller::default(),
            targets: HashMap::new(),
            unhealthy: Vec::new(),
            messages: Vec::new(),
            told_denied: false,
            stages: StageTeller::default(),
            told_tasks_denied: false,
            forewarned: false,
            logged: HashSet::new(),
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

    /// Whether this container's log is to be shown: once.
    pub fn logs(&mut self, task: &str, container: &str) -> bool {
        self.logged.insert((task.to_owned(), container.to_owned()))
    }

    /// Says why tasks stop as soon as a second one stops for the same cause, while ECS still tries.
    async fn forewarn(&mut self, seen: &Observation, ours: &Ours<'_>, clients: &Clients) {
        let groups = cause::groups(failures(seen, ours));
        let Some(group) = groups.first().filter(|group| group.tasks.len() >= REPEATS && !self.forewarned) else {
            return;
        };
        self.forewarned = true;
        let events = self.events;
        let (said, advice) = failure::forewarn(group, self, clients, events).await;
        events.warn(said, advice);
    }

    pub fn tell(&mut self, seen: &Observation, service: &Value, ours: &Ours<'_>) {
        if let Some(denied) = seen.targets_denied.as_ref().filter(|_| !self.told_denied) {
            self.told_denied = true;
            let message = format!("the targets' health is not known, so that ECS's own word counts: {denied}");
            self.events.warn(message, denied.hint());
        }
        if let Some(denied) = seen.tasks_denied.as_ref().filter(|_| !self.told_tasks_denied) {
            self.told_tasks_denied = true;
            let message = format!("the tasks are not known, so that ECS's own word counts: {denied}");
            self.events.warn(message, denied.hint());
        }
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
        if let Some(deployment) = &seen.service_deployment {
            let own = seen.deployments.iter().find(|one| one.id == ours.deployment_id);
            let done = own.is_some_and(|own| own.running == own.desired) && seen.deployments.len() == 1;
            self.stages.tell(&deployment.stage, done, self.events);
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
            self.tasks.tell(task, self.events);
        }
        for target in &seen.targets {
            self.target(target);
        }
    }

    fn target(&mut self, target: &Target) {
        let key = format!("{} {}", target.group, target.id);
        let now = (target.state.clone(), target.reason.clone());
        if self.targets.get(&key) != Some(&now) {
            // What drains when it is first seen is left from a rollout before.
            let news = self.targets.insert(key, now).is_some() || target.state != "draining";
            if !news {
                return;
            }
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

/// Says each state of a task once.
#[derive(Default)]
pub struct TaskTeller(HashMap<String, (String, Option<String>)>);

impl TaskTeller {
    pub fn tell(&mut self, task: &Task, events: &Events) {
        let now = (task.last_status.clone(), task.health.clone());
        if self.0.get(&task.id) == Some(&now) {
            return;
        }
        self.0.insert(task.id.clone(), now);
        let exits = task.containers.iter().filter(|one| one.exit_code.is_some() || one.reason.is_some());
        events.emit(Event::Task {
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
}
