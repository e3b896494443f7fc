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

/// One CloudWatch operation, with typed values.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    conformance::answered(Service::CloudWatch, operation, input, |input| answer(lab, operation, input))
}

/// The same of the query protocol, `Version` 2010-08-01.
pub fn handle_form(lab: &Lab, name: &str, input: Value) -> ApiResult {
    let shapes = operation(Service::CloudWatch, name);
    let shape = |name: Option<&String>| name.cloned().unwrap_or_default();
    let (asked, answered) = shapes.map(|of| (shape(of.input.as_ref()), shape(of.output.as_ref()))).unwrap_or_default();
    let reply = handle(lab, name, typed::from_form(Service::CloudWatch, &asked, input))?;
    Ok(typed::to_xml(Service::CloudWatch, &answered, reply))
}

fn answer(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let input = Input::new(&input, "ValidationError");
    let (settings, now) = (&lab.settings, lab.clock.now());
    match operation {
        "PutMetricAlarm" => lab.write(|state| alarms::put(state, input, now)),
        "DescribeAlarms" => lab.read(|state| alarms::describe(state, settings, input)),
        "SetAlarmState" => lab.write(|state| alarms::set(state, input, now)),
        "DeleteAlarms" => lab.write(|state| alarms::delete(state, input)),
        "EnableAlarmActions" => lab.write(|state| alarms::enable(state, input, true)),
        "DisableAlarmActions" => lab.write(|state| alarms::enable(state, input, false)),
        "ListTagsForResource" => lab.read(|state| tags::list(state, input)),
        "TagResource" => lab.write(|state| tags::add(state, input)),
        "UntagResource" => lab.write(|state| tags::remove(state, input)),
        _ => Err(ApiError::unknown_operation(operation)),
    }
}

fn no_such() -> ApiError {
    ApiError { status: 404, ..ApiError::new("ResourceNotFound", "Unknown") }
}

fn done() -> ApiResult {
    Ok(json!({}))
}
