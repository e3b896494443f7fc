//! From a task and its definition to what the runtime starts.

use std::time::Duration;

use serde_json::Value;

use crate::lab::{
    Settings,
    clock::{Clock, Pace, floor},
    ecr,
    ecs::{
        launch_order,
        model::{Container, Task, TaskDefinition},
        task_definitions,
    },
    runtime::{
        Condition, ContainerSpec, Dependency, HealthCheck, MountPoint, RestartPolicy, TaskSpec, Tmpfs, Ulimit, Volume,
        VolumeSource, VolumesFrom,
    },
    state::State,
};

use super::secrets;

/// A container that cannot be started, or with no name the whole task, and ECS's reason.
pub(super) struct Refusal {
    pub container: String,
    pub reason: String,
}

/// Seconds at AWS.
const DEFAULT_STOP_TIMEOUT: u64 = 30;
const DEFAULT_RESTART_ATTEMPT_PERIOD: u64 = 300;
const MIB: u64 = 1024 * 1024;
/// At the fast pace: checks come no more often than this, …
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
/// … and of a container that is healthy at least this often, where AWS's pace is slower.
const SETTLED_INTERVAL: Duration = Duration::from_secs(2);
/// At the fast pace, a start period or startTimeout is not shortened below this …
const LONGEST_START: Duration = Duration::from_secs(10);
/// … and there always is a start period of this.
const START_ALLOWANCE: Duration = Duration::from_secs(1);

/// What the runtime starts for a task, with its images and secrets found.
pub(super) fn spec(state: &State, settings: &Settings, clock: Clock, task_id: &str) -> Result<TaskSpec, Refusal> {
    let refuse = |container: &str, reason: String| Refusal { container: container.into(), reason };
    let gone = || refuse("", "CannotStartContainerError: the task or its definition was deleted".into());
    let task = state.ecs.tasks.get(task_id).ok_or_else(gone)?;
    let definition = task_definitions::find(&state.ecs, &task.task_definition).ok_or_else(gone)?;
    let mut spec = task_spec(task, definition, clock);
    for variable in secrets::fetch(state, settings, task, definition).map_err(|reason| refuse("", reason))? {
        let Some(container) = spec.containers.iter_mut().find(|of| of.name == variable.container) else { continue };
        container.environment.retain(|(name, _)| *name != variable.name);
        container.environment.push((variable.name, variable.value.open().to_owned()));
    }
    for container in &mut spec.containers {
        let name = &container.name;
        let of = task.containers.iter().find(|of| of.name == *name).ok_or_else(gone)?;
        let platform = definition.document.get("runtimePlatform");
        let architecture = platform.and_then(|platform| platform["cpuArchitecture"].as_str());
        let image = ecr::resolve_image(state, settings, &of.image, architecture);
        container.image = image.map_err(|reason| refuse(name, reason))?;
    }
    Ok(spec)
}

/// A task's containers in the order of their dependencies, images still to be found.
pub fn task_spec(task: &Task, definition: &TaskDefinition, clock: Clock) -> TaskSpec {
    let order = launch_order(definition.containers()).unwrap_or_else(|| (0..definition.containers().len()).collect());
    let containers = order.into_iter().filter_map(|at| {
        let container = &definition.containers()[at];
        let of = task.containers.iter().find(|of| container["name"] == of.name)?;
        Some(self::container(task, definition, container, of, clock))
    });
    let volumes = definition.document.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let volume =
        |volume: &Value| Volume { name: text(volume, "name").unwrap_or_default(), source: volume_source(volume) };
    TaskSpec { task_id: task.id.clone(), containers: containers.collect(), volumes: volumes.map(volume).collect() }
}

/// A file system of EFS is a folder of the lab's own, and all tasks that name it see the same one.
fn volume_source(volume: &Value) -> VolumeSource {
    let (docker, efs) = (&volume["dockerVolumeConfiguration"], &volume["efsVolumeConfiguration"]);
    if let Some(path) = text(&volume["host"], "sourcePath") {
        return VolumeSource::Host(path.into());
    }
    if let Some(file_system) = text(efs, "fileSystemId") {
        let folder = text(efs, "rootDirectory").unwrap_or_default();
        return VolumeSource::Shared(format!("{file_system}{}", folder.trim_end_matches('/').replace('/', "-")));
    }
    match docker["scope"].as_str() {
        Some("shared") => VolumeSource::Shared(text(volume, "name").unwrap_or_default()),
        _ => VolumeSource::Task,
    }
}

fn restart_policy(policy: &Value, clock: Clock) -> Option<RestartPolicy> {
    let ignored = policy["ignoredExitCodes"].as_array().into_iter().flatten().filter_map(Value::as_i64);
    let period = policy["restartAttemptPeriod"].as_u64().unwrap_or(DEFAULT_RESTART_ATTEMPT_PERIOD);
    (policy["enabled"] == true).then(|| RestartPolicy {
        ignored_exit_codes: ignored.filter_map(|code| code.try_into().ok()).collect(),
        attempt_period: clock.wait(Duration::from_secs(period)),
    })
}

fn ulimit(of: &Value) -> Ulimit {
    // -1 is none
    let number = |member: &str| of[member].as_i64().and_then(|number| u64::try_from(number).ok());
    Ulimit { name: text(of, "name").unwrap_or_default(), soft: number("softLimit"), hard: number("hardLimit") }
}

