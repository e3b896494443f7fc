//! What has to be as a deploy needs it, looked at before anything is touched, and all that is not told together: who we
//! are and may do, the cluster, the repository, what tasks are made of and what they are attached to. Nothing is changed.

pub mod alarms;
pub mod capacity;
pub mod checked;
pub mod cluster;
pub mod images;
pub mod log_groups;
pub mod needs;
pub mod permissions;
pub mod roles;
pub mod secrets;
pub mod standing;
pub mod targets;

use std::time::Duration;

use serde_json::Value;

use super::event::{Event, Events};
use super::render::{self, Rendered};
use super::repository::Repository;
use super::service::{controller, strategy};
use super::surroundings::{self, Looked, Surroundings, discovery};
use super::{around as around_release, load_balancer, repository, service};
use crate::aws::reply::text;
use crate::aws::{Clients, Failure, Identity};
use crate::config::Plan;
use crate::error::{Error, Kind, Result};
use checked::{Checked, Warning};

/// What a deploy stands on, as it was before it began.
#[derive(Debug, Clone)]
pub struct Ground {
    pub identity: Identity,
    /// `None` when the plan has no image.
    pub repository: Option<Repository>,
    /// The service as DescribeServices has it, unless it is missing or INACTIVE.
    pub live: Option<Value>,
    /// What the service would be attached to.
    pub looked: Looked,
    /// The documents with stand-ins for what only the build tells.
    pub rehearsed: Rendered,
}

impl Ground {
    pub fn detail(&self) -> String {
        self.identity.arn.clone()
    }
}

/// What the preflight is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A deploy, which may find that there is nothing to change.
    Deploy,
    /// To know whether a release could be made now.
    Verify,
    /// To see what a deploy would change: the caller need not be one who may deploy.
    Trial,
}

/// The ground, and every check that was made of it.
#[derive(Debug)]
pub struct Survey {
    pub ground: Ground,
    pub checks: Vec<Checked>,
}

/// What is only asked to warn holds nothing up for longer.
const PATIENCE: Duration = Duration::from_secs(15);

/// All that a deploy needs.
pub async fn check(plan: &Plan, clients: &Clients, events: &Events) -> Result<Ground> {
    ground(plan, clients, events, Purpose::Deploy).await
}

pub async fn ground(plan: &Plan, clients: &Clients, events: &Events, purpose: Purpose) -> Result<Ground> {
    let mut survey = survey(plan, clients, events, purpose).await?;
    // Without these there is something to compare all the same.
    let decisive = |one: &Checked| matches!(one.check, "identity" | "service" | "cluster" | "repository" | "network");
    for checked in survey.checks.iter_mut().filter(|one| purpose == Purpose::Trial && !decisive(one)) {
        for error in std::mem::take(&mut checked.findings) {
            checked.warn(error.to_string(), error.hints_joined());
        }
    }
    tell(survey.checks.iter().flat_map(|checked| &checked.warnings), events);
    let findings = survey.checks.into_iter().flat_map(|checked| checked.findings).collect();
    match Error::all(findings) {
        Some(found) => Err(found.hint(who(&survey.ground.identity, clients))),
        None => Ok(survey.ground),
    }
}

/// Whose credentials they are that found something missing.
pub fn who(identity: &Identity, clients: &Clients) -> String {
    format!("these are the credentials of {} in {}", identity.arn, clients.region)
}

/// Warnings as a deploy says them: what may not be read together, as it is so for every deploy of this caller.
fn tell<'a>(warnings: impl Iterator<Item = &'a Warning>, events: &Events) {
    let mut lacks: Vec<&str> = Vec::new();
    for warning in warnings {
        match warning.action.as_deref() {
            Some(action) if lacks.contains(&action) => {}
            Some(action) => lacks.push(action),
            None => events.warn(warning.message.clone(), warning.hint.clone()),
        }
    }
    if !lacks.is_empty() {
        let message = format!("not everything is checked beforehand: the caller lacks {}", lacks.join(", "));
        let hint = "allow these actions, which change nothing; `steady verify` says what each is for";
        events.warn(message, Some(hint.to_owned()));
    }
}

