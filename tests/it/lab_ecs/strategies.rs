//! Deployments that shift traffic: their stages, shares and times, and how they go back.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Sim, TARGET_GROUP, service};

const ALTERNATE: &str = "arn:alone";
const PRODUCTION: &str = "arn:aws:elasticloadbalancing:us-west-2:000000000000:listener/net/web/1/2";
const TEST: &str = "arn:aws:elasticloadbalancing:us-west-2:000000000000:listener/net/web/1/3";
const HOOK: &str = "http://127.0.0.1:9/hook";

/// A network load balancer whose production listener has `groups`, and whose test listener has both groups.
fn sim_with(groups: Value) -> Sim {
    let mut sim = Sim::new();
    let listener = |arn: &str, groups: Value| {
        let rule = json!({"arn": "arn:rule", "priority": null, "conditions": [], "action": {"forward": {"groups": groups}}, "tags": {}});
        let of = json!({"arn": arn, "load_balancer_arn": "arn:lb", "port": 80, "protocol": "TCP", "rules": [rule], "tags": {}});
        serde_json::from_value(of).expect("a listener")
    };
    sim.state.elbv2.listeners =
        vec![listener(PRODUCTION, groups), listener(TEST, json!([[TARGET_GROUP, 1], [ALTERNATE, 0]]))];
    sim
}

fn sim() -> Sim {
    sim_with(json!([[TARGET_GROUP, 1], [ALTERNATE, 0]]))
}

fn create_input(desired: i64, configuration: Value) -> Value {
    let mut input = service(desired);
    input["loadBalancers"][0]["advancedConfiguration"] = json!({
        "alternateTargetGroupArn": ALTERNATE, "productionListenerRule": PRODUCTION, "testListenerRule": TEST,
        "roleArn": "arn:aws:iam::000000000000:role/ecsInfrastructureRole",
    });
    let members = configuration.as_object().expect("members").clone();
    input["deploymentConfiguration"].as_object_mut().expect("members").extend(members);
    input
}

/// A service whose first release is steady, and a second one that is not deployed yet.
fn steady(configuration: Value) -> (Sim, String) {
    let mut sim = sim();
    sim.register("v1");
    sim.call("CreateService", create_input(2, configuration));
    sim.settle();
    let second = sim.register("v2");
    (sim, second)
}

/// Weights of the first target group and of the alternate one.
fn weights(sim: &Sim, listener: &str) -> (u32, u32) {
    let listener = sim.state.elbv2.listeners.iter().find(|of| of.arn == listener).expect("a listener");
    let groups = listener.default_action().expect("an action").target_groups();
    let of = |arn: &str| groups.iter().find(|(group, _)| group == arn).expect("a group").1;
    (of(TARGET_GROUP), of(ALTERNATE))
}

fn deploy(sim: &mut Sim, definition: &str) {
    sim.call("UpdateService", json!({"service": "web", "taskDefinition": definition}));
}

/// Each stage with the share of production traffic asked for and the seconds for which it was shown.
fn timeline(sim: &mut Sim) -> Vec<(String, f64, i64)> {
    let mut seen: Vec<(String, f64, i64)> = Vec::new();
    sim.until("over", |sim| {
        let deployment = sim.service_deployment();
        let stage = deployment["lifecycleStage"].as_str().unwrap_or_default().to_owned();
        let share = deployment["targetServiceRevision"]["requestedProductionTrafficWeight"].as_f64().unwrap_or(-1.0);
        let now = sim.now;
        if seen.last().is_none_or(|(last, of, _)| (last.as_str(), *of) != (stage.as_str(), share)) {
            if let Some((_, _, since)) = seen.last_mut() {
                *since = (now - *since + 500) / 1000;
            }
            seen.push((stage, share, now));
        }
        is_over(&deployment)
    });
    let now = sim.now;
    if let Some((_, _, since)) = seen.last_mut() {
        *since = (now - *since + 500) / 1000;
    }
    seen
}

