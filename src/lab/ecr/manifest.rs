//! Manifests: what they refer to, and the rules by which a repository takes them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{EcrState, Image, Repository, digest_like, is_digest, prepared_path, scans};
use crate::lab::{Settings, disk};

pub const LARGEST: usize = 4 * 1024 * 1024;

pub const IMAGES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

pub const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// An image manifest or an index; the other one's members are empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u64,
    pub media_type: String,
    pub artifact_type: Option<String>,
    pub config: Option<Descriptor>,
    pub layers: Vec<Descriptor>,
    pub manifests: Vec<Descriptor>,
    pub subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default)]
    pub platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
}

/// Why a manifest is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    NoRepository,
    Invalid(String),
    /// Blobs that the repository does not have.
    UnknownBlobs(Vec<String>),
    /// Manifests that the repository does not have.
    UnknownManifests(Vec<String>),
    OtherDigest(String),
    Immutable(String),
    Disk(String),
}

/// What a manifest came with.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    pub repository: &'a str,
    pub content: &'a [u8],
    /// The `Content-Type`, or ECR's `imageManifestMediaType`.
    pub media_type: Option<&'a str>,
    pub tag: Option<&'a str>,
    /// The digest that it must have.
    pub digest: Option<&'a str>,
    /// Epoch milliseconds.
    pub now: i64,
}

impl Manifest {
    pub fn parse(content: &[u8], media_type: Option<&str>) -> Result<Manifest, String> {
        let mut manifest: Manifest = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        let declared = media_type.map(|full| full.split(';').next().unwrap_or_default().trim());
        match declared.filter(|declared| !declared.is_empty() && *declared != "application/json") {
            Some(declared) if manifest.media_type.is_empty() => manifest.media_type = declared.to_owned(),
            Some(declared) if declared != manifest.media_type => {
                return Err(format!("it says mediaType {} and was sent as {declared}", manifest.media_type));
            }
            _ => {}
        }
        if manifest.media_type.is_empty() {
            let index = manifest.config.is_none() && !manifest.manifests.is_empty();
            manifest.media_type = if index { INDEXES[0] } else { IMAGES[0] }.to_owned();
        }
        if manifest.schema_version != 2 {
            return Err(format!("schemaVersion {} is not supported", manifest.schema_version));
        }
        let known = if manifest.is_index() {
            manifest.config.is_none() && manifest.layers.is_empty()
        } else {
            IMAGES.contains(&manifest.media_type.as_str()) && manifest.config.is_some() && manifest.manifests.is_empty()
        };
        if !known {
            return Err(format!("it is not what {} describes", manifest.media_type));
        }
        if let Some(descriptor) = manifest.descriptors().find(|descriptor| !is_digest(&descriptor.digest)) {
            return Err(format!("{} is not a digest that the registry knows", descriptor.digest));
        }
        Ok(manifest)
    }

    pub fn is_index(&self) -> bool {
        INDEXES.contains(&self.media_type.as_str())
    }

    fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.blobs().chain(&self.manifests)
    }

    fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }

    fn check(&self, repository: &Repository) -> Result<(), Refused> {
        // Foreign layers are not in any registry.
        let foreign = |media_type: &str| media_type.contains("foreign") || media_type.contains("nondistributable");
        let mut missing = Vec::new();
        for blob in self.blobs().filter(|blob| !foreign(&blob.media_type)) {
            match repository.blobs.get(&blob.digest) {
                None => missing.push(blob.digest.clone()),
                Some(size) if *size != blob.size => {
                    let (digest, said) = (&blob.digest, blob.size);
                    return Err(Refused::Invalid(format!("{digest} has {size} bytes, and the manifest says {said}")));
                }
                Some(_) => {}
            }
        }
        if !missing.is_empty() {
            return Err(Refused::UnknownBlobs(missing));
        }
        let absent = |child: &&Descriptor| !repository.images.contains_key(&child.digest);
        let missing: Vec<String> = self.manifests.iter().filter(absent).map(|child| child.digest.clone()).collect();
        if missing.is_empty() { Ok(()) } else { Err(Refused::UnknownManifests(missing)) }
    }

    fn image_size(&self, repository: &Repository) -> u64 {
        let child_size = |child: &Descriptor| repository.images.get(&child.digest).map_or(0, |image| image.image_size);
        self.blobs().map(|blob| blob.size).sum::<u64>().max(self.manifests.iter().map(child_size).max().unwrap_or(0))
    }
}

