//! What `--to` names: a revision, the digest of an image, or a release.

use serde_json::Value;

use super::course;
use super::history::{Past, Release, family_and_revision};
use crate::aws::Clients;
use crate::aws::reply::{self, id, list, optional, tag, text};
use crate::deploy::event::{Event, Events};
use crate::deploy::register;
use crate::error::{Error, Result};
use serde_json::json;

/// So many of a family's newest revisions are looked through for a digest or a release.
const LOOKED_AT: usize = 100;

/// The release that `to` names, as it was deployed last.
pub async fn named(to: &str, current: &str, history: &[Past], clients: &Clients, events: &Events) -> Result<Past> {
    let arn = match revision_name(to, current) {
        Some(name) => revision(&name, clients).await?,
        None => by_content(to, current, history, clients, events).await?,
    };
    let mut known = history.iter().rev().filter(|past| past.release.task_definition == arn);
    let well = known.clone().find(|past| past.succeeded());
    if well.is_none() && !history.is_empty() {
        let how = known
            .next()
            .map_or("was never deployed here".to_owned(), |past| format!("ended {} when it was deployed", past.status));
        events.warn(format!("{} {how}, as far as ECS remembers", id(&arn)), None);
    }
    Ok(well.cloned().unwrap_or_else(|| Past { release: Release::of(&arn), ..Past::default() }))
}

/// A revision as DescribeTaskDefinition takes it, from its number, `family:revision` or ARN.
pub fn revision_name(to: &str, current: &str) -> Option<String> {
    let number = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 0);
    if number(to) {
        return Some(format!("{}:{to}", family_and_revision(current).0));
    }
    let (family, revision) = to.rsplit_once(':')?;
    (!family.is_empty() && number(revision) && family != "sha256").then(|| to.to_owned())
}

async fn revision(name: &str, clients: &Clients) -> Result<String> {
    match register::describe(name, clients).await? {
        Some(found) => Ok(text(&found["taskDefinition"], "taskDefinitionArn").to_owned()),
        None => {
            let message = format!("there is no revision {}", id(name));
            Err(Error::input(message).hint("see `steady rollback --list`"))
        }
    }
}

/// Releases that ended well come first, the newest of them; then what else the family has.
async fn by_content(to: &str, current: &str, history: &[Past], clients: &Clients, events: &Events) -> Result<String> {
    let mut deployed: Vec<String> = Vec::new();
    for past in course::path(history).good.iter().rev().copied().chain(history.iter().rev()) {
        if past.succeeded() && !deployed.contains(&past.release.task_definition) {
            deployed.push(past.release.task_definition.clone());
        }
    }
    let mut found = matching(to, &deployed, clients).await?;
    if found.is_empty() {
        let mut others = of_family(family_and_revision(current).0, clients).await?;
        others.retain(|arn| !deployed.contains(arn));
        found = matching(to, &others, clients).await?;
    }
    match found.as_slice() {
        [] => Err(Error::input(format!("no revision of this service has the release or digest `{to}`"))
            .hint("give a revision's number (7), family and number (hello:7) or ARN, a digest (sha256:…) or a release")
            .hint("see `steady rollback --list`")),
        [only] => Ok(only.clone()),
        [first, others @ ..] => {
            let others: Vec<&str> = others.iter().map(|arn| id(arn)).collect();
            let message = format!("`{to}` is {} here, and also {}", id(first), others.join(", "));
            events.emit(Event::Notice { message });
            Ok(first.clone())
        }
    }
}

async fn of_family(family: &str, clients: &Clients) -> Result<Vec<String>> {
    let input =
        |status: &str| json!({ "familyPrefix": family, "status": status, "sort": "DESC", "maxResults": LOOKED_AT });
    let (active, inactive) = tokio::try_join!(
        clients.list_task_definitions(input("ACTIVE")),
        clients.list_task_definitions(input("INACTIVE")),
    )?;
    let mut arns = reply::texts(&active, "taskDefinitionArns");
    arns.extend(reply::texts(&inactive, "taskDefinitionArns"));
    arns.retain(|arn| family_and_revision(arn).0 == family);
    arns.sort_by_key(|arn| std::cmp::Reverse(family_and_revision(arn).1));
    arns.truncate(LOOKED_AT);
    Ok(arns)
}

/// Those of these revisions that have this release, else those that have this digest, in their order.
async fn matching(to: &str, arns: &[String], clients: &Clients) -> Result<Vec<String>> {
    let mut described = Vec::new();
    // ECS lends 20 of these calls a second.
    for some in arns.chunks(10) {
        let asked = some.iter().map(|arn| register::describe(arn, clients));
        described.extend(futures_util::future::try_join_all(asked).await?.into_iter().flatten());
    }
    let arn = |reply: &&Value| text(&reply["taskDefinition"], "taskDefinitionArn").to_owned();
    let released = |reply: &&Value| tag(list(reply, "tags"), register::RELEASE_TAG) == Some(to);
    let by_release: Vec<String> = described.iter().filter(released).map(|reply| arn(&reply)).collect();
    if !by_release.is_empty() {
        return Ok(by_release);
    }
    Ok(described
        .iter()
        .filter(|reply| digests(reply).any(|digest| is_digest(to, digest)))
        .map(|reply| arn(&reply))
        .collect())
}

/// The digests that a described revision names its images by.
pub fn digests(described: &Value) -> impl Iterator<Item = &str> {
    let containers = list(&described["taskDefinition"], "containerDefinitions").iter();
    containers.filter_map(|container| Some(optional(container, "image")?.split_once('@')?.1))
}

/// `to` may be cut short, and without its algorithm; anything shorter than 7 digits is no digest.
pub fn is_digest(to: &str, digest: &str) -> bool {
    let hex = to.strip_prefix("sha256:").unwrap_or(to);
    let own = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.len() >= 7 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) && own.starts_with(&hex.to_lowercase())
}
