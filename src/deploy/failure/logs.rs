//! The newest lines that a container logged, from where its task definition sends them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::aws::reply::{list, optional, text};
use crate::aws::{Clients, Failure};
use crate::deploy::follow::steady::Container;
use crate::deploy::task::is_missing_group;

/// So many of a container's last log lines are shown.
const LINES: usize = 20;

/// CloudWatch Logs takes a moment to show what was written last.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// The lines, oldest first; or why there are none to be had, and what to do about it.
pub async fn newest(
    task_definition: &Value,
    container: &Container,
    task: &str,
    clients: &Clients,
) -> Result<Vec<String>, String> {
    let name = &container.name;
    let definitions = list(task_definition, "containerDefinitions");
    let Some(definition) = definitions.iter().find(|one| text(one, "name") == name) else { return Ok(Vec::new()) };
    let configuration = &definition["logConfiguration"];
    match text(configuration, "logDriver") {
        "awslogs" => {}
        "" => return Err(format!("`{name}` keeps no log: give it a `logConfiguration` with the driver `awslogs`")),
        "awsfirelens" => return Err(format!("the log of `{name}` goes through FireLens: look where that sends it")),
        other => return Err(format!("the log of `{name}` goes to `{other}`: look there")),
    }
    let options = &configuration["options"];
    let Some(group) = optional(options, "awslogs-group") else { return Ok(Vec::new()) };
    let stream = match (optional(options, "awslogs-stream-prefix"), &container.runtime_id) {
        (Some(prefix), _) => format!("{prefix}/{name}/{task}"),
        // without a prefix, docker names the stream
        (None, Some(id)) => id.clone(),
        (None, None) => return Ok(Vec::new()),
    };
    let elsewhere = optional(options, "awslogs-region").filter(|region| *region != clients.region);
    let clients = elsewhere.map_or_else(|| clients.clone(), |region| clients.with_stores_in(region));
    let input = json!({ "logGroupName": group, "logStreamName": stream, "limit": LINES, "startFromHead": false });
    for wait in [Duration::ZERO, SHOWN_WITHIN] {
        tokio::time::sleep(wait).await;
        let lines = match clients.get_log_events(input.clone()).await {
            Ok(reply) => list(&reply, "events").iter().map(|event| text(event, "message").to_owned()).collect(),
            Err(failure) if failure.is("ResourceNotFoundException") && !is_missing_group(&failure) => Vec::new(),
            Err(failure) => return Err(unread(name, group, &failure)),
        };
        if !lines.is_empty() {
            return Ok(lines);
        }
    }
    Ok(Vec::new())
}

fn unread(name: &str, group: &str, failure: &Failure) -> String {
    if failure.is_denied() {
        return format!("the log of `{name}` may not be read: allow `logs:GetLogEvents` on the log group `{group}`");
    }
    if is_missing_group(failure) {
        return format!("the log group `{group}` does not exist: create it, or set `awslogs-create-group`");
    }
    format!("the log of `{name}` could not be read: {failure}")
}
