//! A task as the scheduler hands it to the runtime, and what comes back.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// How much of a container this machine permits, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Namespaces made as root, with a memory limit where the cgroup tree is writable.
    Namespaces,
    /// Namespaces inside a user namespace of our own: needs no privilege.
    UserNamespaces,
    /// chroot, and a supervisor that moves what is bound to free loopback ports. Needs root, but no new namespace.
    Chroot,
    /// A plain process whose working directory is the unpacked root, with the same supervisor. No isolation.
    Process,
    /// Containers of a Docker engine. Only by name on Linux, never taken in place of another one.
    Docker,
    /// No container runs at all: its states are gone through. Only by name, never taken in place of another one.
    Simulated,
}

impl Level {
    /// Those that need nothing but this machine, in the order in which they are tried.
    pub const ALL: [Level; 4] = [Level::Namespaces, Level::UserNamespaces, Level::Chroot, Level::Process];

    pub const fn name(self) -> &'static str {
        match self {
            Level::Namespaces => "namespaces",
            Level::UserNamespaces => "user-namespaces",
            Level::Chroot => "chroot",
            Level::Process => "process",
            Level::Simulated => "simulated",
            Level::Docker => "docker",
        }
    }

    /// Whether each task has a network of its own, in which it binds the very ports it asks for.
    pub const fn has_network(self) -> bool {
        matches!(self, Level::Namespaces | Level::UserNamespaces)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut levels = Level::ALL.into_iter().chain([Level::Docker, Level::Simulated]);
        levels.find(|level| level.name() == name).ok_or_else(|| {
            let names = Level::ALL.map(Level::name).join(", ");
            format!("{name:?} is no runtime level: {names}, {}, {}", Level::Docker, Level::Simulated)
        })
    }
}

/// One task. Its containers share a network, as with the network mode awsvpc.
#[derive(Clone, Default)]
pub struct TaskSpec {
    pub task_id: String,
    /// Started in this order, as far as their dependencies allow it.
    pub containers: Vec<ContainerSpec>,
    pub volumes: Vec<Volume>,
}

impl TaskSpec {
    /// Whether its id can be the name of a folder, and of what an engine makes for it.
    pub fn has_an_id(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=128).contains(&self.task_id.len()) && self.task_id.bytes().all(plain)
    }
}

