//! From an image to its digest in the repository. What the repository has is not sent again.

pub(super) mod held;

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::build::{Made, blob_state};
use super::event::{BlobState, Event, Events};
use super::login::Session;
use super::render::PushedImage;
use super::repository::Repository;
use crate::aws::Clients;
use crate::aws::reply::{list, text, texts};
use crate::error::{Error, Kind, Result};
use crate::image::{Blob, BlobCache, BlobSource, Built, Descriptor, Draft, Tree, index, places};
use crate::registry::{self, Origin, Pushed, Remote, Settled};

/// ECR answers about at most this many layers at once.
const LAYERS_PER_CALL: usize = 100;

/// Pushes what is missing and puts the tags on it. `deployed` is the task definition that runs now: its image has layers
/// that this one may share.
pub async fn push(
    made: &Made,
    tags: &[String],
    deployed: Option<&str>,
    repository: &Repository,
    session: &Session,
    clients: &Clients,
    events: &Events,
) -> Result<PushedImage> {
    let client = session.client.clone();
    let to = Destination { client, repository, cache: BlobCache::open_default()?, clients, events };
    let pushed = match made {
        Made::Elsewhere(remote, _) => to.mirror(remote, tags).await?,
        Made::Here(Built::Image(image)) => to.push(&Tree::from(image), tags, HashSet::new(), None).await?,
        Made::Here(Built::Index(tree)) => to.push(tree, tags, HashSet::new(), None).await?,
        Made::Here(one @ Built::Draft(_)) => to.push_drafts(&[one], HashSet::new(), tags, deployed).await?,
        Made::Here(Built::Held(held)) => {
            let (image, present) = to.settle_held(held, tags, deployed).await?;
            to.push(&Tree::from(&image), tags, present, None).await?
        }
        Made::Here(Built::Platforms(all)) => to.push_platforms(all, tags, deployed).await?,
    };
    Ok(PushedImage { repository_uri: repository.uri(), digest: pushed.digest, tags: tags.to_vec() })
}

pub(super) struct Destination<'a> {
    pub(super) client: registry::Client,
    pub(super) repository: &'a Repository,
    pub(super) cache: BlobCache,
    pub(super) clients: &'a Clients,
    pub(super) events: &'a Events,
}

