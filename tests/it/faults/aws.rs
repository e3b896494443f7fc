//! AWS calls: 1 to 7.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use steadystate::aws::{Timeouts, connect_with};
use steadystate::deploy::rollback::follow_or_roll_back;
use steadystate::deploy::service::Action;
use steadystate::error::Kind;
use steadystate::lab::lifecycle::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use steadystate::lab::runtime::Level;

use crate::aws::server::Reply;
use crate::deploy::following::{NEW, deployment, followed, placed, server, service};
use crate::deploy::service as placing;
use crate::release::{Bench, Run, text};

async fn bench() -> Bench {
    Bench::start_at(Some(Level::Simulated)).await
}

/// A release under this fault: it is deployed all the same, by one revision and one deployment.
async fn survives(bench: &Bench, fault: Value) -> Run {
    let what = fault.to_string();
    bench.page(&what);
    let before = (bench.revisions().await, bench.deployments().await);
    bench.fault(fault).await;
    let run = bench.steady(&["deploy", "--output", "json", "--progress", "lines"]).await;
    assert!(bench.clear().await > 0, "{what} struck nothing");
    assert_eq!(run.code, 0, "{what}: {}", run.stderr);
    let result: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(bench.digests().await, [text(&result, "digest")], "{what}");
    let after = (bench.revisions().await, bench.deployments().await);
    assert_eq!(after, (before.0 + 1, before.1 + 1), "{what}: nothing was done twice");
    run
}

