//! A service's tasks: those that are wanted, how they are started and stopped.

use serde_json::Value;

use crate::lab::ecs::{
    capacity,
    model::{Deployment, InstanceStatus, Service, ServiceStatus, TaskStatus},
    service_view, task_definitions,
    tasks::halt,
};

use super::{
    Step,
    events::{say, say_trouble, say_unless_told, tasks as named},
    health::{self, Health},
    placement::{self, Misfit, Wanted},
    roles, shortage,
};

/// Seconds at AWS until a role that could not be taken is asked for again (inferred).
const ASK_AGAIN: u64 = 10;

/// One of the service's tasks that is wanted, as it is now.
pub(super) struct Member {
    pub id: String,
    pub deployment: String,
    pub created_at: i64,
    pub running: bool,
    /// Its container instance is being drained: it is to be replaced.
    pub leaving: bool,
    /// It fails its health checks, and a replacement is to come.
    pub sick: bool,
    pub health: Health,
}

impl Member {
    pub(super) fn is_healthy(&self) -> bool {
        self.health == Health::Healthy
    }
}

pub(super) fn members(step: &mut Step, service: &Service) -> Vec<Member> {
    let context = step.context;
    let tasks = step.state.ecs.tasks.of_group(&service.cluster, &service.group()).filter(|task| task.is_wanted());
    let members: Vec<Member> = tasks
        .map(|task| Member {
            id: task.id.clone(),
            deployment: task.started_by.clone().unwrap_or_default(),
            created_at: task.created_at,
            running: task.status == TaskStatus::Running,
            leaving: task
                .instance
                .as_ref()
                .and_then(|id| step.state.ecs.instances.get(id))
                .is_some_and(|instance| instance.status == InstanceStatus::Draining),
            sick: task.unhealthy.is_some(),
            health: health::of(step.state, service, task, context),
        })
        .collect();
    for member in &members {
        if let Health::Waiting(Some(at)) = member.health {
            step.wake_at(at);
        }
    }
    members
}

/// Tasks of the service that may still answer requests, wanted or not.
pub(super) fn remaining(step: &Step, service: &Service, deployment: &str) -> usize {
    let tasks = step.state.ecs.tasks.of_group(&service.cluster, &service.group());
    tasks.filter(|of| of.started_by.as_deref() == Some(deployment) && of.status < TaskStatus::Stopping).count()
}

pub(super) fn unstopped(step: &Step, service: &Service) -> i64 {
    let tasks = step.state.ecs.tasks.of_group(&service.cluster, &service.group());
    tasks.filter(|task| !task.is_stopped()).count() as i64
}

pub(super) fn stop(step: &mut Step, service: &mut Service, members: &[&Member], code: &str, reason: &str) {
    let remains = service.status == ServiceStatus::Active;
    for member in members {
        if let Some(task) = step.state.ecs.tasks.get_mut(&member.id) {
            // whatever it was that decided about a task which had to go anyway
            let own = task.unhealthy.clone().filter(|_| remains);
            halt(task, code, own.as_deref().unwrap_or(reason));
        }
    }
    let running: Vec<String> = members.iter().filter(|of| of.running).map(|of| of.id.clone()).collect();
    let pending = members.len() - running.len();
    if !running.is_empty() {
        say(service, step.context.now, format!("has stopped {} running tasks: {}.", running.len(), named(&running)));
    }
    if pending > 0 {
        say(service, step.context.now, format!("stopped {pending} pending tasks."));
    }
    if !members.is_empty() {
        service.steady = false;
        step.changed();
    }
}

pub(super) fn is_daemon(service: &Service) -> bool {
    service.settings.get("schedulingStrategy").is_some_and(|of| of == "DAEMON")
}

/// Starts so many tasks of a deployment, unless it has to wait after those that failed.
pub(super) fn start(step: &mut Step, service: &mut Service, deployment: &Deployment, missing: i64) {
    if missing <= 0 {
        return;
    }
    let now = step.context.now;
    if now < deployment.not_before {
        return step.wake_at(deployment.not_before);
    }
    let Some(definition) = task_definitions::find(&step.state.ecs, &deployment.task_definition).cloned() else {
        return;
    };
    if let Some(refusal) = roles::refusal(step.state, &definition, None) {
        if say_unless_told(step, service, &format!("failed to launch a task with (error {refusal}).")) {
            step.changed();
        }
        return step.wake_at(now + step.context.wait(ASK_AGAIN));
    }
    let mut settings = service.settings.clone();
    settings.extend(deployment.settings.clone());
    let tags = match service.settings.get("propagateTags").and_then(Value::as_str) {
        Some("SERVICE") => service.tags.clone(),
        Some("TASK_DEFINITION") => definition.tags.clone(),
        _ => Vec::new(),
    };
    let strategy = deployment.settings.get("capacityProviderStrategy").and_then(serde_json::Value::as_array);
    let mut started = Vec::new();
    for _ in 0..missing {
        let provider = strategy.filter(|items| !items.is_empty()).and_then(|items| {
            let tasks = step.state.ecs.tasks.of_group(&service.cluster, &service.group()).collect::<Vec<_>>();
            let ours = tasks
                .iter()
                .copied()
                .filter(|task| task.is_wanted() && task.started_by.as_deref() == Some(&deployment.id));
            capacity::next_provider(items, ours)
        });
        let wanted = Wanted {
            cluster: &service.cluster,
            definition: &definition,
            launch_type: if service_view::on_fargate(&deployment.settings) { "FARGATE" } else { "EC2" },
            provider,
            on: None,
            settings: &settings,
            group: service.group(),
            started_by: Some(deployment.id.clone()),
            overrides: None,
            tags: tags.clone(),
        };
        match placement::place(step.state, step.context.settings, now, wanted) {
            Ok(id) => started.push(id),
            // A daemon has one on each instance where it can be.
            Err(Misfit::Constraint(..)) if is_daemon(service) => break,
            Err(misfit) => {
                step.no_room = true;
                if step.state.faults.trouble_placement() {
                    step.wake_at(now + step.context.wait(shortage::RETRY));
                }
                if say_trouble(step, service, &misfit.sentence()) {
                    step.changed();
                }
                break;
            }
        }
    }
    if started.is_empty() {
        return;
    }
    let replaced = std::mem::take(&mut service.replacing).min(started.len());
    let suffix = match replaced {
        0 => String::new(),
        count => format!(" Amazon ECS replaced {count} tasks due to an unhealthy status."),
    };
    say(service, now, format!("has started {} tasks: {}.{suffix}", started.len(), named(&started)));
    service.steady = false;
    step.changed();
}
