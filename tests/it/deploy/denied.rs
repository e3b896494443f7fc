//! A role that may deploy and not look at load balancers: what is steady stays steady, with a warning that names the
//! action.

use std::time::Duration;

use serde_json::{Value, json};
use steadystate::config::RolloutPlan;
use steadystate::deploy::event::{Event, Events};
use steadystate::deploy::rollback::follow_or_roll_back;
use steadystate::deploy::{status, wait};

use super::following::{NEW, deployment, placed, server, service};
use crate::aws::server::{Reply, Server};

fn behind_a_load_balancer(rollout: &str) -> Value {
    let mut service = service("sd/2", &[deployment(NEW, "PRIMARY", rollout, 0)]);
    service["loadBalancers"] = json!([{ "targetGroupArn": "tg", "containerName": "web", "containerPort": 80 }]);
    service
}

fn denied(operation: &str) -> Reply {
    let message = format!("User: x is not authorized to perform: elasticloadbalancing:{operation}");
    let error = format!("<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error>");
    Reply::Xml(403, format!("<ErrorResponse>{error}</ErrorResponse>"))
}

/// Completes at the third look; everything of ELBv2 is denied.
async fn forbidding() -> Server {
    let looks = |look| Ok(behind_a_load_balancer(if look < 2 { "IN_PROGRESS" } else { "COMPLETED" }));
    server(looks, |operation, _| match operation {
        "DescribeTargetHealth" | "DescribeTargetGroups" | "DescribeListeners" => Some(denied(operation)),
        "DescribeServiceDeployments" => {
            let record = json!({ "serviceDeploymentArn": "sd/2", "status": "SUCCESSFUL" });
            Some(Reply::Json(json!({ "serviceDeployments": [record] })))
        }
        "ListServiceDeployments" => Some(Reply::Json(json!({ "serviceDeployments": [] }))),
        "DescribeTaskDefinition" => Some(Reply::Json(json!({ "taskDefinition": {} }))),
        _ => None,
    })
    .await
}

fn hints(receiver: &mut tokio::sync::mpsc::UnboundedReceiver<Event>) -> Vec<String> {
    std::iter::from_fn(|| receiver.try_recv().ok())
        .filter_map(|event| match event {
            Event::Warning { hint, .. } => hint,
            _ => None,
        })
        .collect()
}

const HEALTH: &str = "elasticloadbalancing:DescribeTargetHealth";
const URL: &str = "elasticloadbalancing:DescribeTargetGroups";

#[track_caller]
fn named(hints: &[String], actions: &[&str]) {
    let said = |action: &&str| hints.iter().filter(|hint| hint.contains(&format!("`{action}`"))).count() == 1;
    assert!(hints.len() == actions.len() && actions.iter().all(said), "{hints:?}");
}

#[tokio::test]
async fn target_health_that_may_not_be_seen_is_said_once_and_ecs_s_word_counts() {
    let server = forbidding().await;
    let (events, mut receiver) = Events::channel();
    let mut placed = placed();
    placed.service = behind_a_load_balancer("IN_PROGRESS");
    let rollout = RolloutPlan { timeout: Duration::from_secs(20), ..RolloutPlan::default() };
    let end = follow_or_roll_back(&rollout, &placed, None, &server.clients().await, &events).await;
    assert_eq!(end.expect("steady").deployment_id, NEW.0);
    named(&hints(&mut receiver), &[HEALTH]);
    assert_eq!(server.count("DescribeTargetHealth"), 1, "it is not asked again");
    assert!(server.count("DescribeServices") >= 3);
}

#[tokio::test]
async fn a_url_that_may_not_be_asked_for_is_a_warning() {
    let rollout = RolloutPlan { timeout: Duration::from_secs(20), ..RolloutPlan::default() };
    let (events, mut receiver) = Events::channel();
    let server = forbidding().await;
    let waited = wait("default", "web", &rollout, &server.clients().await, &events).await.expect("steady");
    assert_eq!((waited.status, waited.url), ("steady", None));
    named(&hints(&mut receiver), &[HEALTH, URL]);
    let shown = status("default", "web", &server.clients().await, &events).await.expect("shown");
    assert_eq!((shown.url, shown.targets.len()), (None, 0));
    named(&hints(&mut receiver), &[HEALTH, URL]);
}
