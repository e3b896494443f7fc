//! Images from other registries into repositories of ECR's, byte for byte, several at once.

use std::collections::HashMap;

use futures_util::stream::{StreamExt, iter};
use serde::Serialize;
use tokio::sync::Mutex;

use super::event::{Event, Events, Step};
use super::push::Destination;
use super::repository::repositories::{self, NewRepository, Place};
use super::repository::{self, Repository};
use super::{login, origin, step};
use crate::aws::Clients;
use crate::aws::reply::text;
use crate::error::{Error, Kind, Result};
use crate::image::{BlobCache, Platform, Reference};
use crate::registry::{self, Client, Origin};

/// Repositories at once; the images of one follow each other, as they share layers.
const PARALLEL: usize = 4;

/// One image, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub source: Reference,
    /// A repository of ECR's by its name, or any with its registry.
    pub repository: String,
    /// None is by digest alone.
    pub tags: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub struct MirrorOptions {
    /// The part of each image that is meant; none is all of it.
    pub platforms: Vec<Platform>,
    pub create_repository: bool,
    pub dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MirrorStatus {
    Mirrored,
    /// It was there, under these tags.
    Exists,
    /// It would be mirrored.
    Missing,
    Failed,
}

/// What became of one image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirrored {
    pub status: MirrorStatus,
    pub source: String,
    /// `repository@digest`.
    pub image: Option<String>,
    pub digest: Option<String>,
    pub tags: Vec<String>,
    /// Blobs that were sent.
    pub sent: usize,
    pub sent_bytes: u64,
    /// Blobs that the registry had in another repository.
    pub mounted: usize,
    /// Blobs that were there, as far as it had to be asked.
    pub existed: usize,
    pub error: Option<String>,
}

impl Mirrored {
    fn new(wanted: &Wanted, status: MirrorStatus) -> Self {
        Mirrored {
            status,
            source: wanted.source.to_string(),
            image: None,
            digest: None,
            tags: wanted.tags.clone(),
            sent: 0,
            sent_bytes: 0,
            mounted: 0,
            existed: 0,
            error: None,
        }
    }
}

/// Brings all of them, and says of each what became of it. One that fails does not stop the others.
///
/// # Errors
/// `BuildOrPush` when some failed: all failures, and all results.
pub async fn mirror(
    images: &[Wanted],
    options: &MirrorOptions,
    clients: &Clients,
    events: &Events,
) -> Result<Vec<Mirrored>> {
    let run = Run { options, clients, events, registries: Mutex::default(), own: Mutex::default() };
    // Without a way in every image would fail, and for one reason.
    if images.iter().any(|image| !repository::names_registry(&image.repository)) {
        run.own().await.map_err(|error| error.with_kind(Kind::Preflight))?;
    }
    let mut groups: Vec<Vec<(usize, &Wanted)>> = Vec::new();
    for (at, image) in images.iter().enumerate() {
        match groups.iter_mut().find(|group| group[0].1.repository == image.repository) {
            Some(group) => group.push((at, image)),
            None => groups.push(vec![(at, image)]),
        }
    }
    let work = async {
        let groups = groups.into_iter().map(|group| run.group(group));
        let done: Vec<_> = iter(groups).buffer_unordered(PARALLEL).collect().await;
        let mut done: Vec<(usize, Mirrored, Option<Error>)> = done.into_iter().flatten().collect();
        done.sort_by_key(|(at, ..)| *at);
        let (results, failures): (Vec<Mirrored>, Vec<Option<Error>>) =
            done.into_iter().map(|(_, result, failure)| (result, failure)).unzip();
        match Error::all(failures.into_iter().flatten().collect()) {
            None => Ok(results),
            Some(failed) => Err(failed.with_results(serde_json::to_value(&results).unwrap_or_default())),
        }
    };
    step(events, Step::Push, work, |results| {
        let new = results.iter().filter(|one| one.status == MirrorStatus::Mirrored).count();
        format!("{new} of {} images mirrored", results.len())
    })
    .await
}

/// What all images of a run share.
struct Run<'a> {
    options: &'a MirrorOptions,
    clients: &'a Clients,
    events: &'a Events,
    /// By host, so that tokens and connections are shared.
    registries: Mutex<HashMap<String, Client>>,
    /// The host of the account's own registry.
    own: Mutex<Option<String>>,
}

