//! What stops tasks, and what is refused.

use serde_json::{Value, json};

use super::facts::Where::{Container, Error, Stopped};
use super::stage::{Cause, Stage};
use crate::lab_runtime::limits;

const ECS: &str = "AmazonEC2ContainerServiceV20141113";

pub fn memory_is_limited() -> bool {
    limits::cgroups_writable()
}

pub async fn tasks_stop(stage: &Stage) {
    let mut cause = stage.cause();
    let crash = stage.define("crash", json!({"environment": [{"name": "FAIL", "value": "start"}]}), json!({})).await;
    let ended = cause.run(json!({"taskDefinition": crash})).await;
    assert_eq!(ended["containers"][0]["exitCode"], 3, "{ended}");
    cause.has(&[(Stopped, "EssentialContainerExited: Essential container in task exited")]);

    let eat = json!({"entryPoint": ["/tool"], "command": ["eat"]});
    let eat = stage.define("eat", eat, json!({})).await;
    let ended = cause.run(json!({"taskDefinition": eat})).await;
    if memory_is_limited() && ended["containers"][0]["exitCode"] == 137 {
        cause.has(&[(Container, "OutOfMemoryError")]);
        assert_eq!(ended["stopCode"], "EssentialContainerExited");
    }

    // By who runs it, with a reason and without.
    let idle = stage.define("idle", json!({}), json!({})).await;
    for (reason, said) in [(None, "Task stopped by user"), (Some("not needed"), "not needed")] {
        let started = stage.ecs("RunTask", json!({"taskDefinition": idle})).await;
        let arn = started["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
        stage.ecs("StopTask", json!({"task": arn, "reason": reason})).await;
        let ended = cause.ended(&arn).await;
        assert_eq!((&ended["stopCode"], &ended["stoppedReason"]), (&json!("UserInitiated"), &json!(said)));
    }
    cause.has(&[(Stopped, "UserInitiated: {rest}")]);

    // On EC2 the container has the reason, on Fargate the task.
    let missing = json!({"image": format!("{}-none", stage.image)});
    let missing = stage.define("missing", missing, Stage::fargate()).await;
    let run = |definition: &str, launch_type: &str| json!({"taskDefinition": definition, "launchType": launch_type, "networkConfiguration": stage.network()});
    let on_ec2 = cause.run(run(&missing, "EC2")).await;
    assert_eq!(on_ec2["stoppedReason"], "Task failed to start");
    let why = on_ec2["containers"][0]["reason"].as_str().unwrap();
    assert!(why.starts_with("CannotPullContainerError: ") && why.contains("has been retried 7 time(s)"), "{why}");
    cause.has(&[(Stopped, "TaskFailedToStart: Task failed to start"), (Container, "CannotPullContainerError: {rest}")]);
    let on_fargate = cause.run(run(&missing, "FARGATE")).await;
    assert_eq!(on_fargate["stopCode"], "TaskFailedToStart");
    cause.has(&[(Stopped, "TaskFailedToStart: CannotPullContainerError: {rest}")]);

    let asks = json!({"secrets": [{"name": "S", "valueFrom": "/none"}]});
    let asks = stage.define("asks", asks, Stage::fargate()).await;
    cause.run(run(&asks, "FARGATE")).await;
    cause.has(&[(Stopped, "TaskFailedToStart: ResourceInitializationError: {rest}")]);
}

async fn refused(cause: &mut Cause<'_>, operation: &str, input: Value) {
    let error = cause.stage.call(&format!("{ECS}.{operation}"), input).await.expect_err(operation);
    cause.note(Error, error);
}

pub async fn requests_are_refused(stage: &Stage) {
    let mut cause = stage.cause();
    let old = stage.define("old", json!({}), json!({})).await;
    stage.ecs("CreateService", json!({"serviceName": "old", "taskDefinition": old, "desiredCount": 0})).await;
    stage.ecs("DeregisterTaskDefinition", json!({"taskDefinition": old})).await;
    refused(&mut cause, "UpdateService", json!({"service": "old", "taskDefinition": old})).await;
    cause.has(&[(Error, "ClientException: TaskDefinition is inactive")]);
    refused(&mut cause, "RunTask", json!({"taskDefinition": old})).await;
    cause.has(&[(Error, "InvalidParameterException: TaskDefinition is inactive")]);

    let new = stage.define("old", json!({}), json!({})).await;
    refused(&mut cause, "CreateService", json!({"serviceName": "old", "taskDefinition": new, "desiredCount": 1})).await;
    cause.has(&[(Error, "Creation of service was not idempotent.")]);
    let group = stage.unattached("alone", "instance").await;
    let balancer = json!({"targetGroupArn": group, "containerName": "old", "containerPort": 8080});
    let input = json!({"serviceName": "other", "taskDefinition": new, "desiredCount": 1, "loadBalancers": [balancer]});
    refused(&mut cause, "CreateService", input).await;
    cause.has(&[(Error, "does not have an associated load balancer.")]);

    let container = json!({"name": "x", "image": "x"});
    let bare = json!({"family": "bad", "containerDefinitions": [container]});
    refused(&mut cause, "RegisterTaskDefinition", bare.clone()).await;
    cause.has(&[(Error, "At least one of 'memory' or 'memoryReservation' must be specified.")]);
    for (cpu, memory, said) in [
        (None, Some("512"), "Fargate requires that 'cpu' be defined at the task level."),
        (Some("256"), None, "Fargate requires that 'memory' be defined at the task level."),
        (Some("256"), Some("8192"), "No Fargate configuration exists for given values"),
    ] {
        let mut input = bare.clone();
        input["containerDefinitions"][0]["memory"] = json!(64);
        input["networkMode"] = json!("awsvpc");
        input["requiresCompatibilities"] = json!(["FARGATE"]);
        input["cpu"] = json!(cpu);
        input["memory"] = json!(memory);
        refused(&mut cause, "RegisterTaskDefinition", input).await;
        cause.has(&[(Error, said)]);
    }
    let reply = stage.ecs("DescribeServices", json!({"services": ["nobody"]})).await;
    cause.note(Error, format!("failure: {}", reply["failures"][0]["reason"].as_str().unwrap()));
    cause.has(&[(Error, "failure: MISSING")]);
}
