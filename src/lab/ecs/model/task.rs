//! A task and its containers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The states of a task in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum TaskStatus {
    #[default]
    Provisioning,
    Pending,
    Activating,
    Running,
    Deactivating,
    Stopping,
    Deprovisioning,
    Stopped,
}

impl TaskStatus {
    pub fn name(self) -> &'static str {
        match self {
            TaskStatus::Provisioning => "PROVISIONING",
            TaskStatus::Pending => "PENDING",
            TaskStatus::Activating => "ACTIVATING",
            TaskStatus::Running => "RUNNING",
            TaskStatus::Deactivating => "DEACTIVATING",
            TaskStatus::Stopping => "STOPPING",
            TaskStatus::Deprovisioning => "DEPROVISIONING",
            TaskStatus::Stopped => "STOPPED",
        }
    }
}

/// What the runtime does for a task. Forgotten at the lab's end, as the runtime forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Run {
    #[default]
    No,
    Starting,
    Up,
    Stopping,
    Down,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// 32 hexadecimal digits.
    pub id: String,
    pub cluster: String,
    pub task_definition: String,
    pub group: String,
    pub started_by: Option<String>,
    pub launch_type: String,
    pub platform_version: Option<String>,
    pub capacity_provider: Option<String>,
    pub instance: Option<String>,
    pub network_mode: String,
    pub interface: Option<Interface>,
    pub cpu: i64,
    pub memory: i64,
    pub overrides: Value,
    pub tags: Vec<Value>,
    pub execute_command: bool,
    pub containers: Vec<Container>,
    pub status: TaskStatus,
    /// When it came to `status`.
    pub since: i64,
    /// Its desired status is STOPPED.
    pub stop: bool,
    pub stop_code: Option<String>,
    pub stopped_reason: Option<String>,
    pub version: i64,
    pub created_at: i64,
    pub pull_started_at: Option<i64>,
    pub pull_stopped_at: Option<i64>,
    pub started_at: Option<i64>,
    /// When its service first counted it as healthy.
    pub healthy_at: Option<i64>,
    pub stopping_at: Option<i64>,
    /// When its targets had no connection left to wait for.
    pub drained_at: Option<i64>,
    pub execution_stopped_at: Option<i64>,
    pub stopped_at: Option<i64>,
    pub targets: Vec<Target>,
    /// Cloud Map services in which it is an instance.
    pub registries: Vec<String>,
    /// Its deployment was told that it stopped, or is unhealthy.
    pub counted: bool,
    /// It fails its health checks, and is to stop for this reason once that can be.
    pub unhealthy: Option<String>,
    #[serde(skip)]
    pub run: Run,
    /// When the runtime had it up, in this run of the lab.
    #[serde(skip)]
    pub up_since: Option<i64>,
}

pub const SPOT_INTERRUPTION: &str = "SpotInterruption";

impl Task {
    /// Runs or will run.
    pub fn is_wanted(&self) -> bool {
        !self.stop && self.status <= TaskStatus::Running
    }

    /// Its Spot capacity is taken back.
    pub fn is_interrupted(&self) -> bool {
        self.stop_code.as_deref() == Some(SPOT_INTERRUPTION)
    }

    pub fn is_stopped(&self) -> bool {
        self.status == TaskStatus::Stopped
    }
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub image: String,
    pub image_digest: Option<String>,
    pub runtime_id: String,
    pub cpu: i64,
    pub memory: Option<i64>,
    pub memory_reservation: Option<i64>,
    pub essential: bool,
    /// The runtime started it, in this run of the lab.
    #[serde(skip)]
    pub began: bool,
    pub exited: bool,
    pub exit_code: Option<i64>,
    pub reason: Option<String>,
    /// Whether its definition has a health check.
    pub checked: bool,
    pub healthy: Option<bool>,
    pub bindings: Vec<Binding>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub container_port: u16,
    pub host_port: u16,
    pub udp: bool,
}

/// An elastic network interface (network mode awsvpc).
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Interface {
    pub attachment_id: String,
    pub id: String,
    pub subnet: String,
    pub mac: String,
    pub address: String,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub target_group: String,
    /// An EC2 instance id or a private address.
    pub id: String,
    pub port: u16,
}
