//! Container instances: where tasks of launch type EC2 are placed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum InstanceStatus {
    #[default]
    Active,
    Draining,
    /// It was deregistered.
    Inactive,
}

impl InstanceStatus {
    pub fn name(self) -> &'static str {
        match self {
            InstanceStatus::Active => "ACTIVE",
            InstanceStatus::Draining => "DRAINING",
            InstanceStatus::Inactive => "INACTIVE",
        }
    }
}

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
    pub status: InstanceStatus,
    /// Somebody registered it; others the lab made with their cluster.
    pub registered: bool,
    pub capacity_provider: Option<String>,
    /// Those that were put, over those that ECS gives it.
    pub attributes: BTreeMap<String, Option<String>>,
    pub tags: Vec<Value>,
    /// How often its attributes or its status changed.
    pub changes: i64,
}