/// A container definition with its image resolved. Empty lists and `None` mean "as the image says".
#[derive(Clone, Default)]
pub struct ContainerSpec {
    pub name: String,
    pub image: ImageSource,
    pub command: Vec<String>,
    pub entry_point: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub working_directory: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`; names are looked up in the image.
    pub user: Option<String>,
    /// Container ports. Informative: a container may listen on others, too.
    pub ports: Vec<u16>,
    /// Hard limit, in bytes.
    pub memory_bytes: Option<u64>,
    pub readonly_root_filesystem: bool,
    /// As Docker spells them: `SIGTERM`, `TERM` or `15`.
    pub stop_signal: Option<String>,
    /// The task's id when not given.
    pub hostname: Option<String>,
    pub mount_points: Vec<MountPoint>,
    /// Other containers of the task, whose volumes this one gets at the same places.
    pub volumes_from: Vec<VolumesFrom>,
    pub tmpfs: Vec<Tmpfs>,
    pub ulimits: Vec<Ulimit>,
    pub health_check: Option<HealthCheck>,
    pub depends_on: Vec<Dependency>,
    /// How long others wait for what they need of this container, from its start. `None`: for ever.
    pub start_timeout: Option<Duration>,
    /// How long it has after its stop signal, if that is less than its task has.
    pub stop_timeout: Option<Duration>,
    pub restart: Option<RestartPolicy>,
}

/// A container that ends is started again, in the root that it left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestartPolicy {
    /// It stays ended after these.
    pub ignored_exit_codes: Vec<i32>,
    /// … and when it ran for less than this.
    pub attempt_period: Duration,
}

impl RestartPolicy {
    pub(super) fn applies(&self, exit_code: i32, ran: Duration) -> bool {
        ran >= self.attempt_period && !self.ignored_exit_codes.contains(&exit_code)
    }
}

/// A resource limit, by Docker's name for it; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ulimit {
    pub name: String,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// A command that is run beside the container's own; exit code 0 says that the container is healthy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthCheck {
    pub command: Vec<String>,
    /// From the start, or the end of one check, to the next check.
    pub interval: Duration,
    /// The same once the container is healthy, until a check fails.
    pub settled_interval: Duration,
    /// A check that takes longer is killed, and failed.
    pub timeout: Duration,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
    /// From the start, as long as the container was never healthy, failures do not count.
    pub start_period: Duration,
}

/// What a container waits for before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Another container of the task.
    pub container: String,
    pub condition: Condition,
}

/// As ECS names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Start,
    /// It ended.
    Complete,
    /// It ended with exit code 0.
    Success,
    Healthy,
}

/// A task's volume. What is no directory of the host begins with what its first container has there.
#[derive(Debug, Clone, Default)]
pub struct Volume {
    pub name: String,
    pub source: VolumeSource,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum VolumeSource {
    /// It lives as long as its task.
    #[default]
    Task,
    Host(PathBuf),
    /// All tasks that say this name see the same one, which stays until the lab is emptied.
    Shared(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumesFrom {
    pub container: String,
    pub read_only: bool,
}

/// A folder in memory that begins empty. Where nothing can be mounted it is a folder like others, of any size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    pub container_path: String,
    pub size_mib: u64,
    /// As mount(8) spells them.
    pub options: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub struct MountPoint {
    pub source_volume: String,
    pub container_path: String,
    pub read_only: bool,
}

/// An image in the lab's blob folder.
#[derive(Debug, Clone, Default)]
pub struct ImageSource {
    /// The manifest's digest, `sha256:…`.
    pub digest: String,
    /// The config blob.
    pub config: PathBuf,
    /// Lowest first.
    pub layers: Vec<LayerBlob>,
}

#[derive(Debug, Clone, Default)]
pub struct LayerBlob {
    pub path: PathBuf,
    pub media_type: String,
    pub digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A container runs its program.
    Started { task_id: String, container: String },
    /// A container ended, and runs its program again.
    Restarted { task_id: String, container: String },
    /// A container does not start, as what it depends on can no longer come; it counts as ended.
    Skipped { task_id: String, container: String, reason: String },
    /// What a container's health check says, when it says something new.
    Health { task_id: String, container: String, healthy: bool },
    /// A started container ended. Comes once for each, after all of its [`Output`] was taken.
    Exited {
        task_id: String,
        container: String,
        /// 128 + the signal's number when a signal ended it.
        exit_code: i32,
        signal: Option<i32>,
        oom_killed: bool,
    },
}

/// What containers write. Comes by a bounded channel of its own: a container that writes faster than its lines are
/// taken has to wait, and what happens to others is told at once.
#[derive(Debug)]
pub enum Output {
    Line(Line),
    /// All that a container wrote was before this. Its [`RuntimeEvent::Exited`] follows when this is answered or dropped.
    End(oneshot::Sender<()>),
}

/// One line without its line end; lines beyond 16 KiB come in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub task_id: Arc<str>,
    pub container: Arc<str>,
    pub text: String,
    pub stderr: bool,
    /// Epoch milliseconds.
    pub at: i64,
}

/// Why a task did not start. Nothing of it is left, and no [`RuntimeEvent::Exited`] comes for it any more; none came
/// before unless a container had to wait for another one's end or health.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StartError {
    pub container: String,
    /// As ECS spells a container's reason: `CannotStartContainerError: …`.
    pub reason: String,
}

impl StartError {
    pub(super) fn new(container: &str, error: &str, detail: impl fmt::Display) -> Self {
        StartError { container: container.to_owned(), reason: format!("{error}: {detail}") }
    }

    pub(super) fn cannot_start(container: &str, detail: impl fmt::Display) -> Self {
        StartError::new(container, "CannotStartContainerError", detail)
    }
}
