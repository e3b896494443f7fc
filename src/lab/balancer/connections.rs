//! Which target gets a connection, and which targets have how many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

use crate::lab::Lab;
use crate::lab::elbv2::{Target, TargetStatus};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TargetKey {
    pub(super) group: String,
    pub(super) target: String,
    pub(super) port: u16,
}

impl TargetKey {
    pub(super) fn new(group: &str, target: &str, port: u16) -> Self {
        TargetKey { group: group.to_owned(), target: target.to_owned(), port }
    }
}

#[derive(Default)]
pub(super) struct Connections(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    open: HashMap<TargetKey, Open>,
    /// How many connections each group got, for the round.
    rounds: HashMap<String, usize>,
}

#[derive(Default)]
struct Open {
    count: usize,
    cut: CancellationToken,
}

/// A connection to a target, counted until it is dropped.
pub(super) struct OpenConnection {
    lab: Arc<Lab>,
    pub(super) key: TargetKey,
    /// Cancelled when the target's deregistration delay is over and its connections are to end.
    pub(super) cut: CancellationToken,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut inner = self.lab.sockets.connections.lock();
        if let Some(open) = inner.open.get_mut(&self.key) {
            open.count -= 1;
            if open.count == 0 {
                inner.open.remove(&self.key);
            }
        }
    }
}

pub(super) enum Pick {
    Target(OpenConnection),
    /// All were tried, and some of them are still in their first health checks.
    Starting,
    AllTried,
    NoTargets,
}

/// Why no target took a connection.
#[derive(Debug)]
pub(super) enum NoTarget {
    NoneRegistered,
    AllRefused,
}

/// The next target of a group in turn, beyond those that were tried: a healthy one, or else any that is not draining.
pub(super) fn pick(lab: &Arc<Lab>, group_arn: &str, tried: &[TargetKey]) -> Pick {
    // Counted under the state's lock: whoever deregisters the target sees the connection or prevents it.
    lab.read(|state| {
        let candidates: Vec<&Target> =
            state.elbv2.target_group(group_arn).into_iter().flat_map(|group| group.candidates()).collect();
        if candidates.is_empty() {
            return Pick::NoTargets;
        }
        let untried: Vec<&Target> = candidates
            .iter()
            .copied()
            .filter(|target| !tried.contains(&TargetKey::new(group_arn, &target.id, target.port)))
            .collect();
        let healthy: Vec<&Target> =
            untried.iter().copied().filter(|target| target.status == TargetStatus::Healthy).collect();
        let pool = if healthy.is_empty() { untried } else { healthy };
        if pool.is_empty() {
            let starting = candidates.iter().any(|target| matches!(target.status, TargetStatus::Initial { .. }));
            return if starting { Pick::Starting } else { Pick::AllTried };
        }
        let target = pool[lab.sockets.connections.turn(group_arn) % pool.len()];
        let key = TargetKey::new(group_arn, &target.id, target.port);
        let cut = lab.sockets.connections.open(&key);
        Pick::Target(OpenConnection { lab: Arc::clone(lab), key, cut })
    })
}

/// Whether new connections still go to this target.
pub(super) fn in_service(lab: &Lab, key: &TargetKey) -> bool {
    lab.read(|state| {
        let targets = state.elbv2.target_group(&key.group).into_iter().flat_map(|group| &group.targets);
        let mut found = targets.filter(|target| target.id == key.target && target.port == key.port);
        found.next().is_some_and(|target| target.status == TargetStatus::Healthy)
    })
}

impl Connections {
    pub(super) fn count(&self, key: &TargetKey) -> usize {
        self.lock().open.get(key).map_or(0, |open| open.count)
    }

    pub(super) fn cut(&self, key: &TargetKey) {
        if let Some(open) = self.lock().open.get(key) {
            open.cut.cancel();
        }
    }

    /// Counts up: whose turn it is in a group, or among a rule's groups.
    pub(super) fn turn(&self, of: &str) -> usize {
        let mut inner = self.lock();
        match inner.rounds.get_mut(of) {
            Some(round) => {
                *round = round.wrapping_add(1);
                *round
            }
            None => {
                inner.rounds.insert(of.to_owned(), 0);
                0
            }
        }
    }

    fn open(&self, key: &TargetKey) -> CancellationToken {
        let mut inner = self.lock();
        let open = inner.open.entry(key.clone()).or_default();
        open.count += 1;
        open.cut.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
