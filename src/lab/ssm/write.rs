//! PutParameter, DeleteParameter, DeleteParameters.

use serde_json::{Value, json};

use super::{MOST_VERSIONS, Parameter, Version, names};
use crate::lab::Settings;
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::sealed::Sealed;
use crate::lab::state::State;

/// Characters that a value may have.
const STANDARD: usize = 4096;
const ADVANCED: usize = 8192;
const DEFAULT_KEY: &str = "alias/aws/ssm";

pub(super) fn put(state: &mut State, input: Input, now: i64) -> ApiResult {
    let name = input.required("Name")?;
    names::check(name)?;
    for member in ["AllowedPattern", "Policies"] {
        if input.get(member).is_some() {
            return Err(input.error(format!("The lab's parameters have no {member}.")));
        }
    }
    let value = input.text("Value").unwrap_or_default();
    if value.is_empty() {
        return Err(input.error(
            "1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have length \
             greater than or equal to 1",
        ));
    }
    let parameters = &mut state.ssm.parameters;
    let known = parameters.get(name);
    let overwrite = input.flag("Overwrite") == Some(true);
    if known.is_some() && !overwrite {
        return Err(ApiError::new(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
        ));
    }
    let tags = input.pairs("Tags")?;
    if overwrite && !tags.is_empty() {
        return Err(input.error(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please \
             remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or \
             RemoveTagsFromResource.",
        ));
    }
    let kind = match (input.text("Type"), known) {
        (None, None) => return Err(input.error("A parameter type is required when you create a parameter.")),
        (None, Some(known)) => known.kind.clone(),
        (Some(kind), Some(known)) if kind != known.kind => {
            return Err(ApiError::new(
                "HierarchyTypeMismatchException",
                format!("You can't change a parameter's type from {} to {kind}.", known.kind),
            ));
        }
        (Some(kind), _) => kind.to_owned(),
    };
    let characters = value.chars().count();
    let tier = tier(input, known, characters)?;
    if kind != "SecureString" && input.get("KeyId").is_some() {
        return Err(input.error("KeyId is required for SecureString type parameter only."));
    }
    let data_type = input.text("DataType").unwrap_or("text");
    if !["text", "aws:ec2:image", "aws:ssm:integration"].contains(&data_type) {
        let message =
            format!("The following data type is not supported: {data_type} (Data type names are all lowercase.)");
        return Err(input.error(message));
    }
    let key = input.text("KeyId").map(str::to_owned);
    let parameter = parameters.entry(name.to_owned()).or_default();
    if kind == "SecureString" {
        parameter.key_id = key.or(parameter.key_id.take()).or_else(|| Some(DEFAULT_KEY.to_owned()));
    }
    (parameter.kind, parameter.tier, parameter.data_type) = (kind, tier.to_owned(), data_type.to_owned());
    parameter.tags.extend(tags);
    let last = parameter.versions.last_key_value();
    let number = last.map_or(0, |(number, _)| *number) + 1;
    let before = last.and_then(|(_, version)| version.description.clone());
    let description = input.text("Description").map(str::to_owned).or(before);
    parameter.versions.insert(number, Version { value: Sealed::new(value), description, modified_at: now });
    while parameter.versions.len() > MOST_VERSIONS {
        parameter.versions.pop_first();
    }
    Ok(json!({ "Version": number, "Tier": tier }))
}

fn tier(input: Input, known: Option<&Parameter>, characters: usize) -> Result<&'static str, ApiError> {
    let was_advanced = known.is_some_and(|known| known.tier == "Advanced");
    match input.text("Tier") {
        Some("Standard") if was_advanced => Err(input.error(
            "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the \
             advanced-parameter tier to the standard-parameter tier.",
        )),
        _ if characters > ADVANCED => Err(input
            .error(format!("Advanced tier parameters support a maximum parameter value of {ADVANCED} characters."))),
        Some("Advanced") => Ok("Advanced"),
        _ if was_advanced => Ok("Advanced"),
        Some("Intelligent-Tiering") if characters > STANDARD => Ok("Advanced"),
        _ if characters > STANDARD => Err(input.error(format!(
            "Standard tier parameters support a maximum parameter value of {STANDARD} characters. To create a larger \
             parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see \
             https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"
        ))),
        _ => Ok("Standard"),
    }
}

fn remove(state: &mut State, settings: &Settings, asked: &str) -> bool {
    let name = names::find(state, settings, asked).filter(|found| found.selector.is_none());
    let name = name.map(|found| found.name.to_owned());
    name.is_some_and(|name| state.ssm.parameters.remove(&name).is_some())
}

pub(super) fn delete(state: &mut State, settings: &Settings, input: Input) -> ApiResult {
    match remove(state, settings, input.required("Name")?) {
        true => Ok(json!({})),
        false => Err(ApiError::new("ParameterNotFound", "")),
    }
}

pub(super) fn delete_many(state: &mut State, settings: &Settings, input: Input) -> ApiResult {
    let names = input.texts("Names").into_iter();
    let (deleted, invalid): (Vec<Value>, Vec<Value>) =
        names.map(|name| json!(name)).partition(|name| remove(state, settings, name.as_str().unwrap_or_default()));
    Ok(json!({ "DeletedParameters": deleted, "InvalidParameters": invalid }))
}
