//! What a secret holds: PutSecretValue, GetSecretValue.

use serde_json::{Value, json};

use super::{CURRENT, PREVIOUS, Secret, SecretVersion, find};
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::ecs::request::uuid;
use crate::lab::input::Input;
use crate::lab::sealed::Sealed;
use crate::lab::state::State;
use crate::lab::wire::epoch_seconds;

/// Versions without a stage beyond these are forgotten, oldest first.
const MOST_DEPRECATED: usize = 100;
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A secret's string and binary, one of which there is.
type Held = (Option<Sealed>, Option<Sealed>);

/// What the request brings to keep, if anything.
pub(super) fn given(input: Input) -> Result<Option<Held>, ApiError> {
    let sealed = |member: &str| input.text(member).map(Sealed::new);
    match (sealed("SecretString"), sealed("SecretBinary")) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(input
                .error("You can't specify both a binary secret value and a string secret value in the same secret."))
        }
        values => Ok(Some(values)),
    }
}

/// Adds a version, unless the same request was there before; its id.
pub(super) fn add(secret: &mut Secret, input: Input, (string, binary): Held, now: i64) -> Result<String, ApiError> {
    let id = input.text("ClientRequestToken").map_or_else(uuid, str::to_owned);
    if let Some(known) = secret.versions.get(&id) {
        return match known.string == string && known.binary == binary {
            true => Ok(id),
            false => Err(ApiError::new(
                "ResourceExistsException",
                format!(
                    "You can't use ClientRequestToken {id} because that value is already in use for a version of \
                     secret {}.",
                    secret.arn
                ),
            )),
        };
    }
    let stages = match input.owned_texts("VersionStages") {
        stages if stages.is_empty() => vec![CURRENT.to_owned()],
        stages => stages,
    };
    let current = stages.iter().any(|stage| stage == CURRENT);
    for version in secret.versions.values_mut() {
        let was_current = current && version.stages.iter().any(|stage| stage == CURRENT);
        version.stages.retain(|stage| !(stages.contains(stage) || current && stage == PREVIOUS));
        if was_current {
            version.stages.push(PREVIOUS.to_owned());
        }
    }
    secret.versions.insert(id.clone(), SecretVersion { string, binary, stages, created_at: now });
    secret.changed_at = now;
    forget(secret);
    Ok(id)
}

fn forget(secret: &mut Secret) {
    let deprecated = secret.versions.iter().filter(|(_, version)| version.stages.is_empty());
    let mut deprecated: Vec<(i64, String)> = deprecated.map(|(id, version)| (version.created_at, id.clone())).collect();
    deprecated.sort();
    for (_, id) in deprecated.iter().take(deprecated.len().saturating_sub(MOST_DEPRECATED)) {
        secret.versions.remove(id);
    }
}

pub(super) fn put(state: &mut State, input: Input, now: i64) -> ApiResult {
    let values = given(input)?.ok_or_else(|| {
        ApiError::new("InvalidRequestException", "You must provide either SecretString or SecretBinary.")
    })?;
    let (name, secret) = find::usable_mut(state, input)?;
    let id = add(secret, input, values, now)?;
    let stages = &secret.versions[&id].stages;
    Ok(json!({ "ARN": secret.arn, "Name": name, "VersionId": id, "VersionStages": stages }))
}

/// The reply, and whether the secret's last access is of another day now.
pub(super) fn get(state: &mut State, input: Input, now: i64) -> (ApiResult, bool) {
    let reply = read(state, input);
    let day = now - now.rem_euclid(DAY);
    let (true, Ok((_, secret))) = (reply.is_ok(), find::find_mut(state, input)) else { return (reply, false) };
    let is_new = secret.accessed_at != Some(day);
    secret.accessed_at = Some(day);
    (reply, is_new)
}

fn read(state: &State, input: Input) -> ApiResult {
    let (name, secret) = find::find(state, input.required("SecretId")?)?;
    let (id, version) = find::version(secret, input.text("VersionId"), input.text("VersionStage"))?;
    let open = |value: &Option<Sealed>| value.as_ref().map_or(Value::Null, |value| json!(value.open()));
    Ok(json!({
        "ARN": secret.arn,
        "Name": name,
        "VersionId": id,
        "SecretString": open(&version.string),
        "SecretBinary": open(&version.binary),
        "VersionStages": version.stages,
        "CreatedDate": epoch_seconds(version.created_at),
    }))
}
