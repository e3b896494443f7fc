//! Manifests, tags and referrers.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use super::{CONTENT_DIGEST, Outcome, Refusal, empty, json_response, parameter};
use crate::lab::Lab;
use crate::lab::ecr::manifest::{self, Incoming, LARGEST, Refused};
use crate::lab::ecr::{blob_path, immutable_text, is_digest};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub fn get(lab: &Lab, name: &str, reference: &str) -> Outcome {
    let found = lab.read(|state| {
        let repository = state.ecr.repositories.get(name).ok_or_else(|| Refusal::no_repository(lab, name))?;
        let found = repository.find(reference).map(|(digest, image)| (digest.clone(), image.media_type.clone()));
        found.ok_or_else(|| unknown(name, reference))
    })?;
    let (digest, media_type) = found;
    let content = std::fs::read(blob_path(&lab.settings.data, &digest)).map_err(|error| Refusal::disk(&error))?;
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
            bad("MANIFEST_BLOB_UNKNOWN", format!("blob unknown to registry: {}", digests.join(", ")))
        }
        Refused::UnknownManifests(digests) => {
            bad("MANIFEST_BLOB_UNKNOWN", format!("manifest unknown to registry: {}", digests.join(", ")))
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
            manifest::delete(&mut state.ecr, &lab.settings, name, &digest);
        }
        Ok(empty(StatusCode::ACCEPTED, &[]))
    })
}

pub fn tags(lab: &Lab, name: &str, query: &str) -> Outcome {
    let most = match parameter(query, "n").map(|n| n.parse::<usize>()) {
        None => usize::MAX,
        Some(Ok(most)) => most,
        Some(Err(_)) => {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "n is not a number"));
        }
    };
    let last = parameter(query, "last").unwrap_or_default();
    lab.read(|state| {
        let repository = state.ecr.repositories.get(name).ok_or_else(|| Refusal::no_repository(lab, name))?;
        let mut after = repository.tags.keys().filter(|tag| **tag > last).peekable();
        let page: Vec<&String> = after.by_ref().take(most).collect();
        let mut response = json_response(StatusCode::OK, &json!({ "name": name, "tags": page }));
        if let (Some(_), Some(last)) = (after.peek(), page.last())
            && let Ok(link) =
                HeaderValue::from_str(&format!("</v2/{name}/tags/list?n={most}&last={last}>; rel=\"next\""))
        {
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(response)
    })
}

/// The manifests that are about `digest`, as an index.
pub fn referrers(lab: &Lab, name: &str, digest: &str, query: &str) -> Outcome {
    if !is_digest(digest) {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", format!("{digest} is not a digest")));
    }
    let wanted = parameter(query, "artifactType");
    let manifests = lab.read(|state| {
        let repository = state.ecr.repositories.get(name).ok_or_else(|| Refusal::no_repository(lab, name))?;
        let about = repository.images.iter().filter(|(_, image)| image.subject.as_deref() == Some(digest));
        let typed = about.filter(|(_, image)| wanted.is_none() || image.artifact_media_type == wanted);
        Ok(typed
            .map(|(digest, image)| {
                let mut descriptor =
                    json!({ "mediaType": image.media_type, "digest": digest, "size": image.manifest_size });
                if let Some(kind) = &image.artifact_media_type {
                    descriptor["artifactType"] = json!(kind);
                }
                if !image.annotations.is_empty() {
                    descriptor["annotations"] = json!(image.annotations);
                }
                descriptor
            })
            .collect::<Vec<Value>>())
    })?;
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
    let mut response = json_response(StatusCode::OK, &index);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OCI_INDEX));
    if wanted.is_some() {
        response.headers_mut().insert("oci-filters-applied", HeaderValue::from_static("artifactType"));
    }
    Ok(response)
}

fn unknown(name: &str, reference: &str) -> Refusal {
    let message = format!("Requested image not found: {name} has no {reference}");
    Refusal::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message)
}
