//! RunTask: sent so that a lost answer, a killed run and two runs at once start nothing twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::aws::failure::Reach;
use crate::aws::reply::{id, list, millis, optional, text, texts};
use crate::aws::{Clients, Failure};
use crate::deploy::event::{Event, Events, ResourceAction};
use crate::deploy::service::throttled::Throttled;
use crate::error::{Error, Kind, Result};

/// What RunTask came to: at least one task.
#[derive(Debug)]
pub struct Started {
    pub arns: Vec<String>,
    /// Why there are fewer than were asked for.
    pub failures: Vec<String>,
}

/// Throttling is waited out for so long.
const THROTTLED_FOR: Duration = Duration::from_secs(120);

/// A task that was made longer ago is not what we asked for just now, whatever clock is wrong.
const OLD: Duration = Duration::from_secs(600);

/// Sends RunTask. A client token is remembered for up to a day, and so longer than ECS lists what it started: `tokens` are
/// tried one after the other until one leads to a task of now. The last one's counts whatever it is.
pub async fn start(input: &Value, tokens: &[String], clients: &Clients, events: &Events) -> Result<Started> {
    let mut throttled = Throttled::new(Instant::now() + THROTTLED_FOR);
    let mut tries = 0;
    loop {
        let mut input = input.clone();
        input["clientToken"] = tokens[tries].as_str().into();
        let reply = match clients.run_task(input.clone()).await {
            Ok(reply) => reply,
            Err(failure) if failure.is_throttled() => {
                throttled.wait(failure, events).await?;
                continue;
            }
            // The token began another request.
            Err(failure) if failure.is("ConflictException") && tries + 1 < tokens.len() => {
                tries += 1;
                continue;
            }
            Err(failure) if failure.reach == Reach::Unknown => match found(&input, clients).await {
                Some(arns) => return Ok(Started { arns, failures: Vec::new() }),
                None => return Err(failure.error(Kind::Other)),
            },
            Err(failure) => return Err(refused(failure)),
        };
        let tasks = list(&reply, "tasks");
        if tasks.iter().any(is_of_another_day) && tries + 1 < tokens.len() {
            tries += 1;
            continue;
        }
        let failures: Vec<String> = list(&reply, "failures").iter().map(said).collect();
        if tasks.is_empty() {
            return Err(not_placed(&failures));
        }
        let arns: Vec<String> = tasks.iter().map(|task| text(task, "taskArn").to_owned()).collect();
        for arn in &arns {
            events.emit(Event::Resource {
                action: ResourceAction::Created,
                kind: "task".into(),
                id: id(arn).to_owned(),
            });
        }
        return Ok(Started { arns, failures });
    }
}

fn is_of_another_day(task: &Value) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let ended = text(task, "desiredStatus") == "STOPPED" || text(task, "lastStatus") == "STOPPED";
    ended && millis(task, "createdAt") + (OLD.as_millis() as i64) < now.as_millis() as i64
}

/// Tasks with the input's mark, which only this request has: it was done, and its answer was lost.
async fn found(input: &Value, clients: &Clients) -> Option<Vec<String>> {
    for wait in [200, 800, 2000] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let listed = listed(of_mark(text(input, "cluster"), text(input, "startedBy")), clients).await;
        if let Some(arns) = listed.ok().filter(|arns| !arns.is_empty()) {
            return Some(arns);
        }
    }
    None
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub struct Earlier {
    /// The tasks that are to run.
    pub running: Vec<String>,
    /// Those that are on their way to their end.
    pub ending: Vec<String>,
    /// All that have ended, as far as ECS lists them.
    pub ended: BTreeSet<String>,
}

/// The tasks of this family that carry this mark.
pub async fn under_way(cluster: &str, family: &str, mark: &str, clients: &Clients) -> Result<Earlier, Failure> {
    let stopped = json!({ "cluster": cluster, "family": family, "desiredStatus": "STOPPED" });
    let (running, stopped) = tokio::try_join!(listed(of_mark(cluster, mark), clients), listed(stopped, clients))?;
    let mut earlier = Earlier { running, ..Earlier::default() };
    for arns in stopped.chunks(100) {
        let reply = clients.describe_tasks(json!({ "cluster": cluster, "tasks": arns })).await?;
        for task in list(&reply, "tasks").iter().filter(|task| text(task, "startedBy") == mark) {
            let arn = text(task, "taskArn").to_owned();
            match text(task, "lastStatus") {
                "STOPPED" => drop(earlier.ended.insert(arn)),
                _ => earlier.ending.push(arn),
            }
        }
    }
    Ok(earlier)
}

