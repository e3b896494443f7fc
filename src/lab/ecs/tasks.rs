//! Tasks: ListTasks, DescribeTasks, RunTask, StopTask.

use serde_json::{Map, Value, json};

use super::{
    arn, capacity, instances,
    model::{InstanceStatus, Task, TaskDefinition, TaskStatus},
    placement_rules,
    request::{Request, client, failure, invalid, without_nulls},
    service_rules, services, tags, task_definition_rules, task_definitions, task_view,
};
use crate::lab::{
    api::{ApiError, ApiResult},
    scheduler::{
        placement::{self, Wanted},
        roles,
    },
    state::State,
};

const LONGEST_TOKEN: usize = 64;
/// In milliseconds. A client token is known for a day, and no longer than this after the end of its task.
const HOUR: i64 = 3_600_000;

/// Of `containerOverrides`, as JSON.
const LONGEST_OVERRIDES: usize = 8192;

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
    let token = token(state, request, &cluster)?;
    if let Some((request_before, ids)) = token.as_ref().and_then(|token| state.ecs.run_tokens.get(token)) {
        if *request_before != asked {
            let ids: Vec<String> = ids.iter().map(|id| arn::task(request.settings, &cluster, id)).collect();
            let error = ApiError::new("ConflictException", "The client token was used for another request.");
            return Err(error.member("resourceIds", ids));
        }
        let tasks = ids.iter().filter_map(|id| state.ecs.tasks.get(id));
        let tasks: Vec<Value> = tasks.map(|task| task_view::view(request.settings, task, true)).collect();
        return Ok(json!({"tasks": tasks, "failures": []}));
    }
    let definition = startable(state, request)?;
    let count = request.integer("count").unwrap_or(1);
    if !(1..=10).contains(&count) {
        return Err(invalid("Count must be between 1 and 10."));
    }
    let mut members = asked.as_object().cloned().unwrap_or_default();
    let strategy = capacity::strategy_for(request.cluster(state)?, &members)?;
    if let Some(strategy) = &strategy {
        if members.contains_key("launchType") {
            return Err(invalid(service_rules::BOTH));
        }
        members.insert("capacityProviderStrategy".into(), json!(strategy));
    }
    let launch_type = service_rules::launch_type(&members).to_owned();
    placement_rules::check(&members, &launch_type)?;
    service_rules::platform(&members, &launch_type)?;
    check(state, request, &definition, &launch_type)?;
    let grows = strategy.is_some();
    if launch_type == "EC2" && !grows && instances::active(state, &cluster).next().is_none() {
        return Err(invalid("No Container Instances were found in your cluster."));
    }
    let mut started: Vec<String> = Vec::new();
    let mut failures = Vec::new();
    for _ in 0..count {
        let provider = strategy
            .as_ref()
            .and_then(|items| capacity::next_provider(items, started.iter().filter_map(|id| state.ecs.tasks.get(id))));
        let wanted = Wanted { provider, ..wanted(request, &cluster, &definition, &launch_type, &members) };
        match placement::place(state, request.settings, request.now, wanted) {
            Ok(id) => started.push(id),
            Err(misfit) => {
                let instance = misfit.instance().map(|id| arn::instance(request.settings, &cluster, id));
                failures.push(failure(instance.unwrap_or_default(), misfit.resource()));
            }
        }
    }
    if let Some(token) = token.filter(|_| !started.is_empty()) {
        state.ecs.run_tokens.insert(token, (asked, started.clone()));
    }
    Ok(json!({"tasks": views(state, request, &started), "failures": failures}))
}

/// The request's client token, which is its cluster's own; those that ECS would have forgotten are forgotten.
fn token(state: &mut State, request: &Request, cluster: &str) -> Result<Option<String>, ApiError> {
    let Some(token) = request.text("clientToken") else { return Ok(None) };
    if token.len() > LONGEST_TOKEN || !token.bytes().all(|byte| (33..=126).contains(&byte)) {
        return Err(invalid(format!("clientToken must have up to {LONGEST_TOKEN} ASCII characters without blanks.")));
    }
    let tasks = &state.ecs.tasks;
    let lives = |id: &String| {
        let ended = |task: &Task| task.stopped_at.is_some_and(|at| at + HOUR < request.now);
        tasks.get(id).is_some_and(|task| task.created_at + 24 * HOUR >= request.now && !ended(task))
    };
    state.ecs.run_tokens.retain(|_, (_, ids)| ids.iter().any(lives));
    Ok(Some(format!("{cluster} {token}")))
}

