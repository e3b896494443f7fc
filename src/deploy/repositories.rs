//! ECR's repositories as a person looks after them: what is there, what one may do there, made and deleted.

use futures_util::stream::{self, StreamExt};
use serde_json::{Map, Value, json};

use super::event::Events;
use super::login;
use super::repository::{self, OWNER, OWNER_TAG};
use crate::aws::reply::{list, millis, optional, text, texts};
use crate::aws::{Clients, Failure};
use crate::config::CreateRepository;
use crate::error::{Error, Kind, Result};
use crate::registry;

/// Most that ECR gives at once.
const PAGE: u64 = 1000;
/// Manifests that are looked into at once.
const LOOKS: usize = 8;

/// All repositories, by name.
pub async fn all(clients: &Clients) -> Result<Vec<Value>> {
    let pages = pages("repositories", json!({}), async |input| clients.describe_repositories(input).await).await?;
    let mut found: Vec<Value> = pages.iter().map(shown).collect();
    found.sort_by(|one, other| text(one, "name").cmp(text(other, "name")));
    Ok(found)
}

/// The items of all pages.
async fn pages(
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
        "scanOnPush": repository.pointer("/imageScanningConfiguration/scanOnPush") == Some(&json!(true)),
        "encryption": optional(encryption, "kmsKey").or(optional(encryption, "encryptionType")).unwrap_or("AES256"),
        "createdAt": millis(repository, "createdAt"),
    })
}

/// A repository's images, the one that was pushed last first; at most `limit` of them.
pub async fn images(name: &str, limit: usize, clients: &Clients) -> Result<Vec<Value>> {
    let found = described(name, clients).await?;
    let input = json!({ "repositoryName": name });
    let mut details = pages("imageDetails", input, async |input| clients.describe_images(input).await).await?;
    details.sort_by_key(|image| std::cmp::Reverse(millis(image, "imagePushedAt")));
    details.truncate(limit);
    let repository = repository::named(name, text(&found, "repositoryUri"));
    let session = login::session(&repository, clients).await?;
    let looks = details.iter().map(|image| {
        let (client, path) = (&session.client, repository.path());
        async move {
            // What cannot be pulled, such as an archived image, has none to show.
            let platforms = registry::platforms(client, path, text(image, "imageDigest")).await.unwrap_or_default();
            json!({
                "digest": text(image, "imageDigest"),
                "tags": texts(image, "imageTags"),
                "size": image["imageSizeInBytes"],
                "platforms": platforms.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "pushedAt": millis(image, "imagePushedAt"),
                "mediaType": text(image, "imageManifestMediaType"),
            })
        }
    });
    Ok(stream::iter(looks).buffered(LOOKS).collect().await)
}

/// What the caller may do in a repository, by doing it in a way that changes nothing: what is refused for want of a
/// permission is named, everything else that is refused was allowed.
pub async fn access(name: &str, clients: &Clients) -> Result<Value> {
    let none = format!("sha256:{}", "0".repeat(64));
    let of = |mut input: Value| {
        input["repositoryName"] = name.into();
        input
    };
    let with = |mut input: Value| {
        input["uploadId"] = "00000000-0000-0000-0000-000000000000".into();
        of(input)
    };
    let (token, images, tags, image, url, layers, begin, part, complete, put) = tokio::join!(
        clients.get_authorization_token(json!({})),
        clients.describe_images(of(json!({ "maxResults": 1 }))),
        clients.list_images(of(json!({ "maxResults": 1 }))),
        clients.batch_get_image(of(json!({ "imageIds": [{ "imageDigest": none }] }))),
        clients.get_download_url_for_layer(of(json!({ "layerDigest": none }))),
        clients.batch_check_layer_availability(of(json!({ "layerDigests": [none] }))),
        // It ends by itself: an upload that nobody goes on with is forgotten.
        clients.initiate_layer_upload(of(json!({}))),
        clients.upload_layer_part(with(json!({ "partFirstByte": 0, "partLastByte": 0, "layerPartBlob": "AA==" }))),
        clients.complete_layer_upload(with(json!({ "layerDigests": [none] }))),
        clients.put_image(of(json!({ "imageManifest": "{}", "imageTag": "steady-access" }))),
    );
    if let Some(failure) = images.as_ref().err().filter(|failure| failure.is("RepositoryNotFoundException")) {
        return Err(failed(failure.clone()));
    }
    let list = [images, tags];
    let pull = [token, image, url];
    let push = [layers, begin, part, complete, put];
    let lacking = |replies: &[std::result::Result<Value, Failure>]| -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for failure in replies.iter().filter_map(|reply| reply.as_ref().err()) {
            if failure.is_denied() {
                missing.push(format!("ecr:{}", failure.operation));
            } else if failure.status.is_none() || failure.status.is_some_and(|status| status >= 500) {
                return Err(failed(failure.clone()));
            }
        }
        Ok(missing)
    };
    let (list, pull, push) = (lacking(&list)?, lacking(&pull)?, lacking(&push)?);
    let login = pull.iter().any(|action| action == "ecr:GetAuthorizationToken");
    let (can_list, can_pull, can_push) = (list.is_empty(), pull.is_empty(), push.is_empty() && !login);
    let missing: Vec<String> = list.into_iter().chain(pull).chain(push).collect();
    Ok(json!({ "repository": name, "list": can_list, "pull": can_pull, "push": can_push, "missing": missing }))
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
}

/// Creates a repository, or brings these settings to the one that is there. How it is encrypted stays as it was made.
pub async fn create(name: &str, new: &NewRepository, clients: &Clients, events: &Events) -> Result<Value> {
    let mut input = json!({ "repositoryName": name, "tags": [{ "Key": OWNER_TAG, "Value": OWNER }] });
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
    let live = described(name, clients).await?;
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
        let input = json!({ "repositoryName": name, "lifecyclePolicyText": lifecycle.to_string() });
        clients.put_lifecycle_policy(input).await.map_err(failed)?;
    }
    let mut outcome = shown(&described(name, clients).await?);
    outcome["status"] = if created { "created" } else { "exists" }.into();
    Ok(outcome)
}

/// Deletes a repository; one that holds images only with `images`.
pub async fn delete(name: &str, images: bool, clients: &Clients) -> Result<Value> {
    let input = json!({ "repositoryName": name, "force": images });
    match clients.delete_repository(input).await {
        Ok(_) => Ok(json!({ "status": "deleted", "repository": name })),
        Err(failure) if failure.is("RepositoryNotEmptyException") => {
            Err(failed(failure).hint("--images deletes it with all that is in it: services may run these images"))
        }
        Err(failure) => Err(failed(failure)),
    }
}

async fn described(name: &str, clients: &Clients) -> Result<Value> {
    let reply = clients.describe_repositories(json!({ "repositoryNames": [name] })).await;
    match reply {
        Ok(reply) => Ok(list(&reply, "repositories").first().cloned().unwrap_or_default()),
        Err(failure) if failure.is("RepositoryNotFoundException") => {
            let names: Vec<String> = all(clients).await?.iter().map(|one| text(one, "name").to_owned()).collect();
            Err(repository::missing(name, &names.iter().map(String::as_str).collect::<Vec<_>>()))
        }
        Err(failure) => Err(failed(failure)),
    }
}

fn failed(failure: Failure) -> Error {
    failure.error(Kind::Preflight)
}
