//! RunTask's input: the task definition, what differs from it, and where the service's tasks run. Pure: table-tested.

use serde_json::{Map, Value, json};

use crate::aws::reply::{list, optional, text};
use crate::config::TaskPlan;
use crate::deploy::service::decide;
use crate::error::{Error, Result, nearest};

/// The container that is meant: the one that is named, else `likely`, the only one, or the only essential one.
pub fn container(named: Option<&str>, likely: Option<&str>, task_definition: &Value) -> Result<String> {
    let all = list(task_definition, "containerDefinitions");
    let names: Vec<&str> = all.iter().map(|one| text(one, "name")).collect();
    if let Some(named) = named {
        if names.contains(&named) {
            return Ok(named.to_owned());
        }
        let hint = match nearest(named, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("there is {}", names.join(", ")),
        };
        return Err(Error::input(format!("the task definition has no container `{named}`")).hint(hint));
    }
    if let Some(likely) = likely.filter(|likely| names.contains(likely)) {
        return Ok(likely.to_owned());
    }
    if let [only] = names[..] {
        return Ok(only.to_owned());
    }
    let essential = all.iter().filter(|one| one.get("essential").and_then(Value::as_bool) != Some(false));
    match essential.collect::<Vec<_>>()[..] {
        [only] => Ok(text(only, "name").to_owned()),
        _ => Err(Error::input(format!("the task definition has {} containers: which one?", names.len())).hint(
            format!("name one of {}: --container, or `container:` of the task in steady.yaml", names.join(", ")),
        )),
    }
}

/// The members of RunTask that say where and how the tasks of a service run. `wanted` are members that the service will
/// have, over those of the `live` one.
pub fn placement(plan: &TaskPlan, wanted: &Value, live: &Value, task_definition: &Value) -> Map<String, Value> {
    let of_service = |member: &str| match wanted.get(member).filter(|value| !is_nothing(value)) {
        Some(value) => Some(value.clone()),
        None => Some(decide::live_member(live, member)).filter(|value| !is_nothing(value)).cloned(),
    };
    let mut members = Map::new();
    let mut put = |member: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(member.to_owned(), value);
        }
    };
    let (mut launch_type, mut strategy) = (None, None);
    match (&plan.capacity_provider, &plan.launch_type) {
        (Some(provider), _) => strategy = Some(json!([{ "capacityProvider": provider }])),
        (None, Some(given)) => launch_type = Some(json!(given)),
        // What is wanted of one has no word of the other in the live service.
        (None, None) => {
            let wants_type = wanted.get("launchType").is_some_and(|value| !is_nothing(value));
            let wants_strategy = wanted.get("capacityProviderStrategy").is_some_and(|value| !is_nothing(value));
            strategy = of_service("capacityProviderStrategy").filter(|_| wants_strategy || !wants_type);
            launch_type = of_service("launchType").filter(|_| strategy.is_none());
            // A task of no service: what it was made for.
            if launch_type.is_none() && strategy.is_none() && is_for_fargate(task_definition) {
                launch_type = Some(json!("FARGATE"));
            }
        }
    }
    let providers = strategy.as_ref().and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = providers.map(|item| text(item, "capacityProvider")).collect();
    let fargate =
        launch_type == Some(json!("FARGATE")) || names.iter().any(|name| matches!(*name, "FARGATE" | "FARGATE_SPOT"));
    put("launchType", launch_type);
    put("capacityProviderStrategy", strategy);
    if fargate {
        put("platformVersion", of_service("platformVersion"));
    } else {
        put("placementConstraints", of_service("placementConstraints"));
        put("placementStrategy", of_service("placementStrategy"));
    }
    if text(task_definition, "networkMode") == "awsvpc" {
        put("networkConfiguration", of_service("networkConfiguration"));
    }
    put("enableECSManagedTags", of_service("enableECSManagedTags").filter(|value| *value == true));
    members
}

/// The members of `overrides`; `None` when nothing differs.
pub fn overrides(plan: &TaskPlan, container: &str, task_definition: &Value) -> Option<Value> {
    let mut overrides = Map::new();
    let mut own = Map::new();
    if let Some(command) = &plan.command {
        own.insert("command".into(), json!(command));
    }
    if !plan.environment.is_empty() {
        let pairs = plan.environment.iter().map(|(name, value)| json!({ "name": name, "value": value }));
        own.insert("environment".into(), pairs.collect());
    }
    let containers = list(task_definition, "containerDefinitions");
    let limits = containers.iter().find(|one| text(one, "name") == container).unwrap_or(&Value::Null);
    for (member, size) in [("cpu", plan.cpu), ("memory", plan.memory)] {
        let Some(size) = size else { continue };
        // A task that has a size gets another; the only container's own limit must not stay below it.
        let of_task = optional(task_definition, member).is_some();
        if of_task {
            overrides.insert(member.into(), json!(size.to_string()));
        }
        let limited = limits.get(member).and_then(Value::as_i64).is_some_and(|limit| limit > 0);
        if !of_task || (limited && containers.len() == 1) {
            own.insert(member.into(), json!(size));
        }
    }
    if !own.is_empty() {
        own.insert("name".into(), json!(container));
        overrides.insert("containerOverrides".into(), json!([own]));
    }
    (!overrides.is_empty()).then_some(Value::Object(overrides))
}

pub fn is_for_fargate(task_definition: &Value) -> bool {
    matches!(list(task_definition, "requiresCompatibilities"), [only] if only == "FARGATE")
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}
