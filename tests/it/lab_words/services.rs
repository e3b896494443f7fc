//! What services say of their tasks and deployments.

use serde_json::{Value, json};

use super::facts::Where::{Container, Deployment, Event, Monitor, Rollout, Stopped};
use super::stage::{Cause, Stage};
use crate::lab_ecs::Sim;

fn balanced(container: &str, group: &str) -> Value {
    json!({"loadBalancers": [{"targetGroupArn": group, "containerName": container, "containerPort": 8080}]})
}

fn breaker() -> Value {
    json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}})
}

/// Two events that come as a pair: the second right after the first, 1 ms later.
fn follow(service: &Value, first: &str, second: &str) {
    let events = service["events"].as_array().unwrap();
    let at = |part: &str| {
        let position = events.iter().position(|event| event["message"].as_str().unwrap().contains(part));
        position.unwrap_or_else(|| panic!("{part}: {events:#?}"))
    };
    let (earlier, later) = (at(first), at(second));
    // newest first
    assert_eq!(later + 1, earlier, "{events:#?}");
    let time = |at: usize| (events[at]["createdAt"].as_f64().unwrap() * 1000.0).round() as i64;
    assert_eq!(time(later) - time(earlier), 1, "{events:#?}");
}

pub async fn a_service_rolls_scales_and_goes_back_on_request(stage: &Stage) {
    let mut cause = stage.cause();
    let group = stage.group("rolls", "instance").await;
    let definition = stage.define("rolls", json!({}), json!({})).await;
    cause.create("rolls", &definition, 2, balanced("rolls", &group)).await;
    cause.deployment("rolls").await;
    assert_eq!(cause.over("rolls").await, "SUCCESSFUL");
    let steady = cause.says("rolls", "(service {name}) has reached a steady state.").await;
    follow(&steady, "deployment completed.", "has reached a steady state.");
    cause.has(&[
        (Event, "(service {name}) has started {n} tasks: {tasks}."),
        (Event, "(service {name}) registered {n} targets in (target-group {group})"),
        (Event, "deployment completed."),
        (Event, "has reached a steady state."),
        (Rollout, "ECS deployment {deployment} completed."),
        (Deployment, "SUCCESSFUL"),
        (Monitor, "deploymentCircuitBreaker DISABLED"),
        (Monitor, "alarms DISABLED"),
    ]);

    // The next release: first what is PENDING, then the old tasks go.
    let updated = stage.ecs("UpdateService", json!({"service": "rolls", "forceNewDeployment": true})).await;
    let deployments = &updated["service"]["deployments"];
    assert_eq!((&deployments[0]["status"], &deployments[0]["desiredCount"]), (&json!("PRIMARY"), &json!(0)));
    assert_eq!((&deployments[1]["status"], &deployments[1]["rolloutState"]), (&json!("ACTIVE"), &json!("COMPLETED")));
    assert_eq!(cause.over("rolls").await, "SUCCESSFUL");
    cause.stops("rolls", "Scaling activity initiated by (deployment {deployment})").await;
    cause.service("rolls").await;
    cause.has(&[
        (Event, "(service {name}) deregistered {n} targets in (target-group {group})"),
        (Event, "has begun draining connections on {n} tasks."),
        (Event, "has stopped {n} running tasks: {tasks}."),
        (Stopped, "ServiceSchedulerInitiated: Scaling activity initiated by (deployment {deployment})"),
    ]);

    // Stopped by hand: back to what ran, and just an end.
    let held = stage.define("rolls", json!({"environment": [{"name": "FAIL", "value": "silent"}]}), json!({})).await;
    for (how, status) in [("ROLLBACK", "ROLLBACK_SUCCESSFUL"), ("ABORT", "STOPPED")] {
        cause.update("rolls", json!({"taskDefinition": held})).await;
        let arn = cause.deployment("rolls").await["serviceDeploymentArn"].clone();
        let input = json!({"serviceDeploymentArn": arn, "stopType": how});
        stage.ecs("StopServiceDeployment", input).await;
        assert_eq!(cause.over("rolls").await, status);
    }
    cause.has(&[
        (Deployment, "ROLLBACK_SUCCESSFUL: Service deployment rolled back because of a user request."),
        (Deployment, "STOPPED: Service deployment stopped because of a user request."),
    ]);
}

