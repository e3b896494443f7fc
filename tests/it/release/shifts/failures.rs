//! Releases that shift traffic and fail on their way: exit code 5, and the release before is back.

use serde_json::json;

use super::super::strategies::function;
use super::super::{PATIENCE, Run};
use super::{project, start, until};
use crate::lab_secrets::tasks::call;

const CLOUDWATCH: &str = "GraniteServiceVersion20100801";

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_in_the_bake_time_of_each_strategy_brings_the_release_before_back() {
    let bench = start().await;
    let alarm = json!({
        "AlarmName": "web-5xx", "Namespace": "Web", "MetricName": "5XX", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold",
    });
    call(&bench, &format!("{CLOUDWATCH}.PutMetricAlarm"), alarm).await;
    let set = async |state: &str| {
        let input = json!({ "AlarmName": "web-5xx", "StateValue": state, "StateReason": "set by hand" });
        call(&bench, &format!("{CLOUDWATCH}.SetAlarmState"), input).await;
    };
    let rollouts = [
        ("strategy: BLUE_GREEN, bake_time: 20h", "BAKE_TIME", 100.0),
        ("strategy: CANARY, percent: 10, step_bake_time: 20h", "PRODUCTION_TRAFFIC_SHIFT", 10.0),
        ("strategy: LINEAR, percent: 30, step_bake_time: 0, bake_time: 20h", "BAKE_TIME", 100.0),
    ];
    for (at, (rollout, stage, share)) in rollouts.into_iter().enumerate() {
        set("OK").await;
        project(&bench, &format!("timeout: 60s, alarms: [web-5xx], {rollout}"));
        bench.page(&format!("release {at}"));
        let deploy = bench.spawn(&["deploy", "--progress", "lines"]);
        until(&bench, |now| {
            now["lifecycleStage"] == stage
                && now["targetServiceRevision"]["requestedProductionTrafficWeight"] == share
                && now["status"] == "IN_PROGRESS"
        })
        .await;
        set("ALARM").await;
        let output = tokio::time::timeout(PATIENCE, deploy.wait_with_output()).await.expect("deploy ends").unwrap();
        Run::of(output)
            .assert(5, &["one or more alarms were triggered", "in alarm: web-5xx", "web:1 is back and steady"]);
        let service = bench.service().await;
        assert!(service["taskDefinition"].as_str().unwrap().ends_with(":1"), "{service:#}");
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_says_no_brings_the_release_before_back() {
    let bench = start().await;
    let (url, told) = function(vec![r#"{"hookStatus": "FAILED"}"#]).await;
    let hook = format!(
        "{{ type: AWS_LAMBDA, function: \"{url}\", role: arn:aws:iam::000000000000:role/hooks, stages: [POST_SCALE_UP], details: {{ path: /healthz }} }}"
    );
    project(&bench, &format!("timeout: 60s, strategy: CANARY, hooks: [{hook}]"));
    bench.page("two");
    let run = bench.steady(&["deploy", "--progress", "lines"]).await;
    let why = format!("POST_SCALE_UP lifecycle hook(s) failed. Lifecycle hook target {url} returned FAILED status.");
    run.assert(5, &[&why, &format!("hook {url}"), "web:1 is back and steady"]);
    let told = tokio::time::timeout(PATIENCE, told).await.expect("it was asked").unwrap();
    assert_eq!(told[0]["hookDetails"], json!({ "path": "/healthz" }));
    bench.end().await;
}
