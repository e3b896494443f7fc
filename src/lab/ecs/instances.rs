//! Container instances: registered, described, drained, deregistered.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    arn,
    expression::{self, Subject},
    model::{Instance, InstanceStatus, Task, TaskStatus},
    request::{Request, failure, invalid, put, seconds},
    tasks,
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
const INSTANCE_TYPE: &str = "t3.medium";
const AGENT_VERSION: &str = "1.91.0";
/// Where Linux's ephemeral ports begin, and so ECS's dynamic host ports.
pub const FIRST_DYNAMIC_PORT: u16 = 32768;
pub const LAST_DYNAMIC_PORT: u16 = 60999;
/// What the container agent keeps for itself on an instance.
pub const AGENT_PORTS: [u16; 5] = [22, 2375, 2376, 51678, 51679];

/// A cluster's instances that were not deregistered.
pub fn of<'s>(state: &'s State, cluster: &'s str) -> impl Iterator<Item = &'s Instance> {
    let all = state.ecs.instances.values();
    all.filter(move |instance| instance.cluster == cluster && instance.status != InstanceStatus::Inactive)
}

pub fn active<'s>(state: &'s State, cluster: &'s str) -> impl Iterator<Item = &'s Instance> {
    of(state, cluster).filter(|instance| instance.status == InstanceStatus::Active)
}

/// A new instance of the lab's own kind; its id.
pub fn add(state: &mut State, cluster: &str, capacity_provider: Option<&str>, now: i64) -> String {
    let instance = Instance {
        id: random_hex(32),
        cluster: cluster.to_owned(),
        ec2_instance_id: ec2::new_instance(state),
        cpu: INSTANCE_CPU,
        memory: INSTANCE_MEMORY,
        registered_at: now,
        next_port: FIRST_DYNAMIC_PORT,
        capacity_provider: capacity_provider.map(str::to_owned),
        ..Instance::default()
    };
    let id = instance.id.clone();
    state.ecs.instances.insert(id.clone(), instance);
    id
}

/// An instance's attributes: those that ECS gives it, and those that were put over them.
pub fn attributes(state: &State, region: &str, instance: &Instance) -> BTreeMap<String, Option<String>> {
    let subnet = ec2::subnet_of_instance(state, &instance.ec2_instance_id);
    let ami = state.ec2.instances.iter().find(|of| of.id == instance.ec2_instance_id);
    let given = [
        ("ecs.ami-id", ami.map(|of| of.image_id.clone())),
        ("ecs.availability-zone", Some(format!("{region}{}", subnet.map_or('a', |subnet| subnet.zone)))),
        ("ecs.cpu-architecture", Some(if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }.to_owned())),
        ("ecs.instance-type", Some(INSTANCE_TYPE.to_owned())),
        ("ecs.os-family", Some("LINUX".to_owned())),
        ("ecs.os-type", Some("linux".to_owned())),
        ("ecs.subnet-id", subnet.map(|subnet| subnet.id.clone())),
        ("ecs.vpc-id", Some(state.ec2.vpc_id.clone())),
    ];
    let mut all: BTreeMap<_, _> = given.map(|(name, value)| (name.to_owned(), value)).into();
    all.extend(instance.attributes.clone());
    all
}

pub fn subject<'s>(state: &'s State, region: &str, instance: &'s Instance) -> Subject<'s> {
    let tasks = || state.ecs.tasks.on_instance(&instance.id);
    Subject {
        attributes: attributes(state, region, instance),
        ec2_instance_id: &instance.ec2_instance_id,
        agent_version: AGENT_VERSION,
        registered_at: instance.registered_at,
        running_tasks: tasks().filter(|task| task.status == TaskStatus::Running).count() as i64,
        task_groups: tasks().filter(|task| !task.stop).map(|task| task.group.as_str()).collect(),
    }
}

pub fn list(state: &State, request: &Request) -> ApiResult {
    let cluster = &request.cluster(state)?.name;
    let status = request.text("status");
    let filter = match request.text("filter") {
        None => None,
        Some(text) => {
            let expression = expression::parse(text).ok_or_else(|| invalid(format!("Invalid filter: {text}")))?;
            Some(expression)
        }
    };
    let listed = of(state, cluster).filter(|instance| {
        status.is_none_or(|status| instance.status.name() == status)
            && filter.as_ref().is_none_or(|filter| filter.holds(&subject(state, &request.settings.region, instance)))
    });
    let arns = listed.map(|instance| json!(arn::instance(request.settings, cluster, &instance.id)));
    request.page("containerInstanceArns", arns.collect())
}

