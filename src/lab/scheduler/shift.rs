//! Deployments that shift traffic (BLUE_GREEN, CANARY, LINEAR), stage by stage.

use serde_json::Value;

use crate::lab::ecs::model::{Deployment, Phase, Service, ServiceDeployment, Shift};

use super::{
    Step,
    health::Health,
    hooks::{self, Progress},
    members::{Member, members, remaining, start, stop},
    rollout,
    traffic::{self, ALL, Listener},
};

/// Seconds at AWS for which a stage that does no more than pass is shown (inferred: some seconds).
const SHOWN: u64 = 10;

/// The shift that goes forward now; one that goes back is like any other deployment.
fn forward(service: &Service) -> Option<&Shift> {
    service.current().filter(|current| current.status == "IN_PROGRESS")?.shift.as_ref()
}

/// The deployment that traffic is taken from.
fn blue(service: &Service) -> Option<&Deployment> {
    service.deployments.iter().skip(1).find(|deployment| deployment.was_completed)
}

/// Decides which target groups a new deployment's tasks are in, and where it begins.
pub(super) fn begin(step: &mut Step, service: &mut Service) {
    let (Some(current), Some(green)) = (service.current(), service.primary()) else { return };
    let settings = green.settings.clone();
    let live = blue(service).map(|blue| match blue.target_groups.is_empty() {
        true => traffic::first_groups(&settings),
        false => blue.target_groups.clone(),
    });
    let rolling = !matches!(current.configuration["strategy"].as_str(), Some("BLUE_GREEN" | "CANARY" | "LINEAR"));
    let interrupted = service.deployments.len() > 2 || service.deployments.len() == 2 && live.is_none();
    if let Some(live) = live.as_ref().filter(|_| interrupted) {
        traffic::divide(step.state, &settings, live, Listener::Production, ALL);
        traffic::divide(step.state, &settings, live, Listener::Test, ALL);
    }
    if rolling {
        return join(service, live.unwrap_or_else(|| traffic::first_groups(&settings)));
    }
    match traffic::idle_groups(step.state, &settings) {
        Ok(groups) => join(service, groups),
        Err(why) => return rollout::give_up(step, service, "ECS deployment", &why),
    }
    let phase = if interrupted { Phase::Reconcile } else { Phase::PreScaleUp };
    let shift = Shift {
        production: traffic::has(&settings, Listener::Production).then_some(0),
        test: traffic::has(&settings, Listener::Test).then_some(0),
        ..Shift::default()
    };
    if let Some(current) = service.service_deployments.first_mut() {
        current.shift = Some(shift);
    }
    enter(step, service, phase);
}

fn join(service: &mut Service, groups: Vec<String>) {
    let Some(green) = service.deployments.first_mut() else { return };
    if let Some(revision) = service.revisions.iter_mut().find(|revision| revision.arn == green.revision) {
        revision.target_groups.clone_from(&groups);
    }
    green.target_groups = groups;
}

/// Goes on to the next stage, when this one is over.
pub(super) fn advance(step: &mut Step, service: &mut Service) {
    if forward(service).is_none() {
        return advance_back(step, service);
    }
    match hooks::settle(step, service) {
        Progress::Failed(why) => return rollout::give_up(step, service, "ECS deployment lifecycle hook", &why),
        Progress::Waiting => return,
        Progress::Done => {}
    }
    let Some((shift, current)) = forward(service).cloned().zip(service.current()) else { return };
    let due = shift.since + step.context.wait(lasts(&shift, current));
    if step.context.now < due {
        return step.wake_at(due);
    }
    let more = shift.phase == Phase::Production && shift.step + 1 < steps(current).len();
    match shift.phase {
        Phase::CleanUp => {}
        Phase::Reconcile if !is_reconciled(step, service) => {}
        Phase::ScaleUp if !is_scaled_up(step, service) => {}
        Phase::Production if more => {
            if let Some(shift) = service.service_deployments.first_mut().and_then(|of| of.shift.as_mut()) {
                shift.step += 1;
            }
            enter(step, service, Phase::PreProduction);
        }
        phase => enter(step, service, phase.next()),
    }
}

