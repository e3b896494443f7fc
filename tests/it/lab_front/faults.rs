//! Faults on demand and request budgets, as a client of the front meets them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use steadystate::lab::faults::{Fault, Kind};
use steadystate::lab::lifecycle::{self, Options, Status};

use super::{TestLab, digest, options};

const ECR: &str = "AmazonEC2ContainerRegistry_V20150921";
const ECS: &str = "AmazonEC2ContainerServiceV20141113";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const CREATE: &str = "AmazonEC2ContainerRegistry_V20150921.CreateRepository";

fn fault(value: Value) -> Fault {
    let fault: Fault = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"));
    fault.check().unwrap_or_else(|mistake| panic!("{value}: {mistake:?}"));
    fault
}

impl TestLab {
    /// Begins with a fault; its id.
    async fn fault(&self, value: Value) -> u64 {
        // one that has just begun is known only once it answers
        self.send("GET", "/v2/", &[], "").await;
        let added = lifecycle::add_fault(&options(self.folder.path()), &fault(value)).await.unwrap();
        added["id"].as_u64().unwrap()
    }

    async fn clear(&self) {
        lifecycle::clear_faults(&options(self.folder.path()), &[]).await.unwrap();
    }

    async fn report(&self) -> Value {
        match lifecycle::status(&options(self.folder.path())).await.unwrap() {
            Status::Running { report, .. } => report,
            other => panic!("{other:?}"),
        }
    }

    async fn once(&self, target: &str, input: Value) -> Option<(u16, Value)> {
        let answer = self.send_once("POST", "/", &[("x-amz-target", target)], input.to_string()).await.ok()?;
        Some((answer.status.as_u16(), answer.json()))
    }

    async fn repositories(&self) -> Vec<String> {
        let all = self.ecr("DescribeRepositories", json!({})).await["repositories"].take();
        all.as_array().unwrap().iter().map(|one| one["repositoryName"].as_str().unwrap().to_owned()).collect()
    }
}

/// Each answer is what the service itself would say, in its own protocol.
#[tokio::test]
async fn a_fault_is_answered_in_the_words_of_its_service() {
    let lab = TestLab::start().await;
    let json_api = |prefix: &str, operation: &str| (format!("{prefix}.{operation}"), "{}".to_owned());
    let query = |action: &str, version: &str| (String::new(), format!("Action={action}&Version={version}"));
    let list = || json_api(ECS, "ListClusters");
    let groups = || query("DescribeTargetGroups", "2015-12-01");
    let identity = || query("GetCallerIdentity", "2011-06-15");
    let vpcs = || query("DescribeVpcs", "2016-11-15");
    let elsewhere = |kind: &str| json!({ "on": "ecs:DescribeServices", "kind": kind });
    let of = |on: &str, kind: &str| json!({ "on": on, "kind": kind });
    let table = [
        (of("ecs:ListClusters", "throttle"), list(), 400, "ThrottlingException", "Rate exceeded"),
        (of("ecr:*", "throttle"), json_api(ECR, "DescribeRepositories"), 400, "ThrottlingException", "Rate exceeded"),
        (of("logs:*", "throttle"), json_api("Logs_20140328", "DescribeLogGroups"), 400, "ThrottlingException", "Rate"),
        (of("elbv2:Describe*", "throttle"), groups(), 400, "<Code>Throttling</Code>", "Rate exceeded"),
        (of("sts:*", "throttle"), identity(), 400, "<Code>Throttling</Code>", "Rate exceeded"),
        (of("ec2:*", "throttle"), vpcs(), 503, "<Code>RequestLimitExceeded</Code>", "Request limit exceeded."),
        (of("ecs:*", "error"), list(), 500, "ServerException", "Service Unavailable. Please try again later."),
        (of("elbv2:*", "error"), groups(), 500, "<Code>InternalFailure</Code>", "<Type>Receiver</Type>"),
        (of("ec2:*", "error"), vpcs(), 500, "<Code>InternalError</Code>", ""),
        (
            json!({ "on": "ecs:ListClusters", "kind": "error", "code": "ClientException", "message": "Too many." }),
            list(),
            400,
            "ClientException",
            "Too many.",
        ),
        (
            json!({ "on": "ecs:ListClusters", "kind": "error", "code": "AccessDeniedException", "status": 403 }),
            list(),
            403,
            "AccessDeniedException",
            "",
        ),
        (of("ecs:*", "expire-token"), list(), 400, "ExpiredTokenException", "included in the request is expired"),
        (of("elbv2:*", "expire-token"), groups(), 403, "<Code>ExpiredToken</Code>", "is expired"),
        (of("*", "error"), list(), 500, "ServerException", ""),
        (elsewhere("throttle"), list(), 200, "clusterArns", ""),
        (of("*", "drop-after"), list(), 0, "", ""),
        (of("elbv2:DescribeTargetGroups", "drop-before"), groups(), 0, "", ""),
    ];
    for (fault, (target, body), status, code, words) in table {
        let what = format!("{fault}");
        lab.fault(fault).await;
        let headers = if target.is_empty() { [FORM] } else { [("x-amz-target", target.as_str())] };
        match lab.send_once("POST", "/", &headers, body.clone()).await {
            Ok(answer) => {
                assert_eq!(answer.status, status, "{what}: {}", answer.text());
                let text = answer.text();
                assert!(text.contains(code) && text.contains(words), "{what}: {text}");
            }
            Err(_) => assert_eq!(status, 0, "{what}: the connection ended"),
        }
        lab.clear().await;
        let after = lab.send_once("POST", "/", &headers, body).await.unwrap();
        assert_eq!(after.status, 200, "{what} was cleared: {}", after.text());
    }
    lab.end().await;
}

