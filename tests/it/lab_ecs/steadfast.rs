//! What happens once, and what is the same afterwards.

use serde_json::{Value, json};

use super::Sim;

#[test]
fn after_a_restart_the_same_tasks_are_started_again() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(2);
    sim.settle();
    let before = (sim.tasks("RUNNING"), sim.events());
    let saved = serde_json::to_string(&sim.state).expect("state as JSON");
    sim.state = serde_json::from_str(&saved).expect("state from JSON");
    let context =
        steadystate::lab::scheduler::Context { settings: &sim.settings, clock: Default::default(), now: sim.now };
    let outcome = steadystate::lab::scheduler::step(&mut sim.state, context);
    assert_eq!(outcome.effects.len(), 2);
    for effect in outcome.effects {
        sim.perform(effect);
    }
    sim.seconds(60);
    let strip = |tasks: Vec<Value>| -> Vec<Value> {
        tasks
            .into_iter()
            .map(|mut task| {
                task.as_object_mut().map(|members| members.shift_remove("version"));
                task
            })
            .collect()
    };
    assert_eq!(strip(sim.tasks("RUNNING")), strip(before.0));
    assert_eq!(sim.events(), before.1);
}

#[test]
fn a_client_token_runs_its_tasks_once() {
    let mut sim = Sim::new();
    sim.register("v1");
    let mut input = json!({"taskDefinition": "web", "count": 2, "clientToken": "token"});
    let first = sim.call("RunTask", input.clone());
    assert_eq!(sim.call("RunTask", input.clone()), first);
    assert_eq!(sim.state.ecs.tasks.len(), 2);
    input["count"] = json!(3);
    assert_eq!(sim.refused("RunTask", input).code, "ConflictException");
}

/// Whatever happens meanwhile, a new deployment too.
#[test]
fn the_same_trouble_is_said_once_in_six_hours() {
    let mut sim = Sim::new();
    sim.state.ecs.instances.clear();
    sim.register("v1");
    sim.create(1);
    let told = |sim: &mut Sim| {
        let events = sim.events();
        events.iter().filter(|event| event.contains("No Container Instances were found in your cluster.")).count()
    };
    sim.seconds(60);
    for _ in 0..3 {
        sim.call("UpdateService", json!({"service": "web", "forceNewDeployment": true}));
        sim.seconds(60);
    }
    assert_eq!(told(&mut sim), 1);
    sim.now += 6 * 3_600_000 - 300_000;
    sim.step();
    assert_eq!(told(&mut sim), 1, "not yet");
    sim.now += 300_000;
    sim.step();
    assert_eq!(told(&mut sim), 2);

    // The tasks that cannot be pulled: each deployment's image is another matter.
    let mut sim = Sim::new();
    sim.missing.extend(["v1".to_owned(), "v2".to_owned()]);
    sim.register("v1");
    sim.call("CreateService", json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1}));
    sim.seconds(1800);
    sim.call("UpdateService", json!({"service": "web", "forceNewDeployment": true}));
    sim.seconds(1800);
    let of = |sim: &mut Sim, words: &str| sim.events().iter().filter(|event| event.contains(words)).count();
    let (pull, start) = ("failed to resolve ref v1", "is unable to consistently start tasks successfully.");
    assert_eq!((of(&mut sim, pull), of(&mut sim, start)), (1, 1), "{:#?}", sim.events());
    sim.register("v2");
    sim.call("UpdateService", json!({"service": "web", "taskDefinition": "web"}));
    sim.seconds(1800);
    assert_eq!((of(&mut sim, "failed to resolve ref v2"), of(&mut sim, start)), (1, 1), "{:#?}", sim.events());
}

#[test]
fn percents_that_allow_nothing_are_told_once() {
    const STUCK: &str = "(service web) was unable to stop or start tasks during a deployment because of the service \
        deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.";
    // (desired count, minimum, maximum, it waits for other percents)
    for (desired, minimum, maximum, stuck) in
        [(1, 100, 150, true), (2, 51, 149, true), (4, 100, 124, true), (4, 100, 125, false), (2, 50, 149, false)]
    {
        let mut sim = Sim::new();
        sim.register("v1");
        sim.create(desired);
        sim.settle();
        let percents = json!({"minimumHealthyPercent": minimum, "maximumPercent": maximum});
        let next = sim.register("v2");
        sim.call(
            "UpdateService",
            json!({"service": "web", "taskDefinition": next, "deploymentConfiguration": percents}),
        );
        sim.seconds(900);
        let told = sim.events().iter().filter(|event| *event == STUCK).count();
        let state = sim.service()["deployments"][0]["rolloutState"].clone();
        let expected = if stuck { (1, json!("IN_PROGRESS")) } else { (0, json!("COMPLETED")) };
        assert_eq!((told, state), expected, "{desired} tasks, {minimum} to {maximum} %");
        let percents = json!({"minimumHealthyPercent": 0, "maximumPercent": 200});
        sim.call("UpdateService", json!({"service": "web", "deploymentConfiguration": percents}));
        sim.settle();
        assert_eq!(sim.service()["deployments"][0]["rolloutState"], "COMPLETED");
    }
}
