//! Whether a release can roll at all, and has somewhere to go: percents, host ports, container instances.

use serde_json::{Value, json};

use super::Purpose;
use super::checked::Checked;
use super::cluster::{self, Capacity};
use crate::aws::Clients;
use crate::aws::reply::{list, number, optional, text, texts};
use crate::config::Plan;
use crate::deploy::service::trap;
use crate::error::Error;

/// DescribeContainerInstances takes so many.
const INSTANCES: usize = 100;

/// What the arithmetic is about.
pub struct Service<'a> {
    pub live: Option<&'a Value>,
    /// Members of CreateService and UpdateService.
    pub wanted: &'a Value,
    pub task_definition: &'a Value,
    pub cluster: Option<&'a Value>,
}

pub async fn check(plan: &Plan, service: &Service<'_>, purpose: Purpose, clients: &Clients) -> Checked {
    let mut checked = Checked::new("capacity");
    let Service { live, wanted, task_definition, cluster } = *service;
    if let Some(cluster) = cluster {
        cluster::providers(wanted, cluster).into_iter().for_each(|error| checked.find(error));
    }
    match live {
        Some(live) => {
            if let Err(error) = trap::check(plan, live, wanted, task_definition, clients).await {
                stuck(error, purpose, &mut checked);
            }
        }
        None => {
            if let Some(error) = trap::percents(None, wanted) {
                stuck(error, purpose, &mut checked);
            }
        }
    }
    let desired = trap::desired(live, wanted);
    if desired > 0 {
        let plural = if desired == 1 { "" } else { "s" };
        checked.looked_at(&format!("{desired} task{plural}"));
    }
    if cluster::capacity(live, wanted, cluster) == Capacity::Instances && cluster.is_some() {
        instances(plan, service, desired, purpose, clients, &mut checked).await;
    }
    checked
}

/// Whether there is anything to roll only a build tells: what would change nothing is not stopped. The service step
/// looks again, and stops it then.
fn stuck(error: Error, purpose: Purpose, checked: &mut Checked) {
    match purpose {
        Purpose::Verify => checked.find(error),
        Purpose::Deploy | Purpose::Trial => checked.warn(error.to_string(), error.hints_joined()),
    }
}

async fn instances(
    plan: &Plan,
    service: &Service<'_>,
    desired: i64,
    purpose: Purpose,
    clients: &Clients,
    checked: &mut Checked,
) {
    let listed = clients.list_container_instances(json!({ "cluster": plan.cluster, "status": "ACTIVE" })).await;
    let (arns, are_all) = match listed {
        Ok(reply) => (texts(&reply, "containerInstanceArns"), optional(&reply, "nextToken").is_none()),
        Err(failure) => return checked.unread("what tasks can be placed on", &failure),
    };
    let count = arns.len() as i64;
    if count == 0 {
        if desired > 0 {
            let message = format!("the cluster `{}` has no container instance to place a task on", plan.cluster);
            let hint = "start one and have it join the cluster, or run on Fargate: `launch_type: FARGATE`";
            checked.warn(message, Some(hint.to_owned()));
        }
        return;
    }
    let more = if are_all { "" } else { " and more" };
    checked.looked_at(&format!("{count} container instance{}{more}", if count == 1 { "" } else { "s" }));
    if let Some(why) = one_each(service).filter(|_| desired > count && are_all) {
        let takes = match count {
            1 => "the only container instance takes one".to_owned(),
            count => format!("{count} container instances take one each"),
        };
        let error = Error::preflight(format!("{desired} tasks are wanted, and {takes}: {why}"));
        let error =
            error.hint(format!("add container instances to the cluster, or want fewer: `desired_count: {count}`"));
        let error = match trap::fixed_ports(service.task_definition).is_empty() {
            true => {
                error.hint("or have them placed with `spread` in `placementStrategy`, which is a wish and no condition")
            }
            false => error.hint("or let ECS choose the host port: `\"hostPort\": 0` in the port mapping"),
        };
        // An instance may be away for a while, and the others go on.
        stuck(error, purpose, checked);
    }
    let some: Vec<&String> = arns.iter().take(INSTANCES).collect();
    let input = json!({ "cluster": plan.cluster, "containerInstances": some });
    let described = match clients.describe_container_instances(input).await {
        Ok(reply) => reply,
        Err(failure) => return checked.unread("whether a container instance is large enough", &failure),
    };
    for (resource, unit, needs) in needs(service.task_definition) {
        let has = list(&described, "containerInstances").iter().map(|instance| registered(instance, resource));
        // Of more instances than were looked at, another may be larger.
        if let Some(most) = has.max().filter(|most| needs > *most && arns.len() <= INSTANCES && are_all) {
            checked.warn(
                format!(
                    "no container instance is large enough: a task needs {needs} {unit}, and the largest has {most}"
                ),
                Some(format!("lower the task's {}, or add a larger instance", resource.to_lowercase())),
            );
        }
    }
}

/// Why no two tasks of the service can be on one instance.
fn one_each(service: &Service) -> Option<String> {
    let ports = trap::fixed_ports(service.task_definition);
    if let Some(port) = ports.first() {
        return Some(format!("host port {port} is fixed"));
    }
    let of = |value: &&Value| value.get("placementConstraints").is_some();
    let constraints = Some(service.wanted).filter(of).or(service.live.filter(of));
    let constraints = constraints.map_or(&[][..], |of| list(of, "placementConstraints"));
    let distinct = constraints.iter().any(|constraint| text(constraint, "type") == "distinctInstance");
    distinct.then(|| "they are placed with distinctInstance".to_owned())
}

fn registered(instance: &Value, resource: &str) -> i64 {
    let found = list(instance, "registeredResources").iter().find(|one| text(one, "name") == resource);
    found.map_or(0, |one| number(one, "integerValue"))
}

/// What one task takes of an instance: what the task says, else its containers together.
pub fn needs(task_definition: &Value) -> [(&'static str, &'static str, i64); 2] {
    let containers = || list(task_definition, "containerDefinitions").iter();
    let cpu = optional(task_definition, "cpu").and_then(|text| amount(text, &[("vcpu", 1024.0)]));
    let memory = optional(task_definition, "memory").and_then(|text| amount(text, &[("gb", 1024.0), ("mb", 1.0)]));
    let reserved = |container: &Value| match number(container, "memoryReservation") {
        0 => number(container, "memory"),
        reserved => reserved,
    };
    [
        ("CPU", "CPU units", cpu.unwrap_or_else(|| containers().map(|one| number(one, "cpu")).sum())),
        ("MEMORY", "MiB", memory.unwrap_or_else(|| containers().map(reserved).sum())),
    ]
}

/// `1024`, `.5 vCPU`, `2 GB`.
fn amount(text: &str, units: &[(&str, f64)]) -> Option<i64> {
    let text = text.trim().to_lowercase();
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim().to_owned(), *factor)))
        .unwrap_or((text, 1.0));
    number.parse::<f64>().ok().map(|number| (number * factor).ceil() as i64)
}
