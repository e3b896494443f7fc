//! Services: CreateService, UpdateService, DeleteService.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::{
    arn, capacity,
    model::{Deployment, EcsState, Revision, Service, ServiceDeployment, ServiceStatus, TaskDefinition},
    request::{Request, invalid, without_nulls},
    service_rules, service_view, tags, task_definitions,
};
use crate::lab::{
    Settings,
    api::{ApiError, ApiResult, random_digits, random_hex},
    scheduler::choose,
    state::State,
};

/// Members whose change makes a new deployment, beside the task definition.
const DEPLOYED: [&str; 7] = [
    "networkConfiguration",
    "platformVersion",
    "loadBalancers",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
];
/// Members of UpdateService that only change the service.
const PLAIN: [&str; 9] = [
    "deploymentConfiguration",
    "deploymentController",
    "capacityProviderStrategy",
    "availabilityZoneRebalancing",
    "healthCheckGracePeriodSeconds",
    "placementConstraints",
    "placementStrategy",
    "enableExecuteCommand",
    "enableECSManagedTags",
];

pub fn create(state: &mut State, request: &Request) -> ApiResult {
    let cluster = request.cluster(state)?.name.clone();
    let name = request.required("serviceName")?;
    if name.len() > 255 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return Err(invalid("Invalid service name. It may hold up to 255 letters, numbers, underscores and hyphens."));
    }
    let mut settings = match without_nulls(request.input) {
        Value::Object(settings) => settings,
        _ => return Err(invalid("The request is no JSON object.")),
    };
    let asked = Value::Object(settings.clone());
    if let Some(service) = state.ecs.services.find(&cluster, name) {
        match service.status {
            ServiceStatus::Active if request.text("clientToken").is_some() && service.request == asked => {
                return Ok(json!({"service": service_view::view(state, request.settings, service, true)}));
            }
            ServiceStatus::Active => return Err(invalid("Creation of service was not idempotent.")),
            ServiceStatus::Draining => return Err(invalid("Unable to Start a service that is still Draining.")),
            ServiceStatus::Inactive => {}
        }
    }
    let definition = task_definitions::find_usable(&state.ecs, request.required("taskDefinition")?)?.clone();
    let daemon = request.text("schedulingStrategy") == Some("DAEMON");
    let desired = match request.integer("desiredCount") {
        Some(_) if daemon => return Err(invalid("The daemon scheduling strategy does not support a desired count.")),
        Some(count) => desirable(count)?,
        None if daemon => choose::eligible(state, &request.settings.region, &cluster, &settings, &definition),
        None => return Err(invalid("Desired count cannot be null.")),
    };
    if let Some(strategy) = capacity::strategy_for(&state.ecs.clusters[&cluster], &settings)? {
        if settings.contains_key("launchType") {
            return Err(invalid(service_rules::BOTH));
        }
        settings.insert("capacityProviderStrategy".into(), json!(strategy));
    }
    tags::check(request.list("tags"))?;
    service_rules::check_new(state, &settings, &definition)?;
    for member in ["cluster", "serviceName", "clientToken", "desiredCount", "tags", "taskDefinition"] {
        settings.shift_remove(member);
    }
    if let Some(deployment) = settings.get_mut("deploymentConfiguration") {
        *deployment = service_rules::deployment_configuration(deployment, &json!({}));
    }
    let mut service = Service {
        cluster: cluster.clone(),
        name: name.into(),
        created_at: request.now,
        desired_count: desired,
        settings,
        tags: request.list("tags").to_vec(),
        request: asked,
        events: VecDeque::new(),
        ..Service::default()
    };
    deploy(&mut service, &definition, request.settings, request.now);
    service.deployments[0].desired_count = desired;
    let view = service_view::view(state, request.settings, &service, true);
    state.ecs.services.put(service);
    Ok(json!({"service": view}))
}

/// AWS's quota of tasks for a service.
const MOST_TASKS: i64 = 5000;

