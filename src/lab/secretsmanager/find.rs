//! By which names a secret is found, and which of its versions is meant.

use super::{CURRENT, Secret, SecretVersion};
use crate::lab::api::ApiError;
use crate::lab::input::Input;
use crate::lab::state::State;

fn missing(what: &str) -> ApiError {
    ApiError::new("ResourceNotFoundException", format!("Secrets Manager can't find the specified secret{what}"))
}

/// The secret of this name, ARN, or ARN without its random characters, with its name.
pub fn find<'s>(state: &'s State, id: &str) -> Result<(&'s str, &'s Secret), ApiError> {
    let secrets = &state.secrets.secrets;
    let found = match id.starts_with("arn:") {
        false => secrets.get_key_value(id),
        true => secrets.iter().find(|(_, secret)| {
            let rest = secret.arn.strip_prefix(id);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-') && rest.len() == 7)
        }),
    };
    found.map(|(name, secret)| (name.as_str(), secret)).ok_or_else(|| missing("."))
}

pub fn find_mut<'s>(state: &'s mut State, input: Input) -> Result<(String, &'s mut Secret), ApiError> {
    let name = find(state, input.required("SecretId")?)?.0.to_owned();
    let secret = state.secrets.secrets.get_mut(&name).ok_or_else(|| missing("."))?;
    Ok((name, secret))
}

/// As [`find_mut`], of those that are not deleted.
pub fn usable_mut<'s>(state: &'s mut State, input: Input) -> Result<(String, &'s mut Secret), ApiError> {
    let (name, secret) = find_mut(state, input)?;
    refuse_deleted(secret)?;
    Ok((name, secret))
}

pub fn refuse_deleted(secret: &Secret) -> Result<(), ApiError> {
    match secret.deleted_at {
        None => Ok(()),
        Some(_) => Err(ApiError::new(
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
        )),
    }
}

/// The version with this id, or in this stage, `AWSCURRENT` when neither is given; with its id.
///
/// # Errors
///
/// When the secret is deleted, or has no such version.
pub fn version<'s>(
    secret: &'s Secret,
    id: Option<&str>,
    stage: Option<&str>,
) -> Result<(&'s str, &'s SecretVersion), ApiError> {
    refuse_deleted(secret)?;
    let in_stage = |version: &SecretVersion, stage: &str| version.stages.iter().any(|of| of == stage);
    let found = match (id, stage) {
        (Some(id), stage) => {
            let version = secret.versions.get_key_value(id);
            let (id, version) = version.ok_or_else(|| missing(&format!(" value for VersionId: {id}")))?;
            if stage.is_some_and(|stage| !in_stage(version, stage)) {
                let message = "You provided a VersionStage that is not associated to the provided VersionId.";
                return Err(ApiError::new("InvalidRequestException", message));
            }
            (id, version)
        }
        (None, stage) => {
            let stage = stage.unwrap_or(CURRENT);
            let found = secret.versions.iter().find(|(_, version)| in_stage(version, stage));
            found.ok_or_else(|| missing(&format!(" value for staging label: {stage}")))?
        }
    };
    Ok((found.0, found.1))
}
