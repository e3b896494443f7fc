//! An image, or an index of several, in a registry that it is to be brought from.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::stream::{StreamExt, TryStreamExt, iter};

use super::client::Client;
use super::pull::{MAX_DEPTH, MAX_DOCUMENT, get_manifest, get_small_blob, head_manifest};
use super::relay::Origin;
use crate::error::{Error, Result};
use crate::image::index::{self, Manifested, Part, Tree};
use crate::image::manifest::{self, Document, IndexEntry, Manifest};
use crate::image::{Blob, BlobSource, Descriptor, Platform, digest, whole};

/// Questions and manifests at once.
const PARALLEL: usize = 8;

/// Its own manifest is here, and what that names still there.
#[derive(Debug, Clone)]
pub struct Remote {
    pub origin: Origin,
    /// What it is called there.
    pub name: String,
    root: Manifested,
    /// Of an index.
    entries: Vec<IndexEntry>,
    /// Of an image.
    config: Option<Descriptor>,
}

/// Finds what `reference` names, whole or the part of it that is for `platforms`: one platform of an index is that image,
/// several are a new index.
///
/// # Errors
/// `Input` when it has no image for one of the platforms; `BuildOrPush` when the registry does not give it.
pub async fn find(origin: &Origin, reference: &str, platforms: &[Platform]) -> Result<Remote> {
    let separator = if digest::is_valid(reference) { '@' } else { ':' };
    let name = format!("{}/{}{separator}{reference}", origin.client.host(), origin.repository);
    let mut reference = reference.to_owned();
    let mut chosen = None;
    for _ in 0..=MAX_DEPTH {
        let (bytes, media_type) = get_manifest(&origin.client, &origin.repository, &reference).await?;
        let entries = match manifest::parse(&bytes, media_type.as_deref(), &name)? {
            Document::Image(manifest) => {
                let remote = Remote::image(origin, &name, bytes, *manifest, chosen);
                return remote.checked(platforms).await;
            }
            Document::Index(entries) => entries,
        };
        let media_type = media_type_of(&bytes, media_type);
        match index::part(&bytes, &entries, platforms, &name)? {
            Part::Whole => return Ok(Remote::index(origin, &name, bytes, &media_type, entries)),
            Part::One(entry) => {
                reference = entry.descriptor.digest;
                chosen = entry.platform;
            }
            Part::Several(part) => {
                let kept = manifest::parse(&part, Some(&media_type), &name)?;
                let Document::Index(kept) = kept else {
                    return Err(Error::other(format!("a part of {name} is no index")));
                };
                return Ok(Remote::index(origin, &name, part, &media_type, kept));
            }
        }
    }
    Err(Error::build_or_push(format!("{name} has indexes within indexes without end")))
}

/// An index says itself what it is, or its registry does.
fn media_type_of(bytes: &[u8], said: Option<String>) -> String {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let own = value["mediaType"].as_str().map(str::to_owned).or(said);
    own.filter(|media_type| manifest::is_index(media_type)).unwrap_or_else(|| manifest::OCI_INDEX.to_owned())
}

impl Remote {
    fn index(origin: &Origin, name: &str, bytes: Bytes, media_type: &str, entries: Vec<IndexEntry>) -> Remote {
        let root = index::tree(bytes, media_type, Vec::new()).root;
        Remote { origin: origin.clone(), name: name.to_owned(), root, entries, config: None }
    }

    fn image(origin: &Origin, name: &str, bytes: Bytes, manifest: Manifest, platform: Option<Platform>) -> Remote {
        let config = Some(manifest.config.clone());
        let (media_type, digest) = (manifest.media_type.clone(), digest::of(&bytes));
        let root = Manifested { bytes, media_type, digest, blobs: blobs(manifest), platform };
        Remote { origin: origin.clone(), name: name.to_owned(), root, entries: Vec::new(), config }
    }

    /// An image by itself has to be for the one platform that is asked for.
    async fn checked(self, platforms: &[Platform]) -> Result<Remote> {
        if platforms.is_empty() {
            return Ok(self);
        }
        let has = self.platforms().await?;
        match platforms.iter().find(|wanted| !has.iter().any(|has| has.matches(wanted))) {
            Some(lacking) => Err(Error::input(format!("{} holds no image for {lacking}", self.name))
                .hint(format!("it has {}", index::listed(&has)))),
            None => Ok(self),
        }
    }

