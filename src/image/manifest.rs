//! Manifests and indexes: read by the spec's types, written by hand so that their bytes never vary.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_spec::image as oci;
use serde_json::json;

use super::{Blob, BlobSource, Descriptor, Image, Platform, digest};
use crate::error::{Error, Result};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// What to do about an image for another platform than the one that is wanted.
pub const OTHER_PLATFORM: &str = "build it for that platform (`platform:`, or the engine's `--platform`), or change `runtimePlatform` in the task definition";

pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What a reference or a layout's entry turned out to be.
#[derive(Debug)]
pub enum Document {
    Image(Box<Manifest>),
    Index(Vec<IndexEntry>),
}

#[derive(Debug)]
pub struct Manifest {
    pub media_type: String,
    pub config: Descriptor,
    /// Lowest first. Layers that are not to be distributed are marked so.
    pub layers: Vec<Layer>,
}

#[derive(Debug)]
pub struct Layer {
    pub descriptor: Descriptor,
    /// The registry need not hold it: its manifest says where else it is.
    pub foreign: bool,
}

#[derive(Debug, Clone)]
pub struct IndexEntry {
    pub descriptor: Descriptor,
    pub platform: Option<Platform>,
    /// `org.opencontainers.image.ref.name`.
    pub name: Option<String>,
    /// An attestation or a signature, and not an image.
    pub attestation: bool,
}

/// Reads a manifest or an index. `media_type` is what its descriptor or the registry says, if anything.
///
/// # Errors
/// `BuildOrPush` when it is neither; `name` says whose it is.
pub fn parse(bytes: &[u8], media_type: Option<&str>, name: &str) -> Result<Document> {
    let broken = |error: serde_json::Error| Error::build_or_push(format!("{name} is not a manifest")).cause(error);
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(broken)?;
    let own = value.get("mediaType").and_then(|own| own.as_str());
    let media_type = own.or(media_type.filter(|media_type| is_index(media_type) || is_manifest(media_type)));
    if value.get("schemaVersion").and_then(|version| version.as_u64()) != Some(2) {
        return Err(Error::build_or_push(format!("{name} is not a manifest of version 2"))
            .hint("build and push this image again with a current tool"));
    }
    if media_type.map_or(value.get("manifests").is_some(), is_index) {
        let index: oci::ImageIndex = serde_json::from_value(value).map_err(broken)?;
        let entries: Vec<IndexEntry> = index.manifests().iter().map(index_entry).collect();
        entries.iter().try_for_each(|entry| check_digest(&entry.descriptor, name))?;
        return Ok(Document::Index(entries));
    }
    let media_type = media_type.unwrap_or(OCI_MANIFEST).to_owned();
    if !is_manifest(&media_type) {
        return Err(Error::build_or_push(format!("{name} is `{media_type}`, and not an image")));
    }
    let manifest: oci::ImageManifest = serde_json::from_value(value).map_err(broken)?;
    let layers = manifest.layers().iter().map(|layer| {
        let descriptor = descriptor(layer);
        let foreign = descriptor.media_type.contains("nondistributable") || descriptor.media_type.contains("foreign");
        Layer { descriptor, foreign }
    });
    let found = Manifest { media_type, config: descriptor(manifest.config()), layers: layers.collect() };
    found
        .layers
        .iter()
        .map(|layer| &layer.descriptor)
        .chain([&found.config])
        .try_for_each(|blob| check_digest(blob, name))?;
    Ok(Document::Image(Box::new(found)))
}

fn check_digest(descriptor: &Descriptor, name: &str) -> Result<()> {
    if digest::is_valid(&descriptor.digest) {
        return Ok(());
    }
    Err(Error::build_or_push(format!("{name} names `{}`, which is no SHA-256 digest", descriptor.digest)))
}

pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

fn descriptor(descriptor: &oci::Descriptor) -> Descriptor {
    Descriptor {
        media_type: descriptor.media_type().to_string(),
        digest: descriptor.digest().to_string(),
        size: descriptor.size(),
    }
}

