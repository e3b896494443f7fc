//! ECR's repositories as a person looks after them: what is there, what one may do there, made and deleted.

use serde_json::{Map, Value, json};

use super::{OWNER, OWNER_TAG};
use crate::aws::reply::{list, millis, optional, text};
use crate::aws::{Clients, Failure};
use crate::config::CreateRepository;
use crate::deploy::event::Events;
use crate::deploy::repository;
use crate::error::{Error, Kind, Result};
use crate::image::reference::is_loopback;
use crate::image::{EcrHost, Reference};

/// Most that ECR gives at once.
const PAGE: u64 = 1000;

/// A repository that somebody named, and who to ask about it.
pub struct Place {
    pub name: String,
    /// The account, where the whole address was given.
    registry_id: Option<String>,
    pub clients: Clients,
}

impl Place {
    /// By its name in the caller's own registry, or by its whole address, which names account and region.
    ///
    /// # Errors
    /// `Input` when it is no repository of ECR's.
    pub fn of(named: &str, clients: &Clients) -> Result<Place> {
        let own = |name: &str| Place { name: name.to_owned(), registry_id: None, clients: clients.clone() };
        if !repository::names_registry(named) {
            return Ok(own(named));
        }
        let reference: Reference = named.parse()?;
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(Error::input(format!("`{named}` is an image, where a repository is wanted"))
                .hint(format!("did you mean `{}`?", reference.name())));
        }
        let name = reference.repository.clone();
        match EcrHost::parse(&reference.registry) {
            Some(host) => {
                let clients =
                    if host.region == clients.region { clients.clone() } else { clients.with_ecr_in(&host.region) };
                Ok(Place { name, registry_id: Some(host.account_id), clients })
            }
            // the lab's own
            None if clients.endpoint_url.is_some() && is_loopback(&reference.registry) => Ok(own(&name)),
            None => Err(Error::input(format!("{} is not a registry of ECR", reference.registry))
                .hint("`steady repo` looks after ECR's private repositories only")),
        }
    }

    /// An operation's input with the repository in it.
    pub(in crate::deploy) fn input(&self, mut input: Value) -> Value {
        input["repositoryName"] = self.name.as_str().into();
        if let Some(account) = &self.registry_id {
            input["registryId"] = account.as_str().into();
        }
        input
    }

    pub(in crate::deploy) async fn described(&self) -> Result<Value> {
        let mut input = self.input(json!({}));
        input["repositoryNames"] = json!([input["repositoryName"].take()]);
        if let Some(members) = input.as_object_mut() {
            members.remove("repositoryName");
        }
        match self.clients.describe_repositories(input).await {
            Ok(reply) => Ok(list(&reply, "repositories").first().cloned().unwrap_or_default()),
            Err(failure) if failure.is("RepositoryNotFoundException") && self.registry_id.is_none() => {
                let names: Vec<String> =
                    all(&self.clients).await?.iter().map(|one| text(one, "name").to_owned()).collect();
                Err(repository::missing(&self.name, &names.iter().map(String::as_str).collect::<Vec<_>>()))
            }
            Err(failure) => Err(failed(failure)),
        }
    }
}

/// All repositories, by name.
pub async fn all(clients: &Clients) -> Result<Vec<Value>> {
    let pages = pages("repositories", json!({}), async |input| clients.describe_repositories(input).await).await?;
    let mut found: Vec<Value> = pages.iter().map(shown).collect();
    found.sort_by(|one, other| text(one, "name").cmp(text(other, "name")));
    Ok(found)
}

/// The items of all pages.
pub(in crate::deploy) async fn pages(
    items: &str,
    mut input: Value,
    ask: impl AsyncFn(Value) -> std::result::Result<Value, Failure>,
) -> Result<Vec<Value>> {
    input["maxResults"] = PAGE.into();
    let mut found = Vec::new();
    loop {
        let reply = ask(input.clone()).await.map_err(failed)?;
        found.extend(list(&reply, items).iter().cloned());
        match optional(&reply, "nextToken") {
            Some(next) => input["nextToken"] = next.into(),
            None => return Ok(found),
        }
    }
}

