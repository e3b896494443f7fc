//! A task, its containers and its definition.

use serde_json::{Map, Value, json};

use super::{Scope, balancing, seconds};
use crate::lab::ecs::{
    model::{Task, TaskDefinition},
    task_definitions, task_view,
};
use crate::lab::elbv2;
use crate::lab::scheduler::output;

/// Members of DescribeTasks that are not shown. Overrides hold values of environment variables.
const LEFT_OUT: [&str; 3] = ["overrides", "attributes", "availabilityZone"];

pub(super) fn view(scope: &Scope, cluster: &str, id: &str) -> Option<Value> {
    let task = scope.state.ecs.tasks.get(id).filter(|task| task.cluster == cluster)?;
    let found = task_definitions::find(&scope.state.ecs, &task.task_definition);
    let logs = task.containers.iter().map(|container| {
        let (group, stream) = output::place(scope.state, task, &container.name);
        json!({ "containerName": container.name, "logGroup": group, "logStream": stream })
    });
    Some(json!({
        "task": brief(scope, task),
        "taskDefinition": found.map(definition),
        "logs": logs.collect::<Vec<Value>>(),
    }))
}

/// As DescribeTasks has it, with the times and targets that a timeline needs.
pub(super) fn brief(scope: &Scope, task: &Task) -> Value {
    let mut brief = task_view::view(scope.settings, task, true);
    if let Some(members) = brief.as_object_mut() {
        members.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
        members.insert("id".into(), json!(task.id));
        members.insert("healthyAt".into(), json!(task.healthy_at.map(seconds)));
        members.insert("drainedAt".into(), json!(task.drained_at.map(seconds)));
        members.insert("targets".into(), task.targets.iter().map(|target| health(scope, target)).collect());
    }
    brief
}

fn health(scope: &Scope, target: &crate::lab::ecs::model::Target) -> Value {
    let found = elbv2::target_health(scope.state, &target.target_group, &target.id, target.port);
    let mut shown = balancing::health(found.as_ref());
    shown["targetGroupName"] = json!(scope.state.elbv2.target_group(&target.target_group).map(|group| &group.name));
    shown["id"] = json!(target.id);
    shown["port"] = json!(target.port);
    shown
}

/// A task definition without the values of environment variables and of a log driver's options, and without commands:
/// any of them may hold a secret.
pub(super) fn definition(of: &TaskDefinition) -> Value {
    let mut shown = pick(
        &of.document,
        &[
            "taskDefinitionArn",
            "family",
            "revision",
            "status",
            "cpu",
            "memory",
            "networkMode",
            "taskRoleArn",
            "executionRoleArn",
            "requiresCompatibilities",
            "registeredAt",
        ],
    );
    shown.insert("containerDefinitions".into(), of.containers().iter().map(container).collect());
    Value::Object(shown)
}

fn container(of: &Value) -> Value {
    let none = Map::new();
    let members = of.as_object().unwrap_or(&none);
    let mut shown = pick(
        members,
        &[
            "name",
            "image",
            "essential",
            "cpu",
            "memory",
            "memoryReservation",
            "portMappings",
            "startTimeout",
            "stopTimeout",
            "dependsOn",
            "secrets",
        ],
    );
    let names = of["environment"].as_array().into_iter().flatten().map(|variable| variable["name"].clone());
    shown.insert("environment".into(), names.collect());
    shown.insert("logDriver".into(), of["logConfiguration"]["logDriver"].clone());
    shown.insert("hasHealthCheck".into(), json!(of["healthCheck"].is_object()));
    Value::Object(shown)
}

fn pick(members: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), members.get(*name)?.clone()))).collect()
}
