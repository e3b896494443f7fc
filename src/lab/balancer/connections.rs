//! Which target gets a connection, and which targets have how many.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::lab::Lab;
use crate::lab::clock::Clock;
use crate::lab::elbv2::{Target, TargetGroup, TargetStatus};

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
    /// Since when new targets get a part of their turns.
    warm: HashMap<TargetKey, i64>,
}

#[derive(Default)]
struct Open {
    connections: Vec<Arc<Activity>>,
    cut: CancellationToken,
}

/// How long (milliseconds) the target's side of a connection may be silent in the middle of an answer.
const SILENCE: i64 = 1000;

/// In milliseconds.
const LONGEST_SLOW_START: i64 = 900_000;

/// What goes on over a connection, as far as a load balancer can know.
pub(super) struct Activity(Mutex<Exchange>);

/// What the client said last, and the target's answer.
#[derive(Clone, Copy)]
struct Exchange {
    began: i64,
    /// When the last bytes came.
    moved: i64,
    /// They were the client's: the target has not answered yet.
    asked: bool,
    /// It is one request, and the connection ends with it.
    request: bool,
}

impl Activity {
    fn new(now: i64) -> Self {
        Activity(Mutex::new(Exchange { began: now, moved: now, asked: false, request: true }))
    }

    /// From here on it is bytes in both directions: the client may keep it though it wants nothing.
    pub(super) fn is_a_stream(&self) {
        self.lock().request = false;
    }

    pub(super) fn client_spoke(&self, now: i64) {
        let mut exchange = self.lock();
        if !exchange.asked {
            exchange.began = now;
        }
        (exchange.asked, exchange.moved) = (true, now);
    }

    pub(super) fn target_spoke(&self, now: i64) {
        let mut exchange = self.lock();
        (exchange.asked, exchange.moved) = (false, now);
    }

    /// Whether something that began before `before` is not done yet.
    fn is_busy(&self, before: i64, now: i64) -> bool {
        let exchange = *self.lock();
        exchange.request || exchange.began <= before && (exchange.asked || now < exchange.moved + SILENCE)
    }

