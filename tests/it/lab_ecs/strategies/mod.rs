//! Deployments that shift traffic: their stages, shares and times, and how they go back.

mod alarms;
mod back;
mod hooks;
mod rules;
mod stages;

use serde_json::{Value, json};

use steadystate::lab::elbv2::TargetStatus;

use super::{Sim, TARGET_GROUP, service};

pub const ALTERNATE: &str = "arn:alone";

pub const PRODUCTION: &str = "arn:aws:elasticloadbalancing:us-west-2:000000000000:listener/net/web/1/2";

pub const TEST: &str = "arn:aws:elasticloadbalancing:us-west-2:000000000000:listener/net/web/1/3";

pub const HOOK: &str = "http://127.0.0.1:9/hook";

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

pub fn sim() -> Sim {
    sim_with(json!([[TARGET_GROUP, 1], [ALTERNATE, 0]]))
}

pub fn create_input(desired: i64, configuration: Value) -> Value {
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
pub fn weights(sim: &Sim, listener: &str) -> (u32, u32) {
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

/// The target groups that production traffic goes to, each with its healthy targets.
fn serving(sim: &Sim) -> Vec<usize> {
    let (first, alternate) = weights(sim, PRODUCTION);
    let healthy = |arn: &str| {
        let group = sim.state.elbv2.target_group(arn).expect("a group");
        group.targets.iter().filter(|target| target.status == TargetStatus::Healthy).count()
    };
    let of = [(first, TARGET_GROUP), (alternate, ALTERNATE)];
    of.iter().filter(|(weight, _)| *weight > 0).map(|(_, group)| healthy(group)).collect()
}

fn with_hook(hook: Value) -> Value {
    json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]})
}
