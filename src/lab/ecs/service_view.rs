//! Services as DescribeServices answers them, and their lists.

use serde_json::{Map, Value, json};

use super::{
    arn,
    model::{Deployment, Service, ServiceStatus, TaskStatus},
    request::{Request, failure, invalid, put, seconds},
    service_rules, services,
};
use crate::lab::{
    Settings,
    api::{ApiError, ApiResult},
    discovery,
    state::State,
};

pub fn describe(state: &State, request: &Request) -> ApiResult {
    let cluster = &request.cluster(state)?.name;
    let names = request.texts("services");
    match names.len() {
        0 => return Err(invalid("Services cannot be empty.")),
        1..=10 => {}
        _ => return Err(invalid("Services cannot have more than 10 elements.")),
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match services::find(&state.ecs, cluster, name) {
            Some(service) => found.push(view(state, request.settings, service, request.includes("TAGS"))),
            None => failures.push(failure(arn::service(request.settings, cluster, arn::short(name)), "MISSING")),
        }
    }
    Ok(json!({"services": found, "failures": failures}))
}

pub fn list(state: &State, request: &Request) -> ApiResult {
    let cluster = &request.cluster(state)?.name;
    let is = |service: &Service, member: &str, default: &str| {
        let has = service.settings.get(member).and_then(Value::as_str).unwrap_or(default);
        request.text(member).is_none_or(|asked| asked == has)
    };
    let listed = state.ecs.services.iter().filter(|service| {
        service.cluster == *cluster
            && service.status == ServiceStatus::Active
            && request.text("launchType").is_none_or(|asked| asked == service_rules::launch_type(&service.settings))
            && is(service, "schedulingStrategy", "REPLICA")
    });
    let arns = listed.map(|of| json!(arn::service(request.settings, cluster, &of.name)));
    request.page_of("serviceArns", arns.collect(), 10, 100)
}

/// Those whose Service Connect is in a namespace, in whatever cluster.
pub fn list_by_namespace(state: &State, request: &Request) -> ApiResult {
    let asked = discovery::namespace_arn(state, request.required("namespace")?)
        .ok_or_else(|| ApiError::new("NamespaceNotFoundException", "The specified namespace was not found."))?;
    let is_in = |service: &&Service| {
        let connect = of_primary(service, "serviceConnectConfiguration").filter(|of| of["enabled"] == true);
        let default = || state.ecs.clusters.get(&service.cluster)?.settings.get("serviceConnectDefaults");
        let named = connect.and_then(|of| of["namespace"].as_str().or_else(|| default()?["namespace"].as_str()));
        named.and_then(|name| discovery::namespace_arn(state, name)).as_ref() == Some(&asked)
    };
    let listed = state.ecs.services.iter().filter(|service| service.status == ServiceStatus::Active).filter(is_in);
    let arns = listed.map(|of| json!(arn::service(request.settings, &of.cluster, &of.name)));
    request.page_of("serviceArns", arns.collect(), 10, 100)
}

/// Tasks of a deployment that are RUNNING, and that are on their way there.
pub fn counts(state: &State, service: &Service, deployment: &str) -> (i64, i64) {
    let tasks = state.ecs.tasks.of_group(&service.cluster, &service.group());
    let tasks = tasks.filter(|task| task.started_by.as_deref() == Some(deployment));
    tasks.fold((0, 0), |(running, pending), task| match task.status {
        TaskStatus::Running => (running + 1, pending),
        status if status < TaskStatus::Running && !task.stop => (running, pending + 1),
        _ => (running, pending),
    })
}

