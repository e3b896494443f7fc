//! What can never roll, and what has nowhere to go.

use serde_json::{Value, json};
use steadystate::deploy::preflight::capacity::needs;
use steadystate::deploy::preflight::cluster::{Capacity, capacity};
use steadystate::deploy::service::trap::{deadlock, percents};

use super::World;

fn percent(minimum: i64, maximum: i64) -> Value {
    json!({ "minimumHealthyPercent": minimum, "maximumPercent": maximum })
}

#[test]
fn percents_that_cannot_move_are_told_from_those_that_can() {
    let live = |desired: i64, running: i64| json!({ "desiredCount": desired, "runningCount": running });
    for (desired, minimum, maximum, stuck) in [
        (1, 100, 200, false),
        (1, 0, 100, false),
        (1, 50, 100, true),
        (1, 50, 150, true),
        (1, 100, 100, true),
        (2, 50, 100, false),
        (2, 51, 100, true),
        (3, 50, 125, false),
        (3, 67, 125, true),
        (4, 100, 124, true),
        (4, 100, 125, false),
        (0, 100, 100, false),
    ] {
        let wanted = json!({ "deploymentConfiguration": percent(minimum, maximum) });
        let found = percents(Some(&live(desired, desired)), &wanted);
        assert_eq!(found.is_some(), stuck, "{desired} {minimum} {maximum}: {found:?}");
        // What has none running yet only starts.
        assert!(percents(Some(&live(desired, 0)), &wanted).is_none());
        // What the document leaves open stays as it is.
        let configured = json!({ "desiredCount": desired, "runningCount": desired, "deploymentConfiguration": percent(minimum, maximum) });
        assert_eq!(percents(Some(&configured), &json!({})).is_some(), stuck);
    }
    let shifts = json!({ "deploymentConfiguration": { "strategy": "BLUE_GREEN", "minimumHealthyPercent": 50, "maximumPercent": 100 } });
    assert!(percents(Some(&live(1, 1)), &shifts).is_none(), "only a rolling update goes by percents");
    let daemon = json!({ "schedulingStrategy": "DAEMON", "desiredCount": 2, "runningCount": 2 });
    assert!(percents(Some(&daemon), &json!({})).is_none());
}

#[test]
fn a_strategy_that_runs_both_releases_needs_room_for_both() {
    let live = json!({ "desiredCount": 1, "runningCount": 1, "deploymentConfiguration": percent(0, 100) });
    assert_eq!(deadlock(&live, &json!({}), &[80], &[80], 1), None);
    let shifts = json!({ "deploymentConfiguration": { "strategy": "CANARY" } });
    assert_eq!(deadlock(&live, &shifts, &[80], &[80], 1), Some(80));
    assert_eq!(deadlock(&live, &shifts, &[80], &[80], 2), None);
}

#[test]
fn where_tasks_run_is_decided_as_ecs_does() {
    let strategy = |provider: &str| json!({ "capacityProviderStrategy": [{ "capacityProvider": provider }] });
    let launch = |kind: &str| json!({ "launchType": kind });
    let default = json!({ "defaultCapacityProviderStrategy": [{ "capacityProvider": "FARGATE_SPOT" }] });
    for (live, wanted, cluster, expected) in [
        (None, json!({}), None, Capacity::Instances),
        (None, json!({}), Some(&default), Capacity::Fargate),
        (None, launch("EC2"), Some(&default), Capacity::Instances),
        (None, launch("EXTERNAL"), None, Capacity::External),
        (None, strategy("asg"), None, Capacity::Provided),
        (Some(launch("FARGATE")), launch("EC2"), None, Capacity::Fargate),
        (Some(launch("EC2")), strategy("asg"), None, Capacity::Provided),
        (Some(launch("MANAGED")), json!({}), None, Capacity::Provided),
    ] {
        assert_eq!(capacity(live.as_ref(), &wanted, cluster), expected, "{live:?} {wanted}");
    }
}

