//! One-off tasks: asked for with what differs from their task definition, started once, followed to their end with their
//! log, and what they came to.

mod ended;
mod follow;
mod logs;
pub mod request;
mod start;

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

pub use ended::{Came, came};
pub use follow::{End, Patience, follow, stop};
pub use logs::{findings, is_missing_group};
pub use start::{Earlier, Started, advice, start, under_way};

use super::follow::steady::Task;
use crate::aws::reply::{id, text};

/// Tasks of one container that counts: whose log is shown and whose exit code is told.
#[derive(Debug, Clone)]
pub struct Watched {
    pub cluster: String,
    pub arns: Vec<String>,
    /// As DescribeTaskDefinition has it.
    pub task_definition: Value,
    pub container: String,
}

impl Watched {
    /// `1a2b3c4d`, or several of them.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.arns.iter().map(|arn| id(arn)).collect();
        names.join(", ")
    }

    /// What became of tasks that ECS was asked to stop: `late` after so long, or by an interruption.
    pub fn stopped(&self, tasks: &[Task], late: Option<Duration>) -> String {
        let ended = tasks.iter().all(|task| task.last_status == "STOPPED");
        let what = if ended { "was stopped" } else { "was asked to stop, and has not ended yet" };
        match late.map(humantime::format_duration) {
            Some(after) => format!("the task {} did not end within {after}; it {what}", self.names()),
            None => format!("the task {} {what}", self.names()),
        }
    }

    pub fn revision(&self) -> &str {
        id(text(&self.task_definition, "taskDefinitionArn"))
    }
}

/// A task as results tell of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskOutcome {
    pub id: String,
    pub last_status: String,
    /// The container's.
    pub exit_code: Option<i64>,
    pub stop_code: Option<String>,
    pub stopped_reason: Option<String>,
}

impl TaskOutcome {
    pub fn of(task: &Task, container: &str) -> Self {
        let container = task.containers.iter().find(|one| one.name == container);
        TaskOutcome {
            id: task.id.clone(),
            last_status: task.last_status.clone(),
            exit_code: container.and_then(|one| one.exit_code),
            stop_code: task.stop_code.clone(),
            stopped_reason: task.stopped_reason.clone(),
        }
    }
}

/// A name that no other run has.
pub fn random_name() -> String {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 12];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // nothing secret hangs on it
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes.copy_from_slice(&(now.as_nanos() ^ u128::from(std::process::id())).to_le_bytes()[..12]);
    }
    hex::encode(bytes)
}

/// A name that the same text always has.
pub fn derived_name(text: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    hex::encode(&hash.as_ref()[..12])
}

/// How long to wait between two looks, at the tasks and at their logs: at first as fast as a lab runs them.
fn pace(since_start: Duration) -> Duration {
    match since_start.as_millis() {
        0..3_000 => Duration::from_millis(150),
        3_000..30_000 => Duration::from_millis(500),
        30_000..300_000 => Duration::from_millis(1_000),
        _ => Duration::from_millis(2_000),
    }
}

fn left(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
}
