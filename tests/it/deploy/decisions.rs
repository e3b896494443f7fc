//! What to do with the service, from what is live and what is wanted.

use serde_json::{Value, json};
use steadystate::deploy::service::decide::{Decision, covers, decide, with_circuit_breaker, without_conflicting_role};
use steadystate::error::Kind;

pub fn live(change: impl FnOnce(&mut Value)) -> Value {
    let mut live = json!({
        "serviceName": "web", "clusterArn": "arn:cluster/c", "status": "ACTIVE", "desiredCount": 2, "runningCount": 2,
        "launchType": "EC2", "schedulingStrategy": "REPLICA", "taskDefinition": "arn:td/web:4",
        "deploymentController": { "type": "ECS" }, "createdAt": 1700000000.5,
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": { "enable": true, "rollback": true }, "maximumPercent": 200, "minimumHealthyPercent": 100,
        },
        "networkConfiguration": { "awsvpcConfiguration": {
            "subnets": ["subnet-b", "subnet-a"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED",
        } },
        "loadBalancers": [{ "targetGroupArn": "arn:tg", "containerName": "web", "containerPort": 80 }],
        "deployments": [{ "id": "ecs-svc/4", "status": "PRIMARY", "taskDefinition": "arn:td/web:4", "rolloutState": "COMPLETED",
            "serviceConnectConfiguration": { "enabled": false }, "runningCount": 2, "failedTasks": 0 }],
    });
    change(&mut live);
    live
}

pub fn wanted(change: impl FnOnce(&mut Value)) -> Value {
    let mut wanted = json!({
        "serviceName": "web", "cluster": "c", "taskDefinition": "arn:td/web:4", "launchType": "EC2",
        "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": true, "rollback": true } },
        "networkConfiguration": { "awsvpcConfiguration": {
            "subnets": ["subnet-a", "subnet-b"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED",
        } },
        "loadBalancers": [{ "targetGroupArn": "arn:tg", "containerName": "web", "containerPort": 80 }],
    });
    change(&mut wanted);
    wanted
}

fn named(decision: &Decision) -> String {
    match decision {
        Decision::Create(_) => "create".into(),
        Decision::Update { changes, deploys, .. } => {
            format!("update {}{}", changes.join(" "), if *deploys { ", deploys" } else { "" })
        }
        Decision::Nothing { deployment_id } => format!("nothing {deployment_id}"),
        Decision::Follow { deployment_id } => format!("follow {deployment_id}"),
        Decision::WaitDraining => "wait".into(),
        Decision::Refuse(error) => format!("refuse {}", error.kind().exit_code()),
    }
}

