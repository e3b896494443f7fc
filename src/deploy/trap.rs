//! The trap of fixed host ports: with one task an instance and none that may be stopped first, a rollout waits for
//! ever, and the circuit breaker never trips, because placing a task is not a failed task.

use serde_json::{Value, json};

use super::register;
use crate::aws::Clients;
use crate::aws::reply::{list, number, text};
use crate::config::Plan;
use crate::error::{Error, Result};

/// Asks AWS only what is needed to tell; says nothing where ECS does not let us look.
pub async fn check(
    plan: &Plan,
    live: &Value,
    wanted: &Value,
    task_definition: &Value,
    clients: &Clients,
) -> Result<()> {
    let ports = fixed_ports(task_definition);
    let scales_out = !list(live, "capacityProviderStrategy").is_empty();
    if ports.is_empty() || scales_out || text(live, "launchType") == "FARGATE" {
        return Ok(());
    }
    let input = json!({ "cluster": plan.cluster, "status": "ACTIVE" });
    let (instances, running) = tokio::join!(
        clients.list_container_instances(input),
        register::describe(text(live, "taskDefinition"), clients),
    );
    let (Ok(instances), Ok(Some(running))) = (instances, running) else { return Ok(()) };
    let instances = list(&instances, "containerInstanceArns").len() as i64;
    match deadlock(live, wanted, &ports, &fixed_ports(&running["taskDefinition"]), instances) {
        Some(port) => Err(explained(port, instances)),
        None => Ok(()),
    }
}

/// Host ports that a task takes for itself.
pub fn fixed_ports(task_definition: &Value) -> Vec<i64> {
    let mode = text(task_definition, "networkMode");
    if mode == "awsvpc" || mode == "none" {
        return Vec::new();
    }
    let mappings = list(task_definition, "containerDefinitions").iter().flat_map(|one| list(one, "portMappings"));
    mappings
        .map(|mapping| match number(mapping, "hostPort") {
            0 if mode == "host" => number(mapping, "containerPort"),
            port => port,
        })
        .filter(|port| *port != 0)
        .collect()
}

/// The host port that can never become free: old and new tasks both take it, every instance holds one, and the
/// minimum healthy percentage lets none be stopped first.
pub fn deadlock(live: &Value, wanted: &Value, new: &[i64], old: &[i64], instances: i64) -> Option<i64> {
    let port = new.iter().find(|port| old.contains(port))?;
    if text(live, "schedulingStrategy") == "DAEMON" {
        return None;
    }
    let desired = wanted.get("desiredCount").and_then(Value::as_i64).unwrap_or(number(live, "desiredCount"));
    let running = number(live, "runningCount");
    let configured =
        |service: &Value| service.pointer("/deploymentConfiguration/minimumHealthyPercent").and_then(Value::as_i64);
    let minimum = configured(wanted).or(configured(live)).unwrap_or(100);
    let must_stay = (desired * minimum + 99) / 100;
    let stuck = desired > 0 && running > 0 && must_stay >= running && instances <= running;
    stuck.then_some(*port)
}

fn explained(port: i64, instances: i64) -> Error {
    let machines = if instances == 1 {
        "the only container instance".to_owned()
    } else {
        format!("all {instances} container instances")
    };
    Error::preflight(format!(
        "this update can never roll: host port {port} is taken on {machines}, and no running task may be stopped first"
    ))
    .hint("let ECS choose the port: `\"hostPort\": 0` in the task definition's port mapping")
    .hint("or let the old task stop first: `deploymentConfiguration: { minimumHealthyPercent: 0, maximumPercent: 100 }` in the service document")
    .hint("or add a second container instance to the cluster")
}
