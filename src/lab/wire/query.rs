//! Requests of the query protocols (ELBv2, STS, EC2): a form whose keys are paths.

use serde_json::{Map, Value};

use crate::lab::api::ApiError;

/// A request: `Action`, `Version`, and the other parameters as nested values whose leaves are strings.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub operation: String,
    pub version: String,
    pub input: Value,
}

const DEEPEST: usize = 32;
const MOST: usize = 10_000;

/// `A.member.1.B=x` and EC2's `A.1.B=x` both become `{"A": [{"B": "x"}]}`; gaps in the numbers close.
pub fn parse(form: &[u8]) -> Result<Request, ApiError> {
    let mut root = Map::new();
    for (count, (path, text)) in url::form_urlencoded::parse(form).enumerate() {
        if count == MOST {
            return Err(malformed("too many parameters"));
        }
        insert(&mut root, &path, text.into_owned())?;
    }
    let operation = text_of(root.shift_remove("Action"));
    let version = text_of(root.shift_remove("Version"));
    let Some(operation) = operation else {
        return Err(ApiError::new("MissingAction", "the request has no Action parameter"));
    };
    // The root stays a map even when all its keys are numbers.
    let input = root.into_iter().map(|(key, value)| (key, nested(value))).collect();
    Ok(Request { operation, version: version.unwrap_or_default(), input: Value::Object(input) })
}

fn insert(root: &mut Map<String, Value>, path: &str, text: String) -> Result<(), ApiError> {
    let mut segments = path.split('.').peekable();
    let mut here = root;
    let mut depth = 0;
    while let Some(segment) = segments.next() {
        depth += 1;
        if segment.is_empty() || depth > DEEPEST {
            return Err(malformed(&format!("the parameter name {path} is not a path")));
        }
        if segments.peek().is_none() {
            return match here.insert(segment.to_owned(), Value::String(text)) {
                None => Ok(()),
                Some(_) => Err(malformed(&format!("the parameter {path} is given twice"))),
            };
        }
        match here.entry(segment).or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(members) => here = members,
            _ => return Err(malformed(&format!("the parameter {path} is both a value and a structure"))),
        }
    }
    Ok(())
}

fn nested(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let mut members: Map<String, Value> = members.into_iter().map(|(key, value)| (key, nested(value))).collect();
    if members.len() == 1 && members.get("member").is_some_and(Value::is_array) {
        return members.remove("member").unwrap_or_default();
    }
    let Some(mut numbered) = members.keys().map(|key| position(key)).collect::<Option<Vec<u32>>>() else {
        return Value::Object(members);
    };
    numbered.sort_unstable();
    numbered.into_iter().filter_map(|position| members.remove(&position.to_string())).collect()
}

fn position(key: &str) -> Option<u32> {
    let canonical = key == "0" || !key.starts_with('0');
    (canonical && key.bytes().all(|byte| byte.is_ascii_digit())).then(|| key.parse().ok()).flatten()
}

fn text_of(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

fn malformed(what: &str) -> ApiError {
    ApiError::new("MalformedQueryString", what)
}