fn is_over(deployment: &Value) -> bool {
    ["SUCCESSFUL", "STOPPED", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED"].iter().any(|over| deployment["status"] == *over)
}

fn until_stage(sim: &mut Sim, stage: &str, share: f64) {
    sim.until(stage, |sim| {
        let deployment = sim.service_deployment();
        assert!(!is_over(&deployment), "{deployment:#}");
        deployment["lifecycleStage"] == stage
            && deployment["targetServiceRevision"]["requestedProductionTrafficWeight"] == share
    });
}

fn running(sim: &mut Sim) -> Vec<(i64, i64)> {
    let service = sim.service();
    let deployments = service["deployments"].as_array().expect("deployments").iter();
    let number = |value: &Value| value.as_i64().expect("a number");
    deployments.map(|of| (number(&of["desiredCount"]), number(&of["runningCount"]))).collect()
}

#[test]
fn each_strategy_passes_its_stages_with_its_shares_and_times() {
    let canary = json!({"strategy": "CANARY", "bakeTimeInMinutes": 3, "canaryConfiguration": {"canaryPercent": 2.5, "canaryBakeTimeInMinutes": 7}});
    let linear = json!({"strategy": "LINEAR", "bakeTimeInMinutes": 0, "linearConfiguration": {"stepPercent": 40.0, "stepBakeTimeInMinutes": 2}});
    let shifts = [
        (json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5}), vec![(100.0, 10)], 300),
        (canary, vec![(2.5, 420), (100.0, 10)], 180),
        (linear, vec![(40.0, 120), (80.0, 120), (100.0, 10)], 10),
        (json!({"strategy": "CANARY"}), vec![(5.0, 600), (100.0, 10)], 10),
        (json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 50}}), vec![(50.0, 360), (100.0, 10)], 10),
    ];
    for (configuration, shares, bake) in shifts {
        let (mut sim, second) = steady(configuration.clone());
        deploy(&mut sim, &second);
        let seen = timeline(&mut sim);
        // The lab is looked at once a second.
        let near = |seconds: i64| if seconds <= 2 { 0 } else { (seconds + 5) / 10 * 10 };
        let mut stages = seen.iter().map(|(stage, share, seconds)| (stage.as_str(), *share, near(*seconds)));
        assert_eq!(stages.next(), Some(("", -1.0, 0)), "{configuration}");
        assert_eq!(stages.next(), Some(("PRE_SCALE_UP", 0.0, 10)), "{configuration}");
        let scale_up = stages.next().expect("a stage");
        assert_eq!((scale_up.0, scale_up.1), ("SCALE_UP", 0.0), "{configuration}");
        for stage in ["POST_SCALE_UP", "TEST_TRAFFIC_SHIFT", "POST_TEST_TRAFFIC_SHIFT"] {
            assert_eq!(stages.next(), Some((stage, 0.0, 10)), "{configuration}");
        }
        for (share, seconds) in shares {
            assert_eq!(stages.next(), Some(("PRODUCTION_TRAFFIC_SHIFT", share, seconds)), "{configuration}");
        }
        assert_eq!(stages.next(), Some(("POST_PRODUCTION_TRAFFIC_SHIFT", 100.0, 10)), "{configuration}");
        assert_eq!(stages.next(), Some(("BAKE_TIME", 100.0, bake)), "{configuration}");
        let clean_up = stages.next().expect("a stage");
        assert_eq!((clean_up.0, clean_up.1), ("CLEAN_UP", 100.0), "{configuration}");
        assert_eq!(stages.next(), None, "{configuration}");
        assert_eq!(sim.service_deployment()["status"], "SUCCESSFUL");
        assert_eq!(running(&mut sim), [(2, 2)]);
    }
}

