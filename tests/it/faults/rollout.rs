//! Rollouts that fail, are overtaken or cannot begin: 19 to 26.

use serde_json::{Value, json};

use crate::release::bad_releases::{CRASHED, after_a_good_one, serves_the_first};
use crate::release::others::rolling;
use crate::release::{Bench, PATIENCE, get, text};

#[tokio::test(flavor = "multi_thread")]
async fn case_19_a_crash_loop_goes_back_and_says_exit_code_and_last_lines() {
    let bench = Bench::start().await;
    let (url, run) = after_a_good_one(&bench, "start").await;
    run.assert(5, &CRASHED);
    assert!(!run.stderr.contains(".;") && !run.stderr.contains(".:"), "{}", run.stderr);
    serves_the_first(&bench, &url).await;
    // Only watching it afterwards is no success either.
    bench.steady(&["wait"]).await.assert(5, &["the last deployment failed", "web:1"]);
    // It does not stand in the way of the fix.
    let fixed = bench.deploy().await;
    assert_eq!(get(text(&fixed, "url")).await.unwrap(), "two");
    assert_eq!(bench.steady(&["wait"]).await.code, 0);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_20_a_sick_release_goes_back_and_the_target_says_why() {
    let bench = Bench::start().await;
    let (url, run) = after_a_good_one(&bench, "health").await;
    run.assert(5, &["Health checks failed with these codes: [500]", "web:1 is back and steady"]);
    assert!(!run.stderr.contains("ended by itself"), "{}", run.stderr);
    serves_the_first(&bench, &url).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_the_circuit_breaker_s_rollback_is_no_success() {
    let bench = Bench::start().await;
    // all is left to ECS, which rolls back at the third failed task
    bench.configure("timeout: 60s, fail_fast: 0", "");
    let (url, run) = after_a_good_one(&bench, "start").await;
    run.assert(5, &["circuit breaker", "the container `web` exited with code 3", "web:1 is back and steady"]);
    serves_the_first(&bench, &url).await;
    let listed =
        bench.clients().await.list_service_deployments(json!({ "service": "web", "cluster": "default" })).await;
    let newest = &listed.unwrap()["serviceDeployments"][0];
    assert_eq!(newest["status"], "ROLLBACK_SUCCESSFUL", "{newest}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_22_a_first_release_that_fails_is_left_for_inspection() {
    let bench = Bench::start().await;
    let run = bench.steady(&["deploy", "--var", "fail=start"]).await;
    run.assert(6, &["exited with code 3", "no database: giving up", "so it is left as it is", "steady status"]);
    // The same again is a wish to try again, and fails again.
    bench.steady(&["deploy", "--var", "fail=start"]).await.assert(6, &["exited with code 3"]);
    let fixed = bench.deploy().await;
    assert_eq!(get(text(&fixed, "url")).await.unwrap(), "one");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_23_without_capacity_the_event_s_text_is_said_at_the_deadline() {
    let bench = Bench::start().await;
    bench.configure("timeout: 60s, on_failure: stop", "");
    let url = text(&bench.deploy().await, "url").to_owned();
    bench.page("two");
    bench.fault(json!({ "on": "scheduler:PlaceTask", "kind": "fail-placement" })).await;
    let told = ["was unable to place a task because no container instance met all of its requirements", "ask for less"];
    let run = bench.steady(&["deploy", "--timeout", "2s"]).await;
    run.assert(9, &[told[0], told[1], "it goes on rolling", "`steady wait`"]);
    assert_eq!(get(&url).await.unwrap(), "one");
    // the same with a way back
    bench.configure("timeout: 60s, on_failure: rollback", "");
    bench.steady(&["deploy", "--timeout", "2s"]).await.assert(5, &[told[0], told[1], "web:1 is back and steady"]);
    serves_the_first(&bench, &url).await;
    bench.clear().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_24_a_desired_count_of_0_is_steady_and_proves_nothing() {
    let bench = Bench::start().await;
    let run = bench.steady(&["deploy", "--desired-count", "0", "--output", "json"]).await;
    run.assert(0, &["the desired count is 0: no task proved healthy"]);
    let result: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((text(&result, "status"), &result["runningCount"]), ("steady", &json!(0)));
    // a bad release is not found out either, and that is what the warning is for
    bench.page("two");
    let run = bench.steady(&["deploy", "--desired-count", "0", "--var", "fail=start"]).await;
    run.assert(0, &["no task proved healthy"]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_25_a_newer_deployment_supersedes_and_wins() {
    let bench = Bench::start().await;
    let first = rolling(&bench).await;
    let update = json!({ "service": "web", "taskDefinition": "web:1", "forceNewDeployment": true });
    bench.clients().await.update_service(update).await.unwrap();
    let run = tokio::time::timeout(PATIENCE, first).await.expect("the first deploy ends").unwrap();
    run.assert(7, &["superseded", "web:1", "left alone"]);
    assert_eq!(bench.steady(&["wait"]).await.code, 0);
    let status = bench.good(&["status"]).await;
    assert!(text(&status, "taskDefinition").ends_with("web:1"), "{status}");
    assert_eq!(get(text(&status, "url")).await.unwrap(), "one");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_26_another_deployment_in_progress_is_left_alone() {
    let bench = Bench::start().await;
    let first = rolling(&bench).await;
    bench.page("three");
    let second = bench.steady(&["deploy"]).await;
    second.assert(8, &["another deployment is in progress", "web:2", "steady wait", "steady rollback"]);
    bench.until_primary(2).await;
    assert!(!first.is_finished(), "the other deploy goes on");
    // As the error says: a rollback ends it, and then the same command deploys.
    let back = bench.good(&["rollback"]).await;
    assert!(text(&back, "taskDefinition").ends_with("web:1"), "{back}");
    let run = tokio::time::timeout(PATIENCE, first).await.expect("the first deploy ends").unwrap();
    run.assert(5, &["web:1 is back and steady"]);
    let third = bench.deploy().await;
    assert_eq!(get(text(&third, "url")).await.unwrap(), "three");
    bench.end().await;
}
