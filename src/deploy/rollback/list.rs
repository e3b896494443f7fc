//! `rollback --list`: what a service ran, and what of it can be gone back to.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::command::{live, read};
use super::course::{Course, course, path};
use super::history::Past;
use super::inactive::restored;
use super::{settings, target as rollback_target};
use crate::aws::Clients;
use crate::aws::reply::{id, list, optional, tag, text};
use crate::deploy::event::Events;
use crate::deploy::service::decide;
use crate::deploy::{register, revisions};
use crate::error::Result;
use crate::image::Reference;

/// One deployment of the service.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// `family:number`.
    pub revision: String,
    pub release: Option<String>,
    pub digest: Option<String>,
    /// When it was deployed, in epoch milliseconds.
    pub deployed_at: Option<i64>,
    /// How it ended, as ECS spells it; what is not over is under way.
    pub status: Option<String>,
    /// The service runs it now.
    pub current: bool,
    /// `next` is where `rollback` leads by itself, `yes` what --to may name, `no` what neither can.
    pub target: &'static str,
    /// Why it is no target, or what ECS said of its end.
    pub why: Option<String>,
}

/// The newest `limit` deployments, the newest first. Where ECS has no history: the family's revisions.
pub async fn list_targets(
    cluster: &str,
    service_name: &str,
    limit: usize,
    clients: &Clients,
    events: &Events,
) -> Result<Vec<Listed>> {
    let live = live(cluster, service_name, clients).await?;
    let history = read(cluster, service_name, clients, events).await?;
    let primary = decide::primary(&live).cloned().unwrap_or_default();
    if history.is_empty() {
        return registered(cluster, service_name, limit, clients).await;
    }
    let mut judged = history.clone();
    restored(&live, &mut judged, clients).await?;
    let next = match course(&judged, &primary) {
        Course::To { past } => past.arn.clone(),
        Course::Stop { .. } | Course::GoingBack => {
            path(&judged).good.last().map(|past| past.arn.clone()).unwrap_or_default()
        }
        Course::Back { .. } | Course::Nowhere => String::new(),
    };
    let shown: Vec<&Past> = history.iter().rev().take(limit).collect();
    let known = Known::of(&shown, clients).await?;
    let current = text(&primary, "taskDefinition");
    let runs = history.iter().rposition(|past| past.release.task_definition == current && runs_on(past));
    let runs = runs.map(|at| &history[at]);
    let rows = shown.into_iter().map(|past| {
        let is_current = runs.is_some_and(|runs| runs.arn == past.arn);
        let why_not = match runs.filter(|runs| runs.release.is(&past.release)) {
            Some(_) if is_current => Some("it runs now".to_owned()),
            Some(_) if past.succeeded() => Some("it runs now, by a later deployment".to_owned()),
            _ => known.why_not(past),
        };
        let is_next = why_not.is_none() && past.arn == next;
        let described = known.revisions.get(&past.release.task_definition).and_then(Option::as_ref);
        let digest = described.and_then(|described| rollback_target::digests(described).next());
        let recorded = settings::recorded(&past.release.settings).map(|(.., digest)| digest).next();
        Listed {
            revision: id(&past.release.task_definition).to_owned(),
            release: described.and_then(|one| tag(list(one, "tags"), register::RELEASE_TAG)).map(str::to_owned),
            digest: digest.or(recorded).map(str::to_owned),
            deployed_at: Some(past.created_at),
            status: Some(past.status.clone()),
            current: is_current,
            target: match (why_not.is_some(), is_next) {
                (true, _) => "no",
                (_, true) => "next",
                _ => "yes",
            },
            why: why_not,
        }
    });
    Ok(rows.collect())
}

/// Whether a deployment that ended, or is going on, so is what its revision still runs by.
fn runs_on(past: &Past) -> bool {
    !matches!(past.status.as_str(), "ROLLBACK_SUCCESSFUL")
}

/// What is there still of the releases that are shown.
struct Known {
    /// As DescribeTaskDefinition has them; `None` is gone.
    revisions: BTreeMap<String, Option<Value>>,
    /// Images that their repository has no more.
    gone: BTreeSet<String>,
}

