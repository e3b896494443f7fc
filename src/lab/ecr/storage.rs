//! Images in the archive: they are kept and shown, and cannot be pulled until they are restored.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::images::{found, image_not_found};
use super::{Image, named, repository_mut, required};
use crate::lab::Lab;
use crate::lab::api::{ApiError, ApiResult};

/// Where an image is, and since when; times in epoch milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    status: Status,
    pub archived_at: Option<i64>,
    pub activated_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    #[default]
    Active,
    Archived,
    /// On its way back. It arrives when the lab looks at its repositories the next time.
    Activating,
}

impl Storage {
    pub fn is_active(&self) -> bool {
        self.status == Status::Active
    }

    pub fn is_archived(&self) -> bool {
        self.status == Status::Archived
    }

    /// In AWS's words.
    pub fn status(&self) -> &'static str {
        match self.status {
            Status::Active => "ACTIVE",
            Status::Archived => "ARCHIVED",
            Status::Activating => "ACTIVATING",
        }
    }

    /// Whether a filter (`imageStatus`, `artifactStatus`) wants it: the active ones, where it says nothing.
    pub fn is_wanted(&self, filter: &Value) -> bool {
        match filter.as_str() {
            Some("ANY") => true,
            wanted => self.status() == wanted.unwrap_or("ACTIVE"),
        }
    }

    pub fn archive(&mut self, now: i64) {
        self.status = Status::Archived;
        self.archived_at = Some(now);
    }

    /// Back at once: it was on its way long enough, or was pushed again.
    pub fn activate(&mut self, now: i64) {
        self.status = Status::Active;
        self.activated_at = Some(now);
    }

    pub fn is_activating(&self) -> bool {
        self.status == Status::Activating
    }
}

impl Image {
    /// What counts as its push where images are put in an order: a restored one is as good as new.
    pub fn as_if_pushed_at(&self) -> i64 {
        self.storage.activated_at.unwrap_or(self.pushed_at)
    }
}

/// `UpdateImageStorageClass`.
pub fn update(lab: &Lab, input: &Value) -> ApiResult {
    let class = required(input, "targetStorageClass")?;
    let now = lab.clock.now();
    lab.write(|state| {
        let repository = repository_mut(&mut state.ecr, &lab.settings, input)?;
        let id = &input["imageId"];
        let digest = found(repository, id).cloned().ok_or_else(|| image_not_found(lab, repository, id))?;
        let is_listed = repository.images.values().any(|other| other.refers_to.contains(&digest));
        let refuse = |why: &str| {
            let message = format!("The requested image storage class update is not supported: {why}");
            Err(ApiError::new("ImageStorageClassUpdateNotSupportedException", message))
        };
        let Some(image) = repository.images.get_mut(&digest) else {
            return Err(image_not_found(lab, repository, id));
        };
        match (class, image.storage.status) {
            ("ARCHIVE", Status::Active) if is_listed => return refuse("the image is in a manifest list"),
            ("ARCHIVE", Status::Active) => image.storage.archive(now),
            ("STANDARD", Status::Archived) => image.storage.status = Status::Activating,
            (_, status) => return refuse(&format!("the image is {status:?}").to_lowercase()),
        }
        let mut reply = named(lab, input);
        reply.insert("imageId".to_owned(), json!({ "imageDigest": digest, "imageTag": id["imageTag"] }));
        reply.insert("imageStatus".to_owned(), image.storage.status().into());
        Ok(Value::Object(reply))
    })
}
