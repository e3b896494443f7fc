//! Registering: one revision for one input, whatever is lost on the way.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use steadystate::deploy::event::Events;
use steadystate::deploy::register::{FINGERPRINT_TAG, RELEASE_TAG, Sought, matching, register, tagged};
use steadystate::deploy::render::Facts;
use steadystate::document::fingerprint;

use crate::aws::server::{Reply, Request, Server};

fn input() -> Value {
    json!({ "family": "web", "containerDefinitions": [{ "name": "web", "image": "r@sha256:a", "memory": 128 }], "tags": [{ "key": "team", "value": "t" }] })
}

fn facts() -> Facts {
    Facts { region: "us-west-2".into(), account_id: "1".into(), image: None, release: "v1 (hot)".into() }
}

fn revision(number: i64, status: &str, fingerprint: &str) -> Value {
    json!({
        "taskDefinition": { "taskDefinitionArn": format!("arn:x/web:{number}"), "family": "web", "revision": number, "status": status },
        "tags": [{ "key": FINGERPRINT_TAG, "value": fingerprint }],
    })
}

/// A family that keeps what is registered, as ECS does.
struct Family {
    revisions: Mutex<Vec<Value>>,
    /// A list shows a new revision only after so many calls.
    lag: usize,
}

impl Family {
    fn register(&self, request: &Request) -> Value {
        let mut revisions = self.revisions.lock().expect("lock");
        let tags = request.json()["tags"].clone();
        let number = revisions.len() as i64 + 1;
        let mut new = revision(number, "ACTIVE", "");
        new["tags"] = tags;
        revisions.push(new.clone());
        new
    }

    fn read(&self, request: &Request, before: usize) -> Reply {
        let revisions = self.revisions.lock().expect("lock");
        let asked = request.json();
        if request.operation == "ListTaskDefinitions" {
            let shown = if before < self.lag { 0 } else { revisions.len() };
            let arns: Vec<&Value> =
                revisions[..shown].iter().rev().map(|one| &one["taskDefinition"]["taskDefinitionArn"]).collect();
            return Reply::Json(json!({ "taskDefinitionArns": arns }));
        }
        let name = asked["taskDefinition"].as_str().unwrap_or_default();
        let found = match name {
            "web" if before < self.lag => None,
            "web" => revisions.iter().rev().find(|one| one["taskDefinition"]["status"] == "ACTIVE"),
            name => revisions
                .iter()
                .find(|one| one["taskDefinition"]["taskDefinitionArn"].as_str().is_some_and(|arn| arn.ends_with(name))),
        };
        match found {
            Some(found) => Reply::Json(found.clone()),
            None => Reply::Error(400, "ClientException", "Unable to describe task definition."),
        }
    }
}

async fn family(
    lag: usize,
    first: Vec<Value>,
    mishap: fn(usize) -> Option<Reply>,
    commit: bool,
) -> (Server, Arc<Family>) {
    let family = Arc::new(Family { revisions: Mutex::new(first), lag });
    let shared = family.clone();
    let server = Server::start(move |request, before| {
        if request.operation != "RegisterTaskDefinition" {
            return shared.read(request, before);
        }
        match mishap(before) {
            Some(reply) => {
                if commit {
                    shared.register(request);
                }
                reply
            }
            None => Reply::Json(shared.register(request)),
        }
    })
    .await;
    (server, family)
}

