//! CloudWatch Logs: groups, streams, and the events that containers write.

mod events;
mod filter;
mod groups;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::{ApiError, ApiResult};
use super::clock::Clock;
use super::input::Input;
use super::state::State;
use super::{Lab, Settings};

/// How many events a stream keeps; the oldest go first.
pub const STREAM_CAPACITY: usize = 10_000;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogsState {
    pub groups: BTreeMap<String, LogGroup>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogGroup {
    /// Epoch milliseconds, as are all times here.
    pub created_at: i64,
    pub retention_days: Option<i64>,
    pub tags: BTreeMap<String, String>,
    pub streams: BTreeMap<String, LogStream>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogStream {
    pub created_at: i64,
    /// The sequence number of the first event that is still kept.
    pub first: u64,
    pub events: VecDeque<LogEvent>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogEvent {
    pub timestamp: i64,
    pub ingested_at: i64,
    pub message: String,
}

impl LogStream {
    fn new(now: i64) -> Self {
        LogStream { created_at: now, ..LogStream::default() }
    }

    fn push(&mut self, event: LogEvent) {
        if self.events.len() == STREAM_CAPACITY {
            self.events.pop_front();
            self.first += 1;
        }
        self.events.push_back(event);
    }
}

/// Appends events, `(epoch milliseconds, message)`, and makes group and stream where they are missing, as the awslogs
/// driver does.
pub fn append(state: &mut State, group: &str, stream: &str, events: Vec<(i64, String)>) {
    let now = Clock::default().now();
    let group = state
        .logs
        .groups
        .entry(group.to_owned())
        .or_insert_with(|| LogGroup { created_at: now, ..LogGroup::default() });
    let stream = group.streams.entry(stream.to_owned()).or_insert_with(|| LogStream::new(now));
    for (timestamp, message) in events {
        stream.push(LogEvent { timestamp, ingested_at: now, message });
    }
}

/// One CloudWatch Logs operation.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let input = Input::new(&input, "InvalidParameterException");
    let now = lab.clock.now();
    match operation {
        "CreateLogGroup" => lab.write(|state| groups::create(state, input, now)),
        "DeleteLogGroup" => lab.write(|state| groups::delete(state, input)),
        "DescribeLogGroups" => lab.read(|state| groups::describe(state, &lab.settings, input)),
        "PutRetentionPolicy" => lab.write(|state| groups::put_retention(state, input)),
        "DeleteRetentionPolicy" => lab.write(|state| groups::delete_retention(state, input)),
        "CreateLogStream" => lab.write(|state| groups::create_stream(state, input, now)),
        "DeleteLogStream" => lab.write(|state| groups::delete_stream(state, input)),
        "DescribeLogStreams" => lab.read(|state| groups::describe_streams(state, &lab.settings, input)),
        "PutLogEvents" => lab.write(|state| events::put(state, input, now)),
        "GetLogEvents" => lab.read(|state| events::get(state, input)),
        "FilterLogEvents" => lab.read(|state| events::filter(state, input)),
        _ => Err(ApiError::new(
            "UnknownOperationException",
            format!("The lab does not know the operation {operation} of CloudWatch Logs."),
        )),
    }
}

fn group_arn(settings: &Settings, name: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{name}", settings.region, settings.account_id)
}

/// The group that the input names, by name or ARN.
fn group_name<'a>(input: Input<'a>) -> Result<&'a str, ApiError> {
    if let Some(identifier) = input.text("logGroupIdentifier") {
        let name = identifier.split_once(":log-group:").map_or(identifier, |(_, name)| name);
        return Ok(name.trim_end_matches(":*"));
    }
    input.required("logGroupName")
}

fn find_group<'a>(state: &'a State, name: &str) -> Result<&'a LogGroup, ApiError> {
    state.logs.groups.get(name).ok_or_else(no_group)
}

fn find_group_mut<'a>(state: &'a mut State, name: &str) -> Result<&'a mut LogGroup, ApiError> {
    state.logs.groups.get_mut(name).ok_or_else(no_group)
}

fn no_group() -> ApiError {
    ApiError::new("ResourceNotFoundException", "The specified log group does not exist.")
}

fn no_stream() -> ApiError {
    ApiError::new("ResourceNotFoundException", "The specified log stream does not exist.")
}
