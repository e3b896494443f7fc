//! What is refused, and what an update leaves behind.

use serde_json::{Value, json};

use super::{ALTERNATE, PRODUCTION, create_input, deploy, sim, steady, weights, with_hook};
use crate::lab_ecs::{Sim, TARGET_GROUP, service};

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

#[test]
fn failed_tasks_that_end_a_deployment_are_as_many_as_its_threshold_says() {
    for (desired, threshold, expected) in [
        (1, json!(null), 3),
        (9, json!(null), 5),
        (1, json!({"type": "COUNT", "value": 1}), 1),
        (1, json!({"type": "BOUNDED_PERCENT", "value": 100}), 3),
        (10, json!({"type": "BOUNDED_PERCENT", "value": 75}), 8),
        (10, json!({"type": "UNBOUNDED_PERCENT", "value": 15}), 2),
        (1000, json!({"type": "UNBOUNDED_PERCENT", "value": 50}), 500),
    ] {
        let mut sim = Sim::new();
        sim.register("v1");
        let mut input = service(desired);
        input["deploymentConfiguration"]["deploymentCircuitBreaker"] = json!({"enable": true, "rollback": true});
        if threshold.is_object() {
            input["deploymentConfiguration"]["deploymentCircuitBreaker"]["thresholdConfiguration"] = threshold.clone();
        }
        sim.call("CreateService", input);
        let shown = sim.service_deployment()["deploymentCircuitBreaker"]["threshold"].clone();
        assert_eq!(shown, json!(expected), "{desired} {threshold}");
    }
}
