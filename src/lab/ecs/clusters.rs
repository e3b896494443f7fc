//! Clusters, their container instances and capacity providers, and the account's settings.

use serde_json::{Map, Value, json};

use super::{
    arn,
    model::{Cluster, Instance, ServiceStatus, Task, TaskStatus},
    request::{Request, failure, invalid, put, seconds, without_nulls},
};
use crate::lab::{
    Settings,
    api::{ApiError, ApiResult, random_hex},
    ec2,
    state::State,
};

/// What a t3.medium registers.
const INSTANCE_CPU: i64 = 2048;
pub const INSTANCE_MEMORY: i64 = 3843;
/// Where Linux's ephemeral ports begin, and so ECS's dynamic host ports.
pub const FIRST_DYNAMIC_PORT: u16 = 32768;
pub const LAST_DYNAMIC_PORT: u16 = 60999;
/// What the container agent keeps for itself on an instance.
pub const AGENT_PORTS: [u16; 5] = [22, 2375, 2376, 51678, 51679];

/// Makes the `default` cluster and its instance, the first time that the lab runs.
pub fn prepare(state: &mut State, now: i64) {
    if !state.ecs.prepared {
        state.ecs.prepared = true;
        add(state, Cluster { name: "default".into(), active: true, ..Cluster::default() }, now);
    }
}

fn add(state: &mut State, cluster: Cluster, now: i64) {
    if !state.ecs.instances.values().any(|instance| instance.cluster == cluster.name) {
        let instance = Instance {
            id: random_hex(32),
            cluster: cluster.name.clone(),
            ec2_instance_id: ec2::new_instance(state),
            cpu: INSTANCE_CPU,
            memory: INSTANCE_MEMORY,
            registered_at: now,
            next_port: FIRST_DYNAMIC_PORT,
        };
        state.ecs.instances.insert(instance.id.clone(), instance);
    }
    state.ecs.clusters.insert(cluster.name.clone(), cluster);
}

pub fn create(state: &mut State, request: &Request) -> ApiResult {
    let name = request.text("clusterName").unwrap_or("default");
    let valid = name.len() <= 255 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !valid {
        return Err(invalid(
            "Cluster name is not valid. It may hold up to 255 letters, numbers, underscores and hyphens.",
        ));
    }
    if !state.ecs.clusters.get(name).is_some_and(|cluster| cluster.active) {
        let mut settings = without_nulls(request.input).as_object().cloned().unwrap_or_default();
        settings.retain(|member, _| member != "clusterName" && member != "tags");
        let cluster = Cluster { name: name.into(), active: true, tags: request.list("tags").to_vec(), settings };
        add(state, cluster, request.now);
    }
    Ok(json!({"cluster": view(state, request.settings, &state.ecs.clusters[name], &["SETTINGS", "TAGS"])}))
}

pub fn describe(state: &State, request: &Request) -> ApiResult {
    let mut names = request.texts("clusters");
    if names.is_empty() {
        names.push("default");
    }
    let include = request.texts("include");
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match state.ecs.clusters.get(arn::short(name)) {
            Some(cluster) => clusters.push(view(state, request.settings, cluster, &include)),
            None => failures.push(failure(arn::cluster(request.settings, arn::short(name)), "MISSING")),
        }
    }
    Ok(json!({"clusters": clusters, "failures": failures}))
}

pub fn list(state: &State, request: &Request) -> ApiResult {
    let active = state.ecs.clusters.values().filter(|cluster| cluster.active);
    request.page("clusterArns", active.map(|cluster| json!(arn::cluster(request.settings, &cluster.name))).collect())
}

