//! Tags of clusters, services, tasks and task definitions.

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

fn tags<'s>(ecs: &'s mut EcsState, name: &str) -> Result<&'s mut Vec<Value>, ApiError> {
    let missing = || invalid("The specified resource was not found.");
    let (kind, path) = arn::parts(name).ok_or_else(|| invalid("Invalid ARN: ".to_owned() + name))?;
    let found = match kind {
        "cluster" => ecs.clusters.get_mut(path).map(|cluster| &mut cluster.tags),
        "service" => {
            let (cluster, service) = path.split_once('/').unwrap_or(("default", path));
            ecs.services.find_mut(cluster, service).map(|service| &mut service.tags)
        }
        "task" => ecs.tasks.get_mut(arn::short(path)).map(|task| &mut task.tags),
        "task-definition" => path.split_once(':').and_then(|(family, revision)| {
            let revisions = &mut ecs.families.get_mut(family)?.revisions;
            revisions.get_mut(&revision.parse().ok()?).map(|definition| &mut definition.tags)
        }),
        _ => None,
    };
    found.ok_or_else(missing)
}

pub fn tag(state: &mut State, request: &Request) -> ApiResult {
    let tags = tags(&mut state.ecs, request.required("resourceArn")?)?;
    for tag in request.list("tags") {
        if tag["key"].as_str().is_none_or(str::is_empty) {
            return Err(invalid("Tag keys cannot be empty."));
        }
        tags.retain(|old| old["key"] != tag["key"]);
        tags.push(tag.clone());
    }
    match tags.len() {
        0..=50 => Ok(json!({})),
        _ => Err(invalid("A resource cannot have more than 50 tags.")),
    }
}

pub fn untag(state: &mut State, request: &Request) -> ApiResult {
    let keys = request.texts("tagKeys");
    tags(&mut state.ecs, request.required("resourceArn")?)?
        .retain(|tag| !tag["key"].as_str().is_some_and(|key| keys.contains(&key)));
    Ok(json!({}))
}

pub fn list(state: &mut State, request: &Request) -> ApiResult {
    Ok(json!({"tags": tags(&mut state.ecs, request.required("resourceArn")?)?}))
}
