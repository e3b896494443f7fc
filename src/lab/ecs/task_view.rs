//! Tasks as DescribeTasks answers them.

use serde_json::{Map, Value, json};

use super::{
    arn,
    model::{Container, Task, TaskStatus},
    request::{put, seconds},
};
use crate::lab::Settings;

pub fn view(settings: &Settings, task: &Task, tags: bool) -> Value {
    let mut reply = Map::new();
    reply.insert("attachments".into(), attachments(task));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    reply.insert("attributes".into(), json!([{"name": "ecs.cpu-architecture", "value": architecture}]));
    reply.insert("availabilityZone".into(), json!(format!("{}a", settings.region)));
    put(&mut reply, "capacityProviderName", task.capacity_provider.as_ref().map(|name| json!(name)));
    reply.insert("clusterArn".into(), json!(arn::cluster(settings, &task.cluster)));
    if let Some(connected) = task.pull_started_at {
        reply.insert("connectivity".into(), json!("CONNECTED"));
        reply.insert("connectivityAt".into(), seconds(connected));
    }
    let instance = task.instance.as_ref().map(|id| json!(arn::instance(settings, &task.cluster, id)));
    put(&mut reply, "containerInstanceArn", instance);
    reply.insert("containers".into(), task.containers.iter().map(|of| container(settings, task, of)).collect());
    reply.insert("cpu".into(), json!(task.cpu.to_string()));
    reply.insert("createdAt".into(), seconds(task.created_at));
    reply.insert("desiredStatus".into(), json!(if task.stop { "STOPPED" } else { "RUNNING" }));
    reply.insert("enableExecuteCommand".into(), json!(task.execute_command));
    put(&mut reply, "executionStoppedAt", task.execution_stopped_at.map(seconds));
    reply.insert("group".into(), json!(task.group));
    reply.insert("healthStatus".into(), json!(health(task)));
    reply.insert("lastStatus".into(), json!(task.status.name()));
    reply.insert("launchType".into(), json!(task.launch_type));
    reply.insert("memory".into(), json!(task.memory.to_string()));
    let mut overrides = task.overrides.as_object().cloned().unwrap_or_default();
    overrides
        .entry("containerOverrides")
        .or_insert_with(|| task.containers.iter().map(|container| json!({"name": container.name})).collect());
    overrides.entry("inferenceAcceleratorOverrides").or_insert_with(|| json!([]));
    reply.insert("overrides".into(), json!(overrides));
    if task.launch_type == "FARGATE" {
        reply.insert("platformVersion".into(), json!(task.platform_version.as_deref().unwrap_or("1.4.0")));
        reply.insert("platformFamily".into(), json!("Linux"));
        reply.insert("ephemeralStorage".into(), json!({"sizeInGiB": 20}));
    }
    put(&mut reply, "pullStartedAt", task.pull_started_at.map(seconds));
    put(&mut reply, "pullStoppedAt", task.pull_stopped_at.map(seconds));
    put(&mut reply, "startedAt", task.started_at.map(seconds));
    put(&mut reply, "startedBy", task.started_by.as_ref().map(|by| json!(by)));
    put(&mut reply, "stopCode", task.stop_code.as_ref().map(|code| json!(code)));
    put(&mut reply, "stoppedAt", task.stopped_at.map(seconds));
    put(&mut reply, "stoppedReason", task.stopped_reason.as_ref().map(|reason| json!(reason)));
    put(&mut reply, "stoppingAt", task.stopping_at.map(seconds));
    reply.insert("tags".into(), if tags { json!(task.tags) } else { json!([]) });
    reply.insert("taskArn".into(), json!(arn::task(settings, &task.cluster, &task.id)));
    reply.insert("taskDefinitionArn".into(), json!(task.task_definition));
    reply.insert("version".into(), json!(task.version));
    Value::Object(reply)
}

/// HEALTHY when all essential containers with a check are, UNHEALTHY when one is.
pub fn health(task: &Task) -> &'static str {
    let mut checked = task.containers.iter().filter(|container| container.checked && container.essential).peekable();
    if checked.peek().is_none() {
        return "UNKNOWN";
    }
    let states: Vec<Option<bool>> = checked.map(|container| container.healthy).collect();
    match states {
        states if states.contains(&Some(false)) => "UNHEALTHY",
        states if states.contains(&None) => "UNKNOWN",
        _ => "HEALTHY",
    }
}

fn attachments(task: &Task) -> Value {
    let Some(interface) = &task.interface else { return json!([]) };
    let detail = |name: &str, value: &str| json!({"name": name, "value": value});
    let status = match task.status {
        TaskStatus::Provisioning => "PRECREATED",
        TaskStatus::Pending => "ATTACHING",
        TaskStatus::Deprovisioning => "DETACHING",
        TaskStatus::Stopped => "DELETED",
        _ => "ATTACHED",
    };
    json!([{
        "id": interface.attachment_id,
        "type": "ElasticNetworkInterface",
        "status": status,
        "details": [
            detail("subnetId", &interface.subnet),
            detail("networkInterfaceId", &interface.id),
            detail("macAddress", &interface.mac),
            detail("privateDnsName", &format!("ip-{}.ec2.internal", interface.address.replace('.', "-"))),
            detail("privateIPv4Address", &interface.address),
        ],
    }])
}

fn container(settings: &Settings, task: &Task, of: &Container) -> Value {
    let mut reply = Map::new();
    reply.insert("containerArn".into(), json!(arn::container(settings, &task.cluster, &task.id, &of.id)));
    reply.insert("taskArn".into(), json!(arn::task(settings, &task.cluster, &task.id)));
    reply.insert("name".into(), json!(of.name));
    reply.insert("image".into(), json!(of.image));
    put(&mut reply, "imageDigest", of.image_digest.as_ref().map(|digest| json!(digest)));
    let up = task.pull_stopped_at.is_some();
    put(&mut reply, "runtimeId", up.then(|| json!(of.runtime_id)));
    let status = match task.status {
        TaskStatus::Stopped | TaskStatus::Deprovisioning => "STOPPED",
        _ if of.exited => "STOPPED",
        _ if up => "RUNNING",
        _ => "PENDING",
    };
    reply.insert("lastStatus".into(), json!(status));
    put(&mut reply, "exitCode", of.exit_code.map(|code| json!(code)));
    put(&mut reply, "reason", of.reason.as_ref().map(|reason| json!(reason)));
    let bindings = of.bindings.iter().map(|binding| {
        json!({
            "bindIP": "0.0.0.0",
            "containerPort": binding.container_port,
            "hostPort": binding.host_port,
            "protocol": if binding.udp { "udp" } else { "tcp" },
        })
    });
    let bound = up && task.interface.is_none() && status == "RUNNING";
    reply.insert("networkBindings".into(), if bound { bindings.collect() } else { json!([]) });
    let interfaces = task
        .interface
        .iter()
        .map(|interface| json!({"attachmentId": interface.attachment_id, "privateIpv4Address": interface.address}));
    reply.insert("networkInterfaces".into(), interfaces.collect());
    let health = match (of.checked, of.healthy) {
        (true, Some(true)) => "HEALTHY",
        (true, Some(false)) => "UNHEALTHY",
        _ => "UNKNOWN",
    };
    reply.insert("healthStatus".into(), json!(health));
    reply.insert("cpu".into(), json!(of.cpu.to_string()));
    put(&mut reply, "memory", of.memory.map(|memory| json!(memory.to_string())));
    put(&mut reply, "memoryReservation", of.memory_reservation.map(|memory| json!(memory.to_string())));
    Value::Object(reply)
}
