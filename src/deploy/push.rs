//! From an image to its digest in the repository. What the repository has is not sent again.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::build::blob_state;
use super::event::{BlobState, Event, Events};
use super::login::Session;
use super::render::PushedImage;
use super::repository::Repository;
use crate::aws::Clients;
use crate::aws::reply::{list, text, texts};
use crate::error::{Error, Kind, Result};
use crate::image::{Built, Draft, Image};
use crate::registry;

/// ECR answers about at most this many layers at once.
const LAYERS_PER_CALL: usize = 100;

/// Pushes what is missing and puts the tags on it. `deployed` is the task definition that runs now: its image has layers
/// that this one may share.
pub async fn push(
    built: &Built,
    tags: &[String],
    deployed: Option<&str>,
    repository: &Repository,
    session: &Session,
    clients: &Clients,
    events: &Events,
) -> Result<PushedImage> {
    let client = registry::Client::new(&session.base_url, session.credentials.clone())?;
    let to = Destination { client, repository, clients, events };
    match built {
        Built::Image(image) => to.push(image, tags, HashSet::new()).await,
        Built::Draft(draft) => to.push_draft(draft, tags, deployed).await,
        Built::Held(held) => to.push_held(held, tags, deployed).await,
    }
}

pub(super) struct Destination<'a> {
    pub(super) client: registry::Client,
    pub(super) repository: &'a Repository,
    pub(super) clients: &'a Clients,
    events: &'a Events,
}

impl Destination<'_> {
    /// `present` are digests that the repository has.
    pub(super) async fn push(&self, image: &Image, tags: &[String], present: HashSet<String>) -> Result<PushedImage> {
        let digest = image.digest.clone();
        let pushed = PushedImage { repository_uri: self.repository.uri(), digest: digest.clone(), tags: tags.to_vec() };
        let has = match self.repository.ecr_name() {
            Some(name) => tags_of(name, &digest, self.clients).await?,
            None => None,
        };
        // The digest names the content: with the tags on it there is nothing left to send.
        if let Some(there) = &has
            && tags.iter().all(|tag| there.contains(tag))
        {
            for blob in &image.blobs {
                let (digest, size) = (blob.descriptor.digest.clone(), blob.descriptor.size);
                self.events.emit(Event::Blob { digest, size, sent: 0, state: BlobState::Exists });
            }
            return Ok(pushed);
        }
        let known = match self.repository.ecr_name() {
            // With the manifest there, all that it names is there.
            Some(name) if has.is_none() => {
                let asked = image.blobs.iter().map(|blob| &blob.descriptor.digest);
                let asked = asked.filter(|digest| !present.contains(*digest));
                Some(available(name, asked.cloned().collect(), self.clients).await?)
            }
            // The config of new layers is new.
            None if image.layers().iter().any(|layer| present.contains(&layer.descriptor.digest)) => {
                let all = image.layers().iter().all(|layer| present.contains(&layer.descriptor.digest));
                all.then(HashSet::new)
            }
            _ => None,
        };
        // A tag that is on this digest is left out: a repository with immutable tags refuses even the same again.
        let missing: Vec<String> =
            tags.iter().filter(|tag| !has.as_ref().is_some_and(|there| there.contains(*tag))).cloned().collect();
        let options = registry::PushOptions { known, present, ..Default::default() };
        let path = self.repository.path();
        let done = registry::push(&self.client, path, image, &missing, &options, &self.progress()).await?;
        if done.digest != digest {
            return Err(Error::build_or_push(format!("the registry says {} where {digest} was pushed", done.digest)));
        }
        if let Some(name) = self.repository.ecr_name()
            && tags_of(name, &digest, self.clients).await?.is_none()
        {
            return Err(Error::build_or_push(format!(
                "ECR.DescribeImages does not show {digest} in {name} after the push"
            ))
            .hint("run the same command again: what was pushed is not sent twice"));
        }
        Ok(pushed)
    }

    /// Whether the repository has the image; of a registry that is not ECR under one of these tags.
    pub(super) async fn has(&self, image: &Image, tags: &[String]) -> Result<bool> {
        match self.repository.ecr_name() {
            Some(name) => Ok(tags_of(name, &image.digest, self.clients).await?.is_some()),
            None => registry::is_tagged(&self.client, self.repository.path(), tags, &image.digest).await,
        }
    }

    /// Finds out what the layers were compressed to before, compresses and sends the others, and then the image.
    pub(super) async fn push_draft(
        &self,
        draft: &Draft,
        tags: &[String],
        deployed: Option<&str>,
    ) -> Result<PushedImage> {
        let path = self.repository.path();
        let mut known = registry::recall(&self.client, path, draft, &[]).await?;
        if let Some(image) = draft.recalled(&|diff_id| known.get(diff_id).cloned())
            && self.has(&image, tags).await?
        {
            return self.push(&image, tags, HashSet::new()).await;
        }
        if !draft.is_recalled(&|diff_id| known.contains_key(diff_id)) {
            let mut earlier = tags.to_vec();
            if let Some(deployed) = deployed {
                earlier.extend(self.deployed_digest(deployed).await);
            }
            known = registry::recall(&self.client, path, draft, &earlier).await?;
        }
        let exists = match self.repository.ecr_name() {
            Some(name) => {
                let asked = known.values().map(|descriptor| descriptor.digest.clone()).collect();
                Some(available(name, asked, self.clients).await?)
            }
            None => None,
        };
        let options = registry::PushOptions { known: exists, ..Default::default() };
        let settled = registry::settle(&self.client, path, draft, &known, &options, &self.progress()).await?;
        self.push(&settled.image, tags, settled.present).await
    }

    /// The digest of this repository's image in a task definition. Not finding it costs bytes, and no more.
    pub(super) async fn deployed_digest(&self, task_definition: &str) -> Option<String> {
        let input = json!({ "taskDefinition": task_definition });
        let reply = self.clients.describe_task_definition(input).await.ok()?;
        let repository = self.repository.uri();
        let containers = list(&reply["taskDefinition"], "containerDefinitions");
        containers.iter().find_map(|container| {
            text(container, "image").strip_prefix(&repository)?.strip_prefix('@').map(str::to_owned)
        })
    }

    pub(super) fn progress(&self) -> impl Fn(registry::Progress) + Send + Sync {
        |progress| {
            self.events.emit(Event::Blob {
                digest: progress.digest,
                size: progress.size,
                sent: progress.sent,
                state: blob_state(progress.state),
            });
        }
    }
}

