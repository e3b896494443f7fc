//! `before` and `after` of a service: one-off tasks and commands around a release.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::decode::{Fields, Reader};
use super::node::{Node, Value};
use super::plan::OnFailure;
use crate::error::{Error, Result};

/// One thing that runs before the service is touched, or once it is steady.
#[derive(Debug, Clone, PartialEq)]
pub struct Around {
    /// As events and errors name it.
    pub name: String,
    pub work: Work,
    pub timeout: Duration,
    /// Of what runs after; what runs before always stops the deploy.
    pub on_failure: AfterFailure,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A task of the new revision.
    Task(TaskPlan),
    /// A line for the shell on this machine.
    Command(String),
}

/// What becomes of a release when what runs after it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    Rollback,
    /// Leave it as it is, and fail.
    Stop,
    /// Say so, and go on.
    Warn,
}

/// A one-off task: what is different from what its task definition says. What is `None` is as it says.
#[derive(Clone, Default, PartialEq)]
pub struct TaskPlan {
    /// Whose command, environment, log and exit code these are; the image's or the only one when not given.
    pub container: Option<String>,
    pub command: Option<Vec<String>>,
    pub environment: BTreeMap<String, String>,
    /// In CPU units.
    pub cpu: Option<i64>,
    /// In MiB.
    pub memory: Option<i64>,
    /// `EC2`, `FARGATE` or `EXTERNAL`; the service's when neither this nor a capacity provider is given.
    pub launch_type: Option<String>,
    pub capacity_provider: Option<String>,
}

impl fmt::Debug for TaskPlan {
    // Its environment may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPlan")
            .field("container", &self.container)
            .field("command", &self.command)
            .field("environment", &self.environment.keys())
            .field("cpu", &self.cpu)
            .field("memory", &self.memory)
            .field("launch_type", &self.launch_type)
            .field("capacity_provider", &self.capacity_provider)
            .finish()
    }
}

/// Launch types as ECS spells them.
pub const LAUNCH_TYPES: [&str; 3] = ["EC2", "FARGATE", "EXTERNAL"];

/// As long as a rollout has when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

pub fn before(fields: &mut Fields<'_>) -> Vec<Around> {
    read(fields, "before", None)
}

/// `otherwise` is what a failed rollout comes to.
pub fn after(fields: &mut Fields<'_>, otherwise: OnFailure) -> Vec<Around> {
    read(fields, "after", Some(otherwise))
}

fn read(fields: &mut Fields<'_>, key: &'static str, after: Option<OnFailure>) -> Vec<Around> {
    let (reader, path) = (fields.reader, fields.path(key));
    let Some(entries) = fields.list(key) else { return Vec::new() };
    entries.iter().filter_map(|entry| one(reader, &path, entry, after)).collect()
}

fn one(reader: &Reader, path: &str, entry: &Node, after: Option<OnFailure>) -> Option<Around> {
    let mut fields = reader.fields(path, entry, &entry.span)?;
    let name = fields.scalar("name").filter(|name| !name.trim().is_empty());
    let task = fields.fields("task").map(task);
    let line = fields.text("run");
    let timeout = fields.duration("timeout").unwrap_or(TIMEOUT);
    let on_failure = match after {
        None => AfterFailure::Stop,
        Some(otherwise) => {
            let words =
                [("rollback", AfterFailure::Rollback), ("stop", AfterFailure::Stop), ("warn", AfterFailure::Warn)];
            fields.word("on_failure", &words).unwrap_or(match otherwise {
                OnFailure::Rollback => AfterFailure::Rollback,
                OnFailure::Stop => AfterFailure::Stop,
            })
        }
    };
    let (has_task, has_run) = (fields.node("task").is_some(), fields.node("run").is_some());
    if has_task && has_run {
        let error = Error::input(format!("`{path}` has an entry that is both a `task` and a `run`"));
        reader.note(&entry.span, None, error.hint("make two entries of it: they run in their order"));
    } else if !has_task && !has_run {
        fields.missing("task", "a one-off `task` of the new revision, or `run`: a command on this machine");
    }
    fields.finish();
    let work = match (task, line) {
        (Some(task), _) => Work::Task(task),
        (None, Some(line)) if line.trim().is_empty() => {
            reader.note(&entry.span, None, Error::input(format!("`{path}.run` is empty")));
            return None;
        }
        (None, Some(line)) => Work::Command(line),
        (None, None) => return None,
    };
    let name = name.unwrap_or_else(|| shown(&work));
    Some(Around { name, work, timeout, on_failure })
}

fn task(mut fields: Fields<'_>) -> TaskPlan {
    let launch_types = LAUNCH_TYPES.map(|launch_type| (launch_type, launch_type));
    let task = TaskPlan {
        container: fields.text("container"),
        command: fields.texts("command"),
        environment: fields.text_map("environment"),
        cpu: size(&mut fields, "cpu", parse_cpu),
        memory: size(&mut fields, "memory", parse_memory),
        launch_type: fields.word("launch_type", &launch_types).map(str::to_owned),
        capacity_provider: fields.text("capacity_provider"),
    };
    if let (Some(_), Some(entry)) = (&task.launch_type, fields.entry("capacity_provider")) {
        let error = Error::input("`launch_type` and `capacity_provider` exclude each other");
        fields.reader.note(&entry.span, None, error.hint("leave one of them out; with neither it is the service's"));
    }
    fields.finish();
    task
}

fn size(fields: &mut Fields<'_>, key: &'static str, parse: fn(&str) -> Result<i64, String>) -> Option<i64> {
    let node = fields.node(key)?;
    let written = match &node.value {
        Value::Text(_) | Value::Number(_) => fields.scalar(key)?,
        _ => {
            fields.reader.wrong_type(&fields.path(key), node, "a size");
            return None;
        }
    };
    parse(&written)
        .map_err(|why| fields.reader.note(&node.span, None, Error::input(format!("`{}`: {why}", fields.path(key)))))
        .ok()
}

/// A name for what has none: what it does, in as much as fits a line.
fn shown(work: &Work) -> String {
    let text = match work {
        Work::Task(TaskPlan { command: Some(command), .. }) if !command.is_empty() => command.join(" "),
        Work::Task(_) => "task".to_owned(),
        Work::Command(line) => line.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    match text.char_indices().nth(48) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// CPU units: `256`, or `.25 vCPU`.
pub fn parse_cpu(text: &str) -> Result<i64, String> {
    with_unit(text, "vcpu").ok_or_else(|| format!("`{text}` is no size such as 256 (CPU units) or \".25 vCPU\""))
}

/// MiB: `512`, or `1 GB`.
pub fn parse_memory(text: &str) -> Result<i64, String> {
    with_unit(text, "gb").ok_or_else(|| format!("`{text}` is no size such as 512 (MiB) or \"1 GB\""))
}

/// A whole number of parts, or a number with the unit that has 1024 of them.
fn with_unit(text: &str, unit: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let parts = match lower.strip_suffix(unit) {
        None => lower.parse::<i64>().ok()?,
        Some(number) => {
            let parts = number.trim_end().parse::<f64>().ok()? * 1024.0;
            if parts.fract() != 0.0 || !(1.0..=1e9).contains(&parts) {
                return None;
            }
            parts as i64
        }
    };
    (1..=1_000_000_000).contains(&parts).then_some(parts)
}
