//! Lifecycle policies: kept, tried in a preview, and applied.

mod evaluation;
mod policy;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::images::{found, image_not_found, tags_wanted};
use super::{Repository, invalid, manifest, named, page_of, repository, repository_mut, required};
use crate::lab::Lab;
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::clock::Clock;
use crate::lab::wire::epoch_seconds;
use policy::{Action, Rule};

/// A preview takes about so long at AWS.
const PREVIEW: Duration = Duration::from_secs(10);
/// AWS promises an expiry within 24 hours. The lab looks as often as this.
const EVERY: Duration = Duration::from_secs(600);

/// An image that a policy's rule is to expire or to archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    pub digest: String,
    tags: Vec<String>,
    pushed_at: i64,
    /// Of the rule.
    priority: i64,
    action: Action,
    of_archive: bool,
}

/// What a policy would do, as it was when it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    policy: String,
    /// Epoch milliseconds.
    started_at: i64,
    marked: Vec<Marked>,
}

impl Preview {
    fn is_complete(&self, clock: &Clock) -> bool {
        clock.now() >= self.started_at + clock.wait(PREVIEW).as_millis() as i64
    }
}

pub fn put(lab: &Lab, input: &Value) -> ApiResult {
    let text = required(input, "lifecyclePolicyText")?;
    rules(text)?;
    lab.write(|state| {
        repository_mut(&mut state.ecr, &lab.settings, input)?.lifecycle_policy = Some(text.to_owned());
        let mut reply = named(lab, input);
        reply.insert("lifecyclePolicyText".to_owned(), text.into());
        Ok(Value::Object(reply))
    })
}

pub fn get(lab: &Lab, input: &Value) -> ApiResult {
    lab.read(|state| {
        let repository = repository(&state.ecr, &lab.settings, input)?;
        let text = repository.lifecycle_policy.as_ref().ok_or_else(|| none(lab, repository))?;
        Ok(reply(lab, input, text, repository.lifecycle_evaluated_at))
    })
}

pub fn delete(lab: &Lab, input: &Value) -> ApiResult {
    lab.write(|state| {
        let repository = repository_mut(&mut state.ecr, &lab.settings, input)?;
        let text = repository.lifecycle_policy.take().ok_or_else(|| none(lab, repository))?;
        Ok(reply(lab, input, &text, repository.lifecycle_evaluated_at.take()))
    })
}

fn reply(lab: &Lab, input: &Value, text: &str, evaluated_at: Option<i64>) -> Value {
    let mut reply = named(lab, input);
    reply.insert("lifecyclePolicyText".to_owned(), text.into());
    // AWS has the epoch for a policy that was never evaluated.
    reply.insert("lastEvaluatedAt".to_owned(), epoch_seconds(evaluated_at.unwrap_or_default()));
    Value::Object(reply)
}

fn rules(text: &str) -> Result<Vec<Rule>, ApiError> {
    policy::parse(text)
        .map_err(|why| invalid("LifecyclePolicyText", &format!("Lifecycle policy validation failure: {why}")))
}

fn none(lab: &Lab, repository: &Repository) -> ApiError {
    ApiError::new("LifecyclePolicyNotFoundException", missing(lab, repository, "Lifecycle policy"))
}

fn missing(lab: &Lab, repository: &Repository, what: &str) -> String {
    let (name, id) = (&repository.name, &lab.settings.account_id);
    format!("{what} does not exist for the repository with name '{name}' in the registry with id '{id}'")
}

pub fn start_preview(lab: &Lab, input: &Value) -> ApiResult {
    let given = input.get("lifecyclePolicyText").and_then(Value::as_str);
    lab.write(|state| {
        let repository = repository_mut(&mut state.ecr, &lab.settings, input)?;
        let text = given.or(repository.lifecycle_policy.as_deref()).ok_or_else(|| none(lab, repository))?.to_owned();
        let rules = rules(&text)?;
        if repository.lifecycle_preview.as_ref().is_some_and(|before| !before.is_complete(&lab.clock)) {
            return Err(ApiError::new(
                "LifecyclePolicyPreviewInProgressException",
                "The previous lifecycle policy preview request has not completed. Wait and try again.",
            ));
        }
        let now = lab.clock.now();
        let marked = evaluation::marked(repository, &rules, now);
        let mut reply = named(lab, input);
        reply.insert("lifecyclePolicyText".to_owned(), text.as_str().into());
        reply.insert("status".to_owned(), "IN_PROGRESS".into());
        repository.lifecycle_preview = Some(Preview { policy: text, started_at: now, marked });
        Ok(Value::Object(reply))
    })
}

