//! Pauses: said once, shown by `status`, answered by `continue`.

use std::time::Duration;

use serde_json::json;
use tokio::process::Child;

use super::super::{Bench, PATIENCE, Run, text};
use super::{deployment, project, start, until, until_paused};

const PAUSE: &str = "hooks: [{ type: PAUSE, stages: [POST_TEST_TRAFFIC_SHIFT], timeout: 1h, on_timeout: rollback }]";

/// A service whose second release waits at a pause, and the deploy that follows it.
async fn paused(rollout: &str) -> (Bench, Child) {
    let bench = start().await;
    project(&bench, &format!("timeout: 60s, strategy: BLUE_GREEN, {PAUSE}, {rollout}"));
    bench.page("two");
    let deploy = bench.spawn(&["deploy", "--progress", "lines"]);
    until_paused(&bench).await;
    (bench, deploy)
}

async fn ended(deploy: Child) -> Run {
    let output = tokio::time::timeout(PATIENCE, deploy.wait_with_output()).await.expect("deploy ends");
    Run::of(output.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_said_once_shown_by_status_and_let_go_on() {
    let (bench, deploy) = paused("fail_fast: 3").await;
    let status = bench.steady(&["status", "--output", "json"]).await;
    status.assert(0, &["paused at POST_TEST_TRAFFIC_SHIFT", "`steady continue`"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!((text(&status, "status"), text(&status, "strategy")), ("paused", "BLUE_GREEN"));
    assert_eq!(status["lifecycleStage"], "POST_TEST_TRAFFIC_SHIFT");
    assert_eq!(
        (&status["hooks"][0]["type"], &status["hooks"][0]["status"], &status["hooks"][0]["timeoutAction"]),
        (&json!("PAUSE"), &json!("AWAITING_ACTION"), &json!("ROLLBACK"))
    );
    let traffic = |at: usize| {
        let row = &status["traffic"][at];
        let revision = text(row, "taskDefinition").rsplit('/').next().unwrap().to_owned();
        (revision, row["production"].as_f64(), row["test"].as_f64(), row["listener"].as_f64(), row["running"].as_i64())
    };
    assert_eq!(traffic(0), ("web:2".into(), Some(0.0), Some(100.0), Some(0.0), Some(2)));
    assert_eq!(traffic(1), ("web:1".into(), Some(100.0), Some(0.0), Some(100.0), Some(2)));

    // Another release has to wait until somebody answers, and is told so.
    bench.page("three");
    let other = bench.steady(&["deploy", "--progress", "lines"]).await;
    other.assert(
        8,
        &["another deployment is in progress", "it is paused at POST_TEST_TRAFFIC_SHIFT", "`steady continue`"],
    );

    let wrong = bench.steady(&["continue", "--hook", "ecs-pause-none"]).await;
    wrong.assert(3, &["has the id ecs-pause-none", "it waits at ecs-pause-"]);
    let went_on = bench.good(&["continue"]).await;
    assert_eq!((text(&went_on, "status"), text(&went_on, "action")), ("steady", "CONTINUE"));
    assert!(text(&went_on, "taskDefinition").ends_with(":2"), "{went_on}");
    let deploy = ended(deploy).await;
    deploy.assert(
        0,
        &["`steady continue`", "go back instead: `steady continue --rollback`", "without an answer ECS rolls back in"],
    );
    assert_eq!(deploy.stderr.matches("paused at POST_TEST_TRAFFIC_SHIFT").count(), 1, "{}", deploy.stderr);

    bench.steady(&["continue"]).await.assert(3, &["is not paused: there is nothing to continue", "`steady status`"]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_is_answered_with_a_rollback_ends_on_the_release_before() {
    let (bench, deploy) = paused("fail_fast: 3").await;
    let back = bench.good(&["continue", "--rollback"]).await;
    assert_eq!((text(&back, "status"), text(&back, "action")), ("steady", "ROLLBACK"));
    assert!(text(&back, "taskDefinition").ends_with(":1"), "{back}");
    ended(deploy).await.assert(5, &["rolled back because of a user request", "web:1 is back and steady"]);
    assert_eq!(deployment(&bench).await["status"], "ROLLBACK_SUCCESSFUL");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_nobody_answers_times_out_and_is_rolled_back() {
    let (bench, deploy) = paused("fail_fast: 3").await;
    // The lab's hours are shorter, but a hook has a minute at least.
    bench.hand.advance(Duration::from_secs(61));
    ended(deploy).await.assert(5, &["POST_TEST_TRAFFIC_SHIFT pause hook timed out", "web:1 is back and steady"]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_does_not_wait_for_people_ends_with_10_and_another_takes_it_up() {
    let (bench, deploy) = paused("on_pause: exit").await;
    let hints =
        ["let it go on: `steady continue`", "follow it further: `steady wait`", "without an answer ECS rolls back in"];
    let deploy = ended(deploy).await;
    deploy.assert(10, &["the rollout of web:2 is paused at POST_TEST_TRAFFIC_SHIFT, and waits for an answer"]);
    deploy.assert(10, &hints);
    // So does whoever waits no longer, and nothing is rolled back.
    project(&bench, &format!("strategy: BLUE_GREEN, {PAUSE}"));
    bench.steady(&["wait", "--timeout", "1s"]).await.assert(10, &hints);
    assert_eq!(deployment(&bench).await["status"], "IN_PROGRESS");
    let answered = bench.good(&["continue", "--no-wait"]).await;
    assert_eq!((text(&answered, "status"), answered["hooks"].as_array().unwrap().len()), ("continued", 1));
    bench.good(&["wait"]).await;
    until(&bench, |now| now["status"] == "SUCCESSFUL").await;
    bench.end().await;
}
