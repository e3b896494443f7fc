//! Which parameters a listing is of.

use super::Parameter;
use crate::lab::api::ApiError;
use crate::lab::input::Input;

pub struct Filter<'a> {
    key: &'a str,
    option: &'a str,
    values: Vec<&'a str>,
}

/// The request's filters in their new and in their old form; `keys` are those that the operation knows.
pub fn of<'a>(input: Input<'a>, keys: &[&str]) -> Result<Vec<Filter<'a>>, ApiError> {
    let filters = input.list("ParameterFilters").into_iter().map(|filter| {
        let key = filter.required("Key")?;
        let tags = keys.contains(&"Name") && key.starts_with("tag:");
        if !keys.contains(&key) && !tags {
            let known = keys.join(", ");
            let message =
                format!("The following filter key is not valid: {key}. Valid filter keys include: [{known}].");
            return Err(ApiError::new("InvalidFilterKey", message));
        }
        let default = if key == "Path" { "OneLevel" } else { "Equals" };
        let option = filter.text("Option").unwrap_or(default);
        let options: &[&str] = match key {
            "Path" => &["OneLevel", "Recursive"],
            "Name" => &["Equals", "BeginsWith", "Contains"],
            _ => &["Equals", "BeginsWith"],
        };
        if !options.contains(&option) {
            let message = format!(
                "The following filter option is not valid: {option}. Valid options include: [{}].",
                options.join(", ")
            );
            return Err(ApiError::new("InvalidFilterOption", message));
        }
        Ok(Filter { key, option, values: filter.texts("Values") })
    });
    let mut filters = filters.collect::<Result<Vec<_>, _>>()?;
    for filter in input.list("Filters") {
        let key = filter.required("Key")?;
        let option = if key == "Name" { "BeginsWith" } else { "Equals" };
        filters.push(Filter { key, option, values: filter.texts("Values") });
    }
    Ok(filters)
}

impl Filter<'_> {
    pub fn takes(&self, name: &str, parameter: &Parameter) -> bool {
        let has = match self.key {
            "Path" => {
                return self.values.iter().any(|path| is_below(name, path, self.option == "Recursive"));
            }
            "Name" => Some(name),
            "Type" => Some(parameter.kind.as_str()),
            "KeyId" => parameter.key_id.as_deref(),
            "Tier" => Some(parameter.tier.as_str()),
            "DataType" => Some(parameter.data_type.as_str()),
            key => key.strip_prefix("tag:").and_then(|tag| parameter.tags.get(tag)).map(String::as_str),
        };
        let Some(has) = has else { return false };
        // The name's own slash may be left out.
        let is = |wanted: &&str| match (self.option, self.key) {
            ("BeginsWith", "Name") => has.starts_with(*wanted) || has.trim_start_matches('/').starts_with(*wanted),
            ("BeginsWith", _) => has.starts_with(*wanted),
            ("Contains", _) => has.contains(*wanted),
            _ => has == *wanted,
        };
        self.values.is_empty() || self.values.iter().any(is)
    }
}

/// Whether the name is in this level of the hierarchy, or anywhere below.
pub fn is_below(name: &str, path: &str, deep: bool) -> bool {
    let folder = format!("{}/", path.trim_end_matches('/'));
    // Names without a slash are at the top.
    let name = if name.starts_with('/') { name.to_owned() } else { format!("/{name}") };
    name.strip_prefix(&folder).is_some_and(|rest| !rest.is_empty() && (deep || !rest.contains('/')))
}
