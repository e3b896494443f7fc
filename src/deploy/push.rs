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
use crate::image::Image;
use crate::registry;

/// ECR answers about at most this many layers at once.
const LAYERS_PER_CALL: usize = 100;

/// Pushes what is missing and puts the tags on it.
pub async fn push(
    image: &Image,
    tags: &[String],
    repository: &Repository,
    session: &Session,
    clients: &Clients,
    events: &Events,
) -> Result<PushedImage> {
    let digest = image.digest.to_string();
    let pushed =
        |tags: &[String]| PushedImage { repository_uri: repository.uri(), digest: digest.clone(), tags: tags.to_vec() };
    let has = match repository.ecr_name() {
        Some(name) => tags_of(name, &digest, clients).await?,
        None => None,
    };
    // The digest names the content: with the tags on it there is nothing left to send.
    if let Some(there) = &has
        && tags.iter().all(|tag| there.contains(tag))
    {
        for blob in &image.blobs {
            let (digest, size) = (blob.descriptor.digest.to_string(), blob.descriptor.size);
            events.emit(Event::Blob { digest, size, sent: 0, state: BlobState::Exists });
        }
        return Ok(pushed(tags));
    }
    let known = match repository.ecr_name() {
        // With the manifest there, all that it names is there.
        Some(name) if has.is_none() => Some(available(name, image, clients).await?),
        _ => None,
    };
    // A tag that is on this digest is left out: a repository with immutable tags refuses even the same again.
    let missing: Vec<String> =
        tags.iter().filter(|tag| !has.as_ref().is_some_and(|there| there.contains(*tag))).cloned().collect();
    let client = registry::Client::new(&session.base_url, session.credentials.clone())?;
    let progress = |progress: registry::Progress| {
        events.emit(Event::Blob {
            digest: progress.digest.to_string(),
            size: progress.size,
            sent: progress.sent,
            state: blob_state(progress.state),
        });
    };
    let options = registry::PushOptions { known, ..Default::default() };
    let done = registry::push(&client, repository.path(), image, &missing, &options, &progress).await?;
    if done.digest != digest {
        return Err(Error::build_or_push(format!("the registry says {} where {digest} was pushed", done.digest)));
    }
    if let Some(name) = repository.ecr_name()
        && tags_of(name, &digest, clients).await?.is_none()
    {
        return Err(Error::build_or_push(format!(
            "ECR.DescribeImages does not show {digest} in {name} after the push"
        ))
        .hint("run the same command again: what was pushed is not sent twice"));
    }
    Ok(pushed(tags))
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

/// The digests among the image's blobs that the repository has.
async fn available(name: &str, image: &Image, clients: &Clients) -> Result<HashSet<String>> {
    let mut digests: Vec<String> = image.blobs.iter().map(|blob| blob.descriptor.digest.to_string()).collect();
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
