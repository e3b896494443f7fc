//! What the runtime reports, written into the state.

use super::hooks;
use crate::lab::{
    ecs::{
        model::{Run, Task},
        tasks::halt,
    },
    state::State,
};

/// What ECS's agent shows for a container whose dependency cannot be met any more.
const NOT_STARTED: i64 = 143;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// All containers run, each from the image with this digest.
    Started {
        task_id: String,
        digests: Vec<(String, String)>,
    },
    /// None runs; the reason begins with its kind, such as `CannotPullContainerError: `. No container is named when it
    /// is the task's.
    NotStarted {
        task_id: String,
        container: String,
        reason: String,
    },
    /// One container runs; others of its task may still wait for it.
    Began {
        task_id: String,
        container: String,
    },
    /// A container runs again, by its restart policy.
    Restarted {
        task_id: String,
        container: String,
    },
    /// A container is not started, as what it depends on did not come.
    Skipped {
        task_id: String,
        container: String,
        reason: String,
    },
    Exited {
        task_id: String,
        container: String,
        exit_code: i64,
        oom_killed: bool,
    },
    Health {
        task_id: String,
        container: String,
        healthy: bool,
    },
    /// Nothing is left of it.
    Stopped {
        task_id: String,
    },
    /// What a lifecycle hook's function said, or why it said nothing.
    Answered {
        deployment: String,
        hook: String,
        answer: Result<String, String>,
    },
}

impl Observation {
    fn task_id(&self) -> Option<&str> {
        match self {
            Observation::Started { task_id, .. }
            | Observation::NotStarted { task_id, .. }
            | Observation::Began { task_id, .. }
            | Observation::Restarted { task_id, .. }
            | Observation::Skipped { task_id, .. }
            | Observation::Exited { task_id, .. }
            | Observation::Health { task_id, .. }
            | Observation::Stopped { task_id } => Some(task_id),
            Observation::Answered { .. } => None,
        }
    }
}

/// Takes an observation in; the next step draws the conclusions.
pub fn observe(state: &mut State, observation: Observation) {
    if let Observation::Answered { deployment, hook, answer } = observation {
        return hooks::answered(state, &deployment, &hook, answer);
    }
    let task = observation.task_id().and_then(|id| state.ecs.tasks.get_mut(id));
    let Some(task) = task else { return };
    task.version += 1;
    match observation {
        Observation::Started { digests, .. } => {
            // it may be stopping already
            if task.run == Run::Starting {
                task.run = Run::Up;
            }
            for (name, digest) in digests {
                if let Some(container) = task.containers.iter_mut().find(|container| container.name == name) {
                    container.image_digest = Some(digest);
                }
            }
        }
        Observation::NotStarted { container, reason, .. } => not_started(task, &container, &reason),
        Observation::Began { container, .. } => {
            if let Some(container) = task.containers.iter_mut().find(|of| of.name == container) {
                container.began = true;
            }
        }
        Observation::Restarted { container, .. } => {
            if let Some(container) = task.containers.iter_mut().find(|of| of.name == container) {
                container.healthy = None;
            }
        }
        Observation::Skipped { container, reason, .. } => {
            let Some(container) = task.containers.iter_mut().find(|of| of.name == container) else { return };
            container.exited = true;
            container.exit_code = Some(NOT_STARTED);
            container.reason = Some(reason);
            if container.essential {
                halt(task, "EssentialContainerExited", "Essential container in task exited");
            }
        }
        Observation::Exited { container, exit_code, oom_killed, .. } => {
            let Some(container) = task.containers.iter_mut().find(|of| of.name == container) else { return };
            container.exited = true;
            container.exit_code = Some(exit_code);
            if oom_killed {
                container.reason = Some("OutOfMemoryError: Container killed due to memory usage".into());
            }
            if container.essential {
                halt(task, "EssentialContainerExited", "Essential container in task exited");
            }
        }
        Observation::Health { container, healthy, .. } => {
            if let Some(container) = task.containers.iter_mut().find(|of| of.name == container) {
                container.healthy = Some(healthy);
            }
        }
        Observation::Stopped { .. } => {
            task.run = Run::Down;
            for container in &mut task.containers {
                container.exited = true;
            }
        }
        Observation::Answered { .. } => {}
    }
}

fn not_started(task: &mut Task, container: &str, reason: &str) {
    task.run = Run::Down;
    for of in &mut task.containers {
        of.exited = true;
        if of.name == container {
            of.reason = Some(reason.to_owned());
        }
    }
    // On EC2 the container has the reason, on Fargate the task, too; a task's resources have no container.
    let tell = task.launch_type == "FARGATE" || container.is_empty();
    halt(task, "TaskFailedToStart", if tell { reason } else { "Task failed to start" });
}