pub fn delete(state: &mut State, request: &Request) -> ApiResult {
    let name = request.cluster(state)?.name.clone();
    let error = |code: &str, message: &str| Err(ApiError::new(code, message));
    if state.ecs.services.iter().any(|service| service.cluster == name && service.status != ServiceStatus::Inactive) {
        return error("ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active.");
    }
    if state.ecs.tasks.values().any(|task| task.cluster == name && !task.is_stopped()) {
        return error("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.");
    }
    // The lab made the instances, so they go with their cluster.
    state.ecs.instances.retain(|_, instance| instance.cluster != name);
    if let Some(cluster) = state.ecs.clusters.get_mut(&name) {
        cluster.active = false;
    }
    Ok(json!({"cluster": view(state, request.settings, &state.ecs.clusters[&name], &[])}))
}

pub fn view(state: &State, settings: &Settings, cluster: &Cluster, include: &[&str]) -> Value {
    let tasks = || state.ecs.tasks.values().filter(|task| task.cluster == cluster.name);
    let services = state.ecs.services.iter();
    let mut reply = Map::new();
    reply.insert("clusterArn".into(), json!(arn::cluster(settings, &cluster.name)));
    reply.insert("clusterName".into(), json!(cluster.name));
    reply.insert("status".into(), json!(if cluster.active { "ACTIVE" } else { "INACTIVE" }));
    let instances = state.ecs.instances.values().filter(|instance| instance.cluster == cluster.name).count();
    reply.insert("registeredContainerInstancesCount".into(), json!(instances));
    reply.insert("runningTasksCount".into(), json!(tasks().filter(|task| is_running(task)).count()));
    reply.insert("pendingTasksCount".into(), json!(tasks().filter(|task| is_pending(task)).count()));
    let active =
        services.filter(|service| service.cluster == cluster.name && service.status != ServiceStatus::Inactive);
    reply.insert("activeServicesCount".into(), json!(active.count()));
    reply.insert("statistics".into(), json!([]));
    reply.insert("tags".into(), json!(if include.contains(&"TAGS") { &cluster.tags[..] } else { &[] }));
    let off = json!([{"name": "containerInsights", "value": "disabled"}]);
    let shown = if include.contains(&"SETTINGS") {
        cluster.settings.get("settings").unwrap_or(&off).clone()
    } else {
        json!([])
    };
    reply.insert("settings".into(), shown);
    for member in ["capacityProviders", "defaultCapacityProviderStrategy"] {
        reply.insert(member.into(), cluster.settings.get(member).cloned().unwrap_or_else(|| json!([])));
    }
    for member in ["configuration", "serviceConnectDefaults"] {
        put(&mut reply, member, cluster.settings.get(member).cloned());
    }
    Value::Object(reply)
}

fn is_running(task: &Task) -> bool {
    task.status == TaskStatus::Running
}

fn is_pending(task: &Task) -> bool {
    task.status < TaskStatus::Running
}

pub fn list_instances(state: &State, request: &Request) -> ApiResult {
    let cluster = &request.cluster(state)?.name;
    let status = request.text("status").unwrap_or("ACTIVE");
    let instances = state.ecs.instances.values().filter(|instance| instance.cluster == *cluster && status == "ACTIVE");
    let arns = instances.map(|instance| json!(arn::instance(request.settings, cluster, &instance.id)));
    request.page("containerInstanceArns", arns.collect())
}

pub fn describe_instances(state: &State, request: &Request) -> ApiResult {
    let cluster = &request.cluster(state)?.name;
    let asked = request.texts("containerInstances");
    if asked.is_empty() {
        return Err(invalid("Container instance cannot be empty."));
    }
    let (mut instances, mut failures) = (Vec::new(), Vec::new());
    for name in asked {
        match state.ecs.instances.get(arn::short(name)).filter(|instance| instance.cluster == *cluster) {
            Some(instance) => instances.push(instance_view(state, request.settings, instance)),
            None => failures.push(failure(arn::instance(request.settings, cluster, arn::short(name)), "MISSING")),
        }
    }
    Ok(json!({"containerInstances": instances, "failures": failures}))
}

