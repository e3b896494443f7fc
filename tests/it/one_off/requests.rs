//! What RunTask is asked for, and what an ended task is taken for.

use serde_json::{Value, json};
use steadystate::config::TaskPlan;
use steadystate::config::around::{parse_cpu, parse_memory};
use steadystate::deploy::follow::steady::{Container, Task};
use steadystate::deploy::task::request::{container, overrides, placement};
use steadystate::deploy::task::{Came, came};

#[test]
fn a_task_runs_where_the_service_s_tasks_run() {
    let network = json!({ "awsvpcConfiguration": { "subnets": ["s-1"] } });
    let ec2 = json!({
        "launchType": "EC2", "placementStrategy": [{ "type": "random" }], "placementConstraints": [],
        "enableECSManagedTags": true, "propagateTags": "SERVICE",
    });
    let fargate = json!({
        "launchType": "FARGATE", "platformVersion": "1.4.0", "networkConfiguration": network, "placementStrategy": [],
    });
    let spot = json!({ "capacityProviderStrategy": [{ "capacityProvider": "FARGATE_SPOT", "weight": 1 }] });
    let shown_by_its_deployment = json!({
        "launchType": "FARGATE", "deployments": [{ "status": "PRIMARY", "networkConfiguration": network }],
    });
    let plain = TaskPlan::default();
    let provider = TaskPlan { capacity_provider: Some("FARGATE".into()), ..TaskPlan::default() };
    let on_ec2 = TaskPlan { launch_type: Some("EC2".into()), ..TaskPlan::default() };
    let (bridge, awsvpc) = (json!({ "networkMode": "bridge" }), json!({ "networkMode": "awsvpc" }));
    let made_for_fargate = json!({ "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"] });
    for (plan, wanted, live, definition, expected) in [
        (
            &plain,
            json!({}),
            &ec2,
            &bridge,
            json!({ "launchType": "EC2", "placementStrategy": [{ "type": "random" }], "enableECSManagedTags": true }),
        ),
        (
            &plain,
            json!({}),
            &fargate,
            &awsvpc,
            json!({ "launchType": "FARGATE", "platformVersion": "1.4.0", "networkConfiguration": network }),
        ),
        (&plain, json!({}), &spot, &bridge, spot.clone()),
        // What the service is about to have goes over what it has, also from one kind to the other.
        (&plain, json!({ "launchType": "EC2" }), &spot, &bridge, json!({ "launchType": "EC2" })),
        (&plain, spot.clone(), &ec2, &bridge, {
            let mut expected = spot.clone();
            expected["enableECSManagedTags"] = json!(true);
            expected
        }),
        (
            &provider,
            json!({}),
            &fargate,
            &awsvpc,
            json!({
                "capacityProviderStrategy": [{ "capacityProvider": "FARGATE" }], "platformVersion": "1.4.0",
                "networkConfiguration": network,
            }),
        ),
        (&on_ec2, json!({}), &fargate, &bridge, json!({ "launchType": "EC2" })),
        (
            &plain,
            json!({}),
            &shown_by_its_deployment,
            &awsvpc,
            json!({ "launchType": "FARGATE", "networkConfiguration": network }),
        ),
        (&plain, json!({}), &json!({}), &made_for_fargate, json!({ "launchType": "FARGATE" })),
        (&plain, json!({}), &json!({}), &bridge, json!({})),
    ] {
        assert_eq!(Value::Object(placement(plan, &wanted, live, definition)), expected, "{plan:?} {wanted} {live}");
    }
}

#[test]
fn only_what_differs_is_overridden() {
    let one = json!({ "containerDefinitions": [{ "name": "web", "memory": 64 }] });
    let sized = json!({ "cpu": "256", "memory": "512", "containerDefinitions": [{ "name": "web", "memory": 512 }] });
    let several =
        json!({ "memory": "512", "containerDefinitions": [{ "name": "web", "memory": 128 }, { "name": "log" }] });
    let plan = |cpu, memory| TaskPlan { cpu, memory, ..TaskPlan::default() };
    for (plan, definition, expected) in [
        (TaskPlan::default(), &one, json!(null)),
        (plan(None, Some(128)), &one, json!({ "containerOverrides": [{ "name": "web", "memory": 128 }] })),
        // A task's own size is a text; its only container's limit must not stay below it.
        (
            plan(Some(512), Some(1024)),
            &sized,
            json!({ "cpu": "512", "memory": "1024", "containerOverrides": [{ "name": "web", "memory": 1024 }] }),
        ),
        (plan(None, Some(1024)), &several, json!({ "memory": "1024" })),
        (
            TaskPlan {
                command: Some(vec!["a".into(), "b c".into()]),
                environment: [("X".to_owned(), "\"y\"".to_owned())].into(),
                ..TaskPlan::default()
            },
            &several,
            json!({ "containerOverrides": [{
                "name": "web", "command": ["a", "b c"], "environment": [{ "name": "X", "value": "\"y\"" }],
            }] }),
        ),
        // An empty command is one: the image's.
        (
            TaskPlan { command: Some(Vec::new()), ..TaskPlan::default() },
            &one,
            json!({ "containerOverrides": [{ "name": "web", "command": [] }] }),
        ),
    ] {
        assert_eq!(overrides(&plan, "web", definition).unwrap_or_default(), expected, "{plan:?}");
    }
}

