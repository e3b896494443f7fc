//! Trouble on demand: what is to go wrong, where and how often.

mod fault;
mod names;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

pub use fault::{Fault, Kind, Mistake, Scope};
pub use names::{BALANCER, REGISTRY, SCHEDULER, service_name};

/// The faults of one lab; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    armed: Mutex<Armory>,
    /// Grows whenever faults are taken away: what stalls looks whether it still has to.
    cleared: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Armory {
    last: u64,
    faults: Vec<Armed>,
}

#[derive(Debug)]
struct Armed {
    id: u64,
    fault: Fault,
    /// What it could have struck so far, and what it struck.
    met: u64,
    struck: u64,
    random: u64,
    since: Instant,
}

/// A fault, and what came of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    id: u64,
    #[serde(flatten)]
    fault: &'a Fault,
    met: u64,
    struck: u64,
}

impl Faults {
    /// Begins with a fault; what [`Faults::list`] says of it.
    pub fn add(&self, fault: Fault) -> Value {
        let mut armory = self.lock();
        armory.last += 1;
        let random = fault.seed.unwrap_or(1);
        let armed = Armed { id: armory.last, fault, met: 0, struck: 0, random, since: Instant::now() };
        let told = armed.told();
        armory.faults.push(armed);
        told
    }

    /// All faults, also those that have struck as often as they were to.
    pub fn list(&self) -> Value {
        self.lock().faults.iter().map(Armed::told).collect()
    }

    /// Ends the fault of this id, or all; how many that were.
    pub fn clear(&self, id: Option<u64>) -> usize {
        let mut armory = self.lock();
        let before = armory.faults.len();
        armory.faults.retain(|armed| id.is_some_and(|id| id != armed.id));
        let cleared = before - armory.faults.len();
        drop(armory);
        self.0.cleared.send_modify(|times| *times += 1);
        cleared
    }

    /// What strikes this request or event, in the order in which the faults were added.
    pub fn strike(&self, service: &str, operation: &str) -> Vec<Fault> {
        let mut armory = self.lock();
        let met = armory.faults.iter_mut().filter(|armed| armed.fault.is_about(service, operation));
        met.filter_map(|armed| armed.strikes().then(|| armed.fault.clone())).collect()
    }

    /// Whether there is no machine for any task; and until when, where that is known.
    pub fn capacity_lost(&self) -> Option<Option<Instant>> {
        self.lasts(|fault| fault.kind == Kind::LoseCapacity)
    }

    /// The same of Spot capacity.
    pub fn spot_lost(&self) -> Option<Option<Instant>> {
        self.lasts(|fault| match fault.kind {
            Kind::LoseCapacity => true,
            Kind::InterruptSpot => fault.count.is_none(),
            _ => false,
        })
    }

    fn lasts(&self, meant: impl Fn(&Fault) -> bool) -> Option<Option<Instant>> {
        let armory = self.lock();
        let ends: Vec<_> = armory.faults.iter().filter(|armed| meant(&armed.fault)).map(Armed::ends).collect();
        if ends.contains(&None) {
            return Some(None);
        }
        ends.into_iter().flatten().max().filter(|end| *end > Instant::now()).map(Some)
    }

    /// Whether tasks on Spot capacity may be interrupted now.
    pub fn trouble_spot(&self) -> bool {
        self.capacity_lost().is_some() || self.lock().faults.iter().any(Armed::interrupts)
    }

    /// Whether this task on Spot capacity is interrupted.
    pub fn interruption(&self) -> bool {
        let by_itself = self.capacity_lost().is_some();
        let mut armory = self.lock();
        let struck = armory.faults.iter_mut().filter(|armed| armed.interrupts()).any(Armed::strikes);
        struck || by_itself
    }

    /// Whether a placement that fails may be owed to a fault, and is to be tried again.
    pub fn trouble_placement(&self) -> bool {
        let events = [names::PLACE_TASK, names::INTERRUPT_TASK];
        let about = |armed: &Armed| events.iter().any(|event| armed.fault.is_about(SCHEDULER, event));
        self.lock().faults.iter().any(about)
    }

    /// How placing one task fails.
    pub fn placement(&self) -> bool {
        let struck = self.strike(SCHEDULER, names::PLACE_TASK);
        struck.iter().any(|fault| fault.kind == Kind::FailPlacement)
    }

