//! CreateRole, GetRole, ListRoles, DeleteRole, their trust policies and tags.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Role, exists, listing, no_such, policy};
use crate::lab::Settings;
use crate::lab::api::{ApiError, ApiResult, random_letters};
use crate::lab::input::Input;
use crate::lab::state::State;

/// As RFC 3986 has it, which IAM says of its documents.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn find<'s>(state: &'s State, input: Input) -> Result<(&'s str, &'s Role), ApiError> {
    let name = input.required("RoleName")?;
    let found = state.iam.roles.get_key_value(name).map(|(name, role)| (name.as_str(), role));
    found.ok_or_else(|| no_such(format!("The role with name {name} cannot be found.")))
}

pub(super) fn find_mut<'s>(state: &'s mut State, input: Input) -> Result<&'s mut Role, ApiError> {
    let name = input.required("RoleName")?;
    let found = state.iam.roles.get_mut(name);
    found.ok_or_else(|| no_such(format!("The role with name {name} cannot be found.")))
}

/// A policy document in a reply.
pub(super) fn encoded(document: &str) -> String {
    utf8_percent_encode(document, RESERVED).to_string()
}

pub(super) fn valid_name(input: Input, member: &str) -> Result<(), ApiError> {
    let name = input.required(member)?;
    match name.chars().all(|character| character.is_ascii_alphanumeric() || "_+=,.@-".contains(character)) {
        true => Ok(()),
        false => Err(input.error(format!(
            "The specified value for {} is invalid. It must contain only alphanumeric characters and/or the following: \
             +=,.@_-",
            crate::lab::input::lower_first(member)
        ))),
    }
}

pub(super) fn create(state: &mut State, settings: &Settings, input: Input, now: i64) -> ApiResult {
    valid_name(input, "RoleName")?;
    let name = input.required("RoleName")?;
    let path = input.text("Path").unwrap_or("/");
    if !(path.starts_with('/') && path.ends_with('/')) {
        return Err(input.error("The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters."));
    }
    let trust = input.required("AssumeRolePolicyDocument")?;
    policy::check_trust(trust)?;
    if state.iam.roles.contains_key(name) {
        return Err(exists(format!("Role with name {name} already exists.")));
    }
    let role = Role {
        id: format!("AROA{}", random_letters(17).to_ascii_uppercase()),
        arn: format!("arn:aws:iam::{}:role{path}{name}", settings.account_id),
        path: path.to_owned(),
        trust: trust.to_owned(),
        description: input.text("Description").map(str::to_owned),
        max_session: input.number("MaxSessionDuration")?.unwrap_or(3600),
        created_at: now,
        tags: input.pairs("Tags")?,
        ..Role::default()
    };
    let reply = json!({ "Role": view(name, &role, true) });
    state.iam.roles.insert(name.to_owned(), role);
    Ok(reply)
}

pub(super) fn get(state: &State, input: Input) -> ApiResult {
    let (name, role) = find(state, input)?;
    Ok(json!({ "Role": view(name, role, true) }))
}

pub(super) fn list(state: &State, input: Input) -> ApiResult {
    let prefix = input.text("PathPrefix").unwrap_or("/");
    let roles = state.iam.roles.iter().filter(|(_, role)| role.path.starts_with(prefix));
    listing(input, "Roles", roles.map(|(name, role)| view(name, role, false)).collect())
}

pub(super) fn delete(state: &mut State, input: Input) -> ApiResult {
    let (name, role) = find(state, input)?;
    let conflict = |what: &str| ApiError { status: 409, ..ApiError::new("DeleteConflict", what) };
    if !role.attached.is_empty() {
        return Err(conflict("Cannot delete entity, must detach all policies first."));
    }
    if !role.policies.is_empty() {
        return Err(conflict("Cannot delete entity, must delete policies first."));
    }
    let name = name.to_owned();
    state.iam.roles.remove(&name);
    Ok(json!({}))
}

pub(super) fn update_trust(state: &mut State, input: Input) -> ApiResult {
    let trust = input.required("PolicyDocument")?;
    let role = find_mut(state, input)?;
    policy::check_trust(trust)?;
    role.trust = trust.to_owned();
    Ok(json!({}))
}

pub(super) fn tag(state: &mut State, input: Input) -> ApiResult {
    let mut given = input.pairs("Tags")?;
    let tags = &mut find_mut(state, input)?.tags;
    let added = given.keys().filter(|key| !tags.contains_key(*key)).count();
    if tags.len() + added > 50 {
        let error = ApiError::new("LimitExceeded", "The number of tags has reached the maximum limit.");
        return Err(ApiError { status: 409, ..error });
    }
    tags.append(&mut given);
    Ok(json!({}))
}

pub(super) fn untag(state: &mut State, input: Input) -> ApiResult {
    let keys = input.texts("TagKeys");
    find_mut(state, input)?.tags.retain(|key, _| !keys.contains(&key.as_str()));
    Ok(json!({}))
}

pub(super) fn list_tags(state: &State, input: Input) -> ApiResult {
    let (_, role) = find(state, input)?;
    listing(input, "Tags", tags(role))
}

fn tags(role: &Role) -> Vec<Value> {
    role.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}

/// A listing's entries have less.
fn view(name: &str, role: &Role, whole: bool) -> Value {
    let created = jiff::Timestamp::from_millisecond(role.created_at).unwrap_or_default();
    json!({
        "Path": role.path,
        "RoleName": name,
        "RoleId": role.id,
        "Arn": role.arn,
        "CreateDate": created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "AssumeRolePolicyDocument": encoded(&role.trust),
        "Description": role.description,
        "MaxSessionDuration": role.max_session,
        "Tags": (whole && !role.tags.is_empty()).then(|| tags(role)),
        "RoleLastUsed": whole.then(|| json!({})),
    })
}
