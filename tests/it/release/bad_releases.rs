//! Releases that fail: what comes back, with which exit code, and what the screen says.

use std::time::Duration;

use serde_json::json;

use super::{Bench, Run, get, text};

/// A good release, and then one with this `FAIL`.
pub(crate) async fn after_a_good_one(bench: &Bench, fail: &str) -> (String, Run) {
    let first = bench.deploy().await;
    bench.page("two");
    let run = bench.steady(&["deploy", "--var", &format!("fail={fail}"), "--progress", "lines"]).await;
    let url = text(&first, "url").to_owned();
    (url, run)
}

pub(crate) async fn serves_the_first(bench: &Bench, url: &str) {
    assert_eq!(get(url).await.unwrap(), "one");
    let service = bench.service().await;
    let primary = &service["deployments"][0];
    assert!(text(primary, "taskDefinition").ends_with("web:1"), "{primary}");
    assert_eq!((text(primary, "rolloutState"), service["runningCount"].as_i64()), ("COMPLETED", Some(1)));
    assert_eq!(service["deployments"].as_array().unwrap().len(), 1);
}

pub(crate) const CRASHED: [&str; 4] = [
    "Essential container in task exited",
    "the container `web` exited with code 3",
    "no database: giving up",
    "web:1 is back and steady",
];

#[tokio::test(flavor = "multi_thread")]
async fn on_failure_stop_leaves_it_and_rollback_goes_back() {
    let bench = Bench::start().await;
    bench.configure("timeout: 60s, on_failure: stop", "");
    let (url, run) = after_a_good_one(&bench, "start").await;
    run.assert(6, &["exited with code 3", "left as it is", "steady rollback"]);
    let service = bench.service().await;
    assert!(text(&service["deployments"][0], "taskDefinition").ends_with("web:2"), "{service}");
    assert_eq!(get(&url).await.unwrap(), "one", "the previous release goes on serving");
    let back = bench.good(&["rollback"]).await;
    assert!(text(&back, "taskDefinition").ends_with("web:1"));
    serves_the_first(&bench, &url).await;
    bench.end().await;
}

/// The user's document speaks of the circuit breaker: ECS brings nothing back, so that we have to.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_circuit_breaker_we_bring_it_back() {
    for breaker in [json!({ "enable": false, "rollback": false }), json!({ "enable": true, "rollback": false })] {
        let bench = Bench::start().await;
        let document = json!({ "deploymentConfiguration": { "deploymentCircuitBreaker": breaker } });
        bench.write("service.json", &document.to_string());
        let (url, run) = after_a_good_one(&bench, "start").await;
        run.assert(5, &CRASHED);
        serves_the_first(&bench, &url).await;
        bench.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_to_a_bad_revision_fails_as_a_deploy_does() {
    let bench = Bench::start().await;
    let (url, run) = after_a_good_one(&bench, "start").await;
    assert_eq!(run.code, 5, "{}", run.stderr);
    let run = bench.steady(&["rollback", "--to", "2"]).await;
    run.assert(5, &CRASHED);
    serves_the_first(&bench, &url).await;
    let bad = bench.steady(&["rollback", "--to", "9"]).await;
    bad.assert(2, &["web:9", "steady rollback --list"]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_stops_the_waiting_or_the_release() {
    let bench = Bench::start().await;
    bench.configure("timeout: 60s, on_failure: stop", "");
    let first = bench.deploy().await;
    let url = text(&first, "url");
    bench.page("two");
    // Nothing answers the health checks, and nothing crashes: only the deadline ends it.
    bench.write("service.json", &json!({ "healthCheckGracePeriodSeconds": 100_000 }).to_string());
    let silent = ["deploy", "--var", "fail=silent", "--timeout", "2s"];
    bench.steady(&silent).await.assert(9, &["not steady after 2s", "it goes on rolling", "steady wait"]);
    assert_eq!(bench.service().await["deployments"][0]["rolloutState"], "IN_PROGRESS");
    bench.steady(&["wait", "--timeout", "1s"]).await.assert(9, &["steady wait"]);
    // The same again follows what rolls, and now the plan says to go back.
    bench.configure("timeout: 60s, on_failure: rollback", "");
    bench.steady(&silent).await.assert(5, &["not steady after 2s", "web:1 is back and steady"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    serves_the_first(&bench, url).await;
    bench.end().await;
}
