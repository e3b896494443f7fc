//! Brings a service's tasks to what its deployments ask for: starts, replaces, scales, rolls.

use crate::lab::clock::Pace;
use crate::lab::ecs::{
    model::{Deployment, Rollout, Service, ServiceStatus},
    task_definitions,
};

use super::{
    Step, alarms, choose,
    events::{say_trouble, say_unless_told},
    members::{Member, is_daemon, members, start, stop, unstopped},
    rollout, shift, unhealthy,
};

/// Seconds at AWS between tasks that never ran: doubled each time, up to 15 minutes.
const FIRST_BACKOFF: u64 = 5;
const MOST_BACKOFF: u64 = 900;
/// Seconds at AWS until a task that ran and failed is replaced: what a pull takes there.
const RESTART: u64 = 10;
/// At the fast pace that doubles after each task that ran for less than this (milliseconds), up to this.
const BRIEF: i64 = 10_000;
const MOST_RESTART: u64 = 500;
const INCONSISTENT: u32 = 3;
const STUCK: &str = "was unable to stop or start tasks during a deployment because of the service deployment \
    configuration. Update the minimumHealthyPercent or maximumPercent value and try again.";

pub(super) fn reconcile(step: &mut Step, service: &mut Service) {
    match service.status {
        ServiceStatus::Inactive => return,
        ServiceStatus::Draining => return drain(step, service),
        ServiceStatus::Active => {}
    }
    count_instances(step, service);
    rollout::begin(step, service);
    unhealthy::note(step, service);
    count_failures(step, service);
    rollout::judge(step, service);
    alarms::judge(step, service);
    shift::advance(step, service);
    if let Some(wanted) = shift::scale(step, service) {
        shift::bring_to(step, service, &wanted);
        let members = members(step, service);
        return rollout::finish(step, service, &members);
    }
    let upper = share(service, "maximumPercent").div_euclid(100);
    let lower = share(service, "minimumHealthyPercent").saturating_add(99).div_euclid(100);
    stop_spare(step, service, lower.min(service.desired_count));
    start_missing(step, service, upper);
    unhealthy::make_way(step, service, upper);
    say_stuck(step, service, lower, upper);
    let members = members(step, service);
    for (at, deployment) in service.deployments.iter_mut().enumerate() {
        let wanted = match at == 0 && deployment.rollout != Rollout::Failed {
            true => service.desired_count,
            false => members.iter().filter(|member| member.deployment == deployment.id).count() as i64,
        };
        if std::mem::replace(&mut deployment.desired_count, wanted) != wanted {
            step.changed();
        }
    }
    rollout::finish(step, service, &members);
}

/// A daemon has a task on each instance of its cluster.
fn count_instances(step: &mut Step, service: &mut Service) {
    if !is_daemon(service) {
        return;
    }
    let Some(primary) = service.primary() else { return };
    let Some(definition) = task_definitions::find(&step.state.ecs, &primary.task_definition) else { return };
    let region = &step.context.settings.region;
    let count = choose::eligible(step.state, region, &service.cluster, &service.settings, definition);
    if std::mem::replace(&mut service.desired_count, count) != count {
        service.steady = false;
        step.changed();
    }
}

/// So much of the desired count, in hundredths.
fn share(service: &Service, name: &str) -> i64 {
    service.desired_count.saturating_mul(percent(service, name))
}

/// For the daemon scheduling strategy AWS's defaults are others.
fn percent(service: &Service, name: &str) -> i64 {
    let daemon = is_daemon(service);
    service.percent(
        name,
        match (name, daemon) {
            ("minimumHealthyPercent", true) => 0,
            ("minimumHealthyPercent", false) | (_, true) => 100,
            _ => 200,
        },
    )
}

fn drain(step: &mut Step, service: &mut Service) {
    let members = members(step, service);
    let all: Vec<&Member> = members.iter().collect();
    stop(step, service, &all, "ServiceSchedulerInitiated", "Service was deleted");
    for deployment in &mut service.deployments {
        if std::mem::take(&mut deployment.desired_count) != 0 {
            step.changed();
        }
    }
    if unstopped(step, service) == 0 {
        service.status = ServiceStatus::Inactive;
        step.changed();
    }
}

