//! Runs [`step`]s when something happened or is due, and has the runtime do what they say.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::lab::{
    Lab,
    ecs::{model::Task, task_definitions},
    logs,
    runtime::RuntimeEvent,
    state::State,
};

use super::{Context, Effect, Observation, launch, life, observe, step};

/// So many reports of the runtime are taken in at once.
const BATCH: usize = 256;

enum Report {
    Of(Observation),
    Line(Line),
}

struct Line {
    task_id: String,
    container: String,
    line: String,
    at: i64,
}

/// Runs the scheduler until `shutdown`. The containers are the runtime's, and stay.
pub async fn run(lab: Arc<Lab>, shutdown: CancellationToken) {
    let mut changes = lab.changes();
    let (sender, mut reports) = mpsc::unbounded_channel();
    let forward = lab.runtime.take_events().map(|events| tokio::spawn(forward(events, sender.clone())));
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
        let outcome = take_step(&lab, std::mem::take(&mut batch));
        let others = *changes.borrow_and_update() != seen + u64::from(outcome.changed);
        for effect in outcome.effects {
            tokio::spawn(perform(lab.clone(), effect, sender.clone()));
        }
        if others {
            continue;
        }
        let wait = outcome.next.map(|at| Duration::from_millis(at.saturating_sub(lab.clock.now()).max(1) as u64));
        tokio::select! {
            () = shutdown.cancelled() => {}
            changed = changes.changed() => if changed.is_err() { break },
            received = reports.recv_many(&mut batch, BATCH) => if received == 0 { break },
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
    if let Some(forward) = forward {
        forward.abort();
    }
}

fn take_step(lab: &Lab, reports: Vec<Report>) -> super::Outcome {
    let context = Context { settings: &lab.settings, clock: lab.clock, now: lab.clock.now() };
    lab.update(|state| {
        let mut told = !reports.is_empty();
        let mut lines = Vec::new();
        for report in reports {
            match report {
                Report::Of(observation) => observe(state, observation),
                Report::Line(line) => lines.push(line),
            }
        }
        write(state, lines);
        let mut outcome = step(state, context);
        told |= outcome.changed;
        outcome.changed = told;
        (outcome, told)
    })
}

/// Lines as the awslogs driver keeps them; those of other drivers under `/lab/ecs/<family>`.
fn write(state: &mut State, lines: Vec<Line>) {
    let mut lines = lines.into_iter().peekable();
    while let Some(first) = lines.next() {
        let Some(task) = state.ecs.tasks.get(&first.task_id) else { continue };
        let (group, stream) = log_stream(state, task, &first.container);
        let mut run = vec![(first.at, first.line)];
        while let Some(more) = lines.next_if(|of| of.task_id == first.task_id && of.container == first.container) {
            run.push((more.at, more.line));
        }
        logs::append(state, &group, &stream, run);
    }
}

fn log_stream(state: &State, task: &Task, container: &str) -> (String, String) {
    let definition = task_definitions::find(&state.ecs, &task.task_definition);
    let logging = definition.and_then(|of| of.container(container)).map(|of| &of["logConfiguration"]);
    let option = |name: &str| {
        let awslogs = logging.filter(|logging| logging["logDriver"] == "awslogs")?;
        awslogs["options"][name].as_str()
    };
    let group = option("awslogs-group").map_or_else(|| format!("/lab/ecs/{}", life::family(task)), str::to_owned);
    let prefix = option("awslogs-stream-prefix").unwrap_or("ecs");
    (group, format!("{prefix}/{container}/{}", task.id))
}

async fn forward(mut events: mpsc::UnboundedReceiver<RuntimeEvent>, reports: mpsc::UnboundedSender<Report>) {
    while let Some(event) = events.recv().await {
        let report = match event {
            RuntimeEvent::Exited { task_id, container, exit_code, oom_killed, .. } => {
                let exit_code = i64::from(exit_code);
                Report::Of(Observation::Exited { task_id, container, exit_code, oom_killed })
            }
            RuntimeEvent::Output { task_id, container, line, at, .. } => {
                Report::Line(Line { task_id, container, line, at })
            }
        };
        if reports.send(report).is_err() {
            return;
        }
    }
}

async fn perform(lab: Arc<Lab>, effect: Effect, reports: mpsc::UnboundedSender<Report>) {
    let observation = match effect {
        Effect::Stop { task_id, timeout } => {
            lab.runtime.stop(&task_id, timeout).await;
            Observation::Stopped { task_id }
        }
        Effect::Start { task_id } => start(&lab, task_id).await,
    };
    let _ = reports.send(Report::Of(observation));
}

async fn start(lab: &Lab, task_id: String) -> Observation {
    let spec = match lab.read(|state| launch::spec(state, &lab.settings, &task_id)) {
        Ok(spec) => spec,
        Err(refusal) => {
            return Observation::NotStarted { task_id, container: refusal.container, reason: refusal.reason };
        }
    };
    let digests = spec.containers.iter().map(|of| (of.name.clone(), of.image.digest.clone())).collect();
    match lab.runtime.start(spec).await {
        Ok(()) => Observation::Started { task_id, digests },
        Err(error) => Observation::NotStarted { task_id, container: error.container, reason: error.reason },
    }
}
