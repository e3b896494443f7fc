//! Defects of the lab's own. A panic in the look at one task or service is kept to that one: the others go on, and it is
//! looked at again later.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::lab::{ecs::model::ServiceKey, state::State};

/// Milliseconds until it is tried again: doubled each time.
const FIRST_PAUSE: i64 = 5_000;
const MOST_PAUSE: i64 = 60_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Task(String),
    Service(ServiceKey),
    /// Not of one task or service.
    Step,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Task(id) => write!(f, "scheduler: task {id}"),
            Subject::Service((cluster, name)) => write!(f, "scheduler: service {cluster}/{name}"),
            Subject::Step => f.write_str("scheduler"),
        }
    }
}

#[derive(Debug, Clone)]
struct Defect {
    times: u32,
    until: i64,
}

/// Ends with the lab.
#[derive(Debug, Default, Clone)]
pub(super) struct Defects(BTreeMap<Subject, Defect>);

impl Defects {
    /// Until when it is left alone, if it is.
    pub(super) fn rests_until(&self, subject: &Subject, now: i64) -> Option<i64> {
        self.0.get(subject).map(|defect| defect.until).filter(|until| now < *until)
    }

    /// A look at it panicked; when it is to be tried again.
    pub(super) fn failed(&mut self, subject: Subject, now: i64, why: &str) -> i64 {
        let defect = self.0.entry(subject.clone()).or_insert(Defect { times: 0, until: now });
        if defect.times == 0 {
            tracing::error!(what = %subject, why, "a defect of the lab: this is left alone for a while, all else goes on");
        }
        defect.until = now + (FIRST_PAUSE << defect.times.min(16)).min(MOST_PAUSE);
        defect.times += 1;
        defect.until
    }

    /// A look at it went well.
    pub(super) fn passed(&mut self, subject: &Subject) {
        if !self.0.is_empty() && self.0.remove(subject).is_some() {
            tracing::info!(what = %subject, "goes on again");
        }
    }
}

/// What is left alone, as a person is told it.
pub fn failing(state: &State) -> Vec<String> {
    let is_there = |subject: &&Subject| match subject {
        Subject::Task(id) => state.ecs.tasks.contains_key(id),
        Subject::Service((cluster, name)) => state.ecs.services.find(cluster, name).is_some(),
        Subject::Step => true,
    };
    state.ecs.agenda.defects.0.keys().filter(is_there).map(Subject::to_string).collect()
}

/// What `work` comes to, or why it panicked.
pub(super) fn survive<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| said(&*panic))
}

pub(super) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}
