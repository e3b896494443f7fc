//! Tags of all that can have some.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    arn,
    model::EcsState,
    request::{Request, invalid},
};
use crate::lab::{
    api::{ApiError, ApiResult},
    state::State,
};

const MOST: usize = 50;

/// What a request's `tags` may be. The words are inferred.
pub fn check(tags: &[Value]) -> Result<(), ApiError> {
    let mut keys = HashSet::new();
    for tag in tags {
        let (key, value) = (tag["key"].as_str().unwrap_or_default(), tag["value"].as_str().unwrap_or_default());
        if key.is_empty() {
            return Err(invalid("Tag keys cannot be empty."));
        }
        if key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(invalid(format!("The tag {key} is too long: 128 characters for a key, 256 for its value.")));
        }
        if key.to_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys beginning with aws: are reserved for AWS."));
        }
        if !keys.insert(key) {
            return Err(invalid(format!("Duplicate tag key found: {key}. Tag keys must be unique.")));
        }
    }
    if tags.len() > MOST {
        return Err(invalid(format!("A resource cannot have more than {MOST} tags.")));
    }
    Ok(())
}

fn missing() -> ApiError {
    invalid("The specified resource was not found.")
}

/// Kind and place of what an ARN names.
fn parts(name: &str) -> Result<(&str, &str), ApiError> {
    arn::parts(name).ok_or_else(|| invalid("Invalid ARN: ".to_owned() + name))
}

fn service(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or(("default", path))
}

fn revision(path: &str) -> Option<(&str, i64)> {
    let (family, revision) = path.split_once(':')?;
    Some((family, revision.parse().ok()?))
}

fn tags<'s>(ecs: &'s EcsState, name: &str) -> Result<&'s Vec<Value>, ApiError> {
    let (kind, path) = parts(name)?;
    let found = match kind {
        "cluster" => ecs.clusters.get(path).map(|cluster| &cluster.tags),
        "service" => ecs.services.find(service(path).0, service(path).1).map(|service| &service.tags),
        "task" => ecs.tasks.get(arn::short(path)).map(|task| &task.tags),
        "container-instance" => ecs.instances.get(arn::short(path)).map(|instance| &instance.tags),
        "capacity-provider" => ecs.capacity_providers.get(path).map(|provider| &provider.tags),
        "task-definition" => revision(path)
            .and_then(|(family, revision)| ecs.families.get(family)?.revisions.get(&revision))
            .map(|definition| &definition.tags),
        _ => None,
    };
    found.ok_or_else(missing)
}

fn tags_mut<'s>(ecs: &'s mut EcsState, name: &str) -> Result<&'s mut Vec<Value>, ApiError> {
    let (kind, path) = parts(name)?;
    let found = match kind {
        "cluster" => ecs.clusters.get_mut(path).map(|cluster| &mut cluster.tags),
        "service" => ecs.services.find_mut(service(path).0, service(path).1).map(|service| &mut service.tags),
        "task" => ecs.tasks.get_mut(arn::short(path)).map(|task| &mut task.tags),
        "container-instance" => ecs.instances.get_mut(arn::short(path)).map(|instance| &mut instance.tags),
        "capacity-provider" => ecs.capacity_providers.get_mut(path).map(|provider| &mut provider.tags),
        "task-definition" => revision(path)
            .and_then(|(family, revision)| ecs.families.get_mut(family)?.revisions.get_mut(&revision))
            .map(|definition| &mut definition.tags),
        _ => None,
    };
    found.ok_or_else(missing)
}

pub fn tag(state: &mut State, request: &Request) -> ApiResult {
    let name = request.required("resourceArn")?;
    let given = request.list("tags");
    check(given)?;
    let mut all = tags(&state.ecs, name)?.clone();
    all.retain(|old| !given.iter().any(|new| new["key"] == old["key"]));
    all.extend(given.iter().cloned());
    if all.len() > MOST {
        return Err(invalid(format!("A resource cannot have more than {MOST} tags.")));
    }
    *tags_mut(&mut state.ecs, name)? = all;
    Ok(json!({}))
}

pub fn untag(state: &mut State, request: &Request) -> ApiResult {
    let keys = request.texts("tagKeys");
    tags_mut(&mut state.ecs, request.required("resourceArn")?)?
        .retain(|tag| !tag["key"].as_str().is_some_and(|key| keys.contains(&key)));
    Ok(json!({}))
}

pub fn list(state: &State, request: &Request) -> ApiResult {
    Ok(json!({"tags": tags(&state.ecs, request.required("resourceArn")?)?}))
}
