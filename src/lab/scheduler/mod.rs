//! The scheduler: what ECS does by itself.
//!
//! [`step`] is a function of the state and the time; it says what the runtime must do. [`run`] does that,
//! and tells [`observe`] what came of it.

mod capacity;
mod driver;
mod events;
mod function;
mod health;
mod hooks;
pub mod launch;
mod life;
mod members;
mod observe;
pub mod output;
pub mod placement;
mod reconcile;
pub mod roles;
mod rollout;
mod secrets;
mod shift;
mod traffic;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

pub use driver::run;
pub use observe::{Observation, observe};

use super::{Settings, clock::Clock, ecs, state::State};

/// When and where a step is done; `now` in epoch milliseconds.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub settings: &'a Settings,
    pub clock: Clock,
    pub now: i64,
}

impl Context<'_> {
    /// How many milliseconds a wait of AWS's takes.
    fn wait(&self, seconds_at_aws: u64) -> i64 {
        self.clock.wait(Duration::from_secs(seconds_at_aws)).as_millis() as i64
    }

    fn wait_at_least(&self, seconds_at_aws: u64, floor: Duration) -> i64 {
        self.clock.wait_at_least(Duration::from_secs(seconds_at_aws), floor).as_millis() as i64
    }
}

/// What the runtime has to do. The answer comes as an [`Observation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Start {
        task_id: String,
    },
    Stop {
        task_id: String,
        timeout: Duration,
    },
    /// Asks a lifecycle hook's function.
    Call {
        deployment: String,
        hook: String,
        url: String,
        event: String,
    },
}

#[derive(Debug, Default)]
pub struct Outcome {
    pub effects: Vec<Effect>,
    /// When there is something to do again though nothing else happens (epoch milliseconds).
    pub next: Option<i64>,
    pub changed: bool,
}

struct Step<'a> {
    state: &'a mut State,
    context: Context<'a>,
    outcome: Outcome,
    notes: Vec<events::Note>,
}

impl Step<'_> {
    fn wake_at(&mut self, at: i64) {
        self.outcome.next = Some(self.outcome.next.map_or(at, |next| next.min(at)));
    }

    fn changed(&mut self) {
        self.outcome.changed = true;
    }
}

/// Does everything that is due at `context.now`.
pub fn step(state: &mut State, context: Context) -> Outcome {
    ecs::prepare(state, context.now);
    let mut step = Step { state, context, outcome: Outcome::default(), notes: Vec::new() };
    // One task's end makes room for another: until nothing follows from anything. The bound is for
    // a rule that would contradict another.
    let mut changed = false;
    for _ in 0..32 {
        step.outcome.next = None;
        step.outcome.changed = false;
        life::advance(&mut step);
        for at in 0..step.state.ecs.services.len() {
            let mut service = std::mem::take(&mut step.state.ecs.services[at]);
            // A defect ends the scheduler; the service is to outlive that.
            let done = catch_unwind(AssertUnwindSafe(|| {
                events::tell(&mut step, &mut service);
                reconcile::reconcile(&mut step, &mut service);
            }));
            step.state.ecs.services[at] = service;
            done.unwrap_or_else(|panic| resume_unwind(panic));
        }
        step.notes.clear();
        if !step.outcome.changed {
            break;
        }
        changed = true;
    }
    step.outcome.changed = changed;
    step.outcome
}
