//! Capacity providers, and the strategies by which tasks are divided among them.

use serde_json::{Map, Value, json};

use super::{
    instances,
    model::{CapacityProvider, Cluster, Task},
    request::{Request, client, failure, invalid},
};
use crate::lab::{
    Settings,
    api::{ApiError, ApiResult},
    state::State,
};

pub const FARGATE: [&str; 2] = ["FARGATE", "FARGATE_SPOT"];
/// What the lab's Auto Scaling groups grow to.
const LARGEST_GROUP: usize = 10;

pub fn arn(settings: &Settings, name: &str) -> String {
    format!("arn:aws:ecs:{}:{}:capacity-provider/{name}", settings.region, settings.account_id)
}

fn view(settings: &Settings, provider: &CapacityProvider, tags: bool) -> Value {
    json!({
        "capacityProviderArn": arn(settings, &provider.name),
        "name": provider.name,
        "status": "ACTIVE",
        "autoScalingGroupProvider": provider.group,
        "tags": if tags { &provider.tags[..] } else { &[] },
        "type": "EC2_AUTOSCALING",
    })
}

pub fn create(state: &mut State, request: &Request) -> ApiResult {
    let name = request.text("name").ok_or_else(|| client("The name of a capacity provider cannot be empty."))?;
    let lower = name.to_lowercase();
    let is_name = name.len() <= 255 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if !is_name || ["aws", "ecs", "fargate"].iter().any(|reserved| lower.starts_with(reserved)) {
        return Err(client(
            "The specified capacity provider name is invalid. Up to 255 characters are allowed: letters, numbers, \
             underscores and hyphens. It cannot be prefixed with \"aws\", \"ecs\" or \"fargate\".",
        ));
    }
    if request.input.get("managedInstancesProvider").is_some() {
        return Err(ApiError::new(
            "UnsupportedFeatureException",
            "The lab has no Managed Instances: give the capacity provider an autoScalingGroupProvider.",
        ));
    }
    let group = request.input.get("autoScalingGroupProvider").and_then(Value::as_object);
    let group = group.ok_or_else(|| client("An autoScalingGroupProvider must be specified."))?;
    if state.ecs.capacity_providers.contains_key(name) {
        return Err(client(
            "The specified capacity provider already exists. To change the configuration of an existing capacity \
             provider, update the capacity provider.",
        ));
    }
    let mut kept = group.clone();
    let scaling = kept.entry("managedScaling").or_insert_with(|| json!({"status": "DISABLED"}));
    fill_in(scaling);
    kept.entry("managedTerminationProtection").or_insert(json!("DISABLED"));
    kept.entry("managedDraining").or_insert(json!("ENABLED"));
    check_scaling(&kept)?;
    let provider = CapacityProvider { name: name.into(), group: kept, tags: request.list("tags").to_vec() };
    let reply = json!({"capacityProvider": view(request.settings, &provider, true)});
    state.ecs.capacity_providers.insert(name.into(), provider);
    Ok(reply)
}

fn fill_in(scaling: &mut Value) {
    let defaults = [
        ("status", json!("DISABLED")),
        ("targetCapacity", json!(100)),
        ("minimumScalingStepSize", json!(1)),
        ("maximumScalingStepSize", json!(10000)),
        ("instanceWarmupPeriod", json!(300)),
    ];
    for (member, value) in defaults {
        if scaling[member].is_null() {
            scaling[member] = value;
        }
    }
}

fn check_scaling(group: &Map<String, Value>) -> Result<(), ApiError> {
    if group["managedTerminationProtection"] == "ENABLED" && group["managedScaling"]["status"] != "ENABLED" {
        return Err(client(
            "The managed termination protection setting for the capacity provider is invalid. To enable managed \
             termination protection for a capacity provider, managed scaling must be enabled.",
        ));
    }
    Ok(())
}

fn not_found() -> ApiError {
    client("The specified capacity provider was not found. Specify a valid capacity provider and try again.")
}

/// The name that a name or ARN means.
fn short(name: &str) -> &str {
    super::arn::short(name)
}

