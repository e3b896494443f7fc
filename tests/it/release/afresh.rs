//! Changes that deploy nothing new, and a service that comes and goes.

use serde_json::json;

use super::{Bench, get, text};

#[tokio::test(flavor = "multi_thread")]
async fn scaling_starts_no_deployment_and_deleting_starts_afresh() {
    let bench = Bench::start().await;
    let first = bench.deploy().await;
    let scaled = bench.good(&["deploy", "--desired-count", "3"]).await;
    assert_eq!((text(&scaled, "action"), &scaled["runningCount"]), ("updated", &json!(3)));
    assert_eq!(scaled["deploymentId"], first["deploymentId"]);
    // Nothing new was released: a scaling that does not come about brings no release back.
    let run = bench.steady(&["deploy", "--desired-count", "2000", "--timeout", "2s"]).await;
    run.assert(9, &["nothing to roll back", "unable to place a task"]);
    let service = bench.service().await;
    assert_eq!(service["deployments"].as_array().unwrap().len(), 1);

    assert_eq!(bench.good(&["delete", "--yes"]).await["status"], "deleted");
    let again = bench.deploy().await;
    assert_eq!((text(&again, "action"), bench.revisions().await), ("created", 1));
    assert_ne!(again["deploymentId"], first["deploymentId"]);
    assert_eq!(get(text(&again, "url")).await.unwrap(), "one");
    bench.end().await;
}
