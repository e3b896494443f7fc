//! CreateSecret, UpdateSecret, DeleteSecret, RestoreSecret.

use serde_json::json;

use super::{Secret, arn, find, values};
use crate::lab::Settings;
use crate::lab::api::{ApiError, ApiResult, random_letters};
use crate::lab::input::Input;
use crate::lab::state::State;
use crate::lab::wire::epoch_seconds;

const DAY: i64 = 24 * 60 * 60 * 1000;

pub(super) fn create(state: &mut State, settings: &Settings, input: Input, now: i64) -> ApiResult {
    let name = input.required("Name")?;
    if !name.chars().all(|character| character.is_ascii_alphanumeric() || "/_+=.@-!".contains(character)) {
        return Err(ApiError::new(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        ));
    }
    for member in ["AddReplicaRegions", "CrossAccountPrimaryARN"] {
        if input.get(member).is_some() {
            return Err(input.error(format!("The lab has one region and one account: no {member}.")));
        }
    }
    let given = values::given(input)?;
    if let Some(secret) = state.secrets.secrets.get_mut(name) {
        if secret.deleted_at.is_some() {
            return Err(ApiError::new(
                "InvalidRequestException",
                "You can't create this secret because a secret with this name is already scheduled for deletion.",
            ));
        }
        // The same request again is no other secret.
        let again = input.text("ClientRequestToken").filter(|token| secret.versions.contains_key(*token));
        if let (Some(_), Some(given)) = (again, given) {
            let id = values::add(secret, input, given, now)?;
            return Ok(json!({ "ARN": secret.arn, "Name": name, "VersionId": id }));
        }
        return Err(ApiError::new(
            "ResourceExistsException",
            format!("The operation failed because the secret {name} already exists."),
        ));
    }
    let mut secret = Secret {
        arn: arn(settings, name, &random_letters(6)),
        description: input.text("Description").map(str::to_owned),
        kms_key_id: input.text("KmsKeyId").map(str::to_owned),
        tags: input.pairs("Tags")?,
        created_at: now,
        changed_at: now,
        ..Secret::default()
    };
    let id = given.map(|given| values::add(&mut secret, input, given, now)).transpose()?;
    let reply = json!({ "ARN": secret.arn, "Name": name, "VersionId": id });
    state.secrets.secrets.insert(name.to_owned(), secret);
    Ok(reply)
}

pub(super) fn update(state: &mut State, input: Input, now: i64) -> ApiResult {
    let given = values::given(input)?;
    let (name, secret) = find::usable_mut(state, input)?;
    let id = given.map(|given| values::add(secret, input, given, now)).transpose()?;
    if let Some(description) = input.text("Description") {
        secret.description = Some(description.to_owned());
    }
    if let Some(key) = input.text("KmsKeyId") {
        secret.kms_key_id = Some(key.to_owned());
    }
    secret.changed_at = now;
    Ok(json!({ "ARN": secret.arn, "Name": name, "VersionId": id }))
}

pub(super) fn delete(state: &mut State, settings: &Settings, input: Input, now: i64) -> ApiResult {
    let forced = input.flag("ForceDeleteWithoutRecovery") == Some(true);
    let days = input.number("RecoveryWindowInDays")?;
    match days {
        Some(_) if forced => {
            return Err(
                input.error("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
            );
        }
        Some(days) if !(7..=30).contains(&days) => {
            return Err(input.error("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."));
        }
        _ => {}
    }
    let found = find::find_mut(state, input);
    if forced {
        // Doing it again is no error, also when there never was such a secret.
        let id = input.required("SecretId")?;
        let (name, arn) = match found {
            Ok((name, secret)) => (name, secret.arn.clone()),
            Err(error) if id.starts_with("arn:") => return Err(error),
            Err(_) => (id.to_owned(), arn(settings, id, &random_letters(6))),
        };
        state.secrets.secrets.remove(&name);
        return Ok(json!({ "ARN": arn, "Name": name, "DeletionDate": epoch_seconds(now) }));
    }
    let (name, secret) = found?;
    find::refuse_deleted(secret)?;
    let gone_at = now + days.unwrap_or(30) * DAY;
    (secret.deleted_at, secret.gone_at) = (Some(now), Some(gone_at));
    Ok(json!({ "ARN": secret.arn, "Name": name, "DeletionDate": epoch_seconds(gone_at) }))
}

pub(super) fn restore(state: &mut State, input: Input) -> ApiResult {
    let (name, secret) = find::find_mut(state, input)?;
    (secret.deleted_at, secret.gone_at) = (None, None);
    Ok(json!({ "ARN": secret.arn, "Name": name }))
}
