//! The scheduler at work in a lab, with the runtime switched off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use steadystate::lab::{
    Lab,
    clock::{Clock, Pace},
    ecs,
    runtime::Runtime,
    scheduler,
    state::State,
};
use tokio_util::sync::CancellationToken;

use super::settings;

async fn until(lab: &Lab, done: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let reply = ecs::handle(lab, "DescribeServices", json!({"services": ["web"]})).expect("services");
        if done(&reply["services"][0]) {
            return reply["services"][0].clone();
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{reply:#}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_image_that_is_not_there_fails_its_deployment_and_then_nothing_happens() {
    let lab = Arc::new(Lab::new(settings(), Clock::new(Pace::Fast), Runtime::disabled(), State::default()));
    let shutdown = CancellationToken::new();
    let scheduler = tokio::spawn(scheduler::run(lab.clone(), shutdown.clone()));
    let container = json!({"name": "app", "image": "127.0.0.1:4566/none:1", "memory": 64});
    let call = |operation: &str, input: Value| ecs::handle(&lab, operation, input).expect("a reply");
    call("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [container]}));
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    let input =
        json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1, "deploymentConfiguration": breaker});
    call("CreateService", input);
    let service = until(&lab, |service| service["deployments"][0]["rolloutState"] == "FAILED").await;
    assert_eq!(service["deployments"][0]["failedTasks"], 3);
    let stopped = |tasks: &Value| {
        tasks["tasks"].as_array().is_some_and(|of| of.iter().all(|task| task["lastStatus"] == "STOPPED"))
    };
    let tasks = loop {
        let arns = call("ListTasks", json!({"desiredStatus": "STOPPED"}))["taskArns"].clone();
        let tasks = call("DescribeTasks", json!({"tasks": arns}));
        if stopped(&tasks) {
            break tasks;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let reason = tasks["tasks"][0]["containers"][0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("CannotPullContainerError"), "{reason}");
    // An idle lab is left alone: nobody writes, so nobody wakes.
    let changes = lab.changes();
    let before = *changes.borrow();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(*changes.borrow(), before);
    shutdown.cancel();
    scheduler.await.expect("the scheduler ends");
}
