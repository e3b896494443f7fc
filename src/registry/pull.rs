//! Pulling: manifests, indexes, and blobs into the cache, for images to build upon.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{StreamExt, TryStreamExt};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;

use super::client::{Client, read_chunk};
use super::retry::{Failure, Refusal, persist};
use super::upload::check_digest;
use super::{BlobState, Progress, Scope};
use crate::error::{Error, Result};
use crate::image::manifest::{self, Document, Manifest};
use crate::image::{Blob, BlobCache, BlobSource, Compression, Descriptor, Image, Platform, config, digest, places};

/// Downloads at once.
const PARALLEL: usize = 4;

/// Manifests and configs are read whole; nothing sound is larger.
pub(super) const MAX_DOCUMENT: usize = 8 << 20;

/// So many images of an index are asked for their layers.
const MAX_PLATFORMS: usize = 8;

/// How often an index may point to an index.
pub(super) const MAX_DEPTH: usize = 4;

const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// What a name stands for in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestHead {
    pub digest: String,
    pub media_type: Option<String>,
}

/// What `reference` (a tag or digest) names, or `None` when there is no such name or no such repository.
///
/// # Errors
/// `BuildOrPush` when the registry cannot be asked.
pub async fn head_manifest(client: &Client, repository: &str, reference: &str) -> Result<Option<ManifestHead>> {
    let url = client.url(&format!("/v2/{repository}/manifests/{reference}"))?;
    let scope = Scope::Pull(repository.to_owned());
    let head = persist(client, &scope, None, async || {
        let response = client.head(&url, &scope, Some(ACCEPT)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        // Not every registry knows the question.
        if matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
            return Ok(Some((None, None)));
        }
        if !response.status().is_success() {
            let refusal = Refusal::read(response, client).await;
            return Err(refusal.into_failure(client, &format!("look for `{reference}`")));
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Some((
            header("docker-content-digest").filter(|digest| digest::is_valid(digest)),
            header(CONTENT_TYPE.as_str()),
        )))
    });
    match head.await? {
        None => Ok(None),
        Some((Some(digest), media_type)) => Ok(Some(ManifestHead { digest, media_type })),
        // Not every registry says it here.
        Some((None, _)) => {
            let found = find_manifest(client, repository, reference).await?;
            Ok(found.ok().map(|(bytes, media_type)| ManifestHead { digest: digest::of(&bytes), media_type }))
        }
    }
}

