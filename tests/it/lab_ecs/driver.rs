//! The scheduler at work in a lab, with the runtime switched off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use steadystate::lab::{
    Lab,
    clock::{Clock, Pace},
    ecs,
    runtime::{Line, Output, Runtime},
    scheduler::{self, output},
    state::State,
};
use tokio::sync::{mpsc, oneshot};
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
async fn what_a_chatty_container_writes_is_kept_without_waking_the_lab_for_each_line() {
    let lab = Arc::new(Lab::new(settings(), Clock::new(Pace::Fast), Runtime::disabled(), State::default()));
    ecs::handle(
        &lab,
        "RegisterTaskDefinition",
        json!({"family": "web", "containerDefinitions": [{"name": "app", "image": "a", "memory": 64}]}),
    )
    .expect("a revision");
    let task = ecs::handle(&lab, "RunTask", json!({"taskDefinition": "web"})).expect("a task")["tasks"][0].clone();
    let id: Arc<str> = task["taskArn"].as_str().and_then(|arn| arn.rsplit('/').next()).expect("an id").into();
    let (sender, receiver) = mpsc::channel(256);
    let keeper = tokio::spawn(output::keep(lab.clone(), receiver));
    let before = *lab.changes().borrow();
    let started = Instant::now();
    for at in 0..100_000 {
        let (task_id, container) = (id.clone(), "app".into());
        let line = Line { task_id, container, text: format!("line {at}"), stderr: false, at };
        sender.send(Output::Line(line)).await.expect("the keeper takes it");
    }
    let (taken, all_taken) = oneshot::channel();
    sender.send(Output::End(taken)).await.expect("the keeper takes it");
    all_taken.await.expect("an answer");
    let written = *lab.changes().borrow() - before;
    assert!(written <= started.elapsed().as_secs() + 1, "{written} steps for 100000 lines");
    let stream = format!("ecs/app/{id}");
    let last = lab.read(|state| {
        let events = &state.logs.groups["/lab/ecs/web"].streams[&stream].events;
        (events.len(), events.back().map(|event| event.message.clone()))
    });
    assert_eq!(last, (10_000, Some("line 99999".to_owned())), "the last line is there when the end may be told");
    // the lab hears of it by itself, so that it is saved
    let mut changes = lab.changes();
    if *changes.borrow_and_update() == before {
        tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.expect("in time").expect("a lab");
    }
    drop(sender);
    keeper.await.expect("it ends with its senders");
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
