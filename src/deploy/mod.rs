//! The walk from source to steady state. [`run`] is its table of contents; each step is a module of its own, takes what
//! the step before it returned, and says what it does through [`event`]s.

pub mod annotations;
pub mod around;
pub mod build;
pub mod check_url;
pub mod delete;
pub mod dry_run;
pub mod event;
pub mod failure;
pub mod follow;
pub mod load_balancer;
pub mod login;
pub mod mirror;
pub mod one_off;
mod origin;
pub mod outcome;
pub mod parts;
pub mod pause;
pub mod preflight;
pub mod push;
pub mod register;
pub mod render;
pub mod repository;
pub mod revisions;
pub mod rollback;
pub mod service;
pub mod status;
pub mod surroundings;
pub mod task;
pub mod verify;
pub mod wait;

use std::time::Instant;

use crate::aws::Clients;
use crate::config::Plan;
use crate::error::Result;
use event::{Event, Events, Step};

pub use delete::{DeleteOptions, delete};
pub use dry_run::{Trial, dry_run};
pub use login::{login, public_login};
pub use mirror::mirror;
pub use one_off::run as run_task;
pub use outcome::Outcome;
pub use parts::{build, push, register, render};
pub use pause::go_on;
pub use revisions::revisions;
pub use rollback::interrupt::Interrupt;
pub use rollback::list::list_targets;
pub use rollback::rollback;
pub use run as deploy;
pub use status::status;
pub use verify::verify;
pub use wait::wait;

/// From source to steady state. `Ok` means steady: our own deployment reached its end, the running tasks carry the
/// digest that was pushed, and the targets are healthy.
pub async fn run(plan: &Plan, clients: &Clients, events: &Events) -> Result<Outcome> {
    run_interruptible(plan, clients, events, &Interrupt::default()).await
}

/// The same, which brings the release before back when it is interrupted while it follows, if the plan says so.
pub async fn run_interruptible(
    plan: &Plan,
    clients: &Clients,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let started = Instant::now();
    let ground =
        step(events, Step::Preflight, preflight::check(plan, clients, events), preflight::Ground::detail).await?;
    let image = parts::image(plan, clients, events, &ground).await?;
    let facts = render::Facts::new(plan, clients, &ground, image.as_ref());
    let rendering = async { render::documents(plan, &facts, events) };
    let rendered = step(events, Step::Render, rendering, render::Rendered::detail).await?;
    let (registered, surroundings) = tokio::try_join!(
        step(
            events,
            Step::Register,
            register::register(&rendered.task_definition, &facts, clients, events, ground.live.as_ref()),
            register::Registered::detail,
        ),
        surroundings::ensure(plan, &rendered, &ground.looked, clients, events),
    )?;
    let scene = around::Scene {
        plan,
        facts: &facts,
        registered: &registered,
        rendered: &rendered,
        surroundings: &surroundings,
    };
    let before = around::before(&scene, clients, events).await?;
    interrupt.leave_after(!plan.after.is_empty());
    let placing = service::place(plan, &rendered, &registered, &surroundings, clients, events);
    let placed = step(events, Step::Service, placing, service::Placed::detail).await?;
    let following = rollback::interrupt::follow(&plan.rollout, &placed, facts.digest(), (clients, events), interrupt);
    let steady = step(events, Step::Steady, following, follow::Steady::detail).await?;
    let url = match &plan.check_url {
        Some(wanted) if wanted.starts_with('/') => outcome::url_to_check(&placed.service, clients).await?,
        _ => outcome::url(&placed.service, clients, events).await,
    };
    if let Some(path) = &plan.check_url {
        step(events, Step::Check, check_url::check(url.as_deref(), path, plan.rollout.timeout), Clone::clone).await?;
    }
    interrupt.leave_after(false);
    let after = around::after(&scene, &placed, url.as_deref(), clients, events).await?;
    let around = outcome::RanAround { before, after };
    Ok(Outcome::steady(plan, &facts, &registered, &placed, &steady, url, around, started.elapsed()))
}

/// Runs one step between its two events.
pub(crate) async fn step<T>(
    events: &Events,
    step: Step,
    work: impl Future<Output = Result<T>>,
    detail: impl FnOnce(&T) -> String,
) -> Result<T> {
    let started = Instant::now();
    events.emit(Event::StepStarted { step });
    // Boxed: all steps together are more than a thread's stack may hold.
    let done = Box::pin(work).await?;
    events.emit(Event::StepFinished { step, detail: detail(&done), duration_ms: started.elapsed().as_millis() as u64 });
    Ok(done)
}
