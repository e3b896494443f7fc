//! What a parameter may be called, and by which names it is found.

use super::{Parameter, Version};
use crate::lab::Settings;
use crate::lab::api::ApiError;
use crate::lab::state::State;

const DEEPEST: usize = 15;
const LONGEST: usize = 1011;

/// A parameter that a request names.
pub struct Found<'a> {
    pub name: &'a str,
    pub parameter: &'a Parameter,
    /// What follows the name: a version's number.
    pub selector: Option<&'a str>,
}

impl<'a> Found<'a> {
    /// The version that is meant: the selected one, or the latest.
    pub fn version(&self) -> Option<(i64, &'a Version)> {
        let versions = &self.parameter.versions;
        let found = match self.selector {
            None => versions.last_key_value(),
            Some(selector) => selector.parse().ok().and_then(|number| versions.get_key_value(&number)),
        };
        found.map(|(number, version)| (*number, version))
    }
}

pub fn arn(settings: &Settings, name: &str) -> String {
    let Settings { region, account_id, .. } = settings;
    format!("arn:aws:ssm:{region}:{account_id}:parameter/{}", name.trim_start_matches('/'))
}

/// The parameter of this name or ARN, either with `:VERSION` behind it.
pub fn find<'a>(state: &'a State, settings: &Settings, asked: &'a str) -> Option<Found<'a>> {
    let parameters = &state.ssm.parameters;
    let path = match asked.starts_with("arn:") {
        true => asked.strip_prefix(arn(settings, "").as_str())?,
        false => asked,
    };
    let (name, selector) = match path.split_once(':') {
        Some((name, selector)) => (name, Some(selector)),
        None => (path, None),
    };
    // An ARN does not say whether the name begins with a slash.
    let absolute = asked.starts_with("arn:").then(|| format!("/{name}"));
    let found = absolute.and_then(|name| parameters.get_key_value(&name)).or_else(|| parameters.get_key_value(name));
    found.map(|(name, parameter)| Found { name, parameter, selector })
}

/// Whether a parameter may be called so.
pub fn check(name: &str) -> Result<(), ApiError> {
    let refuse = |message: &str| Err(ApiError::new("ValidationException", message));
    let valid = |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
    if name.contains('/') && !name.starts_with('/') {
        return refuse("Parameter name must be a fully qualified name.");
    }
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    if first.starts_with("aws") {
        return Err(ApiError::new("AccessDeniedException", format!("No access to reserved parameter name: {name}.")));
    }
    let is_path = name.strip_prefix('/').is_none_or(|path| path.split('/').all(|part| !part.is_empty()));
    if first.starts_with("ssm") || !name.chars().all(valid) || !is_path {
        return refuse(
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it can consist of \
             sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the \
             following 3 symbols .-_",
        );
    }
    if name.len() > LONGEST {
        return refuse("Parameter name is too long: with its ARN it has at most 1011 characters.");
    }
    if name.matches('/').count() > DEEPEST {
        let message = format!("A parameter name hierarchy can have a maximum of {DEEPEST} levels.");
        return Err(ApiError::new("HierarchyLevelLimitExceededException", message));
    }
    Ok(())
}