#[tokio::test]
async fn a_dropped_request_was_done_or_was_not() {
    let lab = TestLab::start().await;
    lab.fault(json!({ "on": "ecr:CreateRepository", "kind": "drop-before", "count": 1 })).await;
    assert_eq!(lab.once(CREATE, json!({ "repositoryName": "before" })).await, None);
    assert_eq!(lab.repositories().await, [""; 0], "nothing was done");
    assert_eq!(lab.once(CREATE, json!({ "repositoryName": "before" })).await.unwrap().0, 200, "it struck once");

    lab.fault(json!({ "on": "ecr:CreateRepository", "kind": "drop-after", "count": 1 })).await;
    assert_eq!(lab.once(CREATE, json!({ "repositoryName": "after" })).await, None);
    assert_eq!(lab.repositories().await, ["after", "before"], "it was done, and nobody was told");
    let state = std::fs::read_to_string(lab.folder.path().join("state.json")).unwrap();
    let journal = std::fs::read_to_string(lab.folder.path().join("changes.jsonl")).unwrap_or_default();
    assert!((state + &journal).contains("\"after\""), "it is committed");

    // The connection is what ends: not a byte of an answer comes.
    lab.fault(json!({ "on": "registry:Ping", "kind": "drop-before" })).await;
    let mut raw = tokio::net::TcpStream::connect(&lab.host).await.unwrap();
    let request = format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\n\r\n", lab.host);
    tokio::io::AsyncWriteExt::write_all(&mut raw, request.as_bytes()).await.unwrap();
    let mut came = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut raw, &mut came).await;
    assert_eq!(String::from_utf8_lossy(&came), "");
    lab.end().await;
}

#[tokio::test]
async fn what_is_delayed_comes_late_and_what_stalls_does_not() {
    let lab = TestLab::start().await;
    lab.fault(json!({ "on": "ecr:DescribeRepositories", "kind": "delay", "for": "300ms" })).await;
    let began = Instant::now();
    lab.repositories().await;
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    lab.clear().await;

    let id = lab.fault(json!({ "on": "ecr:CreateRepository", "kind": "stall" })).await;
    {
        let mut stalled = std::pin::pin!(lab.once(CREATE, json!({ "repositoryName": "stalled" })));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut stalled).await;
        assert!(early.is_err(), "{early:?}");
        assert_eq!(lab.repositories().await, [""; 0], "the lab goes on, and nothing was done");
        lifecycle::clear_faults(&options(lab.folder.path()), &[id]).await.unwrap();
        assert_eq!(stalled.await, None, "a cleared stall is a connection that ends");
    }
    lab.fault(json!({ "on": "ecs:*", "kind": "stall" })).await;
    let ecs = format!("{ECS}.ListClusters");
    let mut stalled = std::pin::pin!(lab.once(&ecs, json!({})));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut stalled).await.is_err());
    let began = Instant::now();
    assert!(lifecycle::stop(&options(lab.folder.path())).await.unwrap());
    assert!(began.elapsed() < Duration::from_secs(2), "a stalled request keeps no lab: {:?}", began.elapsed());
}