    pub fn digest(&self) -> &str {
        &self.root.digest
    }

    /// The platforms of an image or of the images of an index. An image by itself says it only in its config.
    ///
    /// # Errors
    /// `BuildOrPush` when the config cannot be had.
    pub async fn platforms(&self) -> Result<Vec<Platform>> {
        if let Some(known) = &self.root.platform {
            return Ok(vec![known.clone()]);
        }
        match &self.config {
            Some(config) if config.size <= MAX_DOCUMENT as u64 => {
                let config = get_small_blob(&self.origin.client, &self.origin.repository, config).await?;
                Ok(vec![manifest::platform_of(&config)?])
            }
            Some(_) => Err(Error::build_or_push(format!("the config of {} is too large", self.name))),
            None => {
                let images = self.entries.iter().filter(|entry| !entry.attestation);
                Ok(images.filter_map(|entry| entry.platform.clone()).collect())
            }
        }
    }

    /// The manifest alone, for a repository that has all that it names.
    pub fn alone(&self) -> Tree {
        Tree { root: self.root.clone(), below: Vec::new() }
    }

    /// With everything that it names, except the manifests in `there` and what those name.
    ///
    /// # Errors
    /// `BuildOrPush` when the registry does not give a manifest.
    pub async fn tree(&self, there: &HashSet<String>) -> Result<Tree> {
        let Origin { client, repository } = &self.origin;
        let (mut images, mut indexes) = (Vec::new(), Vec::new());
        let mut seen = there.clone();
        let mut level = self.entries.clone();
        for _ in 0..=MAX_DEPTH {
            level.retain(|entry| seen.insert(entry.descriptor.digest.clone()));
            if level.is_empty() {
                indexes.reverse();
                images.extend(indexes);
                return Ok(Tree { root: self.root.clone(), below: images });
            }
            let fetched = level.drain(..).map(|entry| async move {
                let (bytes, _) = get_manifest(client, repository, &entry.descriptor.digest).await?;
                Ok::<_, Error>((entry, bytes))
            });
            let fetched: Vec<(IndexEntry, Bytes)> = iter(fetched).buffered(PARALLEL).try_collect().await?;
            for (entry, bytes) in fetched {
                let descriptor = &entry.descriptor;
                match manifest::parse(&bytes, Some(&descriptor.media_type), &descriptor.digest)? {
                    Document::Image(manifest) => {
                        let media_type = manifest.media_type.clone();
                        images.push(whole::of_entry(bytes, &entry, media_type, blobs(*manifest)));
                    }
                    Document::Index(below) => {
                        let media_type = descriptor.media_type.clone();
                        indexes.push(whole::of_entry(bytes, &entry, media_type, Vec::new()));
                        level.extend(below);
                    }
                }
            }
        }
        Err(Error::build_or_push(format!("{} has indexes within indexes without end", self.name)))
    }

    /// Which of the manifests that an index names this repository has.
    ///
    /// # Errors
    /// `BuildOrPush` when it cannot be asked.
    pub async fn known_to(&self, client: &Client, repository: &str) -> Result<HashSet<String>> {
        known(client, repository, self.entries.iter().map(|entry| entry.descriptor.digest.as_str())).await
    }
}

/// Which of these manifests the repository has.
pub(super) async fn known(
    client: &Client,
    repository: &str,
    digests: impl Iterator<Item = &str>,
) -> Result<HashSet<String>> {
    let heads = digests.map(|digest| async move {
        let head = head_manifest(client, repository, digest).await?;
        Ok::<_, Error>(head.map(|_| digest.to_owned()))
    });
    let found: Vec<Option<String>> = iter(heads).buffer_unordered(PARALLEL).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

fn blobs(manifest: Manifest) -> Vec<Blob> {
    let layers = manifest.layers.into_iter().filter(|layer| !layer.foreign).map(|layer| layer.descriptor);
    let blob = |descriptor: Descriptor| Blob { descriptor, source: BlobSource::Elsewhere };
    layers.chain([manifest.config]).map(blob).collect()
}
