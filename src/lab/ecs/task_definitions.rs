//! Task definitions: families and their revisions.

use serde_json::{Map, Value, json};

use super::{
    arn,
    model::{EcsState, TaskDefinition},
    request::{Request, client, failure, invalid, seconds, without_nulls},
    tags, task_definition_rules,
};
use crate::lab::{
    api::{ApiError, ApiResult},
    state::State,
};

pub fn register(state: &mut State, request: &Request) -> ApiResult {
    let mut document = match without_nulls(request.input) {
        Value::Object(document) => document,
        _ => return Err(ApiError::new("SerializationException", "The request is no JSON object.")),
    };
    task_definition_rules::check(&document, request.settings)?;
    tags::check(request.list("tags")).map_err(|error| client(error.message))?;
    let tags = match document.shift_remove("tags") {
        Some(Value::Array(tags)) => tags,
        _ => Vec::new(),
    };
    fill_in(&mut document, &request.settings.account_id);
    let family = document["family"].as_str().unwrap_or_default().to_owned();
    let revisions = state.ecs.families.or_default(&family);
    revisions.last += 1;
    let revision = revisions.last;
    document.insert("taskDefinitionArn".into(), json!(arn::task_definition(request.settings, &family, revision)));
    document.insert("revision".into(), json!(revision));
    document.insert("status".into(), json!("ACTIVE"));
    let compatibilities = task_definition_rules::compatibilities(&document);
    document.insert("compatibilities".into(), json!(compatibilities));
    document.insert("registeredAt".into(), seconds(request.now));
    document.insert("registeredBy".into(), json!(request.settings.caller()));
    let definition = TaskDefinition { document, tags };
    let reply = json!({"taskDefinition": definition.document, "tags": definition.tags});
    revisions.revisions.insert(revision, definition);
    Ok(reply)
}

/// The members that ECS answers with even when nobody gave them, a task's size without its unit, and roles by their
/// ARNs.
fn fill_in(document: &mut Map<String, Value>, account_id: &str) {
    for member in ["taskRoleArn", "executionRoleArn"] {
        let named = document.get(member).and_then(Value::as_str).filter(|role| !role.starts_with("arn:"));
        if let Some(name) = named.filter(|name| !name.is_empty()) {
            let arn = format!("arn:aws:iam::{account_id}:role/{}", name.trim_start_matches('/'));
            document.insert(member.into(), json!(arn));
        }
    }
    for member in ["cpu", "memory"] {
        if let Some(units) = task_definition_rules::units(document, member) {
            document.insert(member.into(), json!(units.to_string()));
        }
    }
    for volume in document.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(volume) = volume.as_object_mut() else { continue };
        if volume.keys().all(|member| member == "name") {
            volume.insert("host".into(), json!({}));
        }
        if let Some(Value::Object(efs)) = volume.get_mut("efsVolumeConfiguration") {
            efs.entry("rootDirectory").or_insert_with(|| json!("/"));
        }
    }
    let network_mode = document.get("networkMode").and_then(Value::as_str).unwrap_or("bridge").to_owned();
    for member in ["volumes", "placementConstraints"] {
        document.entry(member).or_insert_with(|| json!([]));
    }
    for container in document.get_mut("containerDefinitions").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(container) = container.as_object_mut() else { continue };
        container.entry("cpu").or_insert_with(|| json!(0));
        container.entry("essential").or_insert_with(|| json!(true));
        for member in ["portMappings", "environment", "mountPoints", "volumesFrom", "systemControls"] {
            container.entry(member).or_insert_with(|| json!([]));
        }
        if let Some(Value::Object(check)) = container.get_mut("healthCheck") {
            for (member, value) in [("interval", 30), ("timeout", 5), ("retries", 3)] {
                check.entry(member).or_insert_with(|| json!(value));
            }
        }
        for mapping in container.get_mut("portMappings").and_then(Value::as_array_mut).into_iter().flatten() {
            let port = if network_mode == "bridge" { json!(0) } else { mapping["containerPort"].clone() };
            let Some(mapping) = mapping.as_object_mut() else { continue };
            mapping.entry("hostPort").or_insert(port);
            mapping.entry("protocol").or_insert_with(|| json!("tcp"));
        }
    }
}

/// The revision that `name` means: an ARN, `family:revision`, or a family's latest ACTIVE one.
pub fn find<'s>(ecs: &'s EcsState, name: &str) -> Option<&'s TaskDefinition> {
    let (family, revision) = split(name);
    let revisions = &ecs.families.get(family)?.revisions;
    match revision {
        Some(revision) => revisions.get(&revision.ok()?),
        None => revisions.values().rev().find(|definition| definition.status() == "ACTIVE"),
    }
}

fn split(name: &str) -> (&str, Option<Result<i64, std::num::ParseIntError>>) {
    match arn::short(name).split_once(':') {
        Some((family, revision)) => (family, Some(revision.parse())),
        None => (arn::short(name), None),
    }
}

