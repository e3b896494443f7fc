//! The ECS service: created or updated in one call, or left alone when it is as it should be.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::decide::{self, Decision, decide};
use super::event::{Event, Events, ResourceAction};
use super::register::Registered;
use super::render::Rendered;
use super::{discovery, load_balancer, network, trap};
use crate::aws::failure::Reach;
use crate::aws::reply::{list, optional, text};
use crate::aws::{Clients, Failure};
use crate::config::{NetworkPlan, OnFailure, Plan, Selector};
use crate::error::{Error, Kind, Result};

/// What the service is attached to; `None` leaves the user's document as it is.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    pub network: Option<Value>,
    pub load_balancers: Option<Value>,
    pub registries: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Created,
    Updated,
    Unchanged,
    /// An earlier run had started this very deployment.
    Adopted,
}

/// What ran before, and was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    pub task_definition: String,
    pub deployment_id: String,
}

/// The deployment to follow.
#[derive(Debug, Clone)]
pub struct Placed {
    pub action: Action,
    pub cluster: String,
    pub service_name: String,
    pub deployment_id: String,
    /// The ARN of the service deployment, where the reply named it.
    pub service_deployment: Option<String>,
    pub task_definition: String,
    pub previous: Option<Previous>,
    /// The service as it was in the last reply.
    pub service: Value,
    /// Events that were there before are not ours.
    pub seen_events: HashSet<String>,
}

impl Placed {
    pub fn detail(&self) -> String {
        let what = match self.action {
            Action::Created => "created",
            Action::Updated => "updated",
            Action::Unchanged => "unchanged",
            Action::Adopted => "already under way",
        };
        format!("{what}, deployment {}", self.deployment_id)
    }
}

