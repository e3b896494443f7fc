//! Tasks that fail their health checks. Where the maximum allows it, their replacements start first.
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html>

use crate::lab::ecs::model::{Rollout, Service};

use super::{
    Step,
    events::say,
    health::{Cause, Health},
    members::{Member, is_daemon, members, stop, unstopped},
    shift,
};

/// Takes note of who is unhealthy, and stops at once those that nothing is to come for first.
pub(super) fn note(step: &mut Step, service: &mut Service) {
    let primary = service.primary().filter(|primary| primary.rollout != Rollout::Failed);
    let primary = primary.map(|primary| primary.id.clone());
    // A daemon's instance has room for one.
    let replaces = !is_daemon(service) && shift::scale(step, service).is_none();
    for member in members(step, service) {
        match &member.health {
            Health::Unhealthy(cause) if !member.sick => fall_ill(step, service, &member, cause),
            Health::Healthy => {
                recover(step, service, &member);
                continue;
            }
            _ if !member.sick => continue,
            _ => {}
        }
        let stays = replaces && member.running && !member.leaving && primary.as_ref() == Some(&member.deployment);
        if !stays {
            stop(step, service, &[&member], "ServiceSchedulerInitiated", "");
        }
    }
}

fn fall_ill(step: &mut Step, service: &mut Service, member: &Member, cause: &Cause) {
    let now = step.context.now;
    let reason = match cause {
        Cause::Container => {
            say(service, now, format!("(task {}) failed container health checks.", member.id));
            "Task failed container health checks".to_owned()
        }
        Cause::Target(target, why) => {
            let who = match target.id.starts_with("i-") {
                true => format!("(instance {})", target.id),
                false => format!("(task {})", member.id),
            };
            let group = &target.target_group;
            let port = target.port;
            say(
                service,
                now,
                format!("{who} (port {port}) is unhealthy in (target-group {group}) due to (reason {why})."),
            );
            format!("Task failed ELB health checks in (target-group {group})")
        }
    };
    if let Some(task) = step.state.ecs.tasks.get_mut(&member.id) {
        task.unhealthy = Some(reason);
    }
    service.replacing += 1;
    step.changed();
}

fn recover(step: &mut Step, service: &mut Service, member: &Member) {
    let Some(task) = step.state.ecs.tasks.get(&member.id) else { return };
    // what a deployment's timeline shows
    let is_new = task.healthy_at.is_none();
    if !is_new && !member.sick {
        return;
    }
    let now = step.context.now;
    if let Some(task) = step.state.ecs.tasks.get_mut(&member.id) {
        task.healthy_at = task.healthy_at.or(Some(now));
        if task.unhealthy.take().is_some() {
            task.counted = false;
            service.replacing = service.replacing.saturating_sub(1);
        }
    }
    step.changed();
}

/// Stops as many as have a healthy replacement; or one, so that there is room for its replacement.
pub(super) fn make_way(step: &mut Step, service: &mut Service, upper: i64) {
    let Some(primary) = service.primary().map(|primary| primary.id.clone()) else { return };
    let members = members(step, service);
    let ours = members.iter().filter(|member| member.deployment == primary && !member.leaving);
    let (mut sick, others): (Vec<&Member>, Vec<&Member>) = ours.partition(|member| member.sick);
    if sick.is_empty() {
        return;
    }
    let healthy = others.iter().filter(|member| member.is_healthy()).count() as i64;
    let replaced = sick.len() as i64 - (service.desired_count - healthy).max(0);
    let unstopped = unstopped(step, service);
    let is_full = upper <= unstopped || step.no_room;
    // one by one, and not before the replacement of the one before has shown what it is
    let is_settled = unstopped == members.len() as i64 && healthy == others.len() as i64;
    let wants_room = is_full && is_settled && healthy < service.desired_count;
    let count = replaced.max(i64::from(wants_room)) as usize;
    sick.sort_by_key(|member| member.created_at);
    sick.truncate(count);
    stop(step, service, &sick, "ServiceSchedulerInitiated", "");
}