#[test]
fn listeners_get_the_weights_and_both_revisions_run_until_the_clean_up() {
    let configuration = json!({"strategy": "CANARY", "bakeTimeInMinutes": 5, "canaryConfiguration": {"canaryPercent": 0.1, "canaryBakeTimeInMinutes": 1}});
    let (mut sim, second) = steady(configuration);
    // the first release went to the group that served nothing then
    assert_eq!((weights(&sim, PRODUCTION), weights(&sim, TEST)), ((0, 100), (0, 100)));
    deploy(&mut sim, &second);
    until_stage(&mut sim, "PRE_SCALE_UP", 0.0);
    assert_eq!(running(&mut sim), [(0, 0), (2, 2)]);
    until_stage(&mut sim, "TEST_TRAFFIC_SHIFT", 0.0);
    assert_eq!((weights(&sim, PRODUCTION), weights(&sim, TEST)), ((0, 100), (100, 0)));
    assert_eq!(running(&mut sim), [(2, 2), (2, 2)]);
    until_stage(&mut sim, "PRODUCTION_TRAFFIC_SHIFT", 0.1);
    assert_eq!(weights(&sim, PRODUCTION), (1, 999));
    let deployment = sim.service_deployment();
    let summary =
        |of: &Value| (of["requestedProductionTrafficWeight"].clone(), of["requestedTestTrafficWeight"].clone());
    assert_eq!(summary(&deployment["targetServiceRevision"]), (json!(0.1), json!(100.0)));
    assert_eq!(summary(&deployment["sourceServiceRevisions"][0]), (json!(99.9), json!(0.0)));
    until_stage(&mut sim, "BAKE_TIME", 100.0);
    assert_eq!((weights(&sim, PRODUCTION), running(&mut sim)), ((100, 0), vec![(2, 2), (2, 2)]));
    sim.settle();
    assert_eq!((weights(&sim, PRODUCTION), running(&mut sim)), ((100, 0), vec![(2, 2)]));
    assert_eq!(sim.service_deployment()["sourceServiceRevisions"][0]["requestedProductionTrafficWeight"], 0.0);
    let revision = sim.service_deployment()["targetServiceRevision"]["arn"].clone();
    let revision = sim.call("DescribeServiceRevisions", json!({"serviceRevisionArns": [revision]}));
    assert_eq!(
        revision["serviceRevisions"][0]["resolvedConfiguration"],
        json!({"loadBalancers": [{"targetGroupArn": TARGET_GROUP, "productionListenerRule": PRODUCTION}]})
    );
    // and each deployment takes the other group
    let third = sim.register("v3");
    deploy(&mut sim, &third);
    sim.settle();
    assert_eq!((weights(&sim, PRODUCTION), weights(&sim, TEST)), ((0, 100), (0, 100)));
    let tasks = sim.state.ecs.tasks.values().filter(|task| !task.is_stopped());
    assert!(tasks.flat_map(|task| &task.targets).all(|target| target.target_group == ALTERNATE));
}

#[test]
fn a_rollback_gives_all_traffic_back_at_once_and_keeps_the_old_tasks() {
    let linear = json!({"strategy": "LINEAR", "bakeTimeInMinutes": 5, "linearConfiguration": {"stepPercent": 30.0, "stepBakeTimeInMinutes": 2}});
    for (stage, share) in [("SCALE_UP", 0.0), ("PRODUCTION_TRAFFIC_SHIFT", 60.0), ("BAKE_TIME", 100.0)] {
        let (mut sim, second) = steady(linear.clone());
        let first: Vec<String> = sim.state.ecs.tasks.keys().cloned().collect();
        let before = sim.service_deployment()["targetServiceRevision"]["arn"].clone();
        deploy(&mut sim, &second);
        until_stage(&mut sim, stage, share);
        let arn = sim.service_deployment()["serviceDeploymentArn"].clone();
        sim.call("StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"}));
        sim.step();
        let deployment = sim.service_deployment();
        assert_eq!(
            (&deployment["status"], &deployment["lifecycleStage"]),
            (&json!("ROLLBACK_IN_PROGRESS"), &json!("CLEAN_UP"))
        );
        assert_eq!((weights(&sim, PRODUCTION), weights(&sim, TEST)), ((0, 100), (0, 100)), "{stage}");
        assert_eq!(deployment["sourceServiceRevisions"][0]["requestedProductionTrafficWeight"], 100.0);
        assert_eq!(deployment["rollback"]["serviceRevisionArn"], before);
        sim.settle();
        let deployment = sim.service_deployment();
        assert_eq!(deployment["status"], "ROLLBACK_SUCCESSFUL");
        assert_eq!(deployment["statusReason"], "Service deployment rolled back because of a user request.");
        let live: Vec<String> =
            sim.state.ecs.tasks.values().filter(|task| !task.is_stopped()).map(|task| task.id.clone()).collect();
        assert_eq!(live, first, "{stage}: the old tasks went on");
    }
}

