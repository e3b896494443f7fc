//! The repository that an image is pushed to: found, or created and set up as the plan says.

pub mod access;
pub mod images;
pub mod repositories;

use serde_json::{Value, json};

use super::event::{Event, Events, ResourceAction};
use super::load_balancer::SERVICE_TAG;
use crate::aws::Clients;
use crate::aws::reply::{list, optional, text};
use crate::config::{CreateRepository, ImagePlan};
use crate::error::{Error, Kind, Result, nearest};
use crate::image::Reference;

/// Marks what steady created, so that `delete` never takes what it did not.
pub const OWNER_TAG: &str = "steady:created-by";
pub const OWNER: &str = "steady";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repository {
    /// `uri` is `host/name`; `account_id` is known when the host is ECR's own. `exists` is false before it is created.
    Ecr { name: String, uri: String, account_id: Option<String>, described: bool, exists: bool },
    /// Any other registry: nothing is asked of ECR.
    Other { registry: String, path: String },
}

impl Repository {
    /// The repository of a reference: nothing is asked of this account's ECR about it.
    pub fn of(reference: &Reference) -> Self {
        match reference.ecr() {
            Some(host) => Repository::Ecr {
                name: reference.repository.clone(),
                uri: reference.name(),
                account_id: Some(host.account_id),
                described: false,
                exists: true,
            },
            None => Repository::Other { registry: reference.registry.clone(), path: reference.repository.clone() },
        }
    }

    /// `host/path`, to which tags and digests are appended.
    pub fn uri(&self) -> String {
        match self {
            Repository::Ecr { uri, .. } => uri.clone(),
            Repository::Other { registry, path } => format!("{registry}/{path}"),
        }
    }

    pub fn registry(&self) -> &str {
        match self {
            Repository::Ecr { uri, .. } => uri.split('/').next().unwrap_or_default(),
            Repository::Other { registry, .. } => registry,
        }
    }

    /// The path below the registry's `/v2/`.
    pub fn path(&self) -> &str {
        match self {
            Repository::Ecr { uri, .. } => uri.split_once('/').map_or(uri, |(_, path)| path),
            Repository::Other { path, .. } => path,
        }
    }

    pub fn is_ecr(&self) -> bool {
        matches!(self, Repository::Ecr { .. })
    }

    /// The name to ask this account's ECR about; `None` for what was named in full.
    pub fn ecr_name(&self) -> Option<&str> {
        match self {
            Repository::Ecr { name, described: true, .. } => Some(name),
            _ => None,
        }
    }
}

/// A repository named in full that is not ECR's.
pub fn elsewhere(repository: &str) -> Result<Option<Repository>> {
    if !names_registry(repository) {
        return Ok(None);
    }
    Ok(Some(Repository::of(&repository.parse()?)).filter(|repository| !repository.is_ecr()))
}

/// Whether a repository is named in full, that is with its registry's host.
pub fn names_registry(repository: &str) -> bool {
    repository.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost")
        || repository.contains("://")
}

/// Finds the plan's repository without changing anything. `None` when the plan has no image.
pub async fn find(plan: Option<&ImagePlan>, clients: &Clients) -> Result<Option<Repository>> {
    let Some(plan) = plan else { return Ok(None) };
    find_named(&plan.repository, plan.create.is_some(), clients).await.map(Some)
}

/// Finds a repository by its name at ECR, or with its registry in full. With `create` it may be missing.
pub async fn find_named(name: &str, create: bool, clients: &Clients) -> Result<Repository> {
    let mut name = name;
    let reference: Reference;
    let mut full = None;
    if names_registry(name) {
        reference = name.parse()?;
        let Some(host) = reference.ecr() else { return Ok(Repository::of(&reference)) };
        // Another endpoint, such as the lab's, stands for all of AWS: its ECR is meant, and nothing goes to the real one.
        if clients.endpoint_url.is_none() {
            let caller = clients.identity().await.map_err(|failure| failure.error(Kind::Preflight))?;
            if (host.account_id.as_str(), host.region.as_str()) != (&*caller.account_id, &*clients.region) {
                return match create {
                    true => Err(elsewhere_in_ecr(&reference, &caller.account_id, &clients.region)),
                    false => Ok(Repository::of(&reference)),
                };
            }
            // The host as it was written: it may be one for FIPS or IPv6.
            full = Some(reference.name());
        }
        name = &reference.repository;
    }
    match clients.describe_repositories(json!({ "repositoryNames": [name] })).await {
        Ok(reply) => {
            let found = list(&reply, "repositories").first().map_or("", |found| text(found, "repositoryUri"));
            if found.is_empty() {
                return Err(missing(name, &[]));
            }
            Ok(ecr(name, full.as_deref().unwrap_or(found), true))
        }
        Err(failure) if failure.is("RepositoryNotFoundException") && create => {
            Ok(ecr(name, full.as_deref().unwrap_or(name), false))
        }
        Err(failure) if failure.is("RepositoryNotFoundException") => {
            let all = clients.describe_repositories(json!({ "maxResults": 1000 })).await.unwrap_or_default();
            let names: Vec<&str> = list(&all, "repositories").iter().map(|one| text(one, "repositoryName")).collect();
            Err(missing(name, &names))
        }
        Err(failure) => Err(failure.error(Kind::Preflight)),
    }
}

