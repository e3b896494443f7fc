//! Images as ECR's API shows them.

use serde_json::{Value, json};

use super::manifest::{self, Incoming, Refused};
use super::{
    EcrState, Image, Repository, blob_path, invalid, is_digest, listed_ids, not_found, page, repository,
    repository_mut, required, required_list, scans,
};
use crate::lab::Lab;
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::wire::epoch_seconds;

pub fn describe(lab: &Lab, input: &Value) -> ApiResult {
    lab.read(|state| {
        let repository = repository(&state.ecr, &lab.settings, input)?;
        let found: Vec<&String> = match listed_ids(input)? {
            Some(ids) => {
                let one = |id| found(repository, id).ok_or_else(|| image_not_found(lab, repository, id));
                let mut digests = ids.iter().map(one).collect::<Result<Vec<_>, _>>()?;
                digests.sort();
                digests.dedup();
                digests
            }
            None => repository.images.keys().collect(),
        };
        // those that are named come whatever their status
        let filter = &input["filter"];
        let is_named = input["imageIds"].is_array();
        let is_wanted = |digest: &&String| {
            tags_wanted(filter, repository.tags_of(digest).is_empty())
                && (is_named || repository.images[*digest].storage.is_wanted(&filter["imageStatus"]))
        };
        let shown = found.into_iter().filter(is_wanted);
        let (page, next) = page(shown.collect(), input)?;
        let details: Vec<Value> = page.into_iter().map(|digest| detail(lab, repository, digest)).collect();
        Ok(json!({ "imageDetails": details, "nextToken": next }))
    })
}

fn detail(lab: &Lab, repository: &Repository, digest: &str) -> Value {
    let image = &repository.images[digest];
    let Image { media_type, image_size, artifact_media_type, subject, pushed_at, pulled_at, .. } = image;
    let tags = repository.tags_of(digest);
    json!({
        "registryId": lab.settings.account_id,
        "repositoryName": repository.name,
        "imageDigest": digest,
        "imageTags": (!tags.is_empty()).then_some(tags),
        "imageSizeInBytes": image_size,
        "imagePushedAt": epoch_seconds(*pushed_at),
        "imageManifestMediaType": media_type,
        "artifactMediaType": artifact_media_type,
        "subjectManifestDigest": subject,
        "lastRecordedPullTime": pulled_at.map(epoch_seconds),
        "imageStatus": image.storage.status(),
        "lastArchivedAt": image.storage.archived_at.map(epoch_seconds),
        "lastActivatedAt": image.storage.activated_at.map(epoch_seconds),
        "imageScanStatus": scans::status(&lab.clock, image),
    })
}

pub fn list(lab: &Lab, input: &Value) -> ApiResult {
    lab.read(|state| {
        let repository = repository(&state.ecr, &lab.settings, input)?;
        let filter = &input["filter"];
        let images = repository.images.iter().filter(|(_, image)| image.storage.is_wanted(&filter["imageStatus"]));
        let ids = images.flat_map(|(digest, _)| {
            let tags = repository.tags_of(digest);
            let untagged = tags.is_empty().then(|| json!({ "imageDigest": digest }));
            let tagged = tags.into_iter().map(move |tag| json!({ "imageDigest": digest, "imageTag": tag }));
            tagged.chain(untagged).collect::<Vec<_>>()
        });
        let shown: Vec<Value> = ids.filter(|id| tags_wanted(filter, id.get("imageTag").is_none())).collect();
        let (page, next) = page(shown, input)?;
        Ok(json!({ "imageIds": page, "nextToken": next }))
    })
}

/// Whether a filter's `tagStatus` lets an image through.
pub fn tags_wanted(filter: &Value, untagged: bool) -> bool {
    match filter["tagStatus"].as_str() {
        Some("TAGGED") => !untagged,
        Some("UNTAGGED") => untagged,
        _ => true,
    }
}

pub fn batch_get(lab: &Lab, input: &Value) -> ApiResult {
    let ids = required_list(input, "imageIds", 100)?;
    let accepted = input.get("acceptedMediaTypes").and_then(Value::as_array).filter(|types| !types.is_empty());
    let is_accepted = |image: &Image| {
        image.storage.is_active() && accepted.is_none_or(|types| types.iter().any(|one| *one == image.media_type))
    };
    let now = lab.clock.now();
    let (found, mut failures) = lab.update(|state| {
        let repository = match repository_mut(&mut state.ecr, &lab.settings, input) {
            Ok(repository) => repository,
            Err(error) => return (Err(error), false),
        };
        let (mut found, mut failures, mut recorded) = (Vec::new(), Vec::new(), false);
        for id in ids {
            match known(repository, id).cloned() {
                Ok(digest) if is_accepted(&repository.images[&digest]) => {
                    recorded |= repository.record_pull(&digest, now);
                    found.push((digest.clone(), repository.images[&digest].media_type.clone(), id.clone()));
                }
                Ok(_) => failures.push(no_image(id)),
                Err(failure) => failures.push(failure),
            }
        }
        (Ok((found, failures)), recorded)
    })?;
    let mut images = Vec::new();
    for (digest, media_type, mut id) in found {
        match std::fs::read_to_string(blob_path(&lab.settings.data, &digest)) {
            Ok(content) => {
                id["imageDigest"] = digest.into();
                images.push(image_reply(lab, input, id, content, &media_type));
            }
            // deleted a moment ago
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => failures.push(no_image(&id)),
            Err(error) => return Err(server_error(&format!("{digest}: {error}"))),
        }
    }
    Ok(json!({ "images": images, "failures": failures }))
}

