//! Deployment alarms: looked at from the first running task of a release to the end of its bake time.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html>

use crate::lab::{
    cloudwatch,
    ecs::model::{AlarmWatch, Phase, Rollout, Service},
};

use super::{Step, members::members, rollout};

const TRIGGERED: &str = "Service deployment rolled back because one or more alarms were triggered.";
const STOPPED: &str = "Service deployment stopped because one or more alarms were triggered.";

/// ECS computes a bake time from the alarms, of less than five minutes: here it is as long as the slowest of them takes.
const LEAST_BAKE: u64 = 60;
const MOST_BAKE: u64 = 299;

/// Whether a new deployment's alarms are watched: not when one of them is on already, as the release may be its remedy.
pub(super) fn begin(step: &Step, service: &mut Service) {
    let given = service.settings.get("deploymentConfiguration").cloned().unwrap_or_default();
    let Some(current) = service.service_deployments.first_mut() else { return };
    let alarms = &current.configuration["alarms"];
    let names = alarms["alarmNames"].as_array().into_iter().flatten();
    let names: Vec<String> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let enabled = alarms["enable"] == true && !names.is_empty();
    let already = cloudwatch::in_alarm(step.state, &names);
    let computed = cloudwatch::evaluation_time(step.state, &names).clamp(LEAST_BAKE, MOST_BAKE);
    current.alarms = AlarmWatch {
        status: if enabled && already.is_empty() { "MONITORING" } else { "DISABLED" }.into(),
        names: if enabled { names } else { Vec::new() },
        rolls_back: alarms["rollback"] == true,
        bake: given["bakeTimeInMinutes"].as_u64().map_or(computed, |minutes| minutes * 60),
        ..AlarmWatch::default()
    };
}

fn watched(service: &Service) -> Option<&AlarmWatch> {
    let current = service.current().filter(|current| current.status == "IN_PROGRESS")?;
    let cleans_up = current.shift.as_ref().is_some_and(|shift| shift.phase == Phase::CleanUp);
    Some(&current.alarms).filter(|alarms| alarms.status == "MONITORING" && !cleans_up)
}

/// Ends a deployment one of whose alarms is on.
pub(super) fn judge(step: &mut Step, service: &mut Service) {
    let Some(watched) = watched(service).cloned() else { return };
    let triggered = cloudwatch::in_alarm(step.state, &watched.names);
    let Some(primary) = service.primary().filter(|of| of.rollout == Rollout::InProgress).cloned() else { return };
    if triggered.is_empty() {
        return;
    }
    let begun = service.desired_count == 0
        || watched.bakes_since.is_some()
        || members(step, service).iter().any(|member| member.running && member.deployment == primary.id);
    if !begun {
        return;
    }
    if let Some(current) = service.service_deployments.first_mut() {
        current.alarms.status = "TRIGGERED".into();
        current.alarms.triggered = triggered;
    }
    let back = watched.rolls_back.then_some(TRIGGERED);
    rollout::break_off(step, service, "ECS deployment alarm", "alarm detected.", back.ok_or(STOPPED));
}

/// The bake time that a rolling deployment with alarms has once its tasks are there; `true` while it lasts.
pub(super) fn bakes(step: &mut Step, service: &mut Service) -> bool {
    let Some(watched) = watched(service) else { return false };
    if service.current().is_some_and(|current| current.shift.is_some()) {
        return false;
    }
    let now = step.context.now;
    let (since, wait) = (watched.bakes_since.unwrap_or(now), step.context.wait(watched.bake));
    if let Some(current) = service.service_deployments.first_mut().filter(|of| of.alarms.bakes_since.is_none()) {
        current.alarms.bakes_since = Some(now);
        step.changed();
    }
    if now < since + wait {
        step.wake_at(since + wait);
    }
    now < since + wait
}
