//! Deployment strategies from the project file, and what is said of them: in a lab whose containers are simulated.

mod failures;
mod pauses;
mod refused;

use std::time::Duration;

use serde_json::{Value, json};
use steadystate::lab::runtime::Level;

use super::{Bench, PATIENCE, text};

const ROLE: &str = "arn:aws:iam::000000000000:role/ecsInfrastructureRole";

/// A service of two tasks behind an application load balancer that steady makes, with its first release.
async fn start() -> Bench {
    let bench = Bench::start_at(Some(Level::Simulated)).await;
    project(&bench, "timeout: 60s");
    bench.deploy().await;
    bench
}

/// `rollout` are members of `rollout:`.
fn project(bench: &Bench, rollout: &str) {
    bench.configure(rollout, "desired_count: 2");
    let yaml = std::fs::read_to_string(bench.project().join("steady.yaml")).unwrap();
    let balancer = format!(
        "type: application\n      advanced_configuration: {{ role: \"{ROLE}\", test_listener: {{ port: 8090 }} }}\n"
    );
    assert_eq!(yaml.matches("type: network\n").count(), 1);
    bench.write("steady.yaml", &yaml.replace("type: network\n", &balancer));
}

/// The newest service deployment.
async fn deployment(bench: &Bench) -> Value {
    let clients = bench.clients().await;
    let listed = clients.list_service_deployments(json!({ "service": "web" })).await.unwrap();
    let arn = &listed["serviceDeployments"][0]["serviceDeploymentArn"];
    let found = clients.describe_service_deployments(json!({ "serviceDeploymentArns": [arn] })).await.unwrap();
    found["serviceDeployments"][0].clone()
}

/// The newest service deployment, once `done`.
async fn until(bench: &Bench, done: impl Fn(&Value) -> bool) -> Value {
    let looked = async {
        loop {
            let now = deployment(bench).await;
            if done(&now) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.expect("the deployment comes so far")
}

async fn until_paused(bench: &Bench) -> Value {
    until(bench, |now| {
        let hooks = now["lifecycleHookDetails"].as_array();
        now["status"] == "IN_PROGRESS" && hooks.is_some_and(|of| of.iter().any(|of| of["status"] == "AWAITING_ACTION"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_strategy_of_the_project_file_ends_steady_on_a_live_service() {
    let bench = start().await;
    let groups = bench.service().await["loadBalancers"][0].clone();
    assert_eq!(groups["advancedConfiguration"]["roleArn"], ROLE);
    // What lasts some seconds in the lab: shorter stages may pass between two looks.
    let releases = [
        (
            "strategy: BLUE_GREEN, bake_time: 5m",
            json!({ "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5 }),
            "blue/green: bake time, 100 % of traffic (100 % of test traffic), 2 new and 2 old tasks, 5m00s to bake",
        ),
        (
            "strategy: CANARY, percent: 20, step_bake_time: 5m, bake_time: 1m",
            json!({
                "strategy": "CANARY", "bakeTimeInMinutes": 1,
                "canaryConfiguration": { "canaryPercent": 20, "canaryBakeTimeInMinutes": 5 },
            }),
            "canary: production traffic shift, 20 % of traffic (100 % of test traffic), 2 new and 2 old tasks, 6m00s to bake",
        ),
        (
            "strategy: LINEAR, percent: 50.0, step_bake_time: 5m, bake_time: 0",
            json!({
                "strategy": "LINEAR", "bakeTimeInMinutes": 0,
                "linearConfiguration": { "stepPercent": 50, "stepBakeTimeInMinutes": 5 },
            }),
            "linear: production traffic shift, 50 % of traffic (100 % of test traffic), 2 new and 2 old tasks, 5m00s to bake",
        ),
        (
            "strategy: ROLLING, minimum_healthy_percent: 50, circuit_breaker: { threshold: { type: COUNT, value: 5 } }",
            json!({
                "strategy": "ROLLING", "minimumHealthyPercent": 50, "maximumPercent": 200,
                "deploymentCircuitBreaker": {
                    "enable": true, "rollback": true, "thresholdConfiguration": { "type": "COUNT", "value": 5 },
                },
            }),
            "2 of 2 running",
        ),
    ];
    for (page, (rollout, configuration, said)) in ["two", "three", "four", "five"].into_iter().zip(releases) {
        project(&bench, &format!("timeout: 60s, {rollout}"));
        bench.page(page);
        let run = bench.steady(&["deploy", "--progress", "lines"]).await;
        run.assert(0, &[said]);
        let service = bench.service().await;
        for (member, value) in configuration.as_object().unwrap() {
            let now = &service["deploymentConfiguration"][member];
            assert!(steadystate::deploy::service::decide::covers(now, value), "{member}: {now}");
        }
        // What it takes from the project file stays as it was made.
        assert_eq!(service["loadBalancers"][0], groups);
        let again = bench.good(&["deploy", "--dry-run"]).await;
        assert_eq!(text(&again, "status"), "unchanged", "{again:#}");
    }
    assert_eq!(bench.service().await["deploymentConfiguration"]["linearConfiguration"], Value::Null);
    let deleted = bench.good(&["delete", "--created", "--yes"]).await;
    let elb = bench.clients().await.elbv2;
    let left = elb.describe_target_groups().send().await.unwrap();
    assert!(left.target_groups().is_empty(), "{deleted:#}");
    bench.end().await;
}
