//! ECR: repositories, their images and layers. The registry under `/v2/` works on the same [`EcrState`].

mod account;
mod blobs;
mod images;
mod layers;
mod lifecycle;
pub mod manifest;
mod referrers;
mod repositories;
mod resolve;
mod scans;
mod storage;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::api::{ApiError, ApiResult};
use super::conformance;
use super::{Lab, Settings};
use crate::aws_model::Service;

pub use blobs::{
    SMALL_PART, SMALLEST_PART, Taken, Unavailable, Upload, Uploads, blob_path, blobs_folder, digest_of, is_digest,
};
use blobs::{digest_like, prepared_path};
pub use images::immutable_text;
pub use lifecycle::run as keep_expiring;
pub use repositories::is_repository_name;
pub use resolve::resolve_image;
pub use token::{Login, authorize, layer_url_allows};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EcrState {
    pub repositories: BTreeMap<String, Repository>,
    tokens: Vec<token::Token>,
    account_settings: BTreeMap<String, String>,
    registry_policy: Option<String>,
    /// Blobs that nothing refers to any more, whose files stay until that is saved: a lab that is killed before that
    /// has them still.
    #[serde(skip)]
    unused: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Repository {
    pub name: String,
    /// Epoch milliseconds.
    pub created_at: i64,
    pub tag_mutability: String,
    pub tag_mutability_exclusion_filters: Vec<Value>,
    pub scan_on_push: bool,
    pub encryption: Option<Value>,
    pub policy: Option<String>,
    pub lifecycle_policy: Option<String>,
    /// Epoch milliseconds.
    pub lifecycle_evaluated_at: Option<i64>,
    pub lifecycle_preview: Option<lifecycle::Preview>,
    pub resource_tags: BTreeMap<String, String>,
    /// Configs and layers that this repository has, by digest, with their size in bytes.
    pub blobs: BTreeMap<String, u64>,
    /// By manifest digest.
    pub images: BTreeMap<String, Image>,
    /// Tag to manifest digest.
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    pub media_type: String,
    /// Of the manifest, in bytes.
    pub manifest_size: u64,
    /// Of what it refers to, in bytes, as ECR counts `imageSizeInBytes`.
    pub image_size: u64,
    /// The config's media type, or the artifact's.
    pub artifact_media_type: Option<String>,
    /// The digest of the manifest that this one is about.
    pub subject: Option<String>,
    /// What a list of referrers says about it; kept where there is a subject.
    pub annotations: BTreeMap<String, String>,
    /// Blobs and manifests that it refers to, by digest.
    pub refers_to: Vec<String>,
    /// Epoch milliseconds.
    pub pushed_at: i64,
    /// When its last pull was recorded, in epoch milliseconds.
    pub pulled_at: Option<i64>,
    pub storage: storage::Storage,
    /// When its last scan began, in epoch milliseconds.
    pub scanned_at: Option<i64>,
}

/// ECR, `AmazonEC2ContainerRegistry_V20150921`.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let answer = self::operation(operation).ok_or_else(|| ApiError::unknown_operation(operation));
    let answer = answer.map(|answer| {
        move |input: Value| {
            check_registry_id(&lab.settings, operation, &input)?;
            answer(lab, &input)
        }
    });
    conformance::answered(Service::Ecr, operation, input, answer)
}

/// The public registry's API, `SpencerFrontendService`: its token. The lab has no public registry that it would be good for.
pub fn handle_public(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let answer = match operation {
        "GetAuthorizationToken" => Ok(|_: Value| Ok(token::issue_public(lab.clock.now()))),
        _ => Err(ApiError::unknown_operation(operation)),
    };
    conformance::answered(Service::EcrPublic, operation, input, answer)
}

