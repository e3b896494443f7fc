//! One look at a service: its deployments, its tasks and its targets, in as few calls as AWS allows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::steady::{Container, Deployment, Observation, ServiceDeployment, Target, Task};
use super::{running, service};
use crate::aws::reply::{self, list, number, optional, text};
use crate::aws::{Clients, Failure};

/// DescribeTasks takes at most so many.
const TASKS_PER_CALL: usize = 100;

/// What to look at, and what was learnt about the endpoint meanwhile.
#[derive(Debug, Clone)]
pub struct Eye {
    pub cluster: String,
    pub service: String,
    pub service_deployment: Option<String>,
    /// The endpoint has no service deployments: it is not asked again.
    pub no_service_deployments: bool,
    /// The service deployment that was current before ours began: never taken for it.
    pub before: Option<String>,
    /// This role may not ask for the targets' health: it is not asked again.
    targets_denied: Option<Failure>,
    appeared: bool,
    /// Stopped tasks do not change: they are described once.
    stopped: Vec<Task>,
    seen_stopped: BTreeSet<String>,
    known_images: running::Known,
}

impl Eye {
    pub fn new(cluster: &str, service: &str, service_deployment: Option<String>) -> Self {
        Eye {
            cluster: cluster.to_owned(),
            service: service.to_owned(),
            service_deployment,
            no_service_deployments: false,
            before: None,
            targets_denied: None,
            appeared: false,
            stopped: Vec::new(),
            seen_stopped: BTreeSet::new(),
            known_images: running::Known::default(),
        }
    }

    /// The observation, and the service as it came.
    pub async fn look(&mut self, deployment_id: &str, clients: &Clients) -> Result<(Observation, Value), Failure> {
        let (service, service_deployment, tasks) = tokio::join!(
            service::describe(&self.cluster, &self.service, clients),
            service_deployment(self.service_deployment.as_deref(), clients),
            tasks(&self.cluster, &self.service, &self.seen_stopped, clients),
        );
        let service = service?.unwrap_or_default();
        let mut found = match service_deployment {
            Ok(found) => found,
            Err(failure) if is_missing(&failure) => {
                self.no_service_deployments = true;
                self.service_deployment = None;
                None
            }
            Err(failure) => return Err(failure),
        };
        if self.service_deployment.is_none() && !self.no_service_deployments {
            found = self.find_service_deployment(&service, deployment_id, clients).await?;
        }
        let tasks = tasks?;
        self.known_images.ask(&tasks, clients).await;
        for task in tasks.iter().filter(|task| task.last_status == "STOPPED") {
            if self.seen_stopped.insert(task.id.clone()) {
                self.stopped.push(task.clone());
            }
        }
        let running = tasks.into_iter().filter(|task| task.last_status != "STOPPED");
        let tasks = running.chain(self.stopped.iter().cloned()).collect();
        let targets = self.targets(&service, clients).await?;
        let deployments: Vec<Deployment> = list(&service, "deployments").iter().map(deployment).collect();
        self.appeared |= deployments.iter().any(|deployment| deployment.id == deployment_id);
        let observation = Observation {
            service_status: text(&service, "status").to_owned(),
            desired: number(&service, "desiredCount"),
            running: number(&service, "runningCount"),
            pending: number(&service, "pendingCount"),
            deployments,
            appeared: self.appeared,
            events: list(&service, "events").iter().map(|event| text(event, "message").to_owned()).collect(),
            service_deployment: found,
            tasks,
            targets,
            targets_denied: self.targets_denied.clone(),
            groups: groups(&service),
            images: self.known_images.clone(),
        };
        Ok((observation, service))
    }

    async fn targets(&mut self, service: &Value, clients: &Clients) -> Result<Vec<Target>, Failure> {
        if self.targets_denied.is_some() {
            return Ok(Vec::new());
        }
        match targets(service, clients).await {
            Err(failure) if failure.is_denied() => {
                self.targets_denied = Some(failure);
                Ok(Vec::new())
            }
            seen => seen,
        }
    }