/// As RunTask, on the container instances that the request names.
pub fn start(state: &mut State, request: &Request) -> ApiResult {
    let cluster = request.cluster(state)?.name.clone();
    let definition = startable(state, request)?;
    let asked = request.texts("containerInstances");
    match asked.len() {
        0 => return Err(invalid("Container Instances cannot be empty.")),
        1..=10 => {}
        _ => return Err(invalid("Container Instances cannot have more than 10 elements.")),
    }
    let members = without_nulls(request.input).as_object().cloned().unwrap_or_default();
    check(state, request, &definition, "EC2")?;
    let (mut started, mut failures) = (Vec::new(), Vec::new());
    for name in asked {
        let id = arn::short(name);
        let mut refused = |reason: &str| failures.push(failure(arn::instance(request.settings, &cluster, id), reason));
        match state.ecs.instances.get(id).filter(|of| of.cluster == cluster).map(|of| of.status) {
            None => refused("MISSING"),
            Some(InstanceStatus::Inactive) => refused("INACTIVE"),
            Some(InstanceStatus::Draining) => refused("DRAINING"),
            Some(InstanceStatus::Active) => {
                let wanted = Wanted { on: Some(id), ..wanted(request, &cluster, &definition, "EC2", &members) };
                match placement::place(state, request.settings, request.now, wanted) {
                    Ok(id) => started.push(id),
                    Err(misfit) => refused(misfit.resource()),
                }
            }
        }
    }
    Ok(json!({"tasks": views(state, request, &started), "failures": failures}))
}

/// The ACTIVE revision that RunTask or StartTask names.
fn startable(state: &State, request: &Request) -> Result<TaskDefinition, ApiError> {
    let name = request.text("taskDefinition").ok_or_else(|| client("Task definition can not be blank."))?;
    let definition = task_definitions::find(&state.ecs, name).ok_or_else(|| client("TaskDefinition not found."))?;
    match definition.status() {
        "ACTIVE" => Ok(definition.clone()),
        _ => Err(invalid("TaskDefinition is inactive")),
    }
}

fn check(state: &State, request: &Request, definition: &TaskDefinition, launch_type: &str) -> Result<(), ApiError> {
    tags::check(request.list("tags"))?;
    let network = request.input.get("networkConfiguration").filter(|network| !network.is_null());
    service_rules::launch(state, launch_type, network, definition)?;
    let overrides = &request.input["overrides"];
    for container in overrides["containerOverrides"].as_array().into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default();
        if definition.container(name).is_none() {
            return Err(invalid(
                "Override for container named ".to_owned() + name + " is not a container in the TaskDefinition.",
            ));
        }
    }
    if launch_type == "FARGATE" {
        let of = |member: &str| {
            let sizes = overrides.as_object().filter(|sizes| sizes.contains_key(member));
            task_definition_rules::units(sizes.unwrap_or(&definition.document), member).unwrap_or(0)
        };
        if !task_definition_rules::is_fargate_size(of("cpu"), of("memory")) {
            return Err(client("No Fargate configuration exists for given values."));
        }
    }
    if request.text("startedBy").is_some_and(|by| by.chars().count() > 128) {
        return Err(invalid("startedBy longer than 128."));
    }
    let given = &overrides["containerOverrides"];
    if !given.is_null() && given.to_string().len() > LONGEST_OVERRIDES {
        return Err(invalid(format!("Container Overrides length must be at most {LONGEST_OVERRIDES}")));
    }
    if request.text("propagateTags") == Some("SERVICE") {
        return Err(invalid("A task that no service starts cannot propagate the tags of one: use TASK_DEFINITION."));
    }
    match roles::refusal(state, definition, Some(overrides).filter(|of| of.is_object())) {
        Some(refusal) => Err(client(refusal)),
        None => Ok(()),
    }
}

fn wanted<'a>(
    request: &Request,
    cluster: &'a str,
    definition: &'a TaskDefinition,
    launch_type: &'a str,
    members: &'a Map<String, Value>,
) -> Wanted<'a> {
    let mut tags = request.list("tags").to_vec();
    if request.text("propagateTags") == Some("TASK_DEFINITION") {
        tags.extend(
            definition
                .tags
                .iter()
                .filter(|tag| !tags.iter().any(|own| own["key"] == tag["key"]))
                .cloned()
                .collect::<Vec<_>>(),
        );
    }
    Wanted {
        cluster,
        definition,
        launch_type,
        provider: None,
        on: None,
        settings: members,
        group: request.text("group").map_or_else(|| format!("family:{}", definition.family()), str::to_owned),
        started_by: request.text("startedBy").map(str::to_owned),
        overrides: members.get("overrides").cloned(),
        tags,
    }
}

fn views(state: &State, request: &Request, ids: &[String]) -> Vec<Value> {
    ids.iter().map(|id| task_view::view(request.settings, &state.ecs.tasks[id], true)).collect()
}

/// The lab has no agent that a session could be opened to.
pub fn execute(state: &State, request: &Request) -> ApiResult {
    let cluster = &request.cluster(state)?.name;
    let task = state.ecs.tasks.get(arn::short(request.required("task")?)).filter(|task| task.cluster == *cluster);
    let task = task.ok_or_else(|| invalid("The specified task was not found."))?;
    if !task.execute_command {
        return Err(invalid(
            "The execute command failed because execute command was not enabled when the task was run or the execute \
             command agent isn\u{2019}t running. Wait and try again or run a new task with execute command enabled and \
             try again.",
        ));
    }
    Err(ApiError::new(
        "TargetNotConnectedException",
        "The execute command failed: the lab runs no Session Manager agent in its tasks.",
    ))
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
