//! A container's log in CloudWatch Logs, line by line while it is written.

use serde_json::{Value, json};

use super::{Came, Watched};
use crate::aws::reply::{id, list, optional, text};
use crate::aws::{Clients, Failure};
use crate::deploy::event::{Event, Events};
use crate::deploy::failure::{self, logs::newest};
use crate::deploy::follow::steady::Task;

/// The log of one task's container.
pub struct Log {
    task: String,
    container: String,
    group: String,
    /// `None` until the container's id is known, which is the stream's name where the driver has no prefix.
    stream: Option<String>,
    prefix: Option<String>,
    clients: Clients,
    next: Option<String>,
    /// ECS creates the group when the task starts.
    creates_group: bool,
    /// There is no use in asking again.
    is_out_of_reach: bool,
}

/// The logs of all tasks; none, with the reason, where steady cannot read them.
pub fn of(watched: &Watched, clients: &Clients) -> Result<Vec<Log>, String> {
    let containers = list(&watched.task_definition, "containerDefinitions");
    let definition = containers.iter().find(|one| text(one, "name") == watched.container).unwrap_or(&Value::Null);
    let configuration = &definition["logConfiguration"];
    let options = &configuration["options"];
    let group = match optional(configuration, "logDriver") {
        Some("awslogs") => optional(options, "awslogs-group").ok_or("its `awslogs-group` is not set")?,
        Some(driver) => return Err(format!("it goes to the log driver `{driver}`")),
        None => return Err("the task definition has no `logConfiguration` for it".to_owned()),
    };
    let region = optional(options, "awslogs-region").filter(|region| *region != clients.region);
    let clients = region.map_or_else(|| clients.clone(), |region| clients.with_stores_in(region));
    let prefix = optional(options, "awslogs-stream-prefix");
    let log = |arn: &String| Log {
        task: id(arn).to_owned(),
        container: watched.container.clone(),
        group: group.to_owned(),
        stream: prefix.map(|prefix| format!("{prefix}/{}/{}", watched.container, id(arn))),
        prefix: prefix.map(str::to_owned),
        clients: clients.clone(),
        next: None,
        creates_group: text(options, "awslogs-create-group").eq_ignore_ascii_case("true"),
        is_out_of_reach: false,
    };
    Ok(watched.arns.iter().map(log).collect())
}

impl Log {
    /// Takes the stream's name from a task as DescribeTasks has it.
    pub fn know(&mut self, task: &Value) {
        if self.prefix.is_none() && id(text(task, "taskArn")) == self.task {
            let containers = list(task, "containers");
            let own = containers.iter().find(|one| text(one, "name") == self.container);
            self.stream = own.and_then(|own| optional(own, "runtimeId")).map(str::to_owned);
        }
    }

    /// Tells what is new, as far as it can be read now; how many lines that were.
    pub async fn tell(&mut self, events: &Events) -> usize {
        let mut told = 0;
        while let (Some(stream), false) = (&self.stream, self.is_out_of_reach) {
            let mut input = json!({ "logGroupName": self.group, "logStreamName": stream, "startFromHead": true });
            if let Some(next) = &self.next {
                input["nextToken"] = next.as_str().into();
            }
            let reply = match self.clients.get_log_events(input).await {
                Ok(reply) => reply,
                Err(failure) if failure.is_denied() => {
                    self.is_out_of_reach = true;
                    let message = format!("the log of `{}` cannot be read: {failure}", self.container);
                    events.warn(message, failure.hint());
                    return told;
                }
                Err(failure) if is_missing_group(&failure) && !self.creates_group => {
                    self.is_out_of_reach = true;
                    let message =
                        format!("the log of `{}` cannot be read: no log group `{}`", self.container, self.group);
                    events.warn(message, Some("create it, or set `awslogs-create-group`".to_owned()));
                    return told;
                }
                // Not written to yet, or not to be had now: it is asked again.
                Err(_) => return told,
            };
            let lines = list(&reply, "events");
            for line in lines {
                events.emit(Event::Log {
                    task: self.task.clone(),
                    container: self.container.clone(),
                    line: text(line, "message").to_owned(),
                });
            }
            told += lines.len();
            let next = optional(&reply, "nextForwardToken").map(str::to_owned);
            let is_end = lines.is_empty() || next.is_none() || next == self.next;
            self.next = next.or(self.next.take());
            if is_end {
                break;
            }
        }
        told
    }
}

/// It says of the group, or of the stream, that it does not exist.
pub fn is_missing_group(failure: &Failure) -> bool {
    failure.is("ResourceNotFoundException") && !failure.message.contains("stream")
}

/// Why it ended as it did, and what its container said last.
pub async fn findings(came: &Came, task: &Task, watched: &Watched, clients: &Clients) -> Vec<String> {
    let mut findings = came.explained(task);
    let Some(ended) = task.containers.iter().find(|one| one.name == watched.container) else { return findings };
    match newest(&watched.task_definition, ended, &task.id, clients).await {
        Ok(lines) if lines.is_empty() => {}
        Ok(lines) => findings.push(failure::last_lines(&ended.name, &lines)),
        Err(why) => findings.push(why),
    }
    findings
}
