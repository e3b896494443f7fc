//! An alarm's tags.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Alarm, done};
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::state::State;

fn name(input: Input<'_>) -> Result<&str, ApiError> {
    Ok(input.required("ResourceARN")?.split_once(":alarm:").map_or("", |(_, name)| name))
}

fn no_such(input: Input) -> ApiError {
    let id = input.text("ResourceARN").unwrap_or_default();
    let error = ApiError::new("ResourceNotFoundException", format!("The resource {id} does not exist."));
    ApiError { status: 404, ..error }.member("ResourceType", "alarm").member("ResourceId", id)
}

fn tags<'s>(state: &'s mut State, input: Input) -> Result<&'s mut BTreeMap<String, String>, ApiError> {
    let alarm: Option<&mut Alarm> = state.cloudwatch.alarms.get_mut(name(input)?);
    alarm.map(|alarm| &mut alarm.tags).ok_or_else(|| no_such(input))
}

pub(super) fn list(state: &State, input: Input) -> ApiResult {
    let alarm = state.cloudwatch.alarms.get(name(input)?).ok_or_else(|| no_such(input))?;
    let tags: Vec<Value> = alarm.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    Ok(json!({"Tags": tags}))
}

pub(super) fn add(state: &mut State, input: Input) -> ApiResult {
    tags(state, input)?.append(&mut input.pairs("Tags")?);
    done()
}

pub(super) fn remove(state: &mut State, input: Input) -> ApiResult {
    let keys = input.texts("TagKeys");
    tags(state, input)?.retain(|key, _| !keys.contains(&key.as_str()));
    done()
}
