//! Images that an engine has, by the names that skopeo gives such sources.

use std::path::Path;

use super::builders::{Builder, Engine, choose};
use super::held::{Held, hold};
use crate::error::{Error, Result};
use crate::image::Open;

const DOCKER: &str = "docker-daemon:";
const STORAGE: &str = "containers-storage:";

/// Whether an image is named so that an engine has to have it.
pub fn is_named(name: &str) -> bool {
    name.starts_with(DOCKER) || name.starts_with(STORAGE)
}

/// `docker-daemon:NAME[:TAG]` of the docker daemon, and `containers-storage:NAME` of podman or buildah. `None` for any
/// other name.
///
/// # Errors
/// `Input` when nothing is named; `Preflight` when no engine answers or it has no such image.
pub async fn named(name: &str, folder: &Path, open: &Open) -> Result<Option<Held>> {
    let (engine, image) = match (name.strip_prefix(DOCKER), name.strip_prefix(STORAGE)) {
        // asked for the image it says itself whether it answers
        (Some(image), _) => {
            (Engine { builder: Builder::Docker, program: Builder::Docker.name().into(), buildx: false }, image)
        }
        (_, Some(image)) => {
            let podman = choose(Some(Builder::Podman)).await;
            (if podman.is_ok() { podman } else { choose(Some(Builder::Buildah)).await }?, image)
        }
        _ => return Ok(None),
    };
    if image.is_empty() || image.starts_with('-') {
        return Err(Error::input(format!("`{name}` names no image")).hint("write it as `docker-daemon:NAME:TAG`"));
    }
    hold(&engine, image, folder, open).await.map(Some)
}
