//! What a one-off task came to, from how it was last seen. Pure: table-tested.

use crate::deploy::failure::causes;
use crate::deploy::follow::steady::{Observation, Ours, Task};

/// What its container came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// It ended by itself, with this code.
    Ended(i64),
    /// It was stopped before it ended by itself; a program that catches SIGTERM may well have ended with 0.
    Stopped { why: String, code: Option<i64> },
    /// It never ran.
    NeverRan(String),
}

/// Why ECS stops a task that would go on.
const BY_OTHERS: [&str; 4] = ["UserInitiated", "ServiceSchedulerInitiated", "SpotInterruption", "TerminationNotice"];

pub fn came(task: &Task, container: &str) -> Came {
    let own = task.containers.iter().find(|one| one.name == container);
    let why = || match task.stopped_reason.as_deref().filter(|reason| !reason.is_empty()) {
        Some(reason) => reason.trim_end_matches('.').to_owned(),
        None => task.stop_code.clone().unwrap_or_else(|| "no reason given".to_owned()),
    };
    let code = own.and_then(|own| own.exit_code);
    let by_others = task.stop_code.as_deref().is_some_and(|code| BY_OTHERS.contains(&code));
    match code {
        // One that is killed with its task tells of the task's end, not of its own.
        Some(code @ (0 | 137 | 143)) if by_others => Came::Stopped { why: why(), code: Some(code) },
        Some(code) => Came::Ended(code),
        None if by_others => Came::Stopped { why: why(), code: None },
        None => {
            let reason = own.and_then(|own| own.reason.clone());
            Came::NeverRan(reason.filter(|reason| !reason.is_empty()).unwrap_or_else(why))
        }
    }
}

impl Came {
    pub fn is_good(&self) -> bool {
        *self == Came::Ended(0)
    }

    /// As a process on this machine would end; `None` when there was no process.
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Came::Ended(code) => Some(match u8::try_from(code & 0xff) {
                // Windows' codes are wider than ours.
                Ok(0) if *code != 0 => 1,
                Ok(code) => code,
                Err(_) => 1,
            }),
            Came::Stopped { code: Some(code @ (137 | 143)), .. } => u8::try_from(*code).ok(),
            Came::Stopped { .. } => Some(143),
            Came::NeverRan(_) => None,
        }
    }

    /// `exited with code 3`
    pub fn said(&self) -> String {
        match self {
            Came::Ended(code) => format!("exited with code {code}"),
            Came::Stopped { why, .. } => format!("was stopped before it ended by itself: {why}"),
            Came::NeverRan(why) => format!("never ran: {why}"),
        }
    }

    /// What is known beyond that, for the person who has to mend it.
    pub fn explained(&self, task: &Task) -> Vec<String> {
        let seen = Observation { tasks: vec![task.clone()], ..Observation::default() };
        let ours = Ours { task_definition: &task.task_definition, ..Ours::default() };
        // That a program ended is what is said already, and that a service's has to go on is true of no task.
        let known = match self {
            Came::Ended(code) => format!("exited with code {code}"),
            Came::Stopped { why, .. } | Came::NeverRan(why) => format!(": {why}"),
        };
        let empty = [known.as_str(), ": Essential container in task exited", "has to keep running"];
        let tells = |finding: &String| !empty.iter().any(|empty| finding.trim_end_matches('.').ends_with(empty));
        causes(&seen, &ours).into_iter().filter(tells).collect()
    }
}