/// Where an image that ECR's host names is pulled from. Another endpoint, such as the lab's, stands for all of AWS: its
/// ECR is meant, and nothing goes to the real one.
pub async fn of_ecr(reference: &Reference, clients: &Clients) -> Result<Repository> {
    if clients.endpoint_url.is_none() {
        return Ok(Repository::of(reference));
    }
    let name = reference.repository.as_str();
    let reply = clients.describe_repositories(json!({ "repositoryNames": [name] })).await;
    let reply = reply.map_err(|failure| match failure.is("RepositoryNotFoundException") {
        true => missing(name, &[]).with_kind(Kind::BuildOrPush),
        false => failure.error(Kind::BuildOrPush),
    })?;
    let found = list(&reply, "repositories").first().map_or("", |found| text(found, "repositoryUri"));
    Ok(ecr(name, found, true))
}

/// A repository of the caller's own, by what DescribeRepositories says of it.
pub fn named(name: &str, uri: &str) -> Repository {
    ecr(name, uri, true)
}

fn ecr(name: &str, uri: &str, exists: bool) -> Repository {
    Repository::Ecr { name: name.to_owned(), uri: uri.to_owned(), account_id: None, described: true, exists }
}

fn elsewhere_in_ecr(reference: &Reference, account: &str, region: &str) -> Error {
    let message = format!("the repository {} cannot be created from here", reference.name());
    Error::preflight(message)
        .hint(format!("`create` is for repositories of the caller's own account and region, {account} in {region}"))
        .hint("leave it out if the repository exists, or use that region or those credentials: --region, --profile")
}

pub(super) fn missing(name: &str, others: &[&str]) -> Error {
    let error = Error::preflight(format!("the ECR repository `{name}` does not exist"));
    let error = match nearest(name, others.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    };
    error.hint("let steady create it: `create: true` below `image:`, or --create-repository")
}

/// Creates the repository when it is missing and brings the plan's settings to it. What is as it should be is left alone.
/// `wanted_policy` is the plan's, rendered; `owner` is `cluster/service`.
pub async fn ensure(
    found: Repository,
    create: Option<&CreateRepository>,
    wanted_policy: Option<&Value>,
    owner: &str,
    clients: &Clients,
    events: &Events,
) -> Result<Repository> {
    let (Some(create), Some(name)) = (create, found.ecr_name().map(str::to_owned)) else { return Ok(found) };
    let repository = match &found {
        Repository::Ecr { exists: false, .. } => {
            let tags = json!([{ "Key": OWNER_TAG, "Value": OWNER }, { "Key": SERVICE_TAG, "Value": owner }]);
            let mut input = json!({ "repositoryName": name, "tags": tags });
            put_settings(create, &mut input);
            match clients.create_repository(input).await {
                Ok(reply) => {
                    changed(events, ResourceAction::Created, "repository", &name);
                    reply["repository"].clone()
                }
                // Another run was faster.
                Err(failure) if failure.is("RepositoryAlreadyExistsException") => describe(&name, clients).await?,
                Err(failure) => return Err(failure.error(Kind::BuildOrPush)),
            }
        }
        _ => describe(&name, clients).await?,
    };
    let (settings, policy) = tokio::join!(
        settings(&name, create, &repository, clients, events),
        policy(&name, wanted_policy, clients, events)
    );
    settings?;
    policy?;
    let uri = found.uri();
    let uri = if names_registry(&uri) { &uri } else { text(&repository, "repositoryUri") };
    Ok(ecr(&name, uri, true))
}

async fn describe(name: &str, clients: &Clients) -> Result<Value> {
    let asked = clients.describe_repositories(json!({ "repositoryNames": [name] })).await;
    let reply = asked.map_err(|failure| failure.error(Kind::BuildOrPush))?;
    Ok(list(&reply, "repositories").first().cloned().unwrap_or_default())
}

/// The settings that CreateRepository takes.
pub(super) fn put_settings(create: &CreateRepository, input: &mut Value) {
    if let Some(mutability) = &create.tag_mutability {
        put_mutability(mutability, &create.tag_mutability_exclusions, input);
    }
    if let Some(scan) = create.scan_on_push {
        input["imageScanningConfiguration"] = json!({ "scanOnPush": scan });
    }
}

