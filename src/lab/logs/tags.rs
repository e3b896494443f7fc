//! Tags of log groups.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{find_group, find_group_mut};
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::state::State;

const MOST: usize = 50;

/// The log group that an ARN names, with or without `:*` at its end.
fn name(input: Input<'_>) -> Result<&str, ApiError> {
    let arn = input.required("resourceArn")?;
    let name = arn.split_once(":log-group:").map(|(_, name)| name.trim_end_matches(":*"));
    name.ok_or_else(|| input.error("The specified resourceArn is invalid."))
}

pub(super) fn tag(state: &mut State, input: Input) -> ApiResult {
    let group = find_group_mut(state, name(input)?)?;
    let given = input.get("tags").and_then(Value::as_object).into_iter().flatten();
    let given: BTreeMap<String, String> =
        given.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    let mut all = group.tags.clone();
    all.extend(given);
    if all.len() > MOST {
        let message = format!("A resource can have no more than {MOST} tags.");
        return Err(ApiError::new("TooManyTagsException", message));
    }
    group.tags = all;
    Ok(json!({}))
}

pub(super) fn untag(state: &mut State, input: Input) -> ApiResult {
    let keys = input.texts("tagKeys");
    find_group_mut(state, name(input)?)?.tags.retain(|key, _| !keys.contains(&key.as_str()));
    Ok(json!({}))
}

pub(super) fn list(state: &State, input: Input) -> ApiResult {
    Ok(json!({ "tags": find_group(state, name(input)?)?.tags }))
}
