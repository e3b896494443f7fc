//! Clusters, and what one consists of.

use serde_json::{Value, json};

use super::{Scope, seconds, task};
use crate::lab::ecs::{
    clusters, instances,
    model::{Service, ServiceStatus, Task},
    service_view,
};

/// As many of a cluster's tasks are listed; a service's page has all of its own.
const MOST_TASKS: usize = 100;

pub(super) fn all(scope: &Scope) -> Value {
    let shown = scope.state.ecs.clusters.values().filter(|cluster| cluster.active);
    json!({ "clusters": shown.map(|cluster| clusters::view(scope.state, scope.settings, cluster, &[])).collect::<Value>() })
}

pub(super) fn one(scope: &Scope, name: &str) -> Option<Value> {
    let Scope { state, settings } = *scope;
    let cluster = state.ecs.clusters.get(name)?;
    let services = state.ecs.services.iter().filter(|of| of.cluster == name && of.status != ServiceStatus::Inactive);
    let mut tasks: Vec<&Task> = state.ecs.tasks.values().filter(|task| task.cluster == name).collect();
    tasks.sort_by_key(|task| (task.is_stopped(), -task.created_at));
    let total = tasks.len();
    let here = state.ecs.instances.values().filter(|instance| instance.cluster == name);
    Some(json!({
        "cluster": clusters::view(state, settings, cluster, &["SETTINGS", "TAGS"]),
        "services": services.map(|of| service(scope, of)).collect::<Vec<Value>>(),
        "tasks": tasks.into_iter().take(MOST_TASKS).map(|of| task::brief(scope, of)).collect::<Vec<Value>>(),
        "tasksTotal": total,
        "containerInstances":
            here.map(|instance| instances::view(state, settings, instance, true)).collect::<Vec<Value>>(),
    }))
}

fn service(scope: &Scope, service: &Service) -> Value {
    let primary = service.primary();
    let counts = service.deployments.iter().map(|of| service_view::counts(scope.state, service, &of.id));
    let (running, pending) = counts.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    json!({
        "serviceName": service.name,
        "status": service.status.name(),
        "schedulingStrategy": service.settings.get("schedulingStrategy").and_then(Value::as_str).unwrap_or("REPLICA"),
        "launchType": if service_view::on_fargate(&service.settings) { "FARGATE" } else { "EC2" },
        "taskDefinition": primary.map(|of| &of.task_definition),
        "desiredCount": service.desired_count,
        "pendingCount": pending,
        "runningCount": running,
        "rolloutState": primary.map(|of| of.rollout.name()),
        "rolloutStateReason": primary.map(|of| &of.reason),
        "createdAt": seconds(service.created_at),
        "lastDeploymentAt": primary.map(|of| seconds(of.created_at)),
    })
}