#[test]
fn the_circuit_breaker_rolls_back_and_the_next_release_goes_on_from_there() {
    for (image, kind) in [("sick", "unhealthy"), ("crash", "crashing")] {
        let (mut sim, _) = steady(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1}));
        if kind == "unhealthy" { &mut sim.sick } else { &mut sim.crashing }.insert(image.into());
        sim.watch = false;
        let bad = sim.register(image);
        deploy(&mut sim, &bad);
        sim.until("rolled back", |sim| {
            assert_eq!(weights(sim, PRODUCTION), (0, 100), "{kind}: it never gets production traffic");
            is_over(&sim.service_deployment())
        });
        let deployment = sim.service_deployment();
        assert_eq!(deployment["status"], "ROLLBACK_SUCCESSFUL");
        assert_eq!(
            deployment["statusReason"],
            "Service deployment rolled back because the circuit breaker threshold was exceeded."
        );
        sim.settle();
        let good = sim.register("v3");
        deploy(&mut sim, &good);
        sim.settle();
        assert_eq!(
            (sim.service_deployment()["status"].clone(), weights(&sim, PRODUCTION)),
            (json!("SUCCESSFUL"), (100, 0))
        );
    }
}

#[test]
fn a_deployment_that_takes_over_reconciles_first() {
    let (mut sim, second) = steady(json!({"strategy": "CANARY", "bakeTimeInMinutes": 1}));
    deploy(&mut sim, &second);
    until_stage(&mut sim, "PRODUCTION_TRAFFIC_SHIFT", 5.0);
    assert_eq!(weights(&sim, PRODUCTION), (5, 95));
    let third = sim.register("v3");
    deploy(&mut sim, &third);
    until_stage(&mut sim, "RECONCILE_SERVICE", 0.0);
    assert_eq!(weights(&sim, PRODUCTION), (0, 100));
    until_stage(&mut sim, "PRE_SCALE_UP", 0.0);
    let live = sim.state.ecs.tasks.values().filter(|task| task.is_wanted());
    assert!(live.clone().count() == 2 && live.clone().all(|task| task.containers[0].image == "v1"));
    sim.settle();
    assert_eq!((sim.service()["taskDefinition"].clone(), weights(&sim, PRODUCTION)), (json!(third), (100, 0)));
}

#[test]
fn a_listener_that_does_not_allow_for_a_shift_rolls_the_deployment_back() {
    const WHY: &str = "Service deployment rolled back because of invalid networking configuration";
    let cases = [
        (
            json!([[TARGET_GROUP, 1], [ALTERNATE, 1]]),
            format!(
                "{WHY}. productionListenerRule {PRODUCTION} should have exactly one target group serving traffic but found 2 target groups which are serving traffic"
            ),
        ),
        (
            json!([[TARGET_GROUP, 0], [ALTERNATE, 0], ["arn:ips", 1]]),
            format!(
                "{WHY}. Production listener rule is forwarding traffic to unexpected target group arn:ips. Expected traffic to be forwarded to either targetGroupArn: {TARGET_GROUP} or alternateTargetGroupArn: {ALTERNATE}"
            ),
        ),
    ];
    for (groups, why) in cases {
        let (mut sim, second) = steady(json!({"strategy": "BLUE_GREEN"}));
        sim.state.elbv2.listeners[0] = sim_with(groups).state.elbv2.listeners[0].clone();
        deploy(&mut sim, &second);
        sim.settle();
        let deployment = sim.service_deployment();
        assert_eq!((&deployment["status"], &deployment["statusReason"]), (&json!("ROLLBACK_SUCCESSFUL"), &json!(why)));
        assert!(sim.events().iter().any(|event| event.ends_with(&format!("deployment failed: {why}"))));
    }
    // Nothing to go back to.
    let mut sim = sim();
    sim.state.elbv2.listeners.remove(1);
    sim.state.elbv2.listeners[0] = sim_with(json!([[TARGET_GROUP, 1]])).state.elbv2.listeners[0].clone();
    sim.register("v1");
    sim.call("CreateService", create_input(1, json!({"strategy": "BLUE_GREEN"})));
    sim.until("over", |sim| is_over(&sim.service_deployment()));
    let deployment = sim.service_deployment();
    assert_eq!(deployment["statusReason"], "No rollback candidate was found to run the rollback.");
    let why = format!(
        "deployment failed: {WHY}: Target group {ALTERNATE} is not associated with either productionListenerRule or testListenerRule."
    );
    assert!(sim.events().iter().any(|event| event.ends_with(&why)), "{:?}", sim.events());
}

