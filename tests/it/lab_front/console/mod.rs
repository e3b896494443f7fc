//! The console: its files, who may read it, what its views hold, and what it sends when something changes.

mod files;
mod live;
mod views;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Answer, TestLab};
use crate::rehearsal::{Rehearsal, command};

impl TestLab {
    async fn console(&self, path: &str) -> Answer {
        self.send("GET", &format!("/console/{path}"), &[], "").await
    }

    /// A view that is there.
    async fn view(&self, path: &str) -> Value {
        let answer = self.console(&format!("data/{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        answer.json()
    }

    /// A JSON operation that succeeds.
    async fn call(&self, target: &str, input: Value) -> Value {
        let answer = self.json(target, &input).await;
        assert_eq!(answer.status, StatusCode::OK, "{target}: {}", answer.text());
        answer.json()
    }

    async fn of_ecs(&self, operation: &str, input: Value) -> Value {
        self.call(&format!("AmazonEC2ContainerServiceV20141113.{operation}"), input).await
    }

    /// A service `web` of a revision that nobody runs.
    async fn web(&self) {
        let container = json!({ "name": "app", "image": "web:1", "memory": 64 });
        self.of_ecs("RegisterTaskDefinition", json!({ "family": "web", "containerDefinitions": [container] })).await;
        self.of_ecs("CreateService", json!({ "serviceName": "web", "taskDefinition": "web", "desiredCount": 0 })).await;
    }
}

#[test]
fn the_command_says_where_the_console_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = |line: &str| crate::rehearsal::Run::new(&command(folder.path()).args(line.split(' ')).output().unwrap());
    let none = run("lab console -o json").json(1);
    assert!(none["error"]["message"].as_str().unwrap().starts_with("no lab runs on "), "{none}");
    assert!(none["error"]["hints"][0].as_str().unwrap().contains("`steady lab start`"), "{none}");
    assert!(!folder.path().join("lab").exists(), "asking starts nothing");

    let lab = Rehearsal::start();
    let url = format!("http://{}/console/", lab.host);
    assert_eq!(lab.steady("lab console").stdout, format!("{url}\n"));
    assert_eq!(lab.steady("lab console --no-open -o json").json(0), json!({ "url": url, "opened": false }));
    let (status, page) = crate::rehearsal::get(&url);
    assert_eq!(status, 200);
    assert!(page.contains("<title>steady lab</title>"), "{page}");
}