pub fn update(state: &mut State, request: &Request) -> ApiResult {
    let name = short(request.required("name")?);
    if FARGATE.contains(&name) {
        return Err(client("The specified capacity provider is reserved and cannot be updated."));
    }
    let changes = request.input.get("autoScalingGroupProvider").and_then(Value::as_object).cloned();
    let changes = changes.ok_or_else(|| client("An autoScalingGroupProvider must be specified."))?;
    let provider = state.ecs.capacity_providers.get_mut(name).ok_or_else(not_found)?;
    let mut group = provider.group.clone();
    for (member, value) in changes {
        match (member.as_str(), value.as_object()) {
            ("managedScaling", Some(scaling)) => {
                for (member, value) in scaling {
                    group["managedScaling"][member] = value.clone();
                }
            }
            ("managedTerminationProtection" | "managedDraining", _) => drop(group.insert(member, value)),
            _ => {}
        }
    }
    check_scaling(&group)?;
    provider.group = group;
    Ok(json!({"capacityProvider": view(request.settings, provider, true)}))
}

pub fn delete(state: &mut State, request: &Request) -> ApiResult {
    let name = short(request.required("capacityProvider")?).to_owned();
    if FARGATE.contains(&name.as_str()) {
        return Err(client("The specified capacity provider is reserved and cannot be deleted."));
    }
    let provider = state.ecs.capacity_providers.get(&name).ok_or_else(not_found)?;
    let mut reply = view(request.settings, provider, true);
    if state.ecs.clusters.values().any(|cluster| cluster.active && providers(cluster).contains(&name.as_str())) {
        return Err(client("The specified capacity provider is in use and cannot be removed."));
    }
    reply["updateStatus"] = json!("DELETE_IN_PROGRESS");
    state.ecs.capacity_providers.remove(&name);
    Ok(json!({"capacityProvider": reply}))
}

pub fn describe(state: &State, request: &Request) -> ApiResult {
    let asked = request.texts("capacityProviders");
    let tags = request.includes("TAGS");
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| short(asked) == name);
    let fargate = FARGATE.iter().filter(|name| wanted(name)).map(|name| {
        json!({"capacityProviderArn": arn(request.settings, name), "name": name, "status": "ACTIVE", "tags": [], "type": name})
    });
    let own = state.ecs.capacity_providers.values().filter(|provider| wanted(&provider.name));
    let all = fargate.chain(own.map(|provider| view(request.settings, provider, tags))).collect();
    let missing = asked.iter().filter(|asked| !is_known(state, short(asked)));
    let failures: Vec<Value> = missing.map(|asked| failure(arn(request.settings, short(asked)), "MISSING")).collect();
    let mut reply = request.page_of("capacityProviders", all, 10, 10)?;
    reply["failures"] = json!(failures);
    Ok(reply)
}

fn is_known(state: &State, name: &str) -> bool {
    FARGATE.contains(&name) || state.ecs.capacity_providers.contains_key(name)
}