fn operation(name: &str) -> Option<fn(&Lab, &Value) -> ApiResult> {
    Some(match name {
        "CreateRepository" => repositories::create,
        "DescribeRepositories" => repositories::describe,
        "DeleteRepository" => repositories::delete,
        "TagResource" => repositories::tag,
        "UntagResource" => repositories::untag,
        "ListTagsForResource" => repositories::list_tags,
        "SetRepositoryPolicy" => repositories::set_policy,
        "GetRepositoryPolicy" => repositories::get_policy,
        "DeleteRepositoryPolicy" => repositories::delete_policy,
        "PutLifecyclePolicy" => lifecycle::put,
        "GetLifecyclePolicy" => lifecycle::get,
        "DeleteLifecyclePolicy" => lifecycle::delete,
        "StartLifecyclePolicyPreview" => lifecycle::start_preview,
        "GetLifecyclePolicyPreview" => lifecycle::get_preview,
        "PutAccountSetting" => account::put_setting,
        "GetAccountSetting" => account::get_setting,
        "PutRegistryPolicy" => account::put_policy,
        "GetRegistryPolicy" => |lab, _| account::get_policy(lab),
        "DeleteRegistryPolicy" => |lab, _| account::delete_policy(lab),
        "ListImageReferrers" => referrers::list,
        "PutImageTagMutability" => repositories::put_tag_mutability,
        "PutImageScanningConfiguration" => repositories::put_scanning,
        "DescribeImages" => images::describe,
        "ListImages" => images::list,
        "BatchGetImage" => images::batch_get,
        "BatchDeleteImage" => images::batch_delete,
        "PutImage" => images::put,
        "UpdateImageStorageClass" => storage::update,
        "StartImageScan" => scans::start,
        "DescribeImageScanFindings" => scans::findings,
        "BatchCheckLayerAvailability" => layers::check_availability,
        "InitiateLayerUpload" => layers::initiate,
        "UploadLayerPart" => layers::upload_part,
        "CompleteLayerUpload" => layers::complete,
        "GetDownloadUrlForLayer" => layers::download_url,
        "GetAuthorizationToken" => |lab, _| token::issue(lab),
        "DescribeRegistry" => |lab, _| account::describe_registry(lab),
        _ => return None,
    })
}

impl EcrState {
    /// Of these digests, those that no repository has go with the next save.
    pub fn collect(&mut self, candidates: impl IntoIterator<Item = String>) {
        let gone = candidates.into_iter().filter(|digest| is_digest(digest) && !self.has(digest));
        let gone: Vec<String> = gone.collect();
        self.unused.extend(gone);
    }

    /// Makes the state and the blob folder one again: what has no file can be pushed anew, and what a lab left behind
    /// that was killed is collected.
    pub fn collect_all(&mut self, data: &Path) {
        let stored: BTreeSet<String> = blobs::stored(data).into_iter().collect();
        for Repository { name, blobs, images, tags, .. } in self.repositories.values_mut() {
            blobs.retain(|digest, _| stored.contains(digest));
            images.retain(|digest, _| {
                let is_there = stored.contains(digest);
                if !is_there {
                    tracing::warn!(repository = %name, %digest, "an image's manifest is gone from the lab's folder");
                }
                is_there
            });
            tags.retain(|_, digest| images.contains_key(digest));
        }
        self.collect(stored);
    }

    /// What [`EcrState::sweep`] may delete when all that is in this state now is saved.
    pub fn unused(&self) -> BTreeSet<String> {
        self.unused.clone()
    }

    /// Deletes the files of these blobs from `data`, but not of those that came again.
    pub fn sweep(&mut self, data: &Path, unused: &BTreeSet<String>) {
        for digest in unused.iter().filter(|digest| self.unused.remove(*digest)).collect::<Vec<_>>() {
            if !self.has(digest) {
                let _ = std::fs::remove_file(blob_path(data, digest));
            }
        }
    }

    fn has(&self, digest: &str) -> bool {
        self.repositories.values().any(|repository| repository.has(digest))
    }
}

impl Repository {
    fn has(&self, digest: &str) -> bool {
        self.blobs.contains_key(digest) || self.images.contains_key(digest)
    }

    /// The manifest digest that a tag or digest names here.
    pub fn find(&self, reference: &str) -> Option<(&String, &Image)> {
        let digest = self.tags.get(reference).map_or(reference, String::as_str);
        self.images.get_key_value(digest)
    }

    /// All tags of an image, sorted.
    pub fn tags_of(&self, digest: &str) -> Vec<&str> {
        self.tags.iter().filter(|(_, tagged)| *tagged == digest).map(|(tag, _)| tag.as_str()).collect()
    }
}

