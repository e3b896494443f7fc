//! PutMetricAlarm, DescribeAlarms, SetAlarmState, DeleteAlarms, and whether alarms act.

use serde_json::{Map, Value, json};

use super::{Alarm, done, no_such};
use crate::lab::Settings;
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::paging;
use crate::lab::state::State;
use crate::lab::wire::epoch_seconds;

pub(super) fn arn(settings: &Settings, name: &str) -> String {
    format!("arn:aws:cloudwatch:{}:{}:alarm:{name}", settings.region, settings.account_id)
}

/// The metric alarms of these names that are in the `ALARM` state.
pub fn in_alarm(state: &State, names: &[String]) -> Vec<String> {
    let alarms = &state.cloudwatch.alarms;
    names.iter().filter(|name| alarms.get(*name).is_some_and(|alarm| alarm.value == "ALARM")).cloned().collect()
}

/// Seconds over which the slowest of these alarms looks at its metric.
pub fn evaluation_time(state: &State, names: &[String]) -> u64 {
    let seconds = |alarm: &Alarm| {
        let of = |value: &Value| value["Period"].as_u64();
        let metrics = alarm.configuration.get("Metrics").and_then(Value::as_array).into_iter().flatten();
        let inner = metrics.filter_map(|metric| of(&metric["MetricStat"]).or(of(metric))).max();
        let period = alarm.configuration.get("Period").and_then(Value::as_u64).or(inner).unwrap_or(60);
        let periods = alarm.configuration.get("EvaluationPeriods").and_then(Value::as_u64).unwrap_or(1);
        period.saturating_mul(periods)
    };
    names.iter().filter_map(|name| state.cloudwatch.alarms.get(name)).map(seconds).max().unwrap_or(0)
}

pub(super) fn put(state: &mut State, input: Input, now: i64) -> ApiResult {
    let name = input.required("AlarmName")?;
    let tags = input.pairs("Tags")?;
    check(input)?;
    let mut configuration = Map::new();
    for member in CONFIGURATION {
        if let Some(value) = input.get(member) {
            configuration.insert(member.to_owned(), value.clone());
        }
    }
    match state.cloudwatch.alarms.get_mut(name) {
        // Its state and its tags stay as they are.
        Some(alarm) => (alarm.configuration, alarm.configured_at) = (configuration, now),
        None => {
            let alarm = Alarm {
                configuration,
                value: "INSUFFICIENT_DATA".into(),
                reason: "Unchecked: Initial alarm creation".into(),
                configured_at: now,
                updated_at: now,
                transitioned_at: now,
                tags,
                ..Alarm::default()
            };
            state.cloudwatch.alarms.insert(name.to_owned(), alarm);
        }
    }
    done()
}

const CONFIGURATION: [&str; 25] = [
    "AlarmDescription",
    "ActionsEnabled",
    "OKActions",
    "AlarmActions",
    "InsufficientDataActions",
    "MetricName",
    "Namespace",
    "Statistic",
    "ExtendedStatistic",
    "Dimensions",
    "Period",
    "Unit",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "Threshold",
    "ComparisonOperator",
    "TreatMissingData",
    "EvaluateLowSampleCountPercentile",
    "Metrics",
    "ThresholdMetricId",
    "EvaluationWindow",
    "WarmUpConfiguration",
    "EvaluationCriteria",
    "EvaluationInterval",
    "ActionConfiguration",
];

/// The rules that CloudWatch documents; its words for them are not known.
fn check(input: Input) -> Result<(), ApiError> {
    let has = |member: &str| input.get(member).is_some();
    let kinds = ["MetricName", "Metrics", "EvaluationCriteria"];
    match kinds.iter().filter(|kind| has(kind)).count() {
        1 => {}
        0 => return Err(input.error("Either MetricName or Metrics must be specified.")),
        _ => return Err(input.error("MetricName, Metrics and EvaluationCriteria are mutually exclusive.")),
    }
    if let Some(criteria) = input.get("EvaluationCriteria") {
        // A union: with none or several, no client could read the alarms any more.
        return match criteria.as_object().map(Map::len) {
            Some(1) => Ok(()),
            _ => Err(input.error("EvaluationCriteria must have exactly one member.")),
        };
    }
    for member in ["EvaluationPeriods", "ComparisonOperator"] {
        input.get(member).ok_or_else(|| input.error(format!("The parameter {member} is required.")))?;
    }
    if has("MetricName") {
        for member in ["Namespace", "Period", "Threshold"] {
            input.get(member).ok_or_else(|| input.error(format!("The parameter {member} is required.")))?;
        }
        if has("Statistic") == has("ExtendedStatistic") {
            return Err(input.error("Exactly one of Statistic and ExtendedStatistic must be specified."));
        }
    }
    if has("Threshold") == has("ThresholdMetricId") {
        return Err(input.error("Exactly one of Threshold and ThresholdMetricId must be specified."));
    }
    if let Some(period) = input.number("Period")?
        && ![10, 20, 30].contains(&period)
        && period % 60 != 0
    {
        return Err(input.error("Period must be 10, 20, 30, or a multiple of 60."));
    }
    if input.number("DatapointsToAlarm")? > input.number("EvaluationPeriods")? {
        return Err(input.error("DatapointsToAlarm must be less than or equal to EvaluationPeriods."));
    }
    Ok(())
}

