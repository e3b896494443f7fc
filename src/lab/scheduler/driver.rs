//! Runs [`step`]s when something happened or is due, and has the runtime do what they say.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::lab::{Lab, clock::floor, runtime::RuntimeEvent};

use super::{
    Context, Effect, Observation, Outcome,
    defects::{self, Subject},
    function, launch, observe, output, step_until,
};

/// So many reports of the runtime are taken in at once.
const BATCH: usize = 256;
/// As long as Lambda lets a function run.
const MOST_OF_A_CALL: Duration = Duration::from_secs(900);
/// Requests wait for a step: it ends after this, and goes on after a pause that is so many times as long. What happens
/// meanwhile is looked at together.
const STEP: Duration = Duration::from_millis(2);
const PAUSE: u32 = 2;
/// Until the next step after one that a defect ended.
const AFTER_DEFECT: Duration = Duration::from_secs(1);
/// So many tasks' images are looked up at once: of thousands that start together, the others let requests pass.
static LOOKUPS: Semaphore = Semaphore::const_new(2);

/// Runs the scheduler until `shutdown`. The containers are the runtime's, and stay.
pub async fn run(lab: Arc<Lab>, shutdown: CancellationToken) {
    let mut changes = lab.changes();
    let (sender, mut reports) = mpsc::unbounded_channel();
    let (performed, done) = mpsc::unbounded_channel();
    let events = lab.runtime.take_events().unwrap_or_else(|| mpsc::unbounded_channel().1);
    let forward = tokio::spawn(forward(events, done, sender));
    let output = lab.runtime.take_output().map(|output| tokio::spawn(output::keep(lab.clone(), output)));
    let mut batch = Vec::new();
    loop {
        while batch.len() < BATCH
            && let Ok(report) = reports.try_recv()
        {
            batch.push(report);
        }
        // At the lab's end its containers end, too; their tasks are to be there again at its next start.
        if shutdown.is_cancelled() {
            break;
        }
        let seen = *changes.borrow_and_update();
        let began = Instant::now();
        let outcome = take_step(&lab, std::mem::take(&mut batch));
        let took = began.elapsed();
        let others = *changes.borrow_and_update() != seen + u64::from(outcome.changed);
        for effect in outcome.effects {
            tokio::spawn(perform(lab.clone(), effect, performed.clone()));
        }
        if outcome.failed {
            shutdown.run_until_cancelled(tokio::time::sleep(AFTER_DEFECT)).await;
        }
        if took >= STEP {
            tokio::time::sleep(took * PAUSE).await;
        }
        if others {
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            changed = changes.changed() => if changed.is_err() { break },
            received = reports.recv_many(&mut batch, BATCH) => if received == 0 { break },
            () = lab.clock.until(outcome.next.unwrap_or_default()), if outcome.next.is_some() => {}
        }
    }
    for task in output.into_iter().chain([forward]) {
        task.abort();
    }
}

fn take_step(lab: &Lab, observations: Vec<Observation>) -> Outcome {
    let context = Context { settings: &lab.settings, clock: lab.clock, now: lab.clock.now() };
    lab.update(|state| {
        let observed = !observations.is_empty();
        let mut trouble = Ok(());
        for observation in observations {
            trouble = trouble.and(defects::survive(|| observe(state, observation)));
        }
        let stepped = defects::survive(|| step_until(state, context, Instant::now() + STEP));
        let defects = &mut state.ecs.agenda.defects;
        let mut outcome = match (stepped, trouble) {
            (Ok(outcome), Ok(())) => {
                defects.passed(&Subject::Step);
                outcome
            }
            (stepped, trouble) => {
                let why = stepped.as_ref().err().or(trouble.as_ref().err()).map(String::as_str).unwrap_or_default();
                let until = defects.failed(Subject::Step, context.now, why);
                stepped.unwrap_or_else(|_| Outcome { next: Some(until), failed: true, ..Outcome::default() })
            }
        };
        outcome.changed |= observed;
        let changed = outcome.changed;
        (outcome, changed)
    })
}

