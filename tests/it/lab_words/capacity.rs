//! What is said when capacity is taken away.

use serde_json::{Value, json};

use super::facts::{NO_CAPACITY, Where::Stopped};
use super::stage::Stage;

pub async fn spot_tasks_are_interrupted(stage: &Stage) {
    let mut cause = stage.cause();
    // Nobody else here uses Spot capacity, so that the others go on.
    let providers = json!(["FARGATE", "FARGATE_SPOT"]);
    let strategy = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    stage
        .ecs(
            "PutClusterCapacityProviders",
            json!({"cluster": "default", "capacityProviders": providers, "defaultCapacityProviderStrategy": []}),
        )
        .await;
    let group = stage.group("spot", "ip").await;
    let definition = stage.define("spot", json!({}), Stage::fargate()).await;
    let more = json!({
        "capacityProviderStrategy": strategy, "networkConfiguration": stage.network(),
        "loadBalancers": [{"targetGroupArn": group, "containerName": "spot", "containerPort": 8080}],
    });
    cause.create("spot", &definition, 2, more).await;
    assert_eq!(cause.over("spot").await, "SUCCESSFUL");

    let fault = stage.fault(json!({"kind": "interrupt-spot", "on": "scheduler:InterruptTask"})).await;
    let ended = cause.stops("spot", "Your Spot Task was interrupted.").await;
    // It had its SIGTERM, and ended by itself.
    let (provider, exit_code) = (&ended["capacityProviderName"], &ended["containers"][0]["exitCode"]);
    assert_eq!((provider, exit_code), (&json!("FARGATE_SPOT"), &json!(0)), "{ended:#}");
    cause.has(&[(Stopped, "SpotInterruption: Your Spot Task was interrupted.")]);
    cause.says("spot", NO_CAPACITY).await;
    let run = json!({
        "taskDefinition": definition, "capacityProviderStrategy": strategy, "networkConfiguration": stage.network(),
    });
    let refused = stage.ecs("RunTask", run).await["failures"][0]["reason"].clone();
    assert!(refused.as_str().is_some_and(|why| why.starts_with("Capacity is unavailable at this time.")), "{refused}");

    stage.clear(fault).await;
    let is_back = |service: &Value| service["runningCount"] == 2 && service["pendingCount"] == 0;
    let service = cause.until("spot", "replaced", is_back).await;
    assert_eq!(service["deployments"][0]["failedTasks"], 0, "an interruption is no failure of the release's");
    cause.update("spot", json!({"desiredCount": 0})).await;
}

pub async fn instances_are_lost(stage: &Stage) {
    let mut cause = stage.cause();
    let definition = stage.define("lost", json!({}), json!({})).await;
    let started = stage.ecs("RunTask", json!({"taskDefinition": definition})).await;
    let arn = started["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{started}")).to_owned();
    let fault = stage.fault(json!({"kind": "lose-capacity", "on": "scheduler:PlaceTask"})).await;
    let ended = cause.ended(&arn).await;
    let reason = ended["stoppedReason"].as_str().unwrap();
    assert!(reason.starts_with("Host EC2 (instance i-") && reason.ends_with(") terminated."), "{reason}");
    cause.has(&[(Stopped, "TerminationNotice: {rest}")]);
    stage.clear(fault).await;
}