fn once(on: &str, kind: &str) -> Value {
    json!({ "on": on, "kind": kind, "count": 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn case_01_throttling_is_waited_out_with_one_word() {
    let bench = bench().await;
    bench.deploy().await;
    for (fault, said) in [
        // more often than the SDK tries again by itself
        (json!({ "on": "elbv2:DescribeListeners", "kind": "throttle", "count": 6 }), "elasticloadbalancing throttles"),
        (json!({ "on": "ecs:DescribeServices", "kind": "throttle", "count": 6 }), "ecs throttles"),
        (json!({ "on": "ecs:RegisterTaskDefinition", "kind": "throttle", "count": 3 }), "ThrottlingException"),
        (json!({ "on": "ecs:UpdateService", "kind": "throttle", "count": 3 }), "ThrottlingException"),
        (json!({ "on": "ecs:*", "kind": "throttle", "probability": 0.3, "seed": 7, "count": 12 }), "hrott"),
    ] {
        let one_operation = fault.get("probability").is_none();
        let what = fault.to_string();
        let run = survives(&bench, fault).await;
        let told = run.stderr.matches("retrying").count();
        assert!(told == 1 || (!one_operation && (1..=3).contains(&told)), "{what}, told {told} times: {}", run.stderr);
        assert!(run.stderr.contains(said), "{what}: {}", run.stderr);
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_01_what_is_throttled_to_the_deadline_changes_nothing() {
    let bench = bench().await;
    bench.deploy().await;
    bench.page("two");
    bench.fault(json!({ "on": "ecs:UpdateService", "kind": "throttle" })).await;
    let run = bench.steady(&["deploy", "--timeout", "2s"]).await;
    run.assert(1, &["ECS.UpdateService: ThrottlingException", "Rate exceeded", "run the same command again"]);
    assert!(bench.clear().await > 2);
    assert_eq!(bench.deployments().await, 1, "the service is untouched");
    let again = bench.deploy().await;
    assert_eq!((&again["revisionReused"], bench.deployments().await), (&true.into(), 2));
    bench.end().await;
}

#[tokio::test]
async fn case_01_a_rollout_is_followed_through_throttling_to_its_deadline() {
    let looks = |_| Err(Reply::Error(400, "ThrottlingException", "Rate exceeded"));
    let server = server(looks, |_, _| None).await;
    let started = Instant::now();
    let (end, warnings) = followed(&server, Duration::from_secs(1)).await;
    assert_eq!(end.expect_err("late").kind(), Kind::DeadlinePassed);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert!(warnings.len() <= 1, "{warnings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_02_5xx_is_tried_again_on_reads_and_looked_into_on_mutations() {
    let bench = bench().await;
    bench.deploy().await;
    survives(&bench, json!({ "on": "ecs:Describe*", "kind": "error", "count": 2 })).await;
    survives(&bench, json!({ "on": "elbv2:*", "kind": "error", "count": 2 })).await;
    for mutation in ["ecs:RegisterTaskDefinition", "ecs:UpdateService"] {
        let run = survives(&bench, once(mutation, "error")).await;
        assert!(run.stderr.contains("all the same"), "{mutation}: {}", run.stderr);
    }
    bench.end().await;
}

/// AWS has done it, and says that it could not.
#[tokio::test]
async fn case_02_a_mutation_that_was_made_in_spite_of_its_500_is_not_made_again() {
    let ecs = placing::Ecs::with("arn:web:1", "COMPLETED");
    let failing = |before| (before == 0).then_some((true, Reply::Error(500, "ServerException", "oops")));
    let server = placing::server(&ecs, failing).await;
    let placed = placing::placed(&server.clients().await, "arn:web:2").await.expect("read back");
    assert_eq!((placed.action, placed.deployment_id.as_str()), (Action::Updated, "ecs-svc/2"));
    assert_eq!(server.count("UpdateService"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_03_a_registration_whose_reply_was_lost_is_found() {
    let bench = bench().await;
    bench.deploy().await;
    for kind in ["drop-after", "drop-before"] {
        survives(&bench, once("ecs:RegisterTaskDefinition", kind)).await;
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_04_an_update_whose_reply_was_lost_is_not_made_again() {
    let bench = bench().await;
    bench.deploy().await;
    for kind in ["drop-after", "drop-before"] {
        survives(&bench, once("ecs:UpdateService", kind)).await;
    }
    // What is forced leaves no trace to read back: it is never sent twice.
    bench.write("service.json", &json!({ "forceNewDeployment": true }).to_string());
    let before = bench.deployments().await;
    bench.fault(once("ecs:UpdateService", "drop-after")).await;
    let run = bench.steady(&["deploy"]).await;
    assert!([0, 1].contains(&run.code), "{}", run.stderr);
    assert_eq!((bench.clear().await, bench.deployments().await), (1, before + 1), "{}", run.stderr);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_05_too_many_concurrent_registrations_are_backed_off_from() {
    let bench = bench().await;
    bench.deploy().await;
    let fault = json!({
        "on": "ecs:RegisterTaskDefinition", "kind": "error", "code": "ClientException", "count": 3,
        "message": "Too many concurrent attempts to create a new revision of the specified family.",
    });
    let run = survives(&bench, fault).await;
    assert_eq!(run.stderr.matches("Too many concurrent attempts").count(), 1, "{}", run.stderr);
    bench.end().await;
}

/// Neither a look at the service nor its update waits for longer than an attempt may take.
#[tokio::test(flavor = "multi_thread")]
async fn case_06_a_socket_that_hangs_ends_with_the_attempt() {
    let timeouts = Timeouts { connect: Duration::from_millis(500), attempt: Duration::from_millis(500) };
    let looks = |_| Ok(service("sd/2", &[deployment(NEW, "PRIMARY", "COMPLETED", 0)]));
    let ended = |operation: &str, _: &Value| {
        let record = json!({ "serviceDeploymentArn": "sd/2", "status": "SUCCESSFUL" });
        (operation == "DescribeServiceDeployments").then(|| Reply::Json(json!({ "serviceDeployments": [record] })))
    };
    let server = server(looks, ended).await;
    let hung = super::hang::Hung::start(&server.url, 3).await;
    let settings = steadystate::aws::Settings { endpoint_url: Some(hung.url.clone()), ..server.settings() };
    let clients = connect_with(&settings, timeouts).await.unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    clients.on_trouble(move |said| heard.lock().unwrap().push(said.to_owned()));
    let (events, _) = steadystate::deploy::event::Events::channel();
    let rollout = steadystate::config::RolloutPlan { timeout: Duration::from_secs(60), ..Default::default() };
    let started = Instant::now();
    let steady = follow_or_roll_back(&rollout, &placed(), None, &clients, &events).await.unwrap();
    assert_eq!(steady.deployment_id, NEW.0);
    assert_eq!(hung.count(), 3, "three connections hung");
    assert_eq!(*told.lock().unwrap(), ["AWS does not answer in time; asking again"], "said once");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[tokio::test]
async fn case_07_credentials_that_expire_for_good_end_the_waiting_and_say_how_to_resume() {
    let looks = |look| match look {
        0 => Ok(service("sd/2", &[deployment(NEW, "PRIMARY", "IN_PROGRESS", 0)])),
        _ => Err(Reply::Error(400, "ExpiredTokenException", "The security token included in the request is expired")),
    };
    let server = server(looks, |_, _| None).await;
    let (end, _) = followed(&server, Duration::from_secs(60)).await;
    let error = end.expect_err("lost");
    assert_eq!(error.kind(), Kind::DeadlinePassed, "{error:?}");
    assert!(error.to_string().contains("goes on at AWS's side"), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("`steady wait`")), "{error:?}");
    assert_eq!(server.count("UpdateService"), 0);
}

/// A program lends credentials that do not say when they expire; AWS says so, of a read, a registration and an update.
#[tokio::test(flavor = "multi_thread")]
async fn case_07_credentials_that_expire_on_the_way_are_resolved_anew() {
    let bench = bench().await;
    bench.deploy().await;
    let folder = bench.folder.path();
    let lender = folder.join("lender");
    let key = json!({ "Version": 1, "AccessKeyId": ACCESS_KEY_ID, "SecretAccessKey": SECRET_ACCESS_KEY });
    std::fs::write(&lender, format!("#!/bin/sh\necho lent >> {}/lent\necho '{key}'\n", folder.display())).unwrap();
    crate::images::set_mode(&lender, 0o755);
    let config = folder.join("config");
    std::fs::write(&config, format!("[profile lent]\ncredential_process = {}\n", lender.display())).unwrap();
    let lent = || std::fs::read_to_string(folder.join("lent")).unwrap_or_default().lines().count();
    let operations =
        ["ecs:DescribeServices", "ecs:RegisterTaskDefinition", "ecs:UpdateService", "iam:SimulatePrincipalPolicy"];
    for (at, operation) in operations.into_iter().enumerate() {
        bench.page(&format!("release {at}"));
        let before = (bench.revisions().await, bench.deployments().await, lent());
        let after = if operation == "ecs:DescribeServices" { 2 } else { 0 };
        let fault = json!({ "on": operation, "kind": "expire-token", "count": 1, "after": after });
        bench.fault(fault).await;
        let mut command = bench.command(&["deploy", "--profile", "lent"]);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("AWS_CONFIG_FILE", &config);
        command.env("PATH", "/usr/bin:/bin").env("AWS_EC2_METADATA_DISABLED", "true");
        let run = Run::of(command.output().await.unwrap());
        assert_eq!(run.code, 0, "{operation}: {}", run.stderr);
        assert_eq!(bench.clear().await, 1, "{operation}");
        let after = (bench.revisions().await, bench.deployments().await, lent());
        assert_eq!(after, (before.0 + 1, before.1 + 1, before.2 + 2), "{operation}: asked for them again, once");
    }
    bench.end().await;
}
