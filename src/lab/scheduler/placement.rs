//! Where a task goes: a container instance with room and free ports, or Fargate, which has always room.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use crate::lab::{
    Settings,
    api::random_hex,
    ecs::{
        capacity,
        instances::{AGENT_PORTS, FIRST_DYNAMIC_PORT, LAST_DYNAMIC_PORT},
        model::{Binding, Container, EcsState, Instance, Interface, Task, TaskDefinition},
        request::uuid,
    },
    state::State,
};

use super::{choose::choose, launch, shortage};

/// A task to be placed.
pub struct Wanted<'a> {
    pub cluster: &'a str,
    pub definition: &'a TaskDefinition,
    pub launch_type: &'a str,
    /// The capacity provider that a strategy chose.
    pub provider: Option<&'a str>,
    /// The container instance that it must be.
    pub on: Option<&'a str>,
    /// Of the service or of RunTask: networkConfiguration, platformVersion, enableExecuteCommand, ….
    pub settings: &'a Map<String, Value>,
    pub group: String,
    pub started_by: Option<String>,
    pub overrides: Option<Value>,
    pub tags: Vec<Value>,
}

/// What a task takes of its instance.
pub(super) struct Need {
    pub cpu: i64,
    pub memory: i64,
    /// Host ports, and whether they are UDP's.
    pub ports: Vec<(u16, bool)>,
}

/// Why no instance takes a task; with the instance that came nearest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    NoInstances,
    Cpu(String),
    Memory(String),
    Ports(String),
    /// A placement constraint, in ECS's words.
    Constraint(String, &'static str),
    /// The subnet has no address left.
    Addresses,
    /// Of Fargate's.
    Capacity,
}

const NO_CAPACITY: &str =
    "Capacity is unavailable at this time. Please try again later or in a different availability zone";

impl Misfit {
    pub fn instance(&self) -> Option<&str> {
        match self {
            Misfit::NoInstances | Misfit::Addresses | Misfit::Capacity => None,
            Misfit::Cpu(id) | Misfit::Memory(id) | Misfit::Ports(id) | Misfit::Constraint(id, _) => Some(id),
        }
    }

    /// As RunTask's failures say it.
    pub fn resource(&self) -> &'static str {
        match self {
            Misfit::NoInstances => "EMPTY CAPACITY",
            Misfit::Cpu(_) => "RESOURCE:CPU",
            Misfit::Memory(_) => "RESOURCE:MEMORY",
            Misfit::Ports(_) => "RESOURCE:PORTS",
            Misfit::Constraint(_, why) => why,
            Misfit::Addresses => "RESOURCE:ENI",
            Misfit::Capacity => NO_CAPACITY,
        }
    }

    /// As a service's event says it.
    pub fn sentence(&self) -> String {
        let none = |why: &str| {
            format!("was unable to place a task because no container instance met all of its requirements. {why}")
        };
        let closest = |id: &str, what: &str| none(&format!("The closest matching (container-instance {id}) {what}"));
        match self {
            Misfit::NoInstances => none("Reason: No Container Instances were found in your cluster."),
            Misfit::Cpu(id) => closest(id, "has insufficient CPU units available."),
            Misfit::Memory(id) => closest(id, "has insufficient memory available."),
            Misfit::Ports(id) => closest(id, "is already using a port required by your task."),
            Misfit::Capacity => format!("was unable to place a task. Reason: {NO_CAPACITY}."),
            Misfit::Constraint(id, why) => closest(id, &format!("encountered error \"{why}\".")),
            Misfit::Addresses => {
                "was unable to place a task. Reason: The specified subnet does not have enough free addresses to \
                 satisfy the request."
                    .into()
            }
        }
    }
}

