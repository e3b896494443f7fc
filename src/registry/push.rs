//! Pushing an image: what is missing, largest first and side by side, then the manifest, then its tags.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use futures_util::stream::{StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Method};

use super::client::Client;
use super::gate::{Gate, places};
use super::pull::{get_manifest, head_manifest};
use super::relay::Origin;
use super::remote;
use super::retry::{Failure, Refusal, persist};
use super::upload::{Transfer, check_digest};
use super::{BlobState, Progress, Scope};
use crate::error::{Error, Result};
use crate::image::{Blob, Image, Manifested, Tree, manifest, reference};

/// Large uploads at once, and twice as many small ones; halved each time the registry says that it is too much.
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
    /// Where the blobs come from that are in another registry.
    pub origin: Option<Origin>,
    pub parallel: usize,
}

impl Default for PushOptions {
    fn default() -> Self {
        PushOptions {
            known: None,
            present: HashSet::new(),
            mount_from: Vec::new(),
            found_in: HashMap::new(),
            origin: None,
            parallel: PARALLEL,
        }
    }
}

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest's; it is ours and the registry's.
    pub digest: String,
    /// Bytes of all blobs that were looked at, compressed.
    pub size: u64,
    /// Blobs that had to be sent.
    pub uploaded: usize,
    /// Their bytes.
    pub uploaded_bytes: u64,
    /// Blobs that the registry took from another of its repositories.
    pub mounted: usize,
    /// Blobs that the repository had.
    pub existed: usize,
}

impl Pushed {
    /// All of it was there.
    pub fn nothing(tree: &Tree) -> Self {
        let (digest, size) = (tree.root.digest.clone(), tree.size());
        Pushed { digest, size, uploaded: 0, uploaded_bytes: 0, mounted: 0, existed: tree.blobs().count() }
    }
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
    push_tree(client, repository, &Tree::from(image), tags, options, progress).await
}