/// Who clears faults later clears those of the new life.
#[tokio::test]
async fn a_reset_ends_what_stalls() {
    let lab = TestLab::start().await;
    lab.fault(json!({ "on": "ecs:*", "kind": "stall" })).await;
    let ecs = format!("{ECS}.ListClusters");
    let mut stalled = std::pin::pin!(lab.once(&ecs, json!({})));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut stalled).await.is_err());
    lifecycle::reset(&options(lab.folder.path())).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), &mut stalled).await;
    assert_eq!(ended.expect("it ends with what it was asked of"), None);
    assert_eq!(lab.once(&ecs, json!({})).await.unwrap().0, 200);
}

#[tokio::test]
async fn the_registry_makes_trouble_in_its_own_words() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let image = lab.push("there", "v1", b"layer").await;
    let login = lab.login().await;
    let blob = format!("/v2/there/blobs/{}", digest(b"layer"));
    let get = async |path: &str| lab.send_once("GET", path, &[("authorization", &login)], "").await;
    let denied = "Your authorization token has expired. Reauthenticate and try again.";
    let table = [
        (json!({ "on": "registry:*", "kind": "throttle" }), 429, "TOOMANYREQUESTS", "Rate exceeded"),
        (json!({ "on": "registry:GetBlob", "kind": "error" }), 500, "UNKNOWN", "Service Unavailable"),
        (json!({ "on": "registry:GetBlob", "kind": "error", "code": "DENIED", "status": 403 }), 403, "DENIED", ""),
        (json!({ "on": "registry:*", "kind": "expire-token" }), 403, "DENIED", denied),
    ];
    for (fault, status, code, words) in table {
        let what = fault.to_string();
        lab.fault(fault).await;
        let answer = get(&blob).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{what}: {}", answer.text());
        assert!(answer.text().contains(words), "{what}: {}", answer.text());
        lab.clear().await;
        assert_eq!(get(&blob).await.unwrap().text(), "layer");
    }
    // Who has not logged in has no token that could expire.
    lab.fault(json!({ "on": "registry:*", "kind": "expire-token" })).await;
    assert_eq!(lab.send("GET", "/v2/", &[], "").await.status, 401);
    lab.clear().await;

    lab.fault(json!({ "on": "registry:*", "kind": "wrong-digest" })).await;
    let manifest = get("/v2/there/manifests/v1").await.unwrap();
    assert_ne!(manifest.header("docker-content-digest"), image);
    assert_eq!(digest(&manifest.body), image, "what came is right");
    let bytes = get(&blob).await.unwrap();
    assert_eq!(bytes.header("docker-content-digest"), digest(b"layer"));
    assert_eq!((bytes.body.len(), &bytes.body[1..]), (5, &b"ayer"[..]));
    assert_ne!(bytes.body, "layer");
    lab.clear().await;

    // An upload that is dropped when it is done: the blob is there.
    lab.fault(json!({ "on": "registry:StartUpload", "kind": "drop-after", "count": 1 })).await;
    let path = format!("/v2/there/blobs/uploads/?digest={}", digest(b"more"));
    assert!(lab.send_once("POST", &path, &[("authorization", &login)], "more").await.is_err());
    assert_eq!(get(&format!("/v2/there/blobs/{}", digest(b"more"))).await.unwrap().text(), "more");
    lab.end().await;
}