pub async fn an_image_that_is_not_there_trips_the_circuit_breaker(stage: &Stage) {
    let mut cause = stage.cause();
    let good = stage.define("trips", json!({}), json!({})).await;
    cause.create("trips", &good, 1, json!({"deploymentConfiguration": breaker()})).await;
    assert_eq!(cause.over("trips").await, "SUCCESSFUL");
    cause.has(&[(Monitor, "deploymentCircuitBreaker MONITORING_COMPLETE")]);
    let bad = stage.define("trips", json!({"image": format!("{}-none", stage.image)}), json!({})).await;
    cause.update("trips", json!({"taskDefinition": bad})).await;
    assert_eq!(cause.over("trips").await, "ROLLBACK_SUCCESSFUL");
    cause.stops("trips", "Task failed to start").await;
    let service = cause.service("trips").await;
    follow(&service, "deployment failed: tasks failed to start.", "rolling back to deployment ecs-svc/");
    let deployment = cause.deployment("trips").await;
    let counted = json!({"status": "TRIGGERED", "failureCount": 3, "threshold": 3});
    assert_eq!(deployment["deploymentCircuitBreaker"], counted);
    cause.has(&[
        (Event, "was unable to place a task. Reason: CannotPullContainerError"),
        (Event, "is unable to consistently start tasks successfully."),
        (Event, "deployment failed: tasks failed to start."),
        (Event, "rolling back to deployment {deployment}."),
        (
            Deployment,
            "ROLLBACK_SUCCESSFUL: Service deployment rolled back because the circuit breaker threshold was exceeded.",
        ),
        (Monitor, "deploymentCircuitBreaker TRIGGERED"),
        (Container, "CannotPullContainerError: {rest}"),
    ]);
}

pub async fn without_a_release_before_there_is_nothing_to_go_back_to(stage: &Stage) {
    let mut cause = stage.cause();
    let bad = stage.define("first", json!({"environment": [{"name": "FAIL", "value": "start"}]}), json!({})).await;
    cause.create("first", &bad, 1, json!({"deploymentConfiguration": breaker()})).await;
    assert_eq!(cause.over("first").await, "ROLLBACK_FAILED");
    cause.has(&[(Deployment, "ROLLBACK_FAILED: No rollback candidate was found to run the rollback.")]);
}

pub async fn container_health_checks_fail(stage: &Stage) {
    let mut cause = stage.cause();
    let check = json!({"command": ["CMD", "/tool", "exit", "1"], "interval": 5, "timeout": 2, "retries": 1});
    let sick = stage.define("sick", json!({"healthCheck": check}), json!({})).await;
    cause.create("sick", &sick, 1, json!({})).await;
    cause.stops("sick", "Task failed container health checks").await;
    let replaced =
        "(service {name}) has started {n} tasks: {tasks}. Amazon ECS replaced {n} tasks due to an unhealthy status.";
    cause.says("sick", replaced).await;
    cause.has(&[
        (Event, "(service {name}) (task {id}) failed container health checks."),
        (Event, replaced),
        (Stopped, "ServiceSchedulerInitiated: Task failed container health checks"),
    ]);
    cause.update("sick", json!({"desiredCount": 0})).await;
}