fn with_hook(hook: Value) -> Value {
    json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]})
}

#[test]
fn a_pause_waits_for_its_answer() {
    let pause = |minutes: i64, action: &str| {
        with_hook(json!({"targetType": "PAUSE", "lifecycleStages": ["PRE_PRODUCTION_TRAFFIC_SHIFT"],
            "timeoutConfiguration": {"timeoutInMinutes": minutes, "action": action}}))
    };
    for (configuration, answer, status, reason) in [
        (pause(60, "ROLLBACK"), Some("CONTINUE"), "SUCCESSFUL", Value::Null),
        (
            pause(60, "CONTINUE"),
            Some("ROLLBACK"),
            "ROLLBACK_SUCCESSFUL",
            json!("Service deployment rolled back because of a user request."),
        ),
        (pause(5, "CONTINUE"), None, "SUCCESSFUL", Value::Null),
        (
            pause(5, "ROLLBACK"),
            None,
            "ROLLBACK_SUCCESSFUL",
            json!("Service deployment rolled back because PRE_PRODUCTION_TRAFFIC_SHIFT pause hook timed out."),
        ),
    ] {
        let mut sim = sim();
        sim.register("v1");
        sim.call("CreateService", create_input(1, json!({"strategy": "BLUE_GREEN"})));
        sim.settle();
        let second = sim.register("v2");
        let input = json!({"service": "web", "taskDefinition": second, "deploymentConfiguration": configuration});
        sim.call("UpdateService", input);
        sim.until("paused", |sim| sim.service_deployment()["lifecycleHookDetails"][0]["status"] == "AWAITING_ACTION");
        let deployment = sim.service_deployment();
        let hook = deployment["lifecycleHookDetails"][0].clone();
        assert_eq!((&hook["targetType"], &hook["targetArn"]), (&json!("PAUSE"), &Value::Null));
        assert!(hook["hookId"].as_str().is_some_and(|id| id.starts_with("ecs-pause-")), "{hook}");
        sim.seconds(200);
        assert_eq!(
            (sim.service_deployment()["status"].clone(), weights(&sim, PRODUCTION)),
            (json!("IN_PROGRESS"), (0, 100))
        );
        let go_on = |hook: &str, action: &str| json!({"serviceDeploymentArn": deployment["serviceDeploymentArn"], "hookId": hook, "action": action});
        let id = hook["hookId"].as_str().expect("an id");
        if let Some(action) = answer {
            for (hook, why) in [
                ("mine", "Invalid hookId: hookId must follow the format: ecs-{hookType}-{id}"),
                (
                    "ecs-pause-1",
                    "Provided hookId is either completed, unavailable, or not associated with the given Resource ARN",
                ),
            ] {
                let refused = sim.refused("ContinueServiceDeployment", go_on(hook, action));
                assert_eq!((refused.code.as_ref(), refused.message.as_str()), ("InvalidParameterException", why));
            }
            let reply = sim.call("ContinueServiceDeployment", go_on(id, action));
            assert_eq!(reply, json!({"serviceDeploymentArn": deployment["serviceDeploymentArn"]}));
        }
        sim.until("over", |sim| is_over(&sim.service_deployment()));
        let over = sim.service_deployment();
        assert_eq!((&over["status"], &over["statusReason"]), (&json!(status), &reason));
        let refused = sim.refused("ContinueServiceDeployment", go_on(id, "CONTINUE"));
        assert!(refused.message.contains("terminal states"), "{refused}");
    }
}