fn put_mutability(mutability: &str, exclusions: &[String], input: &mut Value) {
    input["imageTagMutability"] = mutability.into();
    if !exclusions.is_empty() {
        input["imageTagMutability"] = format!("{mutability}_WITH_EXCLUSION").into();
        let filters = exclusions.iter().map(|filter| json!({ "filterType": "WILDCARD", "filter": filter }));
        input["imageTagMutabilityExclusionFilters"] = filters.collect();
    }
}

/// What a repository's exclusions from its tag mutability are, sorted.
pub(super) fn exclusions(repository: &Value) -> Vec<String> {
    let filters = list(repository, "imageTagMutabilityExclusionFilters");
    let mut filters: Vec<String> = filters.iter().map(|filter| text(filter, "filter").to_owned()).collect();
    filters.sort();
    filters
}

async fn settings(
    name: &str,
    create: &CreateRepository,
    live: &Value,
    clients: &Clients,
    events: &Events,
) -> Result<()> {
    if let Some(mutability) = &create.tag_mutability {
        let mut input = json!({ "repositoryName": name });
        put_mutability(mutability, &create.tag_mutability_exclusions, &mut input);
        let is_other = optional(live, "imageTagMutability").unwrap_or("MUTABLE") != text(&input, "imageTagMutability");
        if is_other || exclusions(live) != exclusions(&input) {
            clients.put_image_tag_mutability(input).await.map_err(|failure| failure.error(Kind::BuildOrPush))?;
            changed(events, ResourceAction::Updated, "tag mutability", name);
        }
    }
    let scans = live.pointer("/imageScanningConfiguration/scanOnPush").and_then(Value::as_bool).unwrap_or_default();
    if let Some(scan) = create.scan_on_push
        && scans != scan
    {
        let input = json!({ "repositoryName": name, "imageScanningConfiguration": { "scanOnPush": scan } });
        clients.put_image_scanning_configuration(input).await.map_err(|failure| failure.error(Kind::BuildOrPush))?;
        changed(events, ResourceAction::Updated, "scan on push", name);
    }
    Ok(())
}

async fn policy(name: &str, wanted: Option<&Value>, clients: &Clients, events: &Events) -> Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let live = match clients.get_repository_policy(json!({ "repositoryName": name })).await {
        Ok(reply) => serde_json::from_str(text(&reply, "policyText")).ok(),
        Err(failure) if failure.is("RepositoryPolicyNotFoundException") => None,
        Err(failure) => return Err(failure.error(Kind::BuildOrPush)),
    };
    let Some(merged) = merge_policy(live.as_ref(), wanted) else { return Ok(()) };
    let input = json!({ "repositoryName": name, "policyText": merged.to_string() });
    clients.set_repository_policy(input).await.map_err(|failure| failure.error(Kind::BuildOrPush))?;
    changed(events, ResourceAction::Updated, "repository policy", name);
    Ok(())
}

/// The live policy with the wanted statements in it, by `Sid`; `None` when it has them all as they are wanted.
/// SetRepositoryPolicy replaces the whole policy, so what others wrote has to be in it.
pub fn merge_policy(live: Option<&Value>, wanted: &Value) -> Option<Value> {
    let Some(live) = live else { return Some(wanted.clone()) };
    let statements = |policy: &Value| match policy.get("Statement") {
        Some(Value::Array(statements)) => statements.clone(),
        Some(statement) => vec![statement.clone()],
        None => Vec::new(),
    };
    let mut merged = statements(live);
    for statement in statements(wanted) {
        let sid = optional(&statement, "Sid");
        let same = |other: &Value| same_statement(other, &statement);
        let place = match sid {
            Some(sid) => merged.iter().position(|other| optional(other, "Sid") == Some(sid)),
            None => merged.iter().position(same),
        };
        match place {
            Some(at) if same(&merged[at]) => {}
            Some(at) => merged[at] = statement,
            None => merged.push(statement),
        }
    }
    if merged == statements(live) {
        return None;
    }
    let mut policy = live.clone();
    policy["Statement"] = Value::Array(merged);
    Some(policy)
}

/// Equal as IAM reads them: one value is the same as a list of it, and lists have no order.
fn same_statement(one: &Value, other: &Value) -> bool {
    fn canonical(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().map(|(key, value)| (key.clone(), canonical(value))).collect();
                members.sort_by(|one, other| one.0.cmp(&other.0));
                Value::Object(members.into_iter().collect())
            }
            Value::Array(items) => {
                let mut items: Vec<Value> = items.iter().map(canonical).collect();
                items.sort_by_key(Value::to_string);
                items.dedup();
                if items.len() == 1 { items.remove(0) } else { Value::Array(items) }
            }
            other => other.clone(),
        }
    }
    canonical(one) == canonical(other)
}

fn changed(events: &Events, action: ResourceAction, kind: &str, id: &str) {
    events.emit(Event::Resource { action, kind: kind.to_owned(), id: id.to_owned() });
}
