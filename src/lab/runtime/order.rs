//! When each container of a task starts: what it waits for, and when that can no longer come.

use std::time::Duration;

use tokio::time::Instant;

use super::spec::{Condition, ContainerSpec};

/// The containers of a starting task.
pub struct Order(Vec<Entry>);

struct Entry {
    name: String,
    /// By position.
    depends_on: Vec<(usize, Condition)>,
    start_timeout: Option<Duration>,
    stop_timeout: Option<Duration>,
    standing: Standing,
    healthy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Waiting,
    /// The helper was told.
    Starting,
    Running(Instant),
    Ended(i32),
    Skipped,
}

/// What is to be done about a container.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Start(usize),
    /// With the reason.
    Skip(usize, String),
}

enum Outlook {
    Met,
    /// May still come, but not after this time.
    Open(Option<Instant>),
    Never(String),
}

impl Order {
    /// The error names what a container depends on in vain.
    pub fn new(containers: &[ContainerSpec]) -> Result<Order, String> {
        let position = |name: &str| {
            let at = containers.iter().position(|container| container.name == name);
            at.ok_or_else(|| format!("the task has no container {name:?}"))
        };
        let entry = |container: &ContainerSpec| {
            let depends_on = container.depends_on.iter().map(|on| Ok((position(&on.container)?, on.condition)));
            Ok(Entry {
                name: container.name.clone(),
                depends_on: depends_on.collect::<Result<_, String>>()?,
                start_timeout: container.start_timeout,
                stop_timeout: container.stop_timeout,
                standing: Standing::Waiting,
                healthy: false,
            })
        };
        containers.iter().map(entry).collect::<Result<_, String>>().map(Order)
    }

    /// Whether a container waits for more than another one's start, so that the task may run in part for long.
    pub fn is_staged(&self) -> bool {
        self.0.iter().flat_map(|entry| &entry.depends_on).any(|(_, condition)| *condition != Condition::Start)
    }

    /// Whether nothing is left to start.
    pub fn is_complete(&self) -> bool {
        !self.0.iter().any(|entry| matches!(entry.standing, Standing::Waiting | Standing::Starting))
    }

    pub fn started(&mut self, at: usize, now: Instant) {
        self.0[at].standing = Standing::Running(now);
    }

    pub fn ended(&mut self, at: usize, exit_code: i32) {
        self.0[at].standing = Standing::Ended(exit_code);
    }

    /// It ended, and is started again: for those that wait for its end it never did.
    pub fn restarting(&mut self, at: usize) {
        self.0[at].standing = Standing::Starting;
        self.0[at].healthy = false;
    }

    pub fn is_waiting(&self, at: usize) -> bool {
        self.0[at].standing == Standing::Waiting
    }

    /// Whether it is there to be stopped.
    pub fn runs(&self, at: usize) -> bool {
        matches!(self.0[at].standing, Standing::Starting | Standing::Running(_))
    }

    /// Whether one that runs depends on it.
    pub fn is_needed(&self, at: usize) -> bool {
        (0..self.0.len()).any(|other| self.runs(other) && self.0[other].depends_on.iter().any(|(on, _)| *on == at))
    }

    pub fn is_over(&self) -> bool {
        self.0.iter().all(|entry| matches!(entry.standing, Standing::Ended(_) | Standing::Skipped))
    }

    pub fn stop_timeout(&self, at: usize) -> Option<Duration> {
        self.0[at].stop_timeout
    }

    /// What has not started no longer will.
    pub fn skip_waiting(&mut self) {
        for entry in self.0.iter_mut().filter(|entry| entry.standing == Standing::Waiting) {
            entry.standing = Standing::Skipped;
        }
    }

    pub fn health(&mut self, at: usize, healthy: bool) {
        self.0[at].healthy = healthy;
    }

    /// What is to be done now; the containers count as told.
    pub fn due(&mut self, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        // one that is skipped decides about those that depend on it
        loop {
            let before = steps.len();
            for at in 0..self.0.len() {
                if self.0[at].standing != Standing::Waiting {
                    continue;
                }
                let outlooks: Vec<Outlook> =
                    self.0[at].depends_on.iter().map(|(on, condition)| self.outlook(*on, *condition, now)).collect();
                if let Some(reason) = outlooks.iter().find_map(|outlook| match outlook {
                    Outlook::Never(reason) => Some(reason.clone()),
                    _ => None,
                }) {
                    self.0[at].standing = Standing::Skipped;
                    steps.push(Step::Skip(at, reason));
                } else if outlooks.iter().all(|outlook| matches!(outlook, Outlook::Met)) {
                    self.0[at].standing = Standing::Starting;
                    steps.push(Step::Start(at));
                }
            }
            if steps.len() == before {
                return steps;
            }
        }
    }