#[tokio::test]
async fn faults_are_listed_counted_and_cleared() {
    let lab = TestLab::start().await;
    let options = options(lab.folder.path());
    let first = lab.fault(json!({ "on": "ecr:Describe*", "kind": "throttle", "after": 1, "count": 2 })).await;
    let second = lab.fault(json!({ "on": "ecr:CreateRepository", "kind": "error" })).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(lab.once(&format!("{ECR}.DescribeRepositories"), json!({})).await.unwrap().0);
    }
    assert_eq!(seen, [200, 400, 400, 200]);
    let listed = lifecycle::list_faults(&options).await.unwrap();
    let expected = json!([
        { "id": first, "on": "ecr:Describe*", "kind": "throttle", "count": 2, "after": 1, "met": 4, "struck": 2 },
        { "id": second, "on": "ecr:CreateRepository", "kind": "error", "met": 0, "struck": 0 },
    ]);
    assert_eq!(listed, expected);
    let report = lab.report().await;
    assert_eq!((&report["faults"], &report["throttles"]), (&json!(2), &json!(2)));
    assert_eq!(report["throttled"], json!([{ "operation": "ecr:DescribeRepositories", "count": 2 }]));
    assert_eq!(report["requests"], 4, "and two pings");

    let error = lifecycle::clear_faults(&options, &[99]).await.unwrap_err();
    assert!(error.to_string().contains("there is no fault 99"), "{error}");
    assert_eq!(lifecycle::clear_faults(&options, &[first]).await.unwrap(), 1);
    assert_eq!(lifecycle::clear_faults(&options, &[]).await.unwrap(), 1);
    assert_eq!(lifecycle::list_faults(&options).await.unwrap(), json!([]));
    lab.fault(json!({ "on": "*", "kind": "throttle" })).await;
    lifecycle::reset(&options).await.unwrap();
    assert_eq!(lifecycle::list_faults(&options).await.unwrap(), json!([]), "a new life begins without trouble");
    lab.end().await;
    let error = lifecycle::list_faults(&options).await.unwrap_err();
    assert!(error.to_string().starts_with("no lab runs on "), "{error}");
}

#[tokio::test]
async fn the_labs_own_budgets_throttle_and_can_be_switched_off() {
    let lab = TestLab::start().await;
    let register = format!("{ECS}.RegisterTaskDefinition");
    let input = json!({ "family": "web", "containerDefinitions": [{ "name": "a", "image": "a", "memory": 8 }] });
    let (mut taken, mut refused) = (0, Vec::new());
    let began = Instant::now();
    for _ in 0..40 {
        match lab.once(&register, input.clone()).await.unwrap() {
            (200, _) => taken += 1,
            refusal => refused.push(refusal),
        }
    }
    // What came back meanwhile, one a second, passes as well.
    let back = began.elapsed().as_secs() as usize + 1;
    assert!((20..=20 + back).contains(&taken), "{taken} in {:?}", began.elapsed());
    let said = json!({ "__type": "ThrottlingException", "message": "Rate exceeded" });
    assert!(refused.iter().all(|refusal| *refusal == (400, said.clone())), "{refused:?}");
    let report = lab.report().await;
    assert_eq!((&report["requestBudgets"], &report["throttles"]), (&json!(true), &json!(refused.len())));
    assert_eq!(report["throttled"], json!([{ "operation": "ecs:RegisterTaskDefinition", "count": refused.len() }]));
    assert_eq!(report["requests"], taken);
    let folder = lab.end().await;

    let unlimited = Options { unlimited_requests: true, ..options(folder.path()) };
    let lab = TestLab::start_with(folder, unlimited).await;
    for _ in 0..40 {
        assert_eq!(lab.once(&register, input.clone()).await.unwrap().0, 200);
    }
    assert_eq!(lab.report().await["requestBudgets"], false);
    lab.end().await;
}

#[test]
fn the_documentation_names_all_that_a_fault_can_be_about() {
    let documented = include_str!("../../../docs/lab.md");
    let unknown: Fault = serde_json::from_value(json!({ "on": "dynamodb:Scan", "kind": "stall" })).unwrap();
    let hint = unknown.check().unwrap_err().hint.unwrap();
    let services = hint.strip_prefix("services are ").expect("a list");
    assert!(services.split(", ").count() > 10, "{hint}");
    for service in services.split(", ") {
        assert!(documented.contains(&format!("`{service}`")), "{service}");
    }
}

