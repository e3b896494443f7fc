//! The input of one operation, read leniently: query-protocol leaves are all strings, JSON ones are typed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Lab;
use super::api::{ApiError, ApiResult};

/// What answers one operation of a service.
pub type Answer = fn(&Lab, Input<'_>) -> ApiResult;

/// A structure of the input. `code` is what this service calls a malformed request.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    value: &'a Value,
    code: &'static str,
}

impl<'a> Input<'a> {
    pub fn new(value: &'a Value, code: &'static str) -> Self {
        Input { value, code }
    }

    /// The member, unless it is absent or null.
    pub fn get(self, name: &str) -> Option<&'a Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    pub fn text(self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }

    pub fn required(self, name: &str) -> Result<&'a str, ApiError> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| self.missing(name))
    }

    pub fn number(self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => number.as_i64().map(Some).ok_or_else(|| self.not_a_number(name)),
            Some(Value::String(text)) => text.parse().map(Some).map_err(|_| self.not_a_number(name)),
            Some(_) => Err(self.not_a_number(name)),
        }
    }

    /// A number within `range`, or none.
    pub fn number_in(self, name: &str, range: std::ops::RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        match self.number(name)? {
            Some(number) if !range.contains(&number) => Err(self.error(format!(
                "1 validation error detected: Value '{number}' at '{}' failed to satisfy constraint: \
                 Member must be between {} and {}",
                lower_first(name),
                range.start(),
                range.end()
            ))),
            number => Ok(number),
        }
    }

    pub fn port(self, name: &str) -> Result<Option<u16>, ApiError> {
        Ok(self.number_in(name, 1..=65535)?.map(|port| port as u16))
    }

    pub fn flag(self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub fn structure(self, name: &str) -> Option<Input<'a>> {
        self.get(name).filter(|value| value.is_object()).map(|value| Input { value, ..self })
    }

    /// The structures of a list; absent, null and the query protocol's empty list are none.
    pub fn list(self, name: &str) -> Vec<Input<'a>> {
        let items = self.get(name).and_then(Value::as_array);
        items.into_iter().flatten().map(|value| Input { value, ..self }).collect()
    }

    /// The strings of a list.
    pub fn texts(self, name: &str) -> Vec<&'a str> {
        self.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub fn owned_texts(self, name: &str) -> Vec<String> {
        self.texts(name).into_iter().map(str::to_owned).collect()
    }

    /// A list of `{Key, Value}` as a map.
    pub fn pairs(self, name: &str) -> Result<BTreeMap<String, String>, ApiError> {
        self.list(name)
            .into_iter()
            .map(|pair| Ok((pair.required("Key")?.to_owned(), pair.text("Value").unwrap_or_default().to_owned())))
            .collect()
    }

    pub fn error(self, message: impl Into<String>) -> ApiError {
        ApiError::new(self.code, message)
    }

    fn missing(self, name: &str) -> ApiError {
        self.error(format!(
            "1 validation error detected: Value at '{}' failed to satisfy constraint: Member must not be null",
            lower_first(name)
        ))
    }

    fn not_a_number(self, name: &str) -> ApiError {
        self.error(format!("Value at '{}' must be an integer", lower_first(name)))
    }
}

pub fn lower_first(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}
