//! How a deployment begins, fails, goes back and completes.

use crate::lab::ecs::model::{Deployment, Rollback, Rollout, Service, ServiceDeployment};

use super::{
    Step, alarms,
    events::say,
    health::Health,
    members::{Member, remaining},
    shift,
};

const TRIPPED: &str = "Service deployment rolled back because the circuit breaker threshold was exceeded.";
const STOPPED: &str = "Service deployment stopped because the circuit breaker threshold was exceeded.";
const NO_CANDIDATE: &str = "No rollback candidate was found to run the rollback.";

/// Seconds at AWS for which a failed deployment is shown at least, though going back needs no new task.
const SHOWN: u64 = 20;

fn current(service: &mut Service) -> Option<&mut ServiceDeployment> {
    service.service_deployments.first_mut().filter(|current| !current.is_over())
}

fn end(service: &mut Service, now: i64, status: &str, reason: Option<&str>) {
    if let Some(current) = current(service) {
        current.status = status.into();
        current.status_reason = reason.map(str::to_owned).or(current.status_reason.take());
        current.finished_at = Some(now);
        current.updated_at = now;
        if status == "STOPPED" {
            current.stopped_at = Some(now);
        }
        current.end_monitors();
    }
}

/// Takes up new service deployments and what StopServiceDeployment asked for.
pub(super) fn begin(step: &mut Step, service: &mut Service) {
    let now = step.context.now;
    let threshold = service.failure_threshold();
    let Some(current) = current(service) else { return };
    if std::mem::replace(&mut current.threshold, threshold) != threshold {
        step.changed();
    }
    match current.status.as_str() {
        "PENDING" => {
            current.status = "IN_PROGRESS".into();
            current.started_at = Some(now);
            current.updated_at = now;
            alarms::begin(step, service);
            shift::begin(step, service);
        }
        "ROLLBACK_REQUESTED" => {
            let why = "Service deployment rolled back because of a user request.";
            fail(service, now, "Service deployment stopped by user.");
            go_back(step, service, "Service deployment stopped by user", why);
        }
        "STOP_REQUESTED" => {
            fail(service, now, "Service deployment stopped by user.");
            end(service, now, "STOPPED", Some("Service deployment stopped because of a user request."));
        }
        _ => return,
    }
    step.changed();
}

fn fail(service: &mut Service, now: i64, reason: &str) {
    if let Some(primary) = service.deployments.first_mut() {
        primary.rollout = Rollout::Failed;
        primary.reason = reason.into();
        primary.updated_at = now;
    }
}

/// Trips the circuit breaker when enough tasks failed.
pub(super) fn judge(step: &mut Step, service: &mut Service) {
    let (enabled, rolls_back) = service.circuit_breaker();
    let threshold = service.failure_threshold();
    let failed = |primary: &&Deployment| primary.rollout == Rollout::InProgress && primary.failed_tasks >= threshold;
    if !enabled || service.primary().is_none_or(|primary| !failed(&primary)) {
        return;
    }
    if let Some(current) = current(service) {
        current.breaker = "TRIGGERED".into();
    }
    let back = rolls_back.then_some(TRIPPED);
    break_off(step, service, "ECS deployment circuit breaker", "tasks failed to start.", back.ok_or(STOPPED));
}

/// Ends a deployment in which `by` found `what`; goes back where `back` has the reason for that, else stays as it is.
pub(super) fn break_off(
    step: &mut Step,
    service: &mut Service,
    by: &str,
    what: &str,
    back: Result<&'static str, &'static str>,
) {
    let now = step.context.now;
    let id = service.primary().map(|primary| primary.id.clone()).unwrap_or_default();
    fail(service, now, &format!("{by}: {what}"));
    say(service, now, format!("(deployment {id}) deployment failed: {what}"));
    let was_going_back = current(service).is_some_and(|current| current.status == "ROLLBACK_IN_PROGRESS");
    match back {
        _ if was_going_back => end(service, now, "ROLLBACK_FAILED", None),
        Ok(why) => go_back(step, service, by, why),
        Err(why) => end(service, now, "STOPPED", Some(why)),
    }
    step.changed();
}

