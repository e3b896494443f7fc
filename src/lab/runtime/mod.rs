//! The container runtime: a task's containers as real processes, from images in the lab's blob folder.
//!
//! Each task gets a helper process (this executable again, see [`helper`]), which is the parent of its containers
//! and ends with the lab. How far containers are kept apart depends on what this machine permits, which is found
//! out by doing it ([`Runtime::probe`]); at every [`Level`] two tasks can listen on the same container port. One level
//! runs nothing and has to be asked for by name: [`Level::Simulated`].

#[cfg(target_os = "linux")]
mod config;
mod docker;
#[cfg(target_os = "linux")]
mod health;
#[cfg(target_os = "linux")]
pub mod helper;
#[cfg(target_os = "linux")]
mod images;
#[cfg(target_os = "linux")]
mod inroot;
#[cfg(target_os = "linux")]
mod launch;
mod lines;
#[cfg(target_os = "linux")]
mod link;
mod order;
#[cfg(target_os = "linux")]
mod output;
#[cfg(target_os = "linux")]
mod probe;
mod simulated;
mod spec;
mod stopping;
#[cfg(target_os = "linux")]
mod task;
#[cfg(target_os = "linux")]
mod tasks;
#[cfg(target_os = "linux")]
pub mod unpack;
#[cfg(target_os = "linux")]
mod volumes;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, Receiver, UnboundedReceiver};

use crate::error::{Error, Result};
pub use docker::{Address as DockerAddress, addresses as docker_addresses};
pub use spec::{
    Condition, ContainerSpec, Dependency, HealthCheck, ImageSource, LayerBlob, Level, Line, MountPoint, Output,
    RestartPolicy, RuntimeEvent, StartError, TaskSpec, Tmpfs, Ulimit, Volume, VolumeSource, VolumesFrom,
};

/// What trying a level on this machine came to.
#[derive(Debug, Clone)]
pub struct Probe {
    pub level: Level,
    /// What there is of it, else the step that was refused.
    pub outcome: Result<Permitted, String>,
}

/// What a level has on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permitted {
    /// Overlays over the shared image, or copies of it.
    pub roots: Roots,
    /// Whether a container that takes too much memory is killed.
    pub memory_limits: bool,
}

/// How a container gets a root that it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roots {
    Overlay,
    Copy,
}

/// Runs tasks. Dropping it ends them; [`Runtime::shutdown`] ends them in order and clears their directories away.
pub struct Runtime {
    #[cfg(target_os = "linux")]
    tasks: Option<tasks::Tasks>,
    simulated: Option<simulated::Simulated>,
    docker: Option<docker::Docker>,
    level: Option<Level>,
    memory_limits: bool,
    read_only_roots: bool,
    events: Mutex<Option<UnboundedReceiver<RuntimeEvent>>>,
    output: Mutex<Option<Receiver<Output>>>,
}

impl Runtime {
    /// A runtime that keeps images and roots in `data`, which no other runtime uses at the same time, and clears
    /// away what an earlier one left there. `level` forces a level, otherwise the first one that works is taken.
    /// `helper` is the executable whose `main` calls [`helper::main_if_helper`]; empty for this one.
    ///
    /// # Errors
    /// [`crate::error::Kind::Preflight`] when this machine permits no level, or not the one that is asked for.
    #[cfg(target_os = "linux")]
    pub fn new(data: PathBuf, level: Option<Level>, helper: PathBuf) -> Result<Runtime> {
        if level == Some(Level::Simulated) {
            return Ok(Runtime::simulated());
        }
        let base = tasks::prepare(&data.join("runtime")).map_err(|error| {
            Error::preflight(format!("the lab's folder {} cannot be used", data.display())).cause(error)
        })?;
        let helper = probe::executable(helper);
        let mut refused = Vec::new();
        for candidate in level.map_or(Level::ALL.to_vec(), |level| vec![level]) {
            match probe::level(candidate, &base, &helper) {
                Ok(permitted) => {
                    let (reports, told, written) = reports();
                    return Ok(Runtime {
                        tasks: Some(tasks::Tasks::new(base, candidate, permitted.roots, helper, reports)),
                        docker: None,
                        simulated: None,
                        level: Some(candidate),
                        memory_limits: permitted.memory_limits,
                        read_only_roots: candidate.has_network() || helper::landlock::version().is_some(),
                        events: Mutex::new(Some(told)),
                        output: Mutex::new(Some(written)),
                    });
                }
                Err(reason) => refused.push(format!("{candidate}: {reason}")),
            }
        }
        let message = match level {
            Some(level) => format!("this machine does not permit the container runtime's level {level}"),
            None => "this machine permits none of the container runtime's levels".to_owned(),
        };
        let error = refused.into_iter().fold(Error::preflight(message), Error::hint);
        Err(error.hint("`--runtime docker` runs containers with Docker, `--runtime simulated` runs none"))
    }

