//! The command `status`: what runs now, and how it is.

use serde::Serialize;
use serde_json::Value;

use super::event::Events;
use super::follow::observe::Eye;
use super::follow::stage::Hook;
use super::follow::steady::{Observation, Task};
use super::follow::traffic;
use super::follow::traffic::{TrafficStatus, UnderWay};
use super::service::{decide, strategy};
use super::{outcome, pause, register, service};
use crate::aws::Clients;
use crate::aws::reply::{list, millis, optional, tag, text};
use crate::error::{Error, Result};

/// So many of the newest service events are shown.
const EVENTS: usize = 5;

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `steady`, `inProgress`, `paused` or `failed`: the current deployment's state.
    pub status: &'static str,
    pub service: String,
    pub cluster: String,
    pub deployment_id: String,
    pub rollout_state: Option<String>,
    pub rollout_state_reason: Option<String>,
    pub task_definition: String,
    pub release: Option<String>,
    pub image: Option<String>,
    pub digest: Option<String>,
    pub url: Option<String>,
    pub desired_count: i64,
    pub running_count: i64,
    pub pending_count: i64,
    /// As ECS spells it.
    pub strategy: String,
    /// Of the deployment that is under way, as ECS spells it.
    pub lifecycle_stage: Option<String>,
    /// What the strategy's bake times take from the beginning of this stage on.
    pub bake_ms: Option<u64>,
    pub deployments: Vec<DeploymentStatus>,
    /// While traffic is shifted, the new revision first.
    pub traffic: Vec<TrafficStatus>,
    /// Of the lifecycle stage.
    pub hooks: Vec<HookStatus>,
    pub tasks: Vec<TaskStatus>,
    pub targets: Vec<TargetStatus>,
    /// Newest first.
    pub events: Vec<EventStatus>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentStatus {
    pub id: String,
    pub status: String,
    pub rollout_state: Option<String>,
    pub task_definition: String,
    pub desired_count: i64,
    pub running_count: i64,
    pub pending_count: i64,
    pub failed_tasks: i64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub target: Option<String>,
    /// A pause that waits for an answer is `AWAITING_ACTION`.
    pub status: String,
    /// Epoch milliseconds.
    pub expires_at: Option<i64>,
    /// `ROLLBACK` or `CONTINUE`.
    pub timeout_action: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    pub id: String,
    pub task_definition: String,
    pub last_status: String,
    pub health: Option<String>,
    pub stopped_reason: Option<String>,
    pub containers: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    pub name: String,
    pub digest: Option<String>,
    pub exit_code: Option<i64>,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    pub target_group: String,
    pub target: String,
    pub state: String,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventStatus {
    /// Epoch milliseconds.
    pub created_at: i64,
    pub message: String,
}

pub async fn status(cluster: &str, service_name: &str, clients: &Clients, events: &Events) -> Result<Status> {
    let mut eye = Eye::new(cluster, service_name, None);
    eye.no_service_deployments = true;
    let (seen, live) = eye.look("", clients).await?;
    if seen.service_status.is_empty() || seen.service_status == "INACTIVE" {
        return Err(service_missing(cluster, service_name, clients).await);
    }
    let task_definition = decide::primary(&live).map_or("", |primary| text(primary, "taskDefinition"));
    if let Some(denied) = &seen.targets_denied {
        events.warn(format!("the targets' health is not known: {denied}"), denied.hint());
    }
    if let Some(denied) = &seen.tasks_denied {
        events.warn(format!("the tasks are not known: {denied}"), denied.hint());
    }
    let (revision, url, under_way) = tokio::join!(
        register::describe(task_definition, clients),
        outcome::url(&live, clients, events),
        traffic::under_way(&live, clients),
    );
    let under_way = under_way?.unwrap_or_default();
    pause::tell(&under_way.stage, events);
    Ok(of(cluster, service_name, &seen, &live, revision?.unwrap_or_default(), url, under_way))
}

async fn service_missing(cluster: &str, name: &str, clients: &Clients) -> Error {
    match service::describe(cluster, name, clients).await {
        Ok(Some(_)) => {
            Error::preflight(format!("the service `{name}` was deleted")).hint("`steady deploy` deploys it anew")
        }
        _ => Error::preflight(format!("there is no service `{name}` in the cluster `{cluster}`"))
            .hint("`steady deploy` makes it; --cluster and --service name another"),
    }
}

fn of(
    cluster: &str,
    name: &str,
    seen: &Observation,
    live: &Value,
    revision: Value,
    url: Option<String>,
    under_way: UnderWay,
) -> Status {
    let stage = under_way.stage;
    let primary = decide::primary(live).cloned().unwrap_or_default();
    let rollout = optional(&primary, "rolloutState");
    let whole = seen.running == seen.desired && seen.pending == 0;
    let image = list(&revision["taskDefinition"], "containerDefinitions")
        .iter()
        .filter_map(|container| optional(container, "image"))
        .max_by_key(|image| image.contains("@sha256:"));
    let own = |task: &&Task| task.last_status != "STOPPED" || task.started_by == text(&primary, "id");
    Status {
        status: match rollout {
            Some("COMPLETED") | None if whole => "steady",
            Some("FAILED") => "failed",
            _ if stage.pauses().next().is_some() => "paused",
            _ => "inProgress",
        },
        service: name.to_owned(),
        cluster: cluster.to_owned(),
        deployment_id: text(&primary, "id").to_owned(),
        rollout_state: rollout.map(str::to_owned),
        rollout_state_reason: optional(&primary, "rolloutStateReason").map(str::to_owned),
        task_definition: text(&primary, "taskDefinition").to_owned(),
        release: tag(list(&revision, "tags"), register::RELEASE_TAG).map(str::to_owned),
        image: image.map(str::to_owned),
        digest: image.and_then(|image| image.split_once('@')).map(|(_, digest)| digest.to_owned()),
        url,
        desired_count: seen.desired,
        running_count: seen.running,
        pending_count: seen.pending,
        strategy: strategy::of(live).unwrap_or("ROLLING").to_owned(),
        lifecycle_stage: Some(stage.name.clone()).filter(|name| !name.is_empty()),
        bake_ms: stage.bakes.map(|bakes| bakes.as_millis() as u64),
        traffic: under_way.traffic,
        hooks: stage.hooks.iter().map(hook).collect(),
        deployments: seen
            .deployments
            .iter()
            .map(|one| DeploymentStatus {
                id: one.id.clone(),
                status: one.status.clone(),
                rollout_state: one.rollout_state.clone(),
                task_definition: one.task_definition.clone(),
                desired_count: one.desired,
                running_count: one.running,
                pending_count: one.pending,
                failed_tasks: one.failed,
            })
            .collect(),
        tasks: seen.tasks.iter().filter(own).map(task).collect(),
        targets: seen
            .targets
            .iter()
            .map(|one| TargetStatus {
                target_group: one.group.clone(),
                target: one.id.clone(),
                state: one.state.clone(),
                reason: one.reason.clone(),
            })
            .collect(),
        events: list(live, "events")
            .iter()
            .take(EVENTS)
            .map(|event| EventStatus {
                created_at: millis(event, "createdAt"),
                message: text(event, "message").to_owned(),
            })
            .collect(),
    }
}

fn hook(hook: &Hook) -> HookStatus {
    HookStatus {
        id: hook.id.clone(),
        kind: hook.kind.clone(),
        target: hook.target.clone(),
        status: hook.status.clone(),
        expires_at: Some(hook.expires_at).filter(|at| *at > 0),
        timeout_action: hook.on_timeout.clone(),
    }
}

fn task(task: &Task) -> TaskStatus {
    TaskStatus {
        id: task.id.clone(),
        task_definition: task.task_definition.clone(),
        last_status: task.last_status.clone(),
        health: task.health.clone(),
        stopped_reason: task.stopped_reason.clone(),
        containers: task
            .containers
            .iter()
            .map(|one| ContainerStatus {
                name: one.name.clone(),
                digest: one.digest.clone(),
                exit_code: one.exit_code,
                reason: one.reason.clone(),
            })
            .collect(),
    }
}