fn desirable(count: i64) -> Result<i64, ApiError> {
    match count {
        ..0 => Err(invalid("Desired count cannot be negative.")),
        0..=MOST_TASKS => Ok(count),
        _ => Err(invalid("Desired count exceeds limit.")),
    }
}

/// Makes a new PRIMARY deployment of what the service's settings now say.
pub fn deploy(service: &mut Service, definition: &TaskDefinition, settings: &Settings, now: i64) {
    let id = format!("ecs-svc/{}", random_digits(19));
    let mut deployed: Map<String, Value> = Map::new();
    for member in DEPLOYED.iter().chain(&["launchType", "capacityProviderStrategy"]) {
        if let Some(value) = service.settings.get(*member) {
            deployed.insert((*member).into(), value.clone());
        }
    }
    let revision = Revision {
        arn: arn::service_revision(settings, &service.cluster, &service.name, &random_digits(19)),
        task_definition: definition.arn().into(),
        settings: deployed.clone(),
        created_at: now,
        images: definition
            .containers()
            .iter()
            .map(|of| {
                let text = |member: &str| of[member].as_str().unwrap_or_default().to_owned();
                (text("name"), text("image"), text("image").split_once('@').map(|(_, digest)| digest.to_owned()))
            })
            .collect(),
        target_groups: Vec::new(),
    };
    for earlier in service.service_deployments.iter_mut().filter(|earlier| !earlier.is_over()) {
        earlier.status = "STOPPED".into();
        earlier.status_reason = Some("A newer service deployment replaced this one.".into());
        earlier.stopped_at = Some(now);
        earlier.finished_at = Some(now);
        earlier.updated_at = now;
        earlier.end_monitors();
    }
    let running = |of: &Deployment| (of.revision.clone(), of.desired_count);
    service.service_deployments.insert(
        0,
        ServiceDeployment {
            arn: arn::service_deployment(settings, &service.cluster, &service.name, &random_hex(21)),
            deployment: id.clone(),
            status: "PENDING".into(),
            created_at: now,
            updated_at: now,
            sources: service.deployments.iter().filter(|of| of.desired_count > 0).map(running).collect(),
            target: revision.arn.clone(),
            configuration: service_view::deployment_configuration(service),
            threshold: service.failure_threshold(),
            breaker: if service.circuit_breaker().0 { "MONITORING" } else { "DISABLED" }.into(),
            ..ServiceDeployment::default()
        },
    );
    service.deployments.insert(
        0,
        Deployment {
            reason: format!("ECS deployment {id} in progress."),
            id,
            task_definition: definition.arn().into(),
            settings: deployed,
            revision: revision.arn.clone(),
            created_at: now,
            updated_at: now,
            ..Deployment::default()
        },
    );
    service.revisions.push(revision);
    service.steady = false;
}

pub fn find<'s>(ecs: &'s EcsState, cluster: &str, name: &str) -> Option<&'s Service> {
    ecs.services.find(cluster, arn::short(name))
}

fn position(state: &State, request: &Request, name: &str) -> Result<usize, ApiError> {
    let cluster = &request.cluster(state)?.name;
    let at = state.ecs.services.place(cluster, arn::short(name));
    let at = at.ok_or_else(|| ApiError::new("ServiceNotFoundException", "Service not found."))?;
    match state.ecs.services[at].status {
        ServiceStatus::Active => Ok(at),
        _ => Err(ApiError::new("ServiceNotActiveException", "Service was not ACTIVE.")),
    }
}

