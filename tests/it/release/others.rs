//! Somebody else deploys, too; and rollouts that can never be.

use std::time::Duration;

use serde_json::json;

use super::{Bench, PATIENCE, Run, get, text};

/// A deploy that goes on for as long as the test wants, of revision 2.
async fn rolling(bench: &Bench) -> tokio::task::JoinHandle<Run> {
    bench.deploy().await;
    bench.page("two");
    bench.write("service.json", &json!({ "healthCheckGracePeriodSeconds": 100_000 }).to_string());
    let child = bench.spawn(&["deploy", "--var", "fail=silent"]);
    bench.until_primary(2).await;
    tokio::spawn(async move { Run::of(child.wait_with_output().await.unwrap()) })
}

#[tokio::test(flavor = "multi_thread")]
async fn another_deployment_in_progress_is_left_alone() {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_deployment_supersedes_and_wins() {
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
async fn a_rollback_that_somebody_asks_ecs_for_is_a_failure_of_ours() {
    let bench = Bench::start().await;
    let first = rolling(&bench).await;
    // Some looks later, so that it has seen its deployment.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let arn = bench.service().await["currentServiceDeployment"].clone();
    let stop = json!({ "serviceDeploymentArn": arn, "stopType": "ROLLBACK" });
    bench.clients().await.stop_service_deployment(stop).await.unwrap();
    let run = tokio::time::timeout(PATIENCE, first).await.expect("the first deploy ends").unwrap();
    run.assert(5, &["web:1 is back and steady"]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_host_port_that_can_never_roll_is_found_before_the_update() {
    let bench = Bench::start().await;
    bench.task_definition(18080);
    bench.deploy().await;
    bench.page("two");
    let run = bench.steady(&["deploy"]).await;
    run.assert(3, &["host port 18080 is taken", r#""hostPort": 0"#, "minimumHealthyPercent"]);
    let service = bench.service().await;
    assert!(text(&service["deployments"][0], "taskDefinition").ends_with("web:1"), "the service is untouched");
    let document = json!({ "deploymentConfiguration": { "minimumHealthyPercent": 0, "maximumPercent": 100 } });
    bench.write("service.json", &document.to_string());
    let rolled = bench.deploy().await;
    assert_eq!(get(text(&rolled, "url")).await.unwrap(), "two");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_wants_a_login_that_nobody_has() {
    let bench = Bench::start().await;
    let project = std::fs::read_to_string(bench.project().join("steady.yaml")).unwrap();
    // The lab's own registry, but not as ECR.
    let named = format!("repository: 127.0.0.1:{}/web\n", bench.port);
    let project = project.replace("repository: web\n", &named).replace("      create: true\n", "");
    bench.write("steady.yaml", &project);
    let run = bench.steady(&["deploy"]).await;
    run.assert(4, &["refused to let us in (401)", "docker login REGISTRY"]);
    assert_eq!((bench.revisions().await, bench.service().await), (0, serde_json::Value::Null));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_the_same_name_in_another_cluster_gets_no_requests() {
    let bench = Bench::start().await;
    let first = bench.deploy().await;
    bench.clients().await.ecs.create_cluster().cluster_name("staging").send().await.unwrap();
    bench.page("two");
    let run = bench.steady(&["deploy", "--cluster", "staging"]).await;
    run.assert(3, &["the target group `web` belongs to the service default/web", "load_balancer:"]);
    let project = std::fs::read_to_string(bench.project().join("steady.yaml")).unwrap();
    let project = project.replace("type: network\n", "type: network\n      name: staging\n");
    bench.write("steady.yaml", &project.replace("target_group:\n", "target_group:\n        name: staging\n"));
    let second = bench.good(&["deploy", "--cluster", "staging"]).await;
    assert_eq!(get(text(&second, "url")).await.unwrap(), "two");
    assert_eq!(get(text(&first, "url")).await.unwrap(), "one");
    bench.end().await;
}
