//! What a repository has, so that it need not be made again: blobs and configs by their digests, images by their manifests'.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::stream::{StreamExt, TryStreamExt};

use super::client::Client;
use super::gate::{Gate, places};
use super::pull::{find_small_blob, get_manifest, head_manifest};
use super::upload::Transfer;
use super::{PushOptions, Scope};
use crate::error::{Error, Result};
use crate::image::manifest::{self, Document};
use crate::image::{Blob, BlobSource, Descriptor, Image, Platform, digest};

/// The config of this digest, if the repository has it.
///
/// # Errors
/// `BuildOrPush` when the registry cannot be asked.
pub async fn config(client: &Client, repository: &str, digest: &str) -> Result<Option<Bytes>> {
    find_small_blob(client, repository, digest).await
}

/// Which of these blobs the repository has, by asking for each.
///
/// # Errors
/// `BuildOrPush` when the registry cannot be asked.
pub async fn present(
    client: &Client,
    repository: &str,
    descriptors: impl Iterator<Item = &Descriptor>,
) -> Result<HashSet<String>> {
    let options = PushOptions::default();
    let scope = Scope::Push(repository.to_owned());
    let gate = Gate::new(options.parallel);
    let (found_in, progress) = (&HashMap::new(), &|_| {});
    let transfer = Transfer { client, repository, scope, gate, mount_from: &[], found_in, origin: None, progress };
    let transfer = &transfer;
    let asking = descriptors.map(|descriptor| async move {
        Ok::<_, Error>(transfer.exists(descriptor).await?.then(|| descriptor.digest.clone()))
    });
    let found: Vec<Option<String>> =
        futures_util::stream::iter(asking).buffer_unordered(places(options.parallel)).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// The image that `digest`, a manifest or an index, names for `platform`, if the repository has it: its blobs are there.
///
/// # Errors
/// `BuildOrPush` when the registry cannot be asked.
pub async fn image(client: &Client, repository: &str, digest: &str, platform: &Platform) -> Result<Option<Image>> {
    let mut digest = digest.to_owned();
    // an index names manifests, and its images' indexes none
    for _ in 0..2 {
        if head_manifest(client, repository, &digest).await?.is_none() {
            return Ok(None);
        }
        let (bytes, media_type) = get_manifest(client, repository, &digest).await?;
        match manifest::parse(&bytes, media_type.as_deref(), &digest)? {
            Document::Image(manifest) => {
                let Some(config) = config(client, repository, &manifest.config.digest).await? else { return Ok(None) };
                let found = manifest::platform_of(&config)?;
                if !found.matches(platform) {
                    return Ok(None);
                }
                let layers = manifest.layers.into_iter().filter(|layer| !layer.foreign);
                let blobs = layers.map(|layer| layer.descriptor).chain([manifest.config]);
                let blobs = blobs.map(|descriptor| Blob { descriptor, source: BlobSource::InRegistry }).collect();
                let media_type = manifest.media_type;
                let digest = digest::of(&bytes);
                return Ok(Some(Image { manifest: bytes, media_type, digest, config, blobs, platform: found }));
            }
            Document::Index(entries) => match manifest::choose(&entries, Some(platform), &digest) {
                Ok(chosen) => digest = chosen[0].descriptor.digest.clone(),
                Err(_) => return Ok(None),
            },
        }
    }
    Ok(None)
}
