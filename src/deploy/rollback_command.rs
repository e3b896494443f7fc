//! The command `rollback`: to the release that was good before, or to the revision that is named.

use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::event::{Event, Events, Step};
use super::follow::Steady;
use super::history::{self, Release, family_and_revision};
use super::rollback::{follow_or_roll_back, update_to};
use super::service::{Action, Placed};
use super::{controller, decide, outcome, register, service};
use crate::aws::Clients;
use crate::aws::reply::{id, list, optional, tag, text};
use crate::config::RolloutPlan;
use crate::error::{Error, Kind, Result};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RollbackOutcome {
    pub status: &'static str,
    pub service: String,
    pub cluster: String,
    pub deployment_id: String,
    pub task_definition: String,
    /// The image of the first container that names a digest.
    pub image: Option<String>,
    pub digest: Option<String>,
    pub release: Option<String>,
    pub url: Option<String>,
    pub previous_task_definition: String,
    pub duration_ms: u64,
}

/// Brings the service to the previous good release, or to `to`: a revision's number, `family:revision` or an ARN.
pub async fn rollback(
    cluster: &str,
    service_name: &str,
    to: Option<&str>,
    rollout: &RolloutPlan,
    clients: &Clients,
    events: &Events,
) -> Result<RollbackOutcome> {
    let started = Instant::now();
    let until = started + rollout.timeout;
    let live = service::active(cluster, service_name, clients).await?;
    if let Some(refused) = controller::refusal(&live) {
        return Err(refused);
    }
    let primary = decide::primary(&live).cloned().unwrap_or_default();
    let current = text(&primary, "taskDefinition").to_owned();
    let target = match to {
        Some(to) => named(to, &current, cluster, service_name, clients, events).await?,
        None => previous(&primary, cluster, service_name, clients, events).await?,
    };
    let (target, revision) = deployable(target, clients, events).await?;
    let image = list(&revision["taskDefinition"], "containerDefinitions")
        .iter()
        .filter_map(|container| optional(container, "image"))
        .find(|image| image.contains("@sha256:"));
    let digest = image.and_then(|image| image.split_once('@')).map(|(_, digest)| digest);
    let work = async {
        let (action, service) = if target.task_definition == current {
            events.emit(Event::Notice { message: format!("{} is what runs already", id(&current)) });
            (Action::Unchanged, live.clone())
        } else {
            let input = update_to((cluster, service_name), &live, &target, clients).await?;
            (Action::Updated, super::update::update(input, Some(&live), until, clients, events).await?)
        };
        let deployment = decide::primary(&service).map_or("", |primary| text(primary, "id"));
        let names = (deployment, target.task_definition.as_str());
        Ok(Placed::new((cluster, service_name), Some(&live), &service, action, names))
    };
    let placed = super::step(events, Step::Rollback, work, Placed::detail).await?;
    let following = follow_or_roll_back(rollout, &placed, digest, clients, events);
    let steady = super::step(events, Step::Steady, following, Steady::detail).await?;
    Ok(RollbackOutcome {
        status: "steady",
        service: service_name.to_owned(),
        cluster: cluster.to_owned(),
        deployment_id: steady.deployment_id.clone(),
        task_definition: target.task_definition.clone(),
        image: image.map(str::to_owned),
        digest: digest.map(str::to_owned),
        release: tag(list(&revision, "tags"), register::RELEASE_TAG).map(str::to_owned),
        url: outcome::url(&steady.service, clients, events).await,
        previous_task_definition: current,
        duration_ms: started.elapsed().as_millis() as u64,
    })
}

async fn previous(
    primary: &Value,
    cluster: &str,
    service: &str,
    clients: &Clients,
    events: &Events,
) -> Result<Release> {
    let current = text(primary, "taskDefinition");
    let successes = successes(cluster, service, clients, events).await?;
    let under_way = history::rollback_under_way(&successes, primary);
    if let Some(release) = under_way.or_else(|| history::previous(&successes, current)) {
        return Ok(release.clone());
    }
    if successes.is_empty()
        && let Some(release) = history::previous_by_tags(current, clients).await?
    {
        return Ok(release);
    }
    Err(Error::preflight(format!("there is no good release before {} to go back to", id(current)))
        .hint("see `steady revisions`, and name one: --to REVISION"))
}

