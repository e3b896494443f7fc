//! `rollout:` as ECS's `deploymentConfiguration`.

use serde_json::{Value, json};
use steadystate::config::OnPause;

use super::{load, with};

fn members(rollout: &str) -> Value {
    let plan = load(&with(&format!("    rollout: {{ {rollout} }}\n")), |_| ()).unwrap().plan;
    Value::Object(plan.rollout.deployment.members)
}

#[test]
fn what_the_file_says_is_what_ecs_takes_and_nothing_else() {
    assert_eq!(members("timeout: 5m"), json!({}));
    assert_eq!(members("strategy: ROLLING"), json!({ "strategy": "ROLLING" }));
    assert_eq!(
        members("strategy: BLUE_GREEN, bake_time: 1h 30m, minimum_healthy_percent: 50, maximum_percent: 150"),
        json!({ "strategy": "BLUE_GREEN", "minimumHealthyPercent": 50, "maximumPercent": 150, "bakeTimeInMinutes": 90 })
    );
    assert_eq!(
        members("strategy: CANARY, percent: 0.1, step_bake_time: 600"),
        json!({ "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 0.1, "canaryBakeTimeInMinutes": 10 } })
    );
    assert_eq!(
        members("strategy: LINEAR, percent: 33.3, bake_time: 0"),
        json!({ "strategy": "LINEAR", "bakeTimeInMinutes": 0, "linearConfiguration": { "stepPercent": 33.3 } })
    );
    assert_eq!(
        members("strategy: CANARY, step_bake_time: 1m")["canaryConfiguration"],
        json!({ "canaryBakeTimeInMinutes": 1 })
    );
    assert_eq!(
        members("circuit_breaker: true, alarms: [a, b]"),
        json!({
            "deploymentCircuitBreaker": { "enable": true, "rollback": true },
            "alarms": { "alarmNames": ["a", "b"], "enable": true, "rollback": true },
        })
    );
    // What to do about a failure holds for all who find one.
    assert_eq!(
        members(
            "on_failure: stop, circuit_breaker: { reset_on_healthy_task: false, threshold: { type: UNBOUNDED_PERCENT, value: 10 } }, alarms: { names: [a] }"
        ),
        json!({
            "deploymentCircuitBreaker": {
                "enable": true, "rollback": false, "resetOnHealthyTask": false,
                "thresholdConfiguration": { "type": "UNBOUNDED_PERCENT", "value": 10 },
            },
            "alarms": { "alarmNames": ["a"], "enable": true, "rollback": false },
        })
    );
    // Empty lists take away what is there.
    assert_eq!(
        members("circuit_breaker: false, alarms: [], hooks: []"),
        json!({
            "deploymentCircuitBreaker": { "enable": false, "rollback": false },
            "alarms": { "alarmNames": [], "enable": false, "rollback": false },
            "lifecycleHooks": [],
        })
    );
    assert_eq!(
        members(
            "hooks: [{ type: PAUSE, stages: [POST_SCALE_UP, POST_TEST_TRAFFIC_SHIFT], timeout: 14d, on_timeout: continue }, \
             { type: AWS_LAMBDA, function: f, role: r, stages: [PRODUCTION_TRAFFIC_SHIFT], details: { tries: 3, url: null } }]"
        )["lifecycleHooks"],
        json!([
            {
                "targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP", "POST_TEST_TRAFFIC_SHIFT"],
                "timeoutConfiguration": { "timeoutInMinutes": 20160, "action": "CONTINUE" },
            },
            {
                "targetType": "AWS_LAMBDA", "lifecycleStages": ["PRODUCTION_TRAFFIC_SHIFT"], "hookTargetArn": "f",
                "roleArn": "r", "hookDetails": { "tries": 3, "url": null },
            },
        ])
    );
}

#[test]
fn whoever_waits_for_people_may_say_so() {
    let on_pause = |rollout: &str| {
        let text = with(&format!("    rollout: {{ {rollout} }}\n"));
        load(&text, |_| ()).unwrap().plan.rollout.on_pause
    };
    assert_eq!((on_pause("fail_fast: 1"), on_pause("on_pause: exit")), (OnPause::Wait, OnPause::Exit));
}
