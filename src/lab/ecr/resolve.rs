//! From the image that a task definition names to the files that a container starts from.

use std::fs;

use super::manifest::{Descriptor, Manifest};
use super::{Repository, blob_path, is_digest};
use crate::lab::Settings;
use crate::lab::runtime::{ImageSource, LayerBlob};
use crate::lab::state::State;

/// The files of the image that `reference` names. The error is what ECS says in `reason`, with its
/// `CannotPullContainerError: ` before it.
///
/// The lab's registry answers to every loopback name and port (it may have been on another port when the
/// image was pushed) and to the ECR host name of its account. Nothing is fetched from elsewhere.
/// Of an index the image for `architecture` is taken, in ECS's words; for this machine's where the task does not say.
pub fn resolve_image(
    state: &State,
    settings: &Settings,
    reference: &str,
    architecture: Option<&str>,
) -> Result<ImageSource, String> {
    let (host, path) = match reference.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("docker.io", reference),
    };
    let (name, wanted) = name_and_reference(path);
    let ours = is_loopback(host) || is_own_ecr(host, settings);
    let repository = state.ecr.repositories.get(name).filter(|_| ours);
    let active = |found: &'_ &Repository| found.find(wanted).is_some_and(|(_, image)| image.storage.is_active());
    let repository = repository.filter(active);
    let Some((repository, digest)) = repository.and_then(|found| Some((found, found.find(wanted)?.0))) else {
        let elsewhere = if ours { "" } else { " (the lab pulls from its own registry only)" };
        return Err(format!(
            "CannotPullContainerError: pull image manifest has been retried 7 time(s): failed to resolve ref \
             {host}/{path}: {host}/{path}: not found{elsewhere}"
        ));
    };
    source(settings, repository, digest, &format!("{host}/{path}"), wanted_architecture(architecture))
}

fn source(
    settings: &Settings,
    repository: &Repository,
    digest: &str,
    name: &str,
    architecture: &str,
) -> Result<ImageSource, String> {
    let read = |digest: &str| -> Result<Manifest, String> {
        let failed = |why: String| format!("CannotPullContainerError: failed to fetch {name}: {digest}: {why}");
        let content = fs::read(blob_path(&settings.data, digest)).map_err(|error| failed(error.to_string()))?;
        let media_type = repository.images.get(digest).map(|image| image.media_type.as_str());
        Manifest::parse(&content, media_type).map_err(failed)
    };
    let mut manifest = read(digest)?;
    if manifest.is_index() {
        let platform = format!("linux/{architecture}");
        let child = manifest.manifests.iter().find(|child| is_for(child, architecture)).ok_or_else(|| {
            format!(
                "CannotPullContainerError: image Manifest does not contain descriptor matching platform '{platform}'"
            )
        })?;
        manifest = read(&child.digest)?;
    }
    let blob = |descriptor: &Descriptor| {
        let path = blob_path(&settings.data, &descriptor.digest);
        if path.is_file() {
            Ok(path)
        } else {
            Err(format!("CannotPullContainerError: failed to fetch {name}: {}: not found", descriptor.digest))
        }
    };
    let config = manifest.config.as_ref().ok_or_else(|| format!("CannotPullContainerError: {name} has no config"))?;
    let layers = manifest.layers.iter().map(|layer| {
        Ok(LayerBlob { path: blob(layer)?, media_type: layer.media_type.clone(), digest: layer.digest.clone() })
    });
    Ok(ImageSource {
        digest: digest.to_owned(),
        config: blob(config)?,
        layers: layers.collect::<Result<Vec<_>, String>>()?,
    })
}

/// A digest wins over a tag; neither means `latest`.
fn name_and_reference(path: &str) -> (&str, &str) {
    let (tagged, digest) = match path.split_once('@') {
        Some((tagged, digest)) if is_digest(digest) => (tagged, Some(digest)),
        _ => (path, None),
    };
    let (name, tag) = tagged.split_once(':').unwrap_or((tagged, "latest"));
    (name, digest.unwrap_or(tag))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn is_own_ecr(host: &str, settings: &Settings) -> bool {
    host == format!("{}.dkr.ecr.{}.amazonaws.com", settings.account_id, settings.region)
}

fn is_for(child: &Descriptor, architecture: &str) -> bool {
    child.platform.as_ref().is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture)
}

/// An architecture in OCI's (Go's) words.
fn wanted_architecture(of_the_task: Option<&str>) -> &str {
    match of_the_task.unwrap_or(std::env::consts::ARCH) {
        "x86_64" | "X86_64" => "amd64",
        "aarch64" | "ARM64" => "arm64",
        other => other,
    }
}
