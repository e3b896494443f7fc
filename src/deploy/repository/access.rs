//! What the caller may do in a repository of ECR's.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::repositories::{Place, failed};
use crate::aws::Failure;
use crate::error::{Error, Result};

/// What one may be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    List,
    Pull,
    Push,
}

/// What the caller may do in a repository, by doing it in a way that changes nothing: what is refused for want of a
/// permission is named, everything else that is refused was allowed.
pub async fn access(place: &Place, required: &[Ability]) -> Result<Value> {
    let clients = &place.clients;
    let none = format!("sha256:{}", "0".repeat(64));
    let of = |input: Value| place.input(input);
    let with = |mut input: Value| {
        input["uploadId"] = "00000000-0000-0000-0000-000000000000".into();
        of(input)
    };
    let (described, token, images, tags, image, url, layers, begin, part, complete, put) = tokio::join!(
        place.described(),
        clients.get_authorization_token(json!({})),
        clients.describe_images(of(json!({ "maxResults": 1 }))),
        clients.list_images(of(json!({ "maxResults": 1 }))),
        clients.batch_get_image(of(json!({ "imageIds": [{ "imageDigest": none }] }))),
        clients.get_download_url_for_layer(of(json!({ "layerDigest": none }))),
        clients.batch_check_layer_availability(of(json!({ "layerDigests": [none] }))),
        // It ends by itself: an upload that nobody goes on with is forgotten.
        clients.initiate_layer_upload(of(json!({}))),
        clients.upload_layer_part(with(json!({ "partFirstByte": 0, "partLastByte": 0, "layerPartBlob": "AA==" }))),
        clients.complete_layer_upload(with(json!({ "layerDigests": [none] }))),
        clients.put_image(of(json!({ "imageManifest": "{}", "imageTag": "steady-access" }))),
    );
    let list = [images, tags];
    let pull = [token, image, url];
    let push = [layers, begin, part, complete, put];
    let gone = |reply: &std::result::Result<Value, Failure>| {
        reply.as_ref().is_err_and(|failure| failure.is("RepositoryNotFoundException"))
    };
    if list.iter().chain(&pull).chain(&push).any(gone) {
        // With the name that was meant, where one may look.
        described?;
        return Err(Error::preflight(format!("the ECR repository `{}` does not exist", place.name)));
    }
    let lacking = |replies: &[std::result::Result<Value, Failure>]| -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for failure in replies.iter().filter_map(|reply| reply.as_ref().err()) {
            if failure.is_denied() {
                missing.push(format!("ecr:{}", failure.operation));
            } else if failure.status.is_none() || failure.status.is_some_and(|status| status >= 500) {
                return Err(failed(failure.clone()));
            }
        }
        Ok(missing)
    };
    let (list, pull, push) = (lacking(&list)?, lacking(&pull)?, lacking(&push)?);
    let login = pull.iter().any(|action| action == LOGIN);
    let (can_list, can_pull, can_push) = (list.is_empty(), pull.is_empty(), push.is_empty() && !login);
    let lacks = |ability: &Ability| match ability {
        Ability::List => list.clone(),
        Ability::Pull => pull.clone(),
        Ability::Push => pull.iter().filter(|action| *action == LOGIN).chain(&push).cloned().collect(),
    };
    let mut seen = HashSet::new();
    let required: Vec<String> = required.iter().flat_map(lacks).filter(|action| seen.insert(action.clone())).collect();
    if !required.is_empty() {
        let error = Error::preflight(format!("the caller lacks {} in {}", required.join(", "), place.name));
        return Err(error.hint("allow these actions for this role, or use another --profile"));
    }
    let missing: Vec<String> = list.into_iter().chain(pull).chain(push).collect();
    Ok(json!({ "repository": place.name, "list": can_list, "pull": can_pull, "push": can_push, "missing": missing }))
}

/// Who may not do this can neither pull nor push.
const LOGIN: &str = "ecr:GetAuthorizationToken";
