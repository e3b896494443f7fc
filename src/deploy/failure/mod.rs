//! Why a rollout failed, for the person who has to mend it: what stopped the tasks, what the targets say, the last log
//! lines, and what is known to help.

pub mod advice;
pub mod cause;
pub(super) mod logs;

use super::event::{Event, Events};
use super::follow::steady::{Observation, Ours, Task, failures, is_ours};
use super::follow::{Teller, stage};
use super::register;
use crate::aws::Clients;
use advice::Facts;
use cause::Group;

/// So many log lines are part of the error; more go out as events.
const LINES: usize = 5;

/// Other causes than the most frequent one that are worth a line.
const OTHERS: usize = 2;

/// Tasks whose log is looked at, until one has lines: CloudWatch Logs may lag behind.
const LOGS: usize = 2;

/// The findings, most telling first, and then what to do; log lines also go out as events.
pub async fn explain(
    seen: &Observation,
    ours: &Ours<'_>,
    teller: &mut Teller<'_>,
    clients: &Clients,
    events: &Events,
) -> Vec<String> {
    let mut seen = seen.clone();
    if let Some(last) = teller.unhealthy().last() {
        seen.targets.retain(|target| target.id != last.id);
        seen.targets.push(last.clone());
    }
    let seen = &seen;
    let mut findings = causes(seen, ours);
    findings.extend(seen.service_deployment.iter().flat_map(|deployment| stage::causes(&deployment.stage)));
    let mut told = telling(teller.messages(), seen, !findings.is_empty()).cloned();
    if findings.is_empty() && told.is_none() {
        // ECS says the same thing only once in six hours: perhaps to the deploy before this one
        let oldest_first: Vec<String> = seen.events.iter().rev().cloned().collect();
        told = telling(&oldest_first, seen, false).cloned();
    }
    findings.extend(told.iter().map(|told| format!("ECS said: {told}")));
    let mut logged = Vec::new();
    if let Some(group) = culprits(seen, ours) {
        logged = lines(&group, teller, clients, events).await;
    }
    let lines: Vec<String> = logged.iter().flat_map(|(_, lines)| lines.iter().flatten().cloned()).collect();
    for (container, lines) in logged {
        match lines {
            Ok(lines) if lines.is_empty() => {}
            Ok(lines) => {
                findings.push(last_lines(&container, &lines));
            }
            Err(why) => findings.push(why),
        }
    }
    findings.extend(advise(seen, ours, told.as_ref(), &lines));
    findings
}

/// As a finding shows them.
pub fn last_lines(container: &str, lines: &[String]) -> String {
    let from = lines.len().saturating_sub(LINES);
    format!("last log lines of `{container}`:\n    {}", lines[from..].join("\n    "))
}

/// What stopped the tasks so far, in a sentence, and what helps; for while ECS still tries.
pub async fn forewarn(
    group: &Group<'_>,
    teller: &mut Teller<'_>,
    clients: &Clients,
    events: &Events,
) -> (String, Option<String>) {
    let logged = lines(group, teller, clients, events).await;
    let lines: Vec<String> = logged.into_iter().flat_map(|(_, lines)| lines.into_iter().flatten()).collect();
    let said = words(group);
    let codes = exit_codes(group);
    let advice = advice::of(&Facts { said: &said, exit_codes: &codes, lines: &lines, ..Facts::default() });
    (said.join("; "), advice.first().map(|advice| (*advice).to_owned()))
}

/// The last service event that names a cause which tasks and targets do not show, or show only for a moment.
fn telling<'a>(messages: &'a [String], seen: &Observation, explained: bool) -> Option<&'a String> {
    let last = |words: &str| messages.iter().rev().find(|message| message.contains(words));
    let placing = ["was unable to place a task", "failed to launch a task with", "unable to stop or start tasks"];
    let sick = seen.targets.iter().any(|target| target.state == "unhealthy");
    let unhealthy = || last(" is unhealthy in ").filter(|_| !sick);
    let general = || last("unable to consistently start tasks").filter(|_| !explained);
    placing.iter().find_map(|words| last(words)).or_else(unhealthy).or_else(general)
}

fn failed<'a>(seen: &'a Observation, ours: &Ours<'_>) -> Vec<Group<'a>> {
    cause::groups(failures(seen, ours))
}

/// What the observation itself says.
pub fn causes(seen: &Observation, ours: &Ours<'_>) -> Vec<String> {
    let mut findings: Vec<String> = Vec::new();
    let mut add = |finding: String| {
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    };
    let groups = failed(seen, ours);
    if let Some((first, others)) = groups.split_first() {
        words(first).into_iter().for_each(&mut add);
        for other in others.iter().take(OTHERS) {
            let count = other.tasks.len();
            let said = words(other).split_off(1).first().cloned();
            let said = said.unwrap_or_else(|| reason(other.last()).to_owned());
            add(format!("{count} {} for another cause: {said}", if count == 1 { "stopped" } else { "more stopped" }));
        }
    }
    let sick = |state: &str| matches!(state, "unhealthy" | "unavailable" | "unused");
    let sick: Vec<_> = seen.targets.iter().filter(|target| sick(&target.state)).collect();
    let why = |at: usize| {
        let described = sick[at].description.as_deref().map_or(String::new(), |text| format!(": {text}"));
        format!("{} ({}{described})", sick[at].state, sick[at].reason.as_deref().unwrap_or("no reason given"))
    };
    let mut told: Vec<String> = Vec::new();
    for (at, target) in sick.iter().enumerate() {
        let why_it = why(at);
        if told.contains(&why_it) {
            continue;
        }
        let same = (0..sick.len()).filter(|other| why(*other) == why_it).count();
        add(match same {
            1 => format!("the target {} is {why_it}", target.id),
            _ => format!("{same} targets are {why_it}, {} among them", target.id),
        });
        told.push(why_it);
    }
    findings
}