#[test]
fn the_table_of_decisions() {
    let same = |_: &mut Value| {};
    let state = |state: &'static str| move |live: &mut Value| live["deployments"][0]["rolloutState"] = state.into();
    let new = |wanted: &mut Value| wanted["taskDefinition"] = "arn:td/web:5".into();
    let set = |key: &'static str, value: Value| move |target: &mut Value| target[key] = value;
    let failing = |live: &mut Value| {
        live["deployments"][0]["rolloutState"] = "IN_PROGRESS".into();
        live["deployments"][0]["failedTasks"] = 3.into();
        live["deployments"][0]["runningCount"] = 0.into();
    };
    let rows: Vec<(&str, Option<Value>, Value, &str)> = vec![
        ("no service", None, wanted(same), "create"),
        ("an INACTIVE one of this name", Some(live(set("status", json!("INACTIVE")))), wanted(same), "create"),
        ("a DRAINING one of this name", Some(live(set("status", json!("DRAINING")))), wanted(same), "wait"),
        ("all the same", Some(live(same)), wanted(same), "nothing ecs-svc/4"),
        ("a new revision", Some(live(same)), wanted(new), "update taskDefinition, deploys"),
        ("desired count given, the same", Some(live(same)), wanted(set("desiredCount", json!(2))), "nothing ecs-svc/4"),
        (
            "desired count given, another",
            Some(live(same)),
            wanted(set("desiredCount", json!(3))),
            "update desiredCount",
        ),
        (
            "a member that is not live, but is its default",
            Some(live(same)),
            wanted(set("enableExecuteCommand", json!(false))),
            "nothing ecs-svc/4",
        ),
        (
            "a member that is not live",
            Some(live(same)),
            wanted(set("enableExecuteCommand", json!(true))),
            "update enableExecuteCommand",
        ),
        (
            "an empty list for none",
            Some(live(same)),
            wanted(set("placementConstraints", json!([]))),
            "nothing ecs-svc/4",
        ),
        ("a null means not set", Some(live(same)), wanted(set("platformVersion", Value::Null)), "nothing ecs-svc/4"),
        (
            "a member shown on the deployment only",
            Some(live(same)),
            wanted(set("serviceConnectConfiguration", json!({ "enabled": false }))),
            "nothing ecs-svc/4",
        ),
        (
            "other settings of the deployment",
            Some(live(same)),
            wanted(set("deploymentConfiguration", json!({ "minimumHealthyPercent": 50 }))),
            "update deploymentConfiguration",
        ),
        (
            "another subnet",
            Some(live(|l| l["networkConfiguration"]["awsvpcConfiguration"]["subnets"] = json!(["subnet-a"]))),
            wanted(same),
            "update networkConfiguration, deploys",
        ),
        (
            "another target group",
            Some(live(same)),
            wanted(|w| w["loadBalancers"][0]["targetGroupArn"] = "arn:other".into()),
            "update loadBalancers, deploys",
        ),
        (
            "no load balancer any more",
            Some(live(same)),
            wanted(set("loadBalancers", json!([]))),
            "update loadBalancers, deploys",
        ),
        (
            "forced",
            Some(live(same)),
            wanted(set("forceNewDeployment", json!(true))),
            "update forceNewDeployment, deploys",
        ),
        (
            "forced, and what an earlier run forced is under way",
            Some(live(state("IN_PROGRESS"))),
            wanted(set("forceNewDeployment", json!(true))),
            "follow ecs-svc/4",
        ),
        (
            "forced, and the last one failed",
            Some(live(state("FAILED"))),
            wanted(set("forceNewDeployment", json!(true))),
            "update forceNewDeployment, deploys",
        ),
        (
            "another capacity provider strategy",
            Some(live(same)),
            wanted(set("capacityProviderStrategy", json!([{ "capacityProvider": "FARGATE_SPOT", "weight": 1 }]))),
            "update capacityProviderStrategy, deploys",
        ),
        (
            "the same capacity provider strategy",
            Some(live(set(
                "capacityProviderStrategy",
                json!([{ "capacityProvider": "FARGATE", "weight": 1, "base": 0 }]),
            ))),
            wanted(set("capacityProviderStrategy", json!([{ "capacityProvider": "FARGATE", "weight": 1 }]))),
            "nothing ecs-svc/4",
        ),
        (
            "create-only members differ",
            Some(live(same)),
            wanted(|w| {
                w["tags"] = json!([{ "key": "a", "value": "b" }]);
                w["role"] = "r".into();
            }),
            "nothing ecs-svc/4",
        ),
        ("ours is under way", Some(live(state("IN_PROGRESS"))), wanted(same), "follow ecs-svc/4"),
        ("ours is under way, and it crashes", Some(live(failing)), wanted(same), "follow ecs-svc/4"),
        ("another is under way", Some(live(state("IN_PROGRESS"))), wanted(new), "refuse 8"),
        (
            "another is under way, only the count changes",
            Some(live(state("IN_PROGRESS"))),
            wanted(set("desiredCount", json!(5))),
            "update desiredCount",
        ),
        ("another is under way, and crashes", Some(live(failing)), wanted(new), "update taskDefinition, deploys"),
        ("ours failed and was left", Some(live(state("FAILED"))), wanted(same), "update forceNewDeployment, deploys"),
        ("another failed and was left", Some(live(state("FAILED"))), wanted(new), "update taskDefinition, deploys"),
        ("a rollout state from the future", Some(live(state("BLOOMING"))), wanted(same), "nothing ecs-svc/4"),
        (
            "no rollout states, all running",
            Some(live(|l| {
                l["deployments"][0].as_object_mut().map(|d| d.shift_remove("rolloutState"));
            })),
            wanted(same),
            "nothing ecs-svc/4",
        ),
        (
            "no rollout states, not all running",
            Some(live(|l| {
                l["deployments"][0].as_object_mut().map(|d| d.shift_remove("rolloutState"));
                l["runningCount"] = 0.into();
            })),
            wanted(same),
            "follow ecs-svc/4",
        ),
        (
            "CodeDeploy's",
            Some(live(set("deploymentController", json!({ "type": "CODE_DEPLOY" })))),
            wanted(new),
            "refuse 3",
        ),
        (
            "after a rollback the old revision is wanted",
            Some(live(|l| l["deployments"][0]["rolloutStateReason"] = "rolling back".into())),
            wanted(same),
            "nothing ecs-svc/4",
        ),
    ];
    for (row, live, wanted, expected) in &rows {
        let decision = decide(live.as_ref(), wanted, 3, &mut Vec::new());
        assert_eq!(named(&decision), *expected, "{row}");
    }
}

