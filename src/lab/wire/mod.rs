//! AWS's wire protocols in terms of [`serde_json::Value`], so that a handler never sees which one a client speaks.

pub mod cbor;
pub mod query;
pub mod typed;
pub mod xml;

use serde_json::Value;

/// Drops members that are null: AWS leaves out what is not set, in both directions.
pub fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Epoch milliseconds as the XML protocols write a time: `2026-01-31T12:00:00.000Z`.
pub fn iso8601(epoch_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(epoch_ms).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Epoch milliseconds as JSON 1.1 writes a time: epoch seconds.
pub fn epoch_seconds(epoch_ms: i64) -> Value {
    Value::from(epoch_ms as f64 / 1000.0)
}