impl Run<'_> {
    async fn group(&self, group: Vec<(usize, &Wanted)>) -> Vec<(usize, Mirrored, Option<Error>)> {
        let mut done = Vec::new();
        for (at, wanted) in group {
            done.push(match self.one(wanted).await {
                Ok(mirrored) => {
                    self.tell(&mirrored);
                    (at, mirrored, None)
                }
                Err(error) => {
                    let message = format!("{} was not mirrored to {}", wanted.source, wanted.repository);
                    let failed =
                        Mirrored { error: Some(error.to_string()), ..Mirrored::new(wanted, MirrorStatus::Failed) };
                    let hints = error.hints().to_vec();
                    let failure = Error::new(Kind::BuildOrPush, message).cause(error);
                    (at, failed, Some(hints.into_iter().fold(failure, Error::hint)))
                }
            });
        }
        done
    }

    fn tell(&self, done: &Mirrored) {
        let (source, image) = (&done.source, done.image.as_deref().unwrap_or_default());
        let message = match done.status {
            MirrorStatus::Exists => format!("{image} is there: {source}"),
            MirrorStatus::Missing => format!("{image} would be mirrored from {source}"),
            _ => format!("{image} mirrored from {source}"),
        };
        self.events.emit(Event::Notice { message });
    }

    async fn one(&self, wanted: &Wanted) -> Result<Mirrored> {
        let source = &wanted.source;
        let origin = Origin { client: self.source(source).await?, repository: source.repository.clone() };
        let platforms = &self.options.platforms;
        // A name is asked for its digest alone: where all is there, nothing is pulled.
        let (digest, found) = match &source.digest {
            _ if !platforms.is_empty() => {
                let found = registry::find(&origin, source.tag_or_digest(), platforms).await?;
                (found.digest().to_owned(), Some(found))
            }
            Some(digest) => (digest.clone(), None),
            None => {
                let head = registry::head_manifest(&origin.client, &origin.repository, source.tag_or_digest()).await?;
                (head.ok_or_else(|| origin::unknown(source))?.digest, None)
            }
        };
        let target = self.assumed(&wanted.repository).await?;
        let client = self.target(&target).await?;
        let told = |status: MirrorStatus| Mirrored {
            image: Some(format!("{}@{digest}", target.uri())),
            digest: Some(digest.clone()),
            ..Mirrored::new(wanted, status)
        };
        if registry::has_names(&client, target.path(), &wanted.tags, &digest).await? {
            return Ok(told(MirrorStatus::Exists));
        }
        if self.options.dry_run {
            return Ok(told(MirrorStatus::Missing));
        }
        let target = self.ready(&wanted.repository, target.clone()).await?;
        let found = match found {
            Some(found) => found,
            None => registry::find(&origin, &digest, &[]).await?,
        };
        let cache = BlobCache::open_default()?;
        let destination =
            Destination { client, repository: &target, cache, clients: self.clients, events: self.events };
        let pushed = destination.mirror(&found, &wanted.tags).await?;
        Ok(Mirrored {
            sent: pushed.uploaded,
            sent_bytes: pushed.uploaded_bytes,
            mounted: pushed.mounted,
            existed: pushed.existed,
            ..told(MirrorStatus::Mirrored)
        })
    }

    async fn source(&self, reference: &Reference) -> Result<Client> {
        // Other registries' logins may be for a repository.
        let key = if reference.ecr().is_some() { reference.registry.clone() } else { reference.name() };
        let mut known = self.registries.lock().await;
        if let Some(client) = known.get(&key) {
            return Ok(client.clone());
        }
        let client = origin::of(reference, self.clients).await?.client;
        known.insert(key, client.clone());
        Ok(client)
    }

    /// The repository as it is, or will be once it is made: what is all there needs no more than to be asked for.
    async fn assumed(&self, name: &str) -> Result<Repository> {
        if repository::names_registry(name) {
            let found = repository::find_named(name, self.options.create_repository, self.clients).await;
            return found.map_err(|error| error.with_kind(Kind::BuildOrPush));
        }
        Ok(repository::named(name, &format!("{}/{name}", self.own().await?)))
    }

    async fn own(&self) -> Result<String> {
        let mut own = self.own.lock().await;
        if let Some(host) = &*own {
            return Ok(host.clone());
        }
        let login = login::login(self.clients).await?;
        let host = login.registry.split_once("://").map_or(&*login.registry, |(_, host)| host);
        Ok(own.insert(host.to_owned()).clone())
    }

    async fn target(&self, repository: &Repository) -> Result<Client> {
        let key = if repository.is_ecr() { repository.registry().to_owned() } else { repository.uri() };
        let mut known = self.registries.lock().await;
        if let Some(client) = known.get(&key) {
            return Ok(client.clone());
        }
        let session = login::session(repository, self.clients).await?;
        known.insert(key, session.client.clone());
        Ok(session.client)
    }

    /// The repository that is there, made if it may be.
    async fn ready(&self, name: &str, assumed: Repository) -> Result<Repository> {
        let create = self.options.create_repository;
        let found = match repository::names_registry(name) {
            true => assumed,
            false => repository::find_named(name, create, self.clients).await?,
        };
        let Repository::Ecr { name, exists: false, .. } = &found else { return Ok(found) };
        let made =
            repositories::create(&Place::of(name, self.clients)?, &NewRepository::default(), self.events).await?;
        Ok(repository::named(name, text(&made, "uri")))
    }
}