#[test]
fn an_update_has_no_create_only_members_and_says_what_cannot_change() {
    let wanted = wanted(|w| {
        w["taskDefinition"] = "arn:td/web:5".into();
        w["launchType"] = "FARGATE".into();
        w["schedulingStrategy"] = "DAEMON".into();
        w["tags"] = json!([]);
        w["role"] = "r".into();
        w["clientToken"] = "t".into();
        w["platformVersion"] = Value::Null;
        w["futureMember"] = json!({ "kept": [1] });
    });
    let mut warnings = Vec::new();
    let Decision::Update { input, .. } = decide(Some(&live(|_| {})), &wanted, 3, &mut warnings) else {
        panic!("an update")
    };
    for member in ["launchType", "schedulingStrategy", "tags", "role", "clientToken", "serviceName", "platformVersion"]
    {
        assert!(input.get(member).is_none(), "{member} in {input}");
    }
    assert_eq!(input["service"], "web");
    assert!(input.get("desiredCount").is_none(), "an autoscaler's count is left alone");
    assert_eq!(input["futureMember"], json!({ "kept": [1] }));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("`launchType` is EC2")), "{warnings:?}");
}

#[test]
fn an_update_sends_what_changes_and_keeps_what_was_set_elsewhere() {
    let live = live(|l| {
        l["deploymentConfiguration"] =
            json!({ "minimumHealthyPercent": 50, "maximumPercent": 150, "strategy": "ROLLING" });
        l["loadBalancers"] = json!([{ "targetGroupArn": "tg", "containerName": "web", "containerPort": 80 }]);
    });
    let wanted = json!({
        "serviceName": "web", "cluster": "c", "taskDefinition": "arn:td/web:5", "loadBalancers": live["loadBalancers"],
        "deploymentConfiguration": { "maximumPercent": 200, "deploymentCircuitBreaker": { "enable": true, "rollback": true } },
    });
    let Decision::Update { input, .. } = decide(Some(&live), &wanted, 3, &mut Vec::new()) else { panic!("an update") };
    let configuration = json!({
        "maximumPercent": 200, "deploymentCircuitBreaker": { "enable": true, "rollback": true }, "minimumHealthyPercent": 50,
    });
    assert_eq!(
        input,
        json!({ "cluster": "c", "service": "web", "taskDefinition": "arn:td/web:5", "deploymentConfiguration": configuration })
    );
}

#[test]
fn another_capacity_provider_strategy_is_forced_as_ecs_demands() {
    let strategy = json!([{ "capacityProvider": "FARGATE_SPOT", "weight": 1 }]);
    let wanted = wanted(|w| w["capacityProviderStrategy"] = strategy.clone());
    let Decision::Update { input, .. } = decide(Some(&live(|_| {})), &wanted, 3, &mut Vec::new()) else {
        panic!("an update")
    };
    assert_eq!((&input["capacityProviderStrategy"], &input["forceNewDeployment"]), (&strategy, &json!(true)));
}

#[test]
fn creating_twice_is_one_request_until_the_service_was_deleted() {
    let token = |live: Option<&Value>, wanted: &Value| match decide(live, wanted, 3, &mut Vec::new()) {
        Decision::Create(input) => {
            assert_eq!(input["desiredCount"], 1);
            input["clientToken"].as_str().expect("a token").to_owned()
        }
        other => panic!("{}", named(&other)),
    };
    let plain = wanted(|_| {});
    let first = token(None, &plain);
    assert_eq!(first, token(None, &plain));
    assert!(first.len() <= 36 && first.is_ascii());
    let gone = |at: f64| {
        live(|l| {
            l["status"] = "INACTIVE".into();
            l["createdAt"] = at.into();
        })
    };
    assert_ne!(first, token(Some(&gone(1.0)), &plain));
    assert_ne!(token(Some(&gone(2.0)), &plain), token(Some(&gone(1.0)), &plain));
    assert_ne!(first, token(None, &wanted(|w| w["taskDefinition"] = "arn:td/web:5".into())));
    let Decision::Create(daemon) =
        decide(None, &wanted(|w| w["schedulingStrategy"] = "DAEMON".into()), 3, &mut Vec::new())
    else {
        panic!("created")
    };
    assert!(daemon.get("desiredCount").is_none(), "a daemon has no count");
}

