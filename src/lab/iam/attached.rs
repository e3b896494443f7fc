//! A role's policies: those written into it, and the managed ones that it has.

use serde_json::json;

use super::{listing, no_such, policy, roles};
use crate::lab::api::ApiResult;
use crate::lab::input::Input;
use crate::lab::state::State;

pub(super) fn put(state: &mut State, input: Input) -> ApiResult {
    roles::valid_name(input, "PolicyName")?;
    let (name, document) = (input.required("PolicyName")?, input.required("PolicyDocument")?);
    let role = roles::find_mut(state, input)?;
    policy::check(document)?;
    role.policies.insert(name.to_owned(), document.to_owned());
    Ok(json!({}))
}

fn missing(name: &str) -> crate::lab::api::ApiError {
    no_such(format!("The role policy with name {name} cannot be found."))
}

pub(super) fn get(state: &State, input: Input) -> ApiResult {
    let (role, of) = roles::find(state, input)?;
    let name = input.required("PolicyName")?;
    let document = of.policies.get(name).ok_or_else(|| missing(name))?;
    Ok(json!({ "RoleName": role, "PolicyName": name, "PolicyDocument": roles::encoded(document) }))
}

pub(super) fn list_inline(state: &State, input: Input) -> ApiResult {
    let (_, role) = roles::find(state, input)?;
    listing(input, "PolicyNames", role.policies.keys().map(|name| json!(name)).collect())
}

pub(super) fn delete(state: &mut State, input: Input) -> ApiResult {
    let name = input.required("PolicyName")?;
    roles::find_mut(state, input)?.policies.remove(name).ok_or_else(|| missing(name))?;
    Ok(json!({}))
}

/// AWS's own policies are all there; the lab has none of its user's.
pub(super) fn attach(state: &mut State, input: Input) -> ApiResult {
    let arn = input.required("PolicyArn")?;
    let role = roles::find_mut(state, input)?;
    if !arn.starts_with("arn:aws:iam::aws:policy/") {
        return Err(no_such(format!("Policy {arn} does not exist or is not attachable.")));
    }
    if !role.attached.iter().any(|of| of == arn) {
        role.attached.push(arn.to_owned());
    }
    Ok(json!({}))
}

pub(super) fn list(state: &State, input: Input) -> ApiResult {
    let (_, role) = roles::find(state, input)?;
    let prefix = input.text("PathPrefix").unwrap_or("/");
    let path = |arn: &&String| arn.split_once(":policy").is_some_and(|(_, path)| path.starts_with(prefix));
    let attached = role.attached.iter().filter(path);
    let attached = attached.map(|arn| json!({ "PolicyName": arn.rsplit('/').next(), "PolicyArn": arn }));
    listing(input, "AttachedPolicies", attached.collect())
}

pub(super) fn detach(state: &mut State, input: Input) -> ApiResult {
    let arn = input.required("PolicyArn")?;
    let attached = &mut roles::find_mut(state, input)?.attached;
    let at = attached.iter().position(|of| of == arn);
    attached.remove(at.ok_or_else(|| no_such(format!("Policy {arn} was not found.")))?);
    Ok(json!({}))
}
