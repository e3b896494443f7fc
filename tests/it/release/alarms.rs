//! Releases whose deployment has an alarm that somebody sets.

use std::time::Duration;

use serde_json::json;

use super::{Bench, PATIENCE, Run, get, text};
use crate::lab_secrets::tasks::call;

const CLOUDWATCH: &str = "GraniteServiceVersion20100801";

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_in_the_bake_time_brings_the_release_before_back() {
    let bench = Bench::start().await;
    let alarm = json!({
        "AlarmName": "web-5xx", "Namespace": "Web", "MetricName": "5XX", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold",
    });
    call(&bench, &format!("{CLOUDWATCH}.PutMetricAlarm"), alarm).await;
    let alarms = json!({"alarmNames": ["web-5xx"], "enable": true, "rollback": true});
    let baking = |minutes: i64| json!({"deploymentConfiguration": {"alarms": alarms, "bakeTimeInMinutes": minutes}});
    bench.write("service.json", &baking(1).to_string());
    let first = bench.deploy().await;

    bench.write("service.json", &baking(1000).to_string());
    bench.page("two");
    let deploy = bench.spawn(&["deploy", "--progress", "lines"]);
    bench.until_primary(2).await;
    let bakes = async {
        while get(text(&first, "url")).await != Ok("two".to_owned()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let service = bench.service().await;
        assert_eq!(service["deployments"][0]["rolloutState"], "IN_PROGRESS");
    };
    tokio::time::timeout(PATIENCE, bakes).await.expect("the release answers");
    let set = json!({"AlarmName": "web-5xx", "StateValue": "ALARM", "StateReason": "set by hand"});
    call(&bench, &format!("{CLOUDWATCH}.SetAlarmState"), set).await;
    let output = tokio::time::timeout(PATIENCE, deploy.wait_with_output()).await.expect("deploy ends").unwrap();
    Run::of(output).assert(5, &["alarm detected", "web:1 is back and steady"]);
    assert_eq!(get(text(&first, "url")).await.unwrap(), "one");
    bench.end().await;
}