fn index_entry(entry: &oci::Descriptor) -> IndexEntry {
    let annotation = |name: &str| entry.annotations().as_ref().and_then(|all| all.get(name)).cloned();
    let platform = entry.platform().as_ref().map(|platform| {
        Platform::new(&platform.os().to_string(), &platform.architecture().to_string(), platform.variant().as_deref())
    });
    let attestation = annotation("vnd.docker.reference.type").is_some()
        || entry.artifact_type().is_some()
        || platform.as_ref().is_some_and(Platform::is_unknown);
    IndexEntry {
        descriptor: descriptor(entry),
        platform,
        name: annotation("org.opencontainers.image.ref.name"),
        attestation,
    }
}

/// Entries that may be the image for `wanted`, the best match first. Entries without a platform stay in: only
/// their config can tell.
///
/// # Errors
/// `Input` when none can be, or several differ and `wanted` does not say which; lists what there is.
pub fn choose<'a>(entries: &'a [IndexEntry], wanted: Option<&Platform>, name: &str) -> Result<Vec<&'a IndexEntry>> {
    let images: Vec<&IndexEntry> = entries.iter().filter(|entry| !entry.attestation).collect();
    let mut platforms: Vec<String> =
        images.iter().filter_map(|image| Some(image.platform.as_ref()?.to_string())).collect();
    platforms.sort();
    platforms.dedup();
    let listed = platforms.join(", ");
    let Some(wanted) = wanted else {
        if platforms.len() > 1 {
            return Err(Error::input(format!("{name} holds images for several platforms: {listed}"))
                .hint("say which one with `platform:`, the one that the tasks run on"));
        }
        return if images.is_empty() { Err(Error::input(format!("{name} holds no image"))) } else { Ok(images) };
    };
    let mut fitting: Vec<&IndexEntry> = images
        .into_iter()
        .filter(|image| image.platform.as_ref().is_none_or(|platform| platform.matches(wanted)))
        .collect();
    fitting.sort_by_key(|image| match &image.platform {
        Some(platform) if platform == wanted => 0,
        Some(_) => 1,
        None => 2,
    });
    if fitting.is_empty() {
        let error = Error::input(format!("{name} holds no image for {wanted}"));
        return Err(if listed.is_empty() { error } else { error.hint(format!("it has {listed}")) });
    }
    Ok(fitting)
}

/// The platform that an image config names.
///
/// # Errors
/// `BuildOrPush` when the config is not JSON.
pub fn platform_of(config: &[u8]) -> Result<Platform> {
    let config: serde_json::Value = serde_json::from_slice(config)
        .map_err(|error| Error::build_or_push("the image's config is not JSON").cause(error))?;
    let text = |name: &str| config.get(name).and_then(|value| value.as_str()).filter(|text| !text.is_empty());
    Ok(Platform::new(text("os").unwrap_or("linux"), text("architecture").unwrap_or("amd64"), text("variant")))
}

/// An image of these layers and this config, with an OCI manifest of our own.
pub fn write(layers: Vec<Blob>, config: Bytes, platform: Platform) -> Image {
    write_annotated(layers, config, platform, &BTreeMap::new())
}

/// The same, its manifest with these annotations.
pub fn write_annotated(
    layers: Vec<Blob>,
    config: Bytes,
    platform: Platform,
    annotations: &BTreeMap<String, String>,
) -> Image {
    let config_descriptor =
        Descriptor { media_type: OCI_CONFIG.to_owned(), digest: digest::of(&config), size: config.len() as u64 };
    let value = |descriptor: &Descriptor| json!({ "mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size });
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": value(&config_descriptor),
        "layers": layers.iter().map(|layer| value(&layer.descriptor)).collect::<Vec<_>>(),
    });
    if !annotations.is_empty() {
        manifest["annotations"] = json!(annotations);
    }
    let manifest = Bytes::from(manifest.to_string());
    let mut blobs = layers;
    blobs.push(Blob { descriptor: config_descriptor, source: BlobSource::Memory(config.clone()) });
    Image { digest: digest::of(&manifest), manifest, media_type: OCI_MANIFEST.to_owned(), config, blobs, platform }
}

/// OCI's name for a layer's media type: the bytes of Docker's and OCI's layers are the same.
pub fn oci_layer_type(media_type: &str) -> &str {
    match media_type {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => LAYER_GZIP,
        "application/vnd.docker.image.rootfs.diff.tar" => LAYER_TAR,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => LAYER_ZSTD,
        other => other,
    }
}
