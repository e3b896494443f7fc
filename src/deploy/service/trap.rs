//! Rollouts that can never move: host ports that are taken on every instance, percents that allow neither a start nor a
//! stop. They wait for ever, and the circuit breaker never trips, because placing a task is not a failed task.

use serde_json::{Value, json};

use crate::aws::Clients;
use crate::aws::reply::{list, number, optional, text};
use crate::config::Plan;
use crate::deploy::register;
use crate::error::{Error, Result};

/// Asks AWS only what is needed to tell; says nothing where ECS does not let us look.
pub async fn check(
    plan: &Plan,
    live: &Value,
    wanted: &Value,
    task_definition: &Value,
    clients: &Clients,
) -> Result<()> {
    if let Some(error) = percents(Some(live), wanted) {
        return Err(error);
    }
    let ports = fixed_ports(task_definition);
    let scales_out = [live, wanted].iter().any(|of| !list(of, "capacityProviderStrategy").is_empty());
    if ports.is_empty() || scales_out || text(live, "launchType") == "FARGATE" {
        return Ok(());
    }
    let input = json!({ "cluster": plan.cluster, "status": "ACTIVE" });
    let (instances, running) = tokio::join!(
        clients.list_container_instances(input),
        register::describe(text(live, "taskDefinition"), clients),
    );
    let (Ok(instances), Ok(Some(running))) = (instances, running) else { return Ok(()) };
    // More than one page: another may be free.
    if optional(&instances, "nextToken").is_some() {
        return Ok(());
    }
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
    let desired = desired(Some(live), wanted);
    let running = number(live, "runningCount");
    // Other strategies have all of the new tasks beside all of the old ones.
    let side_by_side = !rolls(Some(live), wanted);
    let minimum = configured(Some(live), wanted, "minimumHealthyPercent").filter(|_| !side_by_side).unwrap_or(100);
    let must_stay = (desired * minimum + 99) / 100;
    let stuck = desired > 0 && running > 0 && must_stay >= running && instances <= running;
    stuck.then_some(*port)
}

/// Why the percents let no task be started before one is stopped, and none be stopped before one is started.
pub fn percents(live: Option<&Value>, wanted: &Value) -> Option<Error> {
    let daemon = [Some(wanted), live].into_iter().flatten().any(|of| text(of, "schedulingStrategy") == "DAEMON");
    let (minimum, maximum) = if daemon { (0, 100) } else { (100, 200) };
    let minimum = configured(live, wanted, "minimumHealthyPercent").unwrap_or(minimum);
    let maximum = configured(live, wanted, "maximumPercent").unwrap_or(maximum);
    let desired = desired(live, wanted);
    let (room, must_stay) = (desired * maximum / 100, (desired * minimum + 99) / 100);
    let stuck = desired > 0 && room <= desired && must_stay >= desired;
    if !stuck || !rolls(live, wanted) || live.is_some_and(|live| number(live, "runningCount") == 0) {
        return None;
    }
    let tasks = if desired == 1 { "one task".to_owned() } else { format!("{desired} tasks") };
    let message = format!(
        "an update can never roll: of {tasks}, maximumPercent {maximum} lets none be started beside the old, and \
         minimumHealthyPercent {minimum} none of these be stopped first"
    );
    let error = Error::preflight(message)
        .hint("let new tasks start first: `deploymentConfiguration: { minimumHealthyPercent: 100, maximumPercent: 200 }` in the service document");
    Some(error.hint("or let the old ones stop first: `minimumHealthyPercent: 0, maximumPercent: 100`"))
}

/// How many tasks the service is to have.
pub fn desired(live: Option<&Value>, wanted: &Value) -> i64 {
    let of = |service: &Value| service.get("desiredCount").and_then(Value::as_i64);
    of(wanted).or_else(|| live.and_then(of)).unwrap_or(1)
}

fn configured(live: Option<&Value>, wanted: &Value, member: &str) -> Option<i64> {
    let of = |service: &Value| service["deploymentConfiguration"].get(member).and_then(Value::as_i64);
    of(wanted).or_else(|| live.and_then(of))
}

/// Whether it is the strategy that percents are for.
fn rolls(live: Option<&Value>, wanted: &Value) -> bool {
    let of = |service: &Value| optional(&service["deploymentConfiguration"], "strategy").map(str::to_owned);
    of(wanted).or_else(|| live.and_then(of)).is_none_or(|strategy| strategy == "ROLLING")
}

fn explained(port: i64, instances: i64) -> Error {
    let machines = if instances == 1 {
        "the only container instance".to_owned()
    } else {
        format!("all {instances} container instances")
    };
    Error::preflight(format!(
        "a new revision can never roll: host port {port} is taken on {machines}, and no running task may be stopped first"
    ))
    .hint("let ECS choose the port: `\"hostPort\": 0` in the task definition's port mapping")
    .hint("or let the old task stop first: `deploymentConfiguration: { minimumHealthyPercent: 0, maximumPercent: 100 }` in the service document")
    .hint("or add a second container instance to the cluster")
}
