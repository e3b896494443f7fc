//! How a task is stopped: softly in the reverse of the order in which its containers started, then hard.

use std::time::Duration;

use tokio::time::Instant;

use super::order::Order;

/// How long one that was killed may take to be gone before it is given up.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// What is to be done to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// Its stop signal.
    Soft(usize),
    /// SIGKILL.
    Hard(usize),
    /// Even that did not help.
    GiveUp,
}

#[derive(Debug)]
pub struct Stopping {
    timeout: Duration,
    sent: Vec<Sent>,
}

#[derive(Debug, Clone, Copy)]
enum Sent {
    Nothing,
    Soft(Instant),
    Hard(Instant),
}

impl Stopping {
    /// Each container has this long after its stop signal, or what its definition says if that is less.
    pub fn new(containers: usize, timeout: Duration) -> Self {
        Stopping { timeout, sent: vec![Sent::Nothing; containers] }
    }

    pub fn hurry(&mut self, timeout: Duration) {
        self.timeout = self.timeout.min(timeout);
    }

    /// One that is started again is to be stopped again.
    pub fn due(&mut self, now: Instant, order: &Order) -> Vec<Blow> {
        let mut blows = Vec::new();
        for at in 0..self.sent.len() {
            if !order.runs(at) {
                continue;
            }
            if matches!(self.sent[at], Sent::Nothing) && !order.is_needed(at) {
                self.sent[at] = Sent::Soft(now);
                blows.push(Blow::Soft(at));
            }
            match self.sent[at] {
                Sent::Soft(since) if since + self.patience(at, order) <= now => {
                    self.sent[at] = Sent::Hard(now);
                    blows.push(Blow::Hard(at));
                }
                Sent::Hard(since) if since + KILL_PATIENCE <= now => blows.push(Blow::GiveUp),
                _ => {}
            }
        }
        blows
    }

    /// When [`Stopping::due`] has something to say though nothing else happens.
    pub fn deadline(&self, order: &Order) -> Option<Instant> {
        let running = (0..self.sent.len()).filter(|at| order.runs(*at));
        let due = running.filter_map(|at| match self.sent[at] {
            Sent::Nothing => None,
            Sent::Soft(since) => Some(since + self.patience(at, order)),
            Sent::Hard(since) => Some(since + KILL_PATIENCE),
        });
        due.min()
    }

    fn patience(&self, at: usize, order: &Order) -> Duration {
        order.stop_timeout(at).map_or(self.timeout, |own| own.min(self.timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::{Condition, ContainerSpec, Dependency};
    use super::*;

    /// `web` needs `proxy`, which has a second to stop; `free` needs nothing.
    fn order(now: Instant) -> Order {
        let container = |name: &str, on: &[&str], stop_timeout| ContainerSpec {
            name: name.to_owned(),
            stop_timeout,
            depends_on: on
                .iter()
                .map(|on| Dependency { container: (*on).to_owned(), condition: Condition::Start })
                .collect(),
            ..ContainerSpec::default()
        };
        let second = Some(Duration::from_secs(1));
        let mut order = Order::new(&[
            container("proxy", &[], second),
            container("web", &["proxy"], None),
            container("free", &[], None),
        ])
        .unwrap();
        order.due(now);
        (0..3).for_each(|at| order.started(at, now));
        order
    }

    #[test]
    fn what_others_need_is_stopped_after_them() {
        let now = Instant::now();
        let mut order = order(now);
        let mut stopping = Stopping::new(3, Duration::from_secs(30));
        assert_eq!(stopping.due(now, &order), [Blow::Soft(1), Blow::Soft(2)]);
        assert_eq!(stopping.due(now, &order), [], "once");
        assert_eq!(stopping.deadline(&order), Some(now + Duration::from_secs(30)));
        order.ended(1, 0);
        assert_eq!(stopping.due(now, &order), [Blow::Soft(0)]);
        assert_eq!(stopping.deadline(&order), Some(now + Duration::from_secs(1)), "its own stopTimeout");
        assert_eq!(stopping.due(now + Duration::from_secs(1), &order), [Blow::Hard(0)]);
        assert_eq!(stopping.due(now + Duration::from_secs(6), &order), [Blow::GiveUp]);
        order.ended(0, 137);
        order.ended(2, 137);
        assert_eq!((stopping.due(now + Duration::from_secs(99), &order), stopping.deadline(&order)), (vec![], None));
    }

    #[test]
    fn without_patience_both_blows_come_at_once() {
        let now = Instant::now();
        let mut order = order(now);
        let mut stopping = Stopping::new(3, Duration::from_secs(30));
        assert_eq!(stopping.due(now, &order).len(), 2);
        stopping.hurry(Duration::ZERO);
        assert_eq!(stopping.due(now, &order), [Blow::Hard(1), Blow::Hard(2)]);
        order.ended(1, 137);
        assert_eq!(stopping.due(now, &order), [Blow::Soft(0), Blow::Hard(0)]);
    }
}