fn reason(task: &Task) -> &str {
    task.stopped_reason.as_deref().unwrap_or("no reason given")
}

/// What a group's tasks stopped for, and how their containers ended.
fn words(group: &Group<'_>) -> Vec<String> {
    let last = group.last();
    let mut words = vec![match group.tasks.len() {
        1 => format!("a task stopped ({}): {}", last.id, reason(last)),
        count => format!("{count} tasks stopped for the same cause, one of them {}: {}", last.id, reason(last)),
    }];
    for container in cause::culprits(last) {
        let name = &container.name;
        words.push(match (container.exit_code, container.reason.as_deref()) {
            (Some(code), Some(reason)) => format!("the container `{name}` exited with code {code}: {reason}"),
            (Some(code), None) => format!("the container `{name}` exited with code {code}{}", exit_meaning(code)),
            (None, reason) => format!("the container `{name}`: {}", reason.unwrap_or_default()),
        });
    }
    words
}

fn exit_meaning(code: i64) -> &'static str {
    match code {
        0 => ": it ended by itself",
        126 => ": the command cannot be executed",
        127 => ": the command was not found",
        137 => ": killed",
        139 => ": segmentation fault",
        143 => ": ended by SIGTERM",
        _ => "",
    }
}

fn exit_codes(group: &Group<'_>) -> Vec<i64> {
    cause::culprits(group.last()).iter().filter_map(|one| one.exit_code).collect()
}

fn advise(seen: &Observation, ours: &Ours<'_>, told: Option<&String>, lines: &[String]) -> Vec<String> {
    let groups = failed(seen, ours);
    let mut said: Vec<String> = groups.first().map(words).unwrap_or_default();
    said.extend(told.cloned());
    let targets: Vec<String> = seen
        .targets
        .iter()
        .filter(|target| target.state != "healthy")
        .flat_map(|target| target.reason.iter().chain(&target.description).cloned())
        .collect();
    let codes = groups.first().map(exit_codes).unwrap_or_default();
    let facts = Facts { said: &said, targets: &targets, exit_codes: &codes, lines };
    advice::of(&facts).into_iter().map(str::to_owned).collect()
}

/// The tasks to show logs of: those that failed for the most frequent cause, else one that runs and is not found healthy.
fn culprits<'a>(seen: &'a Observation, ours: &Ours<'_>) -> Option<Group<'a>> {
    let mut groups = failed(seen, ours);
    if !groups.is_empty() {
        return Some(groups.swap_remove(0));
    }
    let running = seen.tasks.iter().rfind(|task| is_ours(task, ours))?;
    Some(Group { tasks: vec![running] })
}

/// The newest lines of the containers that ended the tasks, by container.
async fn lines(
    group: &Group<'_>,
    teller: &mut Teller<'_>,
    clients: &Clients,
    events: &Events,
) -> Vec<(String, Result<Vec<String>, String>)> {
    let last = group.last();
    let Ok(Some(revision)) = register::describe(&last.task_definition, clients).await else { return Vec::new() };
    let ended = cause::culprits(last);
    let ended_badly = last.containers.iter().any(|one| one.exit_code.is_some_and(|code| code != 0));
    let names: Vec<&str> = match ended_badly {
        true => ended.iter().filter(|one| one.exit_code != Some(0)).map(|one| one.name.as_str()).collect(),
        false => last.containers.iter().map(|one| one.name.as_str()).collect(),
    };
    let mut found = Vec::new();
    for name in names {
        let mut lines = Ok(Vec::new());
        let tasks = std::iter::once(last).chain(group.tasks.iter().copied().filter(|task| task.id != last.id));
        for task in tasks.take(LOGS) {
            let Some(container) = task.containers.iter().find(|one| one.name == name) else { continue };
            lines = logs::newest(&revision["taskDefinition"], container, &task.id, clients).await;
            if let Ok(lines) = &lines
                && !lines.is_empty()
            {
                if teller.logs(&task.id, name) {
                    for line in lines {
                        let (task, container) = (task.id.clone(), name.to_owned());
                        events.emit(Event::Log { task, container, line: line.clone() });
                    }
                }
                break;
            }
            // the others are no better where nothing may be read
            if lines.is_err() {
                break;
            }
        }
        found.push((name.to_owned(), lines));
    }
    found
}
