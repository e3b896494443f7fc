//! Pushing an image: what is missing, largest first and side by side, then the manifest, then its tags.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use futures_util::stream::{StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Method};

use super::client::Client;
use super::gate::Gate;
use super::pull::{get_manifest, head_manifest};
use super::retry::{Failure, Refusal, persist};
use super::upload::{Transfer, check_digest};
use super::{BlobState, Progress, Scope};
use crate::error::{Error, Result};
use crate::image::{Blob, Image, reference};

/// Uploads at once; halved each time the registry says that it is too much.
const PARALLEL: usize = 8;

#[derive(Debug, Clone)]
pub struct PushOptions {
    /// Digests that the repository has, if the caller asked already (ECR's `BatchCheckLayerAvailability`); all
    /// others are uploaded without asking. `None`: ask for each.
    pub known: Option<HashSet<String>>,
    /// Digests that the repository has in any case.
    pub present: HashSet<String>,
    /// Repositories of the same registry to mount blobs from.
    pub mount_from: Vec<String>,
    /// By digest, another repository of the same registry that is known to have the blob: asked before the others.
    pub found_in: HashMap<String, String>,
    pub parallel: usize,
}

impl Default for PushOptions {
    fn default() -> Self {
        PushOptions {
            known: None,
            present: HashSet::new(),
            mount_from: Vec::new(),
            found_in: HashMap::new(),
            parallel: PARALLEL,
        }
    }
}

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest's; it is ours and the registry's.
    pub digest: String,
    /// Bytes of all blobs, compressed.
    pub size: u64,
    /// Blobs that had to be sent.
    pub uploaded: usize,
    /// Their bytes.
    pub uploaded_bytes: u64,
}

/// Pushes `image` under all of `tags`, or by its digest alone when there are none. Sends nothing when the registry has
/// all of it.
///
/// # Errors
/// `Input` for what is no tag, else `BuildOrPush`; the tags are moved one after the other once everything else is there.
pub async fn push(
    client: &Client,
    repository: &str,
    image: &Image,
    tags: &[String],
    options: &PushOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Pushed> {
    tags.iter().try_for_each(|tag| reference::check_tag(tag))?;
    let mut pushed = Pushed { digest: image.digest.clone(), size: image.size(), uploaded: 0, uploaded_bytes: 0 };
    let untagged = [image.digest.clone()];
    let names = if tags.is_empty() { &untagged } else { tags };
    let heads = names.iter().map(|name| head_manifest(client, repository, name));
    let heads = futures_util::future::try_join_all(heads).await?;
    let is_ours: Vec<bool> =
        heads.iter().map(|head| head.as_ref().is_some_and(|head| head.digest == image.digest)).collect();

    // Where one name has the manifest, the repository has all that it names.
    if is_ours.contains(&true) {
        for Blob { descriptor, .. } in &image.blobs {
            let (digest, size) = (descriptor.digest.clone(), descriptor.size);
            progress(Progress { digest, size, sent: size, state: BlobState::Exists });
        }
    } else {
        let sent = put_blobs(client, repository, image, options, progress).await?;
        pushed.uploaded = sent.len();
        pushed.uploaded_bytes = sent.iter().sum();
    }
    let mut put = false;
    for (name, _) in names.iter().zip(&is_ours).filter(|(_, ours)| !**ours) {
        put_manifest(client, repository, image, name).await?;
        put = true;
    }
    if put {
        confirm(client, repository, image).await?;
    }
    Ok(pushed)
}

/// Sizes of the blobs that were sent.
async fn put_blobs(
    client: &Client,
    repository: &str,
    image: &Image,
    options: &PushOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Vec<u64>> {
    let parallel = options.parallel.max(1);
    let scope = Scope::Push(repository.to_owned());
    let (mount_from, found_in) = (&options.mount_from, &options.found_in);
    let transfer = Transfer { client, repository, scope, gate: Gate::new(parallel), mount_from, found_in, progress };
    let mut seen = HashSet::new();
    let mut blobs: Vec<&Blob> = image.blobs.iter().filter(|blob| seen.insert(&blob.descriptor.digest)).collect();
    blobs.sort_by_key(|blob| Reverse(blob.descriptor.size));
    let puts = blobs.into_iter().map(|blob| {
        let digest = &blob.descriptor.digest;
        let known = match options.present.contains(digest) {
            true => Some(true),
            false => options.known.as_ref().map(|known| known.contains(digest)),
        };
        let transfer = &transfer;
        async move {
            let state = transfer.put(blob, known).await?;
            Ok::<_, Error>((state == BlobState::Pushed).then_some(blob.descriptor.size))
        }
    });
    let sent: Vec<Option<u64>> = futures_util::stream::iter(puts).buffer_unordered(parallel).try_collect().await?;
    Ok(sent.into_iter().flatten().collect())
}

async fn put_manifest(client: &Client, repository: &str, image: &Image, name: &str) -> Result<()> {
    let url = client.url(&format!("/v2/{repository}/manifests/{name}"))?;
    let scope = Scope::Push(repository.to_owned());
    let media_type = HeaderValue::from_str(&image.media_type)
        .map_err(|error| Error::build_or_push("the manifest's media type is malformed").cause(error))?;
    let mut immutable = None;
    persist(client, &scope, None, async || {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, media_type.clone()),
            (CONTENT_LENGTH, HeaderValue::from(image.manifest.len())),
        ]);
        let body = Some(Body::from(image.manifest.clone()));
        let limit = Some(client.patience().stall);
        let response = client.request(Method::PUT, &url, &scope, headers, body, limit).await?;
        if response.status().is_success() {
            return check_digest(client, &response, &image.digest).map_err(Failure::Final);
        }
        let refusal = Refusal::read(response, client).await;
        let error = refusal.error(client, &format!("take the manifest as `{name}`"));
        if refusal.has("MANIFEST_BLOB_UNKNOWN") || refusal.has("BLOB_UNKNOWN") {
            // ECR needs a moment until it finds blobs that it has just taken.
            return Err(Failure::again(error));
        }
        if refusal.is_immutable_tag() {
            immutable = Some(error);
            return Ok(());
        }
        Err(refusal.into_failure(client, &format!("take the manifest as `{name}`")))
    })
    .await?;
    match immutable {
        None => Ok(()),
        Some(error) => match head_manifest(client, repository, name).await? {
            Some(head) if head.digest == image.digest => Ok(()),
            Some(head) => Err(error
                .hint(format!(
                    "the tag `{name}` cannot be moved: it names `{}`, and this image is `{}`",
                    head.digest, image.digest
                ))
                .hint("give every release a tag of its own, such as `{{git.short_sha}}`")),
            None => Err(error),
        },
    }
}

/// Whether the registry finds the manifest under our digest.
async fn confirm(client: &Client, repository: &str, image: &Image) -> Result<()> {
    persist(client, &Scope::Push(repository.to_owned()), None, async || {
        match head_manifest(client, repository, &image.digest).await? {
            Some(head) if head.digest == image.digest => Ok(()),
            Some(head) => Err(Failure::Final(Error::build_or_push(format!(
                "the registry {} has `{}` under the digest `{}`",
                client.host(),
                head.digest,
                image.digest
            )))),
            // Where HEAD says that there is none, GET may know better; it checks the digest.
            None if get_manifest(client, repository, &image.digest).await.is_ok() => Ok(()),
            None => Err(Failure::again(Error::build_or_push(format!(
                "the registry {} took the manifest and does not find it as `{}`",
                client.host(),
                image.digest
            )))),
        }
    })
    .await
}