/// Puts a new task in PROVISIONING; its id.
pub fn place(state: &mut State, settings: &Settings, now: i64, wanted: Wanted) -> Result<String, Misfit> {
    let (cpu, memory) = wanted.definition.reserves(wanted.overrides.as_ref());
    let mode = wanted.definition.network_mode();
    if let Some(misfit) = shortage::refusal(state, &wanted) {
        return Err(misfit);
    }
    let instance = match wanted.launch_type {
        "FARGATE" => None,
        _ => Some(instance_for(state, settings, now, &wanted)?),
    };
    let interface = if mode == "awsvpc" { Some(interface(state, &wanted)?) } else { None };
    let mut taken = instance.as_ref().map(|id| bound(&state.ecs, id)).unwrap_or_default();
    let mut containers = Vec::new();
    for definition in wanted.definition.containers() {
        let instance = instance.as_ref().and_then(|id| state.ecs.instances.get_mut(id));
        containers.push(container(definition, mode, instance, &mut taken));
    }
    let flag = |member: &str| wanted.settings.get(member) == Some(&json!(true));
    let mut tags = wanted.tags;
    if flag("enableECSManagedTags") {
        tags.push(json!({"key": "aws:ecs:clusterName", "value": wanted.cluster}));
        if let Some(service) = wanted.group.strip_prefix("service:") {
            tags.push(json!({"key": "aws:ecs:serviceName", "value": service}));
        }
    }
    let platform =
        wanted.settings.get("platformVersion").and_then(Value::as_str).filter(|version| *version != "LATEST");
    let task = Task {
        id: random_hex(32),
        cluster: wanted.cluster.into(),
        task_definition: wanted.definition.arn().into(),
        group: wanted.group,
        started_by: wanted.started_by,
        launch_type: wanted.launch_type.into(),
        platform_version: platform.map(str::to_owned),
        capacity_provider: wanted.provider.map(str::to_owned),
        instance,
        network_mode: mode.into(),
        interface,
        cpu,
        memory,
        overrides: wanted.overrides.unwrap_or_else(|| json!({})),
        tags,
        execute_command: flag("enableExecuteCommand"),
        containers,
        since: now,
        version: 1,
        created_at: now,
        ..Task::default()
    };
    let id = task.id.clone();
    state.ecs.tasks.insert(id.clone(), task);
    Ok(id)
}

/// Its instance; a capacity provider that grows may add one for it.
fn instance_for(state: &mut State, settings: &Settings, now: i64, wanted: &Wanted) -> Result<String, Misfit> {
    let (cpu, memory) = wanted.definition.reserves(wanted.overrides.as_ref());
    let need = Need { cpu, memory, ports: static_ports(wanted.definition) };
    let chosen = choose(state, &settings.region, wanted, &need);
    let (Err(misfit), Some(provider)) = (&chosen, wanted.provider) else { return chosen };
    let misfit = misfit.clone();
    let new = capacity::scale_out(state, wanted.cluster, provider, now).ok_or(misfit)?;
    choose(state, &settings.region, wanted, &need).inspect_err(|_| {
        // One more of its kind is no help.
        state.ecs.instances.remove(&new);
    })
}

fn ports(definition: &Value) -> impl Iterator<Item = (u16, u16, bool)> + '_ {
    definition["portMappings"].as_array().into_iter().flatten().map(|mapping| {
        let port = |member: &str| mapping[member].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        (port("containerPort"), port("hostPort"), mapping["protocol"] == "udp")
    })
}

/// The host ports that a task insists on.
fn static_ports(definition: &TaskDefinition) -> Vec<(u16, bool)> {
    let all = definition.containers().iter().flat_map(ports);
    match definition.network_mode() {
        "bridge" => all.filter(|(_, host, _)| *host != 0).map(|(_, host, udp)| (host, udp)).collect(),
        "host" => all.map(|(container, _, udp)| (container, udp)).collect(),
        _ => Vec::new(),
    }
}

/// Host ports of an instance in use: until its task is STOPPED.
pub(super) fn bound(ecs: &EcsState, instance: &str) -> Vec<(u16, bool)> {
    let bindings =
        ecs.tasks.on_instance(instance).filter(|task| task.interface.is_none()).flat_map(|task| &task.containers);
    let used = bindings.flat_map(|container| &container.bindings).map(|binding| (binding.host_port, binding.udp));
    used.chain(AGENT_PORTS.iter().map(|port| (*port, false))).collect()
}

