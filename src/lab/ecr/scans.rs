//! Basic scanning. The lab knows no operating system's packages and no vulnerabilities, and a scan that found nothing
//! would be a lie: its scans end as AWS's do for an image made from nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::images::{found, image_not_found};
use super::{Image, Repository, manifest, repository, repository_mut};
use crate::lab::Lab;
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::clock::Clock;

const AT_AWS: Duration = Duration::from_secs(10);
const ONCE_IN_MS: i64 = 24 * 60 * 60 * 1000;
const UNSUPPORTED: &str = "UnsupportedImageError: The operating system and/or package manager are not supported.";

pub fn start(lab: &Lab, input: &Value) -> ApiResult {
    let now = lab.clock.now();
    lab.write(|state| {
        let repository = repository_mut(&mut state.ecr, &lab.settings, input)?;
        let digest = image(lab, repository, input)?;
        let place = place(lab, repository, &digest);
        let Some(image) = repository.images.get_mut(&digest) else { return Err(gone(lab, repository, input)) };
        if !image.storage.is_active() {
            let why = "The specified image is archived and cannot be scanned.";
            return Err(ApiError::new("ImageArchivedException", why));
        }
        if !is_scannable(image) {
            return Err(ApiError::new(
                "UnsupportedImageTypeException",
                format!("The image type '{}' is not supported for scanning: {place}", image.media_type),
            ));
        }
        if image.scanned_at.is_some_and(|before| now - before < ONCE_IN_MS) {
            let why = "The scan quota per image has been exceeded. Wait and try again.";
            return Err(ApiError::new("LimitExceededException", why));
        }
        image.scanned_at = Some(now);
        Ok(reply(lab, input, &digest, json!({ "status": "IN_PROGRESS" })))
    })
}

pub fn findings(lab: &Lab, input: &Value) -> ApiResult {
    lab.read(|state| {
        let repository = repository(&state.ecr, &lab.settings, input)?;
        let digest = image(lab, repository, input)?;
        match status(&lab.clock, &repository.images[&digest]) {
            Some(status) => Ok(reply(lab, input, &digest, status)),
            None => Err(ApiError::new(
                "ScanNotFoundException",
                format!("Image scan does not exist for {}", place(lab, repository, &digest)),
            )),
        }
    })
}

/// `imageScanStatus` of an image that was ever scanned.
pub fn status(clock: &Clock, image: &Image) -> Option<Value> {
    let done = image.scanned_at? + clock.wait(AT_AWS).as_millis() as i64;
    Some(match clock.now() < done {
        true => json!({ "status": "IN_PROGRESS" }),
        false => json!({ "status": "FAILED", "description": UNSUPPORTED }),
    })
}

/// Lists and artifacts are not: there are no packages in them.
pub fn is_scannable(image: &Image) -> bool {
    let config = image.artifact_media_type.as_deref();
    manifest::IMAGES.contains(&image.media_type.as_str())
        && config.is_some_and(|config| manifest::CONFIGS.contains(&config))
}

fn image(lab: &Lab, repository: &Repository, input: &Value) -> Result<String, ApiError> {
    found(repository, &input["imageId"]).cloned().ok_or_else(|| gone(lab, repository, input))
}

fn gone(lab: &Lab, repository: &Repository, input: &Value) -> ApiError {
    image_not_found(lab, repository, &input["imageId"])
}

fn place(lab: &Lab, repository: &Repository, digest: &str) -> String {
    format!(
        "the image with '{{imageDigest:'{digest}', imageTag:'null'}}' in the repository with name '{}' in the registry \
         with id '{}'",
        repository.name, lab.settings.account_id
    )
}

fn reply(lab: &Lab, input: &Value, digest: &str, status: Value) -> Value {
    json!({
        "registryId": lab.settings.account_id,
        "repositoryName": input["repositoryName"],
        "imageId": { "imageDigest": digest, "imageTag": input["imageId"]["imageTag"] },
        "imageScanStatus": status,
    })
}
