//! Manifests, by tag and by digest.

use std::io::ErrorKind;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::json;

use super::{CONTENT_DIGEST, Outcome, Refusal, empty};
use crate::lab::Lab;
use crate::lab::ecr::manifest::{self, Incoming, LARGEST, Refused};
use crate::lab::ecr::{blob_path, immutable_text};

/// `HEAD` is no pull.
pub fn get(lab: &Lab, name: &str, reference: &str, is_pull: bool) -> Outcome {
    let now = lab.clock.now();
    let (digest, media_type) = lab.update(|state| {
        let Some(repository) = state.ecr.repositories.get_mut(name) else {
            return (Err(Refusal::no_repository(lab, name)), false);
        };
        let found = repository.find(reference).filter(|(_, image)| image.storage.is_active());
        let found = found.map(|(digest, image)| (digest.clone(), image.media_type.clone()));
        let recorded = is_pull && found.as_ref().is_some_and(|(digest, _)| repository.record_pull(digest, now));
        (found.ok_or_else(|| unknown(name, reference)), recorded)
    })?;
    let content = std::fs::read(blob_path(&lab.settings.data, &digest)).map_err(|error| match error.kind() {
        // deleted a moment ago
        ErrorKind::NotFound => unknown(name, reference),
        _ => Refusal::disk(&error),
    })?;
    let length = content.len();
    let mut response = Response::new(Body::from(content));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    for (key, value) in [(header::CONTENT_TYPE, &media_type), (CONTENT_DIGEST, &digest)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(key, value);
        }
    }
    Ok(response)
}

pub async fn put(lab: &Arc<Lab>, name: &str, reference: &str, request: Request) -> Outcome {
    let media_type =
        request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let content: Bytes = match Limited::new(request.into_body(), LARGEST).collect().await {
        Ok(content) => content.to_bytes(),
        Err(_) => {
            let message = format!("manifest invalid: it is larger than {LARGEST} bytes, or was cut short");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", message));
        }
    };
    let (tag, digest) = if reference.contains(':') { (None, Some(reference)) } else { (Some(reference), None) };
    let now = lab.clock.now();
    let incoming =
        Incoming { repository: name, content: &content, media_type: media_type.as_deref(), tag, digest, now };
    let put = lab.write(|state| {
        let digest = manifest::put(&mut state.ecr, &lab.settings, incoming)?;
        let image = state.ecr.repositories.get(name).and_then(|repository| repository.images.get(&digest));
        Ok((image.and_then(|image| image.subject.clone()), digest))
    });
    let (subject, digest) = put.map_err(|refused| refusal(lab, name, refused))?;
    let mut headers = vec![(header::LOCATION, format!("/v2/{name}/manifests/{digest}")), (CONTENT_DIGEST, digest)];
    if let Some(subject) = subject {
        headers.push((header::HeaderName::from_static("oci-subject"), subject));
    }
    Ok(empty(StatusCode::CREATED, &headers))
}

fn refusal(lab: &Lab, name: &str, refused: Refused) -> Refusal {
    let bad = |code, message: String| Refusal::new(StatusCode::BAD_REQUEST, code, message);
    match refused {
        Refused::NoRepository => Refusal::no_repository(lab, name),
        Refused::Invalid(why) => bad("MANIFEST_INVALID", format!("manifest invalid: {why}")),
        Refused::UnknownBlobs(digests) => {
            let message = format!("blob unknown to registry: {}", digests.join(", "));
            bad("MANIFEST_BLOB_UNKNOWN", message).about(digests.iter().map(|digest| json!({ "digest": digest })))
        }
        Refused::UnknownManifests(digests) => {
            let message = format!("manifest unknown to registry: {}", digests.join(", "));
            bad("MANIFEST_BLOB_UNKNOWN", message).about(digests.iter().map(|digest| json!({ "digest": digest })))
        }
        Refused::OtherDigest(digest) => {
            bad("DIGEST_INVALID", format!("provided digest did not match uploaded content, which is {digest}"))
        }
        Refused::Immutable(tag) => bad("TAG_INVALID", immutable_text(&tag, name)),
        Refused::Disk(why) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", why),
    }
}

/// By tag only the tag goes; by digest the image and all its tags.
pub fn delete(lab: &Lab, name: &str, reference: &str) -> Outcome {
    lab.write(|state| {
        let repository = state.ecr.repositories.get_mut(name).ok_or_else(|| Refusal::no_repository(lab, name))?;
        if repository.tags.remove(reference).is_none() {
            let digest = repository.find(reference).ok_or_else(|| unknown(name, reference))?.0.clone();
            if let Some(why) = repository.listed(&digest) {
                // ECR refuses it, too; status and code are inferred.
                return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", why));
            }
            manifest::delete(&mut state.ecr, name, &digest);
        }
        Ok(empty(StatusCode::ACCEPTED, &[]))
    })
}

fn unknown(name: &str, reference: &str) -> Refusal {
    let message = format!("Requested image not found: {name} has no {reference}");
    Refusal::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message)
}