/// Looks at everything at once: first at what there is, then at what that leads to.
pub async fn survey(plan: &Plan, clients: &Clients, events: &Events, purpose: Purpose) -> Result<Survey> {
    let rehearsed = render::rehearse(plan, clients)?;
    fits(plan, &rehearsed.task_definition)?;
    let (identity, (cluster, cluster_checked), repository, (looked, around), live) = tokio::join!(
        clients.identity(),
        cluster::find(&plan.cluster, clients),
        repository::find(plan.image.as_ref(), clients),
        around(plan, &rehearsed, clients, events),
        service::describe(&plan.cluster, &plan.service, clients),
    );
    // Every other call failed for the same reason.
    let identity = identity.map_err(|failure| failure.error(Kind::Preflight))?;
    // ARNs that name the account are what they will be.
    let rehearsed = render::rehearse_in(&identity.account_id, plan, clients)?;
    let mut who = Checked::new("identity");
    who.looked_at(&format!("{} in {}", identity.arn, clients.region));
    let (repository, in_repository) = in_repository(repository, &identity);
    let (live, standing) = standing(plan, live, &rehearsed, purpose);

    let task_definition = &rehearsed.task_definition;
    let wanted = wanted(plan, &rehearsed);
    let fargate = cluster::capacity(live.as_ref(), &wanted, cluster.as_ref()) == cluster::Capacity::Fargate;
    let arithmetic =
        capacity::Service { live: live.as_ref(), wanted: &wanted, task_definition, cluster: cluster.as_ref() };
    let there = needs::There {
        service: live.is_some(),
        wanted: &wanted,
        repository: repository.as_ref(),
        creates: &looked.creates,
    };
    let needs = needs::needs(plan, task_definition, &there, &identity, clients);
    let execution = needs::of_execution_role(task_definition, fargate, &identity, clients);
    let attached = looked.surroundings.load_balancers.as_ref();
    let (images, roles, secrets, log_groups, targets, capacity, alarms, permissions) = tokio::join!(
        within("images", images::check(plan, task_definition, fargate, clients)),
        within("roles", roles::check(task_definition, fargate, &identity, clients)),
        within("secrets", secrets::check(task_definition, &identity, clients)),
        within("logGroups", log_groups::check(task_definition, clients)),
        within("targetGroups", targets::check(plan, &rehearsed, attached, live.as_ref(), clients)),
        within("capacity", capacity::check(plan, &arithmetic, purpose, clients)),
        within("alarms", alarms::check(live.as_ref(), &wanted, clients)),
        within("permissions", permissions::check(&needs, execution.as_ref(), &identity, clients)),
    );
    let checks = vec![
        who,
        standing,
        cluster_checked,
        in_repository,
        images,
        roles,
        secrets,
        log_groups,
        around,
        targets,
        capacity,
        alarms,
        permissions,
    ];
    Ok(Survey { ground: Ground { identity, repository, live, looked, rehearsed }, checks })
}

async fn within(check: &'static str, work: impl Future<Output = Checked>) -> Checked {
    // Boxed: callers join many.
    tokio::time::timeout(PATIENCE, Box::pin(work)).await.unwrap_or_else(|_| {
        let mut checked = Checked::new(check);
        checked.warn(format!("AWS did not answer in time what there is of {check}: it is not checked"), None);
        checked
    })
}

/// What the service is attached to, with what it warns of.
async fn around(plan: &Plan, rendered: &Rendered, clients: &Clients, events: &Events) -> (Looked, Checked) {
    let mut checked = Checked::new("network");
    let (own, mut said) = Events::channel();
    let looked = surroundings::look(plan, rendered, clients, &own).await;
    drop(own);
    while let Ok(event) = said.try_recv() {
        match event {
            Event::Warning { message, hint } => checked.warn(message, hint),
            other => events.emit(other),
        }
    }
    match looked {
        Ok(looked) => {
            let (network, balancer, registries) = (
                looked.surroundings.network.as_ref().map(|_| "network"),
                plan.load_balancer.as_ref().map(|_| "load balancer"),
                looked.surroundings.registries.as_ref().map(|_| "service discovery"),
            );
            [network, balancer, registries].into_iter().flatten().for_each(|what| checked.looked_at(what));
            (looked, checked)
        }
        Err(errors) => {
            errors.into_iter().for_each(|error| checked.find(error));
            (Looked::default(), checked)
        }
    }
}

