//! What ECS refuses at RegisterTaskDefinition, in its words.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{placement_rules, request::client};
use crate::lab::{Settings, api::ApiError, scheduler::launch};

type Checked = Result<(), ApiError>;
const MOST_CONTAINERS: usize = 10;
const NO_CONTAINERS: &[Value] = &[];

pub fn check(document: &Map<String, Value>, settings: &Settings) -> Checked {
    match document.get("family").and_then(Value::as_str) {
        None | Some("") => return Err(client("Family should not be null or empty.")),
        Some(family) if !is_name(family) => return Err(client("Family contains invalid characters.")),
        Some(_) => {}
    }
    let containers =
        document.get("containerDefinitions").and_then(Value::as_array).map_or(NO_CONTAINERS, Vec::as_slice);
    if containers.is_empty() {
        return Err(client("Container list cannot be empty."));
    }
    if containers.len() > MOST_CONTAINERS {
        return Err(client("Too many containers."));
    }
    let mode = text(document.get("networkMode")).unwrap_or("bridge");
    if !["bridge", "host", "awsvpc", "none"].contains(&mode) {
        return Err(client("Invalid networkMode. Expected one of: bridge, host, awsvpc, none."));
    }
    let mut names = HashSet::new();
    for container in containers {
        self::container(container, document, mode)?;
        let name = container["name"].as_str().unwrap_or_default();
        if !names.insert(name) {
            return Err(client(format!(
                "Container name must be unique in a task definition. '{name}' is used more than once."
            )));
        }
    }
    if containers.iter().all(|container| container["essential"] == false) {
        return Err(client("Task definition doesn't have any essential container."));
    }
    sizes(document)?;
    placement(document)?;
    dependencies(containers, &names)?;
    volumes(document, containers, &names)?;
    host_ports(containers, mode)?;
    if needs_fargate(document) {
        fargate(document, containers, mode, settings)?;
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.len() <= 255 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn container(container: &Value, document: &Map<String, Value>, mode: &str) -> Checked {
    let name = match text(container.get("name")) {
        None => return Err(client("Container.name should not be null or empty.")),
        Some(name) if !is_name(name) => return Err(client("Container.name contains invalid characters.")),
        Some(name) => name,
    };
    if text(container.get("image")).is_none() {
        return Err(client("Container.image should not be null or empty."));
    }
    let setting = |problem: &str| Err(client(format!("Invalid setting for container '{name}'. {problem}")));
    let (memory, reservation) = (container["memory"].as_i64(), container["memoryReservation"].as_i64());
    match (memory, reservation) {
        (None, None) if document.get("memory").is_none() => {
            return setting("At least one of 'memory' or 'memoryReservation' must be specified.");
        }
        (Some(memory), Some(reservation)) if reservation > memory => {
            return setting("The 'memory' value must be greater than or equal to the 'memoryReservation' value.");
        }
        _ => {}
    }
    if [memory, reservation].into_iter().flatten().any(|of| of < 4) {
        return setting("Memory must be at least 4 MiB.");
    }
    if let Some(check) = container.get("healthCheck") {
        let command = check["command"].as_array().map_or(&[][..], Vec::as_slice);
        let kind = command.first().and_then(Value::as_str);
        if command.is_empty() || command.len() == 1 && kind.is_some_and(|kind| kind.starts_with("CMD")) {
            return setting("The health check has no command: it is [\"CMD-SHELL\", \"…\"] or [\"CMD\", \"…\", …].");
        }
    }
    // The ranges are the documentation's, the words are inferred.
    for (pointer, what, least, most) in [
        ("/restartPolicy/restartAttemptPeriod", "restartAttemptPeriod", 60, 1800),
        ("/healthCheck/interval", "health check's interval", 5, 300),
        ("/healthCheck/timeout", "health check's timeout", 2, 60),
        ("/healthCheck/retries", "health check's retries", 1, 10),
        ("/healthCheck/startPeriod", "health check's startPeriod", 0, 300),
    ] {
        if container.pointer(pointer).and_then(Value::as_i64).is_some_and(|of| !(least..=most).contains(&of)) {
            return setting(&format!("The {what} must be between {least} and {most}."));
        }
    }
    secrets(container, document)?;
    let volumes: Vec<&Value> = document.get("volumes").and_then(Value::as_array).into_iter().flatten().collect();
    for mount in container["mountPoints"].as_array().into_iter().flatten() {
        let volume = mount["sourceVolume"].as_str().unwrap_or_default();
        if !volumes.iter().any(|of| of["name"] == volume) {
            return Err(client(format!("Unknown volume '{volume}'.")));
        }
    }
    let log = &container["logConfiguration"];
    if log["logDriver"] == "awslogs" {
        let missing: Vec<&str> = ["awslogs-region", "awslogs-group"]
            .into_iter()
            .filter(|option| text(log["options"].get(*option)).is_none())
            .collect();
        if !missing.is_empty() {
            return Err(client(format!("Log driver awslogs requires options: {}", missing.join(", "))));
        }
    }
    if mode == "none" && container["portMappings"].as_array().is_some_and(|mappings| !mappings.is_empty()) {
        return Err(client("Port mappings are not supported when networkMode=none."));
    }
    for mapping in container["portMappings"].as_array().into_iter().flatten() {
        let (container_port, host_port) = (mapping["containerPort"].as_i64(), mapping["hostPort"].as_i64());
        if [container_port, host_port].into_iter().flatten().any(|port| !(0..=65535).contains(&port)) {
            return Err(client("Port mappings must be between 0 and 65535."));
        }
        let differs = host_port.is_some_and(|host| host != 0 && Some(host) != container_port);
        if (mode == "awsvpc" || mode == "host") && differs {
            return Err(client(format!(
                "When networkMode={mode}, the host ports and container ports in port mappings must match."
            )));
        }
    }
    if mode == "awsvpc" && container["links"].as_array().is_some_and(|links| !links.is_empty()) {
        return Err(client("Links are not supported when networkMode=awsvpc."));
    }
    if mode == "awsvpc" && text(container.get("hostname")).is_some() {
        return Err(client("Hostname is not supported when networkMode=awsvpc."));
    }
    Ok(())
}

/// What is said of a name that is none is known to this point only; AWS goes on to say which characters one may have.
fn secrets(container: &Value, document: &Map<String, Value>) -> Checked {
    let mut names = HashSet::new();
    let environment = container["environment"].as_array().into_iter().flatten();
    let plain: HashSet<&str> = environment.filter_map(|variable| variable["name"].as_str()).collect();
    for secret in container["secrets"].as_array().into_iter().flatten() {
        let (name, from) = (secret["name"].as_str().unwrap_or_default(), secret["valueFrom"].as_str());
        if text(document.get("executionRoleArn")).is_none() {
            return Err(client(
                "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
            ));
        }
        if !names.insert(name) || plain.contains(name) {
            return Err(client(format!(
                "The secret name must be unique and not shared with any new or existing environment variables set on \
                 the container, such as '{name}'."
            )));
        }
        let from = from.unwrap_or_default();
        if from.starts_with("arn:") && from.split(':').nth(2) == Some("secretsmanager") {
            // the ARN alone, or with JSON key, version stage and version id
            if ![7, 10].contains(&from.split(':').count()) {
                return Err(client(
                    "An invalid ARN format for the AWS Secrets Manager secret was specified. Specify a valid ARN and \
                     try again.",
                ));
            }
            continue;
        }
        let parameter = match from.split_once(":parameter/") {
            Some((arn, name)) if arn.starts_with("arn:") && arn.split(':').nth(2) == Some("ssm") => name,
            _ => from,
        };
        if parameter.is_empty() || !parameter.chars().all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c)) {
            return Err(client(format!("The Systems Manager parameter name specified for secret {name} is invalid.")));
        }
    }
    Ok(())
}

