//! GetParameter and its kin, DescribeParameters.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::names::{self, Found};
use super::{Parameter, Version, filters};
use crate::lab::Settings;
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::paging;
use crate::lab::state::State;
use crate::lab::wire::epoch_seconds;

fn not_found() -> ApiError {
    ApiError::new("ParameterNotFound", "")
}

pub(super) fn get(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let found = names::find(state, settings, input.required("Name")?).ok_or_else(not_found)?;
    let (number, version) = found.version().ok_or_else(|| {
        let (name, selector) = (found.name, found.selector.unwrap_or_default());
        let message =
            format!("Systems Manager could not find version {selector} of {name}. Verify the version and try again.");
        ApiError::new("ParameterVersionNotFound", message)
    })?;
    Ok(json!({ "Parameter": view(settings, &found, number, version, input) }))
}

pub(super) fn get_many(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let (mut found, mut invalid) = (Vec::new(), Vec::new());
    for name in input.texts("Names") {
        let parameter = names::find(state, settings, name);
        let version = parameter.as_ref().and_then(Found::version);
        match parameter.zip(version) {
            Some((parameter, (number, version))) => found.push(view(settings, &parameter, number, version, input)),
            None => invalid.push(name),
        }
    }
    Ok(json!({ "Parameters": found, "InvalidParameters": invalid }))
}

pub(super) fn by_path(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let path = input.required("Path")?;
    if !path.starts_with('/') {
        return Err(input.error(
            "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward \
             slash \"/\". It can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). It must use only letters, \
             numbers, or the following symbols: . (period), - (hyphen), _ (underscore). Special characters are not \
             allowed. All sub-paths, if specified, must use the forward slash symbol \"/\". Valid example: \
             /get/parameters2-/by1./path0_.",
        ));
    }
    let wanted = filters::of(input, &["Type", "KeyId", "Label"])?;
    let deep = input.flag("Recursive") == Some(true);
    let parameters = state.ssm.parameters.iter().filter(|(name, parameter)| {
        filters::is_below(name, path, deep) && wanted.iter().all(|filter| filter.takes(name, parameter))
    });
    let (page, next) = page(input, parameters.collect(), 10)?;
    let views = page.into_iter().filter_map(|(name, parameter)| {
        let found = Found { name, parameter, selector: None };
        let (number, version) = found.version()?;
        Some(view(settings, &found, number, version, input))
    });
    Ok(listing(views.collect(), next))
}

pub(super) fn history(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let found = names::find(state, settings, input.required("Name")?).ok_or_else(not_found)?;
    let (page, next) = page(input, found.parameter.versions.iter().collect(), 50)?;
    let views = page.into_iter().map(|(number, version)| {
        let mut view = metadata(settings, found.name, found.parameter, *number, version);
        view.shift_remove("ARN");
        view.insert("Value".to_owned(), json!(value(settings, &found, *number, version, input)));
        view.insert("Labels".to_owned(), json!([]));
        Value::Object(view)
    });
    Ok(listing(views.collect(), next))
}

pub(super) fn describe(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let keys = ["Name", "Type", "KeyId", "Path", "Label", "Tier", "DataType"];
    let wanted = filters::of(input, &keys)?;
    let parameters = state
        .ssm
        .parameters
        .iter()
        .filter(|(name, parameter)| wanted.iter().all(|filter| filter.takes(name, parameter)));
    let (page, next) = page(input, parameters.collect(), 50)?;
    let views = page.into_iter().filter_map(|(name, parameter)| {
        let (number, version) = parameter.versions.last_key_value()?;
        Some(Value::Object(metadata(settings, name, parameter, *number, version)))
    });
    Ok(listing(views.collect(), next))
}

fn page<T>(input: Input, items: Vec<T>, most: i64) -> Result<(Vec<T>, Option<String>), ApiError> {
    let limit = input.number_in("MaxResults", 1..=most)?.unwrap_or(most) as usize;
    let invalid = || ApiError::new("InvalidNextToken", "The specified token isn't valid.");
    paging::page(items, input.text("NextToken"), limit).ok_or_else(invalid)
}

fn listing(parameters: Vec<Value>, next: Option<String>) -> Value {
    json!({ "Parameters": parameters, "NextToken": next })
}

fn view(settings: &Settings, found: &Found, number: i64, version: &Version, input: Input) -> Value {
    json!({
        "Name": found.name,
        "Type": found.parameter.kind,
        "Value": value(settings, found, number, version, input),
        "Version": number,
        "Selector": found.selector.map(|selector| format!(":{selector}")),
        "LastModifiedDate": epoch_seconds(version.modified_at),
        "ARN": names::arn(settings, found.name),
        "DataType": found.parameter.data_type,
    })
}

fn metadata(
    settings: &Settings,
    name: &str,
    parameter: &Parameter,
    number: i64,
    version: &Version,
) -> Map<String, Value> {
    let view = json!({
        "Name": name,
        "ARN": names::arn(settings, name),
        "Type": parameter.kind,
        "KeyId": parameter.key_id,
        "LastModifiedDate": epoch_seconds(version.modified_at),
        "LastModifiedUser": settings.caller(),
        "Description": version.description,
        "Version": number,
        "Tier": parameter.tier,
        "Policies": [],
        "DataType": parameter.data_type,
    });
    match view {
        Value::Object(view) => view,
        _ => Map::new(),
    }
}

/// Who does not ask for decryption gets a SecureString as it would be kept: something that tells nothing.
fn value(settings: &Settings, found: &Found, number: i64, version: &Version, input: Input) -> String {
    if found.parameter.kind != "SecureString" || input.flag("WithDecryption") == Some(true) {
        return version.value.open().to_owned();
    }
    let of = format!("{}:{number}", names::arn(settings, found.name));
    BASE64.encode(digest(&SHA256, of.as_bytes()))
}