pub fn instance_view(state: &State, settings: &Settings, instance: &Instance) -> Value {
    let tasks: Vec<&Task> = state.ecs.tasks.on_instance(&instance.id).collect();
    let used = |of: fn(&Task) -> i64| tasks.iter().map(|task| of(task)).sum::<i64>();
    let number = |name: &str, value: i64| json!({"name": name, "type": "INTEGER", "doubleValue": 0.0, "longValue": 0, "integerValue": value});
    let ports = |taken: Vec<String>| json!({"name": "PORTS", "type": "STRINGSET", "doubleValue": 0.0, "longValue": 0, "integerValue": 0, "stringSetValue": taken});
    let reserved: Vec<String> = AGENT_PORTS.iter().map(u16::to_string).collect();
    let bound = tasks.iter().flat_map(|task| &task.containers).flat_map(|container| &container.bindings);
    let taken = reserved.iter().cloned().chain(bound.map(|binding| binding.host_port.to_string())).collect();
    let attribute = |name: &str, value: &str| json!({"name": name, "value": value});
    json!({
        "containerInstanceArn": arn::instance(settings, &instance.cluster, &instance.id),
        "ec2InstanceId": instance.ec2_instance_id,
        "version": 1,
        "versionInfo": {"agentVersion": "1.91.0", "dockerVersion": "DockerVersion: 25.0.6"},
        "remainingResources": [
            number("CPU", instance.cpu - used(|task| task.cpu)),
            number("MEMORY", instance.memory - used(|task| task.memory)),
            ports(taken),
        ],
        "registeredResources": [number("CPU", instance.cpu), number("MEMORY", instance.memory), ports(reserved)],
        "status": "ACTIVE",
        "agentConnected": true,
        "runningTasksCount": tasks.iter().filter(|task| is_running(task)).count(),
        "pendingTasksCount": tasks.iter().filter(|task| is_pending(task)).count(),
        "attributes": [
            attribute("ecs.instance-type", "t3.medium"),
            attribute("ecs.os-type", "linux"),
            attribute("ecs.cpu-architecture", if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }),
            attribute("ecs.availability-zone", &format!("{}a", settings.region)),
        ],
        "registeredAt": seconds(instance.registered_at),
        "attachments": [],
        "tags": [],
    })
}

pub fn capacity_providers(_: &State, request: &Request) -> ApiResult {
    let asked = request.texts("capacityProviders");
    let all = ["FARGATE", "FARGATE_SPOT"];
    let name = |provider: &str| {
        format!("arn:aws:ecs:{}:{}:capacity-provider/{provider}", request.settings.region, request.settings.account_id)
    };
    let view = |provider: &&str| json!({"capacityProviderArn": name(provider), "name": provider, "status": "ACTIVE", "tags": []});
    let known = |provider: &str| all.contains(&arn::short(provider));
    let providers: Vec<Value> = all
        .iter()
        .filter(|provider| asked.is_empty() || asked.iter().any(|a| arn::short(a) == **provider))
        .map(view)
        .collect();
    let missing: Vec<Value> =
        asked.iter().filter(|a| !known(a)).map(|a| failure(name(arn::short(a)), "MISSING")).collect();
    Ok(json!({"capacityProviders": providers, "failures": missing}))
}

pub fn account_settings(_: &State, request: &Request) -> ApiResult {
    let settings = [
        ("serviceLongArnFormat", "enabled"),
        ("taskLongArnFormat", "enabled"),
        ("containerInstanceLongArnFormat", "enabled"),
        ("awsvpcTrunking", "disabled"),
        ("containerInsights", "disabled"),
        ("tagResourceAuthorization", "on"),
    ];
    let principal = format!("arn:aws:iam::{}:root", request.settings.account_id);
    let wanted = settings.iter().filter(|(name, _)| request.text("name").is_none_or(|asked| asked == *name));
    let view =
        wanted.map(|(name, value)| json!({"name": name, "value": value, "principalArn": principal, "type": "user"}));
    request.page("settings", view.collect())
}
