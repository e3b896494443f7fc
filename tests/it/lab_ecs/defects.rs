//! Defects of the lab itself: what one task or service meets is kept to that one. An overflow stands for any.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use steadystate::lab::{
    Lab,
    clock::{Clock, Pace},
    ecs::{
        self,
        model::{Run, TaskStatus},
    },
    runtime::{Line, Output, Runtime},
    scheduler,
    state::State,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Sim, settings};

/// Services `web` and `other`, each with a task.
fn two() -> Sim {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(1);
    sim.call("CreateService", json!({"serviceName": "other", "taskDefinition": "web", "desiredCount": 1}));
    sim.settle();
    sim
}

fn other(sim: &mut Sim) -> i64 {
    let reply = sim.call("DescribeServices", json!({"services": ["other"]}));
    reply["services"][0]["runningCount"].as_i64().expect("a count")
}

fn find(sim: &Sim, name: &str) -> usize {
    sim.state.ecs.services.iter().position(|service| service.name == name).expect("a service")
}

#[test]
fn a_defect_in_the_look_at_a_service_is_kept_to_that_service() {
    let mut sim = two();
    let web = find(&sim, "web");
    sim.state.ecs.services[web].desired_count = i64::MIN;
    let context = scheduler::Context { settings: &sim.settings, clock: Clock::new(Pace::Aws), now: sim.now };
    let outcome = scheduler::step(&mut sim.state, context);
    assert_eq!(scheduler::failing(&sim.state), ["scheduler: service default/web"]);
    let next = outcome.next.expect("it is tried again");
    assert!(next >= sim.now + 1000, "{} ms until then", next - sim.now);
    assert_eq!(sim.state.ecs.services[web].desired_count, i64::MIN, "nothing of it is lost");

    sim.call("UpdateService", json!({"service": "other", "desiredCount": 3}));
    sim.until("scaled", |sim| other(sim) == 3);
    sim.seconds(120);
    assert_eq!(scheduler::failing(&sim.state), ["scheduler: service default/web"]);
    assert_eq!(sim.state.ecs.tasks.of_group("default", "service:web").filter(|task| task.is_wanted()).count(), 1);

    // By itself, once there is nothing wrong any more.
    sim.state.ecs.services[web].desired_count = 2;
    sim.until("well", |sim| sim.service()["runningCount"] == 2);
    assert_eq!(scheduler::failing(&sim.state), [""; 0]);
}

#[test]
fn a_defect_in_the_look_at_a_task_is_kept_to_that_task() {
    let mut sim = two();
    let bad = sim.state.ecs.tasks.of_group("default", "service:web").next().expect("a task").id.clone();
    let task = sim.state.ecs.tasks.get_mut(&bad).expect("a task");
    (task.status, task.stop, task.since) = (TaskStatus::Deprovisioning, true, i64::MAX);
    sim.step();
    assert_eq!(scheduler::failing(&sim.state), [format!("scheduler: task {bad}")]);
    sim.call("UpdateService", json!({"service": "other", "desiredCount": 2}));
    sim.until("scaled", |sim| other(sim) == 2);
    sim.until("replaced", |sim| sim.service()["runningCount"] == 1);
    let now = sim.now;
    sim.state.ecs.tasks.get_mut(&bad).expect("it is still there").since = now;
    sim.until("stopped", |sim| sim.state.ecs.tasks[&bad].status == TaskStatus::Stopped);
    assert_eq!(scheduler::failing(&sim.state), [""; 0]);
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(20), "never {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_scheduler_outlives_what_it_does_and_what_it_looks_at() {
    let lab = Arc::new(Lab::new(settings(), Clock::new(Pace::Fast), Runtime::disabled(), State::default()));
    let call = |operation: &str, input: Value| ecs::handle(&lab, operation, input).expect("a reply");
    let container = json!({"name": "app", "image": "127.0.0.1:4566/none:1", "memory": 64});
    call("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [container]}));
    call("RunTask", json!({"taskDefinition": "web"}));
    call("CreateService", json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 0}));
    lab.write(|state| {
        // The id of a task is longer: how it is to be started cannot even be said.
        let id = state.ecs.tasks.values().next().expect("a task").id.clone();
        let mut short = state.ecs.tasks[&id].clone();
        (short.id, short.status, short.run) = ("short".to_owned(), TaskStatus::Pending, Run::No);
        state.ecs.tasks.insert("short".to_owned(), short);
        state.ecs.services[0].desired_count = i64::MIN;
    });
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(scheduler::run(lab.clone(), shutdown.clone()));
    until("stopped", || lab.read(|state| state.ecs.tasks["short"].status == TaskStatus::Stopped)).await;
    let why = lab.read(|state| state.ecs.tasks["short"].stopped_reason.clone()).expect("a reason");
    assert!(why.starts_with("CannotStartContainerError: a defect of the lab: "), "{why}");
    until("told", || lab.read(scheduler::failing) == ["scheduler: service default/web"]).await;
    call("CreateService", json!({"serviceName": "other", "taskDefinition": "web", "desiredCount": 1}));
    let of_other = |state: &State| state.ecs.tasks.of_group("default", "service:other").count() > 0;
    until("a task of the other service", || lab.read(of_other)).await;
    shutdown.cancel();
    running.await.expect("it ends as it is told to");
}

