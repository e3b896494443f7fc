//! Service deployments and service revisions: the history of what a service ran.

use serde_json::{Map, Value, json};

use super::{
    arn,
    model::{Hook, Revision, Service, ServiceDeployment, ServiceStatus},
    request::{Request, failure, invalid, put, seconds},
    service_view, services,
};
use crate::lab::{
    Settings,
    api::{ApiError, ApiResult},
    state::State,
};

pub fn list(state: &State, request: &Request) -> ApiResult {
    let cluster = &request.cluster(state)?.name;
    let service = services::find(&state.ecs, cluster, request.required("service")?)
        .ok_or_else(|| ApiError::new("ServiceNotFoundException", "Service not found."))?;
    let statuses = request.texts("status");
    let created = &request.input["createdAt"];
    let in_time = |of: &ServiceDeployment| {
        let at = of.created_at as f64 / 1000.0;
        created["before"].as_f64().is_none_or(|before| at < before)
            && created["after"].as_f64().is_none_or(|after| at > after)
    };
    let wanted = service
        .service_deployments
        .iter()
        .filter(|of| (statuses.is_empty() || statuses.contains(&of.status.as_str())) && in_time(of));
    let listed = wanted.map(|of| brief(request.settings, service, of).into()).collect();
    request.page_of("serviceDeployments", listed, 20, 100)
}

fn brief(settings: &Settings, service: &Service, of: &ServiceDeployment) -> Map<String, Value> {
    let mut reply = Map::new();
    reply.insert("serviceDeploymentArn".into(), json!(of.arn));
    reply.insert("serviceArn".into(), json!(arn::service(settings, &service.cluster, &service.name)));
    reply.insert("clusterArn".into(), json!(arn::cluster(settings, &service.cluster)));
    put(&mut reply, "startedAt", of.started_at.map(seconds));
    reply.insert("createdAt".into(), seconds(of.created_at));
    put(&mut reply, "finishedAt", of.finished_at.map(seconds));
    reply.insert("targetServiceRevisionArn".into(), json!(of.target));
    reply.insert("status".into(), json!(of.status));
    put(&mut reply, "statusReason", of.status_reason.as_ref().map(|reason| json!(reason)));
    reply
}