#[test]
fn a_task_needs_what_it_says_or_what_its_containers_do() {
    let containers = json!([{ "cpu": 128, "memory": 512, "memoryReservation": 256 }, { "memory": 64 }]);
    for (task_definition, cpu, memory) in [
        (json!({ "cpu": "1024", "memory": "2048" }), 1024, 2048),
        (json!({ "cpu": ".5 vCPU", "memory": "1.5 GB" }), 512, 1536),
        (json!({ "containerDefinitions": containers }), 128, 320),
        (json!({}), 0, 0),
    ] {
        let [(.., has_cpu), (.., has_memory)] = needs(&task_definition);
        assert_eq!((has_cpu, has_memory), (cpu, memory), "{task_definition}");
    }
}

/// The known trap: before a build, and not only when the service is about to be updated.
#[tokio::test]
async fn the_trap_of_a_fixed_host_port_is_told_beforehand() {
    let world = World::start().await;
    let image = world.image().await;
    let ports = json!([{ "containerPort": 8080, "hostPort": 8080 }]);
    let container = |memory: u64| json!({ "image": image, "memory": memory, "portMappings": ports });
    world.task_definition(json!({}), container(64));
    world.deploy(0).await;
    let said = world.verify(3).await;
    said.found("capacity", "can never roll: host port 8080 is taken on the only container instance", "\"hostPort\": 0");
    // What is there already is no new release: nothing stops it.
    let same = world.deploy(0).await;
    assert!(same.stderr.contains("host port 8080"), "{}", same.stderr);
    assert_eq!(same.result()["action"], "unchanged");
    world.task_definition(json!({}), container(65));
    let refused = world.deploy(3).await;
    assert!(refused.stdout.contains("can never roll"), "{}", refused.stdout);
    assert_eq!(
        world.ecs("DescribeServices", json!({ "services": ["web"] })).await["services"][0]["deployments"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    world.service(json!({ "deploymentConfiguration": percent(0, 100) }));
    world.verify(0).await.fine("capacity");
    world.task_definition(json!({}), json!({ "image": image }));
    world.service(json!({ "deploymentConfiguration": percent(50, 150) }));
    world.verify(3).await.found(
        "capacity",
        "of one task, maximumPercent 150 lets none be started",
        "maximumPercent: 200",
    );
    world.end().await;
}

#[tokio::test]
async fn tasks_are_held_against_the_instances_that_there_are() {
    let world = World::start().await;
    world.service(json!({ "desiredCount": 3 }));
    assert!(world.verify(0).await.fine("capacity").starts_with("3 tasks, 1 container instance"));
    world.task_definition(json!({ "networkMode": "host" }), json!({}));
    let said = world.verify(3).await;
    said.found(
        "capacity",
        "3 tasks are wanted, and the only container instance takes one: host port 8080 is fixed",
        "desired_count: 1",
    );
    world.task_definition(json!({}), json!({}));
    world.service(json!({ "desiredCount": 2, "placementConstraints": [{ "type": "distinctInstance" }] }));
    world.verify(3).await.found("capacity", "distinctInstance", "`spread`");

    world.service(json!({}));
    world.task_definition(json!({}), json!({ "memory": 4_000_000 }));
    world.verify(0).await.warned("capacity", "no container instance is large enough: a task needs 4000000 MiB");

    world.task_definition(json!({}), json!({}));
    world.service(json!({ "capacityProviderStrategy": [{ "capacityProvider": "asg" }] }));
    world.verify(3).await.found("capacity", "the cluster `default` has no capacity provider `asg`", "it has");

    world.service(json!({}));
    world.fault(json!({ "on": "scheduler:PlaceTask", "kind": "lose-capacity" })).await;
    loop {
        let said = world.verify(0).await;
        if said.check("capacity")["state"] == "warning" {
            said.warned("capacity", "has no container instance to place a task on");
            break;
        }
    }
    world.end().await;
}