/// ListTasks takes no other filter beside `startedBy`; without one for the status it lists what is to run.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html>
fn of_mark(cluster: &str, mark: &str) -> Value {
    json!({ "cluster": cluster, "startedBy": mark })
}

async fn listed(mut input: Value, clients: &Clients) -> Result<Vec<String>, Failure> {
    let mut arns = Vec::new();
    loop {
        let reply = clients.list_tasks(input.clone()).await?;
        arns.extend(texts(&reply, "taskArns"));
        match optional(&reply, "nextToken") {
            Some(token) => input["nextToken"] = token.into(),
            None => return Ok(arns),
        }
    }
}

fn said(failure: &Value) -> String {
    let reason = optional(failure, "reason").unwrap_or("no reason given");
    let detail = optional(failure, "detail").map_or_else(String::new, |detail| format!(": {detail}"));
    match optional(failure, "arn") {
        Some(arn) => format!("{reason}{detail} ({})", id(arn)),
        None => format!("{reason}{detail}"),
    }
}

/// ECS could place no task.
fn not_placed(failures: &[String]) -> Error {
    let mut reasons = failures.to_vec();
    reasons.sort();
    reasons.dedup();
    let said = if reasons.is_empty() { "it does not say why".to_owned() } else { reasons.join("; ") };
    let error = Error::preflight(format!("ECS could not place the task: {said}"));
    reasons.iter().filter_map(|reason| advice(reason)).fold(error, |error, hint| match error.hints() {
        hints if hints.iter().any(|known| known == hint) => error,
        _ => error.hint(hint),
    })
}

/// What to do about a reason of RunTask's `failures`.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html>
pub fn advice(reason: &str) -> Option<&'static str> {
    Some(match reason {
        _ if reason.starts_with("RESOURCE:CPU") || reason.starts_with("RESOURCE:MEMORY") => {
            "no container instance has that much free: ask for less (--cpu, --memory), add an instance, or run it on \
             Fargate (--launch-type FARGATE)"
        }
        _ if reason.starts_with("RESOURCE:PORTS") => {
            "the task definition takes a host port that the service's own tasks have: let ECS choose it (`\"hostPort\": 0`), \
             or run a task definition without port mappings (--task-definition)"
        }
        _ if reason.starts_with("RESOURCE:ENI") => {
            "no instance has a network interface left, or the subnet no address: add an instance, or name other subnets"
        }
        _ if reason.starts_with("RESOURCE:") => {
            "no container instance has it free: add one, or wait for another task's end"
        }
        _ if reason.starts_with("AGENT") => "the container agent of the instance is not connected to ECS: restart it",
        _ if reason.starts_with("ATTRIBUTE") => {
            "no container instance has an attribute that the task definition needs (its log driver, a role, awsvpc): see \
             `requiresAttributes` in `aws ecs describe-task-definition`"
        }
        _ if reason.starts_with("EMPTY CAPACITY") || reason.contains("No Container Instances") => {
            "the cluster has no container instance: add one, name a capacity provider (--capacity-provider), or run it on \
             Fargate (--launch-type FARGATE)"
        }
        _ if reason.contains("apacity is unavailable") => {
            "AWS has no such capacity at the moment: try again in some minutes, with more subnets, or without Spot"
        }
        _ if reason.starts_with("MemberOf") || reason.contains("lacement constraint") => {
            "no container instance fits the placement constraints of the service or of the task definition"
        }
        _ => return None,
    })
}

fn refused(failure: Failure) -> Error {
    let advice = advice(&failure.message);
    let inactive = failure.message.contains("is inactive");
    let kind = match failure.reach {
        Reach::Refused if !failure.is_denied() && !failure.is_expired() => Kind::Preflight,
        _ => Kind::Other,
    };
    let error = failure.error(kind);
    match advice {
        Some(advice) => error.hint(advice),
        None if inactive => error.hint("see `steady revisions`, and name one that is ACTIVE: --task-definition"),
        None => error,
    }
}