    /// Takes the service's current service deployment for ours, as long as ours is the PRIMARY deployment.
    async fn find_service_deployment(
        &mut self,
        service: &Value,
        deployment_id: &str,
        clients: &Clients,
    ) -> Result<Option<ServiceDeployment>, Failure> {
        let primary = super::decide::primary(service).map_or("", |primary| text(primary, "id"));
        let current = optional(service, "currentServiceDeployment");
        let current = current.filter(|current| primary == deployment_id && self.before.as_deref() != Some(*current));
        let Some(current) = current else { return Ok(None) };
        match service_deployment(Some(current), clients).await {
            Ok(found) => {
                self.service_deployment = Some(current.to_owned());
                Ok(found)
            }
            Err(failure) if is_missing(&failure) => {
                self.no_service_deployments = true;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Roles that were made before there were service deployments may not read them: the rollout's state tells as well.
fn is_missing(failure: &Failure) -> bool {
    failure.is_unsupported() || failure.is_denied()
}

async fn service_deployment(arn: Option<&str>, clients: &Clients) -> Result<Option<ServiceDeployment>, Failure> {
    let Some(arn) = arn else { return Ok(None) };
    let reply = clients.describe_service_deployments(json!({ "serviceDeploymentArns": [arn] })).await?;
    Ok(list(&reply, "serviceDeployments").first().map(|found| ServiceDeployment {
        arn: text(found, "serviceDeploymentArn").to_owned(),
        status: text(found, "status").to_owned(),
        reason: text(found, "statusReason").to_owned(),
    }))
}

async fn tasks(
    cluster: &str,
    service: &str,
    known: &BTreeSet<String>,
    clients: &Clients,
) -> Result<Vec<Task>, Failure> {
    let listed = |status: &'static str| async move {
        let mut arns = Vec::new();
        let mut input = json!({ "cluster": cluster, "serviceName": service, "desiredStatus": status });
        loop {
            let reply = clients.list_tasks(input.clone()).await?;
            arns.extend(reply::texts(&reply, "taskArns"));
            match optional(&reply, "nextToken") {
                Some(token) => input["nextToken"] = token.into(),
                None => return Ok::<_, Failure>(arns),
            }
        }
    };
    let (running, stopped) = tokio::join!(listed("RUNNING"), listed("STOPPED"));
    let mut arns = match running {
        Ok(arns) => arns,
        Err(failure) if failure.is("ServiceNotFoundException") => return Ok(Vec::new()),
        Err(failure) => return Err(failure),
    };
    arns.extend(stopped.unwrap_or_default());
    arns.retain(|arn| !known.contains(reply::id(arn)));
    arns.dedup();
    let calls =
        arns.chunks(TASKS_PER_CALL).map(|arns| clients.describe_tasks(json!({ "cluster": cluster, "tasks": arns })));
    let replies = futures_util::future::try_join_all(calls).await?;
    Ok(replies.iter().flat_map(|reply| list(reply, "tasks")).map(task).collect())
}

/// The target groups of each of the service's load balancers.
fn groups(service: &Value) -> Vec<Vec<String>> {
    let of = |balancer: &Value| {
        let arns =
            [text(balancer, "targetGroupArn"), text(&balancer["advancedConfiguration"], "alternateTargetGroupArn")];
        arns.iter().filter(|arn| !arn.is_empty()).map(|arn| (*arn).to_owned()).collect::<Vec<_>>()
    };
    list(service, "loadBalancers").iter().map(of).filter(|groups| !groups.is_empty()).collect()
}

/// The health of all targets in the service's target groups.
pub async fn targets(service: &Value, clients: &Clients) -> Result<Vec<Target>, Failure> {
    let groups: BTreeSet<String> = groups(service).into_iter().flatten().collect();
    let calls = groups.into_iter().map(|arn| async move {
        let asked = clients.elbv2.describe_target_health().target_group_arn(&arn).send().await;
        let reply = match asked.map_err(|error| Failure::from_sdk("ELBv2", "DescribeTargetHealth", error)) {
            Ok(reply) => reply,
            // A service that was deleted still names what it was attached to.
            Err(failure) if failure.is("TargetGroupNotFound") => return Ok(Vec::new()),
            Err(failure) => return Err(failure),
        };
        let seen = reply.target_health_descriptions().iter().map(|one| {
            let target = one.target();
            let id = target.and_then(|target| target.id()).unwrap_or_default();
            let port = target.and_then(|target| target.port()).unwrap_or_default();
            let health = one.target_health();
            Target {
                group: arn.clone(),
                id: format!("{id}:{port}"),
                state: health.and_then(|health| health.state()).map_or("", |state| state.as_str()).to_owned(),
                reason: health.and_then(|health| health.reason()).map(|reason| reason.as_str().to_owned()),
                description: health.and_then(|health| health.description()).map(str::to_owned),
            }
        });
        Ok(seen.collect::<Vec<_>>())
    });
    Ok(futures_util::future::try_join_all(calls).await?.concat())
}

fn deployment(value: &Value) -> Deployment {
    Deployment {
        id: text(value, "id").to_owned(),
        status: text(value, "status").to_owned(),
        rollout_state: optional(value, "rolloutState").map(str::to_owned),
        reason: text(value, "rolloutStateReason").to_owned(),
        task_definition: text(value, "taskDefinition").to_owned(),
        desired: number(value, "desiredCount"),
        running: number(value, "runningCount"),
        pending: number(value, "pendingCount"),
        failed: number(value, "failedTasks"),
    }
}

pub(super) fn task(value: &Value) -> Task {
    Task {
        id: reply::id(text(value, "taskArn")).to_owned(),
        started_by: text(value, "startedBy").to_owned(),
        task_definition: text(value, "taskDefinitionArn").to_owned(),
        last_status: text(value, "lastStatus").to_owned(),
        desired_status: text(value, "desiredStatus").to_owned(),
        health: optional(value, "healthStatus").filter(|health| *health != "UNKNOWN").map(str::to_owned),
        stop_code: optional(value, "stopCode").map(str::to_owned),
        stopped_reason: optional(value, "stoppedReason").map(str::to_owned),
        containers: list(value, "containers")
            .iter()
            .map(|container| Container {
                name: text(container, "name").to_owned(),
                image: text(container, "image").to_owned(),
                digest: optional(container, "imageDigest").map(str::to_owned),
                exit_code: container.get("exitCode").and_then(Value::as_i64),
                reason: optional(container, "reason").map(str::to_owned),
            })
            .collect(),
    }
}
