//! Following through bad weather: lagging reads, throttling, expired credentials, a race with ECS's own rollback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use steadystate::config::RolloutPlan;
use steadystate::deploy::event::{Event, Events};
use steadystate::deploy::follow::Steady;
use steadystate::deploy::rollback::follow_or_roll_back;
use steadystate::deploy::service::{Action, Placed, Previous};
use steadystate::error::{Error, Kind};

use crate::aws::server::{Reply, Server};

const OLD: (&str, u32) = ("ecs-svc/1", 1);
pub const NEW: (&str, u32) = ("ecs-svc/2", 2);

fn arn(revision: u32) -> String {
    format!("arn:aws:ecs:us-west-2:1:task-definition/web:{revision}")
}

pub fn deployment((id, revision): (&str, u32), status: &str, rollout: &str, failed: i64) -> Value {
    json!({
        "id": id, "status": status, "rolloutState": rollout, "taskDefinition": arn(revision),
        "desiredCount": 1, "runningCount": 1, "pendingCount": 0, "failedTasks": failed,
    })
}

pub fn service(record: &str, deployments: &[Value]) -> Value {
    json!({
        "serviceName": "web", "clusterArn": "default", "status": "ACTIVE", "desiredCount": 1, "runningCount": 1,
        "pendingCount": 0, "deployments": deployments, "events": [], "currentServiceDeployment": record,
    })
}

pub fn placed() -> Placed {
    let previous = Previous { task_definition: arn(1), deployment_id: OLD.0.into() };
    Placed {
        action: Action::Updated,
        rolls: true,
        cluster: "default".into(),
        service_name: "web".into(),
        deployment_id: NEW.0.into(),
        service_deployment: None,
        task_definition: arn(2),
        previous: Some(previous.clone()),
        before: vec![previous],
        service_deployment_before: Some("sd/1".into()),
        service: Value::Null,
        seen_events: Default::default(),
    }
}

/// A server whose service is what `look` says at this look; the deployment started one task of its revision.
pub async fn server(
    look: impl Fn(usize) -> Result<Value, Reply> + Send + Sync + 'static,
    more: impl Fn(&str, &Value) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    let looks = AtomicUsize::new(0);
    Server::start(move |request, _| {
        if let Some(reply) = more(&request.operation, &request.json()) {
            return reply;
        }
        match request.operation.as_str() {
            "DescribeServices" => match look(looks.fetch_add(1, Ordering::SeqCst)) {
                Ok(service) => Reply::Json(json!({ "services": [service] })),
                Err(reply) => reply,
            },
            "ListTasks" => {
                let running = request.json()["desiredStatus"] == "RUNNING";
                Reply::Json(json!({ "taskArns": if running { vec!["task/1", "task/2"] } else { vec![] } }))
            }
            "DescribeTasks" => {
                let task = |by: (&str, u32)| {
                    json!({
                        "taskArn": format!("task/{}", by.1), "startedBy": by.0, "taskDefinitionArn": arn(by.1),
                        "lastStatus": "RUNNING", "desiredStatus": "RUNNING", "containers": [],
                    })
                };
                Reply::Json(json!({ "tasks": [task(OLD), task(NEW)] }))
            }
            "DescribeServiceDeployments" => {
                let arn = request.json()["serviceDeploymentArns"][0].clone();
                // The record from before ours ended well: it says nothing of ours.
                let status = if arn == "sd/1" { "SUCCESSFUL" } else { "IN_PROGRESS" };
                Reply::Json(json!({ "serviceDeployments": [{ "serviceDeploymentArn": arn, "status": status }] }))
            }
            _ => Reply::Error(400, "UnknownOperationException", "no such operation"),
        }
    })
    .await
}

/// The end, and the warnings on the way.
pub async fn followed(server: &Server, timeout: Duration) -> (Result<Steady, Error>, Vec<String>) {
    let (events, mut receiver) = Events::channel();
    let rollout = RolloutPlan { timeout, ..RolloutPlan::default() };
    let clients = server.clients().await;
    let end = follow_or_roll_back(&rollout, &placed(), None, &clients, &events).await;
    let mut warnings = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        if let Event::Warning { message, .. } = event {
            warnings.push(message);
        }
    }
    (end, warnings)
}

