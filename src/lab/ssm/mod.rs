//! AWS Systems Manager, as far as its Parameter Store goes.

mod filters;
mod names;
mod read;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Lab;
use super::api::{ApiError, ApiResult};
use super::conformance;
use super::input::{Answer, Input};
use super::sealed::Sealed;
use super::state::State;
use crate::aws_model::Service;

pub use names::{arn, find};

/// Versions beyond these are forgotten, oldest first.
const MOST_VERSIONS: usize = 100;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SsmState {
    /// By name.
    pub parameters: BTreeMap<String, Parameter>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameter {
    /// `String`, `StringList` or `SecureString`.
    pub kind: String,
    pub tier: String,
    pub data_type: String,
    pub key_id: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// By number, from 1 on; never none.
    pub versions: BTreeMap<i64, Version>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    pub value: Sealed,
    pub description: Option<String>,
    /// Epoch milliseconds.
    pub modified_at: i64,
}

/// One operation of the Parameter Store.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let answer = self::operation(operation).ok_or_else(|| ApiError::unknown_operation(operation));
    let answer = answer.map(|answer| move |input: Value| answer(lab, Input::new(&input, "ValidationException")));
    conformance::answered(Service::Ssm, operation, input, answer)
}

fn operation(name: &str) -> Option<Answer> {
    let answer: Answer = match name {
        "PutParameter" => |lab, input| lab.write(|state| write::put(state, input, lab.clock.now())),
        "DeleteParameter" => |lab, input| lab.write(|state| write::delete(state, &lab.settings, input)),
        "DeleteParameters" => |lab, input| lab.write(|state| write::delete_many(state, &lab.settings, input)),
        "GetParameter" => |lab, input| lab.read(|state| read::get(state, &lab.settings, input)),
        "GetParameters" => |lab, input| lab.read(|state| read::get_many(state, &lab.settings, input)),
        "GetParametersByPath" => |lab, input| lab.read(|state| read::by_path(state, &lab.settings, input)),
        "GetParameterHistory" => |lab, input| lab.read(|state| read::history(state, &lab.settings, input)),
        "DescribeParameters" => |lab, input| lab.read(|state| read::describe(state, &lab.settings, input)),
        "AddTagsToResource" => |lab, input| lab.write(|state| add_tags(state, input)),
        "RemoveTagsFromResource" => |lab, input| lab.write(|state| remove_tags(state, input)),
        "ListTagsForResource" => |lab, input| lab.write(|state| list_tags(state, input)),
        _ => return None,
    };
    Some(answer)
}

fn tags<'s>(state: &'s mut State, input: Input) -> Result<&'s mut BTreeMap<String, String>, ApiError> {
    if input.text("ResourceType") != Some("Parameter") {
        return Err(ApiError::new("InvalidResourceType", "The lab has no resources of this type."));
    }
    let id = input.required("ResourceId")?;
    let parameter = state.ssm.parameters.get_mut(id);
    parameter.map(|parameter| &mut parameter.tags).ok_or_else(|| ApiError::new("InvalidResourceId", ""))
}

fn add_tags(state: &mut State, input: Input) -> ApiResult {
    let mut given = input.pairs("Tags")?;
    let tags = tags(state, input)?;
    let added = given.keys().filter(|key| !tags.contains_key(*key)).count();
    if tags.len() + added > 50 {
        return Err(ApiError::new("TooManyTagsError", ""));
    }
    tags.append(&mut given);
    Ok(json!({}))
}

fn remove_tags(state: &mut State, input: Input) -> ApiResult {
    let keys = input.texts("TagKeys");
    tags(state, input)?.retain(|key, _| !keys.contains(&key.as_str()));
    Ok(json!({}))
}

fn list_tags(state: &mut State, input: Input) -> ApiResult {
    let tags = tags(state, input)?.iter().map(|(key, value)| json!({ "Key": key, "Value": value }));
    Ok(json!({ "TagList": tags.collect::<Vec<_>>() }))
}