/// What the runtime tells, and what was done, in the order in which it happened: a task is stopped after its containers
/// have exited.
async fn forward(
    mut events: mpsc::UnboundedReceiver<RuntimeEvent>,
    mut done: mpsc::UnboundedReceiver<Observation>,
    reports: mpsc::UnboundedSender<Observation>,
) {
    loop {
        tokio::select! {
            Some(event) = events.recv() => drop(reports.send(observed(event))),
            Some(observation) = done.recv() => {
                while let Ok(event) = events.try_recv() {
                    let _ = reports.send(observed(event));
                }
                let _ = reports.send(observation);
            }
            else => return,
        }
    }
}

fn observed(event: RuntimeEvent) -> Observation {
    match event {
        RuntimeEvent::Started { task_id, container } => Observation::Began { task_id, container },
        RuntimeEvent::Restarted { task_id, container } => Observation::Restarted { task_id, container },
        RuntimeEvent::Skipped { task_id, container, reason } => Observation::Skipped { task_id, container, reason },
        RuntimeEvent::Health { task_id, container, healthy } => Observation::Health { task_id, container, healthy },
        RuntimeEvent::Exited { task_id, container, exit_code, oom_killed, .. } => {
            Observation::Exited { task_id, container, exit_code: i64::from(exit_code), oom_killed }
        }
    }
}

async fn perform(lab: Arc<Lab>, effect: Effect, performed: mpsc::UnboundedSender<Observation>) {
    let done = AssertUnwindSafe(carry_out(&lab, effect.clone())).catch_unwind().await;
    // Who waits for the answer would do so for ever.
    let observation = done.unwrap_or_else(|panic| {
        let why = defects::said(&*panic);
        tracing::error!(?effect, why, "a defect of the lab");
        match effect {
            Effect::Stop { task_id, .. } => Observation::Stopped { task_id },
            Effect::Start { task_id } => Observation::NotStarted {
                task_id,
                container: String::new(),
                reason: format!("CannotStartContainerError: a defect of the lab: {why}"),
            },
            Effect::Call { deployment, hook, .. } => Observation::Answered { deployment, hook, answer: Err(why) },
        }
    });
    let _ = performed.send(observation);
}

async fn carry_out(lab: &Arc<Lab>, effect: Effect) -> Observation {
    match effect {
        Effect::Stop { task_id, timeout } => {
            lab.runtime.stop(&task_id, timeout).await;
            Observation::Stopped { task_id }
        }
        Effect::Start { task_id } => start(lab, task_id).await,
        Effect::Call { deployment, hook, url, event } => {
            let answer = function::call(&url, event, lab.clock.wait_at_least(MOST_OF_A_CALL, floor::HOOK)).await;
            Observation::Answered { deployment, hook, answer }
        }
    }
}

async fn start(lab: &Lab, task_id: String) -> Observation {
    let permit = LOOKUPS.acquire().await;
    let spec = lab.read(|state| launch::spec(state, &lab.settings, lab.clock, &task_id));
    drop(permit);
    let spec = match spec {
        Ok(spec) => spec,
        Err(refusal) => {
            return Observation::NotStarted { task_id, container: refusal.container, reason: refusal.reason };
        }
    };
    tokio::time::sleep(lab.faults.slow_pull()).await;
    let digests = spec.containers.iter().map(|of| (of.name.clone(), of.image.digest.clone())).collect();
    match lab.runtime.start(spec).await {
        Ok(()) => Observation::Started { task_id, digests },
        Err(error) => Observation::NotStarted { task_id, container: error.container, reason: error.reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_is_stopped_after_its_containers_have_exited() {
        for _ in 0..64 {
            let (runtime, events) = mpsc::unbounded_channel();
            let (performed, done) = mpsc::unbounded_channel();
            let (reports, mut reported) = mpsc::unbounded_channel();
            let (task_id, container) = ("task".to_owned(), "web".to_owned());
            let exited = RuntimeEvent::Exited { task_id, container, exit_code: 3, signal: None, oom_killed: false };
            runtime.send(exited).unwrap();
            performed.send(Observation::Stopped { task_id: "task".to_owned() }).unwrap();
            let forward = tokio::spawn(forward(events, done, reports));
            let order = [reported.recv().await, reported.recv().await];
            assert!(matches!(order, [Some(Observation::Exited { .. }), Some(Observation::Stopped { .. })]));
            drop((runtime, performed));
            forward.await.unwrap();
        }
    }
}