fn volumes(document: &Map<String, Value>, containers: &[Value], names: &HashSet<&str>) -> Checked {
    for volume in document.get("volumes").and_then(Value::as_array).into_iter().flatten() {
        match volume["host"]["sourcePath"].as_str() {
            Some("") => return Err(client("host.sourcePath should not be blank.")),
            Some(_) if needs_fargate(document) => {
                return Err(client("Fargate compatible task definitions do not support sourcePath"));
            }
            _ => {}
        }
    }
    let sources = containers.iter().flat_map(|of| of["volumesFrom"].as_array().into_iter().flatten());
    let mut sources = sources.map(|from| from["sourceContainer"].as_str().unwrap_or_default());
    match sources.find(|name| !names.contains(name)) {
        Some(name) => Err(client(format!("Invalid 'volumesFrom' setting. Unknown container: '{name}'."))),
        None => Ok(()),
    }
}

fn dependencies(containers: &[Value], names: &HashSet<&str>) -> Checked {
    for container in containers {
        for dependency in container["dependsOn"].as_array().into_iter().flatten() {
            let name = dependency["containerName"].as_str().unwrap_or_default();
            if !names.contains(name) {
                return Err(client(format!(
                    "Container dependency '{name}' is not a container of this task definition."
                )));
            }
            let on = containers.iter().find(|of| of["name"] == name).unwrap_or(&Value::Null);
            match dependency["condition"].as_str() {
                Some("COMPLETE" | "SUCCESS") if on["essential"] != false => {
                    return Err(client(
                        "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
                    ));
                }
                Some("HEALTHY") if launch::health_check_command(&on["healthCheck"]).is_none() => {
                    return Err(client(format!(
                        "Container '{name}' must have a health check: another container depends on it being HEALTHY."
                    )));
                }
                Some("START" | "COMPLETE" | "SUCCESS" | "HEALTHY") => {}
                _ => {
                    return Err(client(
                        "A container dependency's condition must be START, COMPLETE, SUCCESS or HEALTHY.",
                    ));
                }
            }
        }
    }
    if super::launch_order(containers).is_none() {
        return Err(client("Container dependencies must not form a cycle."));
    }
    Ok(())
}

