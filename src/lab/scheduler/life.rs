//! The life of a task, state by state.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{
    clock::{Pace, floor},
    discovery,
    ecs::{
        arn,
        model::{Run, Service, Target, Task, TaskStatus},
        task_definitions,
    },
    elbv2,
};

use super::{
    Effect, Step,
    defects::{self, Subject},
    events::What,
    launch,
};

/// Seconds at AWS.
const PROVISIONING: u64 = 2;
const ACTIVATING: u64 = 1;
const DEPROVISIONING: u64 = 2;
/// What Spot capacity that is taken back leaves a task.
const NOTICE: Duration = Duration::from_secs(120);
/// Stopped tasks beyond these are forgotten, oldest first, and all of them an hour after they stopped.
const MOST_STOPPED: usize = 1000;
const KEPT_STOPPED: i64 = 3_600_000;

/// Brings a task as far as it comes now; its service is to look at what came of that.
pub(super) fn advance(step: &mut Step, id: &str) {
    let (subject, now) = (Subject::Task(id.to_owned()), step.context.now);
    if let Some(until) = step.state.ecs.agenda.defects.rests_until(&subject, now) {
        return step.state.ecs.agenda.plan_task(id, Some(until));
    }
    let Some(mut task) = step.state.ecs.tasks.lend(id) else { return };
    (step.again, step.altered) = (None, false);
    let done = defects::survive(|| {
        while let Some(status) = next(step, &mut task) {
            enter(step, &mut task, status);
        }
    });
    if let Some(name) = task.group.strip_prefix("service:") {
        step.state.ecs.services.touch(&task.cluster, name);
    }
    step.state.ecs.tasks.put_back(task, step.altered || done.is_err());
    let defects = &mut step.state.ecs.agenda.defects;
    if let Err(why) = done {
        step.again = Some(defects.failed(subject, now, &why));
    } else {
        defects.passed(&subject);
    }
    step.state.ecs.agenda.plan_task(id, step.again);
}

pub(super) fn forget(step: &mut Step) {
    let tasks = &mut step.state.ecs.tasks;
    while let Some((stopped_at, id)) = tasks.stopped().first()
        && (tasks.stopped().len() > MOST_STOPPED || stopped_at + KEPT_STOPPED < step.context.now)
    {
        let id = id.clone();
        tasks.remove(&id);
    }
}

fn enter(step: &mut Step, task: &mut Task, status: TaskStatus) {
    task.status = status;
    task.since = step.context.now;
    task.version += 1;
    step.changed();
}

/// The state that the task goes to now, if it does.
fn next(step: &mut Step, task: &mut Task) -> Option<TaskStatus> {
    let now = step.context.now;
    match (task.stop, task.status) {
        (false, TaskStatus::Provisioning) => after(step, task, PROVISIONING).then_some(TaskStatus::Pending),
        (false, TaskStatus::Pending) => match task.run {
            Run::No => {
                task.pull_started_at = Some(now);
                start(step, task);
                None
            }
            Run::Up => {
                task.pull_stopped_at = Some(now);
                task.up_since = Some(now);
                register(step, task);
                Some(TaskStatus::Activating)
            }
            _ => None,
        },
        (false, TaskStatus::Activating) => after(step, task, ACTIVATING).then(|| {
            task.started_at = Some(now);
            TaskStatus::Running
        }),
        (false, TaskStatus::Running) => {
            // After the lab's restart: the runtime has forgotten it.
            match task.run {
                Run::No => start(step, task),
                Run::Up => task.up_since = task.up_since.or(Some(now)),
                _ => {}
            }
            None
        }
        (true, TaskStatus::Provisioning) => {
            task.stopping_at = Some(now);
            Some(TaskStatus::Deprovisioning)
        }
        (true, TaskStatus::Pending | TaskStatus::Activating | TaskStatus::Running) => match task.run {
            // what waits for another container's health may do so for long
            Run::Starting if task.containers.iter().any(|container| container.began) => {
                stop(step, task);
                None
            }
            Run::Starting | Run::Stopping => None,
            Run::No | Run::Down if task.status == TaskStatus::Pending => {
                task.stopping_at = Some(now);
                task.execution_stopped_at = Some(now);
                Some(TaskStatus::Deprovisioning)
            }
            _ => {
                task.stopping_at = Some(now);
                deregister(step, task);
                Some(TaskStatus::Deactivating)
            }
        },
        (_, TaskStatus::Deactivating) => {
            let over = task.run == Run::Down || task.containers.iter().all(|container| container.exited);
            let gone =
                |target: &Target| elbv2::target_is_gone(step.state, &target.target_group, &target.id, target.port);
            // a Spot task has its stop signal at once, whatever its targets still do
            if over || task.is_interrupted() || task.targets.iter().all(gone) {
                task.drained_at = Some(now);
                return Some(TaskStatus::Stopping);
            }
            let tick = if step.context.clock.pace == Pace::Fast { 20 } else { 250 };
            step.wake_at(now + tick);
            None
        }
        (_, TaskStatus::Stopping) => match task.run {
            Run::Up | Run::No => {
                stop(step, task);
                None
            }
            Run::Down => {
                task.execution_stopped_at = Some(now);
                Some(TaskStatus::Deprovisioning)
            }
            Run::Starting | Run::Stopping => None,
        },
        (_, TaskStatus::Deprovisioning) => after(step, task, DEPROVISIONING).then(|| {
            task.stopped_at = Some(now);
            TaskStatus::Stopped
        }),
        (_, TaskStatus::Stopped) => None,
    }
}

