use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::lab_front::TestLab;

/// Long enough for any machine; nothing here waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// A page's connection.
pub(super) struct Stream {
    body: Incoming,
    unread: String,
}

impl TestLab {
    pub(super) async fn live(&self, path: &str) -> Stream {
        let request = Request::get(format!("http://{}/console/live/{path}", self.host));
        let response = self.client.request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Stream { body: response.into_body(), unread: String::new() }
    }
}

impl Stream {
    /// The next event's name and data; None at the stream's end.
    async fn next(&mut self) -> Option<(String, Value)> {
        timeout(PATIENCE, self.read()).await.unwrap_or_else(|_| panic!("nothing comes: {}", self.unread))
    }

    async fn read(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let field = |name: &str| {
                    let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    lines.collect::<Vec<_>>().join("\n")
                };
                let (name, data) = (field("event"), field("data"));
                self.unread = rest.to_owned();
                if !name.is_empty() {
                    return Some((name, serde_json::from_str(&data).unwrap()));
                }
                continue;
            }
            let frame = self.body.frame().await?.unwrap();
            self.unread += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
    }

    /// The data of the next event of this name.
    pub(super) async fn event(&mut self, name: &str) -> Value {
        loop {
            let (found, data) = self.next().await.expect("the stream goes on");
            if found == name {
                return data;
            }
        }
    }

    /// All lines up to one with this message.
    pub(super) async fn lines_until(&mut self, message: &str) -> Vec<Value> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &Value| line["message"] != message) {
            lines.extend(self.event("lines").await["lines"].as_array().unwrap().clone());
        }
        lines
    }

    async fn ends(&mut self) {
        while self.next().await.is_some() {}
    }
}

#[tokio::test]
async fn a_change_is_sent_and_nothing_else() {
    let lab = TestLab::start().await;
    let mut stream = lab.live("repositories").await;
    let (name, about) = stream.next().await.unwrap();
    assert_eq!((name.as_str(), &about["url"]), ("lab", &json!(format!("http://{}", lab.host))));
    assert_eq!(stream.next().await.unwrap(), ("view".into(), json!({ "repositories": [] })));
    // Of another page; this one's next event is about the repository.
    lab.web().await;
    lab.create("one").await;
    let view = stream.event("view").await;
    assert_eq!(view["repositories"][0]["repositoryName"], "one");
    assert_eq!(view, lab.view("repositories").await, "the same as asked once");
    lab.of_ecs("TagResource", json!({
        "resourceArn": "arn:aws:ecs:us-east-1:111122223333:service/default/web", "tags": [{ "key": "a", "value": "b" }],
    })).await;
    lab.create("two").await;
    assert_eq!(stream.event("view").await["repositories"].as_array().unwrap().len(), 2, "a tag is not seen here");
    lab.end().await;
}

#[tokio::test]
async fn a_service_is_followed_from_its_birth_to_its_end() {
    let lab = TestLab::start().await;
    let mut stream = lab.live("clusters/default/services/web").await;
    assert_eq!(stream.event("view").await, json!({ "missing": "resource" }));
    lab.web().await;
    let mut view = stream.event("view").await;
    while view["service"]["deployments"][0]["rolloutState"] != "COMPLETED" {
        view = stream.event("view").await;
    }
    let events = view["service"]["events"].as_array().unwrap();
    assert!(events[0]["message"].as_str().unwrap().ends_with("has reached a steady state."), "{events:?}");
    lab.of_ecs("DeleteService", json!({ "service": "web" })).await;
    while view["service"]["status"] != "INACTIVE" {
        view = stream.event("view").await;
    }
    lab.end().await;
}

#[tokio::test]
async fn the_tail_of_a_log_comes_first_and_then_what_is_new() {
    let lab = TestLab::start().await;
    let container = json!({ "name": "app", "image": "web:1", "memory": 64 });
    lab.of_ecs("RegisterTaskDefinition", json!({ "family": "web", "containerDefinitions": [container] })).await;
    let run = lab.of_ecs("RunTask", json!({ "taskDefinition": "web" })).await;
    let id = run["tasks"][0]["taskArn"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let named = json!({ "logGroupName": "/lab/ecs/web", "logStreamName": format!("ecs/app/{id}") });
    lab.call("Logs_20140328.CreateLogGroup", json!({ "logGroupName": "/lab/ecs/web" })).await;
    lab.call("Logs_20140328.CreateLogStream", named.clone()).await;
    let now = jiff::Timestamp::now().as_millisecond();
    let put = async |numbers: std::ops::Range<i64>| {
        let mut input = named.clone();
        let events = numbers.map(|number| json!({ "timestamp": now + number, "message": format!("line {number}") }));
        input["logEvents"] = events.collect();
        lab.call("Logs_20140328.PutLogEvents", input).await;
    };
    put(0..700).await;
    let mut stream = lab.live(&format!("clusters/default/tasks/{id}?logs")).await;
    let tail = stream.event("lines").await;
    assert_eq!((&tail["first"], &tail["skipped"]), (&json!(true), &json!(200)));
    let messages: Vec<&str> =
        tail["lines"].as_array().unwrap().iter().map(|of| of["message"].as_str().unwrap()).collect();
    assert_eq!((messages.len(), messages[0], messages[499]), (500, "line 200", "line 699"));
    put(700..702).await;
    let new = stream.event("lines").await;
    let line = |number: i64| json!({ "timestamp": now + number, "task": id, "container": "app", "message": format!("line {number}") });
    assert_eq!(new, json!({ "first": false, "skipped": 0, "lines": [line(700), line(701)] }));
    // Without being asked for, no lines come.
    let mut without = lab.live(&format!("clusters/default/tasks/{id}")).await;
    without.event("view").await;
    put(702..703).await;
    let arn = &run["tasks"][0]["taskArn"];
    lab.of_ecs("TagResource", json!({ "resourceArn": arn, "tags": [{ "key": "a", "value": "b" }] })).await;
    let mut view = Value::Null;
    while view["task"]["tags"][0]["key"] != "a" {
        let (name, data) = without.next().await.unwrap();
        assert_eq!(name, "view");
        view = data;
    }
    lab.end().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_lab_and_keeps_it_from_nothing() {
    let lab = TestLab::start().await;
    lab.create("one").await;
    let record: Value = serde_json::from_slice(&std::fs::read(lab.folder.path().join("lab.json")).unwrap()).unwrap();
    let token = [("x-steady-lab-token", record["token"].as_str().unwrap())];
    let mut before = lab.live("repositories").await;
    assert_eq!(before.event("view").await["repositories"].as_array().unwrap().len(), 1);
    assert_eq!(lab.send("POST", "/_lab/reset", &token, "").await.status, 200);
    before.ends().await;
    let mut stream = lab.live("repositories").await;
    assert_eq!(stream.event("view").await, json!({ "repositories": [] }), "the page comes again, to the new lab");
    assert_eq!(lab.send("POST", "/_lab/stop", &token, "").await.status, 200);
    stream.ends().await;
    lab.served.await.unwrap().unwrap();
}