/// The tags on a digest; `None` when the repository does not have it.
pub(super) async fn tags_of(name: &str, digest: &str, clients: &Clients) -> Result<Option<Vec<String>>> {
    let input = json!({ "repositoryName": name, "imageIds": [{ "imageDigest": digest }] });
    match clients.describe_images(input).await {
        Ok(reply) => {
            let shown = list(&reply, "imageDetails").iter().find(|image| text(image, "imageDigest") == digest);
            Ok(shown.map(|image| texts(image, "imageTags")))
        }
        Err(failure) if failure.is("ImageNotFoundException") => Ok(None),
        Err(failure) => Err(failure.error(Kind::BuildOrPush)),
    }
}

/// Which of these digests the repository has.
pub(super) async fn available(name: &str, mut digests: Vec<String>, clients: &Clients) -> Result<HashSet<String>> {
    digests.sort();
    digests.dedup();
    let calls = digests.chunks(LAYERS_PER_CALL).map(|digests| {
        let input = json!({ "repositoryName": name, "layerDigests": digests });
        clients.batch_check_layer_availability(input)
    });
    let replies: Vec<Value> =
        futures_util::future::try_join_all(calls).await.map_err(|failure| failure.error(Kind::BuildOrPush))?;
    let layers = replies.iter().flat_map(|reply| list(reply, "layers"));
    Ok(layers
        .filter(|layer| text(layer, "layerAvailability") == "AVAILABLE")
        .map(|layer| text(layer, "layerDigest").to_owned())
        .collect())
}
