//! A role that may start tasks and little else, and answers that are lost or newer than this binary.

use serde_json::{Value, json};
use steadystate::config::TaskPlan;
use steadystate::deploy;
use steadystate::deploy::event::{Event, Events};
use steadystate::deploy::one_off::{OneOff, RunOutcome, Which};
use steadystate::error::{Kind, Result};

use crate::aws::server::{Reply, Request, Server};

const TASK: &str = "arn:aws:ecs:us-west-2:123456789012:task/c/0123456789abcdef0123456789abcdef";
const REVISION: &str = "arn:aws:ecs:us-west-2:123456789012:task-definition/job:4";

fn task(status: &str, code: Option<i64>) -> Value {
    json!({
        "taskArn": TASK, "taskDefinitionArn": REVISION, "lastStatus": status, "desiredStatus": "RUNNING",
        "startedBy": "me", "stopCode": "EssentialContainerExited",
        "containers": [{ "name": "job", "exitCode": code, "runtimeId": "dockerid" }],
    })
}

fn definition(log: Value) -> Value {
    json!({ "taskDefinition": {
        "taskDefinitionArn": REVISION, "family": "job", "revision": 4, "status": "ACTIVE", "networkMode": "bridge",
        "containerDefinitions": [{ "name": "job", "image": "x", "logConfiguration": log }],
    } })
}

/// A run of `job:4` at a server that answers as `script` says, or else as AWS would.
async fn ran(
    log: Value,
    script: impl Fn(&Request, usize) -> Option<Reply> + Send + Sync + 'static,
) -> (Result<RunOutcome>, Vec<Event>, Server) {
    let server = Server::start(move |request, before| {
        script(request, before).unwrap_or_else(|| match request.operation.as_str() {
            "DescribeTaskDefinition" => Reply::Json(definition(log.clone())),
            "RunTask" => Reply::Json(json!({ "tasks": [task("PENDING", None)], "failures": [] })),
            "DescribeTasks" if before < 2 => Reply::Json(json!({ "tasks": [task("RUNNING", None)], "failures": [] })),
            "DescribeTasks" => Reply::Json(json!({ "tasks": [task("STOPPED", Some(0))], "failures": [] })),
            _ => Reply::Error(400, "UnknownOperationException", "no such operation"),
        })
    })
    .await;
    let one_off = OneOff {
        cluster: "c".into(),
        which: Which::Named("job:4".into()),
        task: TaskPlan { launch_type: Some("EC2".into()), ..TaskPlan::default() },
        count: 1,
        ..OneOff::default()
    };
    let (events, mut receiver) = Events::channel();
    let ended = deploy::run_task(&one_off, None, &server.clients().await, &events).await;
    drop(events);
    let mut told = Vec::new();
    while let Some(event) = receiver.recv().await {
        told.push(event);
    }
    (ended, told, server)
}

fn awslogs(prefix: Option<&str>) -> Value {
    let mut options = json!({ "awslogs-group": "/jobs", "awslogs-region": "eu-west-1" });
    if let Some(prefix) = prefix {
        options["awslogs-stream-prefix"] = prefix.into();
    }
    json!({ "logDriver": "awslogs", "options": options })
}

fn lines(told: &[Event]) -> Vec<&str> {
    let mut lines = Vec::new();
    for event in told {
        if let Event::Log { line, .. } = event {
            lines.push(line.as_str());
        }
    }
    lines
}

#[tokio::test]
async fn a_log_is_read_page_by_page_where_the_container_writes_it() {
    for (prefix, stream) in [(Some("p"), "p/job/0123456789abcdef0123456789abcdef"), (None, "dockerid")] {
        let (ended, told, server) = ran(awslogs(prefix), move |request, before| {
            let page = |lines: &[&str], token: &str| {
                let events: Vec<Value> = lines.iter().map(|line| json!({ "message": line, "timestamp": 1 })).collect();
                Some(Reply::Json(json!({ "events": events, "nextForwardToken": token })))
            };
            match (request.operation.as_str(), before) {
                ("GetLogEvents", 0) => Some(Reply::Error(400, "ResourceNotFoundException", "no stream yet")),
                ("GetLogEvents", 1) => page(&["one", "two"], "f/2"),
                ("GetLogEvents", 2) => page(&["three"], "f/3"),
                // Empty, and still not at the end, as CloudWatch Logs may be.
                ("GetLogEvents", 3) => page(&[], "f/4"),
                ("GetLogEvents", 4) => page(&["four"], "f/5"),
                ("GetLogEvents", _) => page(&[], "f/5"),
                _ => None,
            }
        })
        .await;
        assert_eq!(ended.unwrap().status, "succeeded");
        assert_eq!(lines(&told), ["one", "two", "three", "four"]);
        let asked: Vec<_> = server.requests().into_iter().filter(|one| one.operation == "GetLogEvents").collect();
        assert!(asked[0].header("authorization").contains("/eu-west-1/logs/"), "the log is in another region");
        assert_eq!(
            (&asked[0].json()["logStreamName"], &asked[0].json()["logGroupName"]),
            (&json!(stream), &json!("/jobs"))
        );
        let tokens: Vec<Value> = asked.iter().skip(2).take(3).map(|one| one.json()["nextToken"].clone()).collect();
        assert_eq!(tokens, ["f/2", "f/3", "f/4"]);
    }
}

