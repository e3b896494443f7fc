//! What there is: repositories, tags, and the manifests that are about another.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{Outcome, Refusal, json_response, parameter};
use crate::lab::Lab;
use crate::lab::ecr::is_digest;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What ECR lists at once where nobody asks for a number, and the largest number that it takes.
const USUAL: usize = 100;
const MOST: usize = 1000;

pub fn catalog(lab: &Lab, query: &str) -> Outcome {
    let page = Page::of(query)?;
    Ok(lab.read(|state| {
        page.reply(state.ecr.repositories.keys(), "/v2/_catalog", |names| json!({ "repositories": names }))
    }))
}

pub fn tags(lab: &Lab, name: &str, query: &str) -> Outcome {
    let page = Page::of(query)?;
    lab.read(|state| {
        let repository = state.ecr.repositories.get(name).ok_or_else(|| Refusal::no_repository(lab, name))?;
        let path = format!("/v2/{name}/tags/list");
        Ok(page.reply(repository.tags.keys(), &path, |tags| json!({ "name": name, "tags": tags })))
    })
}

/// What `n` and `last` ask for.
struct Page {
    most: usize,
    last: String,
}

impl Page {
    fn of(query: &str) -> Result<Page, Refusal> {
        let most = match parameter(query, "n").map(|n| n.parse::<usize>()) {
            None => USUAL,
            Some(Ok(most)) if most <= MOST => most,
            Some(Ok(_)) => {
                // In ECR's words, as those who page through it know them.
                let message = "Invalid parameter at 'maxResults' failed to satisfy constraint: \
                               'Member must have value less than or equal to 1000'";
                return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message));
            }
            Some(Err(_)) => {
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "n is not a number"));
            }
        };
        Ok(Page { most, last: parameter(query, "last").unwrap_or_default() })
    }

    /// The page of `names`, which are sorted, with the link to the next one.
    fn reply<'a>(
        &self,
        names: impl Iterator<Item = &'a String>,
        path: &str,
        body: impl FnOnce(&[&'a String]) -> Value,
    ) -> Response<Body> {
        let mut after = names.filter(|name| **name > self.last).peekable();
        let page: Vec<&String> = after.by_ref().take(self.most).collect();
        let mut response = json_response(StatusCode::OK, &body(&page));
        if let (Some(_), Some(last)) = (after.peek(), page.last())
            && let Ok(link) = HeaderValue::from_str(&format!("<{path}?n={}&last={last}>; rel=\"next\"", self.most))
        {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

/// The manifests that are about `digest`, as an index.
pub fn referrers(lab: &Lab, name: &str, digest: &str, query: &str) -> Outcome {
    if !is_digest(digest) {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", format!("{digest} is not a digest")));
    }
    let wanted = parameter(query, "artifactType");
    let manifests = lab.read(|state| {
        let repository = state.ecr.repositories.get(name).ok_or_else(|| Refusal::no_repository(lab, name))?;
        let typed =
            repository.referrers(digest).filter(|one| wanted.is_none() || one.artifact_type == wanted.as_deref());
        Ok(typed
            .map(|one| {
                let mut descriptor = json!({ "mediaType": one.media_type, "digest": one.digest, "size": one.size });
                if let Some(kind) = one.artifact_type {
                    descriptor["artifactType"] = json!(kind);
                }
                if !one.annotations.is_empty() {
                    descriptor["annotations"] = json!(one.annotations);
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