impl Known {
    async fn of(shown: &[&Past], clients: &Clients) -> Result<Known> {
        let arns: BTreeSet<&str> = shown.iter().map(|past| past.release.task_definition.as_str()).collect();
        let arns: Vec<&str> = arns.into_iter().collect();
        let mut revisions = BTreeMap::new();
        // ECS lends 20 of these calls a second.
        for some in arns.chunks(10) {
            let asked = some.iter().map(|arn| register::describe(arn, clients));
            let described = futures_util::future::try_join_all(asked).await?;
            revisions.extend(some.iter().map(ToString::to_string).zip(described));
        }
        let images: BTreeSet<String> =
            revisions.values().flatten().flat_map(images).filter(|image| image.contains("@sha256:")).collect();
        Ok(Known { gone: gone(&images, clients).await, revisions })
    }

    fn why_not(&self, past: &Past) -> Option<String> {
        if !past.succeeded() {
            let reason = past.reason.trim_end_matches('.');
            return Some(match (past.is_over(), reason) {
                (false, _) => "it is in progress".to_owned(),
                (true, "") => "it did not end well".to_owned(),
                (true, reason) => format!("it did not end well: {reason}"),
            });
        }
        let described = self.revisions.get(&past.release.task_definition).and_then(Option::as_ref);
        let status = described.map(|described| text(&described["taskDefinition"], "status"));
        if status.is_none_or(|status| status == "DELETE_IN_PROGRESS") {
            return Some("its revision was deleted".to_owned());
        }
        let image = described.into_iter().flat_map(images).find(|image| self.gone.contains(image))?;
        Some(format!("its image is gone from {}", image.split('@').next().unwrap_or_default()))
    }
}

fn images(described: &Value) -> Vec<String> {
    let containers = list(&described["taskDefinition"], "containerDefinitions").iter();
    containers.filter_map(|container| optional(container, "image")).map(str::to_owned).collect()
}

/// BatchGetImage takes at most so many.
const IMAGES_PER_CALL: usize = 100;

/// Those that ECR says it does not have. What cannot be asked is taken to be there.
async fn gone(images: &BTreeSet<String>, clients: &Clients) -> BTreeSet<String> {
    let mut by_repository: BTreeMap<String, Vec<(Reference, &String)>> = BTreeMap::new();
    for image in images {
        let Ok(reference) = image.parse::<Reference>() else { continue };
        // The lab's registry is on this machine.
        let own = clients.endpoint_url.is_some() && reference.is_loopback();
        if reference.digest.is_some() && (reference.ecr().is_some() || own) {
            by_repository.entry(reference.name()).or_default().push((reference, image));
        }
    }
    let mut gone = BTreeSet::new();
    for wanted in by_repository.values().flat_map(|wanted| wanted.chunks(IMAGES_PER_CALL)) {
        let missing = missing(&wanted.iter().map(|(reference, _)| reference).collect::<Vec<_>>(), clients).await;
        let is_gone = |digest: &Option<String>| digest.as_ref().is_some_and(|digest| missing.contains(digest));
        gone.extend(wanted.iter().filter(|(one, _)| is_gone(&one.digest)).map(|(_, image)| (*image).clone()));
    }
    gone
}

/// The digests of these images of one repository that are not there.
async fn missing(images: &[&Reference], clients: &Clients) -> Vec<String> {
    let Some(first) = images.first() else { return Vec::new() };
    let digests: Vec<&str> = images.iter().filter_map(|image| image.digest.as_deref()).collect();
    let ids: Vec<Value> = digests.iter().map(|digest| json!({ "imageDigest": digest })).collect();
    let mut input = json!({ "repositoryName": first.repository, "imageIds": ids });
    let asked = match first.ecr() {
        Some(host) if clients.endpoint_url.is_none() => {
            input["registryId"] = host.account_id.as_str().into();
            clients.with_ecr_in(&host.region).batch_get_image(input).await
        }
        _ => clients.batch_get_image(input).await,
    };
    match asked {
        Ok(reply) => {
            let failures = list(&reply, "failures").iter().filter(|one| text(one, "failureCode") == "ImageNotFound");
            failures.map(|one| text(&one["imageId"], "imageDigest").to_owned()).collect()
        }
        Err(failure) if failure.is("RepositoryNotFoundException") => digests.into_iter().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}

async fn registered(cluster: &str, service: &str, limit: usize, clients: &Clients) -> Result<Vec<Listed>> {
    let revisions = revisions::revisions(cluster, service, None, limit, clients).await?;
    let row = |one: revisions::Revision| Listed {
        revision: id(&one.task_definition).to_owned(),
        release: one.release,
        digest: one.digest,
        current: one.current,
        target: if one.current { "no" } else { "yes" },
        why: one.current.then(|| "it runs now".to_owned()),
        ..Listed::default()
    };
    Ok(revisions.into_iter().map(row).collect())
}
