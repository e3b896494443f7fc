//! The ECS service: created or updated in one call, or left alone when it is as it should be.

pub mod controller;
pub mod decide;
pub mod strategy;
pub(super) mod throttled;
pub mod trap;
pub(super) mod update;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::event::{Event, Events, ResourceAction};
use super::follow::observe::Eye;
use super::follow::steady::Ours;
use super::pause;
use super::register::Registered;
use super::render::Rendered;
use crate::aws::failure::Reach;
use crate::aws::reply::{list, optional, text};
use crate::aws::{Clients, Failure};
use crate::config::{OnFailure, Plan, RolloutPlan};
use crate::error::{Error, Kind, Result};
use decide::{Decision, decide};
use throttled::{NotYet, Throttled};
use update::update;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Created,
    Updated,
    Unchanged,
    /// An earlier run had started this very deployment.
    Adopted,
}

pub use super::follow::steady::Previous;
pub use super::surroundings::Surroundings;

/// The deployment to follow.
#[derive(Debug, Clone)]
pub struct Placed {
    pub action: Action,
    /// A deployment is under way; false when ours changed nothing that is deployed.
    pub rolls: bool,
    pub cluster: String,
    pub service_name: String,
    pub deployment_id: String,
    /// The ARN of the service deployment, where the reply named it.
    pub service_deployment: Option<String>,
    pub task_definition: String,
    /// What ran before, and was good.
    pub previous: Option<Previous>,
    /// All deployments that there were before this one.
    pub before: Vec<Previous>,
    /// The service deployment that was current before this one.
    pub service_deployment_before: Option<String>,
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

/// The service, for what can be done only to one that is there.
pub async fn active(cluster: &str, service: &str, clients: &Clients) -> Result<Value> {
    let live = describe(cluster, service, clients).await?;
    live.filter(|live| text(live, "status") == "ACTIVE").ok_or_else(|| {
        Error::preflight(format!("there is no active service `{service}` in the cluster `{cluster}`"))
            .hint("`steady deploy` makes it; --cluster and --service name another")
    })
}

pub(super) fn launch_type<'a>(plan: &'a Plan, rendered: &'a Rendered) -> Option<&'a str> {
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
    let (mut throttled, mut not_yet) = (Throttled::new(until), NotYet::new(until));
    loop {
        // Right before the update: UpdateService has no compare-and-swap.
        let live = describe(&plan.cluster, &plan.service, clients).await?;
        let decision = decide(live.as_ref(), &wanted, plan.rollout.fail_fast, &mut warnings);
        let placed = |action: Action, service: &Value, id: &str| {
            let names = (plan.cluster.as_str(), plan.service.as_str());
            Placed::new(names, live.as_ref(), service, action, (id, &registered.arn))
        };
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
                // Its client token makes it the same request.
                Err(failure) if failure.is_throttled() => {
                    throttled.wait(failure, events).await?;
                    continue;
                }
                Err(failure) => match not_yet.wait(failure, events).await? {
                    None => continue,
                    Some(failure) => Err(refused_creation(failure)),
                },
            },
            Decision::Update { input, changes, deploys } => {
                if deploys && let Some(live) = &live {
                    trap::check(plan, live, &wanted, &registered.task_definition, clients).await?;
                }
                tracing::debug!(?changes, deploys, "updating the service");
                update(input, live.as_ref(), until, clients, events).await.map(|service| {
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
            Decision::Refuse(error) => {
                Err(pause::explained(error, live.as_ref().unwrap_or(&Value::Null), clients).await)
            }
        };
        for warning in warnings.drain(..) {
            events.warn(warning, None);
        }
        return result;
    }
}

impl Placed {
    /// `live` is the service as it was before, `service` as it is now.
    pub(super) fn new(
        (cluster, service_name): (&str, &str),
        live: Option<&Value>,
        service: &Value,
        action: Action,
        (deployment_id, task_definition): (&str, &str),
    ) -> Self {
        let nothing = Value::Null;
        let live = live.unwrap_or(&nothing);
        let deployments = list(live, "deployments");
        let seen_events = match action {
            // What an adopted deployment has done so far is part of the story.
            Action::Adopted => HashSet::new(),
            _ => event_ids(live),
        };
        let others = deployments.iter().filter(|other| text(other, "id") != deployment_id);
        let was = deployments.iter().find(|deployment| text(deployment, "id") == deployment_id);
        let rolls = match action {
            Action::Created | Action::Adopted => true,
            // A change that starts no deployment, such as the desired count.
            Action::Updated => was.is_none_or(|was| optional(was, "rolloutState") == Some("IN_PROGRESS")),
            Action::Unchanged => false,
        };
        let current = |service: &Value| optional(service, "currentServiceDeployment").map(str::to_owned);
        let service_deployment_before = current(live).filter(|_| was.is_none());
        Placed {
            action,
            rolls,
            cluster: cluster.to_owned(),
            service_name: service_name.to_owned(),
            deployment_id: deployment_id.to_owned(),
            service_deployment: current(service).filter(|arn| Some(arn) != service_deployment_before.as_ref()),
            task_definition: task_definition.to_owned(),
            previous: previous(live, deployment_id),
            before: others.map(named).collect(),
            service_deployment_before,
            service: service.clone(),
            seen_events,
        }
    }
}

impl Placed {
    /// What is followed of it.
    pub(super) fn ours<'a>(&'a self, rollout: &RolloutPlan, digest: Option<&'a str>) -> Ours<'a> {
        Ours {
            deployment_id: &self.deployment_id,
            task_definition: &self.task_definition,
            digest,
            fail_fast: rollout.fail_fast,
            on_pause: rollout.on_pause,
            expects_targets: super::rollback::expects_targets(&self.service),
            before: &self.before,
        }
    }

    pub(super) fn eye(&self) -> Eye {
        let mut eye = Eye::new(&self.cluster, &self.service_name, self.service_deployment.clone());
        eye.before.clone_from(&self.service_deployment_before);
        if !self.rolls {
            // The service's last service deployment may be of a release that was rolled back.
            eye.service_deployment = None;
            eye.no_service_deployments = true;
        }
        eye
    }
}

/// The ids of a service's events, so that only what comes after them is told.
pub(super) fn event_ids(service: &Value) -> HashSet<String> {
    list(service, "events").iter().map(|event| text(event, "id").to_owned()).collect()
}

fn named(deployment: &Value) -> Previous {
    Previous {
        task_definition: text(deployment, "taskDefinition").to_owned(),
        deployment_id: text(deployment, "id").to_owned(),
    }
}

/// The deployment beside ours that had completed.
pub fn previous(live: &Value, ours: &str) -> Option<Previous> {
    let good = |deployment: &&Value| {
        text(deployment, "id") != ours && matches!(optional(deployment, "rolloutState"), Some("COMPLETED") | None)
    };
    list(live, "deployments").iter().find(good).map(named)
}

fn refused_creation(failure: Failure) -> Error {
    match failure.reach == Reach::Refused && !failure.is_denied() && !failure.is_throttled() {
        true => failure.error(Kind::Input).hint("ECS refuses to create this service; nothing runs yet"),
        false => failure.into(),
    }
}

fn resource(events: &Events, action: ResourceAction, name: &str) {
    events.emit(Event::Resource { action, kind: "service".into(), id: name.into() });
}
