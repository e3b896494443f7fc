//! Secrets and parameters that a task definition names: there, and in the version that is meant. No value is read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::checked::Checked;
use crate::aws::reply::{list, optional, text, texts};
use crate::aws::{Clients, Identity};
use crate::error::Error;

/// What a container wants, by where it is kept.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// An ARN of Secrets Manager without what selects a part or version of it.
    Secret { id: String, stage: Option<String>, version: Option<String>, region: Option<String> },
    /// Names by which it may be known: an ARN does not say whether the name begins with a slash.
    Parameter { names: Vec<String>, region: Option<String>, account_id: Option<String> },
}

/// `valueFrom`, or the credentials of a registry.
pub fn source(from: &str) -> Source {
    let parts: Vec<&str> = from.split(':').collect();
    let part = |at: usize| parts.get(at).filter(|part| !part.is_empty()).map(|part| (*part).to_owned());
    match parts[..] {
        ["arn", _, "secretsmanager", _, _, ..] => Source::Secret {
            id: parts.get(..7).unwrap_or(&parts).join(":"),
            stage: part(8),
            version: part(9),
            region: part(3),
        },
        ["arn", _, "ssm", _, _, resource, ..] => {
            let path = resource.strip_prefix("parameter").unwrap_or(resource);
            let bare = path.trim_start_matches('/');
            // Of several levels the name always begins with a slash.
            let names = match bare.contains('/') {
                true => vec![format!("/{bare}")],
                false => vec![bare.to_owned(), format!("/{bare}")],
            };
            Source::Parameter { names, region: part(3), account_id: part(4) }
        }
        _ => Source::Parameter { names: vec![from.to_owned()], region: None, account_id: None },
    }
}

/// Everything that the task's containers want, with those who want it.
pub fn wanted(task_definition: &Value) -> BTreeMap<&str, BTreeSet<String>> {
    let mut wanted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for container in list(task_definition, "containerDefinitions") {
        let name = text(container, "name");
        let variables = list(container, "secrets").iter();
        let variables = variables.map(|one| (one, format!("{} of the container `{name}`", text(one, "name"))));
        let options = list(&container["logConfiguration"], "secretOptions").iter();
        let options = options.map(|one| (one, format!("the log option {} of `{name}`", text(one, "name"))));
        let named = variables.chain(options).map(|(one, what)| (optional(one, "valueFrom"), what));
        // A bare name is a secret's here, and a parameter's elsewhere.
        let registry = optional(&container["repositoryCredentials"], "credentialsParameter");
        let registry = registry.filter(|from| from.starts_with("arn:"));
        let registry = (registry, format!("the registry credentials of `{name}`"));
        for (from, what) in named.chain([registry]) {
            if let Some(from) = from {
                wanted.entry(from).or_default().insert(what);
            }
        }
    }
    wanted
}

pub async fn check(task_definition: &Value, identity: &Identity, clients: &Clients) -> Checked {
    let wanted: Vec<Wanted> = wanted(task_definition)
        .into_iter()
        .map(|(from, users)| Wanted { source: source(from), from, users: users.into_iter().collect() })
        .collect();
    let (secrets, parameters): (Vec<&Wanted>, Vec<&Wanted>) =
        wanted.iter().partition(|one| matches!(one.source, Source::Secret { .. }));
    let secrets = futures_util::future::join_all(secrets.into_iter().map(|one| secret(one, clients)));
    let (secrets, parameters) = tokio::join!(secrets, self::parameters(&parameters, identity, clients));
    let mut checked = Checked::new("secrets");
    secrets.into_iter().chain([parameters]).for_each(|looked| checked.add(looked));
    let (of_secrets, of_parameters) =
        wanted.iter().partition::<Vec<_>, _>(|one| matches!(one.source, Source::Secret { .. }));
    for (count, what) in [(of_secrets.len(), "secret"), (of_parameters.len(), "parameter")] {
        if count > 0 {
            checked.looked_at(&format!("{count} {what}{}", if count == 1 { "" } else { "s" }));
        }
    }
    checked
}

/// A place where something is kept, and who wants it.
struct Wanted<'a> {
    source: Source,
    from: &'a str,
    users: Vec<String>,
}

impl Wanted<'_> {
    fn error(&self, what: &str) -> Error {
        Error::preflight(format!("{what}; {} is to come from it", self.users.join(", ")))
    }
}

