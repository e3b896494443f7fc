//! Tags of every taggable resource.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Scope;
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::state::State;

/// Only AddTags and CreateLoadBalancer declare it.
pub(super) const DUPLICATE: &str = "DuplicateTagKeys";
/// What a resource can have at most.
const MOST: usize = 50;

/// The `Tags` of a request: each key once, or `duplicate` is what the operation calls it, and none of AWS's own. The
/// words are of the errors' documentation, or inferred.
pub(super) fn given(input: Input, duplicate: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let tags = input.pairs("Tags")?;
    if tags.len() < input.list("Tags").len() {
        return Err(ApiError::new(duplicate, "A tag key was specified more than once"));
    }
    if tags.keys().any(|key| key.to_lowercase().starts_with("aws:")) {
        return Err(input.error("Tag keys beginning with aws: are reserved"));
    }
    if tags.len() > MOST { Err(too_many()) } else { Ok(tags) }
}

fn too_many() -> ApiError {
    ApiError::new("TooManyTags", "You've reached the limit on the number of tags for this resource")
}

pub(super) fn add(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let tags = given(input, DUPLICATE)?;
    if input.texts("ResourceArns").len() > 1 {
        return Err(input.error("Only one resource can be tagged at a time"));
    }
    for arn in input.texts("ResourceArns") {
        let own = of_mut(state, arn)?;
        let new = tags.keys().filter(|key| !own.contains_key(*key)).count();
        if own.len() + new > MOST {
            return Err(too_many());
        }
        own.extend(tags.clone());
    }
    Ok(json!({}))
}

pub(super) fn remove(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let keys = input.texts("TagKeys");
    for arn in input.texts("ResourceArns") {
        of_mut(state, arn)?.retain(|key, _| !keys.contains(&key.as_str()));
    }
    Ok(json!({}))
}

pub(super) fn describe(state: &State, _: &Scope, input: Input) -> ApiResult {
    let mut descriptions = Vec::new();
    for arn in input.texts("ResourceArns") {
        let tags: Vec<Value> =
            of(state, arn)?.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        descriptions.push(json!({ "ResourceArn": arn, "Tags": tags }));
    }
    Ok(json!({ "TagDescriptions": descriptions }))
}

fn of<'a>(state: &'a State, arn: &str) -> Result<&'a BTreeMap<String, String>, ApiError> {
    let elb = &state.elbv2;
    let rules = elb.listeners.iter().flat_map(|listener| &listener.rules);
    None.or_else(|| elb.load_balancer(arn).map(|one| &one.tags))
        .or_else(|| elb.target_group(arn).map(|one| &one.tags))
        .or_else(|| elb.listener(arn).map(|one| &one.tags))
        .or_else(|| rules.into_iter().find(|rule| rule.arn == arn).map(|rule| &rule.tags))
        .ok_or_else(|| not_found(arn))
}

fn of_mut<'a>(state: &'a mut State, arn: &str) -> Result<&'a mut BTreeMap<String, String>, ApiError> {
    let elb = &mut state.elbv2;
    if let Some(one) = elb.load_balancers.iter_mut().find(|one| one.arn == arn) {
        return Ok(&mut one.tags);
    }
    if let Some(one) = elb.target_groups.iter_mut().find(|one| one.arn == arn) {
        return Ok(&mut one.tags);
    }
    for listener in &mut elb.listeners {
        if listener.arn == arn {
            return Ok(&mut listener.tags);
        }
        if let Some(rule) = listener.rules.iter_mut().find(|rule| rule.arn == arn) {
            return Ok(&mut rule.tags);
        }
    }
    Err(not_found(arn))
}

fn not_found(arn: &str) -> ApiError {
    // The kind of the resource is the first word of its ARN's sixth field.
    let kind = arn.splitn(6, ':').nth(5).and_then(|resource| resource.split('/').next()).unwrap_or_default();
    let (code, what) = match kind {
        "targetgroup" => ("TargetGroupNotFound", "target groups"),
        "listener" => ("ListenerNotFound", "listeners"),
        "listener-rule" => ("RuleNotFound", "rules"),
        "loadbalancer" => ("LoadBalancerNotFound", "load balancers"),
        _ => return ApiError::new("ValidationError", format!("'{arn}' must be in ARN format")),
    };
    ApiError::new(code, format!("One or more {what} not found"))
}
