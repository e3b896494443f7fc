//! What a service is attached to: its network, its load balancer, its service discovery. Looked at before anything is
//! touched, and put in place beside the registration.

pub mod discovery;
pub mod network;

use serde_json::Value;

use super::event::{Events, Step};
use super::render::Rendered;
use super::{load_balancer, service};
use crate::aws::Clients;
use crate::aws::reply::text;
use crate::config::{LoadBalancerType, NetworkPlan, Plan, Selector};
use crate::error::{Error, Result};

/// `None` leaves the user's document as it is.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    pub network: Option<Value>,
    pub load_balancers: Option<Value>,
    pub registries: Option<Value>,
}

/// The surroundings as a deploy would find them, with stand-ins for what it would create.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    pub surroundings: Surroundings,
    pub creates: Vec<String>,
}

/// Looks and changes nothing; all that would end a deploy later is told together.
pub async fn look(plan: &Plan, rendered: &Rendered, clients: &Clients, events: &Events) -> Result<Looked, Vec<Error>> {
    let task_definition = &rendered.task_definition;
    let default =
        NetworkPlan { subnets: Selector::Default, security_groups: Selector::Default, assign_public_ip: None };
    let awsvpc = text(task_definition, "networkMode") == "awsvpc";
    let named = match &plan.network {
        Some(network) if awsvpc => Some(network),
        Some(_) => {
            events.warn("`network:` is left out: the task definition's network mode is not awsvpc", None);
            None
        }
        None if awsvpc && rendered.service.get("networkConfiguration").is_none() => Some(&default),
        None => None,
    };
    let network = async {
        let Some(network) = named else { return Ok(None) };
        let fargate = service::launch_type(plan, rendered) == Some("FARGATE");
        network::configuration(network, fargate, clients).await.map(Some)
    };
    let balancer = async {
        let Some(balancer) = &plan.load_balancer else { return Ok(None) };
        load_balancer::look(plan, balancer, task_definition, clients).await.map(|looked| Some((balancer, looked)))
    };
    let registries = async {
        let Some(discovery) = &plan.service_discovery else { return Ok(None) };
        discovery::look(plan, discovery, task_definition, clients).await.map(Some)
    };
    let (network, balancer, registries) = tokio::join!(network, balancer, registries);
    let mut looked = Looked::default();
    let mut findings = Vec::new();
    match network {
        Ok(network) => looked.surroundings.network = network,
        Err(error) => findings.push(error),
    }
    match balancer {
        Ok(Some((balancer, found))) => {
            looked.creates.extend(found.creates(balancer));
            looked.surroundings.load_balancers = Some(found.attached());
            if let Some((message, hint)) = found.closed(balancer, named) {
                events.warn(message, Some(hint));
            }
        }
        Ok(None) => {}
        Err(errors) => findings.extend(errors),
    }
    match registries {
        Ok(Some((registries, creates))) => {
            looked.creates.extend(creates);
            looked.surroundings.registries = Some(registries);
        }
        Ok(None) => {}
        Err(error) => findings.push(error),
    }
    if findings.is_empty() { Ok(looked) } else { Err(findings) }
}

/// Creates what is missing, side by side. The network is as it was looked up: nothing of it is ever created.
pub async fn ensure(
    plan: &Plan,
    rendered: &Rendered,
    looked: &Looked,
    clients: &Clients,
    events: &Events,
) -> Result<Surroundings> {
    let task_definition = &rendered.task_definition;
    let balancers = async {
        let Some(balancer) = &plan.load_balancer else { return Ok(None) };
        let work = load_balancer::ensure(plan, balancer, task_definition, clients, events);
        let detail = |found: &Value| text(&found[0], "targetGroupArn").to_owned();
        super::step(events, Step::LoadBalancer, work, detail).await.map(Some)
    };
    let registries = async {
        match &plan.service_discovery {
            Some(discovery) => discovery::ensure(plan, discovery, task_definition, clients, events).await.map(Some),
            None => Ok(None),
        }
    };
    let (load_balancers, registries) = tokio::try_join!(balancers, registries)?;
    Ok(Surroundings { network: looked.surroundings.network.clone(), load_balancers, registries })
}

/// Why what the default security groups let in is not enough for a load balancer that is to be created, and what is.
/// They admit only their own members, unless someone changed them.
pub fn closed(kind: LoadBalancerType, balancer: &Selector, tasks: Option<&Selector>) -> Option<(String, String)> {
    let default = |selector: &Selector| *selector == Selector::Default;
    let tasks = tasks.is_some_and(default);
    let own = "the VPC's default security group, which admits only its own members unless it was changed";
    let fix = "create a security group that admits";
    match (kind, default(balancer), tasks) {
        (LoadBalancerType::Application, true, _) => Some((
            format!("the new load balancer gets {own}: nothing outside reaches it"),
            format!(
                "{fix} its clients, and name it: `security_groups: [sg-…]` below `load_balancer:`; the tasks' own, below \
                 `network:`, has to admit that group"
            ),
        )),
        (_, _, true) => Some((
            format!("the tasks get {own}: they refuse the new load balancer and its health checks"),
            format!("{fix} it at the container's port, and name it: `security_groups: [sg-…]` below `network:`"),
        )),
        _ => None,
    }
}
