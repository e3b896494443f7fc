//! Why a rollout failed, for the person who has to mend it: stopped reasons, exit codes, target reasons, last log lines.

use serde_json::{Value, json};

use super::event::{Event, Events};
use super::follow::Teller;
use super::steady::{Container, Observation, Ours, Task, has_failed, is_ours};
use super::{register, stage};
use crate::aws::Clients;
use crate::aws::reply::{list, optional, text};

/// So many of a failed container's last log lines are shown.
const LOG_LINES: usize = 20;

/// The findings, most telling first; log lines also go out as events.
pub async fn explain(
    seen: &Observation,
    ours: &Ours<'_>,
    teller: &Teller<'_>,
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
    findings.extend(telling(teller.messages()));
    let Some(task) = culprit(seen, ours) else { return findings };
    let Ok(Some(revision)) = register::describe(&task.task_definition, clients).await else { return findings };
    for container in containers(task) {
        let lines = last_lines(&revision["taskDefinition"], container, &task.id, clients).await;
        if lines.is_empty() {
            continue;
        }
        for line in &lines {
            events.emit(Event::Log { task: task.id.clone(), container: container.name.clone(), line: line.clone() });
        }
        let from = lines.len().saturating_sub(5);
        findings.push(format!("last log lines of `{}`:\n    {}", container.name, lines[from..].join("\n    ")));
    }
    findings
}

/// The last service event that names a cause which tasks and targets do not show, or show only for a moment.
fn telling(messages: &[String]) -> Option<String> {
    let causes = [
        " is unhealthy in ",
        "was unable to place a task",
        "failed to launch a task with",
        "unable to consistently start tasks",
    ];
    let told = messages.iter().rev().find(|message| causes.iter().any(|cause| message.contains(cause)))?;
    Some(format!("ECS said: {told}"))
}

/// What the observation itself says.
pub fn causes(seen: &Observation, ours: &Ours<'_>) -> Vec<String> {
    let mut findings: Vec<String> = Vec::new();
    let mut add = |finding: String| {
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    };
    let stopped: Vec<&Task> = seen.tasks.iter().filter(|task| is_ours(task, ours) && has_failed(task)).collect();
    if let Some(last) = most_telling(&stopped) {
        let reason = last.stopped_reason.as_deref().unwrap_or("no reason given");
        let count = match stopped.len() {
            1 => "a task stopped".to_owned(),
            count => format!("{count} tasks stopped, one of them"),
        };
        add(format!("{count} ({}): {reason}", last.id));
        // When one ends by itself, ECS ends the others.
        let by_itself = |one: &Container| one.exit_code.is_some_and(|code| !matches!(code, 137 | 143));
        let (essential, any) =
            (last.stop_code.as_deref() == Some("EssentialContainerExited"), last.containers.iter().any(by_itself));
        for container in &last.containers {
            match (container.exit_code, container.reason.as_deref()) {
                // ECS ended it: its exit code tells nothing.
                (Some(0 | 137 | 143), None) if last.stop_code.as_deref() == Some("ServiceSchedulerInitiated") => {}
                (Some(137 | 143), None) if essential && any => {}
                (Some(code), reason) => {
                    let reason = reason.map_or_else(|| exit_meaning(code).to_owned(), |reason| format!(": {reason}"));
                    add(format!("the container `{}` exited with code {code}{reason}", container.name));
                }
                (None, Some(reason)) => add(format!("the container `{}`: {reason}", container.name)),
                (None, None) => {}
            }
        }
    }
    for target in
        seen.targets.iter().filter(|target| matches!(target.state.as_str(), "unhealthy" | "unavailable" | "unused"))
    {
        let reason = target.reason.as_deref().unwrap_or("no reason given");
        let described = target.description.as_deref().map_or(String::new(), |text| format!(": {text}"));
        add(format!("the target {} is {} ({reason}{described})", target.id, target.state));
    }
    findings
}

fn exit_meaning(code: i64) -> &'static str {
    match code {
        0 => ": it ended by itself; a service's container has to keep running",
        126 => ": the command cannot be executed",
        127 => ": the command was not found",
        137 => ": killed, perhaps for its memory",
        139 => ": segmentation fault",
        143 => ": ended by SIGTERM",
        255 => ": perhaps built for another architecture",
        _ => "",
    }
}

/// The last that says how it ended: one that is still stopping may not yet.
fn most_telling<'a>(failed: &[&'a Task]) -> Option<&'a Task> {
    let says = |one: &Container| one.exit_code.is_some() || one.reason.is_some();
    failed.iter().rfind(|task| task.containers.iter().any(says)).or(failed.last()).copied()
}

/// The task to show logs of: the last that failed, else one that runs and is not found healthy.
fn culprit<'a>(seen: &'a Observation, ours: &Ours<'_>) -> Option<&'a Task> {
    let own = || seen.tasks.iter().filter(|task| is_ours(task, ours));
    most_telling(&own().filter(|task| has_failed(task)).collect::<Vec<_>>()).or_else(|| own().next_back())
}

fn containers(task: &Task) -> impl Iterator<Item = &Container> {
    let failed = task.containers.iter().any(|one| one.exit_code.is_some_and(|code| code != 0));
    task.containers.iter().filter(move |one| !failed || one.exit_code.is_some_and(|code| code != 0))
}

async fn last_lines(task_definition: &Value, container: &Container, task: &str, clients: &Clients) -> Vec<String> {
    let definitions = list(task_definition, "containerDefinitions");
    let Some(definition) = definitions.iter().find(|one| text(one, "name") == container.name) else {
        return Vec::new();
    };
    let options = &definition["logConfiguration"]["options"];
    if text(&definition["logConfiguration"], "logDriver") != "awslogs" {
        return Vec::new();
    }
    let (Some(group), Some(prefix)) = (optional(options, "awslogs-group"), optional(options, "awslogs-stream-prefix"))
    else {
        return Vec::new();
    };
    let input = json!({
        "logGroupName": group,
        "logStreamName": format!("{prefix}/{}/{task}", container.name),
        "limit": LOG_LINES,
        "startFromHead": false,
    });
    // The explanation of a failure must not fail itself: no logs, or no right to read them.
    let reply = clients.get_log_events(input).await.unwrap_or_default();
    list(&reply, "events").iter().map(|event| text(event, "message").to_owned()).collect()
}