    #[cfg(not(target_os = "linux"))]
    pub fn new(_data: PathBuf, level: Option<Level>, _helper: PathBuf) -> Result<Runtime> {
        if level == Some(Level::Simulated) {
            return Ok(Runtime::simulated());
        }
        Err(Error::preflight("the lab's own container runtime needs Linux")
            .hint("`--runtime docker` runs containers with Docker, `--runtime simulated` runs none"))
    }

    /// Runs tasks in the first Docker engine of these that answers. Clears away what an earlier lab of the same `data`
    /// left there.
    ///
    /// # Errors
    /// [`crate::error::Kind::Preflight`] when none runs a container.
    pub fn docker(data: &Path, addresses: Vec<DockerAddress>) -> Result<Runtime> {
        let (reports, told, written) = reports();
        let docker = docker::Docker::open(data, addresses, reports).map_err(|refused| {
            let error = Error::preflight("no Docker engine runs containers for the lab");
            let error = refused.into_iter().fold(error, Error::hint);
            error.hint("DOCKER_HOST says where one is; without it the usual sockets are tried")
        })?;
        Ok(Runtime {
            simulated: None,
            #[cfg(target_os = "linux")]
            tasks: None,
            docker: Some(docker),
            level: Some(Level::Docker),
            memory_limits: true,
            read_only_roots: true,
            events: Mutex::new(Some(told)),
            output: Mutex::new(Some(written)),
        })
    }

    /// Runs nothing: every start is refused. For labs in which no container is to run.
    pub fn disabled() -> Runtime {
        Runtime {
            #[cfg(target_os = "linux")]
            tasks: None,
            simulated: None,
            docker: None,
            level: None,
            memory_limits: true,
            read_only_roots: true,
            events: Mutex::new(Some(mpsc::unbounded_channel().1)),
            output: Mutex::new(Some(mpsc::channel(1).1)),
        }
    }

    /// Has containers go through their states without a process.
    pub fn simulated() -> Runtime {
        let (events, told) = mpsc::unbounded_channel();
        Runtime {
            #[cfg(target_os = "linux")]
            tasks: None,
            docker: None,
            simulated: Some(simulated::Simulated::new(events)),
            level: Some(Level::Simulated),
            memory_limits: true,
            read_only_roots: true,
            events: Mutex::new(Some(told)),
            output: Mutex::new(Some(mpsc::channel(1).1)),
        }
    }

    /// Tries all levels, by running a small server at each in a temporary folder inside `data`.
    #[cfg(target_os = "linux")]
    pub fn probe(data: &Path, helper: &Path) -> Vec<Probe> {
        let helper = probe::executable(helper.to_owned());
        Level::ALL.into_iter().map(|level| Probe { level, outcome: probe::level(level, data, &helper) }).collect()
    }

    #[cfg(not(target_os = "linux"))]
    pub fn probe(_data: &Path, _helper: &Path) -> Vec<Probe> {
        let refused = |level| Probe { level, outcome: Err("it needs Linux".to_owned()) };
        Level::ALL.into_iter().map(refused).collect()
    }