#[test]
fn a_fault_that_cannot_be_meant_is_refused_with_what_was() {
    let table: [(Value, &str, &str, &str); 23] = [
        (json!({ "on": "ecs", "kind": "throttle" }), "on", "names no service and operation", "ecs:UpdateService"),
        (json!({ "on": "ecz:UpdateService", "kind": "stall" }), "on", "no service `ecz`", "`ecs:UpdateService`"),
        (json!({ "on": "dynamodb:Scan", "kind": "stall" }), "on", "no service `dynamodb`", "services are ecs, ecr"),
        (
            json!({ "on": "ecs:UpdateServise", "kind": "stall" }),
            "on",
            "no operation `UpdateServise`",
            "`ecs:UpdateService`",
        ),
        (json!({ "on": "registry:PushManifest", "kind": "stall" }), "on", "no operation", "`registry:PutManifest`"),
        (json!({ "on": "scheduler:PlaceTask", "kind": "throttle" }), "on", "cannot be on", "it is for requests"),
        (json!({ "on": "ecr:PutImage", "kind": "wrong-digest" }), "on", "cannot be on", "the registry's requests"),
        (json!({ "on": "ecs:RunTask", "kind": "fail-placement" }), "on", "cannot be on", "scheduler:PlaceTask"),
        (json!({ "on": "scheduler:PlaceTask", "kind": "slow-pull", "for": "1s" }), "on", "cannot be on", "PullImage"),
        (json!({ "on": "*", "kind": "flapping-health" }), "on", "names no service", ""),
        (json!({ "on": "*", "kind": "delay" }), "for", "needs `for`", ""),
        (json!({ "on": "*", "kind": "stall", "for": "1s" }), "for", "takes no `for`", ""),
        (json!({ "on": "*", "kind": "throttle", "code": "X" }), "code", "`error` does", ""),
        (json!({ "on": "*", "kind": "error", "status": 200 }), "status", "between 400 and 599", ""),
        (json!({ "on": "*", "kind": "stall", "count": 0 }), "count", "1 or more", ""),
        (json!({ "on": "*", "kind": "stall", "probability": 1.5 }), "probability", "between 0 and 1", ""),
        (json!({ "on": "*", "kind": "stall", "seed": 1 }), "seed", "goes with `probability`", ""),
        (json!({ "on": "scheduler:*", "kind": "lose-capacity", "count": 1 }), "count", "until it is cleared", ""),
        (json!({ "on": "scheduler:*", "kind": "interrupt-spot", "after": 1 }), "after", "until it is cleared", ""),
        (json!({ "on": "scheduler:PlaceTask", "kind": "interrupt-spot" }), "on", "cannot be on", "InterruptTask"),
        (json!({ "on": "balancer:*", "kind": "flapping-health", "after": 1 }), "after", "until it is cleared", ""),
        (
            json!({ "on": "ecs:UpdateService", "kind": "error", "code": "ServiceNotFoundExeption" }),
            "code",
            "declares no error `ServiceNotFoundExeption`",
            "`ServiceNotFoundException`",
        ),
        (
            json!({ "on": "ecs:UpdateService", "kind": "error", "code": "Zz" }),
            "code",
            "declares no error",
            "it declares ",
        ),
    ];
    for (value, member, message, hint) in table {
        let fault: Fault = serde_json::from_value(value.clone()).unwrap();
        let mistake = fault.check().expect_err(&value.to_string());
        assert_eq!(mistake.member, member, "{value}: {mistake:?}");
        assert!(mistake.message.contains(message), "{value}: {mistake:?}");
        assert!(mistake.hint.unwrap_or_default().contains(hint), "{value}");
    }
    for (_, kind) in Kind::ALL {
        let mut fault = Fault::new(kind, None);
        fault.lasts = [Kind::Delay, Kind::SlowPull].contains(&kind).then_some(Duration::from_secs(1));
        assert_eq!(fault.check(), Ok(()), "{kind:?} goes without `on`");
    }
}