fn enter(step: &mut Step, service: &mut Service, phase: Phase) {
    let now = step.context.now;
    let hooks = hooks::at(step, service, phase);
    let Some(green) = service.primary().cloned() else { return };
    let Some(current) = service.service_deployments.first_mut() else { return };
    let share = current.shift.as_ref().and_then(|shift| steps(current).get(shift.step).copied());
    let Some(shift) = &mut current.shift else { return };
    current.updated_at = now;
    (shift.phase, shift.since, shift.hooks) = (phase, now, hooks);
    let (listener, tenths) = match phase {
        Phase::TestShift => (Listener::Test, ALL),
        Phase::Production => (Listener::Production, share.unwrap_or(ALL)),
        _ => return step.changed(),
    };
    let shown = if listener == Listener::Test { &mut shift.test } else { &mut shift.production };
    *shown = shown.map(|_| tenths);
    traffic::divide(step.state, &green.settings, &green.target_groups, listener, tenths);
    step.changed();
}

/// Gives all traffic back to the release before, at once; or when that is there again, if it was on its way out.
pub(super) fn back(step: &mut Step, service: &mut Service) {
    let Some(failed) = service.service_deployments.first_mut() else { return };
    let Some(shift) = &mut failed.shift else { return };
    let cleaned_up = shift.phase == Phase::CleanUp;
    (shift.phase, shift.since) = (if cleaned_up { Phase::ScaleUp } else { Phase::CleanUp }, step.context.now);
    if cleaned_up {
        return;
    }
    shift.production = shift.production.map(|_| 0);
    shift.test = shift.test.map(|_| 0);
    let Some(green) = service.deployments.iter().find(|of| of.id == failed.deployment) else { return };
    for listener in [Listener::Production, Listener::Test] {
        traffic::divide(step.state, &green.settings, &green.target_groups, listener, 0);
    }
}

/// The stages whose hooks are run when a deployment goes back, too.
const BACK: [Phase; 2] = [Phase::Production, Phase::TestShift];

fn backward(service: &Service) -> Option<&Shift> {
    service.current().filter(|current| current.status == "ROLLBACK_IN_PROGRESS")?.shift.as_ref()
}

/// Tells the hooks of the stages from `at` on, one after the other, that traffic went back.
fn tell_back(step: &mut Step, service: &mut Service, at: usize) {
    let next = BACK[at..].iter().map(|phase| (*phase, hooks::at(step, service, *phase)));
    let next = { next }.find(|(_, hooks)| !hooks.is_empty());
    let Some(shift) = service.service_deployments.first_mut().and_then(|of| of.shift.as_mut()) else { return };
    match next {
        Some((phase, hooks)) => (shift.phase, shift.hooks) = (phase, hooks),
        None => shift.phase = Phase::CleanUp,
    }
    shift.since = step.context.now;
    step.changed();
}

/// As [`tell_back`], unless traffic is still to be given back.
pub(super) fn went_back(step: &mut Step, service: &mut Service) {
    if backward(service).is_some_and(|shift| shift.phase != Phase::ScaleUp) {
        tell_back(step, service, 0);
    }
}

/// What a hook says to traffic that went back does not change that it did (inferred).
fn advance_back(step: &mut Step, service: &mut Service) {
    let phase = backward(service).map(|shift| shift.phase);
    if phase == Some(Phase::ScaleUp) {
        if is_scaled_up(step, service) {
            if let Some(shift) = service.service_deployments.first_mut().and_then(|of| of.shift.as_mut()) {
                shift.phase = Phase::Bake;
            }
            back(step, service);
            went_back(step, service);
        }
        return;
    }
    let Some(at) = phase.and_then(|phase| BACK.iter().position(|of| *of == phase)) else { return };
    if !matches!(hooks::settle(step, service), Progress::Waiting) {
        tell_back(step, service, at + 1);
    }
}

/// Production traffic of the new revision after each step, in tenths of a percent.
fn steps(current: &ServiceDeployment) -> Vec<u32> {
    let configuration = &current.configuration;
    let tenths = |value: &Value, default: f64| (value.as_f64().unwrap_or(default) * 10.0).round() as u32;
    match configuration["strategy"].as_str() {
        // With nothing to take it from, there is nothing to divide.
        _ if current.sources.is_empty() => vec![ALL],
        Some("CANARY") => {
            let canary = tenths(&configuration["canaryConfiguration"]["canaryPercent"], 5.0);
            if canary < ALL { vec![canary, ALL] } else { vec![ALL] }
        }
        Some("LINEAR") => {
            let step = tenths(&configuration["linearConfiguration"]["stepPercent"], 10.0).clamp(1, ALL);
            (1..=ALL.div_ceil(step)).map(|count| (count * step).min(ALL)).collect()
        }
        _ => vec![ALL],
    }
}

