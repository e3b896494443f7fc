//! The tasks of a service, as far as they are known: ECS names new ones in the service's events, so that they need not be
//! listed at every look; what stopped is described once.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::poller::Poller;
use super::steady::{Container, Deployment, Task, has_failed};
use crate::aws::reply::{self, list, millis, optional, text};
use crate::aws::{Clients, Failure};

/// A task that stopped long before the deployment began is none of its.
const CLOCKS_DIFFER: i64 = 1_000;

#[derive(Debug, Clone, Default)]
pub struct KnownTasks {
    /// By id; `None` until it was described.
    tasks: BTreeMap<String, Option<Task>>,
    /// Ids of the events that were read.
    read: HashSet<String>,
}

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Those that are known, and others only where counts tell that there are others.
    AsCounted,
    /// Those that stopped, too.
    AndStopped,
    All,
}

impl KnownTasks {
    pub fn all(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().flatten()
    }

    /// New tasks that the service's events name: `(service X) has started 2 tasks: (task 9f…) (task 01…).`
    pub fn hear(&mut self, service: &Value, since: i64) {
        for event in list(service, "events") {
            let message = text(event, "message");
            let is_new = millis(event, "createdAt") + CLOCKS_DIFFER >= since && message.contains(" has started ");
            if !is_new || !self.read.insert(text(event, "id").to_owned()) {
                continue;
            }
            let named = message.split("(task ").skip(1).filter_map(|rest| rest.split(')').next());
            for id in named.filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')) {
                self.tasks.entry(id.to_owned()).or_default();
            }
        }
    }

    /// Brings what is known up to date. `fits` tells the tasks of the deployment `own`.
    pub async fn ask(
        &mut self,
        (cluster, service): (&str, &str),
        listing: Listing,
        own: Option<&Deployment>,
        fits: impl Fn(&Task) -> bool,
        (poller, clients): (&Poller, &Clients),
    ) -> Result<(), Failure> {
        self.describe(cluster, poller, clients).await?;
        let going = self.all().filter(|task| task.last_status != "STOPPED" && fits(task)).count() as i64;
        let failed = self.all().filter(|task| has_failed(task) && fits(task)).count() as i64;
        let (more_go, more_failed) =
            own.map_or((true, true), |own| (own.running + own.pending > going, own.failed > failed));
        let list = |status: &'static str| listed(cluster, service, status, poller, clients);
        let (running, stopped) = tokio::join!(
            async { if listing == Listing::All || more_go { list("RUNNING").await } else { Ok(Vec::new()) } },
            async { if listing != Listing::AsCounted || more_failed { list("STOPPED").await } else { Ok(Vec::new()) } },
        );
        let before = self.tasks.len();
        // what stopped may not be listed any more; what runs is what counts
        for arn in running?.into_iter().chain(stopped.unwrap_or_default()) {
            self.tasks.entry(reply::id(&arn).to_owned()).or_default();
        }
        if self.tasks.len() > before { self.describe(cluster, poller, clients).await } else { Ok(()) }
    }

    /// Those that have not stopped, and those that nobody has described yet.
    async fn describe(&mut self, cluster: &str, poller: &Poller, clients: &Clients) -> Result<(), Failure> {
        let changes = |task: &Option<Task>| task.as_ref().is_none_or(|task| task.last_status != "STOPPED");
        let ids: Vec<String> = self.tasks.iter().filter(|(_, task)| changes(task)).map(|(id, _)| id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut found = poller.tasks(cluster, ids.clone(), clients).await?;
        for id in ids {
            match found.remove(&id) {
                Some(described) => self.tasks.insert(id, Some(task(&described))),
                // ECS has forgotten it, or does not show it yet
                None => self.tasks.remove(&id),
            };
        }
        Ok(())
    }
}

async fn listed(
    cluster: &str,
    service: &str,
    status: &str,
    poller: &Poller,
    clients: &Clients,
) -> Result<Vec<String>, Failure> {
    let mut arns = Vec::new();
    let mut input = json!({ "cluster": cluster, "serviceName": service, "desiredStatus": status });
    loop {
        poller.spend(1);
        let reply = match clients.list_tasks(input.clone()).await {
            Ok(reply) => reply,
            Err(failure) if failure.is("ServiceNotFoundException") => return Ok(arns),
            Err(failure) => return Err(failure),
        };
        arns.extend(reply::texts(&reply, "taskArns"));
        match optional(&reply, "nextToken") {
            Some(token) => input["nextToken"] = token.into(),
            None => return Ok(arns),
        }
    }
}

pub(in crate::deploy) fn task(value: &Value) -> Task {
    Task {
        id: reply::id(text(value, "taskArn")).to_owned(),
        started_by: text(value, "startedBy").to_owned(),
        task_definition: text(value, "taskDefinitionArn").to_owned(),
        last_status: text(value, "lastStatus").to_owned(),
        desired_status: text(value, "desiredStatus").to_owned(),
        health: optional(value, "healthStatus").filter(|health| *health != "UNKNOWN").map(str::to_owned),
        stop_code: optional(value, "stopCode").map(str::to_owned),
        stopped_reason: optional(value, "stoppedReason").map(str::to_owned),
        stopped_at: millis(value, "stoppedAt").max(millis(value, "stoppingAt")),
        containers: list(value, "containers").iter().map(container).collect(),
    }
}

fn container(value: &Value) -> Container {
    Container {
        name: text(value, "name").to_owned(),
        image: text(value, "image").to_owned(),
        digest: optional(value, "imageDigest").map(str::to_owned),
        runtime_id: optional(value, "runtimeId").map(str::to_owned),
        exit_code: value.get("exitCode").and_then(Value::as_i64),
        reason: optional(value, "reason").map(str::to_owned),
    }
}
