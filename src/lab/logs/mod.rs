//! CloudWatch Logs: groups, streams, and the events that containers write.

mod events;
mod filter;
mod groups;
mod journal;
mod tags;

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::{ApiError, ApiResult};
use super::clock::Clock;
use super::conformance;
use super::input::{Answer, Input};
use super::state::State;
use super::{Lab, Settings};
use crate::aws_model::Service;

pub use journal::{Journal, trim};

/// How many events a stream keeps; the oldest go first.
pub const STREAM_CAPACITY: usize = 10_000;

/// In milliseconds.
const DAY: i64 = 86_400_000;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogsState {
    pub groups: BTreeMap<String, LogGroup>,
    /// How many streams there ever were.
    pub streams: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogGroup {
    /// Epoch milliseconds, as are all times here.
    pub created_at: i64,
    pub retention_days: Option<i64>,
    /// `None` is STANDARD.
    pub class: Option<String>,
    pub kms_key_id: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub streams: BTreeMap<String, LogStream>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogStream {
    /// No other stream ever has it, not even a later one of the same name.
    pub id: u64,
    pub created_at: i64,
    /// The sequence number of the first event that is still kept.
    #[serde(skip)]
    pub first: u64,
    /// In a file of their own, see [`Journal`].
    #[serde(skip)]
    pub events: VecDeque<LogEvent>,
    /// Events from this sequence number on are not on disk yet.
    #[serde(skip)]
    saved: u64,
}

#[derive(Debug, Clone)]
pub struct LogEvent {
    pub timestamp: i64,
    pub ingested_at: i64,
    pub message: String,
}

impl LogEvent {
    /// As CloudWatch Logs counts it.
    fn bytes(&self) -> usize {
        self.message.len() + 26
    }
}

impl LogGroup {
    fn class(&self) -> &str {
        self.class.as_deref().unwrap_or("STANDARD")
    }

    /// Events from before this time are gone.
    fn kept_since(&self, now: i64) -> i64 {
        self.retention_days.map_or(i64::MIN, |days| now - days * DAY)
    }
}

impl LogStream {
    fn push(&mut self, event: LogEvent) {
        if self.events.len() == STREAM_CAPACITY {
            self.events.pop_front();
            self.first += 1;
        }
        self.events.push_back(event);
    }

    /// The sequence number of the next event.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(LogEvent::bytes).sum()
    }
}

impl LogsState {
    fn new_stream(&mut self, now: i64) -> LogStream {
        self.streams += 1;
        LogStream { id: self.streams, created_at: now, ..LogStream::default() }
    }

    fn streams(&self) -> impl Iterator<Item = &LogStream> {
        self.groups.values().flat_map(|group| group.streams.values())
    }

    fn streams_by_id(&mut self) -> HashMap<u64, &mut LogStream> {
        let streams = self.groups.values_mut().flat_map(|group| group.streams.values_mut());
        streams.map(|stream| (stream.id, stream)).collect()
    }
}

/// Appends events, `(epoch milliseconds, message)`, and makes group and stream where they are missing, as the awslogs
/// driver does.
pub fn append(state: &mut State, group: &str, stream: &str, events: Vec<(i64, String)>) {
    let now = Clock::default().now();
    let known = state.logs.groups.get(group).is_some_and(|group| group.streams.contains_key(stream));
    let new = (!known).then(|| state.logs.new_stream(now));
    let groups = &mut state.logs.groups;
    let group = groups.entry(group.to_owned()).or_insert_with(|| LogGroup { created_at: now, ..LogGroup::default() });
    if let Some(new) = new {
        group.streams.insert(stream.to_owned(), new);
    }
    let Some(stream) = group.streams.get_mut(stream) else { return };
    for (timestamp, message) in events {
        stream.push(LogEvent { timestamp, ingested_at: now, message });
    }
}

/// One CloudWatch Logs operation.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let answer = self::operation(operation).ok_or_else(|| {
        ApiError::new(
            "UnknownOperationException",
            format!("The lab does not know the operation {operation} of CloudWatch Logs."),
        )
    });
    let answer = answer.map(|answer| move |input: Value| answer(lab, Input::new(&input, "InvalidParameterException")));
    conformance::answered(Service::Logs, operation, input, answer)
}

fn operation(name: &str) -> Option<Answer> {
    let answer: Answer = match name {
        "CreateLogGroup" => |lab, input| lab.write(|state| groups::create(state, input, lab.clock.now())),
        "DeleteLogGroup" => |lab, input| lab.write(|state| groups::delete(state, input)),
        "DescribeLogGroups" => |lab, input| lab.read(|state| groups::describe(state, &lab.settings, input)),
        "PutRetentionPolicy" => |lab, input| lab.write(|state| groups::put_retention(state, input)),
        "DeleteRetentionPolicy" => |lab, input| lab.write(|state| groups::delete_retention(state, input)),
        "CreateLogStream" => |lab, input| lab.write(|state| groups::create_stream(state, input, lab.clock.now())),
        "DeleteLogStream" => |lab, input| lab.write(|state| groups::delete_stream(state, input)),
        "DescribeLogStreams" => |lab, input| lab.read(|state| groups::describe_streams(state, &lab.settings, input)),
        "PutLogEvents" => |lab, input| lab.write(|state| events::put(state, input, lab.clock.now())),
        "GetLogEvents" => |lab, input| lab.read(|state| events::get(state, input, lab.clock.now())),
        "FilterLogEvents" => |lab, input| lab.read(|state| events::filter(state, input, lab.clock.now())),
        "TagResource" => |lab, input| lab.write(|state| tags::tag(state, input)),
        "UntagResource" => |lab, input| lab.write(|state| tags::untag(state, input)),
        "ListTagsForResource" => |lab, input| lab.read(|state| tags::list(state, input)),
        _ => return None,
    };
    Some(answer)
}

fn group_arn(settings: &Settings, name: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{name}", settings.region, settings.account_id)
}

/// The group that the input names, by name or ARN.
fn group_name<'a>(input: Input<'a>) -> Result<&'a str, ApiError> {
    match (input.text("logGroupIdentifier"), input.text("logGroupName")) {
        (Some(_), Some(_)) => Err(input.error("logGroupName and logGroupIdentifier cannot be given together.")),
        (Some(identifier), None) => Ok(name_of(identifier)),
        (None, _) => input.required("logGroupName"),
    }
}

fn name_of(identifier: &str) -> &str {
    let name = identifier.split_once(":log-group:").map_or(identifier, |(_, name)| name);
    name.trim_end_matches(":*")
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