fn after(step: &mut Step, task: &Task, seconds: u64) -> bool {
    let due = task.since + step.context.wait(seconds);
    if step.context.now < due {
        step.wake_at(due);
    }
    step.context.now >= due
}

fn start(step: &mut Step, task: &mut Task) {
    task.run = Run::Starting;
    for container in &mut task.containers {
        (container.began, container.exited, container.exit_code) = (false, false, None);
        (container.healthy, container.reason) = (None, None);
    }
    step.outcome.effects.push(Effect::Start { task_id: task.id.clone() });
    step.changed();
}

fn stop(step: &mut Step, task: &mut Task) {
    task.run = Run::Stopping;
    let timeout = stop_timeout(step, task);
    step.outcome.effects.push(Effect::Stop { task_id: task.id.clone(), timeout });
    step.changed();
}

fn stop_timeout(step: &Step, task: &Task) -> Duration {
    let definition = task_definitions::find(&step.state.ecs, &task.task_definition);
    let containers = definition.map(|of| of.containers()).unwrap_or_default().iter();
    let clock = step.context.clock;
    let timeout = containers.map(|of| launch::stop_timeout(of, clock)).max();
    let timeout = timeout.unwrap_or_else(|| launch::stop_timeout(&Value::Null, clock));
    if task.is_interrupted() { timeout.min(clock.wait_at_least(NOTICE, floor::STOP)) } else { timeout }
}

fn service<'s>(step: &'s Step, task: &Task) -> Option<&'s Service> {
    let name = task.group.strip_prefix("service:")?;
    step.state.ecs.services.find(&task.cluster, name)
}

fn note(step: &mut Step, task: &Task, what: What) {
    let Some(name) = task.group.strip_prefix("service:") else { return };
    step.notes.entry((task.cluster.clone(), name.to_owned())).or_default().push(what);
}

/// Makes the task a target of its deployment's load balancers, and an instance of its registries.
fn register(step: &mut Step, task: &mut Task) {
    let deployment = service(step, task)
        .and_then(|service| service.deployments.iter().find(|of| Some(&of.id) == task.started_by.as_ref()));
    let Some((settings, mut groups)) = deployment.map(|of| (of.settings.clone(), of.target_groups.clone().into_iter()))
    else {
        return;
    };
    let items = |member: &str| settings.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
    let id = match (&task.interface, &task.instance) {
        (Some(interface), _) => interface.address.clone(),
        (None, Some(instance)) => step.state.ecs.instances[instance].ec2_instance_id.clone(),
        (None, None) => return,
    };
    for balancer in items("loadBalancers") {
        let chosen = balancer["advancedConfiguration"].is_object().then(|| groups.next()).flatten();
        let group = chosen.as_deref().or(balancer["targetGroupArn"].as_str()).unwrap_or_default();
        let Some(port) = host_port(task, &balancer) else { continue };
        if elbv2::register_target(step.state, group, &id, port, step.context.now) {
            task.targets.push(Target { target_group: group.into(), id: id.clone(), port });
            note(step, task, What::Registered(group.into()));
        }
    }
    let host = step.state.ec2.instances.iter().find(|instance| instance.id == id);
    let address = host.map_or_else(|| id.clone(), |instance| instance.private_ip.to_string());
    for registry in items("serviceRegistries") {
        let Some(arn) = registry["registryArn"].as_str() else { continue };
        let mut attributes = BTreeMap::from([
            ("AWS_INIT_HEALTH_STATUS".to_owned(), "HEALTHY".to_owned()),
            ("ECS_CLUSTER_NAME".into(), task.cluster.clone()),
            ("ECS_SERVICE_NAME".into(), task.group.trim_start_matches("service:").into()),
            ("ECS_TASK_DEFINITION_FAMILY".into(), family(task).into()),
            ("AWS_INSTANCE_IPV4".into(), address.clone()),
        ]);
        if let Some(port) = host_port(task, &registry).or(registry["port"].as_u64().map(|port| port as u16)) {
            attributes.insert("AWS_INSTANCE_PORT".into(), port.to_string());
        }
        discovery::register_instance(step.state, arn, &task.id, attributes);
        task.registries.push(arn.into());
    }
}

pub(super) fn family(task: &Task) -> &str {
    arn::short(&task.task_definition).split(':').next().unwrap_or_default()
}

/// The port by which the container of a load balancer or registry is reached from outside of the task.
fn host_port(task: &Task, of: &Value) -> Option<u16> {
    let port = u16::try_from(of["containerPort"].as_u64()?).ok()?;
    let container = task.containers.iter().find(|container| of["containerName"] == container.name)?;
    match task.interface {
        Some(_) => Some(port),
        None => container.bindings.iter().find(|binding| binding.container_port == port).map(|of| of.host_port),
    }
}

fn deregister(step: &mut Step, task: &mut Task) {
    for target in &task.targets {
        elbv2::deregister_target(step.state, &target.target_group, &target.id, target.port, step.context.now);
        note(step, task, What::Deregistered(target.target_group.clone()));
    }
    if !task.targets.is_empty() {
        note(step, task, What::Draining);
    }
    for registry in std::mem::take(&mut task.registries) {
        discovery::deregister_instance(step.state, &registry, &task.id);
    }
}