pub fn describe(state: &State, request: &Request) -> ApiResult {
    let cluster = &request.cluster(state)?.name;
    let asked = request.texts("containerInstances");
    match asked.len() {
        0 => return Err(invalid("Container instance cannot be empty.")),
        1..=100 => {}
        _ => return Err(invalid("Container instances cannot have more than 100 elements.")),
    }
    let (mut instances, mut failures) = (Vec::new(), Vec::new());
    for name in asked {
        match state.ecs.instances.get(arn::short(name)).filter(|instance| instance.cluster == *cluster) {
            Some(instance) => instances.push(view(state, request.settings, instance, request.includes("TAGS"))),
            None => failures.push(failure(arn::instance(request.settings, cluster, arn::short(name)), "MISSING")),
        }
    }
    Ok(json!({"containerInstances": instances, "failures": failures}))
}

fn find<'s>(state: &'s State, request: &Request, name: &str) -> Result<&'s Instance, ApiError> {
    let cluster = &request.cluster(state)?.name;
    let found = state.ecs.instances.get(arn::short(name));
    found
        .filter(|instance| instance.cluster == *cluster && instance.status != InstanceStatus::Inactive)
        .ok_or_else(|| invalid("The referenced container instance was not found."))
}

/// What the container agent does on its instance. In the lab anybody may: it is how a cluster gets further instances.
pub fn register(state: &mut State, request: &Request) -> ApiResult {
    let cluster = request.cluster(state)?.name.clone();
    let document: Value = match request.text("instanceIdentityDocument") {
        None => Value::Null,
        Some(text) => serde_json::from_str(text).map_err(|_| invalid("The instance identity document is invalid."))?,
    };
    let resources = request.list("totalResources");
    let total = |name: &str, default: i64| {
        let named = resources.iter().find(|resource| resource["name"] == name);
        named.and_then(|resource| resource["integerValue"].as_i64()).unwrap_or(default)
    };
    let (cpu, memory) = (total("CPU", INSTANCE_CPU), total("MEMORY", INSTANCE_MEMORY));
    if cpu <= 0 || memory <= 0 {
        return Err(invalid("An instance must register more than no CPU and memory."));
    }
    let put = attributes_of(request)?;
    let known = request.text("containerInstanceArn").map(arn::short).map(str::to_owned);
    let id = match known {
        Some(id) => find(state, request, &id)?.id.clone(),
        None => {
            let id = add(state, &cluster, None, request.now);
            if let Some(ec2_id) = document["instanceId"].as_str().filter(|ec2_id| ec2::has_instance(state, ec2_id)) {
                let ec2_id = ec2_id.to_owned();
                if state
                    .ecs
                    .instances
                    .values()
                    .any(|of| of.ec2_instance_id == ec2_id && of.status != InstanceStatus::Inactive)
                {
                    state.ecs.instances.remove(&id);
                    return Err(invalid(format!("The EC2 instance {ec2_id} is a container instance already.")));
                }
                if let Some(of) = state.ecs.instances.get_mut(&id) {
                    of.ec2_instance_id = ec2_id;
                }
            }
            id
        }
    };
    if let Some(instance) = state.ecs.instances.get_mut(&id) {
        (instance.cpu, instance.memory, instance.registered) = (cpu, memory, true);
        instance.attributes.extend(put);
        instance.tags.extend(request.list("tags").iter().cloned());
        instance.changes += 1;
    }
    touch(state, &cluster);
    Ok(json!({"containerInstance": view(state, request.settings, &state.ecs.instances[&id], true)}))
}

/// `attributes` of a request, by name.
pub fn attributes_of(request: &Request) -> Result<Vec<(String, Option<String>)>, ApiError> {
    let is_word = |text: &str, more: &str| {
        let mut all = text.chars();
        text.len() <= 128 && all.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c) || more.contains(c))
    };
    let pair = |attribute: &Value| {
        let (name, value) = (attribute["name"].as_str().unwrap_or_default(), attribute["value"].as_str());
        if name.is_empty() || !is_word(name, "/\\") || value.is_some_and(|value| !is_word(value, "/\\:@ ")) {
            return Err(invalid(format!(
                "The attribute {name} is invalid: names and values have up to 128 letters, numbers, hyphens, underscores, dots and slashes."
            )));
        }
        Ok((name.to_owned(), value.map(str::to_owned)))
    };
    request.list("attributes").iter().map(pair).collect()
}

pub fn deregister(state: &mut State, request: &Request) -> ApiResult {
    let instance = find(state, request, request.required("containerInstance")?)?;
    let (id, cluster) = (instance.id.clone(), instance.cluster.clone());
    let running: Vec<String> = state.ecs.tasks.on_instance(&id).map(|task| task.id.clone()).collect();
    if !running.is_empty() && !request.flag("force") {
        return Err(invalid("Found running tasks on the instance."));
    }
    // At AWS the agent goes on without ECS; the lab lets nothing run that it does not know.
    for task in running {
        if let Some(task) = state.ecs.tasks.get_mut(&task) {
            tasks::halt(task, "TerminationNotice", "The container instance was deregistered by force.");
        }
    }
    if let Some(instance) = state.ecs.instances.get_mut(&id) {
        instance.status = InstanceStatus::Inactive;
        instance.changes += 1;
    }
    touch(state, &cluster);
    Ok(json!({"containerInstance": view(state, request.settings, &state.ecs.instances[&id], true)}))
}