impl Destination<'_> {
    /// `present` are digests that the repository has, `origin` is where blobs are that are elsewhere.
    pub(super) async fn push(
        &self,
        tree: &Tree,
        tags: &[String],
        present: HashSet<String>,
        origin: Option<&Origin>,
    ) -> Result<Pushed> {
        let digest = tree.digest();
        let has = match self.repository.ecr_name() {
            Some(name) => tags_of(name, digest, self.clients).await?,
            None => None,
        };
        // The digest names the content: with the tags on it there is nothing left to send.
        if let Some(there) = &has
            && tags.iter().all(|tag| there.contains(tag))
        {
            tree.blobs().for_each(Blob::arrived);
            // Whoever knows of the others has told of them.
            for blob in tree.blobs().filter(|blob| !present.contains(&blob.descriptor.digest)) {
                let (digest, size) = (blob.descriptor.digest.clone(), blob.descriptor.size);
                self.events.emit(Event::Blob { digest, size, sent: 0, state: BlobState::Exists });
            }
            return Ok(Pushed::nothing(tree));
        }
        let left = || tree.blobs().filter(|blob| !present.contains(&blob.descriptor.digest));
        let known = match self.repository.ecr_name() {
            // With the manifest there, all that it names is there.
            Some(name) if has.is_none() => {
                let asked = left().map(|blob| blob.descriptor.digest.clone()).collect();
                Some(available(name, asked, self.clients).await?)
            }
            // The config of new layers is new, and is all that is left.
            None if !present.is_empty() => {
                left().all(|blob| matches!(blob.source, BlobSource::Memory(_))).then(HashSet::new)
            }
            _ => None,
        };
        // A tag that is on this digest is left out: a repository with immutable tags refuses even the same again.
        let missing: Vec<String> =
            tags.iter().filter(|tag| !has.as_ref().is_some_and(|there| there.contains(*tag))).cloned().collect();
        let mount_from = match origin {
            Some(origin) if origin.client.host() == self.client.host() => vec![origin.repository.clone()],
            _ => Vec::new(),
        };
        let origin = origin.cloned();
        let found_in = self.elsewhere(tree.blobs().map(|blob| blob.descriptor.digest.as_str()));
        let options = registry::PushOptions { known, present, mount_from, found_in, origin, ..Default::default() };
        let path = self.repository.path();
        let done = registry::push_tree(&self.client, path, tree, &missing, &options, &self.progress()).await?;
        if done.digest != digest {
            return Err(Error::build_or_push(format!("the registry says {} where {digest} was pushed", done.digest)));
        }
        for blob in tree.blobs() {
            places::remember(&self.cache, &self.client.host(), path, &blob.descriptor.digest);
        }
        if let Some(name) = self.repository.ecr_name()
            && tags_of(name, digest, self.clients).await?.is_none()
        {
            return Err(Error::build_or_push(format!(
                "ECR.DescribeImages does not show {digest} in {name} after the push"
            ))
            .hint("run the same command again: what was pushed is not sent twice"));
        }
        Ok(done)
    }

    /// From another registry: only what this repository lacks is asked for there.
    pub(super) async fn mirror(&self, remote: &Remote, tags: &[String]) -> Result<Pushed> {
        let path = self.repository.path();
        let tree = if self.is_there(remote.digest(), tags).await? {
            remote.alone()
        } else {
            remote.tree(&remote.known_to(&self.client, path).await?).await?
        };
        self.push(&tree, tags, HashSet::new(), Some(&remote.origin)).await
    }

    /// Whether the repository has a manifest, as far as that costs one question.
    pub(super) async fn is_there(&self, digest: &str, tags: &[String]) -> Result<bool> {
        match self.repository.ecr_name() {
            Some(name) => Ok(tags_of(name, digest, self.clients).await?.is_some()),
            None => registry::is_tagged(&self.client, self.repository.path(), tags, digest).await,
        }
    }

    /// An index of images, some of which engines may hold.
    async fn push_platforms(&self, all: &[Built], tags: &[String], deployed: Option<&str>) -> Result<Pushed> {
        let (mut images, mut present) = (Vec::new(), HashSet::new());
        for one in all {
            images.push(match one {
                Built::Held(held) => {
                    let (image, there) = self.settle_held(held, tags, deployed).await?;
                    present.extend(there);
                    Built::Image(image)
                }
                here => here.clone(),
            });
        }
        self.push_drafts(&images.iter().collect::<Vec<_>>(), present, tags, deployed).await
    }

    /// Finds out what the layers were compressed to before, compresses and sends the others, and then the image, or an index
    /// of several. `present` are digests that the repository has.
    async fn push_drafts(
        &self,
        all: &[&Built],
        mut present: HashSet<String>,
        tags: &[String],
        deployed: Option<&str>,
    ) -> Result<Pushed> {
        let drafts: Vec<&Draft> = all.iter().filter_map(|one| one.draft()).collect();
        let Some(together) = Draft::together(&drafts) else {
            return self.push(&assembled(all, Vec::new())?, tags, present, None).await;
        };
        let known = registry::recall(&self.client, self.repository.path(), &together, &[]).await?;
        if let Some(image) = together.recalled(&|diff_id| known.get(diff_id).cloned()) {
            let tree = assembled(all, image.layers().to_vec())?;
            if self.is_there(tree.digest(), tags).await? {
                return self.push(&tree, tags, present, None).await;
            }
        }
        let settled = self.settle(&together, known, tags, deployed).await?;
        present.extend(settled.present);
        let tree = assembled(all, settled.image.layers().to_vec())?;
        self.push(&tree, tags, present, None).await
    }

    /// Compresses and sends the layers that nobody knows of. `known` is what is recalled without asking anyone.
    pub(super) async fn settle(
        &self,
        draft: &Draft,
        mut known: HashMap<String, Descriptor>,
        tags: &[String],
        deployed: Option<&str>,
    ) -> Result<Settled> {
        let path = self.repository.path();
        if !draft.is_recalled(&|diff_id| known.contains_key(diff_id)) {
            let earlier = self.earlier(tags, deployed).await;
            known = registry::recall(&self.client, path, draft, &earlier).await?;
        }
        let exists = match self.repository.ecr_name() {
            Some(name) => {
                let asked = known.values().map(|descriptor| descriptor.digest.clone()).collect();
                Some(available(name, asked, self.clients).await?)
            }
            None => None,
        };
        let found_in = self.elsewhere(known.values().map(|descriptor| descriptor.digest.as_str()));
        let options = registry::PushOptions { known: exists, found_in, ..Default::default() };
        registry::settle(&self.client, path, draft, &known, &options, &self.progress()).await
    }

    /// Other repositories of this registry that have some of these blobs: a base image's, another service's.
    pub(super) fn elsewhere<'b>(&self, digests: impl Iterator<Item = &'b str>) -> HashMap<String, String> {
        let found = digests.filter_map(|digest| {
            let place = places::find(&self.cache, &self.client.host(), digest)?;
            (place != self.repository.path()).then(|| (digest.to_owned(), place))
        });
        found.collect()
    }

    /// Images that may share layers with a new one: what has its tags, and what is deployed.
    pub(super) async fn earlier(&self, tags: &[String], deployed: Option<&str>) -> Vec<String> {
        let mut earlier = tags.to_vec();
        if let Some(deployed) = deployed {
            earlier.extend(self.deployed_digest(deployed).await);
        }
        earlier
    }

    /// The digest of this repository's image in a task definition. Not finding it costs bytes, and no more.
    async fn deployed_digest(&self, task_definition: &str) -> Option<String> {
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

/// One image, or the index of several; `layers` are those of all drafts, one draft's after the other's.
fn assembled(all: &[&Built], mut layers: Vec<Blob>) -> Result<Tree> {
    let mut images = Vec::new();
    for one in all {
        images.push(match one.draft() {
            Some(draft) => {
                let rest = layers.split_off(draft.layers.len().min(layers.len()));
                draft.image(std::mem::replace(&mut layers, rest))
            }
            None => (*one).clone().settled()?,
        });
    }
    match &images[..] {
        [image] => Ok(Tree::from(image)),
        images => index::of(images),
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