#[tokio::test]
async fn the_same_input_is_registered_once() {
    let (server, family) = family(0, Vec::new(), |_| None, false).await;
    let (clients, (events, _receiver)) = (server.clients().await, Events::channel());
    let first = register(&input(), &facts(), &clients, &events, None).await.expect("registered");
    assert_eq!((first.revision, first.reused), (1, false));
    let again = register(&input(), &facts(), &clients, &events, None).await.expect("found");
    assert_eq!((again.arn.as_str(), again.reused), ("arn:x/web:1", true));
    let live = json!({ "taskDefinition": "arn:x/web:1" });
    let before = server.requests().len();
    register(&input(), &facts(), &clients, &events, Some(&live)).await.expect("found");
    assert_eq!(server.requests().len() - before, 1, "the service's own revision answers in one call");
    let mut other = input();
    other["containerDefinitions"][0]["memory"] = 256.into();
    assert_eq!(register(&other, &facts(), &clients, &events, Some(&live)).await.expect("registered").revision, 2);
    assert_eq!(family.revisions.lock().expect("lock").len(), 2);
}

#[tokio::test]
async fn of_two_runs_twins_the_first_is_taken_and_the_other_taken_back() {
    let family = Arc::new(Family { revisions: Mutex::new(vec![revision(1, "ACTIVE", "else")]), lag: 0 });
    let shared = family.clone();
    let server = Server::start(move |request, before| match request.operation.as_str() {
        "RegisterTaskDefinition" => {
            // The other run's comes between our look and our own.
            shared.register(request);
            Reply::Json(shared.register(request))
        }
        "DeregisterTaskDefinition" => {
            let mut revisions = shared.revisions.lock().expect("lock");
            let asked = request.json();
            let ours = revisions
                .iter_mut()
                .find(|one| one["taskDefinition"]["taskDefinitionArn"] == asked["taskDefinition"])
                .expect("a revision");
            ours["taskDefinition"]["status"] = "INACTIVE".into();
            Reply::Json(ours.clone())
        }
        _ => shared.read(request, before),
    })
    .await;
    let (events, _receiver) = Events::channel();
    let taken = register(&input(), &facts(), &server.clients().await, &events, None).await.expect("found");
    assert_eq!((taken.revision, taken.reused), (2, true));
    let revisions = family.revisions.lock().expect("lock");
    let states: Vec<_> = revisions.iter().map(|one| one["taskDefinition"]["status"].as_str()).collect();
    assert_eq!(states, [Some("ACTIVE"), Some("ACTIVE"), Some("INACTIVE")]);
}