/// As [`find`], for what starts tasks: CreateService, UpdateService.
pub fn find_usable<'s>(ecs: &'s EcsState, name: &str) -> Result<&'s TaskDefinition, ApiError> {
    let definition = find(ecs, name).ok_or_else(|| client("TaskDefinition not found."))?;
    if definition.status() != "ACTIVE" {
        return Err(client("TaskDefinition is inactive"));
    }
    Ok(definition)
}

pub fn describe(state: &State, request: &Request) -> ApiResult {
    let name = request.text("taskDefinition").ok_or_else(|| client("Task definition can not be blank."))?;
    let definition = find(&state.ecs, name).ok_or_else(|| client("Unable to describe task definition."))?;
    let mut reply = Map::new();
    reply.insert("taskDefinition".into(), json!(definition.document));
    reply.insert("tags".into(), if request.includes("TAGS") { json!(definition.tags) } else { json!([]) });
    Ok(Value::Object(reply))
}

pub fn list(state: &State, request: &Request) -> ApiResult {
    let status = request.text("status").unwrap_or("ACTIVE");
    // The prefix is a whole family here, unlike in ListTaskDefinitionFamilies.
    let families =
        state.ecs.families.iter().filter(|(name, _)| request.text("familyPrefix").is_none_or(|f| f == *name));
    let definitions = families.flat_map(|(_, family)| family.revisions.values());
    let mut arns: Vec<Value> = definitions
        .filter(|definition| definition.status() == status)
        .map(|definition| json!(definition.arn()))
        .collect();
    match request.text("sort") {
        None | Some("ASC") => {}
        Some("DESC") => arns.reverse(),
        Some(_) => return Err(invalid("sort must be one of: ASC, DESC")),
    }
    request.page("taskDefinitionArns", arns)
}

pub fn families(state: &State, request: &Request) -> ApiResult {
    let prefix = request.text("familyPrefix").unwrap_or_default();
    let status = request.text("status").unwrap_or("ALL");
    let names = state.ecs.families.iter().filter(|(name, family)| {
        let active = family.revisions.values().any(|definition| definition.status() == "ACTIVE");
        name.starts_with(prefix)
            && match status {
                "ACTIVE" => active,
                "INACTIVE" => !active,
                _ => true,
            }
    });
    request.page("families", names.map(|(name, _)| json!(name)).collect())
}

pub fn deregister(state: &mut State, request: &Request) -> ApiResult {
    let name = request.text("taskDefinition").ok_or_else(|| client("Task definition can not be blank."))?;
    let definition = exact(&mut state.ecs, name)
        .ok_or_else(|| client(format!("Invalid revision number. Number: {}", arn::short(name))))?
        .ok_or_else(|| client("The specified task definition does not exist."))?;
    if definition.status() != "ACTIVE" {
        return Err(client(
            "The specified task definition is inactive. Please specify an active task definition and try again.",
        ));
    }
    definition.document.insert("status".into(), json!("INACTIVE"));
    definition.document.insert("deregisteredAt".into(), seconds(request.now));
    Ok(json!({"taskDefinition": definition.document}))
}

/// `None` when `name` has no revision number.
fn exact<'s>(ecs: &'s mut EcsState, name: &str) -> Option<Option<&'s mut TaskDefinition>> {
    let (family, revision) = split(name);
    let revision = revision?.ok()?;
    Some(ecs.families.get_mut(family).and_then(|family| family.revisions.get_mut(&revision)))
}

pub fn delete(state: &mut State, request: &Request) -> ApiResult {
    let names = request.texts("taskDefinitions");
    if names.is_empty() || names.len() > 10 {
        return Err(invalid("The number of task definitions must be between 1 and 10."));
    }
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let used = |arn: &str| {
            state.ecs.services.iter().flat_map(|service| &service.deployments).any(|of| of.task_definition == arn)
                || state.ecs.tasks.values().any(|task| task.task_definition == arn && !task.is_stopped())
        };
        let in_use = find(&state.ecs, name).is_some_and(|definition| used(definition.arn()));
        match exact(&mut state.ecs, name).flatten() {
            None => failures.push(failure(name.into(), "TASK_DEFINITION_NOT_FOUND")),
            Some(definition) if definition.status() == "ACTIVE" => {
                failures.push(failure(definition.arn().into(), "TASK_DEFINITION_IS_ACTIVE"));
            }
            Some(definition) => {
                definition.document.insert("status".into(), json!("DELETE_IN_PROGRESS"));
                definition.document.insert("deleteRequestedAt".into(), seconds(request.now));
                deleted.push(json!(definition.document));
                if !in_use {
                    let (family, revision) = split(name);
                    let revision = revision.and_then(Result::ok).unwrap_or_default();
                    state.ecs.families.get_mut(family).map(|family| family.revisions.remove(&revision));
                }
            }
        }
    }
    Ok(json!({"taskDefinitions": deleted, "failures": failures}))
}
