//! One request to ECS, and what all operations do with requests and replies.

use serde_json::{Map, Value, json};

use super::{arn, model::Cluster};
use crate::lab::{
    Settings,
    api::{ApiError, ApiResult},
    state::State,
};

/// A request with the lab's facts that its answer needs; `now` in epoch milliseconds.
pub struct Request<'a> {
    pub settings: &'a Settings,
    pub now: i64,
    pub input: &'a Value,
}

impl<'a> Request<'a> {
    pub fn text(&self, member: &str) -> Option<&'a str> {
        self.input[member].as_str().filter(|text| !text.is_empty())
    }

    pub fn required(&self, member: &str) -> Result<&'a str, ApiError> {
        self.text(member).ok_or_else(|| invalid(format!("{member} cannot be null or empty.")))
    }

    pub fn integer(&self, member: &str) -> Option<i64> {
        self.input[member].as_i64()
    }

    pub fn flag(&self, member: &str) -> bool {
        self.input[member] == true
    }

    pub fn list(&self, member: &str) -> &'a [Value] {
        self.input[member].as_array().map_or(&[], Vec::as_slice)
    }

    pub fn texts(&self, member: &str) -> Vec<&'a str> {
        self.list(member).iter().filter_map(Value::as_str).collect()
    }

    /// The name of the request's cluster, `default` when it names none.
    pub fn cluster_name(&self) -> &'a str {
        self.text("cluster").map_or("default", arn::short)
    }

    pub fn cluster<'s>(&self, state: &'s State) -> Result<&'s Cluster, ApiError> {
        state
            .ecs
            .clusters
            .get(self.cluster_name())
            .filter(|cluster| cluster.active)
            .ok_or_else(|| ApiError::new("ClusterNotFoundException", "Cluster not found."))
    }

    /// `{member: [the page of items], nextToken}`.
    pub fn page(&self, member: &str, items: Vec<Value>) -> ApiResult {
        self.page_of(member, items, 100, 100)
    }

    /// As [`Request::page`], where AWS answers with less: `default` unless the request says, and `limit` at most.
    pub fn page_of(&self, member: &str, items: Vec<Value>, default: usize, limit: usize) -> ApiResult {
        let start = match self.text("nextToken") {
            None => 0,
            Some(token) => token
                .strip_prefix("page-")
                .and_then(|at| at.parse::<usize>().ok())
                .filter(|at| *at <= items.len())
                .ok_or_else(|| invalid("Invalid token."))?,
        };
        let most = match self.integer("maxResults") {
            None => default,
            Some(most) => match usize::try_from(most) {
                Ok(most) if (1..=limit).contains(&most) => most,
                _ => return Err(invalid(format!("maxResults must be between 1 and {limit}."))),
            },
        };
        let mut reply = Map::new();
        if start + most < items.len() {
            reply.insert("nextToken".into(), json!(format!("page-{}", start + most)));
        }
        reply.insert(member.into(), items.into_iter().skip(start).take(most).collect());
        Ok(Value::Object(reply))
    }

    pub fn includes(&self, what: &str) -> bool {
        self.list("include").iter().any(|included| included == what)
    }
}

pub fn client(message: impl Into<String>) -> ApiError {
    ApiError::new("ClientException", message)
}

pub fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

/// Epoch seconds, as JSON 1.1 writes timestamps.
pub fn seconds(milliseconds: i64) -> Value {
    json!(milliseconds as f64 / 1000.0)
}

/// Puts `value` in, when there is one: a reply holds no nulls.
pub fn put(reply: &mut Map<String, Value>, member: &str, value: Option<Value>) {
    if let Some(value) = value.filter(|value| !value.is_null()) {
        reply.insert(member.into(), value);
    }
}

/// Takes every null member out, at any depth: to AWS they are not there.
pub fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().filter(|item| !item.is_null()).map(without_nulls).collect(),
        plain => plain.clone(),
    }
}

pub fn uuid() -> String {
    let hex = crate::lab::api::random_hex(32);
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

pub fn failure(arn: String, reason: &str) -> Value {
    json!({"arn": arn, "reason": reason})
}