#[test]
fn a_function_decides_whether_its_stage_is_passed() {
    const FAILED: &str = "Service deployment rolled back because POST_TEST_TRAFFIC_SHIFT lifecycle hook(s) failed. ";
    let hook = with_hook(json!({"hookTargetArn": HOOK, "roleArn": "arn:aws:iam::000000000000:role/hooks",
        "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"], "hookDetails": {"path": "/healthz"}}));
    let succeeded = || Ok(r#"{"hookStatus": "SUCCEEDED"}"#);
    let cases: [(Vec<Result<&str, &str>>, &str, String); 6] = [
        (vec![succeeded(), succeeded()], "SUCCESSFUL", String::new()),
        (
            vec![
                Ok(r#"{"hookStatus": "IN_PROGRESS", "callBackDelay": 90, "hookDetails": {"round": 2}}"#),
                succeeded(),
                succeeded(),
            ],
            "SUCCESSFUL",
            String::new(),
        ),
        (
            vec![Ok(r#"{"hookStatus": "FAILED"}"#), succeeded()],
            "ROLLBACK_SUCCESSFUL",
            format!("{FAILED}Lifecycle hook target {HOOK} returned FAILED status."),
        ),
        (
            vec![Ok("null"), succeeded()],
            "ROLLBACK_SUCCESSFUL",
            format!("{FAILED}ECS was unable to parse the response from {HOOK} due to HookStatus must not be null"),
        ),
        (
            vec![Err("connection refused"), succeeded()],
            "ROLLBACK_SUCCESSFUL",
            format!("{FAILED}ECS was unable to invoke hook target {HOOK} due to connection refused"),
        ),
        (vec![], "", String::new()),
    ];
    for (answers, status, reason) in cases {
        let (mut sim, second) = steady(json!({"strategy": "BLUE_GREEN"}));
        sim.call("UpdateService", json!({"service": "web", "deploymentConfiguration": hook}));
        let calls = answers.len();
        sim.functions.insert(HOOK.into(), VecDeque::from(answers));
        deploy(&mut sim, &second);
        if calls == 0 {
            // It does not answer, and its time is not over.
            sim.seconds(1800);
            let deployment = sim.service_deployment();
            assert_eq!(
                (&deployment["lifecycleStage"], &deployment["lifecycleHookDetails"][0]["status"]),
                (&json!("POST_TEST_TRAFFIC_SHIFT"), &json!("IN_PROGRESS"))
            );
            assert_eq!(sim.events_of_hooks.len(), 1);
            // A restart of the lab: nobody would bring the answer any more, so it is asked again.
            let saved = serde_json::to_string(&sim.state).expect("a state");
            sim.state = serde_json::from_str(&saved).expect("a state");
            sim.functions.insert(HOOK.into(), VecDeque::from([succeeded(), succeeded()]));
            sim.until("over", |sim| is_over(&sim.service_deployment()));
            assert_eq!(
                (sim.service_deployment()["status"].clone(), sim.events_of_hooks.len()),
                (json!("SUCCESSFUL"), 3)
            );
            continue;
        }
        let seen = timeline(&mut sim);
        assert_eq!(
            (sim.service_deployment()["status"].as_str(), sim.events_of_hooks.len()),
            (Some(status), calls),
            "{seen:?}"
        );
        assert_eq!(sim.service_deployment()["statusReason"].as_str().unwrap_or_default(), reason);
        let event = sim.events_of_hooks[0].clone();
        assert_eq!(event["lifecycleStage"], "POST_TEST_TRAFFIC_SHIFT");
        assert_eq!(
            (&event["resourceArn"], &event["hookDetails"]),
            (&sim.service_deployment()["serviceDeploymentArn"], &json!({"path": "/healthz"}))
        );
        let details = sim.events_of_hooks[0]["executionDetails"].clone();
        let target = sim.service_deployment()["targetServiceRevision"]["arn"].clone();
        assert_eq!((&details["targetServiceRevisionArn"], &details["productionTrafficWeights"]), (&target, &json!({})));
        if calls > 1 {
            let share = if status == "SUCCESSFUL" { 100 } else { 0 };
            let last = sim.events_of_hooks.last().expect("an event");
            assert_eq!(last["lifecycleStage"], "PRODUCTION_TRAFFIC_SHIFT");
            let weights = last["executionDetails"]["productionTrafficWeights"].as_object().expect("weights");
            assert_eq!((weights.len(), &weights[target.as_str().expect("an ARN")]), (2, &json!(share)));
        }
        if calls == 3 {
            assert_eq!(sim.events_of_hooks[1]["hookDetails"], json!({"round": 2}));
            assert_eq!(sim.events_of_hooks[1]["executionId"], sim.events_of_hooks[0]["executionId"]);
            let waited = seen.iter().find(|(stage, ..)| stage == "POST_TEST_TRAFFIC_SHIFT").expect("the stage").2;
            assert!((88..=95).contains(&waited), "{waited} s");
        }
    }
}

#[test]
fn functions_hear_of_traffic_that_goes_back() {
    let stages = ["TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"];
    let (mut sim, second) = steady(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 10}));
    let hook = with_hook(json!({"hookTargetArn": HOOK, "lifecycleStages": stages}));
    sim.call("UpdateService", json!({"service": "web", "deploymentConfiguration": hook}));
    let succeeded = || Ok(r#"{"hookStatus": "SUCCEEDED"}"#);
    sim.functions.insert(HOOK.into(), VecDeque::from([succeeded(), succeeded(), Err("it is away"), succeeded()]));
    deploy(&mut sim, &second);
    until_stage(&mut sim, "BAKE_TIME", 100.0);
    let arn = sim.service_deployment()["serviceDeploymentArn"].clone();
    sim.call("StopServiceDeployment", json!({"serviceDeploymentArn": arn}));
    sim.settle();
    assert_eq!(sim.service_deployment()["status"], "ROLLBACK_SUCCESSFUL");
    let told: Vec<&str> = sim.events_of_hooks.iter().filter_map(|event| event["lifecycleStage"].as_str()).collect();
    assert_eq!(told, [stages[0], stages[1], stages[1], stages[0]]);
    let target = sim.service_deployment()["targetServiceRevision"]["arn"].clone();
    let weight =
        |at: usize, of: &str| sim.events_of_hooks[at]["executionDetails"][of][target.as_str().expect("an ARN")].clone();
    assert_eq!((weight(1, "productionTrafficWeights"), weight(2, "productionTrafficWeights")), (json!(100), json!(0)));
    assert_eq!((weight(0, "testTrafficWeights"), weight(3, "testTrafficWeights")), (json!(100), json!(0)));
}

#[test]
fn what_aws_refuses_of_strategies() {
    let rule = PRODUCTION.replace(":listener/net/", ":listener-rule/app/");
    let advanced = |member: &str, value: Value| {
        let mut input = create_input(1, json!({"strategy": "BLUE_GREEN"}));
        input["loadBalancers"][0]["advancedConfiguration"][member] = value;
        input
    };
    let plain = |strategy: &str| {
        let mut input = service(1);
        input["deploymentConfiguration"]["strategy"] = json!(strategy);
        input
    };
    let of = |configuration: Value| create_input(1, configuration);
    let hook = |hook: Value| create_input(1, with_hook(hook));
    let required = "advancedConfiguration field is required for all loadBalancers when using the";
    let cases = [
        (plain("BLUE_GREEN"), format!("ClientException: {required} Blue/green deployment strategy")),
        (plain("CANARY"), format!("ClientException: {required} canary deployment strategy")),
        (plain("LINEAR"), format!("ClientException: {required} linear deployment strategy")),
        (advanced("alternateTargetGroupArn", json!("arn:none")), "InvalidParameterException: The specified target group does not exist: arn:none.".into()),
        (advanced("alternateTargetGroupArn", json!(TARGET_GROUP)), format!("ClientException: Duplicate targetGroupArn found: {TARGET_GROUP}")),
        (advanced("alternateTargetGroupArn", Value::Null), "ClientException: alternateTargetGroupArn is required in advancedConfiguration.".into()),
        (
            advanced("productionListenerRule", json!("arn:aws:elasticloadbalancing:us-west-2:1:listener/app/web/1/2")),
            "ClientException: productionListenerRule has an invalid ARN format. Must be RuleArn for ALB or ListenerArn for NLB. Got: arn:aws:elasticloadbalancing:us-west-2:1:listener/app/web/1/2".into(),
        ),
        (advanced("testListenerRule", json!(PRODUCTION)), format!("ClientException: The following rules cannot be used as both production and test listener rules: {PRODUCTION}")),
        (
            {
                let mut input = advanced("productionListenerRule", json!(rule));
                input["loadBalancers"][0]["advancedConfiguration"]["testListenerRule"] = Value::Null;
                input
            },
            "ClientException: For Application LoadBalancer, testListenerRule is required when productionListenerRule is not associated with both targetGroup and alternateTargetGroup".into(),
        ),
        (of(json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0.05}})), "InvalidParameterException: canaryPercent must be a multiple of 0.1 between 0.1 and 100.0.".into()),
        (of(json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 2.9}})), "InvalidParameterException: stepPercent must be a multiple of 0.1 between 3.0 and 100.0.".into()),
        (of(json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1441})), "InvalidParameterException: bakeTimeInMinutes must be between 0 and 1440.".into()),
        (of(json!({"strategy": "LINEAR", "canaryConfiguration": {"canaryPercent": 5.0}})), "InvalidParameterException: canaryConfiguration is only valid when the deployment strategy is CANARY.".into()),
        (hook(json!({"targetType": "PAUSE", "lifecycleStages": ["TEST_TRAFFIC_SHIFT"]})), "InvalidParameterException: Invalid lifecycle stage provided for Pause Hook".into()),
        (
            hook(json!({"hookTargetArn": "http://example.com/", "lifecycleStages": ["PRE_SCALE_UP"]})),
            "InvalidParameterException: The lab has no Lambda: give hookTargetArn the http URL of a program on this machine, not http://example.com/.".into(),
        ),
    ];
    for (input, why) in cases {
        let mut sim = sim();
        sim.register("v1");
        assert_eq!(sim.refused("CreateService", input.clone()).to_string(), why, "{input}");
    }
}

#[test]
fn another_strategy_leaves_the_members_of_the_one_before() {
    let (mut sim, second) = steady(json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 20.0}}));
    let configuration = sim.service()["deploymentConfiguration"].clone();
    assert_eq!(configuration["canaryConfiguration"], json!({"canaryPercent": 20.0, "canaryBakeTimeInMinutes": 10}));
    sim.call("UpdateService", json!({"service": "web", "deploymentConfiguration": {"strategy": "ROLLING"}}));
    assert_eq!(sim.service()["deploymentConfiguration"]["canaryConfiguration"], Value::Null);
    // Rolling on, in the target group that serves now.
    deploy(&mut sim, &second);
    sim.settle();
    assert_eq!(
        (sim.service_deployment()["lifecycleStage"].clone(), weights(&sim, PRODUCTION)),
        (Value::Null, (0, 100))
    );
    let tasks = sim.state.ecs.tasks.values().filter(|task| !task.is_stopped());
    assert!(tasks.flat_map(|task| &task.targets).all(|target| target.target_group == ALTERNATE));
}