#[tokio::test]
async fn a_log_that_may_not_be_read_is_said_once_with_its_action() {
    let denied =
        "User: arn:aws:sts::1:assumed-role/ci/x is not authorized to perform: logs:GetLogEvents on resource: y";
    let (ended, told, server) = ran(awslogs(Some("p")), move |request, _| {
        (request.operation == "GetLogEvents").then_some(Reply::Error(400, "AccessDeniedException", denied))
    })
    .await;
    assert_eq!(ended.unwrap().status, "succeeded", "what cannot be read stops nothing");
    let warnings: Vec<_> = told.iter().filter(|event| matches!(event, Event::Warning { .. })).collect();
    let [Event::Warning { message, hint: Some(hint) }] = warnings[..] else { panic!("{warnings:?}") };
    assert!(message.starts_with("the log of `job` cannot be read") && hint.contains("`logs:GetLogEvents`"), "{hint}");
    assert_eq!(server.count("GetLogEvents"), 1, "it is not asked again");
    for (log, said) in [
        (json!({ "logDriver": "awsfirelens" }), "it goes to the log driver `awsfirelens`"),
        (json!(null), "the task definition has no `logConfiguration`"),
    ] {
        let (ended, told, _) = ran(log, |_, _| None).await;
        assert_eq!(ended.unwrap().status, "succeeded");
        assert!(
            told.iter().any(|event| matches!(event, Event::Notice { message } if message.contains(said))),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn a_role_that_may_not_start_tasks_learns_which_action_it_lacks() {
    for (message, action) in [
        ("User: x is not authorized to perform: ecs:RunTask on resource: y", "`ecs:RunTask`"),
        ("User: x is not authorized to perform: iam:PassRole on resource: y", "`iam:PassRole`"),
    ] {
        let (ended, _, server) = ran(json!(null), move |request, _| {
            (request.operation == "RunTask").then_some(Reply::Error(400, "AccessDeniedException", message))
        })
        .await;
        let error = ended.unwrap_err();
        assert!(error.hints().iter().any(|hint| hint.contains(action)), "{error:?}");
        assert_eq!(server.count("RunTask"), 1);
    }
}

#[tokio::test]
async fn answers_that_are_lost_and_states_that_are_new() {
    // Every answer is lost: it is found by its mark.
    let (ended, _, server) = ran(json!(null), |request, _| match request.operation.as_str() {
        "RunTask" => Some(Reply::Drop),
        "ListTasks" => Some(Reply::Json(json!({ "taskArns": [TASK] }))),
        _ => None,
    })
    .await;
    assert_eq!(ended.unwrap().tasks[0].id, "0123456789abcdef0123456789abcdef");
    let sent: Vec<Value> =
        server.requests().iter().filter(|one| one.operation == "RunTask").map(Request::json).collect();
    assert!(sent.len() > 1 && sent.iter().all(|one| *one == sent[0]), "the same request each time: {sent:?}");
    let token = sent[0]["clientToken"].as_str().unwrap();
    assert!((1..=64).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic()));

    // MISSING at first, and a status that only a newer API has.
    let (ended, told, _) = ran(json!(null), |request, before| match (request.operation.as_str(), before) {
        ("DescribeTasks", 0) => {
            Some(Reply::Json(json!({ "tasks": [], "failures": [{ "arn": TASK, "reason": "MISSING" }] })))
        }
        ("DescribeTasks", 1) => Some(Reply::Error(500, "ServerException", "again")),
        ("DescribeTasks", 2) => Some(Reply::Json(json!({ "tasks": [task("HIBERNATING", None)] }))),
        _ => None,
    })
    .await;
    assert_eq!(ended.unwrap().status, "succeeded");
    let known = |event: &Event| matches!(event, Event::Task { last_status, .. } if last_status == "HIBERNATING");
    assert!(told.iter().any(known), "it is shown as it is: {told:?}");

    // Some could be placed and some not.
    let (ended, told, _) = ran(json!(null), |request, _| {
        let failures =
            json!([{ "arn": "arn:aws:ecs:x:1:container-instance/c/i", "reason": "RESOURCE:PORTS", "detail": "80" }]);
        (request.operation == "RunTask")
            .then(|| Reply::Json(json!({ "tasks": [task("PENDING", None)], "failures": failures })))
    })
    .await;
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), Kind::Other);
    assert!(error.to_string().contains("RESOURCE:PORTS: 80 (i)"), "{error}");
    let hinted = |event: &Event| matches!(event, Event::Warning { hint: Some(hint), .. } if hint.contains("hostPort"));
    assert!(told.iter().any(hinted), "{told:?}");
}