/// Pulls the image for `platform`; its layers end up in the cache, those that are there are only verified.
///
/// # Errors
/// `Input` when there is no image for the platform; `BuildOrPush` when the registry fails or what it sends is damaged.
pub async fn pull_image(
    client: &Client,
    repository: &str,
    reference: &str,
    platform: &Platform,
    cache: &BlobCache,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Image> {
    let name = format!("{}/{repository} ({reference})", client.host());
    let mut reference = reference.to_owned();
    let mut depth = 0;
    let (bytes, manifest) = loop {
        let (bytes, media_type) = get_manifest(client, repository, &reference).await?;
        match manifest::parse(&bytes, media_type.as_deref(), &name)? {
            Document::Image(manifest) => break (bytes, manifest),
            Document::Index(entries) if depth < MAX_DEPTH => {
                let chosen = manifest::choose(&entries, Some(platform), &name)?;
                reference = chosen[0].descriptor.digest.clone();
                depth += 1;
            }
            Document::Index(_) => return Err(Error::build_or_push(format!("{name} has indexes within indexes"))),
        }
    };
    if manifest.config.size > MAX_DOCUMENT as u64 {
        return Err(Error::build_or_push(format!("the config of {name} is too large")));
    }
    let config = download(client, repository, &manifest.config, cache, progress).await?;
    let config: Bytes = std::fs::read(config).map_err(|error| cache.failed(error))?.into();
    let found = manifest::platform_of(&config)?;
    if !found.matches(platform) {
        return Err(Error::input(format!("{name} is an image for {found}, and {platform} is wanted")));
    }
    let layers: Vec<Descriptor> =
        manifest.layers.into_iter().filter(|layer| !layer.foreign).map(|layer| layer.descriptor).collect();
    let mut seen = HashSet::new();
    let distinct: Vec<&Descriptor> = layers.iter().filter(|layer| seen.insert(&layer.digest)).collect();
    let downloads = distinct.into_iter().map(|layer| download(client, repository, layer, cache, progress));
    futures_util::stream::iter(downloads).buffer_unordered(PARALLEL).try_collect::<Vec<PathBuf>>().await?;

    let lost = |digest: &str| Error::build_or_push(format!("`{digest}` vanished from the cache")).hint("run it again");
    let mut blobs = Vec::new();
    for descriptor in layers {
        let path = cache.find(&descriptor.digest, descriptor.size).ok_or_else(|| lost(&descriptor.digest))?;
        blobs.push(Blob { descriptor, source: BlobSource::Cached(path) });
    }
    blobs.push(Blob { descriptor: manifest.config, source: BlobSource::Memory(config.clone()) });
    blobs.iter().for_each(|blob| places::remember(cache, &client.host(), repository, &blob.descriptor.digest));
    let (digest, media_type) = (digest::of(&bytes), manifest.media_type);
    Ok(Image { digest, manifest: bytes, media_type, config, blobs, platform: found })
}

/// Whether all of these tags name this manifest; without tags, whether it is there.
///
/// # Errors
/// `BuildOrPush` when the registry cannot be asked.
pub async fn has_names(client: &Client, repository: &str, tags: &[String], digest: &str) -> Result<bool> {
    let untagged = [digest.to_owned()];
    let names = if tags.is_empty() { &untagged } else { tags };
    let heads = names.iter().map(|name| head_manifest(client, repository, name));
    let heads = futures_util::future::try_join_all(heads).await?;
    Ok(heads.into_iter().all(|head| head.is_some_and(|head| head.digest == digest)))
}

/// Whether one of these tags names this manifest.
///
/// # Errors
/// `BuildOrPush` when the registry cannot be asked.
pub async fn is_tagged(client: &Client, repository: &str, tags: &[String], digest: &str) -> Result<bool> {
    let heads = tags.iter().map(|tag| head_manifest(client, repository, tag));
    let heads = futures_util::future::try_join_all(heads).await?;
    Ok(heads.into_iter().flatten().any(|head| head.digest == digest))
}

/// What an image or index consists of: the digest and platform of each image, and of an index's attestations the digest alone.
///
/// # Errors
/// `BuildOrPush` when it cannot be read.
pub async fn platforms(client: &Client, repository: &str, reference: &str) -> Result<Vec<(String, Option<Platform>)>> {
    let (bytes, media_type) = get_manifest(client, repository, reference).await?;
    match manifest::parse(&bytes, media_type.as_deref(), reference)? {
        Document::Index(entries) => {
            let parts = entries.into_iter();
            Ok(parts.map(|part| (part.descriptor.digest, part.platform.filter(|_| !part.attestation))).collect())
        }
        Document::Image(image) => {
            if image.config.size > MAX_DOCUMENT as u64 {
                return Ok(Vec::new());
            }
            let config = get_small_blob(client, repository, &image.config).await?;
            Ok(vec![(digest::of(&bytes), Some(manifest::platform_of(&config)?))])
        }
    }
}

/// The layers of the image that `reference` names, or of the images of an index, by diffID, where they are compressed this
/// way. Nothing when there is no such image: what is not found is sent.
pub(super) async fn earlier_layers(
    client: &Client,
    repository: &str,
    reference: &str,
    compression: Compression,
) -> Result<Vec<(String, Descriptor)>> {
    if head_manifest(client, repository, reference).await?.is_none() {
        return Ok(Vec::new());
    }
    let (bytes, media_type) = get_manifest(client, repository, reference).await?;
    let images = match manifest::parse(&bytes, media_type.as_deref(), reference) {
        Ok(Document::Image(manifest)) => vec![*manifest],
        Ok(Document::Index(entries)) => {
            let mut images = Vec::new();
            for entry in entries.iter().filter(|entry| !entry.attestation).take(MAX_PLATFORMS) {
                let digest = &entry.descriptor.digest;
                // An index may outlive what it names.
                let Ok((bytes, media_type)) = find_manifest(client, repository, digest).await? else { continue };
                if let Ok(Document::Image(manifest)) = manifest::parse(&bytes, media_type.as_deref(), digest) {
                    images.push(*manifest);
                }
            }
            images
        }
        Err(_) => Vec::new(),
    };
    let layers = images.into_iter().map(|manifest| layers_of(client, repository, manifest, compression));
    Ok(futures_util::future::try_join_all(layers).await?.concat())
}

async fn layers_of(
    client: &Client,
    repository: &str,
    manifest: Manifest,
    compression: Compression,
) -> Result<Vec<(String, Descriptor)>> {
    if manifest.config.size > MAX_DOCUMENT as u64 {
        return Ok(Vec::new());
    }
    let Some(config) = find_small_blob(client, repository, &manifest.config.digest).await? else {
        return Ok(Vec::new());
    };
    let Ok(diff_ids) = config::diff_ids(&config) else { return Ok(Vec::new()) };
    if diff_ids.len() != manifest.layers.len() {
        return Ok(Vec::new());
    }
    let layers = diff_ids.into_iter().zip(manifest.layers).filter(|(_, layer)| !layer.foreign).map(|(id, layer)| {
        let media_type = manifest::oci_layer_type(&layer.descriptor.media_type).to_owned();
        (id, Descriptor { media_type, ..layer.descriptor })
    });
    Ok(layers.filter(|(_, layer)| layer.media_type == compression.media_type()).collect())
}

/// A config, whole and verified.
pub(super) async fn get_small_blob(client: &Client, repository: &str, descriptor: &Descriptor) -> Result<Bytes> {
    let found = find_small_blob(client, repository, &descriptor.digest).await?;
    found.ok_or_else(|| {
        let (host, digest) = (client.host(), &descriptor.digest);
        Error::build_or_push(format!("the registry {host} lacks the blob `{digest}`, which an image of it names"))
    })
}

/// The same, of any size that is no layer's; `None` when the repository does not have it.
pub(super) async fn find_small_blob(client: &Client, repository: &str, digest: &str) -> Result<Option<Bytes>> {
    let url = client.url(&format!("/v2/{repository}/blobs/{digest}"))?;
    let scope = Scope::Pull(repository.to_owned());
    persist(client, &scope, None, async || {
        let mut response = client.get(&url, &scope, None).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !response.status().is_success() {
            let refusal = Refusal::read(response, client).await;
            return Err(refusal.into_failure(client, &format!("give the blob {digest}")));
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = read_chunk(client, &mut response).await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_DOCUMENT {
                break;
            }
        }
        match digest::of(&bytes) == digest {
            true => Ok(Some(bytes.freeze())),
            false => Err(Failure::again(Error::build_or_push(format!("the blob `{digest}` came damaged")))),
        }
    })
    .await
}

pub(super) async fn get_manifest(
    client: &Client,
    repository: &str,
    reference: &str,
) -> Result<(Bytes, Option<String>)> {
    find_manifest(client, repository, reference).await?
}

/// The manifest, or why there is none.
async fn find_manifest(client: &Client, repository: &str, reference: &str) -> Result<Result<(Bytes, Option<String>)>> {
    let url = client.url(&format!("/v2/{repository}/manifests/{reference}"))?;
    let scope = Scope::Pull(repository.to_owned());
    persist(client, &scope, None, async || {
        let mut response = client.get(&url, &scope, Some(ACCEPT)).await?;
        if !response.status().is_success() {
            let missing = response.status() == StatusCode::NOT_FOUND;
            let refusal = Refusal::read(response, client).await;
            let doing = format!("give the manifest `{reference}`");
            if missing && refusal.has("MANIFEST_UNKNOWN") {
                return Ok(Err(refusal.error(client, &doing)));
            }
            return Err(refusal.into_failure(client, &doing));
        }
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        // Parameters such as a charset say nothing here.
        let media_type = media_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_owned());
        let mut bytes = BytesMut::new();
        while let Some(chunk) = read_chunk(client, &mut response).await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_DOCUMENT {
                return Err(Failure::Final(Error::build_or_push(format!("the manifest `{reference}` is too large"))));
            }
        }
        let found = digest::of(&bytes);
        check_digest(client, &response, &found)?;
        if digest::is_valid(reference) && found != reference {
            return Err(Failure::Final(Error::build_or_push(format!(
                "the registry {} gave `{found}` in place of `{reference}`",
                client.host()
            ))));
        }
        Ok(Ok((bytes.freeze(), media_type)))
    })
    .await
}

