//! The scheduler: what ECS does by itself.
//!
//! [`step`] is a function of the state and the time; it says what the runtime must do. [`run`] does that,
//! and tells [`observe`] what came of it.

mod agenda;
mod alarms;
pub mod choose;
mod defects;
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
mod shortage;
mod traffic;
mod unhealthy;

use std::collections::HashMap;
use std::time::{Duration, Instant};

pub use agenda::Agenda;
pub use defects::failing;
pub use driver::run;
pub use observe::{Observation, observe};

use defects::Subject;

use super::{
    Settings,
    clock::Clock,
    ecs::{self, model::ServiceKey},
    state::State,
};

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
    /// A defect ended the step.
    pub failed: bool,
}

/// Passes over what follows from each other in one step: the bound is for a rule that would contradict another.
const PASSES: usize = 32;
/// The same where a pass is over a part.
const MOST_PASSES: usize = 512;
/// Tasks in a pass of a step that is to end soon.
const IN_PART: usize = 16;
/// Milliseconds until what such rules left is looked at again.
const CONTRADICTION: i64 = 100;

struct Step<'a> {
    state: &'a mut State,
    context: Context<'a>,
    outcome: Outcome,
    /// What happened to tasks, for their services.
    notes: HashMap<ServiceKey, Vec<events::What>>,
    /// Of the task or service that is looked at: when to do so again, …
    again: Option<i64>,
    /// …, whether it changed, …
    altered: bool,
    /// … and whether there was no room for a task of it.
    no_room: bool,
}

impl Step<'_> {
    fn wake_at(&mut self, at: i64) {
        self.again = Some(self.again.map_or(at, |next| next.min(at)));
    }

    fn changed(&mut self) {
        self.altered = true;
        self.outcome.changed = true;
    }
}

/// Does everything that is due at `context.now`.
pub fn step(state: &mut State, context: Context) -> Outcome {
    pass_by_pass(state, context, usize::MAX, None)
}

/// As [`step`], but ends soon after `until`; `next` is now when something is left.
pub fn step_until(state: &mut State, context: Context, until: Instant) -> Outcome {
    pass_by_pass(state, context, IN_PART, Some(until))
}

/// Looks at `most` tasks in each pass, and at the services of these.
fn pass_by_pass(state: &mut State, context: Context, most: usize, until: Option<Instant>) -> Outcome {
    ecs::prepare(state, context.now);
    let outcome = Outcome { changed: shortage::follow(state, &context), ..Outcome::default() };
    let notes = HashMap::new();
    let mut step = Step { state, context, outcome, notes, again: None, altered: false, no_room: false };
    life::forget(&mut step);
    agenda::call_up(step.state, context.now);
    // One task's end makes room for another: until nothing follows from anything.
    let mut passes = 0;
    let late = loop {
        let tasks = step.state.ecs.tasks.take_touched(most);
        let idle = tasks.is_empty() && !step.state.ecs.services.is_touched();
        if idle {
            break false;
        }
        tasks.iter().for_each(|id| life::advance(&mut step, id));
        for at in step.state.ecs.services.take_touched() {
            look_at(&mut step, at);
        }
        step.notes.clear();
        passes += 1;
        match until {
            _ if passes == if until.is_none() { PASSES } else { MOST_PASSES } => break false,
            Some(until) if Instant::now() >= until => break true,
            _ => {}
        }
    };
    let more = step.state.ecs.tasks.is_touched() || step.state.ecs.services.is_touched();
    let next = shortage::returns(step.state, context.now).into_iter().chain(step.state.ecs.agenda.next()).min();
    step.outcome.next = match (more, late) {
        (true, true) => Some(context.now),
        (true, _) => Some(next.map_or(i64::MAX, |next| next).min(context.now + CONTRADICTION)),
        (false, _) => next,
    };
    step.outcome
}

fn look_at(step: &mut Step, at: usize) {
    let (key, now) = (step.state.ecs.services[at].key(), step.context.now);
    let subject = Subject::Service(key.clone());
    if let Some(until) = step.state.ecs.agenda.defects.rests_until(&subject, now) {
        return step.state.ecs.agenda.plan_service(key, Some(until));
    }
    let mut service = step.state.ecs.services.lend(at);
    (step.again, step.altered, step.no_room) = (None, false, false);
    // What it decided before a defect showed stays: each look begins with what is there.
    let done = defects::survive(|| {
        events::tell(step, &mut service);
        reconcile::reconcile(step, &mut service);
    });
    step.state.ecs.services.put_back(at, service, step.altered || done.is_err());
    if let Err(why) = done {
        let until = step.state.ecs.agenda.defects.failed(subject, now, &why);
        return step.state.ecs.agenda.plan_service(key, Some(until));
    }
    step.state.ecs.agenda.defects.passed(&subject);
    step.state.ecs.agenda.plan_service(key.clone(), step.again);
    if step.no_room {
        step.state.ecs.agenda.has_no_room(key.clone());
    }
    if step.altered {
        // What was just decided may lead to more.
        step.state.ecs.services.touch(&key.0, &key.1);
    }
}