pub fn batch_delete(lab: &Lab, input: &Value) -> ApiResult {
    let ids = required_list(input, "imageIds", 100)?;
    lab.write(|state| {
        let name = repository(&state.ecr, &lab.settings, input)?.name.clone();
        let (mut deleted, mut failures) = (Vec::new(), Vec::new());
        for id in ids {
            match delete(&mut state.ecr, &name, id) {
                Ok(gone) => deleted.extend(gone),
                Err(failure) => failures.push(failure),
            }
        }
        Ok(json!({ "imageIds": deleted, "failures": failures }))
    })
}

/// A tag takes its image along only when it was the image's last one.
fn delete(state: &mut EcrState, name: &str, id: &Value) -> Result<Vec<Value>, Value> {
    let Some(repository) = state.repositories.get_mut(name) else { return Ok(Vec::new()) };
    let digest = known(repository, id)?.clone();
    let tags: Vec<String> = repository.tags_of(&digest).into_iter().map(str::to_owned).collect();
    let with_tag = |tag: &String| json!({ "imageDigest": digest, "imageTag": tag });
    if let Some(tag) = id["imageTag"].as_str()
        && tags.len() > 1
    {
        repository.tags.remove(tag);
        return Ok(vec![with_tag(&tag.to_owned())]);
    }
    if let Some(reason) = repository.listed(&digest) {
        return Err(failure(id, "ImageReferencedByManifestList", &reason));
    }
    manifest::delete(state, name, &digest);
    Ok(if tags.is_empty() { vec![json!({ "imageDigest": digest })] } else { tags.iter().map(with_tag).collect() })
}

pub fn put(lab: &Lab, input: &Value) -> ApiResult {
    let name = required(input, "repositoryName")?;
    let content = required(input, "imageManifest")?;
    let text = |member: &str| input.get(member).and_then(Value::as_str);
    let incoming = Incoming {
        repository: name,
        content: content.as_bytes(),
        media_type: text("imageManifestMediaType"),
        tag: text("imageTag"),
        digest: text("imageDigest"),
        now: lab.clock.now(),
    };
    if incoming.tag.is_some_and(|tag| !manifest::is_tag(tag)) {
        return Err(invalid("imageTag", "must satisfy regular expression '[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}'"));
    }
    let id = &lab.settings.account_id;
    let put = lab.write(|state| {
        let digest = super::digest_of(content.as_bytes());
        // one that is in the archive is restored by a push
        let same = state.ecr.repositories.get(name).is_some_and(|repository| {
            repository.images.get(&digest).is_some_and(|image| image.storage.is_active())
                && incoming.tag.is_none_or(|tag| repository.tags.get(tag) == Some(&digest))
        });
        if let Some(tag) = incoming.tag.filter(|_| same)
            && state.ecr.repositories.get(name).is_some_and(|repository| repository.is_immutable(tag))
        {
            return Err(refusal(lab, name, Refused::Immutable(tag.to_owned())));
        }
        if same {
            let tag = incoming.tag.map_or("null".to_owned(), |tag| format!("'{tag}'"));
            return Err(ApiError::new(
                "ImageAlreadyExistsException",
                format!(
                    "Image with digest '{digest}' and tag {tag} already exists in the repository with name '{name}' \
                     in registry with id '{id}'"
                ),
            ));
        }
        manifest::put(&mut state.ecr, &lab.settings, incoming).map_err(|refused| refusal(lab, name, refused))
    });
    let digest = put?;
    let media_type = lab.read(|state| {
        let image = state.ecr.repositories.get(name)?.images.get(&digest)?;
        Some(image.media_type.clone())
    });
    let image_id = json!({ "imageDigest": digest, "imageTag": incoming.tag });
    Ok(json!({ "image": image_reply(lab, input, image_id, content.to_owned(), &media_type.unwrap_or_default()) }))
}

