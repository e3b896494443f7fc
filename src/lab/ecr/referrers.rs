//! The manifests that are about another: signatures, attestations, lists of what is inside.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::storage::Storage;
use super::{Repository, invalid, is_digest, page_of, repository};
use crate::lab::Lab;
use crate::lab::api::ApiResult;

/// One of them.
pub struct Referrer<'a> {
    pub digest: &'a str,
    pub media_type: &'a str,
    pub size: u64,
    pub artifact_type: Option<&'a str>,
    pub annotations: &'a BTreeMap<String, String>,
    storage: &'a Storage,
}

impl Repository {
    /// All that is about `subject`, also where that is not here.
    pub fn referrers(&self, subject: &str) -> impl Iterator<Item = Referrer<'_>> {
        let about = self.images.iter().filter(move |(_, image)| image.subject.as_deref() == Some(subject));
        about.map(|(digest, image)| Referrer {
            digest,
            media_type: &image.media_type,
            size: image.manifest_size,
            artifact_type: image.artifact_media_type.as_deref(),
            annotations: &image.annotations,
            storage: &image.storage,
        })
    }
}

/// `ListImageReferrers`.
pub fn list(lab: &Lab, input: &Value) -> ApiResult {
    let subject = input["subjectId"]["imageDigest"].as_str().unwrap_or_default();
    if !is_digest(subject) {
        return Err(invalid(
            "subjectId.imageDigest",
            "must satisfy regular expression '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'",
        ));
    }
    let filter = &input["filter"];
    let types = filter["artifactTypes"].as_array().filter(|types| !types.is_empty());
    let is_type = |one: &Referrer| {
        types.is_none_or(|types| types.iter().any(|wanted| wanted.as_str() == one.artifact_type && wanted.is_string()))
    };
    lab.read(|state| {
        let repository = repository(&state.ecr, &lab.settings, input)?;
        let found = repository
            .referrers(subject)
            .filter(|one| one.storage.is_wanted(&filter["artifactStatus"]) && is_type(one));
        let (page, next) = page_of(found.collect(), input, 20)?;
        let referrers: Vec<Value> = page.into_iter().map(|one| shown(&one)).collect();
        Ok(json!({ "referrers": referrers, "nextToken": next }))
    })
}

fn shown(referrer: &Referrer) -> Value {
    let Referrer { digest, media_type, size, artifact_type, annotations, storage } = referrer;
    json!({
        "digest": digest,
        "mediaType": media_type,
        "artifactType": artifact_type,
        "size": size,
        "annotations": (!annotations.is_empty()).then_some(annotations),
        "artifactStatus": storage.status(),
    })
}