/// Where a task definition's tasks may be.
fn placement(document: &Map<String, Value>) -> Checked {
    for constraint in document.get("placementConstraints").and_then(Value::as_array).into_iter().flatten() {
        placement_rules::constraint(constraint).map_err(|error| client(error.message))?;
    }
    Ok(())
}

fn host_ports(containers: &[Value], mode: &str) -> Checked {
    let mut taken = HashSet::new();
    for mapping in containers.iter().flat_map(|container| container["portMappings"].as_array().into_iter().flatten()) {
        let protocol = mapping["protocol"].as_str().unwrap_or("tcp");
        let port = match mode {
            "bridge" => mapping["hostPort"].as_i64(),
            _ => mapping["containerPort"].as_i64(),
        };
        if let Some(port) = port.filter(|port| *port != 0)
            && !taken.insert((port, protocol))
        {
            return Err(client(format!("Two containers in the task definition use the same host port: {port}.")));
        }
    }
    Ok(())
}

fn needs_fargate(document: &Map<String, Value>) -> bool {
    document
        .get("requiresCompatibilities")
        .and_then(Value::as_array)
        .is_some_and(|of| of.iter().any(|of| of == "FARGATE"))
}

fn fargate(document: &Map<String, Value>, containers: &[Value], mode: &str, settings: &Settings) -> Checked {
    if mode != "awsvpc" {
        return Err(client("Fargate only supports network mode 'awsvpc'."));
    }
    let (cpu, memory) = (document.get("cpu"), document.get("memory"));
    for (member, value) in [("cpu", cpu), ("memory", memory)] {
        if text(value).is_none() {
            return Err(client(format!("Fargate requires that '{member}' be defined at the task level.")));
        }
    }
    let (cpu, memory) = (units(document, "cpu").unwrap_or(0), units(document, "memory").unwrap_or(0));
    if !is_fargate_size(cpu, memory) {
        return Err(client("No Fargate configuration exists for given values."));
    }
    let of_containers =
        |member: &str| containers.iter().filter_map(|container| container[member].as_i64()).sum::<i64>();
    if of_containers("cpu") > cpu {
        return Err(client(
            "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
        ));
    }
    if containers.iter().any(|container| container["memory"].as_i64().is_some_and(|of| of > memory)) {
        return Err(client("The 'memory' value of a container cannot be greater than the value of the task 'memory'."));
    }
    let volumes = document.get("volumes").and_then(Value::as_array).into_iter().flatten();
    if { volumes }.any(|volume| volume["host"]["sourcePath"].is_string()) {
        return Err(client("Fargate compatible task definitions do not support sourcePath"));
    }
    if document.get("placementConstraints").and_then(Value::as_array).is_some_and(|all| !all.is_empty()) {
        return Err(client("Fargate compatible task definitions do not support placementConstraints"));
    }
    if containers.iter().any(|container| container["stopTimeout"].as_i64().is_some_and(|of| !(0..=120).contains(&of))) {
        return Err(client("On Fargate a container's stopTimeout must be between 0 and 120 seconds."));
    }
    let storage = document.get("ephemeralStorage").and_then(|of| of["sizeInGiB"].as_i64());
    if storage.is_some_and(|size| !(21..=200).contains(&size)) {
        return Err(client("The ephemeral storage of a task on Fargate must be between 21 and 200 GiB."));
    }
    if containers.iter().any(|container| container["privileged"] == true) {
        return Err(client("Fargate does not support privileged containers."));
    }
    let lab = settings.address.to_string();
    let from_ecr = |image: &str| image.contains(".dkr.ecr.") || image.starts_with(&lab);
    if document.get("executionRoleArn").is_none()
        && containers.iter().any(|of| of["image"].as_str().is_some_and(from_ecr))
    {
        return Err(client("Fargate requires task definition to have execution role ARN to support ECR images."));
    }
    Ok(())
}

