//! What the lab remembers of ECS. Users' documents stay JSON as they were given.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct EcsState {
    /// Whether the `default` cluster was made; it may have been deleted since.
    pub prepared: bool,
    pub clusters: BTreeMap<String, Cluster>,
    pub instances: BTreeMap<String, Instance>,
    pub families: BTreeMap<String, Family>,
    pub services: Vec<Service>,
    pub tasks: BTreeMap<String, Task>,
    /// Private addresses given out so far; none is given twice.
    pub addresses: u32,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    pub name: String,
    pub active: bool,
    pub tags: Vec<Value>,
    /// Members of CreateCluster that are only kept: settings, configuration, capacityProviders, ….
    pub settings: Map<String, Value>,
}

/// A container instance: where tasks of launch type EC2 are placed.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Instance {
    pub id: String,
    pub cluster: String,
    pub ec2_instance_id: String,
    /// CPU units.
    pub cpu: i64,
    /// MiB.
    pub memory: i64,
    pub registered_at: i64,
    /// The next dynamic host port to try.
    pub next_port: u16,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Family {
    /// The number of the last revision that was ever registered.
    pub last: i64,
    pub revisions: BTreeMap<i64, TaskDefinition>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskDefinition {
    /// As registered, with the members that ECS fills in.
    pub document: Map<String, Value>,
    pub tags: Vec<Value>,
}

impl TaskDefinition {
    pub fn arn(&self) -> &str {
        self.text("taskDefinitionArn")
    }

    pub fn family(&self) -> &str {
        self.text("family")
    }

    pub fn status(&self) -> &str {
        self.text("status")
    }

    pub fn network_mode(&self) -> &str {
        match self.text("networkMode") {
            "" => "bridge",
            mode => mode,
        }
    }

    pub fn containers(&self) -> &[Value] {
        self.document.get("containerDefinitions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub fn container(&self, name: &str) -> Option<&Value> {
        self.containers().iter().find(|container| container["name"] == name)
    }

    /// CPU units and MiB that a task reserves on its instance.
    pub fn reserves(&self) -> (i64, i64) {
        let number = |value: Option<&Value>| {
            value.and_then(|value| value.as_i64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok())))
        };
        let sum = |of: &dyn Fn(&Value) -> Option<i64>| self.containers().iter().filter_map(of).sum::<i64>();
        let cpu = number(self.document.get("cpu")).unwrap_or_else(|| sum(&|container| number(container.get("cpu"))));
        let memory = number(self.document.get("memory")).unwrap_or_else(|| {
            sum(&|container| number(container.get("memoryReservation")).or(number(container.get("memory"))))
        });
        (cpu, memory)
    }

    fn text(&self, member: &str) -> &str {
        self.document.get(member).and_then(Value::as_str).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ServiceStatus {
    #[default]
    Active,
    Draining,
    Inactive,
}

impl ServiceStatus {
    pub fn name(self) -> &'static str {
        match self {
            ServiceStatus::Active => "ACTIVE",
            ServiceStatus::Draining => "DRAINING",
            ServiceStatus::Inactive => "INACTIVE",
        }
    }
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    pub cluster: String,
    pub name: String,
    pub status: ServiceStatus,
    pub created_at: i64,
    pub desired_count: i64,
    /// CreateService's members, with UpdateService's over them.
    pub settings: Map<String, Value>,
    pub tags: Vec<Value>,
    /// The request that made it, so that the same one again is no second service.
    pub request: Value,
    /// The PRIMARY deployment is the first.
    pub deployments: Vec<Deployment>,
    /// Newest first, at most 100.
    pub events: VecDeque<Event>,
    /// Newest first.
    pub service_deployments: Vec<ServiceDeployment>,
    pub revisions: Vec<Revision>,
    /// Whether the steady state was already said of what now runs.
    pub steady: bool,
    /// Unhealthy tasks that were stopped and whose replacement is still to be told.
    pub replacing: usize,
}

impl Service {
    pub fn group(&self) -> String {
        format!("service:{}", self.name)
    }

    pub fn primary(&self) -> Option<&Deployment> {
        self.deployments.first()
    }

    /// `deploymentConfiguration.<name>` in percent, or AWS's default.
    pub fn percent(&self, name: &str, default: i64) -> i64 {
        self.settings.get("deploymentConfiguration").and_then(|of| of[name].as_i64()).unwrap_or(default)
    }

    /// Whether the circuit breaker is on, and whether it rolls back.
    pub fn circuit_breaker(&self) -> (bool, bool) {
        let breaker = &self.settings.get("deploymentConfiguration").unwrap_or(&Value::Null)["deploymentCircuitBreaker"];
        (breaker["enable"] == true, breaker["rollback"] == true)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Rollout {
    #[default]
    InProgress,
    Completed,
    Failed,
}

impl Rollout {
    pub fn name(self) -> &'static str {
        match self {
            Rollout::InProgress => "IN_PROGRESS",
            Rollout::Completed => "COMPLETED",
            Rollout::Failed => "FAILED",
        }
    }
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// `ecs-svc/` and 19 digits.
    pub id: String,
    pub task_definition: String,
    /// The members whose change makes a deployment; they come back with a rollback.
    pub settings: Map<String, Value>,
    /// The service revision that it deploys.
    pub revision: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub desired_count: i64,
    pub failed_tasks: i64,
    pub rollout: Rollout,
    pub reason: String,
    /// Whether it was ever COMPLETED: what a rollback goes back to.
    pub was_completed: bool,
    /// Tasks in a row that never came to RUNNING.
    pub failed_starts: u32,
    /// No task is started before this time.
    pub not_before: i64,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Event {
    pub id: String,
    pub created_at: i64,
    pub message: String,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceDeployment {
    pub arn: String,
    /// The deployment (`ecs-svc/…`) that it is about.
    pub deployment: String,
    pub status: String,
    pub status_reason: Option<String>,
    pub created_at: i64,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub stopped_at: Option<i64>,
    pub updated_at: i64,
    /// Revisions that ran when it began, with their numbers of tasks then.
    pub sources: Vec<(String, i64)>,
    pub target: String,
    pub configuration: Value,
    pub rollback: Option<Rollback>,
    pub failures: i64,
    pub threshold: i64,
    pub breaker: String,
}

impl ServiceDeployment {
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "SUCCESSFUL" | "STOPPED" | "ROLLBACK_SUCCESSFUL" | "ROLLBACK_FAILED")
    }
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Rollback {
    pub reason: String,
    pub started_at: i64,
    pub revision: String,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Revision {
    pub arn: String,
    pub task_definition: String,
    pub settings: Map<String, Value>,
    pub created_at: i64,
    /// Container, image, and the digest that it resolved to.
    pub images: Vec<(String, String, Option<String>)>,
}

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
    pub stopping_at: Option<i64>,
    pub execution_stopped_at: Option<i64>,
    pub stopped_at: Option<i64>,
    pub targets: Vec<Target>,
    /// Cloud Map services in which it is an instance.
    pub registries: Vec<String>,
    /// Its deployment was told that it stopped.
    pub counted: bool,
    #[serde(skip)]
    pub run: Run,
}

impl Task {
    /// Runs or will run.
    pub fn is_wanted(&self) -> bool {
        !self.stop && self.status <= TaskStatus::Running
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