/// Seconds at AWS.
fn lasts(shift: &Shift, current: &ServiceDeployment) -> u64 {
    let configuration = &current.configuration;
    let minutes = |value: &Value, default: u64| value.as_u64().unwrap_or(default) * 60;
    let baked = match (shift.phase, configuration["strategy"].as_str()) {
        (Phase::PreProduction, _) => return 0,
        (Phase::Bake, _) if current.alarms.status == "MONITORING" => current.alarms.bake,
        (Phase::Bake, _) => minutes(&configuration["bakeTimeInMinutes"], 0),
        (Phase::Production, _) if shift.step + 1 >= steps(current).len() => 0,
        (Phase::Production, Some("CANARY")) => {
            minutes(&configuration["canaryConfiguration"]["canaryBakeTimeInMinutes"], 10)
        }
        (Phase::Production, Some("LINEAR")) => {
            minutes(&configuration["linearConfiguration"]["stepBakeTimeInMinutes"], 6)
        }
        _ => 0,
    };
    baked.max(SHOWN)
}

fn is_scaled_up(step: &mut Step, service: &Service) -> bool {
    let members = members(step, service);
    let green = service.primary().map(|green| &green.id);
    let ours = || members.iter().filter(|member| Some(&member.deployment) == green);
    ours().count() as i64 == service.desired_count && ours().all(|member| member.health == Health::Healthy)
}

/// Whether nothing is left of the deployments that were given up.
fn is_reconciled(step: &Step, service: &Service) -> bool {
    let keep = blue(service).map(|blue| &blue.id);
    let mut others = service.deployments.iter().skip(1).filter(|of| Some(&of.id) != keep);
    others.all(|other| remaining(step, service, &other.id) == 0)
}

/// How many tasks each deployment is to have while traffic is shifted; `None` when it is not.
pub(super) fn scale(step: &mut Step, service: &Service) -> Option<Vec<(Deployment, i64)>> {
    let phase = forward(service)?.phase;
    let keep = blue(service).map(|blue| blue.id.clone());
    let members = members(step, service);
    let of = |id: &str| members.iter().filter(|member| member.deployment == id).collect::<Vec<_>>();
    // A rolling update that was interrupted has tasks of both releases serve.
    let healthy = keep.as_ref().map(|id| of(id).iter().filter(|member| member.is_healthy()).count() as i64);
    let short = phase == Phase::Reconcile && healthy.is_some_and(|healthy| healthy < service.desired_count);
    let wanted = service.deployments.iter().enumerate().map(|(at, deployment)| {
        let stays = match at {
            0 => phase >= Phase::ScaleUp,
            _ => phase < Phase::CleanUp && Some(&deployment.id) == keep.as_ref(),
        };
        let count = match stays {
            true => service.desired_count,
            false if short => of(&deployment.id).len() as i64,
            false => 0,
        };
        (deployment.clone(), count)
    });
    Some(wanted.collect())
}

/// Starts and stops what `wanted` says, side by side.
pub(super) fn bring_to(step: &mut Step, service: &mut Service, wanted: &[(Deployment, i64)]) {
    let scaling = format!("Scaling activity initiated by (deployment {})", wanted[0].0.id);
    for (deployment, count) in wanted {
        let members = members(step, service);
        let mut ours: Vec<&Member> = members.iter().filter(|member| member.deployment == deployment.id).collect();
        let beyond = (ours.len() as i64 - count).max(0) as usize;
        ours.sort_by_key(|member| (member.is_healthy(), member.running, -member.created_at));
        stop(step, service, &ours[..beyond], "ServiceSchedulerInitiated", &scaling);
        start(step, service, deployment, count - ours.len() as i64);
        if let Some(of) = service.deployments.iter_mut().find(|of| of.id == deployment.id) {
            let changed = std::mem::replace(&mut of.desired_count, *count) != *count;
            if changed {
                step.changed();
            }
        }
    }
}

/// Whether a deployment may be called complete once its tasks are: not before its last stage.
pub(super) fn may_finish(step: &mut Step, service: &Service) -> bool {
    let Some(shift) = forward(service) else {
        return backward(service).is_none_or(|shift| shift.phase == Phase::CleanUp);
    };
    let seen = shift.since + step.context.wait(SHOWN);
    if shift.phase == Phase::CleanUp && step.context.now < seen {
        step.wake_at(seen);
    }
    shift.phase == Phase::CleanUp && step.context.now >= seen
}