#[test]
fn in_progress_says_whose_and_what_next() {
    let live = live(|l| {
        l["deployments"][0]["rolloutState"] = "IN_PROGRESS".into();
        l["deployments"][0]["rolloutStateReason"] =
            "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/3.".into();
    });
    let Decision::Refuse(error) =
        decide(Some(&live), &wanted(|w| w["taskDefinition"] = "arn:td/web:9".into()), 3, &mut Vec::new())
    else {
        panic!("refused")
    };
    assert_eq!(error.kind(), Kind::InProgress);
    assert_eq!(error.to_string(), "a rollback is in progress: ecs-svc/4 of web:4");
    assert!(error.hints()[0].contains("`steady wait`"), "{:?}", error.hints());
}

#[test]
fn live_covers_what_is_wanted() {
    for (live, wanted, expected) in [
        (json!({ "a": 1, "b": 2 }), json!({ "a": 1 }), true),
        (json!({ "a": 1 }), json!({ "a": 1.0 }), true),
        (json!({ "a": 1 }), json!({ "a": 2 }), false),
        (json!([1, 2]), json!([2, 1]), true),
        (json!([1, 2]), json!([1]), false),
        (json!([1, 1]), json!([1, 2]), false),
        (json!([{ "t": 1, "x": 0 }]), json!([{ "t": 1 }]), true),
        (Value::Null, json!([]), true),
        (Value::Null, json!(0), true),
        (Value::Null, json!(""), false),
        (Value::Null, json!({ "enabled": false }), true),
        (Value::Null, json!({ "enabled": true }), false),
        (json!("X"), Value::Null, true),
    ] {
        assert_eq!(covers(&live, &wanted), expected, "{live} covers {wanted}");
    }
}

#[test]
fn the_circuit_breaker_is_on_unless_the_document_speaks_of_it() {
    for (before, expected) in [
        (
            json!({}),
            json!({ "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": true, "rollback": true } } }),
        ),
        (
            json!({ "deploymentConfiguration": { "maximumPercent": 150 } }),
            json!({ "deploymentConfiguration": { "maximumPercent": 150, "deploymentCircuitBreaker": { "enable": true, "rollback": true } } }),
        ),
        (
            json!({ "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": false, "rollback": false } } }),
            json!({ "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": false, "rollback": false } } }),
        ),
        (
            json!({ "deploymentController": { "type": "EXTERNAL" } }),
            json!({ "deploymentController": { "type": "EXTERNAL" } }),
        ),
    ] {
        let mut wanted = before;
        with_circuit_breaker(&mut wanted, true);
        assert_eq!(wanted, expected);
    }
}

#[test]
fn a_role_that_conflicts_is_left_out_with_its_reason() {
    let balancer = json!([{ "targetGroupArn": "a" }]);
    for (service, mode, reason) in [
        (
            json!({ "role": "r", "loadBalancers": balancer, "serviceRegistries": [{ "registryArn": "x" }] }),
            "bridge",
            "service discovery",
        ),
        (json!({ "role": "r", "loadBalancers": balancer }), "awsvpc", "awsvpc"),
        (json!({ "role": "r" }), "bridge", "exactly one load balancer"),
        (json!({ "role": "AWSServiceRoleForECS", "loadBalancers": balancer }), "bridge", "service-linked"),
        (json!({ "role": "ecsServiceRole", "loadBalancers": balancer }), "bridge", ""),
    ] {
        let (mut wanted, mut warnings) = (service.clone(), Vec::new());
        without_conflicting_role(&mut wanted, mode, &mut warnings);
        assert_eq!(wanted.get("role").is_none(), !reason.is_empty(), "{service}");
        assert!(warnings.iter().all(|warning| warning.contains(reason)) && warnings.is_empty() == reason.is_empty());
    }
}