/// The blob's file in the cache, downloaded unless it is there and sound.
async fn download(
    client: &Client,
    repository: &str,
    descriptor: &Descriptor,
    cache: &BlobCache,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<PathBuf> {
    let tell = |sent: u64, state: BlobState| {
        progress(Progress { digest: descriptor.digest.clone(), size: descriptor.size, sent, state });
    };
    tell(0, BlobState::Checking);
    let (known, digest, size) = (cache.clone(), descriptor.digest.clone(), descriptor.size);
    let known = tokio::task::spawn_blocking(move || known.verify(&digest, size)).await;
    if let Ok(Some(path)) = known {
        tell(descriptor.size, BlobState::Exists);
        return Ok(path);
    }
    let url = client.url(&format!("/v2/{repository}/blobs/{}", descriptor.digest))?;
    let scope = Scope::Pull(repository.to_owned());
    let path = persist(client, &scope, None, async || {
        let mut response = client.get(&url, &scope, None).await?;
        if !response.status().is_success() {
            let refusal = Refusal::read(response, client).await;
            return Err(refusal.into_failure(client, &format!("give the blob {}", descriptor.digest)));
        }
        let mut writer = cache.writer()?;
        while let Some(chunk) = read_chunk(client, &mut response).await? {
            if writer.size() + chunk.len() as u64 > descriptor.size {
                let error = format!("the blob `{}` has more than its {} bytes", descriptor.digest, descriptor.size);
                return Err(Failure::Final(Error::build_or_push(error)));
            }
            writer.write_all(&chunk).map_err(|error| cache.failed(error))?;
            tell(writer.size(), BlobState::Uploading);
        }
        // Damaged on the way, perhaps: another try tells.
        writer.keep_as(&descriptor.digest).map_err(Failure::again)
    })
    .await?;
    tell(descriptor.size, BlobState::Pushed);
    Ok(path)
}