    /// When [`Order::due`] has something to say though nothing else happens.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let waiting = self.0.iter().filter(|entry| entry.standing == Standing::Waiting);
        let outlooks = waiting.flat_map(|entry| &entry.depends_on).map(|(on, of)| self.outlook(*on, *of, now));
        let until = outlooks.filter_map(|outlook| match outlook {
            Outlook::Open(until) => until,
            _ => None,
        });
        until.min()
    }

    fn outlook(&self, on: usize, condition: Condition, now: Instant) -> Outlook {
        let entry = &self.0[on];
        let never = |why: &str| {
            let condition = match condition {
                Condition::Start => "START",
                Condition::Complete => "COMPLETE",
                Condition::Success => "SUCCESS",
                Condition::Healthy => "HEALTHY",
            };
            Outlook::Never(format!("it depends on container {} ({condition}), which {why}", entry.name))
        };
        let began = match (entry.standing, condition) {
            (Standing::Running(_) | Standing::Ended(_), Condition::Start)
            | (Standing::Ended(_) | Standing::Skipped, Condition::Complete)
            | (Standing::Ended(0), Condition::Success) => return Outlook::Met,
            (Standing::Running(_), Condition::Healthy) if entry.healthy => return Outlook::Met,
            (Standing::Skipped, _) => return never("was not started"),
            (Standing::Ended(code), _) => return never(&format!("ended with exit code {code}")),
            (Standing::Running(began), _) => began,
            (Standing::Waiting | Standing::Starting, _) => return Outlook::Open(None),
        };
        let until = entry.start_timeout.map(|patience| began + patience);
        match until {
            Some(until) if until <= now => never("took longer than its startTimeout"),
            until => Outlook::Open(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::Dependency;
    use super::*;

    fn order(start_timeout: Option<Duration>, conditions: &[(&str, &str, Condition)]) -> Order {
        let containers = ["a", "b", "c"].map(|name| ContainerSpec {
            name: name.to_owned(),
            start_timeout,
            depends_on: conditions
                .iter()
                .filter(|(of, ..)| *of == name)
                .map(|(_, on, condition)| Dependency { container: (*on).to_owned(), condition: *condition })
                .collect(),
            ..ContainerSpec::default()
        });
        Order::new(&containers).unwrap()
    }

    #[test]
    fn a_container_starts_when_its_condition_is_met_and_never_when_it_cannot_be() {
        let now = Instant::now();
        type Act = fn(&mut Order, Instant);
        let ended: [Act; 2] = [|order, _| order.ended(0, 0), |order, _| order.ended(0, 3)];
        let (start, wait) = (Some(true), None);
        // what happened to `a`: it started, became healthy, unhealthy, ended with 0, ended with 3
        let acts: [Act; 5] =
            [|_, _| (), |order, _| order.health(0, true), |order, _| order.health(0, false), ended[0], ended[1]];
        let table = [
            (Condition::Start, [start, start, start, start, start]),
            (Condition::Complete, [wait, wait, wait, start, start]),
            (Condition::Success, [wait, wait, wait, start, Some(false)]),
            (Condition::Healthy, [wait, start, wait, Some(false), Some(false)]),
        ];
        for (condition, expected) in table {
            for (act, expected) in acts.iter().zip(expected) {
                let mut order = order(None, &[("b", "a", condition), ("c", "b", Condition::Start)]);
                assert_eq!(order.due(now), [Step::Start(0)], "only what depends on nothing");
                assert_eq!(order.due(now), [], "once");
                order.started(0, now);
                act(&mut order, now);
                let steps = order.due(now);
                match expected {
                    None => assert_eq!(steps, [], "{condition:?}"),
                    Some(true) => assert_eq!(steps, [Step::Start(1)], "{condition:?}"),
                    Some(false) => {
                        let skipped: Vec<usize> =
                            steps.iter().map(|step| if let Step::Skip(at, _) = step { *at } else { 9 }).collect();
                        assert_eq!(skipped, [1, 2], "{condition:?} {steps:?}");
                        assert!(order.is_complete());
                    }
                }
            }
        }
    }

    #[test]
    fn patience_ends_with_the_start_timeout() {
        let began = Instant::now();
        let second = Duration::from_secs(1);
        let mut order = order(Some(second), &[("b", "a", Condition::Healthy)]);
        assert_eq!(order.due(began), [Step::Start(0), Step::Start(2)]);
        assert_eq!(order.deadline(began), None, "it counts from the start");
        order.started(0, began);
        assert_eq!(order.deadline(began), Some(began + second));
        assert_eq!(order.due(began + second / 2), []);
        let reason = "it depends on container a (HEALTHY), which took longer than its startTimeout".to_owned();
        assert_eq!(order.due(began + second), [Step::Skip(1, reason)]);
        assert!(!order.is_complete(), "c was only told to start");
        assert!(order.is_staged());
    }
}