/// Ends a deployment that may not go on, and goes back.
pub(super) fn give_up(step: &mut Step, service: &mut Service, by: &str, why: &str) {
    let now = step.context.now;
    fail(service, now, &format!("{by} failed: {why}"));
    let id = service.primary().map(|primary| primary.id.clone()).unwrap_or_default();
    say(service, now, format!("(deployment {id}) deployment failed: {why}"));
    go_back(step, service, by, why);
    step.changed();
}

/// Makes the last deployment that was COMPLETED the PRIMARY one again.
fn go_back(step: &mut Step, service: &mut Service, by: &str, why: &str) {
    let now = step.context.now;
    shift::back(step, service);
    let candidate = service.deployments.iter().skip(1).position(|deployment| deployment.was_completed);
    let Some(at) = candidate.map(|at| at + 1) else {
        return end(service, now, "ROLLBACK_FAILED", Some(NO_CANDIDATE));
    };
    let mut to = service.deployments.remove(at);
    to.rollout = Rollout::InProgress;
    to.reason = format!("{by}: rolling back to deploymentId {}.", to.id);
    to.updated_at = now;
    to.failed_tasks = 0;
    to.failed_starts = 0;
    to.not_before = 0;
    // The service goes back as a whole: load balancers and network, too.
    if let Some(failed) = service.deployments.first() {
        service.settings.retain(|member, _| !failed.settings.contains_key(member) || to.settings.contains_key(member));
    }
    service.settings.extend(to.settings.clone());
    say(service, now + 1, format!("rolling back to deployment {}.", to.id));
    if let Some(current) = current(service) {
        current.status = "ROLLBACK_IN_PROGRESS".into();
        current.status_reason = Some(why.into());
        current.rollback = Some(Rollback { reason: why.into(), started_at: now, revision: to.revision.clone() });
        current.updated_at = now;
    }
    service.deployments.insert(0, to);
    service.steady = false;
    shift::went_back(step, service);
}

/// Completes the PRIMARY deployment and says the steady state, when both are so.
pub(super) fn finish(step: &mut Step, service: &mut Service, members: &[Member]) {
    let now = step.context.now;
    let Some(primary) = service.primary().cloned() else { return };
    let ours = || members.iter().filter(|member| member.deployment == primary.id);
    let complete =
        ours().count() as i64 == service.desired_count && ours().all(|member| member.health == Health::Healthy);
    let others = service.deployments.iter().skip(1).map(|of| remaining(step, service, &of.id)).sum::<usize>();
    if !complete || others > 0 || primary.rollout == Rollout::Failed || !shift::may_finish(step, service) {
        return;
    }
    if primary.rollout == Rollout::InProgress {
        let back_since = current(service).and_then(|current| Some(current.rollback.as_ref()?.started_at));
        let seen = back_since.map_or(now, |since| since + step.context.wait(SHOWN));
        if now < seen {
            return step.wake_at(seen);
        }
        if alarms::bakes(step, service) {
            return;
        }
        let first = &mut service.deployments[0];
        first.rollout = Rollout::Completed;
        first.was_completed = true;
        first.reason = format!("ECS deployment {} completed.", first.id);
        first.updated_at = now;
        first.failed_starts = 0;
        service.deployments.truncate(1);
        say(service, now, format!("(deployment {}) deployment completed.", primary.id));
        let back = current(service).is_some_and(|current| current.status == "ROLLBACK_IN_PROGRESS");
        end(service, now, if back { "ROLLBACK_SUCCESSFUL" } else { "SUCCESSFUL" }, None);
        step.changed();
    }
    if !service.steady {
        service.steady = true;
        service.replacing = 0;
        say(service, now + 1, "has reached a steady state.");
        step.changed();
    }
}
