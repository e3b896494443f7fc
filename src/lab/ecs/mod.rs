//! Amazon ECS: its API over the lab's state. What happens by itself is the scheduler's.

mod account;
pub mod arn;
mod attributes;
pub mod capacity;
pub mod clusters;
pub mod expression;
mod identifiers;
pub mod instances;
pub mod model;
mod placement_rules;
pub mod request;
pub mod service_deployments;
pub mod service_rules;
pub mod service_view;
pub mod services;
pub mod strategy_rules;
pub mod tags;
pub mod task_definition_rules;
pub mod task_definitions;
pub mod task_view;
pub mod tasks;

use serde_json::Value;

pub use clusters::prepare;
pub use model::EcsState;
use model::InstanceStatus;
use request::Request;

use super::{
    Lab, Settings,
    api::{ApiError, ApiResult},
    conformance,
    state::State,
    validation,
};
use crate::aws_model::Service;

enum Operation {
    Read(fn(&State, &Request) -> ApiResult),
    Write(fn(&mut State, &Request) -> ApiResult),
}

fn operation(name: &str) -> Option<Operation> {
    use Operation::{Read, Write};
    Some(match name {
        "CreateCluster" => Write(clusters::create),
        "DescribeClusters" => Read(clusters::describe),
        "ListClusters" => Read(clusters::list),
        "DeleteCluster" => Write(clusters::delete),
        "UpdateCluster" => Write(clusters::update),
        "UpdateClusterSettings" => Write(clusters::update_settings),
        "PutClusterCapacityProviders" => Write(clusters::put_capacity_providers),
        "ListContainerInstances" => Read(instances::list),
        "DescribeContainerInstances" => Read(instances::describe),
        "RegisterContainerInstance" => Write(instances::register),
        "DeregisterContainerInstance" => Write(instances::deregister),
        "UpdateContainerInstancesState" => Write(instances::update_state),
        "PutAttributes" => Write(attributes::set),
        "DeleteAttributes" => Write(attributes::delete),
        "ListAttributes" => Read(attributes::list),
        "CreateCapacityProvider" => Write(capacity::create),
        "DescribeCapacityProviders" => Read(capacity::describe),
        "UpdateCapacityProvider" => Write(capacity::update),
        "DeleteCapacityProvider" => Write(capacity::delete),
        "PutAccountSetting" => Write(account::set),
        "PutAccountSettingDefault" => Write(account::set_default),
        "DeleteAccountSetting" => Write(account::delete),
        "ListAccountSettings" => Read(account::list),
        "RegisterTaskDefinition" => Write(task_definitions::register),
        "DescribeTaskDefinition" => Read(task_definitions::describe),
        "ListTaskDefinitions" => Read(task_definitions::list),
        "ListTaskDefinitionFamilies" => Read(task_definitions::families),
        "DeregisterTaskDefinition" => Write(task_definitions::deregister),
        "DeleteTaskDefinitions" => Write(task_definitions::delete),
        "CreateService" => Write(services::create),
        "UpdateService" => Write(services::update),
        "DeleteService" => Write(services::delete),
        "DescribeServices" => Read(service_view::describe),
        "ListServices" => Read(service_view::list),
        "ListServicesByNamespace" => Read(service_view::list_by_namespace),
        "CreateTaskSet" | "DeleteTaskSet" | "DescribeTaskSets" | "UpdateTaskSet" | "UpdateServicePrimaryTaskSet" => {
            Read(services::task_sets)
        }
        "ListServiceDeployments" => Read(service_deployments::list),
        "DescribeServiceDeployments" => Read(service_deployments::describe),
        "DescribeServiceRevisions" => Read(service_deployments::revisions),
        "StopServiceDeployment" => Write(service_deployments::stop),
        "ContinueServiceDeployment" => Write(service_deployments::go_on),
        "ListTasks" => Read(tasks::list),
        "DescribeTasks" => Read(tasks::describe),
        "RunTask" => Write(tasks::run),
        "StartTask" => Write(tasks::start),
        "ExecuteCommand" => Read(tasks::execute),
        "StopTask" => Write(tasks::stop),
        "TagResource" => Write(tags::tag),
        "UntagResource" => Write(tags::untag),
        "ListTagsForResource" => Read(tags::list),
        _ => return None,
    })
}

/// Answers one request to ECS (awsJson1.1; `operation` without the target's prefix).
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let known = self::operation(operation).ok_or_else(|| unknown(operation));
    let answer = known.map(|known| |input| answer(lab, operation, known, input));
    conformance::answered(Service::Ecs, operation, input, answer)
}

fn answer(lab: &Lab, name: &str, operation: Operation, input: Value) -> ApiResult {
    let now = lab.clock.now();
    if !lab.read(|state| state.ecs.prepared) {
        lab.write(|state| prepare(state, now));
    }
    let request = Request { settings: &lab.settings, now, input: &input };
    identifiers::check(&request, name)?;
    match operation {
        Operation::Read(answer) => lab.read(|state| answer(state, &request)),
        Operation::Write(answer) => lab.write(|state| answer(state, &request)),
    }
}

/// As [`handle`], over a state of one's own at a time of one's own (epoch milliseconds).
pub fn apply(state: &mut State, settings: &Settings, now: i64, operation: &str, input: &Value) -> ApiResult {
    prepare(state, now);
    let request = Request { settings, now, input };
    validation::check_request(Service::Ecs, operation, input)?;
    identifiers::check(&request, operation)?;
    let reply = match self::operation(operation) {
        Some(Operation::Read(answer)) => answer(state, &request),
        Some(Operation::Write(answer)) => answer(state, &request),
        None => Err(unknown(operation)),
    };
    conformance::checked(Service::Ecs, operation, reply)
}

fn unknown(operation: &str) -> ApiError {
    ApiError::new("UnknownOperationException", format!("The lab's ECS has no operation {operation}."))
}

/// The task, and its container's port, behind a target: an EC2 instance's host port, or a task's
/// address and port.
pub fn locate(state: &State, target_id: &str, port: u16) -> Option<(String, u16)> {
    let instances = &state.ecs.instances;
    let mut registered = instances.values().filter(|of| of.status != InstanceStatus::Inactive);
    let instance = registered.find(|instance| instance.ec2_instance_id == target_id).map(|of| &of.id);
    match instance {
        Some(instance) => state.ecs.tasks.on_instance(instance).find_map(|task| {
            let mut bindings = task.containers.iter().flat_map(|container| &container.bindings);
            let binding = bindings.find(|binding| binding.host_port == port && !binding.udp)?;
            Some((task.id.clone(), binding.container_port))
        }),
        None => state.ecs.tasks.at_address(target_id).map(|task| (task.id.clone(), port)),
    }
}

/// The order in which a task's containers start, by `dependsOn`; `None` when they wait for each other.
pub fn launch_order(containers: &[Value]) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = Vec::with_capacity(containers.len());
    while order.len() < containers.len() {
        let is_free = |container: &Value| {
            container["dependsOn"]
                .as_array()
                .into_iter()
                .flatten()
                .all(|dependency| order.iter().any(|at| containers[*at]["name"] == dependency["containerName"]))
        };
        let next = (0..containers.len()).find(|at| !order.contains(at) && is_free(&containers[*at]))?;
        order.push(next);
    }
    Some(order)
}
