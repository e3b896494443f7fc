//! The account's settings, and those that a principal has of its own.

use serde_json::{Value, json};

use super::request::{Request, invalid};
use crate::lab::{
    Settings,
    api::{ApiError, ApiResult},
    state::State,
};

/// With what holds when nobody set it, and the values that one may set.
const SETTINGS: [(&str, &str, &[&str]); 10] = [
    ("awsvpcTrunking", "disabled", &["enabled", "disabled"]),
    ("containerInsights", "disabled", &["enabled", "enhanced", "disabled"]),
    ("containerInstanceLongArnFormat", "enabled", &["enabled"]),
    ("defaultLogDriverMode", "non-blocking", &["blocking", "non-blocking"]),
    ("fargateFIPSMode", "disabled", &["enabled", "disabled"]),
    ("fargateTaskRetirementWaitPeriod", "7", &["0", "7", "14"]),
    ("guardDutyActivate", "off", &[]),
    ("serviceLongArnFormat", "enabled", &["enabled"]),
    ("tagResourceAuthorization", "on", &["on", "off"]),
    ("taskLongArnFormat", "enabled", &["enabled"]),
];

fn root(settings: &Settings) -> String {
    format!("arn:aws:iam::{}:root", settings.account_id)
}

/// Who asks, unless the request names another.
fn principal(request: &Request) -> String {
    let caller = || request.settings.caller();
    request.text("principalArn").map_or_else(caller, str::to_owned)
}

/// Where a principal's settings are kept: the root's are the account's defaults.
fn key(settings: &Settings, principal: &str) -> String {
    if principal == root(settings) { String::new() } else { principal.to_owned() }
}

/// What holds for a principal.
fn effective(state: &State, key: &str, name: &str) -> Option<String> {
    let of = |key: &str| state.ecs.account_settings.get(key)?.get(name).cloned();
    let default = SETTINGS.iter().find(|(known, ..)| *known == name).map(|(_, value, _)| (*value).to_owned());
    of(key).or_else(|| of("")).or(default)
}

/// What `containerInsights` a new cluster has.
pub fn container_insights(state: &State, request: &Request) -> String {
    effective(state, &key(request.settings, &principal(request)), "containerInsights").unwrap_or_default()
}

fn view(name: &str, value: &str, principal: &str) -> Value {
    let kind = if name == "guardDutyActivate" { "aws_managed" } else { "user" };
    json!({"name": name, "value": value, "principalArn": principal, "type": kind})
}

fn checked<'a>(request: &'a Request) -> Result<(&'a str, &'a str), ApiError> {
    let (name, value) = (request.required("name")?, request.required("value")?);
    match SETTINGS.iter().find(|(known, ..)| *known == name) {
        None => Err(invalid(format!("The lab does not know the account setting {name}."))),
        Some((.., [])) => Err(invalid(format!("The setting {name} is managed by AWS and cannot be changed."))),
        Some((_, _, ["enabled"])) if value == "disabled" => {
            Err(invalid("You can no longer opt out of the long ARN and resource ID format."))
        }
        Some((.., values)) if !values.contains(&value) => Err(invalid(format!(
            "Invalid value {value} for the account setting {name}. Valid values: {}",
            values.join(", ")
        ))),
        Some(_) => Ok((name, value)),
    }
}

pub fn set(state: &mut State, request: &Request) -> ApiResult {
    let (name, value) = checked(request)?;
    let principal = principal(request);
    let of = state.ecs.account_settings.entry(key(request.settings, &principal)).or_default();
    of.insert(name.to_owned(), value.to_owned());
    Ok(json!({"setting": view(name, value, &principal)}))
}

pub fn set_default(state: &mut State, request: &Request) -> ApiResult {
    let (name, value) = checked(request)?;
    state.ecs.account_settings.entry(String::new()).or_default().insert(name.to_owned(), value.to_owned());
    Ok(json!({"setting": view(name, value, &root(request.settings))}))
}

pub fn delete(state: &mut State, request: &Request) -> ApiResult {
    let name = request.required("name")?;
    let principal = principal(request);
    let key = key(request.settings, &principal);
    if let Some(of) = state.ecs.account_settings.get_mut(&key) {
        of.remove(name);
    }
    let value = effective(state, &key, name).unwrap_or_default();
    Ok(json!({"setting": view(name, &value, &principal)}))
}

/// Those that the principal set itself; with `effectiveSettings` all that hold for it.
pub fn list(state: &State, request: &Request) -> ApiResult {
    let (name, value) = (request.text("name"), request.text("value"));
    if value.is_some() && name.is_none() {
        return Err(invalid("A setting's value can be given with its name only."));
    }
    let principal = principal(request);
    let key = key(request.settings, &principal);
    let mut listed: Vec<(String, String)> = match request.flag("effectiveSettings") {
        true => {
            SETTINGS.iter().filter_map(|(name, ..)| Some(((*name).to_owned(), effective(state, &key, name)?))).collect()
        }
        false => state.ecs.account_settings.get(&key).cloned().unwrap_or_default().into_iter().collect(),
    };
    listed.retain(|(known, has)| name.is_none_or(|name| name == known) && value.is_none_or(|value| value == has));
    let views = listed.iter().map(|(name, value)| view(name, value, &principal));
    request.page_of("settings", views.collect(), 10, 10)
}