#[tokio::test]
async fn a_step_that_a_defect_ends_is_tried_again() {
    let lab = Arc::new(Lab::new(settings(), Clock::new(Pace::Fast), Runtime::disabled(), State::default()));
    let call = |operation: &str, input: Value| ecs::handle(&lab, operation, input).expect("a reply");
    let container = json!({"name": "app", "image": "127.0.0.1:4566/none:1", "memory": 64});
    call("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [container]}));
    call("RunTask", json!({"taskDefinition": "web"}));
    lab.write(|state| {
        // It was stopped so late that it cannot be said when it is to be forgotten.
        let mut task = state.ecs.tasks.values().next().expect("a task").clone();
        (task.id, task.status, task.stop, task.stopped_at) =
            ("late".to_owned(), TaskStatus::Stopped, true, Some(i64::MAX));
        state.ecs.tasks.insert("late".to_owned(), task);
    });
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(scheduler::run(lab.clone(), shutdown.clone()));
    until("told", || lab.read(scheduler::failing) == ["scheduler"]).await;
    lab.write(|state| state.ecs.tasks.remove("late"));
    let is_over = |state: &State| state.ecs.tasks.values().all(|task| task.status == TaskStatus::Stopped);
    until("over", || lab.read(is_over)).await;
    assert_eq!(lab.read(scheduler::failing), [""; 0]);
    shutdown.cancel();
    running.await.expect("it ends as it is told to");
}

#[tokio::test]
async fn what_containers_write_is_kept_after_a_defect() {
    let lab = Arc::new(Lab::new(settings(), Clock::new(Pace::Fast), Runtime::disabled(), State::default()));
    let call = |operation: &str, input: Value| ecs::handle(&lab, operation, input).expect("a reply");
    let container = json!({"name": "app", "image": "a", "memory": 64});
    call("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [container]}));
    call("RunTask", json!({"taskDefinition": "web"}));
    let task = lab.read(|state| state.ecs.tasks.values().next().expect("a task").id.clone());
    // One more stream cannot be counted.
    lab.write(|state| state.logs.streams = u64::MAX);
    let (sender, receiver) = mpsc::channel(16);
    let keeper = tokio::spawn(scheduler::output::keep(lab.clone(), receiver));
    let say = async |text: &str| {
        let (task_id, container) = (task.as_str().into(), "app".into());
        let line = Line { task_id, container, text: text.into(), stderr: false, at: 1 };
        sender.send(Output::Line(line)).await.expect("the keeper takes it");
        let (taken, all_taken) = oneshot::channel();
        sender.send(Output::End(taken)).await.expect("the keeper takes it");
        all_taken.await.expect("the end may be told, whatever became of the lines");
    };
    say("lost").await;
    lab.write(|state| state.logs.streams = 0);
    say("kept").await;
    let stream = format!("ecs/app/{task}");
    let kept: Vec<String> = lab.read(|state| {
        let events = &state.logs.groups["/lab/ecs/web"].streams[&stream].events;
        events.iter().map(|event| event.message.clone()).collect()
    });
    assert_eq!(kept, ["kept"]);
    drop(sender);
    keeper.await.expect("it ends with its senders");
}
