//! A service: its deployments, tasks, events and details.

use serde_json::{Value, json};

use super::{Scope, balancing, task};
use crate::lab::ecs::{
    model::{Service, Task},
    service_deployments, service_view, services, task_definitions,
};

/// Tasks of a service that are shown, the wanted ones before the stopped and the newest first.
const MOST_TASKS: usize = 300;
/// Service deployments that are shown.
const MOST_DEPLOYMENTS: usize = 20;

pub(super) fn view(scope: &Scope, cluster: &str, name: &str) -> Option<Value> {
    let Scope { state, settings } = *scope;
    let service = services::find(&state.ecs, cluster, name)?;
    let group = service.group();
    let mut tasks: Vec<&Task> =
        state.ecs.tasks.values().filter(|task| task.cluster == cluster && task.group == group).collect();
    tasks.sort_by_key(|task| (task.is_stopped(), -task.created_at));
    let total = tasks.len();
    let definition = service.primary().and_then(|of| task_definitions::find(&state.ecs, &of.task_definition));
    Some(json!({
        "service": service_view::view(state, settings, service, true),
        "serviceDeployments": deployments(scope, service),
        "tasks": tasks.into_iter().take(MOST_TASKS).map(|of| task::brief(scope, of)).collect::<Vec<Value>>(),
        "tasksTotal": total,
        "taskDefinition": definition.map(task::definition),
        "targetGroups": target_groups(scope, service),
    }))
}

fn deployments(scope: &Scope, service: &Service) -> Vec<Value> {
    let newest = service.service_deployments.iter().take(MOST_DEPLOYMENTS);
    let view = newest.map(|of| {
        let mut view = service_deployments::view(scope.state, scope.settings, service, of);
        let definition = |arn: &str| {
            let revision = service.revisions.iter().find(|revision| revision.arn == arn);
            json!(revision.map(|revision| &revision.task_definition))
        };
        view["deploymentId"] = json!(of.deployment);
        view["taskDefinition"] = definition(&of.target);
        view["rollbackTaskDefinition"] = of.rollback.as_ref().map_or(Value::Null, |of| definition(&of.revision));
        view
    });
    view.collect()
}

/// Those that its deployments' tasks are in, with the addresses at which they are reached.
fn target_groups(scope: &Scope, service: &Service) -> Vec<Value> {
    let settings = service.deployments.iter().map(|deployment| &deployment.settings);
    let balancers = settings.filter_map(|settings| settings.get("loadBalancers")?.as_array()).flatten();
    let arns = balancers.flat_map(|balancer| {
        [&balancer["targetGroupArn"], &balancer["advancedConfiguration"]["alternateTargetGroupArn"]]
    });
    let mut known: Vec<&str> = Vec::new();
    for arn in arns.filter_map(Value::as_str) {
        if !known.contains(&arn) {
            known.push(arn);
        }
    }
    let groups = known.into_iter().filter_map(|arn| scope.state.elbv2.target_group(arn));
    groups.map(|group| balancing::summary(scope, group)).collect()
}
