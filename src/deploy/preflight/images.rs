//! Images that this deploy does not build: there, and for the machine that the task definition asks for.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::checked::{Checked, listed};
use crate::aws::Clients;
use crate::aws::reply::{list, text};
use crate::config::{ImageSource, Plan};
use crate::deploy::{build, origin, render};
use crate::error::{Error, Result};
use crate::image::{Platform, Reference, engine, index, manifest};
use crate::registry;

/// A registry that does not answer by then is left alone: ECS may reach what this machine does not.
const PATIENCE: Duration = Duration::from_secs(8);

/// References to images that have to be in a registry already, and the containers that run them.
pub fn needed(plan: &Plan, task_definition: &Value) -> BTreeMap<String, Vec<String>> {
    let mut needed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let own = render::no_digest();
    let repository = plan.image.as_ref().map(|image| image.repository.as_str());
    // What this deploy pushes may be named by its tag, which is not there yet.
    let pushed = |image: &str| {
        let name = image.split('@').next().unwrap_or(image);
        let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
        repository.is_some_and(|own| name == own || name.strip_suffix(own).is_some_and(|host| host.ends_with('/')))
    };
    for container in list(task_definition, "containerDefinitions") {
        // With credentials of its own a registry may give ECS what it does not give us.
        let private = container.get("repositoryCredentials").is_some();
        let image = text(container, "image");
        if !image.is_empty() && !image.ends_with(&own) && !pushed(image) && !private {
            needed.entry(image.to_owned()).or_default().push(text(container, "name").to_owned());
        }
    }
    if let Some(ImageSource::Existing(existing)) = plan.image.as_ref().map(|image| &image.source)
        && let Some(source) = in_registry(&existing.image).filter(|_| existing.run.is_none())
    {
        needed.entry(source.to_owned()).or_default().push("image".to_owned());
    }
    needed
}

/// A reference, and not what an engine has, a path, or stdin.
fn in_registry(image: &str) -> Option<&str> {
    let path = Path::new(image);
    let elsewhere = image == "-" || engine::is_named(image) || path.is_absolute() || path.exists();
    (!elsewhere).then_some(image)
}

pub async fn check(plan: &Plan, task_definition: &Value, fargate: bool, clients: &Clients) -> Checked {
    let mut checked = Checked::new("images");
    let wanted = build::wanted_platform(task_definition);
    let needed = needed(plan, task_definition);
    let looks = needed.iter().map(|(image, users)| one(image, users, wanted.as_ref(), fargate, clients));
    for looked in futures_util::future::join_all(looks).await {
        checked.add(looked);
    }
    checked
}

async fn one(image: &str, users: &[String], wanted: Option<&Platform>, fargate: bool, clients: &Clients) -> Checked {
    let mut checked = Checked::new("images");
    let reference: Reference = match image.parse() {
        Ok(reference) => reference,
        Err(error) => {
            checked.find(error);
            return checked;
        }
    };
    match tokio::time::timeout(PATIENCE, look(&reference, wanted, clients)).await {
        Ok(Ok(Found::Missing)) => {
            let users = listed(users.iter().map(String::as_str));
            let error = origin::unknown(&reference);
            let hints = error.hints().to_vec();
            let message = format!("{error}, which {users} is to run");
            match doubt(&reference, fargate, clients).await {
                None => checked.find(hints.into_iter().fold(Error::preflight(message), Error::hint)),
                Some(doubt) => checked.warn(message, Some(doubt)),
            }
        }
        Ok(Ok(Found::NotAsked)) => {}
        Ok(Ok(Found::For(platforms))) => {
            checked.looked_at(image);
            if let Some(wanted) = wanted
                && !platforms.is_empty()
                && !platforms.iter().any(|platform| platform.matches(wanted))
            {
                let has = index::listed(&platforms);
                let message = format!("the image {image} is for {has}, and the task definition asks for {wanted}");
                checked.find(Error::preflight(message).hint(manifest::OTHER_PLATFORM));
            }
        }
        Ok(Err(error)) => {
            checked.warn(format!("the image {image} is not checked: {error}"), error.hints().first().cloned());
        }
        Err(_) => checked.warn(format!("the image {image} is not checked: no answer in time"), None),
    }
    checked
}

/// Why ECS may get an image all the same that we do not.
pub async fn doubt(reference: &Reference, fargate: bool, clients: &Clients) -> Option<String> {
    let Some(host) = reference.ecr() else {
        // Docker Hub tells strangers that they may not know, and others that nothing is there.
        let tells = fargate || reference.registry == "docker.io" || reference.is_loopback();
        let instances = "a registry may answer so to who has not logged in; the container instances may have";
        return (!tells).then(|| instances.to_owned());
    };
    let elsewhere = (host.region != clients.region).then(|| clients.with_ecr_in(&host.region));
    let clients = elsewhere.as_ref().unwrap_or(clients);
    match clients.describe_pull_through_cache_rules(json!({ "registryId": host.account_id })).await {
        Ok(reply) => {
            let rules = list(&reply, "pullThroughCacheRules").iter().map(|rule| text(rule, "ecrRepositoryPrefix"));
            let of = |prefix: &&str| {
                *prefix == "ROOT" || reference.repository.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
            };
            let rule = rules.into_iter().find(of)?;
            Some(format!("the pull through cache rule `{rule}` fetches it when a task pulls it, if it is there"))
        }
        Err(failure) if failure.is_unsupported() => None,
        Err(failure) => Some(format!("whether a pull through cache has it is not known: {failure}")),
    }
}

enum Found {
    /// It is not this account's.
    NotAsked,
    Missing,
    /// None where it was not asked for.
    For(Vec<Platform>),
}

async fn look(reference: &Reference, wanted: Option<&Platform>, clients: &Clients) -> Result<Found> {
    if clients.endpoint_url.is_some() {
        // Another endpoint, such as the lab's, stands for all of AWS: what it pulls from elsewhere is its own affair.
        if reference.ecr().is_none() && !reference.is_loopback() {
            return Ok(Found::NotAsked);
        }
        let input = json!({ "repositoryNames": [reference.repository] });
        if let Err(failure) = clients.describe_repositories(input).await
            && failure.is("RepositoryNotFoundException")
        {
            return Ok(Found::Missing);
        }
    }
    let origin = origin::of(reference, clients).await?;
    let name = reference.tag_or_digest();
    if registry::head_manifest(&origin.client, &origin.repository, name).await?.is_none() {
        return Ok(Found::Missing);
    }
    // Docker Hub counts what is read of a manifest, and not whether it is there.
    if wanted.is_none() || reference.registry == "docker.io" {
        return Ok(Found::For(Vec::new()));
    }
    let found = registry::platforms(&origin.client, &origin.repository, name).await?;
    Ok(Found::For(found.into_iter().filter_map(|(_, platform)| platform).collect()))
}