fn text(value: &Value, member: &str) -> Option<String> {
    value[member].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn container(
    task: &Task,
    definition: &TaskDefinition,
    container: &Value,
    of: &Container,
    clock: Clock,
) -> ContainerSpec {
    let overrides = task.overrides["containerOverrides"].as_array().into_iter().flatten();
    let overrides = overrides.clone().find(|override_| override_["name"] == of.name).unwrap_or(&Value::Null);
    let hostname = text(container, "hostname").unwrap_or_else(|| task.id[..12].to_owned());
    let fargate = task.launch_type == "FARGATE";
    let mut environment = vec![
        ("HOSTNAME".to_owned(), hostname.clone()),
        ("AWS_EXECUTION_ENV".into(), if fargate { "AWS_ECS_FARGATE" } else { "AWS_ECS_EC2" }.into()),
    ];
    for pair in [container, overrides].into_iter().flat_map(|of| of["environment"].as_array().into_iter().flatten()) {
        let Some(name) = text(pair, "name") else { continue };
        environment.retain(|(known, _)| *known != name);
        environment.push((name, pair["value"].as_str().unwrap_or_default().to_owned()));
    }
    let command = if overrides["command"].is_array() { &overrides["command"] } else { &container["command"] };
    let memory = overrides["memory"].as_u64().or(container["memory"].as_u64());
    let of_task = definition.document.get("memory").and_then(|_| u64::try_from(task.memory).ok());
    let mounts = container["mountPoints"].as_array().into_iter().flatten().map(|mount| MountPoint {
        source_volume: text(mount, "sourceVolume").unwrap_or_default(),
        container_path: text(mount, "containerPath").unwrap_or_default(),
        read_only: mount["readOnly"] == true,
    });
    let volumes_from = container["volumesFrom"].as_array().into_iter().flatten().map(|from| VolumesFrom {
        container: text(from, "sourceContainer").unwrap_or_default(),
        read_only: from["readOnly"] == true,
    });
    ContainerSpec {
        name: of.name.clone(),
        command: texts(command),
        entry_point: texts(&container["entryPoint"]),
        environment,
        working_directory: text(container, "workingDirectory"),
        user: text(container, "user"),
        ports: of.bindings.iter().map(|binding| binding.container_port).collect(),
        memory_bytes: memory.or(of_task).filter(|mib| *mib > 0).map(|mib| mib.saturating_mul(MIB)),
        readonly_root_filesystem: container["readonlyRootFilesystem"] == true,
        hostname: Some(hostname),
        mount_points: mounts.collect(),
        volumes_from: volumes_from.collect(),
        tmpfs: container["linuxParameters"]["tmpfs"].as_array().into_iter().flatten().map(tmpfs).collect(),
        ulimits: container["ulimits"].as_array().into_iter().flatten().map(ulimit).collect(),
        health_check: health_check(&container["healthCheck"], clock),
        depends_on: container["dependsOn"].as_array().into_iter().flatten().filter_map(dependency).collect(),
        start_timeout: container["startTimeout"].as_u64().map(|seconds| patience(seconds, clock)),
        stop_timeout: Some(stop_timeout(container, clock)),
        restart: restart_policy(&container["restartPolicy"], clock),
        ..ContainerSpec::default()
    }
}

fn tmpfs(of: &Value) -> Tmpfs {
    Tmpfs {
        container_path: text(of, "containerPath").unwrap_or_default(),
        size_mib: of["size"].as_u64().unwrap_or_default(),
        options: texts(&of["mountOptions"]),
    }
}

fn dependency(on: &Value) -> Option<Dependency> {
    let condition = match on["condition"].as_str()? {
        "START" => Condition::Start,
        "COMPLETE" => Condition::Complete,
        "SUCCESS" => Condition::Success,
        "HEALTHY" => Condition::Healthy,
        _ => return None,
    };
    Some(Dependency { container: text(on, "containerName")?, condition })
}

/// What a check runs: `["CMD-SHELL", "…"]` or `["CMD", "…", …]`. Docker takes any other list, and never runs it.
pub fn health_check_command(check: &Value) -> Option<Vec<String>> {
    let command = texts(&check["command"]);
    match command.split_first()? {
        (kind, [shell, ..]) if kind == "CMD-SHELL" => Some(vec!["/bin/sh".to_owned(), "-c".into(), shell.clone()]),
        (kind, rest @ [_, ..]) if kind == "CMD" => Some(rest.to_vec()),
        _ => None,
    }
}

fn health_check(check: &Value, clock: Clock) -> Option<HealthCheck> {
    let command = health_check_command(check)?;
    let seconds = |member: &str, default: u64| Duration::from_secs(check[member].as_u64().unwrap_or(default));
    let (interval, timeout, start_period) = (seconds("interval", 30), seconds("timeout", 5), seconds("startPeriod", 0));
    Some(HealthCheck {
        command,
        interval: clock.wait_at_least(interval, LEAST_INTERVAL),
        settled_interval: if clock.pace == Pace::Fast { interval.min(SETTLED_INTERVAL) } else { interval },
        timeout,
        retries: check["retries"].as_u64().and_then(|retries| retries.try_into().ok()).unwrap_or(3),
        start_period: patience(start_period.as_secs(), clock).max(match clock.pace {
            Pace::Fast => START_ALLOWANCE,
            Pace::Aws => Duration::ZERO,
        }),
    })
}

/// How long a container has after its stop signal.
pub(super) fn stop_timeout(container: &Value, clock: Clock) -> Duration {
    let at_aws = Duration::from_secs(container["stopTimeout"].as_u64().unwrap_or(DEFAULT_STOP_TIMEOUT));
    clock.wait_at_least(at_aws, floor::STOP)
}

/// How long a process may take to start: it does so no faster because the lab's waits are short.
fn patience(seconds_at_aws: u64, clock: Clock) -> Duration {
    let at_aws = Duration::from_secs(seconds_at_aws);
    clock.wait_at_least(at_aws, LONGEST_START)
}