async fn secret(wanted: &Wanted<'_>, clients: &Clients) -> Checked {
    let mut checked = Checked::new("secrets");
    let Source::Secret { id, stage, version, region } = &wanted.source else { return checked };
    let asked = match region.as_deref().filter(|region| *region != clients.region) {
        Some(region) => clients.with_stores_in(region).describe_secret(id).await,
        None => clients.describe_secret(id).await,
    };
    let found =
        match asked {
            Ok(Some(found)) => found,
            Ok(None) => {
                let error = wanted.error(&format!("the secret {id} does not exist"));
                checked.find(error.hint(
                    "`aws secretsmanager list-secrets` shows those that do; the ARN ends in six random characters",
                ));
                return checked;
            }
            Err(failure) => {
                checked.unread(&format!("the secret {id}"), &failure);
                return checked;
            }
        };
    if !found["DeletedDate"].is_null() {
        let error = wanted.error(&format!("the secret {id} is marked for deletion, and cannot be read"));
        checked.find(error.hint(format!("`aws secretsmanager restore-secret --secret-id {id}`")));
    }
    let versions = &found["VersionIdsToStages"];
    let stages = || versions.as_object().into_iter().flatten().map(|(id, _)| (id, texts(versions, id)));
    if let Some(version) = version.as_ref().filter(|version| versions.get(version.as_str()).is_none()) {
        checked.find(
            wanted
                .error(&format!("the secret {id} has no version {version}"))
                .hint("`aws secretsmanager list-secret-version-ids` lists them"),
        );
    }
    // What is not asked for is the current one, which a secret without a value does not have.
    let stage = stage.as_deref().or(version.is_none().then_some("AWSCURRENT"));
    if let Some(stage) = stage.filter(|stage| !stages().any(|(_, has)| has.iter().any(|has| has == stage))) {
        let error = wanted.error(&format!("the secret {id} has no version in the stage {stage}"));
        checked
            .find(error.hint(format!("put a value into it: `aws secretsmanager put-secret-value --secret-id {id} …`")));
    }
    checked
}

async fn parameters(wanted: &[&Wanted<'_>], identity: &Identity, clients: &Clients) -> Checked {
    let mut by_region: BTreeMap<&str, Vec<&Wanted>> = BTreeMap::new();
    let mut checked = Checked::new("secrets");
    for one in wanted {
        let Source::Parameter { region, account_id, .. } = &one.source else { continue };
        // Those of another account are shared, and cannot be listed.
        if account_id.as_ref().is_some_and(|account| *account != identity.account_id) && clients.endpoint_url.is_none()
        {
            checked.warn(format!("the parameter {} is another account's, and is not checked", one.from), None);
            continue;
        }
        by_region.entry(region.as_deref().unwrap_or(&clients.region)).or_default().push(one);
    }
    let looks = by_region.into_iter().map(|(region, wanted)| in_region(region, wanted, clients));
    futures_util::future::join_all(looks).await.into_iter().for_each(|looked| checked.add(looked));
    checked
}

async fn in_region(region: &str, wanted: Vec<&Wanted<'_>>, clients: &Clients) -> Checked {
    let mut checked = Checked::new("secrets");
    let names = |one: &Wanted| match &one.source {
        Source::Parameter { names, .. } => names.clone(),
        Source::Secret { .. } => Vec::new(),
    };
    let all: BTreeSet<String> = wanted.iter().flat_map(|one| names(one)).collect();
    let all: Vec<String> = all.into_iter().collect();
    let asked = match region == clients.region {
        true => clients.describe_parameters(&all).await,
        false => clients.with_stores_in(region).describe_parameters(&all).await,
    };
    let found = match asked {
        Ok(found) => found,
        Err(failure) => {
            let what = if all.len() == 1 { "the parameter" } else { "the parameters" };
            let named: Vec<&str> = wanted.iter().map(|one| one.from).collect();
            checked.unread(&format!("{what} {}", named.join(", ")), &failure);
            return checked;
        }
    };
    for one in wanted {
        // AWS's own and references to secrets are never listed, and neither are versions.
        if names(one).iter().any(|name| name.starts_with("/aws/") || name.contains(':')) {
            continue;
        }
        let is_there = names(one).iter().any(|name| found.iter().any(|found| text(found, "Name") == name));
        if !is_there {
            let error = one.error(&format!("the parameter {} does not exist in {region}", one.from));
            checked.find(error.hint("create it: `aws ssm put-parameter --type SecureString --name …`; its name begins with a slash where it has several levels"));
        }
    }
    checked
}
