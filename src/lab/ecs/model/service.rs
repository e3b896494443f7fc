//! A service, its deployments and their history.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ServiceKey;
use super::shift::Shift;

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
    /// When what is not to be repeated was last told (epoch milliseconds).
    pub told: BTreeMap<String, i64>,
    /// Newest first.
    pub service_deployments: Vec<ServiceDeployment>,
    pub revisions: Vec<Revision>,
    /// Whether the steady state was already said of what now runs.
    pub steady: bool,
    /// Unhealthy tasks that were stopped and whose replacement is still to be told.
    pub replacing: usize,
}

impl Service {
    pub fn key(&self) -> ServiceKey {
        (self.cluster.clone(), self.name.clone())
    }

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

    /// The service deployment that is under way.
    pub fn current(&self) -> Option<&ServiceDeployment> {
        self.service_deployments.first().filter(|current| !current.is_over())
    }

    /// Whether the circuit breaker is on, and whether it rolls back.
    pub fn circuit_breaker(&self) -> (bool, bool) {
        let breaker = &self.settings.get("deploymentConfiguration").unwrap_or(&Value::Null)["deploymentCircuitBreaker"];
        (breaker["enable"] == true, breaker["rollback"] == true)
    }

    /// Failed tasks that end a deployment: half of the desired count, at least 3, at most 200, unless it is said.
    /// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ThresholdConfiguration.html>
    pub fn failure_threshold(&self) -> i64 {
        let breaker = &self.settings.get("deploymentConfiguration").unwrap_or(&Value::Null)["deploymentCircuitBreaker"];
        let given = &breaker["thresholdConfiguration"];
        let value = given["value"].as_i64().unwrap_or(50);
        let share = (self.desired_count * value + 99).div_euclid(100);
        match given["type"].as_str() {
            Some("COUNT") => value,
            // Nothing is said of a share that is nobody: the first failure counts.
            Some("UNBOUNDED_PERCENT") => share.max(1),
            _ => share.clamp(3, 200),
        }
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
    /// Of each load balancer with two target groups the one that this deployment's tasks are in.
    pub target_groups: Vec<String>,
    pub created_at: i64,
    pub updated_at: i64,
    pub desired_count: i64,
    pub failed_tasks: i64,
    pub rollout: Rollout,
    pub reason: String,
    /// Whether it was ever COMPLETED: what a rollback goes back to.
    pub was_completed: bool,
    /// Tasks in a row that ran only for a moment.
    pub crashes: u32,
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
    pub alarms: AlarmWatch,
    /// None when it replaces tasks without shifting traffic.
    pub shift: Option<Shift>,
}

impl ServiceDeployment {
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "SUCCESSFUL" | "STOPPED" | "ROLLBACK_SUCCESSFUL" | "ROLLBACK_FAILED")
    }

    /// Circuit breaker and alarms have nothing to watch any more.
    pub fn end_monitors(&mut self) {
        for status in [&mut self.breaker, &mut self.alarms.status] {
            if status == "MONITORING" {
                *status = "MONITORING_COMPLETE".into();
            }
        }
    }
}

/// A deployment's alarms.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct AlarmWatch {
    /// `DISABLED`, `MONITORING`, `MONITORING_COMPLETE` or `TRIGGERED`; empty before it began.
    pub status: String,
    pub names: Vec<String>,
    pub triggered: Vec<String>,
    pub rolls_back: bool,
    /// Seconds at AWS from when the new release is complete, and when that was.
    pub bake: u64,
    pub bakes_since: Option<i64>,
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
    /// As its deployment's.
    pub target_groups: Vec<String>,
}