pub async fn targets_answer_503_or_nothing(stage: &Stage) {
    let on_fargate = json!({"launchType": "FARGATE", "networkConfiguration": stage.network()});
    let codes = "Health checks failed with these codes: [503]";
    let table = [
        ("busy", "busy", "instance", "(instance {instance})", codes),
        ("hang", "hang", "instance", "(instance {instance})", "Request timed out"),
        ("busy-ip", "busy", "ip", "(task {id})", codes),
    ];
    let rows = table.map(async |(name, fail, target_type, who, why)| {
        let mut cause = stage.cause();
        let group = stage.group(name, target_type).await;
        let container = json!({"environment": [{"name": "FAIL", "value": fail}]});
        let with_address = target_type == "ip";
        let definition = stage.define(name, container, if with_address { Stage::fargate() } else { json!({}) }).await;
        let mut more = balanced(name, &group);
        if with_address {
            more.as_object_mut().unwrap().extend(on_fargate.as_object().unwrap().clone());
        }
        cause.create(name, &definition, 1, more).await;
        let event = format!(
            "(service {{name}}) {who} (port {{n}}) is unhealthy in (target-group {{group}}) due to (reason {why})."
        );
        cause.says(name, &event).await;
        cause.stops(name, "Task failed ELB health checks in (target-group {group})").await;
        cause.has(&[
            (Event, &event),
            (Stopped, "ServiceSchedulerInitiated: Task failed ELB health checks in (target-group {group})"),
        ]);
        cause.update(name, json!({"desiredCount": 0})).await;
    });
    futures_util::future::join_all(rows).await;
}

pub async fn there_is_no_room(stage: &Stage) {
    let mut cause = stage.cause();
    let fixed = json!({"portMappings": [{"containerPort": 8080, "hostPort": 18080}]});
    let table = [
        ("cpu", json!({"cpu": 1_000_000}), 1, "has insufficient CPU units available."),
        ("memory", json!({"memory": 1_000_000}), 1, "has insufficient memory available."),
        ("ports", fixed, 2, "is already using a port required by your task."),
    ];
    for (name, container, desired, why) in table {
        let definition = stage.define(name, container, json!({})).await;
        cause.create(name, &definition, desired, json!({})).await;
        cause
            .until(name, why, |service| {
                let mut events = service["events"].as_array().unwrap().iter();
                events.any(|event| event["message"].as_str().unwrap().contains(why))
            })
            .await;
        cause.has(&[(Event, why)]);
    }
    pending(&mut cause).await;
}

/// Tasks that are not there yet when they are not wanted any more: they wait for a container that never gets healthy.
async fn pending(cause: &mut Cause<'_>) {
    let stage = cause.stage;
    let check = json!({"command": ["CMD", "/tool", "exit", "1"], "interval": 300, "startPeriod": 300});
    let slow = json!({"name": "slow", "image": stage.image, "memory": 32, "essential": false, "healthCheck": check});
    let waits = json!({
        "name": "waits", "image": stage.image, "memory": 32,
        "dependsOn": [{"containerName": "slow", "condition": "HEALTHY"}],
    });
    let input = json!({"family": "waits", "containerDefinitions": [slow, waits]});
    let reply = stage.ecs("RegisterTaskDefinition", input).await;
    let definition = reply["taskDefinition"]["taskDefinitionArn"].as_str().unwrap();
    cause.create("waits", definition, 2, json!({})).await;
    cause.until("waits", "pending", |service| service["pendingCount"] == 2).await;
    cause.update("waits", json!({"desiredCount": 0})).await;
    cause.says("waits", "(service {name}) stopped {n} pending tasks.").await;
    cause.has(&[(Event, "(service {name}) stopped {n} pending tasks.")]);
}