fn shown(repository: &Value) -> Value {
    let encryption = &repository["encryptionConfiguration"];
    json!({
        "name": text(repository, "repositoryName"),
        "uri": text(repository, "repositoryUri"),
        "tagMutability": optional(repository, "imageTagMutability").unwrap_or("MUTABLE"),
        "tagMutabilityExclusions": repository::exclusions(repository),
        "scanOnPush": repository.pointer("/imageScanningConfiguration/scanOnPush") == Some(&json!(true)),
        "encryption": optional(encryption, "kmsKey").or(optional(encryption, "encryptionType")).unwrap_or("AES256"),
        "createdAt": millis(repository, "createdAt"),
    })
}

/// How a new repository is to be.
#[derive(Debug, Clone, Default)]
pub struct NewRepository {
    pub settings: CreateRepository,
    /// A repository policy, and a lifecycle policy.
    pub policy: Option<Value>,
    pub lifecycle: Option<Value>,
    /// `AES256`, `KMS`, or a KMS key's ARN.
    pub encryption: Option<String>,
    /// Resource tags, for one that is made.
    pub tags: Vec<(String, String)>,
}

/// Creates a repository, or brings these settings to the one that is there. How it is encrypted stays as it was made.
pub async fn create(place: &Place, new: &NewRepository, events: &Events) -> Result<Value> {
    let (name, clients) = (&place.name, &place.clients);
    let mut tags = vec![json!({ "Key": OWNER_TAG, "Value": OWNER })];
    tags.extend(new.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })));
    let mut input = place.input(json!({ "tags": tags }));
    repository::put_settings(&new.settings, &mut input);
    if let Some(encryption) = &new.encryption {
        let mut configuration = Map::new();
        let kind = if encryption == "AES256" { "AES256" } else { "KMS" };
        configuration.insert("encryptionType".into(), kind.into());
        if encryption.starts_with("arn:") {
            configuration.insert("kmsKey".into(), encryption.as_str().into());
        }
        input["encryptionConfiguration"] = configuration.into();
    }
    let created = match clients.create_repository(input).await {
        Ok(_) => true,
        Err(failure) if failure.is("RepositoryAlreadyExistsException") => false,
        Err(failure) => return Err(failed(failure)),
    };
    let live = place.described().await?;
    let encrypted = text(&shown(&live), "encryption").to_owned();
    if let Some(wanted) = new.encryption.as_deref().filter(|_| !created)
        && !(encrypted == wanted || wanted == "KMS" && encrypted.starts_with("arn:"))
    {
        return Err(Error::preflight(format!("{name} is encrypted with {encrypted}, and not with {wanted}"))
            .hint("ECR fixes that when a repository is made: make another one, and bring the images there"));
    }
    let found = repository::named(name, text(&live, "repositoryUri"));
    repository::ensure(found, Some(&new.settings), new.policy.as_ref(), name, clients, events).await?;
    if let Some(lifecycle) = &new.lifecycle {
        let input = place.input(json!({ "lifecyclePolicyText": lifecycle.to_string() }));
        clients.put_lifecycle_policy(input).await.map_err(failed)?;
    }
    let mut outcome = shown(&place.described().await?);
    outcome["status"] = if created { "created" } else { "exists" }.into();
    Ok(outcome)
}

/// Deletes a repository; one that holds images only with `images`.
pub async fn delete(place: &Place, images: bool) -> Result<Value> {
    match place.clients.delete_repository(place.input(json!({ "force": images }))).await {
        Ok(_) => Ok(json!({ "status": "deleted", "repository": place.name })),
        Err(failure) if failure.is("RepositoryNotEmptyException") => {
            Err(failed(failure).hint("--images deletes it with all that is in it: services may run these images"))
        }
        Err(failure) if failure.is("RepositoryNotFoundException") => match place.described().await {
            Err(missing) => Err(missing),
            Ok(_) => Err(failed(failure)),
        },
        Err(failure) => Err(failed(failure)),
    }
}

pub(in crate::deploy) fn failed(failure: Failure) -> Error {
    failure.error(Kind::Preflight)
}
