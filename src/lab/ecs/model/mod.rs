//! What the lab remembers of ECS. Users' documents stay JSON as they were given.

mod instance;
mod ledger;
mod service;
mod services;
mod shift;
mod task;
mod tasks;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use instance::{Instance, InstanceStatus};
pub use ledger::Ledger;
pub use service::{
    AlarmWatch, Deployment, Event, Revision, Rollback, Rollout, Service, ServiceDeployment, ServiceStatus,
};
pub use services::{ServiceKey, Services};
pub use shift::{Hook, Phase, Shift};
pub use task::{Binding, Container, Interface, Run, SPOT_INTERRUPTION, Target, Task, TaskStatus};
pub use tasks::Tasks;

use crate::lab::scheduler::Agenda;

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct EcsState {
    /// Whether the `default` cluster was made; it may have been deleted since.
    pub prepared: bool,
    pub clusters: BTreeMap<String, Cluster>,
    pub instances: BTreeMap<String, Instance>,
    /// Those that are gone until there is capacity again.
    pub lost: Vec<Instance>,
    /// Those of Auto Scaling groups; FARGATE and FARGATE_SPOT are always there.
    pub capacity_providers: BTreeMap<String, CapacityProvider>,
    /// By principal, then by name; the account's defaults are the principal without a name's.
    pub account_settings: BTreeMap<String, BTreeMap<String, String>>,
    pub families: Ledger<Family>,
    pub services: Services,
    pub tasks: Tasks,
    /// RunTask's client tokens, with the request and the tasks that came of it.
    pub run_tokens: BTreeMap<String, (Value, Vec<String>)>,
    /// Private addresses given out so far; none is given twice.
    pub addresses: u32,
    /// What the scheduler has to do at which time.
    #[serde(skip)]
    pub agenda: Agenda,
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

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct CapacityProvider {
    pub name: String,
    /// As AWS answers it, with its defaults.
    pub group: Map<String, Value>,
    pub tags: Vec<Value>,
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

    /// CPU units and MiB that a task reserves on its instance, with what RunTask overrides of them.
    pub fn reserves(&self, overrides: Option<&Value>) -> (i64, i64) {
        let number = |value: Option<&Value>| {
            value.and_then(|value| value.as_i64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok())))
        };
        let of_task = |member: &str| {
            number(overrides.and_then(|of| of.get(member))).or_else(|| number(self.document.get(member)))
        };
        let own = |container: &Value, member: &str| {
            let all = overrides.and_then(|of| of["containerOverrides"].as_array());
            let own = all.and_then(|all| all.iter().find(|of| of["name"] == container["name"]));
            number(own.and_then(|own| own.get(member))).or_else(|| number(container.get(member)))
        };
        let sum = |of: &dyn Fn(&Value) -> Option<i64>| self.containers().iter().filter_map(of).sum::<i64>();
        let cpu = of_task("cpu").unwrap_or_else(|| sum(&|container| own(container, "cpu")));
        let memory = of_task("memory").unwrap_or_else(|| {
            sum(&|container| own(container, "memoryReservation").or_else(|| own(container, "memory")))
        });
        (cpu, memory)
    }

    fn text(&self, member: &str) -> &str {
        self.document.get(member).and_then(Value::as_str).unwrap_or_default()
    }
}