fn refusal(lab: &Lab, name: &str, refused: Refused) -> ApiError {
    let id = &lab.settings.account_id;
    let place = format!("in the repository with name '{name}' in the registry with id '{id}'");
    match refused {
        Refused::NoRepository => not_found(name, id),
        Refused::Invalid(why) => {
            invalid("ImageManifest", &format!("Invalid JSON syntax or unsupported manifest: {why}"))
        }
        Refused::UnknownBlobs(digests) => ApiError::new(
            "LayersNotFoundException",
            format!("The layers with digests '[{}]' do not exist {place}", digests.join(", ")),
        ),
        Refused::UnknownManifests(digests) => ApiError::new(
            "ReferencedImagesNotFoundException",
            format!("The images with digests '[{}]' do not exist {place}", digests.join(", ")),
        ),
        Refused::OtherDigest(digest) => ApiError::new(
            "ImageDigestDoesNotMatchException",
            format!("The image digest does not match the digest '{digest}' of the manifest"),
        ),
        Refused::Immutable(tag) => ApiError::new("ImageTagAlreadyExistsException", immutable_text(&tag, name)),
        Refused::Disk(why) => server_error(&why),
    }
}

/// ECR's words, in its API and in its registry.
pub fn immutable_text(tag: &str, repository: &str) -> String {
    format!(
        "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten because \
         the tag is immutable."
    )
}

fn image_reply(lab: &Lab, input: &Value, image_id: Value, content: String, media_type: &str) -> Value {
    json!({
        "registryId": lab.settings.account_id,
        "repositoryName": input["repositoryName"],
        "imageId": image_id,
        "imageManifest": content,
        "imageManifestMediaType": media_type,
    })
}

/// AWS records a pull at least once in this time, not each.
const PULLS_MS: i64 = 24 * 3_600_000;

impl Repository {
    /// Why an image cannot be deleted that others list.
    pub fn listed(&self, digest: &String) -> Option<String> {
        let lists = self.images.iter().filter(|(_, other)| other.refers_to.contains(digest));
        let lists: Vec<&str> = lists.map(|(list, _)| list.as_str()).collect();
        (!lists.is_empty()).then(|| format!("Requested image referenced by manifest list: [{}]", lists.join(", ")))
    }

    /// Notes that an image is pulled, unless that was noted lately. True if it now says so.
    pub fn record_pull(&mut self, digest: &str, now: i64) -> bool {
        let Some(image) = self.images.get_mut(digest) else { return false };
        let is_due = image.pulled_at.is_none_or(|before| now - before >= PULLS_MS);
        if is_due {
            image.pulled_at = Some(now);
        }
        is_due
    }
}

pub fn found<'a>(repository: &'a Repository, id: &Value) -> Option<&'a String> {
    known(repository, id).ok()
}

/// The digest of the image that an `imageId` names, or the failure that a batch operation reports.
fn known<'a>(repository: &'a Repository, id: &Value) -> Result<&'a String, Value> {
    let (digest, tag) = (id["imageDigest"].as_str(), id["imageTag"].as_str());
    if digest.is_none() && tag.is_none() {
        return Err(failure(
            id,
            "MissingDigestAndTag",
            "Invalid request parameters: both tag and digest cannot be null",
        ));
    }
    if digest.is_some_and(|digest| !is_digest(digest)) {
        let reason =
            "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'";
        return Err(failure(id, "InvalidImageDigest", reason));
    }
    let tagged = tag.map(|tag| repository.tags.get(tag));
    match (digest, tagged) {
        (Some(digest), Some(Some(tagged))) if digest != tagged => {
            return Err(failure(id, "ImageTagDoesNotMatchDigest", "Requested image tag does not match the digest"));
        }
        (_, Some(Some(tagged))) => Some(tagged),
        (Some(digest), None) => repository.images.get_key_value(digest).map(|(digest, _)| digest),
        _ => None,
    }
    .ok_or_else(|| no_image(id))
}

fn no_image(id: &Value) -> Value {
    failure(id, "ImageNotFound", "Requested image not found")
}

fn failure(id: &Value, code: &str, reason: &str) -> Value {
    json!({ "imageId": id, "failureCode": code, "failureReason": reason })
}

pub fn image_not_found(lab: &Lab, repository: &Repository, image: &Value) -> ApiError {
    let quoted = |member: &str| image[member].as_str().map_or("'null'".to_owned(), |text| format!("'{text}'"));
    let (digest, tag, id) = (quoted("imageDigest"), quoted("imageTag"), &lab.settings.account_id);
    let name = &repository.name;
    ApiError::new(
        "ImageNotFoundException",
        format!(
            "The image with imageId {{imageDigest:{digest}, imageTag:{tag}}} does not exist within the repository with \
             name '{name}' in the registry with id '{id}'"
        ),
    )
}

fn server_error(why: &str) -> ApiError {
    ApiError { status: 500, ..ApiError::new("ServerException", why) }
}