/// The providers that a cluster is associated with.
pub fn providers(cluster: &Cluster) -> Vec<&str> {
    let all = cluster.settings.get("capacityProviders").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// `capacityProviders` and `defaultCapacityProviderStrategy` of CreateCluster and PutClusterCapacityProviders.
pub fn check_associations(state: &State, named: &[&str], strategy: &[Value]) -> Result<(), ApiError> {
    for name in named {
        if !is_known(state, short(name)) {
            return Err(invalid(
                "The specified capacity provider was not found. Specify a valid capacity provider and try again.",
            ));
        }
    }
    let named: Vec<&str> = named.iter().map(|name| short(name)).collect();
    check_strategy(strategy, &named)
}

/// A strategy that names providers of its cluster, of one kind.
pub fn check_strategy(strategy: &[Value], associated: &[&str]) -> Result<(), ApiError> {
    if strategy.len() > 20 {
        return Err(invalid("A capacity provider strategy can contain a maximum of 20 capacity providers."));
    }
    let names: Vec<&str> =
        strategy.iter().map(|item| short(item["capacityProvider"].as_str().unwrap_or_default())).collect();
    if names.iter().any(|name| !associated.contains(name)) {
        return Err(invalid(
            "The specified capacity provider strategy contains a capacity provider that is not associated with the \
             cluster. Associate the capacity provider with the cluster and try again.",
        ));
    }
    if names.iter().enumerate().any(|(at, name)| names[..at].contains(name)) {
        return Err(invalid("The specified capacity provider strategy contains a capacity provider more than once."));
    }
    let fargate = names.iter().filter(|name| FARGATE.contains(*name)).count();
    if fargate > 0 && fargate < names.len() {
        return Err(invalid(
            "A capacity provider strategy cannot contain a mix of capacity providers using Auto Scaling groups and \
             Fargate providers. Specify one or the other and try again.",
        ));
    }
    let number = |item: &Value, member: &str| item[member].as_i64().unwrap_or(0);
    if strategy.iter().filter(|item| number(item, "base") > 0).count() > 1 {
        return Err(invalid("Only one capacity provider in a capacity provider strategy can have a base defined."));
    }
    Ok(())
}

/// The strategy of a service or of RunTask: its own, or its cluster's where it names no launch type either.
pub fn strategy_for(cluster: &Cluster, settings: &Map<String, Value>) -> Result<Option<Vec<Value>>, ApiError> {
    let list =
        |of: &Map<String, Value>, member: &str| of.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
    let own = list(settings, "capacityProviderStrategy");
    let default = list(&cluster.settings, "defaultCapacityProviderStrategy");
    let (strategy, of) = match (own.is_empty(), settings.contains_key("launchType") || default.is_empty()) {
        (false, _) => (own, "specified"),
        (true, false) => (default, "default"),
        (true, true) => return Ok(None),
    };
    check_strategy(&strategy, &providers(cluster))?;
    // What names no weight has one of 1 when no other names one, as the CLI's own examples do.
    let weightless = |item: &Value| item.get("weight").is_some_and(|weight| weight == 0);
    if strategy.iter().all(weightless) {
        return Err(invalid(match of {
            "default" => {
                "There are no capacity providers with a weight value greater than zero defined in the default capacity \
                 provider strategy. At least one capacity provider must have a weight value greater than zero \
                 specified. Update the cluster's default capacity provider strategy or specify a valid capacity \
                 provider strategy and try again."
            }
            _ => {
                "The specified capacity provider strategy does not contain any capacity providers with a weight value \
                 greater than zero. Specify a capacity provider with a weight value greater than zero and try again."
            }
        }));
    }
    Ok(Some(strategy))
}

/// The provider that the next task goes to: bases first, then whoever is furthest behind its weight. `taken` are the
/// tasks that the strategy has divided already.
pub fn next_provider<'s, 't>(strategy: &'s [Value], taken: impl Iterator<Item = &'t Task> + Clone) -> Option<&'s str> {
    let number = |item: &Value, member: &str| item[member].as_i64();
    let name = |item: &'s Value| short(item["capacityProvider"].as_str().unwrap_or_default());
    let count =
        |name: &str| taken.clone().filter(|task| task.capacity_provider.as_deref() == Some(name)).count() as i64;
    let below_base = strategy.iter().find(|item| count(name(item)) < number(item, "base").unwrap_or(0));
    if let Some(item) = below_base {
        return Some(name(item));
    }
    let weighted = strategy.iter().filter_map(|item| {
        let weight = number(item, "weight").unwrap_or(1);
        let beyond = count(name(item)) - number(item, "base").unwrap_or(0);
        (weight > 0).then(|| (name(item), beyond as f64 / weight as f64, weight))
    });
    // Of equals the heavier one.
    let least = weighted.min_by(|one, other| one.1.total_cmp(&other.1).then(other.2.cmp(&one.2)));
    least.map(|(name, ..)| name)
}

/// The first instance of a provider's Auto Scaling group, when a cluster is associated with it.
pub fn associate(state: &mut State, cluster: &str, now: i64) {
    let names: Vec<String> = match state.ecs.clusters.get(cluster) {
        Some(cluster) => providers(cluster).into_iter().map(str::to_owned).collect(),
        None => return,
    };
    for name in names.iter().filter(|name| !FARGATE.contains(&name.as_str())) {
        if !instances::of(state, cluster).any(|of| of.capacity_provider.as_ref() == Some(name)) {
            instances::add(state, cluster, Some(name), now);
        }
    }
}

/// Has a provider's group grow by an instance, when its scaling is managed. `None` when it is as large as it can be.
pub fn scale_out(state: &mut State, cluster: &str, provider: &str, now: i64) -> Option<String> {
    let of = state.ecs.capacity_providers.get(provider)?;
    let managed = of.group.get("managedScaling").is_some_and(|scaling| scaling["status"] == "ENABLED");
    let count = instances::of(state, cluster).filter(|of| of.capacity_provider.as_deref() == Some(provider)).count();
    if !managed || count >= LARGEST_GROUP {
        return None;
    }
    let id = instances::add(state, cluster, Some(provider), now);
    // Daemons follow.
    instances::touch(state, cluster);
    Some(id)
}