#[test]
fn the_container_is_the_one_that_is_meant() {
    let definition = |containers: Value| json!({ "containerDefinitions": containers });
    let pair = definition(json!([{ "name": "web" }, { "name": "log", "essential": false }]));
    let equal = definition(json!([{ "name": "web" }, { "name": "api" }]));
    for (named, likely, definition, expected) in [
        (Some("log"), Some("web"), &pair, "log"),
        (None, Some("log"), &pair, "log"),
        (None, Some("gone"), &pair, "web"),
        (None, None, &definition(json!([{ "name": "only", "essential": false }])), "only"),
    ] {
        assert_eq!(container(named, likely, definition).unwrap(), expected);
    }
    let error = container(None, None, &equal).unwrap_err();
    assert!(error.hints()[0].contains("one of web, api"), "{error:?}");
    let error = container(Some("ap"), None, &equal).unwrap_err();
    assert_eq!(error.hints(), ["did you mean `api`?"]);
}

#[test]
fn what_an_ended_task_came_to() {
    let task = |code: Option<i64>, reason: Option<&str>, stop_code: &str, stopped: &str| Task {
        stop_code: Some(stop_code.to_owned()).filter(|code| !code.is_empty()),
        stopped_reason: Some(stopped.to_owned()),
        last_status: "STOPPED".into(),
        containers: vec![
            Container { name: "log".into(), exit_code: Some(9), ..Container::default() },
            Container {
                name: "web".into(),
                exit_code: code,
                reason: reason.map(str::to_owned),
                ..Container::default()
            },
        ],
        ..Task::default()
    };
    let essential = "Essential container in task exited";
    let stopped = |why: &str, code| Came::Stopped { why: why.to_owned(), code };
    for (task, expected, code) in [
        (task(Some(0), None, "EssentialContainerExited", essential), Came::Ended(0), Some(0)),
        (task(Some(3), None, "EssentialContainerExited", essential), Came::Ended(3), Some(3)),
        (
            task(Some(137), Some("OutOfMemoryError: x"), "EssentialContainerExited", essential),
            Came::Ended(137),
            Some(137),
        ),
        // Windows' codes are wider than a process's here; none of them may look like 0.
        (task(Some(3_221_225_786), None, "", essential), Came::Ended(3_221_225_786), Some(58)),
        (task(Some(256), None, "", essential), Came::Ended(256), Some(1)),
        (task(Some(-1), None, "", essential), Came::Ended(-1), Some(255)),
        // Ended with 0 because it was told to end is not done.
        (task(Some(0), None, "UserInitiated", "by me"), stopped("by me", Some(0)), Some(143)),
        (task(Some(137), None, "SpotInterruption", "gone."), stopped("gone", Some(137)), Some(137)),
        (task(None, None, "TerminationNotice", "host"), stopped("host", None), Some(143)),
        // It failed by itself, and was stopped meanwhile.
        (task(Some(2), None, "UserInitiated", "by me"), Came::Ended(2), Some(2)),
        (
            task(None, Some("CannotPullContainerError: x"), "TaskFailedToStart", "Task failed to start"),
            Came::NeverRan("CannotPullContainerError: x".into()),
            None,
        ),
        (
            task(None, None, "TaskFailedToStart", "ResourceInitializationError: y"),
            Came::NeverRan("ResourceInitializationError: y".into()),
            None,
        ),
        // A code that is newer than this binary.
        (task(Some(0), None, "SomethingNew", "z"), Came::Ended(0), Some(0)),
    ] {
        let came = came(&task, "web");
        assert_eq!((&came, came.exit_code()), (&expected, code), "{task:?}");
        assert_eq!(came.is_good(), code == Some(0));
    }
    let killed = task(Some(137), Some("OutOfMemoryError: Container killed due to memory usage"), "", essential);
    let explained = came(&killed, "web").explained(&killed).join("\n");
    assert!(explained.contains("OutOfMemoryError"), "{explained}");
}

#[test]
fn sizes_have_units() {
    for (text, cpu, memory) in [
        ("256", Some(256), Some(256)),
        (".25 vCPU", Some(256), None),
        ("2vcpu", Some(2048), None),
        ("1 GB", None, Some(1024)),
        ("0.5gb", None, Some(512)),
        ("0", None, None),
        ("-1", None, None),
        ("1.5", None, None),
        ("NaN GB", None, None),
        ("1e300 GB", None, None),
        ("", None, None),
    ] {
        assert_eq!((parse_cpu(text).ok(), parse_memory(text).ok()), (cpu, memory), "{text}");
    }
}
