//! Several images under one name: one for each platform, with what is attested of them.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Value, json};

use super::manifest::{self, IndexEntry, OCI_INDEX};
use super::{Blob, Image, Platform, digest};
use crate::error::{Error, Result};

/// What buildx says of an attestation: the digest of the image that it is about.
const ABOUT: &str = "vnd.docker.reference.digest";

/// A manifest, byte for byte as its digest was taken.
#[derive(Debug, Clone)]
pub struct Manifested {
    pub bytes: Bytes,
    pub media_type: String,
    /// `sha256:…` of [`Manifested::bytes`].
    pub digest: String,
    /// What a registry must hold before it takes the manifest, other manifests not counted.
    pub blobs: Vec<Blob>,
    /// `None` for an index, an attestation, and where only the config can tell.
    pub platform: Option<Platform>,
}

/// An image, or an index with all that it names.
#[derive(Debug, Clone)]
pub struct Tree {
    pub root: Manifested,
    /// What the root names, directly or not, each after what it names itself.
    pub below: Vec<Manifested>,
}

impl Tree {
    pub fn digest(&self) -> &str {
        &self.root.digest
    }

    /// Each blob once.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        let mut seen = HashSet::new();
        let all = self.below.iter().chain([&self.root]).flat_map(|one| &one.blobs);
        all.filter(move |blob| seen.insert(&blob.descriptor.digest))
    }

    /// Bytes of all blobs as they travel; the manifests themselves not counted.
    pub fn size(&self) -> u64 {
        self.blobs().map(|blob| blob.descriptor.size).sum()
    }

    pub fn platforms(&self) -> Vec<Platform> {
        let images = self.below.iter().chain([&self.root]);
        images.filter_map(|image| image.platform.clone()).collect()
    }
}

impl From<&Image> for Manifested {
    fn from(image: &Image) -> Self {
        Manifested {
            bytes: image.manifest.clone(),
            media_type: image.media_type.clone(),
            digest: image.digest.clone(),
            blobs: image.blobs.clone(),
            platform: Some(image.platform.clone()),
        }
    }
}

impl From<&Image> for Tree {
    fn from(image: &Image) -> Self {
        Tree { root: image.into(), below: Vec::new() }
    }
}

/// An index of these bytes, with what lies below it.
pub fn tree(bytes: Bytes, media_type: &str, below: Vec<Manifested>) -> Tree {
    let (digest, media_type) = (digest::of(&bytes), media_type.to_owned());
    Tree { root: Manifested { bytes, media_type, digest, blobs: Vec::new(), platform: None }, below }
}

/// A new OCI index of images, in their order.
///
/// # Errors
/// `Input` when two of them are for the same platform.
pub fn of(images: &[Image]) -> Result<Tree> {
    let mut seen = HashSet::new();
    if let Some(twice) = images.iter().find(|image| !seen.insert(&image.platform)) {
        return Err(Error::input(format!("there are two images for {}", twice.platform))
            .hint("name each platform once; a base that has only one platform cannot give several"));
    }
    let entries = images.iter().map(|image| {
        let mut platform = json!({ "architecture": image.platform.architecture, "os": image.platform.os });
        if let Some(variant) = &image.platform.variant {
            platform["variant"] = variant.as_str().into();
        }
        json!({
            "mediaType": image.media_type, "digest": image.digest, "size": image.manifest.len(), "platform": platform,
        })
    });
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries.collect::<Vec<_>>(),
    });
    Ok(tree(Bytes::from(index.to_string()), OCI_INDEX, images.iter().map(Manifested::from).collect()))
}

/// What is meant of an index.
#[derive(Debug)]
pub enum Part {
    /// All of it, with its digest.
    Whole,
    One(IndexEntry),
    /// Another index: what the first one says of these platforms, and what is attested of them.
    Several(Bytes),
}

/// The part of an index that is for these platforms; all of it when none are named.
///
/// # Errors
/// `Input` when it lacks one of them; lists what there is.
pub fn part(bytes: &[u8], entries: &[IndexEntry], platforms: &[Platform], name: &str) -> Result<Part> {
    if platforms.is_empty() {
        return Ok(Part::Whole);
    }
    let mut kept: Vec<&IndexEntry> = Vec::new();
    for platform in platforms {
        let best = manifest::choose(entries, Some(platform), name)?[0];
        if !kept.iter().any(|known| known.descriptor.digest == best.descriptor.digest) {
            kept.push(best);
        }
    }
    if let [one] = kept[..] {
        return Ok(Part::One(one.clone()));
    }
    let digests: HashSet<&str> = kept.iter().map(|entry| entry.descriptor.digest.as_str()).collect();
    let is_kept = |entry: &IndexEntry| entry.attestation || digests.contains(entry.descriptor.digest.as_str());
    if entries.iter().all(is_kept) {
        return Ok(Part::Whole);
    }
    let mut index: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::build_or_push(format!("{name} is not an index")).cause(error))?;
    if let Some(all) = index["manifests"].as_array_mut() {
        all.retain(|entry| {
            let named = |digest: &Value| digest.as_str().is_some_and(|digest| digests.contains(digest));
            named(&entry["digest"]) || named(&entry["annotations"][ABOUT])
        });
    }
    Ok(Part::Several(Bytes::from(index.to_string())))
}

/// Platforms as a list for people.
pub fn listed(platforms: &[Platform]) -> String {
    let mut names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    names.dedup();
    names.join(", ")
}
