//! What an update says of a service's deployments.

use serde_json::{Value, json};
use steadystate::deploy::service::decide::{Decision, decide};

use super::decisions::{self, live};

/// ECS takes `deploymentConfiguration` as a whole: what only the console or another tool set must not get lost.
#[test]
fn what_is_said_of_deployments_leaves_the_rest_as_it_is() {
    let configured = |configuration: Value| live(|live| live["deploymentConfiguration"] = configuration);
    let sent = |live: &Value, wanted: Value| {
        let wanted = decisions::wanted(|members| members["deploymentConfiguration"] = wanted);
        match decide(Some(live), &wanted, 3, &mut Vec::new()) {
            Decision::Update { input, .. } => input["deploymentConfiguration"].clone(),
            other => panic!("{other:?}"),
        }
    };
    let hook = json!({ "targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"] });
    let canary = configured(json!({
        "strategy": "CANARY", "bakeTimeInMinutes": 5, "lifecycleHooks": [hook], "maximumPercent": 200,
        "canaryConfiguration": { "canaryPercent": 10.0, "canaryBakeTimeInMinutes": 3 },
    }));
    let breaker = json!({ "enable": true, "rollback": true });
    assert_eq!(
        sent(&canary, json!({ "deploymentCircuitBreaker": breaker })),
        json!({
            "deploymentCircuitBreaker": breaker, "strategy": "CANARY", "bakeTimeInMinutes": 5,
            "lifecycleHooks": [hook], "maximumPercent": 200,
            "canaryConfiguration": { "canaryPercent": 10.0, "canaryBakeTimeInMinutes": 3 },
        })
    );
    // Another strategy takes what was of the one before with it; an empty list takes hooks away.
    let linear = json!({ "strategy": "LINEAR", "lifecycleHooks": [] });
    assert_eq!(
        sent(&canary, linear),
        json!({ "strategy": "LINEAR", "lifecycleHooks": [], "bakeTimeInMinutes": 5, "maximumPercent": 200 })
    );
    // What ECS answers with though nobody said it is not sent back: without a bake time it computes one from the alarms.
    let rolling = configured(json!({
        "strategy": "ROLLING", "bakeTimeInMinutes": 0, "lifecycleHooks": [], "maximumPercent": 200,
        "earlySuccessCriteria": { "enable": false },
    }));
    let alarms = json!({ "alarmNames": ["a"], "enable": true, "rollback": true });
    assert_eq!(sent(&rolling, json!({ "alarms": alarms })), json!({ "alarms": alarms, "maximumPercent": 200 }));
}