/// The same for an image or an index: of an index first all blobs, then what it names by digest, side by side, and last
/// the index under its tags. What the repository has of it is left out.
///
/// # Errors
/// As [`push`].
pub async fn push_tree(
    client: &Client,
    repository: &str,
    tree: &Tree,
    tags: &[String],
    options: &PushOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Pushed> {
    tags.iter().try_for_each(|tag| reference::check_tag(tag))?;
    let Manifested { digest, .. } = &tree.root;
    let mut pushed = Pushed::nothing(tree);
    let untagged = [digest.clone()];
    let names = if tags.is_empty() { &untagged } else { tags };
    let heads = names.iter().map(|name| head_manifest(client, repository, name));
    let heads = futures_util::future::try_join_all(heads).await?;
    let is_ours: Vec<bool> =
        heads.iter().map(|head| head.as_ref().is_some_and(|head| head.digest == *digest)).collect();

    // Where one name has the manifest, the repository has all that it names.
    if is_ours.contains(&true) {
        let told = |blob: &&Blob| options.present.contains(&blob.descriptor.digest);
        tree.blobs().for_each(Blob::arrived);
        for Blob { descriptor, .. } in tree.blobs().filter(|blob| !told(blob)) {
            let (digest, size) = (descriptor.digest.clone(), descriptor.size);
            progress(Progress { digest, size, sent: size, state: BlobState::Exists });
        }
    } else {
        let transfer = Transfer {
            client,
            repository,
            scope: Scope::Push(repository.to_owned()),
            gate: Gate::new(options.parallel),
            mount_from: &options.mount_from,
            found_in: &options.found_in,
            origin: options.origin.as_ref(),
            progress,
        };
        put_below(&transfer, tree, options, &mut pushed).await?;
    }
    let mut put = false;
    for (name, _) in names.iter().zip(&is_ours).filter(|(_, ours)| !**ours) {
        put_manifest(client, repository, &tree.root, name, None).await?;
        put = true;
    }
    if put {
        confirm(client, repository, digest).await?;
    }
    Ok(pushed)
}

/// All that the root names, directly or not.
async fn put_below(transfer: &Transfer<'_>, tree: &Tree, options: &PushOptions, pushed: &mut Pushed) -> Result<()> {
    let (client, repository) = (transfer.client, transfer.repository);
    let there = match options.origin {
        // Of what comes from another registry only that is named which this one lacks.
        Some(_) => HashSet::new(),
        None => remote::known(client, repository, tree.below.iter().map(|one| one.digest.as_str())).await?,
    };
    let below = tree.below.iter().filter(|one| !there.contains(&one.digest));
    let (indexes, images): (Vec<_>, Vec<_>) = below.partition(|one| manifest::is_index(&one.media_type));
    let blobs = images.iter().copied().chain([&tree.root]).flat_map(|one| &one.blobs).collect();
    pushed.existed = 0;
    for (state, size) in put_blobs(transfer, blobs, options).await? {
        match state {
            BlobState::Pushed => {
                pushed.uploaded += 1;
                pushed.uploaded_bytes += size;
            }
            BlobState::Mounted => pushed.mounted += 1,
            _ => pushed.existed += 1,
        }
    }
    let puts = images.into_iter().map(|image| async {
        let _pass = transfer.gate.enter(image.bytes.len() as u64).await;
        put_manifest(client, repository, image, &image.digest, Some(&transfer.gate)).await
    });
    futures_util::stream::iter(puts).buffer_unordered(places(options.parallel)).try_collect::<Vec<()>>().await?;
    // An index comes after those that it names.
    for index in indexes {
        put_manifest(client, repository, index, &index.digest, None).await?;
    }
    Ok(())
}

/// What became of each blob, and its size.
async fn put_blobs(
    transfer: &Transfer<'_>,
    mut blobs: Vec<&Blob>,
    options: &PushOptions,
) -> Result<Vec<(BlobState, u64)>> {
    let mut seen = HashSet::new();
    blobs.retain(|blob| seen.insert(&blob.descriptor.digest));
    // Whoever knows of it has told of it.
    blobs.retain(|blob| !options.present.contains(&blob.descriptor.digest));
    for Blob { descriptor, .. } in &blobs {
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        (transfer.progress)(Progress { digest, size, sent: 0, state: BlobState::Checking });
    }
    blobs.sort_by_key(|blob| Reverse(blob.descriptor.size));
    let puts = blobs.into_iter().map(|blob| {
        let digest = &blob.descriptor.digest;
        let known = options.known.as_ref().map(|known| known.contains(digest));
        async move { Ok::<_, Error>((transfer.put(blob, known).await?, blob.descriptor.size)) }
    });
    futures_util::stream::iter(puts).buffer_unordered(places(options.parallel)).try_collect().await
}

async fn put_manifest(
    client: &Client,
    repository: &str,
    image: &Manifested,
    name: &str,
    gate: Option<&Gate>,
) -> Result<()> {
    let url = client.url(&format!("/v2/{repository}/manifests/{name}"))?;
    let scope = Scope::Push(repository.to_owned());
    let media_type = HeaderValue::from_str(&image.media_type)
        .map_err(|error| Error::build_or_push("the manifest's media type is malformed").cause(error))?;
    let mut immutable = None;
    persist(client, &scope, gate, async || {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, media_type.clone()),
            (CONTENT_LENGTH, HeaderValue::from(image.bytes.len())),
        ]);
        let body = Some(Body::from(image.bytes.clone()));
        let limit = Some(client.patience().stall);
        let response = client.request(Method::PUT, &url, &scope, headers, body, limit).await?;
        if response.status().is_success() {
            return check_digest(client, &response, &image.digest).map_err(Failure::Final);
        }
        let refusal = Refusal::read(response, client).await;
        let error = refusal.error(client, &format!("take the manifest as `{name}`"));
        if ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"].iter().any(|code| refusal.has(code)) {
            // ECR needs a moment until it finds what it has just taken.
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
async fn confirm(client: &Client, repository: &str, digest: &str) -> Result<()> {
    persist(client, &Scope::Push(repository.to_owned()), None, async || {
        match head_manifest(client, repository, digest).await? {
            Some(head) if head.digest == digest => Ok(()),
            Some(head) => Err(Failure::Final(Error::build_or_push(format!(
                "the registry {} has `{}` under the digest `{digest}`",
                client.host(),
                head.digest
            )))),
            // Where HEAD says that there is none, GET may know better; it checks the digest.
            None if get_manifest(client, repository, digest).await.is_ok() => Ok(()),
            None => Err(Failure::again(Error::build_or_push(format!(
                "the registry {} took the manifest and does not find it as `{digest}`",
                client.host()
            )))),
        }
    })
    .await
}
