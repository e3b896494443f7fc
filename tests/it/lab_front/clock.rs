//! AWS's long waits, in a lab whose clock is put forward.

use std::time::Duration;

use serde_json::{Value, json};
use steadystate::lab::clock::{Hand, Pace};
use steadystate::lab::lifecycle::Options;

use super::{TestLab, options};

const HOUR: Duration = Duration::from_secs(3600);

async fn start(hand: Hand) -> TestLab {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { hand: Some(hand), pace: Some(Pace::Aws), ..options(folder.path()) };
    TestLab::start_with(folder, options).await
}

#[tokio::test]
async fn a_token_of_the_registry_expires_after_twelve_hours() {
    let hand = Hand::new();
    let lab = start(hand).await;
    lab.create("there").await;
    let reply = lab.ecr("GetAuthorizationToken", json!({})).await;
    let token = reply["authorizationData"][0]["authorizationToken"].as_str().unwrap().to_owned();
    let login = format!("Basic {token}");
    let ping = async || lab.send("GET", "/v2/", &[("authorization", &login)], "").await;
    assert_eq!(ping().await.status, 200);
    hand.advance(HOUR * 12 - Duration::from_secs(30));
    assert_eq!(ping().await.status, 200);
    hand.advance(Duration::from_secs(30));
    let expired = ping().await;
    assert_eq!((expired.status.as_u16(), expired.code().as_str()), (403, "DENIED"));
    assert!(expired.text().contains("Your authorization token has expired. Reauthenticate and try again."));
    // Requests are signed in real time, which goes on as it did.
    let again = lab.login().await;
    assert_eq!(lab.send("GET", "/v2/", &[("authorization", &again)], "").await.status, 200);
    hand.advance(HOUR * 25);
    lab.login().await;
    assert_eq!(ping().await.status, 401, "it is forgotten, and no more than nonsense");
    lab.end().await;
}

/// The scheduler sleeps until something is due by the lab's clock.
#[tokio::test]
async fn the_scheduler_goes_with_the_clock() {
    let hand = Hand::new();
    let lab = start(hand).await;
    let ecs = async |operation: &str, input: Value| {
        let answer = lab.json(&format!("AmazonEC2ContainerServiceV20141113.{operation}"), &input).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text());
        answer.json()
    };
    let container = json!({ "name": "app", "image": "a", "memory": 5000 });
    ecs("RegisterTaskDefinition", json!({ "family": "web", "containerDefinitions": [container] })).await;
    ecs("CreateService", json!({ "serviceName": "web", "taskDefinition": "web", "desiredCount": 1 })).await;
    let told = async || {
        let service = ecs("DescribeServices", json!({ "services": ["web"] })).await["services"][0].take();
        service["events"].as_array().unwrap().len()
    };
    let until = async |count: usize| {
        while told().await != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    until(1).await;
    ecs("UpdateService", json!({ "service": "web", "forceNewDeployment": true })).await;
    hand.advance(HOUR * 5);
    assert_eq!(told().await, 1, "no room is said once in six hours");
    hand.advance(HOUR);
    ecs("UpdateService", json!({ "service": "web", "forceNewDeployment": true })).await;
    tokio::time::timeout(Duration::from_secs(20), until(2)).await.expect("it is said again");

    // A task is PROVISIONING for two seconds by this clock, which pass at once.
    let container = json!({ "name": "app", "image": "a", "memory": 64 });
    ecs("RegisterTaskDefinition", json!({ "family": "small", "containerDefinitions": [container] })).await;
    let began = std::time::Instant::now();
    let task = ecs("RunTask", json!({ "taskDefinition": "small" })).await["tasks"][0]["taskArn"].take();
    let status = async || ecs("DescribeTasks", json!({ "tasks": [task] })).await["tasks"][0]["lastStatus"].take();
    assert_eq!(status().await, "PROVISIONING");
    while status().await != "STOPPED" {
        hand.advance(Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(4), "AWS takes that long, and more: {:?}", began.elapsed());
    lab.end().await;
}
