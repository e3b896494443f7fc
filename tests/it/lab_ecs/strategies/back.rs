//! The ways back: on request, by the circuit breaker, and from listeners that do not allow for a shift.

use serde_json::json;

use super::{
    ALTERNATE, PRODUCTION, TEST, create_input, deploy, is_over, running, serving, sim, sim_with, steady, until_stage,
    weights,
};
use crate::lab_ecs::TARGET_GROUP;

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
fn traffic_only_goes_where_tasks_are_healthy() {
    let linear = json!({"strategy": "LINEAR", "bakeTimeInMinutes": 1, "linearConfiguration": {"stepPercent": 50.0, "stepBakeTimeInMinutes": 1}});
    let stages = [
        ("PRE_SCALE_UP", 0.0),
        ("POST_TEST_TRAFFIC_SHIFT", 0.0),
        ("PRODUCTION_TRAFFIC_SHIFT", 50.0),
        ("POST_PRODUCTION_TRAFFIC_SHIFT", 100.0),
        ("CLEAN_UP", 100.0),
    ];
    for (stage, share) in stages {
        let (mut sim, second) = steady(linear.clone());
        deploy(&mut sim, &second);
        until_stage(&mut sim, stage, share);
        let arn = sim.service_deployment()["serviceDeploymentArn"].clone();
        sim.call("StopServiceDeployment", json!({"serviceDeploymentArn": arn}));
        sim.until("back", |sim| {
            let serving = serving(sim);
            assert!(!serving.is_empty() && !serving.contains(&0), "{stage}: {serving:?}");
            is_over(&sim.service_deployment())
        });
        assert_eq!(
            (sim.service_deployment()["status"].as_str(), serving(&sim)),
            (Some("ROLLBACK_SUCCESSFUL"), vec![2])
        );
        assert_eq!((weights(&sim, PRODUCTION), running(&mut sim)), ((0, 100), vec![(2, 2)]), "{stage}");
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