/// Tasks that ended by themselves or fail their health checks count against their deployment, once each.
fn count_failures(step: &mut Step, service: &mut Service) {
    let tasks = step.state.ecs.tasks.of_group(&service.cluster, &service.group());
    let new = tasks.filter(|task| (task.stop || task.unhealthy.is_some()) && !task.counted);
    for id in new.map(|task| task.id.clone()).collect::<Vec<_>>() {
        let Some(task) = step.state.ecs.tasks.get_mut(&id) else { continue };
        task.counted = true;
        (step.altered, step.outcome.changed) = (true, true);
        service.steady = false;
        let failed = match task.stop_code.as_deref() {
            Some("TaskFailedToStart" | "EssentialContainerExited") => true,
            _ => task.unhealthy.is_some(),
        };
        let (ran, by) = (task.started_at.is_some(), task.started_by.clone());
        let brief = task.started_at.is_some_and(|at| step.context.now < at + BRIEF);
        let reasons = task.containers.iter().filter_map(|container| container.reason.clone());
        let kinds = ["CannotPullContainerError", "ResourceInitializationError", "Fetching secret data"];
        let told = |reason: &String| kinds.iter().any(|kind| reason.starts_with(kind));
        let resource = reasons.chain(task.stopped_reason.clone()).find(told);
        if !failed {
            continue;
        }
        let now = step.context.now;
        if let Some(reason) = resource {
            let reason = reason.trim_end_matches('.');
            say_unless_told(step, service, &format!("was unable to place a task. Reason: {reason}."));
        }
        let Some(deployment) = service.deployments.iter_mut().find(|of| Some(&of.id) == by.as_ref()) else { continue };
        deployment.failed_starts = if ran { 0 } else { deployment.failed_starts + 1 };
        // Where no pull takes its time, a program that crashes at once would be started for ever, ten times a second.
        let again = step.context.clock.pace == Pace::Fast && brief;
        deployment.crashes = if again { deployment.crashes + 1 } else { 0 };
        let backoff = match deployment.failed_starts {
            0 => (RESTART << deployment.crashes.saturating_sub(1).min(16)).min(MOST_RESTART),
            starts => (FIRST_BACKOFF << (starts - 1).min(16)).min(MOST_BACKOFF),
        };
        deployment.not_before = now + step.context.wait(backoff);
        deployment.updated_at = now;
        let inconsistent = deployment.failed_starts >= INCONSISTENT;
        if deployment.rollout == Rollout::InProgress {
            deployment.failed_tasks += 1;
            let failures = deployment.failed_tasks;
            if let Some(current) = service.service_deployments.first_mut().filter(|current| !current.is_over()) {
                current.failures = failures;
                current.updated_at = now;
            }
        }
        if inconsistent {
            say_trouble(step, service, "is unable to consistently start tasks successfully.");
        }
    }
}

/// Stops what is beyond the desired count, and as much of earlier deployments as may be missed.
fn stop_spare(step: &mut Step, service: &mut Service, lower: i64) {
    let Some(primary) = service.primary().cloned() else { return };
    let members = members(step, service);
    let (mut ours, mut others): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(|member| member.deployment == primary.id && !member.leaving);
    // their replacements are no less wanted because they are there
    ours.retain(|member| !member.sick);
    let scaling = format!("Scaling activity initiated by (deployment {})", primary.id);
    let healthy = members.iter().filter(|member| member.is_healthy()).count() as i64;
    let mut spare: Vec<&Member> = Vec::new();
    let beyond = (ours.len() as i64 - service.desired_count).max(0) as usize;
    // What serves least goes first, and of equals the newest.
    ours.sort_by_key(|member| (member.is_healthy(), member.running, -member.created_at));
    spare.extend(ours.into_iter().take(beyond));
    // What is on an instance that is drained is replaced as an earlier release is.
    if primary.rollout != Rollout::Failed {
        let gone = spare.iter().filter(|member| member.is_healthy()).count() as i64;
        let mut may_go = (healthy - gone - lower).max(0);
        others.sort_by_key(|member| (member.is_healthy(), member.created_at));
        for member in others {
            match member.is_healthy() {
                // An earlier release that has not proved itself is no loss.
                false if !member.running || wanted_by_none(service, member) => spare.push(member),
                // Or the two of them would leave no room for what is wanted now.
                false if healthy - gone >= lower && never_completed(service, member) && !member.leaving => {
                    spare.push(member);
                }
                false => may_go_unproved(&mut spare, member, &primary, &members, service),
                true if may_go > 0 => {
                    may_go -= 1;
                    spare.push(member);
                }
                true => {}
            }
        }
    }
    stop(step, service, &spare, "ServiceSchedulerInitiated", &scaling);
}

/// Its deployment failed, or is gone.
fn wanted_by_none(service: &Service, member: &Member) -> bool {
    let deployment = service.deployments.iter().find(|of| of.id == member.deployment);
    deployment.is_none_or(|of| of.rollout == Rollout::Failed)
}

fn never_completed(service: &Service, member: &Member) -> bool {
    service.deployments.iter().any(|of| of.id == member.deployment && !of.was_completed)
}

/// A running task that is not known to be healthy, such as one whose checks just began again, may
/// serve all the same: it goes when the new release is complete.
fn may_go_unproved<'m>(
    spare: &mut Vec<&'m Member>,
    member: &'m Member,
    primary: &Deployment,
    members: &[Member],
    service: &Service,
) {
    let ready =
        members.iter().filter(|of| of.deployment == primary.id && !of.leaving && of.is_healthy()).count() as i64;
    if ready >= service.desired_count {
        spare.push(member);
    }
}

fn start_missing(step: &mut Step, service: &mut Service, upper: i64) {
    let Some(primary) = service.primary().cloned() else { return };
    if primary.rollout == Rollout::Failed {
        return;
    }
    let members = members(step, service);
    let stays = |member: &&Member| member.deployment == primary.id && !member.leaving && !member.sick;
    let ours = members.iter().filter(stays).count() as i64;
    // The maximum counts tasks until they are STOPPED.
    let missing = (service.desired_count - ours).min(upper - unstopped(step, service));
    start(step, service, &primary, missing);
}

/// A service whose percents allow neither to stop a task nor to start one waits for others.
fn say_stuck(step: &mut Step, service: &mut Service, lower: i64, upper: i64) {
    let Some(primary) = service.primary().filter(|primary| primary.rollout == Rollout::InProgress) else { return };
    let id = primary.id.clone();
    let members = members(step, service);
    let count = members.len() as i64;
    let waits = members.iter().any(|member| member.deployment != id || member.leaving);
    let idle = unstopped(step, service) == count && members.iter().all(Member::is_healthy);
    if waits && idle && (upper..=lower).contains(&count) && say_unless_told(step, service, STUCK) {
        step.changed();
    }
}