fn container(
    definition: &Value,
    mode: &str,
    mut instance: Option<&mut Instance>,
    taken: &mut Vec<(u16, bool)>,
) -> Container {
    let text = |member: &str| definition[member].as_str().unwrap_or_default().to_owned();
    let mut bindings = Vec::new();
    for (container_port, host_port, udp) in ports(definition) {
        let host_port = match (mode, host_port, instance.as_deref_mut()) {
            ("none", _, _) => continue,
            ("bridge", 0, Some(instance)) => dynamic_port(instance, taken, udp),
            ("bridge", host_port, _) => host_port,
            _ => container_port,
        };
        taken.push((host_port, udp));
        bindings.push(Binding { container_port, host_port, udp });
    }
    Container {
        id: uuid(),
        name: text("name"),
        image: text("image"),
        runtime_id: random_hex(64),
        cpu: definition["cpu"].as_i64().unwrap_or(0),
        memory: definition["memory"].as_i64(),
        memory_reservation: definition["memoryReservation"].as_i64(),
        essential: definition["essential"] != false,
        checked: launch::health_check_command(&definition["healthCheck"]).is_some(),
        bindings,
        ..Container::default()
    }
}

/// The next free one in turn, so that a port that just became free is not taken at once.
fn dynamic_port(instance: &mut Instance, taken: &[(u16, bool)], udp: bool) -> u16 {
    let range = LAST_DYNAMIC_PORT - FIRST_DYNAMIC_PORT + 1;
    for _ in 0..range {
        let port = instance.next_port.clamp(FIRST_DYNAMIC_PORT, LAST_DYNAMIC_PORT);
        instance.next_port = if port == LAST_DYNAMIC_PORT { FIRST_DYNAMIC_PORT } else { port + 1 };
        if !taken.contains(&(port, udp)) {
            return port;
        }
    }
    FIRST_DYNAMIC_PORT
}

/// What a /20 has for interfaces: the first four addresses and the last one are AWS's own.
const ADDRESSES: u32 = 4091;

fn interface(state: &mut State, wanted: &Wanted) -> Result<Interface, Misfit> {
    let network = wanted.settings.get("networkConfiguration").map(|network| &network["awsvpcConfiguration"]);
    let subnets = network.and_then(|network| network["subnets"].as_array()).map_or(&[][..], Vec::as_slice);
    let subnets: Vec<&str> = subnets.iter().filter_map(Value::as_str).collect();
    let subnets = if subnets.is_empty() { vec![""] } else { subnets };
    let count = subnets.len() as u32;
    let first = state.ecs.addresses;
    let (at, subnet, address) = (0..ADDRESSES * count)
        .map(|further| {
            // One subnet after the other in turn, and in each the address after the last.
            let at = first.wrapping_add(further);
            let subnet = subnets[(at % count) as usize];
            let of = state.ec2.subnets.iter().find(|of| of.id == subnet);
            let network = of.map_or(Ipv4Addr::new(10, 0, 0, 0), |subnet| subnet.network);
            (at, subnet, Ipv4Addr::from(u32::from(network) + 4 + at / count % ADDRESSES))
        })
        .find(|(_, _, address)| {
            let by_instance = state.ec2.instances.iter().any(|instance| instance.private_ip == *address);
            !by_instance && state.ecs.tasks.at_address(&address.to_string()).is_none()
        })
        .ok_or(Misfit::Addresses)?;
    state.ecs.addresses = at.wrapping_add(1);
    let hex = random_hex(10);
    let mac: Vec<&str> = (0..5).map(|byte| &hex[2 * byte..2 * byte + 2]).collect();
    Ok(Interface {
        attachment_id: uuid(),
        id: format!("eni-{}", random_hex(17)),
        subnet: subnet.into(),
        mac: format!("0a:{}", mac.join(":")),
        address: address.to_string(),
    })
}
