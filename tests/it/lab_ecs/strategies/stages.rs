//! The way forward: stages, shares, times and target groups.

use serde_json::{Value, json};

use super::{ALTERNATE, PRODUCTION, TEST, deploy, is_over, running, serving, steady, timeline, until_stage, weights};
use crate::lab_ecs::TARGET_GROUP;

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
fn a_rolling_update_that_is_overtaken_loses_no_capacity() {
    let (mut sim, second) = steady(json!({"strategy": "ROLLING", "minimumHealthyPercent": 100, "maximumPercent": 150}));
    deploy(&mut sim, &second);
    sim.until("half way", |sim| {
        let counts = running(sim);
        counts.len() == 2 && counts[0].1 == 1 && counts[1].1 == 1
    });
    let third = sim.register("v3");
    let blue_green = json!({"strategy": "BLUE_GREEN"});
    sim.call(
        "UpdateService",
        json!({"service": "web", "taskDefinition": third, "deploymentConfiguration": blue_green}),
    );
    sim.until("over", |sim| {
        assert!(serving(sim).iter().all(|healthy| *healthy >= 2), "{:?}", sim.events());
        is_over(&sim.service_deployment())
    });
    assert_eq!(
        (sim.service_deployment()["status"].as_str(), weights(&sim, PRODUCTION)),
        (Some("SUCCESSFUL"), (0, 100))
    );
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
