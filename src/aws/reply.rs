//! Reading members of raw replies. A member that is missing or of another type reads as empty: replies of newer and of
//! smaller APIs must never break a deploy.

use serde_json::{Map, Value};

/// The text at `key`, or `""`.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The text at `key`, unless it is missing or empty.
pub fn optional<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    Some(text(value, key)).filter(|text| !text.is_empty())
}

/// The whole number at `key`, or 0.
pub fn number(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_i64).unwrap_or_default()
}

/// The list at `key`, or an empty one.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The texts of the list at `key`.
pub fn texts(value: &Value, key: &str) -> Vec<String> {
    list(value, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The object at `key`, if there is one.
pub fn object<'a>(value: &'a Value, key: &str) -> Option<&'a Map<String, Value>> {
    value.get(key).and_then(Value::as_object)
}

/// A timestamp, which awsJson1.1 writes as seconds with a fraction, in epoch milliseconds.
pub fn millis(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_f64).map_or(0, |seconds| (seconds * 1000.0).round() as i64)
}

/// The value of a tag in a list of `{key, value}`; ECR's and ECS's spell these in lower or upper case.
pub fn tag<'a>(tags: &'a [Value], key: &str) -> Option<&'a str> {
    let spelt = |tag: &'a Value, lower: &str, upper: &str| {
        tag.get(lower).or_else(|| tag.get(upper)).and_then(Value::as_str).unwrap_or_default()
    };
    tags.iter().find(|tag| spelt(tag, "key", "Key") == key).map(|tag| spelt(tag, "value", "Value"))
}

/// What follows the last `/`: an id from an ARN.
pub fn id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
