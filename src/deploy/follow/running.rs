//! What AWS says runs, against what was deployed: of an index a task may report the index, or the image in it that was for
//! its platform.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use super::steady::{Container, Task};
use crate::aws::Clients;
use crate::aws::reply::{list, text};
use crate::deploy::origin;
use crate::image::Reference;
use crate::image::manifest::{self, DOCKER_LIST, DOCKER_MANIFEST, Document, OCI_INDEX, OCI_MANIFEST};
use crate::registry;

/// How long a look at the service may be held up by this.
const LONGEST: Duration = Duration::from_secs(20);

/// The digests of the images in an index, by the reference that was deployed. `None`: it could not be asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known(HashMap<String, Option<Vec<String>>>);

impl Known {
    /// What an index names, as somebody found it out.
    pub fn learn(&mut self, image: &str, images: Option<Vec<String>>) {
        self.0.insert(image.to_owned(), images);
    }

    /// Whether what a container runs is what its reference names; `None` when nobody can tell.
    pub fn proves(&self, container: &Container) -> Option<bool> {
        let (runs, (_, deployed)) = (container.digest.as_deref()?, container.image.split_once('@')?);
        if runs == deployed {
            return Some(true);
        }
        match self.0.get(&container.image) {
            Some(Some(images)) => Some(images.iter().any(|image| image == runs)),
            Some(None) => None,
            None => Some(false),
        }
    }

    /// Asks about the references whose containers report another digest than was deployed, each once.
    pub(in crate::deploy) async fn ask<'a>(&mut self, tasks: impl Iterator<Item = &'a Task>, clients: &Clients) {
        for container in tasks.flat_map(|task| &task.containers) {
            if self.proves(container) == Some(false) && !self.0.contains_key(&container.image) {
                let found = tokio::time::timeout(LONGEST, images_of(&container.image, clients)).await;
                self.learn(&container.image, found.unwrap_or_default());
            }
        }
    }
}

/// The images that an index names; none of an image by itself.
async fn images_of(image: &str, clients: &Clients) -> Option<Vec<String>> {
    let reference: Reference = image.parse().ok()?;
    let digest = reference.digest.clone()?;
    let bytes = match reference.ecr() {
        Some(host) => Some(at_ecr(&reference, &digest, Some((&host.account_id, &host.region)), clients).await?),
        // The lab's registry is on this machine, and perhaps not the only one.
        None if clients.endpoint_url.is_some() && reference.is_loopback() => {
            at_ecr(&reference, &digest, None, clients).await
        }
        None => None,
    };
    let bytes = match bytes {
        Some(bytes) => bytes,
        None => {
            let origin = origin::of(&reference, clients).await.ok()?;
            let remote = registry::find(&origin, &digest, &[]).await.ok()?;
            remote.alone().root.bytes.to_vec()
        }
    };
    match manifest::parse(&bytes, None, &digest).ok()? {
        Document::Index(entries) => Some(entries.into_iter().map(|entry| entry.descriptor.digest).collect()),
        Document::Image(_) => Some(Vec::new()),
    }
}

async fn at_ecr(
    reference: &Reference,
    digest: &str,
    registry: Option<(&String, &String)>,
    clients: &Clients,
) -> Option<Vec<u8>> {
    let mut input = json!({
        "repositoryName": reference.repository,
        "imageIds": [{ "imageDigest": digest }],
        "acceptedMediaTypes": [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST],
    });
    let reply = match registry {
        Some((account, region)) if clients.endpoint_url.is_none() => {
            input["registryId"] = account.as_str().into();
            clients.with_ecr_in(region).batch_get_image(input).await
        }
        _ => clients.batch_get_image(input).await,
    };
    let reply = reply.ok()?;
    let found = list(&reply, "images").first()?;
    Some(text(found, "imageManifest").as_bytes().to_vec())
}