/// Empty where this role may not read it: then tags tell, and only the task definition goes back.
async fn successes(cluster: &str, service: &str, clients: &Clients, events: &Events) -> Result<Vec<Release>> {
    match history::successes(cluster, service, clients).await {
        Err(failure) if failure.is_denied() => {
            let message =
                format!("the settings of earlier releases are not known, and stay as they are now: {failure}");
            events.warn(message, failure.hint());
            Ok(Vec::new())
        }
        found => found.map_err(Error::from),
    }
}

async fn named(
    to: &str,
    current: &str,
    cluster: &str,
    service: &str,
    clients: &Clients,
    events: &Events,
) -> Result<Release> {
    let wanted = revision_name(to, current)?;
    let Some(found) = register::describe(&wanted, clients).await? else {
        return Err(Error::input(format!("there is no revision {}", id(&wanted))).hint("see `steady revisions`"));
    };
    let arn = text(&found["taskDefinition"], "taskDefinitionArn").to_owned();
    let successes = successes(cluster, service, clients, events).await?;
    let known = successes.iter().rev().find(|release| release.task_definition == arn);
    Ok(known.cloned().unwrap_or(Release { task_definition: arn, service_revision: None, created_at: 0 }))
}

/// A revision as DescribeTaskDefinition takes it, from its number, `family:revision` or ARN.
pub fn revision_name(to: &str, current: &str) -> Result<String> {
    let number = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 0);
    if number(to) {
        return Ok(format!("{}:{to}", family_and_revision(current).0));
    }
    match to.rsplit_once(':') {
        Some((family, revision)) if !family.is_empty() && number(revision) => Ok(to.to_owned()),
        _ => Err(Error::input(format!("`{to}` names no revision"))
            .hint("give its number (7), family and number (hello:7), or its ARN")),
    }
}

/// An INACTIVE revision cannot be deployed: its content is registered again.
async fn deployable(target: Release, clients: &Clients, events: &Events) -> Result<(Release, Value)> {
    let revision = register::describe(&target.task_definition, clients).await?;
    let Some(revision) = revision else {
        return Err(Error::preflight(format!("the revision {} is gone", id(&target.task_definition))));
    };
    if text(&revision["taskDefinition"], "status") != "INACTIVE" {
        return Ok((target, revision));
    }
    let message = format!("{} is INACTIVE: its content is registered again", id(&target.task_definition));
    events.emit(Event::Notice { message });
    let facts = super::render::Facts {
        region: clients.region.clone(),
        account_id: String::new(),
        image: None,
        release: tag(list(&revision, "tags"), register::RELEASE_TAG).unwrap_or("unversioned").to_owned(),
    };
    let input = registrable(&revision);
    let registered = register::register(&input, &facts, clients, events, None)
        .await
        .map_err(|error| error.with_kind(Kind::Other))?;
    let release = Release { task_definition: registered.arn, ..target };
    Ok((release, revision))
}

/// What can be registered of a described revision: without what only AWS writes.
pub fn registrable(described: &Value) -> Value {
    let mut input = described["taskDefinition"].clone();
    if let Some(members) = input.as_object_mut() {
        for member in [
            "taskDefinitionArn",
            "revision",
            "status",
            "requiresAttributes",
            "compatibilities",
            "registeredAt",
            "registeredBy",
            "deregisteredAt",
        ] {
            members.shift_remove(member);
        }
        members.retain(|_, value| !value.is_null());
    }
    let own = [register::FINGERPRINT_TAG, register::RELEASE_TAG];
    let others: Vec<&Value> = list(described, "tags").iter().filter(|tag| !own.contains(&text(tag, "key"))).collect();
    if !others.is_empty() {
        input["tags"] = json!(others);
    }
    input
}