pub fn update(state: &mut State, request: &Request) -> ApiResult {
    let at = position(state, request, request.required("service")?)?;
    let service = &state.ecs.services[at];
    let input = without_nulls(request.input);
    let mut settings = service.settings.clone();
    let current = service.primary().map(|primary| primary.task_definition.clone()).unwrap_or_default();
    // An INACTIVE revision goes on running, but is not taken anew.
    let definition = match request.text("taskDefinition") {
        Some(name) => task_definitions::find_usable(&state.ecs, name)?.clone(),
        None => task_definitions::find(&state.ecs, &current)
            .cloned()
            .ok_or_else(|| super::request::client("TaskDefinition not found."))?,
    };
    let failed = service.primary().is_some_and(|primary| primary.rollout == super::model::Rollout::Failed);
    let mut new_deployment = request.flag("forceNewDeployment")
        || definition.arn() != current
        || failed && request.text("taskDefinition").is_some();
    for member in DEPLOYED.iter().chain(&PLAIN).chain(&["propagateTags"]) {
        let Some(value) = input.get(*member) else { continue };
        let value = match *member {
            "deploymentConfiguration" => service_rules::deployment_configuration(
                value,
                settings.get("deploymentConfiguration").unwrap_or(&json!({})),
            ),
            _ => value.clone(),
        };
        if DEPLOYED.contains(member) && settings.get(*member).unwrap_or(&json!([])) != &value {
            new_deployment = true;
        }
        settings.insert((*member).into(), value);
    }
    if let Some(strategy) = input.get("capacityProviderStrategy") {
        if service.settings.get("capacityProviderStrategy").unwrap_or(&json!([])) != strategy
            && !request.flag("forceNewDeployment")
        {
            return Err(invalid(
                "When switching from launch type to capacity provider strategy on an existing service, or making a \
                 change to a capacity provider strategy on a service that is already using one, you must force a new \
                 deployment.",
            ));
        }
        settings.shift_remove("launchType");
        // An empty one leads back to the launch type: of what the tasks ran on so far.
        if strategy.as_array().is_some_and(Vec::is_empty) {
            settings.shift_remove("capacityProviderStrategy");
            settings.insert("launchType".into(), json!(service_rules::launch_type(&service.settings)));
        }
    }
    if input.get("capacityProviderStrategy").is_some() {
        capacity::strategy_for(request.cluster(state)?, &settings)?;
    }
    if request.flag("enableExecuteCommand") {
        service_rules::has_task_role(&settings, &definition, "updated")?;
    }
    service_rules::namespace(state, input.get("serviceConnectConfiguration"))?;
    service_rules::check(state, &settings, &definition)?;
    let desired = match request.integer("desiredCount") {
        Some(count) => desirable(count)?,
        None => service.desired_count,
    };
    let service = &mut state.ecs.services[at];
    service.settings = settings;
    if service.desired_count != desired {
        service.desired_count = desired;
        service.steady = false;
    }
    if new_deployment {
        deploy(service, &definition, request.settings, request.now);
    }
    let service = &state.ecs.services[at];
    Ok(json!({"service": service_view::view(state, request.settings, service, true)}))
}

pub fn delete(state: &mut State, request: &Request) -> ApiResult {
    let name = request.required("service")?;
    let cluster = request.cluster(state)?.name.clone();
    let at = state
        .ecs
        .services
        .place(&cluster, arn::short(name))
        .filter(|at| state.ecs.services[*at].status != ServiceStatus::Inactive)
        .ok_or_else(|| ApiError::new("ServiceNotFoundException", "Service not found."))?;
    let service = &mut state.ecs.services[at];
    let daemon = service.settings.get("schedulingStrategy").is_some_and(|of| of == "DAEMON");
    if service.desired_count > 0 && !request.flag("force") && !daemon {
        return Err(invalid("The service cannot be stopped while it is scaled above 0."));
    }
    service.status = ServiceStatus::Draining;
    service.desired_count = 0;
    for deployment in service.service_deployments.iter_mut().filter(|deployment| !deployment.is_over()) {
        deployment.status = "STOPPED".into();
        deployment.status_reason = Some("The service was deleted.".into());
        deployment.finished_at = Some(request.now);
        deployment.stopped_at = Some(request.now);
        deployment.updated_at = request.now;
        deployment.end_monitors();
    }
    let service = &state.ecs.services[at];
    Ok(json!({"service": service_view::view(state, request.settings, service, true)}))
}

/// Task sets are for the deployment controller EXTERNAL, which no service of the lab has.
pub fn task_sets(state: &State, request: &Request) -> ApiResult {
    position(state, request, request.required("service")?)?;
    Err(invalid("Amazon ECS only supports task set management on services with external deployment controllers."))
}
