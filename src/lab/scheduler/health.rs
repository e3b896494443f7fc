//! Whether a task is healthy as its service sees it.

use crate::lab::{
    clock::{Pace, floor},
    ecs::{
        model::{Service, Target, Task, TaskStatus},
        task_view,
    },
    elbv2,
    state::State,
};

use super::Context;

/// Seconds at AWS that a task nobody checks must run before it counts as healthy.
const UNCHECKED: u64 = 40;
/// A process starts no faster because the lab's waits are short: this long (milliseconds) it may
/// leave health checks unanswered at the fast pace.
const START_ALLOWANCE: i64 = 2000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    Healthy,
    /// Not known yet; by itself it may change at this time.
    Waiting(Option<i64>),
    Unhealthy(Cause),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// With what the health check found.
    Target(Target, String),
    Container,
}

pub(super) fn of(state: &State, service: &Service, task: &Task, context: Context) -> Health {
    let Some(started_at) = task.started_at.filter(|_| task.status == TaskStatus::Running) else {
        // a container that others wait for is unhealthy before the task runs
        return match task_view::health(task) {
            "UNHEALTHY" if task.is_wanted() => Health::Unhealthy(Cause::Container),
            _ => Health::Waiting(None),
        };
    };
    let Some(up_since) = task.up_since else { return Health::Waiting(None) };
    let grace = service.settings.get("healthCheckGracePeriodSeconds").and_then(|of| of.as_u64()).unwrap_or(0);
    let grace_ends = started_at + context.wait_at_least(grace, floor::GRACE);
    let mut waiting = false;
    match task_view::health(task) {
        "UNHEALTHY" if context.now < grace_ends => return Health::Waiting(Some(grace_ends)),
        "UNHEALTHY" => return Health::Unhealthy(Cause::Container),
        _ => {}
    }
    for target in &task.targets {
        let health = elbv2::target_health(state, &target.target_group, &target.id, target.port);
        let (found, description) = health.map(|of| (of.state, of.description)).unwrap_or_default();
        match found.as_str() {
            "healthy" => {}
            "unhealthy" => {
                let why = description.unwrap_or_else(|| "Health checks failed".into());
                let silent = context.clock.pace == Pace::Fast && !why.contains("codes");
                let patience = if silent { grace_ends.max(up_since + START_ALLOWANCE) } else { grace_ends };
                if context.now < patience {
                    return Health::Waiting(Some(patience));
                }
                return Health::Unhealthy(Cause::Target(target.clone(), why));
            }
            _ => waiting = true,
        }
    }
    let checked = task.containers.iter().any(|container| container.checked && container.essential);
    if waiting || checked && task_view::health(task) != "HEALTHY" {
        return Health::Waiting(None);
    }
    let ripe = started_at + context.wait(UNCHECKED);
    match !task.targets.is_empty() || checked || context.now >= ripe {
        true => Health::Healthy,
        false => Health::Waiting(Some(ripe)),
    }
}