fn in_repository(found: Result<Option<Repository>>, identity: &Identity) -> (Option<Repository>, Checked) {
    let mut checked = Checked::new("repository");
    let found = found.map_err(|error| checked.find(error)).ok().flatten();
    match &found {
        Some(Repository::Ecr { exists: false, name, .. }) => checked.looked_at(&format!("{name} is to be created")),
        Some(repository) => checked.looked_at(&repository.uri()),
        None => {}
    }
    if let Some(Repository::Ecr { account_id: Some(account), uri, .. }) = &found
        && *account != identity.account_id
    {
        let message = format!("the repository {uri} belongs to another account than {}", identity.arn);
        checked.warn(message, Some("the task execution role has to be allowed to pull from there".to_owned()));
    }
    (found, checked)
}

/// The service, unless it is missing or INACTIVE, and whether a deployment of it can begin.
fn standing(
    plan: &Plan,
    found: Result<Option<Value>, Failure>,
    rehearsed: &Rendered,
    purpose: Purpose,
) -> (Option<Value>, Checked) {
    let found = match found {
        Ok(found) => found,
        // Said of the cluster.
        Err(failure) if failure.is("ClusterNotFoundException") => None,
        Err(failure) => {
            let mut checked = Checked::new("service");
            checked.find(failure.error(Kind::Preflight));
            return (None, checked);
        }
    };
    let wanted = wanted(plan, rehearsed);
    let mut checked = standing::check(&plan.service, found.as_ref(), &wanted, plan.rollout.fail_fast, purpose);
    let live = found.filter(|live| text(live, "status") != "INACTIVE");
    let asked = &rehearsed.service;
    let refused = live.as_ref().and_then(controller::refusal).or_else(|| controller::refusal(asked));
    let unfit = strategy::refusal(asked, live.as_ref(), plan.load_balancer.as_ref());
    refused.into_iter().chain(unfit).for_each(|error| checked.find(error));
    (live, checked)
}

/// The service as the documents want it, of a revision that nobody has yet.
fn wanted(plan: &Plan, rehearsed: &Rendered) -> Value {
    let family = text(&rehearsed.task_definition, "family");
    service::wanted(plan, rehearsed, &format!("{family}:new"), &Surroundings::default(), &mut Vec::new())
}

/// Only what pushing an image needs: no cluster, no service.
pub async fn for_image(plan: &Plan, clients: &Clients) -> Result<Ground> {
    let rehearsed = render::rehearse(plan, clients)?;
    let (identity, repository) = tokio::join!(clients.identity(), repository::find(plan.image.as_ref(), clients));
    let identity = identity.map_err(|failure| failure.error(Kind::Preflight))?;
    let repository = repository.map_err(|error| error.hint(who(&identity, clients)))?;
    Ok(Ground { identity, repository, live: None, looked: Looked::default(), rehearsed })
}

/// The containers and ports that the project names beside the task definition have to be in it.
fn fits(plan: &Plan, task_definition: &Value) -> Result<()> {
    around_release::fits(plan, task_definition)?;
    if let Some(balancer) = &plan.load_balancer {
        load_balancer::container(balancer.container.as_deref(), balancer.container_port, plan, task_definition)?;
    }
    if let Some(discovery) = &plan.service_discovery {
        let record = discovery::record_type(discovery.record_type.as_deref(), text(task_definition, "networkMode"))?;
        if record != "A" {
            load_balancer::container(discovery.container.as_deref(), discovery.container_port, plan, task_definition)?;
        }
    }
    Ok(())
}