fn check_registry_id(settings: &Settings, operation: &str, input: &Value) -> Result<(), ApiError> {
    match input.get("registryId").and_then(Value::as_str) {
        Some(id) if id.len() != 12 || !id.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(invalid("registryId", "must satisfy regular expression '[0-9]{12}'"))
        }
        // The one operation with a registry in which nothing can be missing.
        Some(id) if id != settings.account_id && operation == "CreateRepository" => {
            let name = required(input, "repositoryName")?;
            let arn = format!("arn:aws:ecr:{}:{id}:repository/{name}", settings.region);
            Err(settings.not_authorized("ecr:CreateRepository", &arn))
        }
        Some(id) if id != settings.account_id => {
            let named = input["repositoryName"].as_str().or_else(|| input["repositoryNames"][0].as_str());
            Err(not_found(named.unwrap_or_default(), id))
        }
        _ => Ok(()),
    }
}

fn not_found(name: &str, registry_id: &str) -> ApiError {
    ApiError::new(
        "RepositoryNotFoundException",
        format!("The repository with name '{name}' does not exist in the registry with id '{registry_id}'"),
    )
}

fn invalid(parameter: &str, constraint: &str) -> ApiError {
    ApiError::new(
        "InvalidParameterException",
        format!("Invalid parameter at '{parameter}' failed to satisfy constraint: '{constraint}'"),
    )
}

fn required<'a>(input: &'a Value, parameter: &str) -> Result<&'a str, ApiError> {
    input.get(parameter).and_then(Value::as_str).ok_or_else(|| invalid(parameter, "Member must not be null"))
}

fn required_list<'a>(input: &'a Value, parameter: &str, most: usize) -> Result<&'a [Value], ApiError> {
    let items = input.get(parameter).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() || items.len() > most {
        return Err(invalid(parameter, &format!("Member must have length between 1 and {most}")));
    }
    Ok(items)
}

/// The repository that `repositoryName` names.
fn repository<'a>(state: &'a EcrState, settings: &Settings, input: &Value) -> Result<&'a Repository, ApiError> {
    let name = required(input, "repositoryName")?;
    state.repositories.get(name).ok_or_else(|| not_found(name, &settings.account_id))
}

fn repository_mut<'a>(
    state: &'a mut EcrState,
    settings: &Settings,
    input: &Value,
) -> Result<&'a mut Repository, ApiError> {
    let name = required(input, "repositoryName")?;
    state.repositories.get_mut(name).ok_or_else(|| not_found(name, &settings.account_id))
}

/// The `imageIds` of a request that lists some or all. Those that are named come without pages.
fn listed_ids(input: &Value) -> Result<Option<&[Value]>, ApiError> {
    listed(input, "imageIds")
}

fn listed<'a>(input: &'a Value, parameter: &str) -> Result<Option<&'a [Value]>, ApiError> {
    let Some(named) = input.get(parameter).and_then(Value::as_array).filter(|named| !named.is_empty()) else {
        return Ok(None);
    };
    match ["maxResults", "nextToken"].into_iter().find(|page| input.get(page).is_some()) {
        Some(page) => Err(invalid(page, &format!("Member must not be set together with {parameter}"))),
        None => Ok(Some(named)),
    }
}

fn named(lab: &Lab, input: &Value) -> Map<String, Value> {
    Map::from_iter([
        ("registryId".to_owned(), lab.settings.account_id.as_str().into()),
        ("repositoryName".to_owned(), input["repositoryName"].clone()),
    ])
}

/// The page that `maxResults` and `nextToken` ask for, and the token of the next one.
fn page<T>(items: Vec<T>, input: &Value) -> Result<(Vec<T>, Option<String>), ApiError> {
    page_of(items, input, 100)
}

/// As [`page`], with another size where the input asks for none.
fn page_of<T>(items: Vec<T>, input: &Value, default: usize) -> Result<(Vec<T>, Option<String>), ApiError> {
    let start = match input.get("nextToken").and_then(Value::as_str) {
        None => 0,
        Some(token) => BASE64
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<usize>().ok())
            .ok_or_else(|| invalid("nextToken", "Invalid token"))?,
    };
    let most = match input.get("maxResults") {
        None => default,
        Some(most) => {
            most.as_u64()
                .filter(|most| (1..=1000).contains(most))
                .ok_or_else(|| invalid("maxResults", "Member must have value between 1 and 1000"))? as usize
        }
    };
    let end = start.saturating_add(most);
    let next = (items.len() > end).then(|| BASE64.encode(end.to_string()));
    Ok((items.into_iter().skip(start).take(most).collect(), next))
}