#[tokio::test]
async fn reads_that_lag_behind_are_no_news() {
    let looks = |look: usize| {
        Ok(match look {
            // As it was before the update.
            0..3 => service("sd/1", &[deployment(OLD, "PRIMARY", "COMPLETED", 0)]),
            // The old record beside the new deployment.
            3..6 => service("sd/1", &[deployment(NEW, "PRIMARY", "IN_PROGRESS", 0)]),
            6 => service("sd/2", &[deployment(("ecs-svc/3", 3), "PRIMARY", "IN_PROGRESS", 0)]),
            7..9 => service("sd/2", &[deployment(NEW, "PRIMARY", "COMPLETED", 0)]),
            _ => service("sd/2", &[deployment(NEW, "PRIMARY", "COMPLETED", 0)]),
        })
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let server = server(looks, move |operation, input| {
        if operation != "DescribeServiceDeployments" {
            return None;
        }
        assert_ne!(input["serviceDeploymentArns"][0], "sd/1", "the record from before is never asked about");
        // It ends two looks after the deployment says so.
        let status = if counter.fetch_add(1, Ordering::SeqCst) < 2 { "IN_PROGRESS" } else { "SUCCESSFUL" };
        Some(Reply::Json(json!({ "serviceDeployments": [{ "serviceDeploymentArn": "sd/2", "status": status }] })))
    })
    .await;
    let (end, warnings) = followed(&server, Duration::from_secs(20)).await;
    let steady = end.expect("steady");
    assert_eq!((steady.deployment_id.as_str(), steady.service_deployment.as_deref()), (NEW.0, Some("sd/2")));
    assert_eq!((asked.load(Ordering::SeqCst), warnings), (3, Vec::new()));
}

#[tokio::test]
async fn two_looks_make_it_superseded() {
    let third = || service("sd/3", &[deployment(("ecs-svc/3", 3), "PRIMARY", "IN_PROGRESS", 0)]);
    let server = server(move |_| Ok(third()), |_, _| None).await;
    let (end, _) = followed(&server, Duration::from_secs(20)).await;
    let error = end.expect_err("superseded");
    assert_eq!(error.kind(), Kind::Superseded, "{error:?}");
    assert!(error.to_string().contains("ecs-svc/3 of web:3"), "{error}");
    assert_eq!(server.count("DescribeServices"), 2);
    assert_eq!(server.count("UpdateService") + server.count("StopServiceDeployment"), 0, "the winner is left alone");
}

/// The record is read after somebody's update, and the service before it.
#[tokio::test]
async fn a_stop_for_another_deployment_is_no_failure() {
    let looks = |look: usize| {
        Ok(match look {
            0..2 => service("sd/2", &[deployment(NEW, "PRIMARY", "IN_PROGRESS", 0)]),
            _ => service("sd/3", &[deployment(("ecs-svc/3", 3), "PRIMARY", "IN_PROGRESS", 0)]),
        })
    };
    let asked = AtomicUsize::new(0);
    let server = server(looks, move |operation, _| {
        let status = if asked.load(Ordering::SeqCst) == 0 { "IN_PROGRESS" } else { "STOPPED" };
        (operation == "DescribeServiceDeployments").then(|| {
            asked.fetch_add(1, Ordering::SeqCst);
            Reply::Json(json!({ "serviceDeployments": [{ "serviceDeploymentArn": "sd/2", "status": status }] }))
        })
    })
    .await;
    let (end, _) = followed(&server, Duration::from_secs(20)).await;
    let error = end.expect_err("superseded");
    assert_eq!(error.kind(), Kind::Superseded, "{error:?}");
    assert_eq!(server.count("UpdateService") + server.count("StopServiceDeployment"), 0);
}

/// Enough tasks have failed for us and for ECS: it begins to roll back while we ask for it.
#[tokio::test]
async fn a_rollback_that_ecs_began_first_is_followed() {
    let looks = |look: usize| {
        let mut back = deployment(OLD, "PRIMARY", if look < 5 { "IN_PROGRESS" } else { "COMPLETED" }, 0);
        back["rolloutStateReason"] = "ECS deployment ecs-svc/1 completed.".into();
        Ok(match look {
            0..2 => service(
                "sd/2",
                &[deployment(NEW, "PRIMARY", "IN_PROGRESS", 3), deployment(OLD, "ACTIVE", "COMPLETED", 0)],
            ),
            _ => service("sd/2", &[back]),
        })
    };
    let server = server(looks, |operation, _| {
        let refused = "The service deployment is not in a state that can be stopped.";
        (operation == "StopServiceDeployment").then_some(Reply::Error(400, "ConflictException", refused))
    })
    .await;
    let (end, _) = followed(&server, Duration::from_secs(20)).await;
    let error = end.expect_err("rolled back");
    assert_eq!(error.kind(), Kind::RolledBack, "{error:?}");
    assert!(
        error.to_string().contains("3 tasks of this deployment failed; the previous release web:1 is back"),
        "{error}"
    );
    assert_eq!(server.count("UpdateService"), 0, "ECS does it");
}

fn refused_to_stop(operation: &str) -> Option<Reply> {
    let refused = "The service deployment is not in a state that can be stopped.";
    (operation == "StopServiceDeployment").then_some(Reply::Error(400, "ConflictException", refused))
}

/// ECS finishes while we give up: what it has done is what was wanted.
#[tokio::test]
async fn a_deployment_that_gets_steady_as_the_deadline_passes_is_steady_with_a_warning() {
    for (failed, timeout, said) in [
        (0, Duration::from_secs(1), "web:2 is steady, but later than --timeout 1s"),
        (3, Duration::from_secs(60), "web:2 is steady after all, though 3 tasks of this deployment failed"),
    ] {
        let finished = Arc::new(AtomicUsize::new(0));
        let (seen, told) = (finished.clone(), finished.clone());
        let looks = move |_| {
            let rollout = if seen.load(Ordering::SeqCst) == 0 { "IN_PROGRESS" } else { "COMPLETED" };
            Ok(service("sd/2", &[deployment(NEW, "PRIMARY", rollout, failed)]))
        };
        let server = server(looks, move |operation, _| {
            if operation == "StopServiceDeployment" {
                finished.store(1, Ordering::SeqCst);
            }
            let status = if told.load(Ordering::SeqCst) == 0 { "IN_PROGRESS" } else { "SUCCESSFUL" };
            let record = json!({ "serviceDeploymentArn": "sd/2", "status": status });
            match operation {
                "DescribeServiceDeployments" => Some(Reply::Json(json!({ "serviceDeployments": [record] }))),
                _ => refused_to_stop(operation),
            }
        })
        .await;
        let started = Instant::now();
        let (end, warnings) = followed(&server, timeout).await;
        assert_eq!(end.expect("steady").deployment_id, NEW.0);
        assert!(warnings.iter().any(|warning| warning == said), "{warnings:?}");
        assert_eq!(server.count("UpdateService"), 0);
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    }
}

/// Nothing more can be waited for, whether ECS agreed to stop or not.
#[tokio::test]
async fn a_service_that_is_deleted_as_we_roll_back_ends_the_waiting() {
    for agreed in [false, true] {
        let server = server(
            move |look| match look {
                0..2 => Ok(service("sd/2", &[deployment(NEW, "PRIMARY", "IN_PROGRESS", 3)])),
                _ => Err(Reply::Json(json!({ "services": [] }))),
            },
            move |operation, _| match operation {
                "UpdateService" => Some(Reply::Error(400, "ServiceNotFoundException", "Service not found.")),
                "StopServiceDeployment" if agreed => Some(Reply::Json(json!({ "serviceDeploymentArn": "sd/2" }))),
                _ => refused_to_stop(operation),
            },
        )
        .await;
        let started = Instant::now();
        let (end, _) = followed(&server, Duration::from_secs(60)).await;
        let error = end.expect_err("gone");
        assert_eq!(error.kind(), Kind::RolloutFailed, "{error:?}");
        assert!(error.to_string().contains("ServiceNotFoundException"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    }
}

/// While a rollback that ECS agreed to does not show yet, a completed deployment is not taken for steady.
#[tokio::test]
async fn a_rollback_that_shows_late_is_followed_to_its_end() {
    let stopped = Arc::new(AtomicUsize::new(0));
    let asked = stopped.clone();
    let looks = move |_| {
        let mut back = deployment(OLD, "PRIMARY", "COMPLETED", 0);
        back["rolloutStateReason"] = "ECS deployment circuit breaker: rolling back to ecs-svc/1.".into();
        Ok(match asked.fetch_add(usize::from(asked.load(Ordering::SeqCst) > 0), Ordering::SeqCst) {
            0 => service("sd/2", &[deployment(NEW, "PRIMARY", "IN_PROGRESS", 3)]),
            1..4 => service("sd/2", &[deployment(NEW, "PRIMARY", "COMPLETED", 3)]),
            _ => service("sd/2", &[back]),
        })
    };
    let server = server(looks, move |operation, _| {
        let status = if stopped.load(Ordering::SeqCst) == 0 { "IN_PROGRESS" } else { "ROLLBACK_REQUESTED" };
        let record = json!({ "serviceDeploymentArn": "sd/2", "status": status });
        match operation {
            "StopServiceDeployment" => {
                stopped.store(1, Ordering::SeqCst);
                Some(Reply::Json(json!({ "serviceDeploymentArn": "sd/2" })))
            }
            "DescribeServiceDeployments" => {
                let over = stopped.load(Ordering::SeqCst) > 4;
                let done = json!({ "serviceDeploymentArn": "sd/2", "status": "ROLLBACK_SUCCESSFUL" });
                Some(Reply::Json(json!({ "serviceDeployments": [if over { done } else { record }] })))
            }
            _ => None,
        }
    })
    .await;
    let (end, _) = followed(&server, Duration::from_secs(30)).await;
    assert_eq!(end.expect_err("rolled back").kind(), Kind::RolledBack);
}
