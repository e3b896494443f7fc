//! The images of a repository of ECR's: shown and deleted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::repositories::{Place, failed, pages};
use crate::aws::reply::{list, millis, optional, text, texts};
use crate::deploy::{login, repository};
use crate::error::{Error, Kind, Result};
use crate::image::digest;
use crate::registry;

/// Manifests that are looked into at once.
const LOOKS: usize = 8;
/// Images that ECR deletes at once.
const DELETED: usize = 100;

/// Which images are meant.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub limit: usize,
    /// Whether a tag is among those asked for; `None` takes all, the untagged too.
    pub tags: Option<globset::GlobSet>,
    pub untagged: bool,
    /// Whether manifests are read: ECR counts that as a pull.
    pub platforms: bool,
}

/// Images, the one that was pushed last first. What is a part of an index that is shown is not shown again.
pub async fn shown(place: &Place, wanted: &Wanted) -> Result<Vec<Value>> {
    let found = place.described().await?;
    let status = if wanted.untagged { "UNTAGGED" } else { "ANY" };
    let input = place.input(json!({ "filter": { "tagStatus": status } }));
    let mut details = pages("imageDetails", input, async |input| place.clients.describe_images(input).await).await?;
    if let Some(tags) = &wanted.tags {
        details.retain(|image| texts(image, "imageTags").iter().any(|tag| tags.is_match(tag)));
    }
    // An index is pushed after its parts.
    details.sort_by_key(|image| Reverse((millis(image, "imagePushedAt"), is_index(image))));
    if !wanted.platforms {
        details.truncate(wanted.limit);
        return Ok(details.iter().map(|image| row(image, &[])).collect());
    }
    let repository = repository::named(&place.name, text(&found, "repositoryUri"));
    let session = login::session(&repository, &place.clients).await?;
    let mut parts: HashSet<String> = HashSet::new();
    let mut rows: Vec<Value> = Vec::new();
    let mut details = details.into_iter();
    loop {
        let some: Vec<Value> = details
            .by_ref()
            .filter(|image| !parts.contains(text(image, "imageDigest")))
            .take(wanted.limit.saturating_sub(rows.len()))
            .collect();
        if some.is_empty() {
            return Ok(rows);
        }
        let looks = some.iter().map(|image| {
            let (client, path) = (&session.client, repository.path());
            // What cannot be pulled, such as an archived image, has none to show.
            async move { registry::platforms(client, path, text(image, "imageDigest")).await.unwrap_or_default() }
        });
        let looks: Vec<Vec<_>> = stream::iter(looks).buffered(LOOKS).collect().await;
        for (image, of) in some.iter().zip(looks) {
            let platforms: Vec<String> =
                of.iter().filter_map(|(_, platform)| Some(platform.as_ref()?.to_string())).collect();
            let own = text(image, "imageDigest");
            parts.extend(of.into_iter().map(|(part, _)| part).filter(|part| part != own));
            rows.push(row(image, &platforms));
        }
        rows.retain(|row| !parts.contains(text(row, "digest")));
    }
}

fn is_index(image: &Value) -> bool {
    let kind = text(image, "imageManifestMediaType");
    kind.contains("index") || kind.contains("manifest.list")
}

fn row(image: &Value, platforms: &[String]) -> Value {
    json!({
        "digest": text(image, "imageDigest"),
        "tags": texts(image, "imageTags"),
        "size": image["imageSizeInBytes"],
        "platforms": platforms,
        "pushedAt": millis(image, "imagePushedAt"),
        "pulledAt": optional_millis(image, "lastRecordedPullTime"),
        "mediaType": text(image, "imageManifestMediaType"),
    })
}

fn optional_millis(image: &Value, name: &str) -> Option<i64> {
    (!image[name].is_null()).then(|| millis(image, name))
}

/// Which images are to be deleted, by tags and digests, or all without a tag; each with its tags.
pub async fn chosen(place: &Place, named: &[String], untagged: bool) -> Result<Vec<Value>> {
    place.described().await?;
    if untagged {
        let input = place.input(json!({ "filter": { "tagStatus": "UNTAGGED" } }));
        let details = pages("imageDetails", input, async |input| place.clients.describe_images(input).await).await?;
        return Ok(details.iter().map(|image| json!({ "digest": text(image, "imageDigest") })).collect());
    }
    let mut chosen = Vec::new();
    for name in named {
        let id = if digest::is_valid(name) { json!({ "imageDigest": name }) } else { json!({ "imageTag": name }) };
        let reply = place.clients.describe_images(place.input(json!({ "imageIds": [id] }))).await;
        let reply = reply.map_err(|failure| match failure.is("ImageNotFoundException") {
            true => Error::preflight(format!("{} has no image `{name}`", place.name))
                .hint(format!("`steady repo images {}` shows what it has", place.name)),
            false => failed(failure),
        })?;
        let image = list(&reply, "imageDetails").first().cloned().unwrap_or_default();
        let tags = if digest::is_valid(name) { texts(&image, "imageTags") } else { vec![name.clone()] };
        let last = texts(&image, "imageTags").len() <= 1;
        let by_tag = !digest::is_valid(name) && !last;
        chosen.push(json!({ "digest": text(&image, "imageDigest"), "tags": tags, "tagOnly": by_tag }));
    }
    Ok(chosen)
}

/// Deletes images that [`chosen`] gave: a tag where others stay, else the whole image. What ECR keeps is told with its reason.
pub async fn delete(place: &Place, chosen: &[Value]) -> Result<Value> {
    let ids: Vec<Value> = chosen.iter().flat_map(ids).collect();
    let mut deleted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut kept = Vec::new();
    for some in ids.chunks(DELETED) {
        let input = place.input(json!({ "imageIds": some }));
        let reply = place.clients.batch_delete_image(input).await.map_err(|failure| failure.error(Kind::Other))?;
        for id in list(&reply, "imageIds") {
            let tags = deleted.entry(text(id, "imageDigest").to_owned()).or_default();
            tags.extend(optional(id, "imageTag").map(str::to_owned));
        }
        kept.extend(list(&reply, "failures").iter().map(|failure| {
            let id = &failure["imageId"];
            json!({
                "image": optional(id, "imageTag").unwrap_or(text(id, "imageDigest")),
                "reason": text(failure, "failureReason"),
                "code": text(failure, "failureCode"),
            })
        }));
    }
    let deleted: Vec<Value> =
        deleted.into_iter().map(|(digest, tags)| json!({ "digest": digest, "tags": tags })).collect();
    Ok(json!({ "status": "deleted", "repository": place.name, "deleted": deleted, "kept": kept }))
}

fn ids(chosen: &Value) -> Vec<Value> {
    match chosen["tagOnly"] == true {
        true => texts(chosen, "tags").into_iter().map(|tag| json!({ "imageTag": tag })).collect(),
        false => vec![json!({ "imageDigest": chosen["digest"] })],
    }
}