/// The service; `None` when there is none of this name.
pub async fn describe(cluster: &str, service: &str, clients: &Clients) -> Result<Option<Value>, Failure> {
    match clients.describe_services(json!({ "cluster": cluster, "services": [service] })).await {
        Ok(reply) => Ok(list(&reply, "services").first().cloned()),
        Err(failure) if failure.is("ServiceNotFoundException") => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Finds or creates all that the service is attached to, side by side.
pub async fn surroundings(
    plan: &Plan,
    rendered: &Rendered,
    clients: &Clients,
    events: &Events,
) -> Result<Surroundings> {
    let task_definition = &rendered.task_definition;
    let needs_network = text(task_definition, "networkMode") == "awsvpc";
    let default =
        NetworkPlan { subnets: Selector::Default, security_groups: Selector::Default, assign_public_ip: None };
    let network = match &plan.network {
        Some(network) if needs_network => Some(network),
        Some(_) => {
            let message = "`network:` is left out: the task definition's network mode is not awsvpc";
            events.warn(message, None);
            None
        }
        None if needs_network && rendered.service.get("networkConfiguration").is_none() => Some(&default),
        None => None,
    };
    let network = async {
        match network {
            Some(network) => {
                network::configuration(network, launch_type(plan, rendered) == Some("FARGATE"), clients).await.map(Some)
            }
            None => Ok(None),
        }
    };
    let balancers = async {
        let Some(balancer) = &plan.load_balancer else { return Ok(None) };
        let work = load_balancer::ensure(plan, balancer, task_definition, clients, events);
        let detail = |found: &Value| text(&found[0], "targetGroupArn").to_owned();
        super::step(events, super::event::Step::LoadBalancer, work, detail).await.map(Some)
    };
    let registries = async {
        match &plan.service_discovery {
            Some(discovery) => discovery::ensure(plan, discovery, task_definition, clients, events).await.map(Some),
            None => Ok(None),
        }
    };
    let (network, load_balancers, registries) = tokio::try_join!(network, balancers, registries)?;
    Ok(Surroundings { network, load_balancers, registries })
}

fn launch_type<'a>(plan: &'a Plan, rendered: &'a Rendered) -> Option<&'a str> {
    let only = match list(&rendered.task_definition, "requiresCompatibilities") {
        [only] => only.as_str(),
        _ => None,
    };
    plan.launch_type.as_deref().or(optional(&rendered.service, "launchType")).or(only)
}

/// The members of CreateService and UpdateService that the service shall have.
pub fn wanted(
    plan: &Plan,
    rendered: &Rendered,
    task_definition: &str,
    surroundings: &Surroundings,
    warnings: &mut Vec<String>,
) -> Value {
    let mut wanted = rendered.service.clone();
    let named = optional(&wanted, "serviceName").or(optional(&wanted, "service")).filter(|name| *name != plan.service);
    if let Some(named) = named {
        warnings.push(format!("the service document's name `{named}` is left out: the service is `{}`", plan.service));
    }
    if let Some(wanted) = wanted.as_object_mut() {
        wanted.shift_remove("service");
    }
    wanted["serviceName"] = plan.service.as_str().into();
    wanted["cluster"] = plan.cluster.as_str().into();
    wanted["taskDefinition"] = task_definition.into();
    if let Some(count) = plan.desired_count {
        wanted["desiredCount"] = count.into();
    }
    if list(&wanted, "capacityProviderStrategy").is_empty()
        && let Some(launch_type) = launch_type(plan, rendered)
    {
        wanted["launchType"] = launch_type.into();
    }
    for (member, value) in [
        ("networkConfiguration", &surroundings.network),
        ("loadBalancers", &surroundings.load_balancers),
        ("serviceRegistries", &surroundings.registries),
    ] {
        if let Some(value) = value {
            wanted[member] = value.clone();
        }
    }
    decide::with_circuit_breaker(&mut wanted, plan.rollout.on_failure == OnFailure::Rollback);
    let network_mode = text(&rendered.task_definition, "networkMode");
    decide::without_conflicting_role(&mut wanted, network_mode, warnings);
    wanted
}

/// Brings the service to what is wanted and names the deployment that does it.
pub async fn place(
    plan: &Plan,
    rendered: &Rendered,
    registered: &Registered,
    surroundings: &Surroundings,
    clients: &Clients,
    events: &Events,
) -> Result<Placed> {
    let mut warnings = Vec::new();
    let wanted = wanted(plan, rendered, &registered.arn, surroundings, &mut warnings);
    for warning in warnings.drain(..) {
        events.warn(warning, None);
    }
    let until = Instant::now() + plan.rollout.timeout;
    let (mut waited, mut overtaken) = (false, false);
    loop {
        // Right before the update: UpdateService has no compare-and-swap.
        let live = describe(&plan.cluster, &plan.service, clients).await?;
        let decision = decide(live.as_ref(), &wanted, plan.rollout.fail_fast, &mut warnings);
        let placed =
            |action: Action, service: &Value, id: &str| placed(plan, live.as_ref(), service, id, action, registered);
        let result = match decision {
            Decision::Create(input) => match clients.create_service(input).await {
                Ok(reply) => {
                    resource(events, ResourceAction::Created, &plan.service);
                    let service = &reply["service"];
                    let id = decide::primary(service).map_or("", |primary| text(primary, "id")).to_owned();
                    Ok(placed(Action::Created, service, &id))
                }
                // Another run made it meanwhile, from another input: what is live now decides.
                Err(failure) if failure.message.contains("not idempotent") && !overtaken => {
                    overtaken = true;
                    continue;
                }
                Err(failure) => Err(refused_creation(failure)),
            },
            Decision::Update { input, changes, deploys } => {
                if deploys && let Some(live) = &live {
                    trap::check(plan, live, &wanted, &registered.task_definition, clients).await?;
                }
                tracing::debug!(?changes, deploys, "updating the service");
                update(input, live.as_ref(), clients, events).await.map(|service| {
                    resource(events, ResourceAction::Updated, &plan.service);
                    let id = decide::primary(&service).map_or("", |primary| text(primary, "id")).to_owned();
                    placed(Action::Updated, &service, &id)
                })
            }
            Decision::Nothing { deployment_id } => {
                Ok(placed(Action::Unchanged, live.as_ref().unwrap_or(&Value::Null), &deployment_id))
            }
            Decision::Follow { deployment_id } => {
                Ok(placed(Action::Adopted, live.as_ref().unwrap_or(&Value::Null), &deployment_id))
            }
            Decision::WaitDraining if Instant::now() < until => {
                if !waited {
                    let message = format!("the old service `{}` is still draining; waiting for it", plan.service);
                    events.emit(Event::Notice { message });
                    waited = true;
                }
                tokio::time::sleep(Duration::from_millis(if waited { 500 } else { 100 })).await;
                continue;
            }
            Decision::WaitDraining => {
                Err(Error::preflight(format!("the old service `{}` is still draining", plan.service))
                    .hint("run the same command again when it is gone"))
            }
            Decision::Refuse(error) => Err(error),
        };
        for warning in warnings.drain(..) {
            events.warn(warning, None);
        }
        return result;
    }
}

fn placed(
    plan: &Plan,
    live: Option<&Value>,
    service: &Value,
    deployment_id: &str,
    action: Action,
    registered: &Registered,
) -> Placed {
    let seen = match action {
        // What an adopted deployment has done so far is part of the story.
        Action::Adopted => HashSet::new(),
        _ => list(live.unwrap_or(&Value::Null), "events").iter().map(|event| text(event, "id").to_owned()).collect(),
    };
    Placed {
        action,
        cluster: plan.cluster.clone(),
        service_name: plan.service.clone(),
        deployment_id: deployment_id.to_owned(),
        service_deployment: optional(service, "currentServiceDeployment").map(str::to_owned),
        task_definition: registered.arn.clone(),
        previous: live.and_then(|live| previous(live, deployment_id)),
        service: service.clone(),
        seen_events: seen,
    }
}

/// The deployment beside ours that had completed.
pub fn previous(live: &Value, ours: &str) -> Option<Previous> {
    let good = |deployment: &&Value| {
        text(deployment, "id") != ours && matches!(optional(deployment, "rolloutState"), Some("COMPLETED") | None)
    };
    let found = list(live, "deployments").iter().find(good)?;
    Some(Previous {
        task_definition: text(found, "taskDefinition").to_owned(),
        deployment_id: text(found, "id").to_owned(),
    })
}

fn refused_creation(failure: Failure) -> Error {
    match failure.reach == Reach::Refused && !failure.is_denied() && !failure.is_throttled() {
        true => failure.error(Kind::Input).hint("ECS refuses to create this service; nothing runs yet"),
        false => failure.into(),
    }
}

/// UpdateService has no client token: after a lost reply, what AWS did is read back, never sent blindly again.
pub(super) async fn update(input: Value, live: Option<&Value>, clients: &Clients, events: &Events) -> Result<Value> {
    let before: HashSet<String> = list(live.unwrap_or(&Value::Null), "deployments")
        .iter()
        .map(|deployment| text(deployment, "id").to_owned())
        .collect();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let failure = match clients.update_service(input.clone()).await {
            Ok(reply) => return Ok(reply["service"].clone()),
            Err(failure) => failure,
        };
        if attempt >= 6 {
            return Err(failure.into());
        }
        if failure.is_throttled() {
            if attempt == 1 {
                events.warn(format!("{failure}; retrying"), None);
            }
            tokio::time::sleep(Duration::from_millis(200) * 2u32.pow(attempt)).await;
            continue;
        }
        match failure.reach {
            Reach::Unknown => {}
            Reach::NotSent if attempt < 3 => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                continue;
            }
            Reach::Refused if !failure.is_denied() && !failure.is_expired() => {
                return Err(failure.error(Kind::Input).hint("ECS refuses this update; the service is as it was"));
            }
            _ => return Err(failure.into()),
        }
        events.warn(format!("{failure}; looking whether the update was made all the same"), None);
        for wait in [0, 200, 600, 1500] {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let now = describe(text(&input, "cluster"), text(&input, "service"), clients).await?;
            let Some(now) = now else { continue };
            let new = decide::primary(&now).is_some_and(|primary| {
                !before.contains(text(primary, "id"))
                    && text(primary, "taskDefinition") == text(&input, "taskDefinition")
            });
            let mut ignored = Vec::new();
            let covered = matches!(
                decide(Some(&now), &input, 0, &mut ignored),
                Decision::Nothing { .. } | Decision::Follow { .. }
            );
            let forced = input.get("forceNewDeployment").and_then(Value::as_bool).unwrap_or_default();
            if new || (covered && !forced) {
                return Ok(now);
            }
        }
    }
}

fn resource(events: &Events, action: ResourceAction, name: &str) {
    events.emit(Event::Resource { action, kind: "service".into(), id: name.into() });
}
