//! Rollout: 27 to 32, the way back.

use std::time::Duration;

use serde_json::{Value, json};
use steadystate::config::RolloutPlan;
use steadystate::deploy;
use steadystate::deploy::event::Events;
use steadystate::deploy::service::Action;
use steadystate::error::Kind;
use steadystate::lab::runtime::Level;

use crate::aws::server::{Reply, Server};
use crate::deploy::service as placing;
use crate::release::{Bench, PATIENCE, Run, text};

/// A service whose releases differ by their page; `web:N` is the Nth revision.
async fn bench() -> Bench {
    Bench::start_at(Some(Level::Simulated)).await
}

async fn releases(bench: &Bench, count: usize) -> Vec<Value> {
    let mut results = Vec::new();
    for release in 1..=count {
        bench.page(&format!("release {release}"));
        results.push(bench.good(&["deploy", "--tag", &format!("v{release}")]).await);
    }
    results
}

/// What the service runs, by its PRIMARY deployment.
async fn runs(bench: &Bench) -> String {
    let service = bench.service().await;
    assert_eq!(service["deployments"].as_array().unwrap().len(), 1, "{service}");
    text(&service["deployments"][0], "taskDefinition").rsplit('/').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn case_27_back_to_what_was_good_never_the_revision_before_and_no_further_when_asked_twice() {
    let bench = bench().await;
    let good = releases(&bench, 2).await;
    // A release that fails is rolled back at once; whoever rolls back after that means the same place.
    bench.page("bad");
    bench.steady(&["deploy", "--var", "fail=start"]).await.assert(5, &["web:2 is back"]);
    let said = ["web:2 is back already", "from web:3", "nothing is changed", "steady rollback --to web:1"];
    bench.steady(&["rollback"]).await.assert(0, &said);
    assert_eq!(runs(&bench).await, "web:2");
    // The next good one is web:4: before it web:2 was good, and web:3 was not.
    bench.page("release 4");
    bench.deploy().await;
    let back = bench.good(&["rollback"]).await;
    assert_eq!((text(&back, "action"), &back["digest"]), ("updated", &good[1]["digest"]));
    assert_eq!((&back["release"], runs(&bench).await.as_str()), (&json!("v2"), "web:2"));
    let before = bench.deployments().await;
    for _ in 0..2 {
        let again = bench.steady(&["rollback", "--output", "json"]).await;
        again.assert(0, &["web:2 is back already", "from web:4", "steady rollback --to web:1"]);
        let again: Value = serde_json::from_str(&again.stdout).unwrap();
        assert_eq!((text(&again, "action"), &again["deploymentId"]), ("unchanged", &back["deploymentId"]));
    }
    assert_eq!((bench.deployments().await, bench.revisions().await), (before, 4));
    // Named, it goes on: by revision, by digest, by release.
    for (to, revision) in [("1", "web:1"), ("v2", "web:2"), (&text(&good[0], "digest")[..20], "web:1")] {
        bench.good(&["rollback", "--to", to]).await;
        assert_eq!(runs(&bench).await, revision, "{to}");
    }
    bench.steady(&["rollback", "--to", "v9"]).await.assert(2, &["`v9`", "steady rollback --list"]);
    assert_eq!(bench.revisions().await, 4, "nothing was registered or deregistered");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_27_the_list_says_how_each_ended_and_why_it_is_no_target() {
    let bench = bench().await;
    let good = releases(&bench, 2).await;
    bench.page("bad");
    bench.steady(&["deploy", "--var", "fail=start"]).await.assert(5, &["web:2 is back"]);
    bench.page("release 4");
    bench.deploy().await;
    let gone = json!({ "repositoryName": "web", "imageIds": [{ "imageDigest": good[0]["digest"] }] });
    bench.clients().await.batch_delete_image(gone).await.unwrap();
    let before = bench.deployments().await;
    let list = bench.good(&["rollback", "--list"]).await;
    let row = |one: &Value| {
        let cell = |name: &str| one[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}: {}", cell("revision"), cell("status"), cell("target"), cell("why"))
    };
    let rows: Vec<String> = list.as_array().unwrap().iter().map(row).collect();
    assert_eq!(rows[0], "web:4 SUCCESSFUL no: it runs now");
    assert!(rows[1].starts_with("web:3 ROLLBACK_SUCCESSFUL no: it did not end well: "), "{rows:?}");
    assert_eq!(rows[2], "web:2 SUCCESSFUL next: -");
    assert!(rows[3].starts_with("web:1 SUCCESSFUL no: its image is gone from "), "{rows:?}");
    assert_eq!((&list[2]["digest"], &list[2]["release"]), (&good[1]["digest"], &json!("v2")));
    assert!(list[2]["deployedAt"].as_i64().unwrap() > 0 && rows.len() == 4, "{list}");
    assert_eq!(bench.deployments().await, before, "it only reads");
    bench.good(&["rollback"]).await;
    let list = bench.good(&["rollback", "--list"]).await;
    let rows: Vec<String> = list.as_array().unwrap().iter().map(row).collect();
    assert_eq!((&*rows[0], &*rows[1]), ("web:2 SUCCESSFUL no: it runs now", "web:4 SUCCESSFUL yes: -"));
    assert_eq!(rows[3], "web:2 SUCCESSFUL no: it runs now, by a later deployment");
    bench.end().await;
}

/// A release that finds no place for its tasks, until the fault is cleared.
async fn stuck(bench: &Bench, revision: u32) -> tokio::task::JoinHandle<Run> {
    bench.fault(json!({ "on": "scheduler:PlaceTask", "kind": "fail-placement" })).await;
    bench.page("stuck");
    let child = bench.spawn(&["deploy"]);
    bench.until_primary(revision).await;
    tokio::spawn(async move { Run::of(child.wait_with_output().await.unwrap()) })
}

#[tokio::test(flavor = "multi_thread")]
async fn case_27_what_is_in_progress_is_taken_back_by_ecs_itself() {
    let bench = bench().await;
    let good = releases(&bench, 2).await;
    let deploy = stuck(&bench, 3).await;
    let back = bench.good(&["rollback"]).await;
    assert_eq!((text(&back, "action"), &back["digest"]), ("stopped", &good[1]["digest"]));
    assert_eq!(back["deploymentId"], good[1]["deploymentId"], "its tasks never stopped");
    let listed = bench.clients().await.list_service_deployments(json!({ "service": "web" })).await.unwrap();
    assert_eq!(listed["serviceDeployments"][0]["status"], "ROLLBACK_SUCCESSFUL", "{listed}");
    assert_eq!((runs(&bench).await.as_str(), bench.deployments().await), ("web:2", 3));
    let run = tokio::time::timeout(PATIENCE, deploy).await.expect("the deploy ends").unwrap();
    run.assert(5, &["web:2 is back"]);
    bench.steady(&["rollback"]).await.assert(0, &["web:2 is back already", "from web:3"]);
    // A first release has nothing before it.
    bench.good(&["delete", "--yes"]).await;
    let child = bench.spawn(&["deploy"]);
    bench.until_primary(3).await;
    bench.steady(&["rollback"]).await.assert(3, &["no good release before web:3", "steady rollback --list"]);
    bench.clear().await;
    let run = Run::of(tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap());
    assert_eq!(run.code, 0, "it was left alone: {}", run.stderr);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_28_the_content_of_an_inactive_target_is_registered_again_once() {
    let bench = bench().await;
    let good = releases(&bench, 2).await;
    let arn = text(&good[0], "taskDefinition");
    bench.clients().await.deregister_task_definition(json!({ "taskDefinition": arn })).await.unwrap();
    let run = bench.steady(&["rollback", "--output", "json"]).await;
    run.assert(0, &["web:1 is INACTIVE", "registered again"]);
    let back: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&back["digest"], &back["release"]), (&good[0]["digest"], &json!("v1")));
    assert_eq!(runs(&bench).await, "web:3");
    // It is the same release under another number: that it is back is known.
    bench.steady(&["rollback"]).await.assert(0, &["web:3 is back already", "from web:2"]);
    bench.good(&["rollback", "--to", "1"]).await;
    let active = bench.clients().await.list_task_definitions(json!({ "familyPrefix": "web" })).await.unwrap();
    let active: Vec<&str> = active["taskDefinitionArns"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(active.len() == 2 && active[0].ends_with(":2") && active[1].ends_with(":3"), "{active:?}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_29_an_inactive_service_is_created() {
    let bench = bench().await;
    let first = bench.deploy().await;
    bench.good(&["delete", "--yes"]).await;
    bench.steady(&["rollback"]).await.assert(3, &["no active service `web`", "steady deploy"]);
    let again = bench.deploy().await;
    assert_eq!((text(&again, "action"), bench.revisions().await), ("created", 1));
    assert_ne!(again["deploymentId"], first["deploymentId"]);
    bench.end().await;
}

#[tokio::test]
async fn case_29_a_draining_service_is_waited_for() {
    let server = Server::start(|request, before| match (request.operation.as_str(), before) {
        ("DescribeServices", looks) => {
            let status = if looks < 3 { "DRAINING" } else { "INACTIVE" };
            Reply::Json(json!({ "services": [{ "serviceName": "web", "status": status, "createdAt": 1 }] }))
        }
        ("CreateService", _) => {
            let primary = json!({ "id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": "arn:web:1" });
            Reply::Json(json!({ "service": { "serviceName": "web", "status": "ACTIVE", "deployments": [primary] } }))
        }
        _ => Reply::Error(400, "UnknownOperationException", "no such operation"),
    })
    .await;
    let placed = placing::placed(&server.clients().await, "arn:web:1").await.unwrap();
    assert_eq!((placed.action, placed.deployment_id.as_str()), (Action::Created, "ecs-svc/1"));
    assert_eq!((server.count("DescribeServices"), server.count("CreateService")), (4, 1));
}

/// A service on Fargate, whose settings are all in its document.
async fn on_fargate() -> (Bench, String) {
    let bench = bench().await;
    bench.write(
        "steady.yaml",
        "services:\n  web:\n    image: { repository: web, create: true, tags: [latest], build: { layers: [{ from: page, to: /page }] } }\n    \
         task_definition: td.json.hbs\n    service: service.json\n    rollout: { timeout: 60s }\n",
    );
    let container = json!({ "name": "web", "image": "{{image}}" });
    let definition = json!({
        "networkMode": "awsvpc", "cpu": "256", "memory": "512", "requiresCompatibilities": ["FARGATE"],
        "executionRoleArn": "arn:aws:iam::111122223333:role/ecsTaskExecutionRole", "containerDefinitions": [container],
    });
    bench.write("td.json.hbs", &definition.to_string());
    let clients = bench.clients().await;
    let trusted = json!({ "Service": "ecs-tasks.amazonaws.com" });
    let statement = json!({ "Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole" });
    let trust = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    clients.iam.create_role("ecsTaskExecutionRole", "/", &trust).await.unwrap();
    let strategy = [json!({ "capacityProvider": "FARGATE" }), json!({ "capacityProvider": "FARGATE_SPOT" })];
    let providers: Vec<&str> = strategy.iter().map(|one| text(one, "capacityProvider")).collect();
    clients
        .ecs
        .put_cluster_capacity_providers()
        .cluster("default")
        .set_capacity_providers(Some(providers.into_iter().map(str::to_owned).collect()))
        .set_default_capacity_provider_strategy(Some(Vec::new()))
        .send()
        .await
        .unwrap();
    let subnets = clients.ec2.describe_subnets(&[], &[]).await.unwrap();
    let subnet = text(&subnets[0], "subnetId").to_owned();
    (bench, subnet)
}

#[tokio::test(flavor = "multi_thread")]
async fn case_30_the_settings_of_the_service_go_back_with_the_release() {
    let (bench, subnet) = on_fargate().await;
    let network = |public: &str| json!({ "awsvpcConfiguration": { "subnets": [subnet], "securityGroups": [], "assignPublicIp": public } });
    let spot = json!([{ "capacityProvider": "FARGATE_SPOT", "weight": 1 }]);
    let percents = |minimum: i64| json!({ "minimumHealthyPercent": minimum, "maximumPercent": 200 });
    let document = |more: Value| {
        let mut document =
            json!({ "networkConfiguration": network("ENABLED"), "deploymentConfiguration": percents(100) });
        more.as_object().unwrap().iter().for_each(|(member, value)| document[member] = value.clone());
        bench.write("service.json", &document.to_string());
    };
    // Each release has settings of its own beside its image.
    document(json!({ "launchType": "FARGATE" }));
    bench.deploy().await;
    bench.page("two");
    document(json!({
        "capacityProviderStrategy": spot, "networkConfiguration": network("DISABLED"),
        "deploymentConfiguration": percents(50), "platformVersion": "1.3.0", "desiredCount": 2,
    }));
    bench.deploy().await;
    let settings = async || {
        let service = bench.service().await;
        let primary = &service["deployments"][0];
        let strategy = |of: &Value| of["capacityProviderStrategy"][0]["capacityProvider"].as_str().map(str::to_owned);
        (
            strategy(&service).or(strategy(primary)).unwrap_or_else(|| text(&service, "launchType").to_owned()),
            text(&primary["networkConfiguration"]["awsvpcConfiguration"], "assignPublicIp").to_owned(),
            service["deploymentConfiguration"]["minimumHealthyPercent"].as_i64().unwrap(),
            service["desiredCount"].as_i64().unwrap(),
        )
    };
    assert_eq!(settings().await, ("FARGATE_SPOT".into(), "DISABLED".into(), 50, 2));
    let back = bench.good(&["rollback"]).await;
    let named = back["settings"].to_string();
    for member in ["networkConfiguration", "capacityProviderStrategy", "deploymentConfiguration"] {
        assert!(named.contains(member), "{back}");
    }
    // How many run is no part of a release.
    assert_eq!(settings().await, ("FARGATE".into(), "ENABLED".into(), 100, 2));
    bench.good(&["rollback", "--to", "2"]).await;
    assert_eq!(settings().await, ("FARGATE_SPOT".into(), "DISABLED".into(), 50, 2));
    // The settings alone are a release, too.
    document(json!({ "capacityProviderStrategy": spot, "networkConfiguration": network("ENABLED") }));
    bench.deploy().await;
    assert_eq!(runs(&bench).await, "web:2");
    assert_eq!(settings().await.1, "ENABLED");
    bench.good(&["rollback"]).await;
    assert_eq!((runs(&bench).await.as_str(), settings().await.1.as_str()), ("web:2", "DISABLED"));
    // And where a smoke test fails after them, they go back by themselves.
    let project = std::fs::read_to_string(bench.project().join("steady.yaml")).unwrap();
    bench.write("steady.yaml", &format!("{project}    after: [{{ name: smoke, run: exit 1 }}]\n"));
    document(json!({ "capacityProviderStrategy": spot, "networkConfiguration": network("ENABLED") }));
    let failed = bench.steady(&["deploy"]).await;
    failed.assert(5, &["`after` failed: smoke", "the previous release web:2 is back and steady"]);
    assert_eq!((runs(&bench).await.as_str(), settings().await.1.as_str()), ("web:2", "DISABLED"));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_31_a_failed_deployment_does_not_block_the_fix() {
    let bench = bench().await;
    bench.configure("timeout: 60s, on_failure: stop", "");
    bench.deploy().await;
    bench.page("bad");
    bench.steady(&["deploy", "--var", "fail=start"]).await.assert(6, &["left as it is", "steady rollback"]);
    bench.page("fixed");
    let fixed = bench.deploy().await;
    assert_eq!(
        (runs(&bench).await.as_str(), bench.digests().await),
        ("web:3", vec![text(&fixed, "digest").to_owned()])
    );
    // And neither does one that ECS rolled back.
    bench.configure("timeout: 60s", "");
    bench.page("bad again");
    bench.steady(&["deploy", "--var", "fail=start"]).await.assert(5, &["web:3 is back"]);
    bench.page("fixed again");
    bench.deploy().await;
    assert_eq!(runs(&bench).await, "web:5");
    bench.end().await;
}

/// ECS agrees to take a deployment back, and cannot.
#[tokio::test]
async fn case_32_a_rollback_that_ecs_fails_at_is_6() {
    let server = Server::start(|request, _| {
        let arn = |revision: i64| format!("arn:aws:ecs:us-west-2:1:task-definition/web:{revision}");
        let deployment = |of: i64, status: &str, rollout: &str| {
            json!({ "id": format!("ecs-svc/{of}"), "status": status, "rolloutState": rollout, "taskDefinition": arn(of) })
        };
        let record = |of: i64, status: &str| {
            json!({
                "serviceDeploymentArn": format!("sd/{of}"), "targetServiceRevisionArn": format!("sr/{of}"), "createdAt": of,
                "status": status, "statusReason": "No rollback candidate was found to run the rollback.",
            })
        };
        Reply::Json(match request.operation.as_str() {
            "DescribeServices" => {
                let deployments = [deployment(2, "PRIMARY", "IN_PROGRESS"), deployment(1, "ACTIVE", "COMPLETED")];
                json!({ "services": [{ "serviceName": "web", "status": "ACTIVE", "deployments": deployments }] })
            }
            "ListServiceDeployments" => {
                json!({ "serviceDeployments": [record(2, "IN_PROGRESS"), record(1, "SUCCESSFUL")] })
            }
            "DescribeServiceRevisions" => {
                let one = |of: i64| json!({ "serviceRevisionArn": format!("sr/{of}"), "taskDefinition": arn(of) });
                json!({ "serviceRevisions": [one(1), one(2)] })
            }
            "DescribeTaskDefinition" => json!({ "taskDefinition": { "taskDefinitionArn": arn(2) } }),
            "StopServiceDeployment" => json!({ "serviceDeploymentArn": "sd/2" }),
            "DescribeServiceDeployments" => json!({ "serviceDeployments": [record(2, "ROLLBACK_FAILED")] }),
            _ => return Reply::Error(400, "UnknownOperationException", "no such operation"),
        })
    })
    .await;
    let rollout = RolloutPlan { timeout: Duration::from_secs(20), ..RolloutPlan::default() };
    let (events, _) = Events::channel();
    let clients = server.clients().await;
    let error = deploy::rollback("default", "web", None, &rollout, &clients, &events).await.unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (Kind::RolloutFailed, 6), "{error:?}");
    assert!(error.to_string().contains("No rollback candidate was found"), "{error}");
    assert_eq!((server.count("StopServiceDeployment"), server.count("UpdateService")), (1, 0));
}
