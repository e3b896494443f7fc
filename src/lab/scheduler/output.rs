//! What containers write, into their log streams. It takes no step of the scheduler, however much it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};

use crate::lab::{
    Lab,
    ecs::{model::Task, task_definitions},
    logs,
    runtime::{Line, Output},
    state::State,
};

use super::{defects, life};

/// So many lines are taken in at once.
const BATCH: usize = 256;
/// So long after new lines at the latest the lab hears of them, which saves them.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// A task's id and its container's name.
type Writer = (Arc<str>, Arc<str>);

/// Appends what comes until its senders are gone.
pub async fn keep(lab: Arc<Lab>, mut output: Receiver<Output>) {
    let mut batch = Vec::new();
    let mut tell: Option<Instant> = None;
    let mut told = false;
    loop {
        tokio::select! {
            received = output.recv_many(&mut batch, BATCH) => if received == 0 { return },
            () = sleep_until(tell.unwrap_or_else(Instant::now)), if tell.is_some() => {
                let trim = |State { ecs, logs, .. }: &mut State| logs::trim(logs, |id| ecs.tasks.contains_key(id));
                told = note(told, defects::survive(|| lab.write(trim)));
                tell = None;
                continue;
            }
        }
        let mut lines = Vec::new();
        let mut ends = Vec::new();
        for one in batch.drain(..) {
            match one {
                Output::Line(line) => lines.push(line),
                Output::End(taken) => ends.push(taken),
            }
        }
        if !lines.is_empty() {
            // what is lost is lost, and what comes after it is kept
            told = note(told, defects::survive(|| lab.update(|state| (append(state, lines), false))));
            tell.get_or_insert_with(|| Instant::now() + TOLD_WITHIN);
        }
        // their containers' ends are told now, and whoever asks why finds the last lines
        for taken in ends {
            let _ = taken.send(());
        }
    }
}

/// Says a defect, unless the one before it was said.
fn note(told: bool, done: Result<(), String>) -> bool {
    if let (false, Err(why)) = (told, &done) {
        tracing::error!(why, "a defect of the lab: what containers wrote is lost");
    }
    done.is_err()
}

/// As the awslogs driver does; the lines of other drivers go to `/lab/ecs/<family>`.
pub fn append(state: &mut State, lines: Vec<Line>) {
    let mut written: BTreeMap<Writer, Vec<(i64, String)>> = BTreeMap::new();
    for line in lines {
        written.entry((line.task_id, line.container)).or_default().push((line.at, line.text));
    }
    for ((task_id, container), events) in written {
        let Some(task) = state.ecs.tasks.get(&*task_id) else { continue };
        let (group, stream) = place(state, task, &container);
        logs::append(state, &group, &stream, events);
    }
}

/// The log group and stream of one of a task's containers.
pub fn place(state: &State, task: &Task, container: &str) -> (String, String) {
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