pub fn update_state(state: &mut State, request: &Request) -> ApiResult {
    let cluster = request.cluster(state)?.name.clone();
    let asked = request.texts("containerInstances");
    if asked.is_empty() || asked.len() > 10 {
        return Err(invalid("The number of container instances must be between 1 and 10."));
    }
    let status = match request.required("status")? {
        "ACTIVE" => InstanceStatus::Active,
        "DRAINING" => InstanceStatus::Draining,
        other => return Err(invalid(format!("The status of a container instance cannot be set to {other}."))),
    };
    let (mut changed, mut failures) = (Vec::new(), Vec::new());
    for name in asked {
        let id = arn::short(name);
        let known = state.ecs.instances.get_mut(id).filter(|instance| instance.cluster == cluster);
        let problem = match known {
            None => "MISSING",
            Some(instance) if instance.status == InstanceStatus::Inactive => "INACTIVE",
            Some(instance) => {
                instance.status = status;
                instance.changes += 1;
                changed.push(id);
                continue;
            }
        };
        failures.push(failure(arn::instance(request.settings, &cluster, id), problem));
    }
    touch(state, &cluster);
    let views = changed.iter().map(|id| view(state, request.settings, &state.ecs.instances[*id], true));
    Ok(json!({"containerInstances": views.collect::<Vec<_>>(), "failures": failures}))
}

/// Where its tasks can be depends on its cluster's instances.
pub fn touch(state: &mut State, cluster: &str) {
    let here = state.ecs.services.iter().filter(|service| service.cluster == cluster);
    let names: Vec<String> = here.map(|service| service.name.clone()).collect();
    names.iter().for_each(|name| state.ecs.services.touch(cluster, name));
}

pub fn view(state: &State, settings: &Settings, instance: &Instance, tags: bool) -> Value {
    let tasks: Vec<&Task> = state.ecs.tasks.on_instance(&instance.id).collect();
    let used = |of: fn(&Task) -> i64| tasks.iter().map(|task| of(task)).sum::<i64>();
    let number = |name: &str, value: i64| json!({"name": name, "type": "INTEGER", "doubleValue": 0.0, "longValue": 0, "integerValue": value});
    let ports = |taken: Vec<String>| json!({"name": "PORTS", "type": "STRINGSET", "doubleValue": 0.0, "longValue": 0, "integerValue": 0, "stringSetValue": taken});
    let reserved: Vec<String> = AGENT_PORTS.iter().map(u16::to_string).collect();
    let bound = tasks.iter().filter(|task| task.interface.is_none()).flat_map(|task| &task.containers);
    let bound = bound.flat_map(|container| &container.bindings);
    let taken = reserved.iter().cloned().chain(bound.map(|binding| binding.host_port.to_string())).collect();
    let attributes = attributes(state, &settings.region, instance).into_iter().map(|(name, value)| {
        let mut attribute = Map::from_iter([("name".to_owned(), json!(name))]);
        put(&mut attribute, "value", value.map(Value::from));
        Value::Object(attribute)
    });
    let mut reply = json!({
        "containerInstanceArn": arn::instance(settings, &instance.cluster, &instance.id),
        "ec2InstanceId": instance.ec2_instance_id,
        "version": 1 + instance.changes,
        "versionInfo": {"agentVersion": AGENT_VERSION, "dockerVersion": "DockerVersion: 25.0.6"},
        "remainingResources": [
            number("CPU", instance.cpu - used(|task| task.cpu)),
            number("MEMORY", instance.memory - used(|task| task.memory)),
            ports(taken),
        ],
        "registeredResources": [number("CPU", instance.cpu), number("MEMORY", instance.memory), ports(reserved)],
        "status": instance.status.name(),
        "agentConnected": instance.status != InstanceStatus::Inactive,
        "runningTasksCount": tasks.iter().filter(|task| task.status == TaskStatus::Running).count(),
        "pendingTasksCount": tasks.iter().filter(|task| task.status < TaskStatus::Running).count(),
        "attributes": attributes.collect::<Vec<_>>(),
        "registeredAt": seconds(instance.registered_at),
        "attachments": [],
        "tags": if tags { &instance.tags[..] } else { &[] },
    });
    if let Some(provider) = &instance.capacity_provider {
        reply["capacityProviderName"] = json!(provider);
    }
    reply
}
