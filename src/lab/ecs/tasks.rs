//! Tasks: ListTasks, DescribeTasks, RunTask, StopTask.

use serde_json::{Value, json};

use super::{
    arn,
    model::{Task, TaskStatus},
    request::{Request, client, failure, invalid, without_nulls},
    service_rules, service_view, services, task_definitions, task_view,
};
use crate::lab::{
    api::{ApiError, ApiResult},
    scheduler::{
        placement::{self, Wanted},
        roles,
    },
    state::State,
};

pub fn list(state: &State, request: &Request) -> ApiResult {
    let cluster = &request.cluster(state)?.name;
    if request.text("serviceName").is_some_and(|name| services::find(&state.ecs, cluster, name).is_none()) {
        return Err(ApiError::new("ServiceNotFoundException", "Service not found."));
    }
    let status = request.text("desiredStatus").unwrap_or("RUNNING");
    let family = request.text("family");
    let service = request.text("serviceName").map(|name| format!("service:{}", arn::short(name)));
    let instance = request.text("containerInstance").map(arn::short);
    let listed = state.ecs.tasks.values().filter(|task| {
        let of_family = arn::short(&task.task_definition).split_once(':').map(|(family, _)| family);
        let desired = if task.stop { "STOPPED" } else { "RUNNING" };
        task.cluster == *cluster
            && status == desired
            && family.is_none_or(|family| of_family == Some(family))
            && service.as_ref().is_none_or(|group| task.group == *group)
            && instance.is_none_or(|instance| task.instance.as_deref() == Some(instance))
            && request.text("startedBy").is_none_or(|by| task.started_by.as_deref() == Some(by))
            && request.text("launchType").is_none_or(|launch| task.launch_type == launch)
    });
    request.page("taskArns", listed.map(|task| json!(arn::task(request.settings, cluster, &task.id))).collect())
}

pub fn describe(state: &State, request: &Request) -> ApiResult {
    let cluster = &request.cluster(state)?.name;
    let asked = request.texts("tasks");
    match asked.len() {
        0 => return Err(invalid("Tasks cannot be empty.")),
        1..=100 => {}
        _ => return Err(invalid("Tasks cannot have more than 100 elements.")),
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in asked {
        match state.ecs.tasks.get(arn::short(name)).filter(|task| task.cluster == *cluster) {
            Some(task) => found.push(task_view::view(request.settings, task, request.includes("TAGS"))),
            None => failures.push(failure(arn::task(request.settings, cluster, arn::short(name)), "MISSING")),
        }
    }
    Ok(json!({"tasks": found, "failures": failures}))
}

pub fn run(state: &mut State, request: &Request) -> ApiResult {
    let cluster = request.cluster(state)?.name.clone();
    let asked = without_nulls(request.input);
    if let Some((request_before, ids)) = request.text("clientToken").and_then(|token| state.ecs.run_tokens.get(token)) {
        if *request_before != asked {
            return Err(ApiError::new("ConflictException", "The client token was used for another request."));
        }
        let tasks = ids.iter().filter_map(|id| state.ecs.tasks.get(id));
        let tasks: Vec<Value> = tasks.map(|task| task_view::view(request.settings, task, true)).collect();
        return Ok(json!({"tasks": tasks, "failures": []}));
    }
    let name = request.text("taskDefinition").ok_or_else(|| client("Task definition can not be blank."))?;
    let definition =
        task_definitions::find(&state.ecs, name).cloned().ok_or_else(|| client("TaskDefinition not found."))?;
    if definition.status() != "ACTIVE" {
        return Err(invalid("TaskDefinition is inactive"));
    }
    let count = request.integer("count").unwrap_or(1);
    if !(1..=10).contains(&count) {
        return Err(invalid("Count must be between 1 and 10."));
    }
    let settings = asked;
    let members = settings.as_object().cloned().unwrap_or_default();
    let fargate = service_view::on_fargate(&members);
    let launch_type = if fargate { "FARGATE" } else { request.text("launchType").unwrap_or("EC2") };
    service_rules::launch(state, launch_type, members.get("networkConfiguration"), &definition)?;
    for container in settings["overrides"]["containerOverrides"].as_array().into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default();
        if definition.container(name).is_none() {
            return Err(invalid(
                "Override for container named ".to_owned() + name + " is not a container in the TaskDefinition.",
            ));
        }
    }
    if let Some(refusal) = roles::refusal(state, &definition, settings.get("overrides")) {
        return Err(client(refusal));
    }
    let instances = state.ecs.instances.values().any(|instance| instance.cluster == cluster);
    if launch_type == "EC2" && !instances {
        return Err(invalid("No Container Instances were found in your cluster."));
    }
    let mut tags = request.list("tags").to_vec();
    if request.text("propagateTags") == Some("TASK_DEFINITION") {
        tags.extend(definition.tags.iter().cloned());
    }
    let family = format!("family:{}", definition.family());
    let (mut started, mut failures) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let wanted = Wanted {
            cluster: &cluster,
            definition: &definition,
            launch_type,
            settings: &members,
            group: request.text("group").unwrap_or(&family).to_owned(),
            started_by: request.text("startedBy").map(str::to_owned),
            overrides: settings.get("overrides").cloned(),
            tags: tags.clone(),
        };
        match placement::place(state, request.now, wanted) {
            Ok(id) => started.push(id),
            Err(misfit) => {
                let instance = misfit.instance().map(|id| arn::instance(request.settings, &cluster, id));
                failures.push(failure(instance.unwrap_or_default(), misfit.resource()));
            }
        }
    }
    if let Some(token) = request.text("clientToken").filter(|_| !started.is_empty()) {
        state.ecs.run_tokens.insert(token.into(), (settings.clone(), started.clone()));
    }
    let tasks: Vec<Value> =
        started.iter().map(|id| task_view::view(request.settings, &state.ecs.tasks[id], true)).collect();
    Ok(json!({"tasks": tasks, "failures": failures}))
}

pub fn stop(state: &mut State, request: &Request) -> ApiResult {
    let cluster = request.cluster(state)?.name.clone();
    let id = arn::short(request.required("task")?);
    let task = state.ecs.tasks.get_mut(id).filter(|task| task.cluster == cluster);
    let task = task.ok_or_else(|| invalid("The referenced task was not found."))?;
    halt(task, "UserInitiated", request.text("reason").unwrap_or("Task stopped by user"));
    Ok(json!({"task": task_view::view(request.settings, task, true)}))
}

/// Sets the desired status to STOPPED; the first reason stays.
pub fn halt(task: &mut Task, code: &str, reason: &str) {
    if !task.stop && task.status < TaskStatus::Deactivating {
        task.stop = true;
        task.version += 1;
        task.stop_code = Some(code.into());
        task.stopped_reason = Some(reason.into());
    }
}