    /// `None` when [`Runtime::disabled`].
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// What a person should know about how containers run here.
    pub fn warning(&self) -> Option<String> {
        let isolation = match self.level? {
            Level::Namespaces | Level::UserNamespaces | Level::Docker => None,
            Level::Chroot => Some(
                "this machine permits no new namespaces: containers run in a chroot and see this machine's \
                 processes and network, and neither these nor its files are safe from a container that runs as root",
            ),
            Level::Process => Some(
                "containers run as plain processes WITHOUT ANY ISOLATION: this machine permits neither namespaces \
                 nor chroot; only statically linked programs work",
            ),
            Level::Simulated => Some(
                "containers are simulated: no process runs, so that load balancers have nothing to ask and answer 503 \
                 at every URL",
            ),
        };
        let memory = "memory limits are not enforced: no memory cgroup can be written here, and no container is killed \
                      for what it takes";
        let roots = "read-only root file systems are not enforced: this kernel has no Landlock";
        let said = [isolation, (!self.memory_limits).then_some(memory), (!self.read_only_roots).then_some(roots)];
        let said: Vec<&str> = said.into_iter().flatten().collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// What happens to containers. Can be taken once.
    pub fn take_events(&self) -> Option<UnboundedReceiver<RuntimeEvent>> {
        self.events.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    /// What containers write. Can be taken once; while nobody takes what comes, containers that write wait, and so does
    /// the news of their ends.
    pub fn take_output(&self) -> Option<Receiver<Output>> {
        self.output.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    /// Returns when all containers run their programs, or are [`RuntimeEvent::Skipped`].
    pub async fn start(&self, task: TaskSpec) -> Result<(), StartError> {
        #[cfg(target_os = "linux")]
        if let Some(tasks) = &self.tasks {
            return tasks.start(task).await;
        }
        if let Some(simulated) = &self.simulated {
            return simulated.start(task).await;
        }
        if let Some(docker) = &self.docker {
            return docker.start(task).await;
        }
        let container = task.containers.first().map_or("", |container| container.name.as_str());
        Err(StartError::cannot_start(container, "this lab runs no containers"))
    }

    /// Sends every container its stop signal, and SIGKILL after `timeout`. Returns when nothing of the task is left;
    /// at once for tasks that do not run.
    pub async fn stop(&self, task_id: &str, timeout: Duration) {
        #[cfg(target_os = "linux")]
        if let Some(tasks) = &self.tasks {
            tasks.stop(task_id, timeout).await;
        }
        if let Some(simulated) = &self.simulated {
            simulated.stop(task_id);
        }
        if let Some(docker) = &self.docker {
            docker.stop(task_id, timeout).await;
        }
    }

    /// A connection to what a task's container listens on at container port `port`.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when the task does not run, else as `connect(2)`.
    pub async fn connect(&self, task_id: &str, port: u16) -> io::Result<TcpStream> {
        #[cfg(target_os = "linux")]
        if let Some(tasks) = &self.tasks {
            return tasks.connect(task_id, port).await;
        }
        if let Some(docker) = &self.docker {
            return docker.connect(task_id, port).await;
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("task {task_id} does not run on port {port}")))
    }

    /// Whether a simulated task would pass health checks; `None` when it does not run, or is none.
    pub fn answers(&self, task_id: &str) -> Option<bool> {
        self.simulated.as_ref()?.answers(task_id)
    }

    pub fn is_simulated(&self) -> bool {
        self.simulated.is_some()
    }

    /// Stops all tasks, as [`Runtime::stop`] does.
    pub async fn shutdown(&self, timeout: Duration) {
        #[cfg(target_os = "linux")]
        if let Some(tasks) = &self.tasks {
            tasks.shutdown(timeout).await;
        }
        if let Some(simulated) = &self.simulated {
            simulated.shutdown();
        }
        if let Some(docker) = &self.docker {
            docker.shutdown(timeout).await;
        }
    }
}

/// Where a runtime says what happens, and what comes out there.
fn reports() -> (lines::Reports, UnboundedReceiver<RuntimeEvent>, Receiver<Output>) {
    let (events, told) = mpsc::unbounded_channel();
    let (output, written) = mpsc::channel(lines::WAITING_LINES);
    (lines::Reports { events, output }, told, written)
}

/// Stands in where there are no helpers.
#[cfg(not(target_os = "linux"))]
pub mod helper {
    pub fn main_if_helper() {}
}
