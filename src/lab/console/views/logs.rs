//! The last lines of containers' logs, and those that follow.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::lab::ecs::model::Task;
use crate::lab::logs::{LogEvent, LogStream};
use crate::lab::scheduler::output;
use crate::lab::state::State;

/// Lines at once, the last ones; a page that wants more asks CloudWatch Logs.
const MOST_LINES: usize = 500;
/// Characters of a line.
const LONGEST_LINE: usize = 8 * 1024;

/// Where somebody stopped to read.
#[derive(Debug, Default)]
pub struct Tail {
    begun: bool,
    /// The next event of each stream, by its id.
    next: HashMap<u64, u64>,
}

pub(super) fn of_service<'s>(state: &'s State, cluster: &str, name: &str) -> Vec<&'s Task> {
    let group = format!("service:{name}");
    state.ecs.tasks.values().filter(|task| task.cluster == cluster && task.group == group).collect()
}

pub(super) fn of_task<'s>(state: &'s State, cluster: &str, id: &str) -> Vec<&'s Task> {
    state.ecs.tasks.get(id).filter(|task| task.cluster == cluster).into_iter().collect()
}

impl Tail {
    /// The lines that these tasks wrote since the last time; None when there are none, but the first time.
    pub(super) fn next(&mut self, state: &State, tasks: &[&Task]) -> Option<Value> {
        let mut found: Vec<(&Task, &str, &LogEvent)> = Vec::new();
        let mut skipped = 0;
        for task in tasks {
            for container in &task.containers {
                let Some(stream) = stream(state, task, &container.name) else { continue };
                let from = self.next.insert(stream.id, end(stream)).unwrap_or(0).max(stream.first);
                let new = usize::try_from(end(stream).saturating_sub(from)).unwrap_or(usize::MAX);
                let taken = new.min(MOST_LINES);
                skipped += new - taken;
                let lines = stream.events.iter().skip(stream.events.len() - taken);
                found.extend(lines.map(|line| (*task, container.name.as_str(), line)));
            }
        }
        if found.is_empty() && self.begun {
            return None;
        }
        found.sort_by_key(|(.., line)| line.timestamp);
        let spare = found.len().saturating_sub(MOST_LINES);
        let lines = found.into_iter().skip(spare).map(|(task, container, line)| {
            let message: String = line.message.chars().take(LONGEST_LINE).collect();
            json!({ "timestamp": line.timestamp, "task": task.id, "container": container, "message": message })
        });
        let lines: Vec<Value> = lines.collect();
        let first = !std::mem::replace(&mut self.begun, true);
        Some(json!({ "first": first, "skipped": skipped + spare, "lines": lines }))
    }
}

fn stream<'s>(state: &'s State, task: &Task, container: &str) -> Option<&'s LogStream> {
    let (group, stream) = output::place(state, task, container);
    state.logs.groups.get(&group)?.streams.get(&stream)
}

fn end(stream: &LogStream) -> u64 {
    stream.first + stream.events.len() as u64
}