pub fn get_preview(lab: &Lab, input: &Value) -> ApiResult {
    lab.read(|state| {
        let repository = repository(&state.ecr, &lab.settings, input)?;
        let Some(preview) = &repository.lifecycle_preview else {
            let message = missing(lab, repository, "Lifecycle policy preview");
            return Err(ApiError::new("LifecyclePolicyPreviewNotFoundException", message));
        };
        let mut reply = named(lab, input);
        reply.insert("lifecyclePolicyText".to_owned(), preview.policy.as_str().into());
        let is_complete = preview.is_complete(&lab.clock);
        reply.insert("status".to_owned(), if is_complete { "COMPLETE" } else { "IN_PROGRESS" }.into());
        let marked = if is_complete { preview.marked.as_slice() } else { &[] };
        let wanted = match super::listed_ids(input)? {
            None => None,
            Some(ids) => {
                let one = |id| found(repository, id).ok_or_else(|| image_not_found(lab, repository, id));
                Some(ids.iter().map(one).collect::<Result<Vec<_>, _>>()?)
            }
        };
        let is_wanted = |one: &&Marked| {
            wanted.as_ref().is_none_or(|wanted| wanted.contains(&&one.digest))
                && tags_wanted(&input["filter"], one.tags.is_empty())
        };
        let (page, next) = page_of(marked.iter().filter(is_wanted).collect(), input, 100)?;
        reply.insert("previewResults".to_owned(), page.into_iter().map(result).collect());
        reply.insert("nextToken".to_owned(), json!(next));
        if is_complete {
            reply.insert("summary".to_owned(), summary(marked));
        }
        Ok(Value::Object(reply))
    })
}

fn summary(marked: &[Marked]) -> Value {
    let expiring = marked.iter().filter(|one| one.action == Action::Expire).count();
    let mut summary = json!({ "expiringImageTotalCount": expiring });
    if expiring < marked.len() {
        let archived = json!({ "targetStorageClass": "ARCHIVE", "imageTotalCount": marked.len() - expiring });
        summary["transitioningImageTotalCounts"] = json!([archived]);
    }
    summary
}

fn result(marked: &Marked) -> Value {
    json!({
        "imageTags": marked.tags,
        "imageDigest": marked.digest,
        "imagePushedAt": epoch_seconds(marked.pushed_at),
        "action": match marked.action {
            Action::Expire => json!({ "type": "EXPIRE" }),
            Action::Archive => json!({ "type": "TRANSITION", "targetStorageClass": "ARCHIVE" }),
        },
        "appliedRulePriority": marked.priority,
        "storageClass": if marked.of_archive { "ARCHIVE" } else { "STANDARD" },
    })
}

/// Applies the policies of all repositories, and brings back what is restored, until `stop`.
pub async fn run(lab: Arc<Lab>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(lab.clock.wait(EVERY))).await.is_some() {
        let lab = lab.clone();
        // files are deleted
        let _ = tokio::task::spawn_blocking(move || apply(&lab)).await;
    }
}

fn apply(lab: &Lab) {
    let now = lab.clock.now();
    lab.update(|state| {
        let mut changed = false;
        let names: Vec<String> = state.ecr.repositories.keys().cloned().collect();
        for name in names {
            let Some(repository) = state.ecr.repositories.get_mut(&name) else { continue };
            for image in repository.images.values_mut().filter(|image| image.storage.is_activating()) {
                image.storage.activate(now);
                changed = true;
            }
            let rules = repository.lifecycle_policy.as_deref().and_then(|text| policy::parse(text).ok());
            let Some(rules) = rules else { continue };
            repository.lifecycle_evaluated_at = Some(now);
            for (digest, action) in with_referrers(repository, evaluation::marked(repository, &rules, now)) {
                tracing::info!(repository = %name, %digest, ?action, "the lifecycle policy applies to an image");
                changed = true;
                if action == Action::Expire {
                    manifest::delete(&mut state.ecr, &name, &digest);
                } else if let Some(repository) = state.ecr.repositories.get_mut(&name)
                    && let Some(image) = repository.images.get_mut(&digest)
                {
                    image.storage.archive(now);
                }
            }
        }
        ((), changed)
    });
}

/// What is about an image that goes, goes with it.
fn with_referrers(repository: &Repository, marked: Vec<Marked>) -> Vec<(String, Action)> {
    let mut all: Vec<(String, Action)> = marked.into_iter().map(|marked| (marked.digest, marked.action)).collect();
    let mut at = 0;
    while let Some((subject, action)) = all.get(at).cloned() {
        let about = repository.images.iter().filter(|(_, image)| image.subject.as_ref() == Some(&subject));
        let about = about.map(|(digest, _)| (digest.clone(), action));
        let new: Vec<_> = about.filter(|(digest, _)| !all.iter().any(|(known, _)| known == digest)).collect();
        all.extend(new);
        at += 1;
    }
    all
}
