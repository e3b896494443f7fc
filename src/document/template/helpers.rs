//! The helpers that an expression may call, beyond the blocks.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

use super::suggest;
use crate::error::{Error, SourceText};

/// Name, and how many arguments at least and at most.
const HELPERS: [(&str, usize, usize); 13] = [
    ("json", 1, 1),
    ("has", 2, 2),
    ("lookup", 2, 2),
    ("len", 1, 1),
    ("eq", 2, 2),
    ("ne", 2, 2),
    ("gt", 2, 2),
    ("gte", 2, 2),
    ("lt", 2, 2),
    ("lte", 2, 2),
    ("and", 2, usize::MAX),
    ("or", 2, usize::MAX),
    ("not", 1, 1),
];

pub(super) enum Problem {
    NoSuchHelper,
    Arguments {
        at_least: usize,
        at_most: usize,
        given: usize,
    },
    /// `lookup` found nothing.
    Missing(String),
    Other(&'static str),
}

impl Problem {
    pub fn into_error(self, source: &SourceText, span: &Range<usize>, helper: &str) -> Error {
        let at = |message: String| Error::input(message).at(source, span.clone(), None);
        match self {
            Problem::NoSuchHelper => {
                let names = HELPERS.iter().map(|(name, ..)| *name);
                suggest(at(format!("there is no helper {helper:?}")), helper, names)
            }
            Problem::Arguments { at_least, at_most, given } => {
                let more = if at_most > at_least { " or more" } else { "" };
                at(format!("{helper} takes {at_least}{more} arguments, not {given}"))
            }
            Problem::Missing(key) => at(format!("{helper} finds no {key:?}"))
                .hint(format!("where it may be absent, guard it: {{{{#if (has … {key:?})}}}}")),
            Problem::Other(what) => at(format!("{helper} {what}")),
        }
    }
}

pub(super) fn call(helper: &str, arguments: &[Cow<'_, Value>]) -> Result<Value, Problem> {
    let (_, at_least, at_most) = *HELPERS.iter().find(|(name, ..)| *name == helper).ok_or(Problem::NoSuchHelper)?;
    let given = arguments.len();
    if given < at_least || given > at_most {
        return Err(Problem::Arguments { at_least, at_most, given });
    }
    let first = &*arguments[0];
    let second = arguments.get(1).map_or(&Value::Null, |value| &**value);
    let compare = |wanted: fn(std::cmp::Ordering) -> bool| {
        let numbers = first.as_f64().zip(second.as_f64()).and_then(|(first, second)| first.partial_cmp(&second));
        let texts = || first.as_str().zip(second.as_str()).map(|(first, second)| first.cmp(second));
        numbers
            .or_else(texts)
            .map(|order| Value::Bool(wanted(order)))
            .ok_or(Problem::Other("compares two numbers or two texts"))
    };
    Ok(match helper {
        "json" => Value::String(first.to_string()),
        "has" => key(second).is_some_and(|key| member(first, &key).is_some()).into(),
        "lookup" => {
            let key = key(second).ok_or(Problem::Other("takes a name or an index"))?;
            member(first, &key).cloned().ok_or(Problem::Missing(key))?
        }
        "len" => match first {
            Value::Array(items) => items.len().into(),
            Value::Object(members) => members.len().into(),
            Value::String(text) => text.chars().count().into(),
            _ => return Err(Problem::Other("measures a list, an object or a text")),
        },
        "eq" => (first == second).into(),
        "ne" => (first != second).into(),
        "gt" => compare(std::cmp::Ordering::is_gt)?,
        "gte" => compare(std::cmp::Ordering::is_ge)?,
        "lt" => compare(std::cmp::Ordering::is_lt)?,
        "lte" => compare(std::cmp::Ordering::is_le)?,
        "and" => arguments.iter().all(|value| truthy(value)).into(),
        "or" => arguments.iter().any(|value| truthy(value)).into(),
        _ => (!truthy(first)).into(),
    })
}

fn key(value: &Value) -> Option<String> {
    match value {
        Value::String(key) => Some(key.clone()),
        Value::Number(index) => Some(index.to_string()),
        _ => None,
    }
}

pub(super) fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

/// As Handlebars has it: false, null, zero and the empty text, list or object are not.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}