    /// Ends when nothing moved for so long.
    pub(super) async fn silence(&self, clock: &Clock, idle: Duration) {
        loop {
            let silent = clock.now() - self.lock().moved;
            let left = idle.as_millis() as i64 - silent;
            if left <= 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(left as u64)).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A connection to a target, counted until it is dropped.
pub(super) struct OpenConnection {
    lab: Arc<Lab>,
    pub(super) key: TargetKey,
    pub(super) activity: Arc<Activity>,
    /// Cancelled when the target's deregistration delay is over and its connections are to end.
    pub(super) cut: CancellationToken,
}

impl OpenConnection {
    pub(super) fn clock(&self) -> Clock {
        self.lab.clock
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut inner = self.lab.sockets.connections.lock();
        if let Some(open) = inner.open.get_mut(&self.key) {
            open.connections.retain(|of| !Arc::ptr_eq(of, &self.activity));
            if open.connections.is_empty() {
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
    /// No program runs that could.
    Simulated,
}

/// Where a connection would rather go.
#[derive(Clone, Copy)]
pub(super) enum Prefer<'a> {
    Any,
    Target(&'a str, u16),
    /// Where all of this client's go, if the group is sticky.
    Client(IpAddr),
}

/// The next target of a group in turn, beyond those that were tried: a healthy one, or else any that is not draining.
pub(super) fn pick(lab: &Arc<Lab>, group_arn: &str, tried: &[TargetKey], prefer: Prefer) -> Pick {
    // Counted under the state's lock: whoever deregisters the target sees the connection or prevents it.
    lab.read(|state| {
        let Some(group) = state.elbv2.target_group(group_arn) else { return Pick::NoTargets };
        let candidates: Vec<&Target> = group.candidates().collect();
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
        let target = choose(lab, group, &pool, prefer);
        let key = TargetKey::new(group_arn, &target.id, target.port);
        let activity = Arc::new(Activity::new(lab.clock.now()));
        let cut = lab.sockets.connections.open(&key, &activity);
        Pick::Target(OpenConnection { lab: Arc::clone(lab), key, activity, cut })
    })
}

/// Of a pool that has one at least.
fn choose<'t>(lab: &Lab, group: &TargetGroup, pool: &[&'t Target], prefer: Prefer) -> &'t Target {
    let connections = &lab.sockets.connections;
    let key = |target: &Target| TargetKey::new(&group.arn, &target.id, target.port);
    let is = |name: &str, value: &str| group.attributes.get(name).is_some_and(|has| has == value);
    let preferred = match prefer {
        Prefer::Any => None,
        Prefer::Target(id, port) => pool.iter().find(|target| target.id == id && target.port == port),
        Prefer::Client(address) if is("stickiness.enabled", "true") => {
            let mut hasher = DefaultHasher::new();
            address.hash(&mut hasher);
            pool.get((hasher.finish() % pool.len() as u64) as usize)
        }
        Prefer::Client(_) => None,
    };
    if let Some(target) = preferred {
        return target;
    }
    let turn = connections.turn(&group.arn);
    let first = turn % pool.len();
    if is("load_balancing.algorithm.type", "least_outstanding_requests") {
        // Of equals the next in turn.
        let by_turn = (0..pool.len()).map(|further| pool[(first + further) % pool.len()]);
        return by_turn.min_by_key(|target| connections.count(&key(target))).unwrap_or(pool[first]);
    }
    let seconds = group.attributes.get("slow_start.duration_seconds").and_then(|text| text.parse().ok()).unwrap_or(0);
    let lasts = lab.clock.wait(Duration::from_secs(seconds)).as_millis() as i64;
    if lasts == 0 {
        return pool[first];
    }
    // A target that is warming up gives away the rest of its turns.
    let now = lab.clock.now();
    let share = |target: &Target| {
        let since = connections.warm_since(&key(target));
        since.map_or(1.0, |since| ((now - since) as f64 / lasts as f64).clamp(0.0, 1.0))
    };
    let round = (turn / pool.len()) as f64 * 0.618_033_988_75;
    let full: Vec<&Target> = pool.iter().copied().filter(|target| share(target) >= 1.0).collect();
    match full.is_empty() || round.fract() < share(pool[first]) {
        true => pool[first],
        false => full[turn % full.len()],
    }
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
        self.lock().open.get(key).map_or(0, |open| open.connections.len())
    }

    /// Whether a request, or an exchange of bytes, that began before `before` is not done yet.
    pub(super) fn is_busy(&self, key: &TargetKey, before: i64, now: i64) -> bool {
        self.lock().open.get(key).is_some_and(|open| open.connections.iter().any(|of| of.is_busy(before, now)))
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

    /// A new target became healthy: its slow start begins.
    pub(super) fn warms_up(&self, key: &TargetKey, now: i64) {
        let mut inner = self.lock();
        // Those of targets that are gone; no slow start is longer than this.
        inner.warm.retain(|_, since| now - *since < LONGEST_SLOW_START);
        inner.warm.insert(key.clone(), now);
    }

    /// It is gone, or was unhealthy: it does not begin slowly again.
    pub(super) fn is_warm(&self, key: &TargetKey) {
        self.lock().warm.remove(key);
    }

    fn warm_since(&self, key: &TargetKey) -> Option<i64> {
        self.lock().warm.get(key).copied()
    }

    fn open(&self, key: &TargetKey, activity: &Arc<Activity>) -> CancellationToken {
        let mut inner = self.lock();
        let open = inner.open.entry(key.clone()).or_default();
        open.connections.push(Arc::clone(activity));
        open.cut.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::Activity;

    #[derive(Debug, PartialEq)]
    enum Who {
        Client,
        Target,
    }
    use Who::{Client, Target};

    #[test]
    fn what_is_under_way_is_busy_and_what_is_only_kept_is_not() {
        // (who spoke when, the time to look at, is busy with what began before 300)
        type Said = &'static [(Who, i64)];
        let table: &[(Said, i64, bool)] = &[
            (&[], 400, true),
            (&[], 1000, false),
            (&[(Client, 100)], 9000, true),
            (&[(Client, 100), (Client, 5000)], 9000, true),
            (&[(Client, 100), (Target, 200)], 1200, false),
            (&[(Client, 100), (Target, 200), (Target, 1100), (Target, 2000)], 2500, true),
            (&[(Client, 100), (Target, 200), (Client, 250)], 9000, true),
            (&[(Client, 100), (Target, 200), (Client, 301)], 400, false),
        ];
        for (said, now, busy) in table {
            let activity = Activity::new(0);
            activity.is_a_stream();
            for (who, at) in *said {
                if *who == Client { activity.client_spoke(*at) } else { activity.target_spoke(*at) }
            }
            assert_eq!(activity.is_busy(300, *now), *busy, "{said:?} at {now}");
        }
        assert!(Activity::new(0).is_busy(300, 9000), "a request is until it ends");
    }
}