pub fn describe(state: &State, request: &Request) -> ApiResult {
    let asked = request.texts("serviceDeploymentArns");
    if asked.is_empty() || asked.len() > 20 {
        return Err(invalid("The number of service deployment ARNs must be between 1 and 20."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in asked {
        let of = all(state).find(|(_, deployment)| deployment.arn == name);
        match of {
            Some((service, deployment)) => found.push(view(state, request.settings, service, deployment)),
            None => failures.push(failure(name.into(), "MISSING")),
        }
    }
    Ok(json!({"serviceDeployments": found, "failures": failures}))
}

fn all(state: &State) -> impl Iterator<Item = (&Service, &ServiceDeployment)> {
    state.ecs.services.iter().flat_map(|service| service.service_deployments.iter().map(move |of| (service, of)))
}

pub fn view(state: &State, settings: &Settings, service: &Service, of: &ServiceDeployment) -> Value {
    let mut reply = brief(settings, service, of);
    reply.shift_remove("targetServiceRevisionArn");
    put(&mut reply, "stoppedAt", of.stopped_at.map(seconds));
    reply.insert("updatedAt".into(), seconds(of.updated_at));
    let shift = of.shift.as_ref();
    let live =
        service.deployments.iter().find(|deployment| deployment.was_completed && deployment.revision != of.target);
    let live = live.map(|deployment| &deployment.revision).or(of.sources.first().map(|(revision, _)| revision));
    // A share of the traffic, as it was asked for: the old revision has what the new one has not.
    let share = |new: Option<u32>, revision: &str| {
        let tenths = match () {
            () if revision == of.target => new?,
            () if live.is_some_and(|live| live == revision) => 1000 - new?,
            () => new.map(|_| 0)?,
        };
        Some(json!(f64::from(tenths) / 10.0))
    };
    let summary = |revision: &str, requested: i64| {
        let deployment = service.deployments.iter().find(|deployment| deployment.revision == revision);
        let (running, pending) = deployment.map_or((0, 0), |of| service_view::counts(state, service, &of.id));
        let mut summary = Map::new();
        summary.insert("arn".into(), json!(revision));
        summary.insert("requestedTaskCount".into(), json!(requested));
        summary.insert("runningTaskCount".into(), json!(running));
        summary.insert("pendingTaskCount".into(), json!(pending));
        put(&mut summary, "requestedTestTrafficWeight", shift.and_then(|shift| share(shift.test, revision)));
        put(
            &mut summary,
            "requestedProductionTrafficWeight",
            shift.and_then(|shift| share(shift.production, revision)),
        );
        Value::Object(summary)
    };
    let sources = of.sources.iter().map(|(revision, requested)| summary(revision, *requested));
    reply.insert("sourceServiceRevisions".into(), sources.collect());
    let desired = service.deployments.iter().find(|deployment| deployment.revision == of.target);
    reply.insert("targetServiceRevision".into(), summary(&of.target, desired.map_or(0, |of| of.desired_count)));
    put(&mut reply, "lifecycleStage", shift.map(|shift| json!(shift.phase.stage(shift.step))));
    let hooks: Vec<Value> = shift.into_iter().flat_map(|shift| &shift.hooks).map(hook_view).collect();
    put(&mut reply, "lifecycleHookDetails", (!hooks.is_empty()).then(|| json!(hooks)));
    reply.insert("deploymentConfiguration".into(), of.configuration.clone());
    let rollback = of
        .rollback
        .as_ref()
        .map(|of| json!({"reason": of.reason, "startedAt": seconds(of.started_at), "serviceRevisionArn": of.revision}));
    put(&mut reply, "rollback", rollback);
    reply.insert(
        "deploymentCircuitBreaker".into(),
        json!({"status": of.breaker, "failureCount": of.failures, "threshold": of.threshold}),
    );
    reply.insert("alarms".into(), alarms_view(of));
    Value::Object(reply)
}

fn alarms_view(of: &ServiceDeployment) -> Value {
    let status = if of.alarms.status.is_empty() { "DISABLED" } else { &of.alarms.status };
    let names = |names: &[String]| (!names.is_empty()).then(|| json!(names));
    let mut view = Map::from_iter([("status".to_owned(), json!(status))]);
    put(&mut view, "alarmNames", names(&of.alarms.names));
    put(&mut view, "triggeredAlarmNames", names(&of.alarms.triggered));
    Value::Object(view)
}

fn hook_view(hook: &Hook) -> Value {
    let mut reply = Map::new();
    reply.insert("hookId".into(), json!(hook.id));
    reply.insert("targetType".into(), json!(if hook.is_pause() { "PAUSE" } else { "AWS_LAMBDA" }));
    put(&mut reply, "targetArn", hook.target.as_ref().map(|target| json!(target)));
    reply.insert("status".into(), json!(hook.status));
    reply.insert("expiresAt".into(), seconds(hook.expires_at));
    reply.insert("timeoutAction".into(), json!(hook.on_timeout));
    Value::Object(reply)
}

pub fn revisions(state: &State, request: &Request) -> ApiResult {
    let asked = request.texts("serviceRevisionArns");
    if asked.is_empty() || asked.len() > 20 {
        return Err(invalid("The number of service revision ARNs must be between 1 and 20."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in asked {
        let of = state.ecs.services.iter().find_map(|service| {
            service.revisions.iter().find(|revision| revision.arn == name).map(|revision| (service, revision))
        });
        match of {
            Some((service, revision)) => found.push(revision_view(request.settings, service, revision)),
            None => failures.push(failure(name.into(), "MISSING")),
        }
    }
    Ok(json!({"serviceRevisions": found, "failures": failures}))
}

fn revision_view(settings: &Settings, service: &Service, revision: &Revision) -> Value {
    let mut reply = Map::new();
    reply.insert("serviceRevisionArn".into(), json!(revision.arn));
    reply.insert("serviceArn".into(), json!(arn::service(settings, &service.cluster, &service.name)));
    reply.insert("clusterArn".into(), json!(arn::cluster(settings, &service.cluster)));
    reply.insert("taskDefinition".into(), json!(revision.task_definition));
    let has_strategy = revision.settings.get("capacityProviderStrategy").is_some();
    if !has_strategy {
        reply.insert("launchType".into(), revision.settings.get("launchType").cloned().unwrap_or(json!("EC2")));
    }
    for (member, value) in revision.settings.iter().filter(|(member, _)| *member != "launchType") {
        reply.insert(member.clone(), value.clone());
    }
    let images = revision.images.iter().map(|(container, image, digest)| {
        let mut of = Map::new();
        of.insert("containerName".into(), json!(container));
        put(&mut of, "imageDigest", digest.as_ref().map(|digest| json!(digest)));
        of.insert("image".into(), json!(image));
        Value::Object(of)
    });
    reply.insert("containerImages".into(), images.collect());
    reply.insert("guardDutyEnabled".into(), json!(false));
    put(&mut reply, "resolvedConfiguration", resolved(revision));
    reply.insert("createdAt".into(), seconds(revision.created_at));
    Value::Object(reply)
}

/// Which of its target groups the revision's tasks are in.
fn resolved(revision: &Revision) -> Option<Value> {
    let balancers = revision.settings.get("loadBalancers")?.as_array()?;
    let rules = balancers.iter().map(|of| &of["advancedConfiguration"]["productionListenerRule"]);
    let resolved = rules.filter(|rule| rule.is_string()).zip(&revision.target_groups);
    let resolved: Vec<Value> =
        resolved.map(|(rule, group)| json!({"targetGroupArn": group, "productionListenerRule": rule})).collect();
    (!resolved.is_empty()).then(|| json!({"loadBalancers": resolved}))
}

/// The scheduler carries out what this asks for.
pub fn stop(state: &mut State, request: &Request) -> ApiResult {
    let name = request.required("serviceDeploymentArn")?;
    let status = match request.text("stopType") {
        None | Some("ROLLBACK") => "ROLLBACK_REQUESTED",
        Some("ABORT") => "STOP_REQUESTED",
        Some(_) => return Err(invalid("stopType must be one of: ABORT, ROLLBACK")),
    };
    let position = |service: &Service| service.service_deployments.iter().position(|of| of.arn == name);
    let active = |service: &Service| service.status == ServiceStatus::Active;
    let mut services = state.ecs.services.iter().enumerate().filter(|(_, service)| active(service));
    let (service, at) = services
        .find_map(|(of, service)| Some((of, position(service)?)))
        .ok_or_else(|| ApiError::new("ServiceDeploymentNotFoundException", "Service deployment not found."))?;
    let deployment = &mut state.ecs.services[service].service_deployments[at];
    if deployment.is_over() {
        let message =
            format!("The service deployment cannot be stopped because it is in the {} status.", deployment.status);
        return Err(ApiError::new("ConflictException", message));
    }
    // A rollback that runs goes on: asking again changes nothing.
    if deployment.status != "ROLLBACK_IN_PROGRESS" || status == "STOP_REQUESTED" {
        deployment.status = status.into();
    }
    deployment.updated_at = request.now;
    Ok(json!({"serviceDeploymentArn": name}))
}

/// ContinueServiceDeployment: what a pause waits for.
pub fn go_on(state: &mut State, request: &Request) -> ApiResult {
    let name = request.required("serviceDeploymentArn")?;
    let id = request.required("hookId")?;
    let deployment =
        state.ecs.services.deployment_mut(name).ok_or_else(|| {
            ApiError::new("ServiceDeploymentNotFoundException", "The service deployment does not exist.")
        })?;
    if deployment.is_over() {
        return Err(invalid(
            "Continuing a service deployment is not allowed for service deployment in terminal states.",
        ));
    }
    let well_formed = ["ecs-pause-", "ecs-lambda-"].iter().any(|kind| id.starts_with(kind));
    if !well_formed {
        return Err(invalid("Invalid hookId: hookId must follow the format: ecs-{hookType}-{id}"));
    }
    let in_progress = deployment.status == "IN_PROGRESS";
    let hooks = deployment.shift.iter_mut().flat_map(|shift| &mut shift.hooks);
    let hook = { hooks }.find(|hook| hook.id == id && hook.status == "AWAITING_ACTION").filter(|_| in_progress);
    let hook = hook.ok_or_else(|| {
        invalid("Provided hookId is either completed, unavailable, or not associated with the given Resource ARN")
    })?;
    if request.text("action") == Some("ROLLBACK") {
        hook.status = "FAILED".into();
        deployment.status = "ROLLBACK_REQUESTED".into();
    } else {
        hook.status = "SUCCEEDED".into();
    }
    deployment.updated_at = request.now;
    Ok(json!({"serviceDeploymentArn": name}))
}
