//! How long a rollout may take before something is wrong, from what it has to wait for. Pure: table-tested.

use std::time::Duration;

use serde_json::Value;

use crate::aws::reply::{list, number, optional, text};

/// No rollout is given up before this, and most need no more.
pub const LEAST: Duration = Duration::from_secs(15 * 60);

/// A task is found a place, its image pulled, its program started.
const START: Duration = Duration::from_secs(5 * 60);

/// ECS's `stopTimeout` unless the task definition says otherwise.
const STOP: Duration = Duration::from_secs(30);

/// Alarms whose bake time ECS computes itself.
const ALARMS: Duration = Duration::from_secs(10 * 60);

/// ELB's own default.
const DRAIN: Duration = Duration::from_secs(300);

/// What a target group makes a rollout wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Interval times healthy threshold.
    pub becomes_healthy: Duration,
    /// Its deregistration delay, where that is known.
    pub drains: Option<Duration>,
}

impl Default for Group {
    /// As ELB makes one that nobody configured.
    fn default() -> Self {
        Group { becomes_healthy: Duration::from_secs(5 * 30), drains: None }
    }
}

/// What a service as DescribeServices shows it, behind these target groups, takes at most. Rounded up to a minute.
pub fn of(service: &Value, groups: &[Group]) -> Duration {
    let configuration = &service["deploymentConfiguration"];
    let desired = number(service, "desiredCount").max(1);
    let longest = |wait: fn(&Group) -> Duration| groups.iter().map(wait).max().unwrap_or_default();
    let grace = Duration::from_secs(number(service, "healthCheckGracePeriodSeconds").max(0).cast_unsigned());
    let wave = START
        + grace.max(longest(|group| group.becomes_healthy))
        + longest(|group| group.drains.unwrap_or(DRAIN))
        + STOP;
    let minutes = |value: &Value, member: &str, default: i64| {
        let minutes = value.get(member).and_then(Value::as_i64).unwrap_or(default);
        Duration::from_secs(60 * minutes.clamp(0, 24 * 60).cast_unsigned())
    };
    let bakes = minutes(configuration, "bakeTimeInMinutes", 0);
    let (waves, shifts) = match text(configuration, "strategy") {
        // ECS's defaults where nothing else is said
        "CANARY" => (1, minutes(&configuration["canaryConfiguration"], "canaryBakeTimeInMinutes", 10)),
        "LINEAR" => {
            let linear = &configuration["linearConfiguration"];
            let step = linear.get("stepPercent").and_then(Value::as_f64).unwrap_or(10.0).clamp(3.0, 100.0);
            let steps = (100.0 / step).ceil() as u32;
            (1, minutes(linear, "stepBakeTimeInMinutes", 6) * steps)
        }
        "" | "ROLLING" => (waves(configuration, desired), Duration::ZERO),
        _ => (1, Duration::ZERO),
    };
    let alarms = &configuration["alarms"];
    let alarmed = alarms["enable"] == true && bakes.is_zero();
    let alarms = if alarmed { ALARMS } else { Duration::ZERO };
    let hooks: Duration = list(configuration, "lifecycleHooks")
        .iter()
        // a pause ends the waiting by itself
        .filter(|hook| optional(hook, "targetType") != Some("PAUSE"))
        .map(|hook| {
            let stages = list(hook, "lifecycleStages").len().max(1) as u32;
            minutes(&hook["timeoutConfiguration"], "timeoutInMinutes", 0) * stages
        })
        .sum();
    let takes = wave * waves + bakes + shifts + alarms + hooks;
    let minutes = takes.as_secs().div_ceil(60);
    Duration::from_secs(60 * minutes).max(LEAST)
}

/// How often old tasks make room for new ones in a rolling update.
fn waves(configuration: &Value, desired: i64) -> u32 {
    let percent = |member: &str, default| configuration.get(member).and_then(Value::as_i64).unwrap_or(default).max(0);
    let (minimum, maximum) = (percent("minimumHealthyPercent", 100), percent("maximumPercent", 200));
    let more = (desired.saturating_mul(maximum) / 100).saturating_sub(desired).max(0);
    let fewer = desired.saturating_sub((desired.saturating_mul(minimum).saturating_add(99)) / 100).max(0);
    let at_once = more.saturating_add(fewer).clamp(1, desired);
    u32::try_from(desired.saturating_add(at_once - 1) / at_once).unwrap_or(u32::MAX).min(1000)
}