pub(super) fn describe(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let (names, prefix) = (input.texts("AlarmNames"), input.text("AlarmNamePrefix"));
    if prefix.is_some() && !names.is_empty() {
        return Err(input.error("AlarmNamePrefix and AlarmNames are mutually exclusive."));
    }
    let types = input.texts("AlarmTypes");
    let metric = types.is_empty() || types.contains(&"MetricAlarm");
    let family = input.text("ChildrenOfAlarmName").or(input.text("ParentsOfAlarmName"));
    let acts = |alarm: &Alarm, prefix: &str| {
        let actions =
            ["OKActions", "AlarmActions", "InsufficientDataActions"].map(|kind| alarm.configuration.get(kind));
        let mut actions = actions.into_iter().flatten().filter_map(Value::as_array).flatten();
        actions.any(|action| action.as_str().is_some_and(|action| action.starts_with(prefix)))
    };
    let wanted = state.cloudwatch.alarms.iter().filter(|(name, alarm)| {
        // No alarm of the lab's is made of others.
        metric
            && family.is_none()
            && (names.is_empty() || names.contains(&name.as_str()))
            && prefix.is_none_or(|prefix| name.starts_with(prefix))
            && input.text("StateValue").is_none_or(|value| value == alarm.value)
            && input.text("ActionPrefix").is_none_or(|prefix| acts(alarm, prefix))
    });
    let most = input.number("MaxRecords")?.unwrap_or(50) as usize;
    let page = paging::page(wanted.collect(), input.text("NextToken"), most);
    let (page, next) = page.ok_or_else(|| ApiError::new("InvalidNextToken", "The next token is invalid."))?;
    let alarms: Vec<Value> = page.into_iter().map(|(name, alarm)| view(settings, name, alarm)).collect();
    Ok(json!({"MetricAlarms": alarms, "CompositeAlarms": [], "NextToken": next}))
}

fn view(settings: &Settings, name: &str, alarm: &Alarm) -> Value {
    let mut view = json!({
        "AlarmName": name,
        "AlarmArn": arn(settings, name),
        "AlarmConfigurationUpdatedTimestamp": epoch_seconds(alarm.configured_at),
        "ActionsEnabled": true,
        "OKActions": [],
        "AlarmActions": [],
        "InsufficientDataActions": [],
        "StateValue": alarm.value,
        "StateReason": alarm.reason,
        "StateReasonData": alarm.reason_data,
        "StateUpdatedTimestamp": epoch_seconds(alarm.updated_at),
        "StateTransitionedTimestamp": epoch_seconds(alarm.transitioned_at),
        "Dimensions": [],
    });
    if let Value::Object(members) = &mut view {
        members.extend(alarm.configuration.clone());
    }
    view
}

pub(super) fn set(state: &mut State, input: Input, now: i64) -> ApiResult {
    let alarm = state.cloudwatch.alarms.get_mut(input.required("AlarmName")?).ok_or_else(no_such)?;
    let data = input.text("StateReasonData");
    if data.is_some_and(|data| serde_json::from_str::<Value>(data).is_err()) {
        return Err(ApiError::new("InvalidFormat", "StateReasonData must be valid JSON."));
    }
    let value = input.required("StateValue")?;
    if alarm.value != value {
        alarm.transitioned_at = now;
    }
    alarm.value = value.into();
    alarm.reason = input.text("StateReason").unwrap_or_default().into();
    alarm.reason_data = data.map(str::to_owned);
    alarm.updated_at = now;
    done()
}

/// All of them, or none when one of them is not there.
pub(super) fn delete(state: &mut State, input: Input) -> ApiResult {
    let alarms = &mut state.cloudwatch.alarms;
    let names = input.texts("AlarmNames");
    if names.iter().any(|name| !alarms.contains_key(*name)) {
        return Err(no_such());
    }
    alarms.retain(|name, _| !names.contains(&name.as_str()));
    done()
}

pub(super) fn enable(state: &mut State, input: Input, enabled: bool) -> ApiResult {
    for name in input.texts("AlarmNames") {
        if let Some(alarm) = state.cloudwatch.alarms.get_mut(name) {
            alarm.configuration.insert("ActionsEnabled".into(), json!(enabled));
        }
    }
    done()
}
