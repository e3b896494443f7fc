//! CloudWatch, as far as its metric alarms go: the lab has no metrics, an alarm's state is set by hand.

mod alarms;
mod tags;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Lab;
use super::api::{ApiError, ApiResult};
use super::conformance;
use super::input::Input;
use super::wire::typed;
use crate::aws_model::{Service, operation};

pub use alarms::{evaluation_time, in_alarm};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CloudWatchState {
    /// By name.
    pub alarms: BTreeMap<String, Alarm>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Alarm {
    /// PutMetricAlarm's members, but for name and tags.
    pub configuration: Map<String, Value>,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub value: String,
    pub reason: String,
    pub reason_data: Option<String>,
    /// Epoch milliseconds, as are all times here.
    pub configured_at: i64,
    pub updated_at: i64,
    /// When it came to be another one.
    pub transitioned_at: i64,
    pub tags: BTreeMap<String, String>,
}

type Answer = fn(&Lab, Input) -> ApiResult;

/// One CloudWatch operation, with typed values.
pub fn handle(lab: &Lab, name: &str, input: Value) -> ApiResult {
    let answer = answer(name).ok_or_else(|| ApiError::unknown_operation(name));
    let answer = answer.map(|answer| move |input: Value| answer(lab, Input::new(&input, "ValidationError")));
    conformance::answered(Service::CloudWatch, name, input, answer)
}

/// The same of the query protocol, `Version` 2010-08-01.
pub fn handle_form(lab: &Lab, name: &str, input: Value) -> ApiResult {
    let shapes = operation(Service::CloudWatch, name);
    let shape = |name: Option<&String>| name.cloned().unwrap_or_default();
    let (asked, answered) = shapes.map(|of| (shape(of.input.as_ref()), shape(of.output.as_ref()))).unwrap_or_default();
    let reply = handle(lab, name, typed::from_form(Service::CloudWatch, &asked, input))?;
    Ok(typed::to_xml(Service::CloudWatch, &answered, reply))
}

fn answer(name: &str) -> Option<Answer> {
    let answer: Answer = match name {
        "PutMetricAlarm" => |lab, input| lab.write(|state| alarms::put(state, input, lab.clock.now())),
        "DescribeAlarms" => |lab, input| lab.read(|state| alarms::describe(state, &lab.settings, input)),
        "SetAlarmState" => |lab, input| lab.write(|state| alarms::set(state, input, lab.clock.now())),
        "DeleteAlarms" => |lab, input| lab.write(|state| alarms::delete(state, input)),
        "EnableAlarmActions" => |lab, input| lab.write(|state| alarms::enable(state, input, true)),
        "DisableAlarmActions" => |lab, input| lab.write(|state| alarms::enable(state, input, false)),
        "ListTagsForResource" => |lab, input| lab.read(|state| tags::list(state, input)),
        "TagResource" => |lab, input| lab.write(|state| tags::add(state, input)),
        "UntagResource" => |lab, input| lab.write(|state| tags::remove(state, input)),
        _ => return None,
    };
    Some(answer)
}

fn no_such() -> ApiError {
    ApiError { status: 404, ..ApiError::new("ResourceNotFound", "Unknown") }
}

fn done() -> ApiResult {
    Ok(json!({}))
}