pub async fn an_alarm_goes_off(stage: &Stage) {
    const CLOUDWATCH: &str = "GraniteServiceVersion20100801";
    let mut cause = stage.cause();
    let alarm = json!({
        "AlarmName": "on", "Namespace": "Web", "MetricName": "5XX", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold",
    });
    stage.call(&format!("{CLOUDWATCH}.PutMetricAlarm"), alarm).await.unwrap();
    let definition = stage.define("alarmed", json!({}), json!({})).await;
    let alarms = json!({"alarmNames": ["on"], "enable": true, "rollback": true});
    let with = |minutes: i64| json!({"deploymentConfiguration": {"alarms": alarms, "bakeTimeInMinutes": minutes}});
    cause.create("alarmed", &definition, 1, with(0)).await;
    assert_eq!(cause.over("alarmed").await, "SUCCESSFUL");
    cause.has(&[(Monitor, "alarms MONITORING_COMPLETE")]);
    let mut again = with(1000);
    again["forceNewDeployment"] = json!(true);
    cause.update("alarmed", again).await;
    cause.until("alarmed", "baking", |service| service["deployments"][0]["runningCount"] == 1).await;
    cause.has(&[(Monitor, "alarms MONITORING")]);
    let set = json!({"AlarmName": "on", "StateValue": "ALARM", "StateReason": "set by hand"});
    stage.call(&format!("{CLOUDWATCH}.SetAlarmState"), set).await.unwrap();
    assert_eq!(cause.over("alarmed").await, "ROLLBACK_SUCCESSFUL");
    let service = cause.service("alarmed").await;
    follow(&service, "deployment failed: alarm detected.", "rolling back to deployment ecs-svc/");
    cause.has(&[(Event, "deployment failed: alarm detected."), (Monitor, "alarms TRIGGERED")]);
}

/// What a real lab says for a fraction of a second, which who asks by HTTP may miss: the scheduler stepped by hand.
pub fn what_passes_soon_is_said_too(stage: &Stage) {
    let mut cause = stage.cause();
    let mut sim = Sim::new();
    sim.crashing.insert("crash".into());
    sim.register("good");
    sim.create(1);
    let mut until_over = |sim: &mut Sim| {
        sim.until("over", |sim| {
            let (service, deployment) = (sim.service(), sim.service_deployment());
            for of in service["deployments"].as_array().unwrap() {
                cause.note(Rollout, of["rolloutStateReason"].as_str().unwrap());
            }
            let reason = deployment["statusReason"].as_str().map_or(String::new(), |reason| format!(": {reason}"));
            cause.note(Deployment, format!("{}{reason}", deployment["status"].as_str().unwrap()));
            let breaker = deployment["deploymentCircuitBreaker"]["status"].as_str().unwrap();
            cause.note(Monitor, format!("deploymentCircuitBreaker {breaker}"));
            service["currentServiceDeployment"].is_null()
        });
    };
    until_over(&mut sim);
    let bad = sim.register("crash");
    sim.call("UpdateService", json!({"service": "web", "taskDefinition": bad}));
    until_over(&mut sim);
    sim.call("UpdateService", json!({"service": "web", "forceNewDeployment": true}));
    let arn = sim.service_deployment()["serviceDeploymentArn"].clone();
    sim.call("StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"}));
    until_over(&mut sim);
    cause.has(&[
        (Rollout, "ECS deployment {deployment} in progress."),
        (Rollout, "ECS deployment circuit breaker: tasks failed to start."),
        (Rollout, "ECS deployment circuit breaker: rolling back to deploymentId {deployment}."),
        (Deployment, "IN_PROGRESS"),
        (Deployment, "ROLLBACK_IN_PROGRESS: Service deployment rolled back because of a user request."),
        (Monitor, "deploymentCircuitBreaker MONITORING"),
    ]);
}

/// In a lab of its own, stepped by hand: every cluster of a real one has an instance. Here a new deployment is caught
/// before its first step, too.
pub fn there_are_no_instances(stage: &Stage) {
    let mut cause = stage.cause();
    let mut sim = Sim::new();
    sim.register("web");
    sim.state.ecs.instances.clear();
    sim.create(1);
    let deployment = sim.service_deployment();
    cause.note(Deployment, deployment["status"].as_str().unwrap());
    let why = "No Container Instances were found in your cluster.";
    sim.until(why, |sim| sim.events().iter().any(|event| event.contains(why)));
    for event in sim.events() {
        cause.note(Event, event);
    }
    cause.has(&[(Deployment, "PENDING"), (Event, why)]);
}