/// Takes a manifest into its repository, tags it, and returns its digest.
pub fn put(state: &mut EcrState, settings: &Settings, incoming: Incoming<'_>) -> Result<String, Refused> {
    let Incoming { content, tag, now, .. } = incoming;
    let repository = state.repositories.get_mut(incoming.repository).ok_or(Refused::NoRepository)?;
    if content.len() > LARGEST {
        return Err(Refused::Invalid(format!("it is larger than {LARGEST} bytes")));
    }
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(Refused::Invalid(format!("{tag} is not a tag")));
    }
    let manifest = Manifest::parse(content, incoming.media_type).map_err(Refused::Invalid)?;
    let digest = digest_like(incoming.digest, content);
    if incoming.digest.is_some_and(|expected| expected != digest) {
        return Err(Refused::OtherDigest(digest));
    }
    manifest.check(repository)?;
    // the same image again is refused as well, unless that restores it
    let restores = |tag: &str| {
        repository.tags.get(tag) == Some(&digest)
            && repository.images.get(&digest).is_some_and(|image| !image.storage.is_active())
    };
    let is_fixed = |tag: &&str| repository.tags.contains_key(*tag) && repository.is_immutable(tag) && !restores(tag);
    if let Some(tag) = tag.filter(is_fixed) {
        return Err(Refused::Immutable(tag.to_owned()));
    }
    if let Some(image) = repository.images.get_mut(&digest) {
        if !image.storage.is_active() {
            image.storage.activate(now);
        }
    } else {
        let data = &settings.data;
        prepared_path(data, &digest)
            .and_then(|path| disk::replace(&path, content))
            .map_err(|error| Refused::Disk(error.to_string()))?;
        let config_type = manifest.config.as_ref().map(|config| config.media_type.clone());
        let mut image = Image {
            media_type: manifest.media_type.clone(),
            manifest_size: content.len() as u64,
            image_size: manifest.image_size(repository),
            artifact_media_type: manifest.artifact_type.clone().filter(|name| !name.is_empty()).or(config_type),
            subject: manifest.subject.as_ref().map(|subject| subject.digest.clone()),
            annotations: manifest.annotations.clone().filter(|_| manifest.subject.is_some()).unwrap_or_default(),
            refers_to: manifest.descriptors().map(|descriptor| descriptor.digest.clone()).collect(),
            pushed_at: now,
            pulled_at: None,
            storage: Default::default(),
            scanned_at: None,
        };
        image.scanned_at = (repository.scan_on_push && scans::is_scannable(&image)).then_some(now);
        repository.images.insert(digest.clone(), image);
    }
    if let Some(tag) = tag {
        repository.tags.insert(tag.to_owned(), digest.clone());
    }
    Ok(digest)
}

/// Deletes an image with its tags, and the blobs that only it referred to.
pub fn delete(state: &mut EcrState, repository: &str, digest: &str) {
    let Some(repository) = state.repositories.get_mut(repository) else { return };
    let Some(image) = repository.images.remove(digest) else { return };
    repository.tags.retain(|_, tagged| tagged != digest);
    let unused: Vec<String> = image
        .refers_to
        .into_iter()
        .filter(|blob| !repository.images.values().any(|other| other.refers_to.contains(blob)))
        .collect();
    for blob in &unused {
        repository.blobs.remove(blob);
    }
    state.collect(unused.into_iter().chain([digest.to_owned()]));
}

impl Repository {
    /// Whether an existing tag must stay what it is.
    pub fn is_immutable(&self, tag: &str) -> bool {
        let excluded = || {
            let filters = self.tag_mutability_exclusion_filters.iter();
            filters.filter_map(|filter| filter["filter"].as_str()).any(|filter| matches(filter, tag))
        };
        match self.tag_mutability.as_str() {
            "IMMUTABLE" => true,
            "IMMUTABLE_WITH_EXCLUSION" => !excluded(),
            "MUTABLE_WITH_EXCLUSION" => excluded(),
            _ => false,
        }
    }
}

/// OCI's grammar of tags.
pub fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().enumerate().all(|(at, byte)| word(byte) || (at > 0 && matches!(byte, b'.' | b'-')))
        && !text.is_empty()
}

/// `*` stands for any characters.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let Some(star) = pattern.iter().position(|&byte| byte == b'*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(&pattern[..star]) else { return false };
    let mut parts = pattern[star + 1..].split(|&byte| byte == b'*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        if !part.is_empty() {
            let Some(at) = rest.windows(part.len()).position(|window| window == part) else { return false };
            rest = &rest[at + part.len()..];
        }
    }
    true
}
