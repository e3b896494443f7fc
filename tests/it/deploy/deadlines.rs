//! How long a rollout may take, from what it waits for.

use std::time::Duration;

use serde_json::{Value, json};
use steadystate::deploy::follow::deadline::{self, Group};

fn minutes(service: &Value, groups: &[Group]) -> u64 {
    let allowed = deadline::of(service, groups);
    assert_eq!(allowed.as_secs() % 60, 0, "{allowed:?}");
    allowed.as_secs() / 60
}

#[test]
fn the_table_of_deadlines() {
    let group = |becomes: u64, drains: u64| Group {
        becomes_healthy: Duration::from_secs(becomes),
        drains: Some(Duration::from_secs(drains)),
    };
    let rolling = |desired: i64, minimum: i64, maximum: i64| {
        json!({
            "desiredCount": desired,
            "deploymentConfiguration": { "minimumHealthyPercent": minimum, "maximumPercent": maximum },
        })
    };
    let strategy = |strategy: &str, more: Value| {
        let mut configuration = json!({ "strategy": strategy });
        configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "desiredCount": 3, "deploymentConfiguration": configuration })
    };
    let (slow, default, two) = ([group(150, 300)], [Group::default()], [group(10, 0), group(150, 3600)]);
    let table: Vec<(&str, Value, &[Group], u64)> = vec![
        ("nothing is known", Value::Null, &[], 15),
        ("a worker", rolling(1, 100, 200), &[], 15),
        ("behind a load balancer as ELB makes it", rolling(4, 100, 200), &default, 15),
        // 5 m to start, 2.5 m to get healthy, 5 m to drain, 0.5 m to stop: 13 m a wave
        ("two waves", rolling(4, 50, 100), &slow, 26),
        ("four waves", rolling(4, 100, 125), &slow, 52),
        ("nothing may move: one at a time", rolling(4, 100, 100), &slow, 52),
        ("all at once", rolling(4, 0, 100), &slow, 15),
        ("the slower of two groups counts", rolling(2, 50, 100), &two, 136),
        ("a long grace period", json!({ "desiredCount": 1, "healthCheckGracePeriodSeconds": 3600 }), &slow, 71),
        ("blue/green bakes", strategy("BLUE_GREEN", json!({ "bakeTimeInMinutes": 30 })), &slow, 43),
        (
            "canary",
            strategy(
                "CANARY",
                json!({ "bakeTimeInMinutes": 5, "canaryConfiguration": { "canaryPercent": 5.0, "canaryBakeTimeInMinutes": 20 } }),
            ),
            &slow,
            38,
        ),
        ("canary by default", strategy("CANARY", json!({})), &slow, 23),
        (
            "linear",
            strategy("LINEAR", json!({ "linearConfiguration": { "stepPercent": 30.0, "stepBakeTimeInMinutes": 10 } })),
            &slow,
            53,
        ),
        ("linear by default", strategy("LINEAR", json!({})), &slow, 73),
        (
            "alarms whose bake time ECS computes",
            strategy("ROLLING", json!({ "alarms": { "enable": true } })),
            &slow,
            23,
        ),
        (
            "alarms with a bake time",
            strategy("ROLLING", json!({ "alarms": { "enable": true }, "bakeTimeInMinutes": 45 })),
            &slow,
            58,
        ),
        (
            "hooks, and a pause that ends the waiting by itself",
            strategy(
                "BLUE_GREEN",
                json!({ "lifecycleHooks": [
                    { "lifecycleStages": ["PRE_SCALE_UP", "POST_SCALE_UP"], "timeoutConfiguration": { "timeoutInMinutes": 10 } },
                    { "targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"], "timeoutConfiguration": { "timeoutInMinutes": 1440 } },
                ] }),
            ),
            &slow,
            33,
        ),
        ("a strategy of the future", strategy("TELEPORT", json!({ "bakeTimeInMinutes": 10 })), &slow, 23),
        ("members of another type", json!({ "desiredCount": "x", "deploymentConfiguration": [] }), &slow, 15),
    ];
    for (what, service, groups, expected) in table {
        assert_eq!(minutes(&service, groups), expected, "{what}");
    }
}

#[test]
fn numbers_that_make_no_sense_make_no_panic() {
    for extreme in [i64::MIN, -1, i64::MAX] {
        let configuration = json!({
            "minimumHealthyPercent": extreme, "maximumPercent": extreme, "bakeTimeInMinutes": extreme,
            "strategy": "ROLLING", "linearConfiguration": { "stepPercent": 0, "stepBakeTimeInMinutes": extreme },
        });
        let service = json!({
            "desiredCount": extreme, "healthCheckGracePeriodSeconds": extreme.min(i64::from(i32::MAX)),
            "deploymentConfiguration": configuration,
        });
        assert!(deadline::of(&service, &[Group::default()]) >= deadline::LEAST);
    }
}