/// `deploymentConfiguration` with the members that ECS always answers with.
pub fn deployment_configuration(service: &Service) -> Value {
    let mut reply = match service.settings.get("deploymentConfiguration") {
        Some(Value::Object(given)) => given.clone(),
        _ => Map::new(),
    };
    reply.entry("deploymentCircuitBreaker").or_insert_with(|| json!({"enable": false, "rollback": false}));
    reply.entry("maximumPercent").or_insert(json!(200));
    reply.entry("minimumHealthyPercent").or_insert(json!(100));
    reply.entry("strategy").or_insert(json!("ROLLING"));
    reply.entry("bakeTimeInMinutes").or_insert(json!(0));
    let (member, defaults) = match reply["strategy"].as_str() {
        Some("CANARY") => ("canaryConfiguration", json!({"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 10})),
        Some("LINEAR") => ("linearConfiguration", json!({"stepPercent": 10.0, "stepBakeTimeInMinutes": 6})),
        _ => return json!(reply),
    };
    let given = reply.entry(member).or_insert_with(|| json!({}));
    for (member, value) in defaults.as_object().into_iter().flatten() {
        if given[member].is_null() {
            given[member] = value.clone();
        }
    }
    json!(reply)
}

pub fn view(state: &State, settings: &Settings, service: &Service, tags: bool) -> Value {
    let deployments: Vec<Value> =
        service.deployments.iter().enumerate().map(|(at, of)| deployment(state, service, of, at == 0)).collect();
    let total = |member: &str| deployments.iter().filter_map(|of| of[member].as_i64()).sum::<i64>();
    let mut reply = Map::new();
    reply.insert("serviceArn".into(), json!(arn::service(settings, &service.cluster, &service.name)));
    reply.insert("serviceName".into(), json!(service.name));
    reply.insert("clusterArn".into(), json!(arn::cluster(settings, &service.cluster)));
    for member in ["loadBalancers", "serviceRegistries"] {
        reply.insert(member.into(), of_primary(service, member).cloned().unwrap_or_else(|| json!([])));
    }
    reply.insert("status".into(), json!(service.status.name()));
    reply.insert("desiredCount".into(), json!(service.desired_count));
    reply.insert("runningCount".into(), json!(total("runningCount")));
    reply.insert("pendingCount".into(), json!(total("pendingCount")));
    launch(&mut reply, &service.settings);
    let task_definition = service.primary().map(|primary| primary.task_definition.as_str()).unwrap_or_default();
    reply.insert("taskDefinition".into(), json!(task_definition));
    reply.insert("deploymentConfiguration".into(), deployment_configuration(service));
    reply.insert("deployments".into(), json!(deployments));
    put(&mut reply, "roleArn", role(settings, service));
    let events = service
        .events
        .iter()
        .map(|event| json!({"id": event.id, "createdAt": seconds(event.created_at), "message": event.message}));
    reply.insert("events".into(), events.collect());
    reply.insert("createdAt".into(), seconds(service.created_at));
    let current = service.service_deployments.first().filter(|of| !of.is_over());
    put(&mut reply, "currentServiceDeployment", current.map(|of| json!(of.arn)));
    let revisions = service.deployments.iter().map(|of| revision_summary(state, service, of));
    reply.insert("currentServiceRevisions".into(), revisions.collect());
    for member in ["placementConstraints", "placementStrategy"] {
        reply.insert(member.into(), service.settings.get(member).cloned().unwrap_or_else(|| json!([])));
    }
    put(&mut reply, "networkConfiguration", of_primary(service, "networkConfiguration").cloned());
    let plain = |member: &str| service.settings.get(member).cloned();
    put(
        &mut reply,
        "healthCheckGracePeriodSeconds",
        plain("healthCheckGracePeriodSeconds").or_else(|| {
            service
                .settings
                .get("loadBalancers")
                .and_then(Value::as_array)
                .filter(|of| !of.is_empty())
                .map(|_| json!(0))
        }),
    );
    reply.insert("schedulingStrategy".into(), plain("schedulingStrategy").unwrap_or(json!("REPLICA")));
    reply.insert("deploymentController".into(), plain("deploymentController").unwrap_or(json!({"type": "ECS"})));
    if tags {
        reply.insert("tags".into(), json!(service.tags));
    }
    reply.insert("createdBy".into(), json!(settings.caller()));
    reply.insert("enableECSManagedTags".into(), plain("enableECSManagedTags").unwrap_or(json!(false)));
    reply.insert("propagateTags".into(), plain("propagateTags").unwrap_or(json!("NONE")));
    reply.insert("enableExecuteCommand".into(), plain("enableExecuteCommand").unwrap_or(json!(false)));
    let rebalancing = plain("availabilityZoneRebalancing").unwrap_or(json!("DISABLED"));
    reply.insert("availabilityZoneRebalancing".into(), rebalancing);
    Value::Object(reply)
}

fn of_primary<'s>(service: &'s Service, member: &str) -> Option<&'s Value> {
    service.primary().and_then(|primary| primary.settings.get(member))
}

fn role(settings: &Settings, service: &Service) -> Option<Value> {
    if let Some(role) = service.settings.get("role").and_then(Value::as_str) {
        return Some(match role.starts_with("arn:") {
            true => json!(role),
            false => json!(format!("arn:aws:iam::{}:role/{role}", settings.account_id)),
        });
    }
    let linked = ["loadBalancers", "serviceRegistries", "networkConfiguration"].iter().any(|member| {
        service.settings.get(*member).is_some_and(|of| of.as_array().is_none_or(|items| !items.is_empty()))
    });
    let role = "role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS";
    linked.then(|| json!(format!("arn:aws:iam::{}:{role}", settings.account_id)))
}

fn launch(reply: &mut Map<String, Value>, settings: &Map<String, Value>) {
    let strategy = settings.get("capacityProviderStrategy").filter(|of| of.as_array().is_some_and(|of| !of.is_empty()));
    match strategy {
        Some(strategy) => {
            reply.insert("capacityProviderStrategy".into(), strategy.clone());
        }
        None => {
            reply.insert("launchType".into(), settings.get("launchType").cloned().unwrap_or(json!("EC2")));
        }
    }
    if on_fargate(settings) {
        reply.insert("platformVersion".into(), settings.get("platformVersion").cloned().unwrap_or(json!("LATEST")));
        reply.insert("platformFamily".into(), json!("Linux"));
    }
}

/// Whether launch type or capacity providers say Fargate.
pub fn on_fargate(settings: &Map<String, Value>) -> bool {
    let strategy = settings.get("capacityProviderStrategy").and_then(Value::as_array);
    settings.get("launchType").is_some_and(|of| of == "FARGATE")
        || strategy
            .into_iter()
            .flatten()
            .any(|of| of["capacityProvider"].as_str().is_some_and(|p| p.starts_with("FARGATE")))
}

fn deployment(state: &State, service: &Service, of: &Deployment, primary: bool) -> Value {
    let (running, pending) = counts(state, service, &of.id);
    let mut reply = Map::new();
    reply.insert("id".into(), json!(of.id));
    let status = match (primary, service.status) {
        (true, ServiceStatus::Inactive) => "INACTIVE",
        (true, _) => "PRIMARY",
        (false, _) => "ACTIVE",
    };
    reply.insert("status".into(), json!(status));
    reply.insert("taskDefinition".into(), json!(of.task_definition));
    reply.insert("desiredCount".into(), json!(of.desired_count));
    reply.insert("pendingCount".into(), json!(pending));
    reply.insert("runningCount".into(), json!(running));
    reply.insert("failedTasks".into(), json!(of.failed_tasks));
    reply.insert("createdAt".into(), seconds(of.created_at));
    reply.insert("updatedAt".into(), seconds(of.updated_at));
    launch(&mut reply, &of.settings);
    for member in ["networkConfiguration", "serviceConnectConfiguration"] {
        put(&mut reply, member, of.settings.get(member).cloned());
    }
    for member in ["volumeConfigurations", "vpcLatticeConfigurations"] {
        let given = of.settings.get(member).filter(|of| of.as_array().is_some_and(|items| !items.is_empty()));
        put(&mut reply, member, given.cloned());
    }
    reply.insert("rolloutState".into(), json!(of.rollout.name()));
    reply.insert("rolloutStateReason".into(), json!(of.reason));
    Value::Object(reply)
}

fn revision_summary(state: &State, service: &Service, of: &Deployment) -> Value {
    let (running, pending) = counts(state, service, &of.id);
    json!({
        "arn": of.revision,
        "requestedTaskCount": of.desired_count,
        "runningTaskCount": running,
        "pendingTaskCount": pending,
    })
}