/// A task's own size is more than nothing and, on Fargate or not, a number with or without its unit.
fn sizes(document: &Map<String, Value>) -> Checked {
    for member in ["cpu", "memory"] {
        if text(document.get(member)).is_some() && units(document, member).is_none() {
            return Err(client(format!("Invalid '{member}' setting for task.")));
        }
    }
    Ok(())
}

/// A task's `cpu` or `memory`, such as `"256"`, `".25 vCPU"`, `"1 GB"`, in CPU units or MiB.
pub fn units(document: &Map<String, Value>, member: &str) -> Option<i64> {
    let written = text(document.get(member))?.trim().to_lowercase();
    let units = match written.strip_suffix(if member == "cpu" { "vcpu" } else { "gb" }) {
        Some(number) => (number.trim().parse::<f64>().ok()? * 1024.0) as i64,
        None => written.parse().ok()?,
    };
    (units > 0).then_some(units)
}

/// The sizes that Fargate has (CPU units and MiB).
pub fn is_fargate_size(cpu: i64, memory: i64) -> bool {
    let gib = 1024;
    let (from, to, step) = match cpu {
        256 => return [512, gib, 2 * gib].contains(&memory),
        512 => (gib, 4 * gib, gib),
        1024 => (2 * gib, 8 * gib, gib),
        2048 => (4 * gib, 16 * gib, gib),
        4096 => (8 * gib, 30 * gib, gib),
        8192 => (16 * gib, 60 * gib, 4 * gib),
        16384 => (32 * gib, 120 * gib, 8 * gib),
        _ => return false,
    };
    (from..=to).contains(&memory) && (memory - from) % step == 0
}

pub fn compatibilities(document: &Map<String, Value>) -> Vec<&'static str> {
    let mode = text(document.get("networkMode")).unwrap_or("bridge");
    match mode {
        "awsvpc" if document.contains_key("cpu") && document.contains_key("memory") => vec!["EC2", "FARGATE"],
        "awsvpc" => vec!["EC2"],
        _ => vec!["EXTERNAL", "EC2"],
    }
}