    /// How much longer this pull of a task's images takes.
    pub fn slow_pull(&self) -> Duration {
        let struck = self.strike(SCHEDULER, names::PULL_IMAGE);
        struck.iter().filter_map(Fault::lasts).sum()
    }

    /// Whether a health check fails now, where each of a target's two states lasts for `usually`.
    pub fn health_check_fails(&self, usually: Duration) -> bool {
        let armory = self.lock();
        let mut flapping = armory.faults.iter().filter(|armed| armed.fault.kind == Kind::FlappingHealth);
        flapping.any(|armed| {
            let lasts = armed.fault.lasts().unwrap_or(usually).max(Duration::from_millis(1));
            (armed.since.elapsed().as_nanos() / lasts.as_nanos()).is_multiple_of(2)
        })
    }

    /// Done when no fault stalls this any more.
    pub async fn stalled(&self, service: &str, operation: &str) {
        let mut cleared = self.0.cleared.subscribe();
        loop {
            cleared.borrow_and_update();
            let is_stalled = {
                let armory = self.lock();
                let about = |armed: &Armed| armed.fault.is_about(service, operation);
                armory.faults.iter().any(|armed| armed.fault.kind == Kind::Stall && about(armed))
            };
            if !is_stalled || cleared.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Armory> {
        self.0.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Armed {
    fn ends(&self) -> Option<Instant> {
        self.fault.lasts().map(|lasts| self.since + lasts)
    }

    fn interrupts(&self) -> bool {
        self.fault.kind == Kind::InterruptSpot
            && self.fault.count.is_none_or(|count| self.struck < count)
            && self.ends().is_none_or(|end| Instant::now() < end)
    }

    fn strikes(&mut self) -> bool {
        self.met += 1;
        let over = self.fault.count.is_some_and(|count| self.struck >= count);
        if over || self.met <= self.fault.after {
            return false;
        }
        // Also when it is certain, so that the same seed leads to the same course.
        let drawn = self.draw();
        let strikes = self.fault.probability.is_none_or(|probability| drawn < probability);
        self.struck += u64::from(strikes);
        strikes
    }

    /// Between 0 and 1, by splitmix64: the same seed gives the same course anywhere.
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn told(&self) -> Value {
        json!(Told { id: self.id, fault: &self.fault, met: self.met, struck: self.struck })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(fault: Fault, requests: usize) -> String {
        let faults = Faults::default();
        faults.add(fault);
        let strikes = |_| if faults.strike("ecs", "UpdateService").is_empty() { '.' } else { 'x' };
        (0..requests).map(strikes).collect()
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_says() {
        type Change = fn(&mut Fault);
        let fault = |change: Change| {
            let mut fault = Fault::new(Kind::Throttle, Some("ecs:Update*".to_owned()));
            change(&mut fault);
            fault
        };
        let table: [(Change, &str); 6] = [
            (|_| {}, "xxxxxx"),
            (|of| of.count = Some(2), "xx...."),
            (|of| of.after = 3, "...xxx"),
            (|of| (of.after, of.count) = (1, Some(3)), ".xxx.."),
            (|of| of.probability = Some(0.0), "......"),
            (|of| of.on = "ecs:DescribeServices".to_owned(), "......"),
        ];
        for (change, expected) in table {
            assert_eq!(course(fault(change), 6), expected, "{:?}", fault(change));
        }
        let half = |seed| {
            let mut half = fault(|of| of.probability = Some(0.5));
            half.seed = Some(seed);
            course(half, 1000)
        };
        assert_eq!(half(7), half(7), "a seed gives the same course");
        assert_ne!(half(7), half(8));
        let struck = half(7).matches('x').count();
        assert!((430..570).contains(&struck), "{struck} of 1000");
    }

    #[tokio::test]
    async fn what_stalls_goes_on_when_the_fault_is_cleared() {
        let faults = Faults::default();
        let id = faults.add(Fault::new(Kind::Stall, Some("ecs:*".to_owned())))["id"].as_u64();
        let other = faults.clone();
        let stalled = tokio::spawn(async move { other.stalled("ecs", "ListTasks").await });
        faults.add(Fault::new(Kind::Stall, Some("ecr:*".to_owned())));
        faults.stalled("sts", "GetCallerIdentity").await;
        assert!(!stalled.is_finished());
        assert_eq!(faults.clear(id), 1);
        stalled.await.unwrap();
        assert_eq!(faults.list().as_array().unwrap().len(), 1);
    }
}
