//! Lifecycle hooks: pauses and functions.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{HOOK, PRODUCTION, create_input, deploy, is_over, sim, steady, timeline, until_stage, weights, with_hook};
use crate::lab_ecs::Answer;

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
    let cases: [(Vec<Answer>, &str, String); 6] = [
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