#[tokio::test]
async fn a_lost_reply_makes_no_second_revision() {
    // Committed, reply lost, and lists lag behind.
    let (server, family) = family(2, Vec::new(), |before| (before == 0).then_some(Reply::Drop), true).await;
    let (events, _receiver) = Events::channel();
    let registered = register(&input(), &facts(), &server.clients().await, &events, None).await.expect("found");
    assert_eq!((registered.revision, registered.reused), (1, false));
    assert_eq!(server.count("RegisterTaskDefinition"), 1);
    assert_eq!(family.revisions.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn a_lost_request_is_sent_again() {
    let (server, family) = family(0, Vec::new(), |before| (before == 0).then_some(Reply::Drop), false).await;
    let (events, _receiver) = Events::channel();
    let registered = register(&input(), &facts(), &server.clients().await, &events, None).await.expect("registered");
    assert_eq!(registered.revision, 1);
    assert_eq!(server.count("RegisterTaskDefinition"), 2);
    assert_eq!(family.revisions.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn collisions_and_throttling_are_retried() {
    let mishap = |before| match before {
        0 => Some(Reply::Error(
            400,
            "ClientException",
            "Too many concurrent attempts to create a new revision of the specified family.",
        )),
        1 => Some(Reply::Error(400, "ThrottlingException", "Rate exceeded")),
        _ => None,
    };
    let (server, _family) = family(0, Vec::new(), mishap, false).await;
    let (events, mut receiver) = Events::channel();
    register(&input(), &facts(), &server.clients().await, &events, None).await.expect("registered");
    assert_eq!(server.count("RegisterTaskDefinition"), 3);
    let mut warnings = 0;
    while let Ok(event) = receiver.try_recv() {
        warnings += usize::from(serde_json::to_value(event).expect("json")["event"] == "warning");
    }
    assert_eq!(warnings, 1, "said once");
}

#[tokio::test]
async fn what_ecs_refuses_is_bad_input_and_not_tried_again() {
    let mishap =
        |_| Some(Reply::Error(400, "ClientException", "Fargate requires that 'cpu' be defined at the task level."));
    let (server, _family) = family(0, Vec::new(), mishap, false).await;
    let (events, _receiver) = Events::channel();
    let error = register(&input(), &facts(), &server.clients().await, &events, None).await.expect_err("refused");
    assert_eq!(error.kind().exit_code(), 2);
    assert!(error.to_string().ends_with("Fargate requires that 'cpu' be defined at the task level."), "{error}");
    assert_eq!(server.count("RegisterTaskDefinition"), 1);
}

/// As another client registered it: what ECS fills in is there, our tags are not.
fn theirs(number: i64, memory: i64, team: &str) -> Value {
    let container = json!({
        "name": "web", "image": "r@sha256:a", "memory": memory, "cpu": 0, "essential": true, "environment": [],
        "mountPoints": [], "portMappings": [], "volumesFrom": [], "systemControls": [],
    });
    let mut revision = revision(number, "ACTIVE", "");
    let members = revision["taskDefinition"].as_object_mut().expect("an object");
    members.insert("containerDefinitions".into(), json!([container]));
    members.insert("compatibilities".into(), json!(["EXTERNAL", "EC2"]));
    revision["tags"] = json!([{ "key": "aws:createdBy", "value": "x" }, { "key": "team", "value": team }]);
    revision
}

/// What a later ECS fills in, which nobody here can know for a default.
fn newer(number: i64, fingerprint: &str) -> Value {
    let mut revision = theirs(number, 128, "t");
    revision["taskDefinition"]["containerDefinitions"][0]["bloom"] = json!({ "mode": "SPRING" });
    revision["tags"].as_array_mut().expect("a list").push(json!({ "key": FINGERPRINT_TAG, "value": fingerprint }));
    revision
}

#[test]
fn which_revisions_can_be_used_again() {
    let print = fingerprint(&input());
    let mut foreign = revision(9, "ACTIVE", &print);
    foreign["taskDefinition"]["family"] = "other".into();
    for (row, candidates, expected) in [
        ("none", vec![], None),
        ("the one", vec![revision(3, "ACTIVE", &print)], Some(3)),
        ("INACTIVE never", vec![revision(3, "INACTIVE", &print)], None),
        ("another input", vec![revision(3, "ACTIVE", "else")], None),
        (
            "the first of several, in any order: the others are twins, to be taken back",
            vec![revision(2, "ACTIVE", &print), revision(5, "ACTIVE", &print), revision(4, "ACTIVE", &print)],
            Some(2),
        ),
        ("another family", vec![foreign], None),
        ("no tags", vec![json!({ "taskDefinition": { "family": "web", "status": "ACTIVE" } })], None),
        ("the one, with members that are newer than us", vec![newer(3, &print)], Some(3)),
        ("somebody else's with such members", vec![newer(3, "")], None),
        ("somebody else's that says the same", vec![theirs(3, 128, "t")], Some(3)),
        ("somebody else's that says something else", vec![theirs(3, 256, "t"), theirs(4, 128, "u")], None),
    ] {
        let input = input();
        let found =
            matching(&candidates, &Sought::new(&input)).map(|reply| reply["taskDefinition"]["revision"].as_i64());
        assert_eq!(found, expected.map(Some), "{row}");
    }
}

#[test]
fn tags_are_the_users_and_ours() {
    let tagged = tagged(&input(), "f", "v1 (hot)");
    assert_eq!(
        tagged["tags"],
        json!([
            { "key": "team", "value": "t" },
            { "key": FINGERPRINT_TAG, "value": "f" },
            { "key": RELEASE_TAG, "value": "v1 _hot_" },
        ])
    );
}
