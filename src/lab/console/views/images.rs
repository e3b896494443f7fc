//! Repositories and their images.

use serde_json::{Value, json};

use super::{Scope, seconds};
use crate::lab::ecr::Repository;

/// As many images are listed, the newest first.
const MOST_IMAGES: usize = 500;

pub(super) fn all(scope: &Scope) -> Value {
    let repositories = scope.state.ecr.repositories.values().map(|repository| summary(scope, repository));
    json!({ "repositories": repositories.collect::<Vec<Value>>() })
}

pub(super) fn one(scope: &Scope, name: &str) -> Option<Value> {
    let repository = scope.state.ecr.repositories.get(name)?;
    let mut images: Vec<_> = repository.images.iter().collect();
    images.sort_by_key(|(_, image)| -image.pushed_at);
    let images = images.into_iter().take(MOST_IMAGES).map(|(digest, image)| {
        json!({
            "imageDigest": digest,
            "imageTags": repository.tags_of(digest),
            "imageSizeInBytes": image.image_size,
            "imagePushedAt": seconds(image.pushed_at),
            "imageManifestMediaType": image.media_type,
            "artifactMediaType": image.artifact_media_type,
            "subjectManifestDigest": image.subject,
        })
    });
    Some(json!({ "repository": summary(scope, repository), "images": images.collect::<Vec<Value>>() }))
}

fn summary(scope: &Scope, repository: &Repository) -> Value {
    json!({
        "repositoryName": repository.name,
        "repositoryUri": format!("{}/{}", scope.settings.address, repository.name),
        "createdAt": seconds(repository.created_at),
        "imageTagMutability": repository.tag_mutability,
        "scanOnPush": repository.scan_on_push,
        "imagesTotal": repository.images.len(),
    })
}
