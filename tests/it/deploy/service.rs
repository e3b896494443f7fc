//! Placing the service: one call, and what a lost reply leads to.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use steadystate::aws::Clients;
use steadystate::deploy::event::{Event, Events};
use steadystate::deploy::register::Registered;
use steadystate::deploy::render::Rendered;
use steadystate::deploy::service::{Action, Placed, Surroundings, place};
use steadystate::error::Result;

use super::render::plan;
use crate::aws::server::{Reply, Server};

/// One service that rolls as ECS's does, as far as these tests look.
#[derive(Default)]
pub struct Ecs {
    service: Mutex<Option<Value>>,
}

impl Ecs {
    pub fn with(task_definition: &str, rollout: &str) -> Arc<Ecs> {
        let ecs = Ecs::default();
        *ecs.service.lock().expect("lock") = Some(service(1, task_definition, rollout));
        Arc::new(ecs)
    }

    pub fn describe(&self) -> Reply {
        let services: Vec<Value> = self.service.lock().expect("lock").clone().into_iter().collect();
        Reply::Json(json!({ "services": services, "failures": [] }))
    }

    pub fn change(&self, input: &Value) -> Value {
        let mut service_lock = self.service.lock().expect("lock");
        let number = service_lock.as_ref().map_or(1, |_| 2);
        let mut new = service(number, input["taskDefinition"].as_str().unwrap_or_default(), "IN_PROGRESS");
        if let Some(old) = service_lock.as_ref() {
            let mut former = old["deployments"][0].clone();
            former["status"] = "ACTIVE".into();
            new["deployments"].as_array_mut().expect("list").push(former);
        }
        *service_lock = Some(new.clone());
        new
    }
}

fn service(number: i64, task_definition: &str, rollout: &str) -> Value {
    json!({
        "serviceName": "web", "status": "ACTIVE", "desiredCount": 1, "runningCount": 1, "taskDefinition": task_definition,
        "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": true, "rollback": true } },
        "deployments": [{ "id": format!("ecs-svc/{number}"), "status": "PRIMARY", "taskDefinition": task_definition, "rolloutState": rollout }],
        "events": [{ "id": "e1", "message": "old" }],
        "currentServiceDeployment": format!("arn:sd/{number}"),
    })
}

pub async fn server(ecs: &Arc<Ecs>, mishap: fn(usize) -> Option<(bool, Reply)>) -> Server {
    let ecs = ecs.clone();
    Server::start(move |request, before| match request.operation.as_str() {
        "DescribeServices" => ecs.describe(),
        "CreateService" | "UpdateService" => match mishap(before) {
            Some((committed, reply)) => {
                if committed {
                    ecs.change(&request.json());
                }
                reply
            }
            None => Reply::Json(json!({ "service": ecs.change(&request.json()) })),
        },
        _ => Reply::Error(400, "UnknownOperationException", "no such operation"),
    })
    .await
}

pub async fn placed(clients: &Clients, task_definition: &str) -> Result<Placed> {
    placed_as(json!({ "enableExecuteCommand": false }), clients, task_definition).await
}

async fn placed_as(document: Value, clients: &Clients, task_definition: &str) -> Result<Placed> {
    place_with(document, clients, task_definition, &Events::channel().0).await
}

pub async fn place_with(document: Value, clients: &Clients, task_definition: &str, events: &Events) -> Result<Placed> {
    let definition = json!({ "family": "web", "containerDefinitions": [{ "name": "web", "image": "x" }] });
    let rendered = Rendered { task_definition: definition.clone(), service: document };
    let registered = Registered {
        arn: task_definition.into(),
        family: "web".into(),
        revision: 2,
        reused: false,
        task_definition: definition,
    };
    place(&plan(), &rendered, &registered, &Surroundings::default(), clients, events).await
}

#[tokio::test]
async fn create_update_and_nothing() {
    let ecs = Arc::new(Ecs::default());
    let server = server(&ecs, |_| None).await;
    let clients = server.clients().await;
    let created = placed(&clients, "arn:web:1").await.expect("created");
    assert_eq!((created.action, created.deployment_id.as_str()), (Action::Created, "ecs-svc/1"));
    let input = server.requests()[1].json();
    assert_eq!(input["serviceName"], "web");
    assert_eq!(
        input["deploymentConfiguration"]["deploymentCircuitBreaker"],
        json!({ "enable": true, "rollback": true })
    );
    assert!(input["clientToken"].as_str().is_some_and(|token| token.len() == 32));

    let adopted = placed(&clients, "arn:web:1").await.expect("adopted");
    assert_eq!(adopted.action, Action::Adopted, "an earlier run's deployment is followed");
    assert!(adopted.seen_events.is_empty());

    *ecs.service.lock().expect("lock") = Some(service(1, "arn:web:1", "COMPLETED"));
    let same = placed(&clients, "arn:web:1").await.expect("unchanged");
    assert_eq!(same.action, Action::Unchanged);
    assert_eq!((server.count("CreateService"), server.count("UpdateService")), (1, 0));

    let updated = placed(&clients, "arn:web:2").await.expect("updated");
    assert_eq!((updated.action, updated.deployment_id.as_str()), (Action::Updated, "ecs-svc/2"));
    assert_eq!(updated.service_deployment.as_deref(), Some("arn:sd/2"));
    assert_eq!(updated.previous.expect("was good").task_definition, "arn:web:1");
    assert!(updated.seen_events.contains("e1"), "old events are not told again");
    let update =
        server.requests().into_iter().rfind(|request| request.operation == "UpdateService").expect("one").json();
    assert_eq!((update["service"].as_str(), update.get("desiredCount")), (Some("web"), None));
}

#[tokio::test]
async fn an_update_whose_reply_was_lost_is_not_made_twice() {
    let ecs = Ecs::with("arn:web:1", "COMPLETED");
    let server = server(&ecs, |before| (before == 0).then_some((true, Reply::Drop))).await;
    let placed = placed(&server.clients().await, "arn:web:2").await.expect("read back");
    assert_eq!((placed.action, placed.deployment_id.as_str()), (Action::Updated, "ecs-svc/2"));
    assert_eq!(server.count("UpdateService"), 1);
}

/// The flag that ECS demands for it is no reason to fear a second deployment.
#[tokio::test]
async fn another_capacity_provider_strategy_that_never_arrived_is_sent_again() {
    let ecs = Ecs::with("arn:web:1", "COMPLETED");
    let server = server(&ecs, |before| (before == 0).then_some((false, Reply::Drop))).await;
    let document = json!({ "capacityProviderStrategy": [{ "capacityProvider": "FARGATE_SPOT", "weight": 1 }] });
    let placed = placed_as(document, &server.clients().await, "arn:web:1").await.expect("made");
    assert_eq!(placed.deployment_id, "ecs-svc/2");
    assert_eq!(server.count("UpdateService"), 2);
}

#[tokio::test]
async fn an_update_that_never_arrived_is_made_again() {
    let ecs = Ecs::with("arn:web:1", "COMPLETED");
    let server = server(&ecs, |before| (before == 0).then_some((false, Reply::Drop))).await;
    let placed = placed(&server.clients().await, "arn:web:2").await.expect("made");
    assert_eq!(placed.deployment_id, "ecs-svc/2");
    assert_eq!(server.count("UpdateService"), 2);
}

/// It is given up after having looked once more, and then knows what it says.
#[tokio::test]
async fn the_last_attempt_is_read_back_too() {
    let attempts = async |mishap| {
        let ecs = Ecs::with("arn:web:1", "COMPLETED");
        let server = server(&ecs, mishap).await;
        let placed = placed(&server.clients().await, "arn:web:2").await;
        (placed, server.count("UpdateService"))
    };
    let ((arrived, sent), (lost, sent_in_vain)) =
        tokio::join!(attempts(|before| Some((before == 5, Reply::Drop))), attempts(|_| Some((false, Reply::Drop))));
    assert_eq!((arrived.expect("read back").deployment_id.as_str(), sent), ("ecs-svc/2", 6));
    let lost = lost.expect_err("never arrived");
    assert!(lost.hints().iter().any(|hint| hint.contains("the update was not made")), "{lost:?}");
    assert_eq!(sent_in_vain, 6);
}

#[tokio::test]
async fn a_server_error_is_read_back_and_throttling_waited_out() {
    let ecs = Ecs::with("arn:web:1", "COMPLETED");
    let server = server(&ecs, |before| match before {
        0 => Some((false, Reply::Error(400, "ThrottlingException", "Rate exceeded"))),
        1 => Some((true, Reply::Error(500, "ServerException", "oops"))),
        _ => None,
    })
    .await;
    let placed = placed(&server.clients().await, "arn:web:2").await.expect("read back");
    assert_eq!(placed.deployment_id, "ecs-svc/2");
    assert_eq!(server.count("UpdateService"), 2);
}

#[tokio::test]
async fn a_service_that_was_created_though_the_reply_was_lost_is_the_same_request() {
    let ecs = Arc::new(Ecs::default());
    let server = server(&ecs, |before| (before == 0).then_some((true, Reply::Drop))).await;
    placed(&server.clients().await, "arn:web:1").await.expect("created");
    let tokens: Vec<Value> = server
        .requests()
        .iter()
        .filter(|request| request.operation == "CreateService")
        .map(|request| request.json()["clientToken"].clone())
        .collect();
    assert!(tokens.len() == 2 && tokens[0] == tokens[1], "{tokens:?}");
}

#[tokio::test]
async fn anothers_deployment_in_progress_is_left_alone() {
    let ecs = Ecs::with("arn:web:1", "IN_PROGRESS");
    let server = server(&ecs, |_| None).await;
    let error = placed(&server.clients().await, "arn:web:2").await.expect_err("refused");
    assert_eq!(error.kind().exit_code(), 8);
    assert_eq!(server.count("UpdateService"), 0);
}

/// What ECS says of a load balancer, and in an account that is as new, in the moments after they were made.
const NOT_YET: [(&str, &str); 3] = [
    ("The target group with targetGroupArn arn:tg does not have an associated load balancer.", "the load balancer"),
    (
        "Unable to assume the service linked role. Please verify that the ECS service linked role exists.",
        "the service-linked role",
    ),
    (
        "Unable to assume role and validate the specified targetGroupArn. Please verify that the ECS service role being \
         passed has the proper permissions.",
        "what its role may do",
    ),
];

#[tokio::test]
async fn what_ecs_does_not_see_yet_is_waited_for() {
    for (refusal, what) in NOT_YET {
        for (there, operation) in [(false, "CreateService"), (true, "UpdateService")] {
            let ecs = if there { Ecs::with("arn:web:1", "COMPLETED") } else { Arc::default() };
            let answer = ecs.clone();
            let server = Server::start(move |request, before| match request.operation.as_str() {
                "DescribeServices" => answer.describe(),
                _ if before < 2 => Reply::Error(400, "InvalidParameterException", refusal),
                _ => Reply::Json(json!({ "service": answer.change(&request.json()) })),
            })
            .await;
            let (events, mut receiver) = Events::channel();
            let done = place_with(json!({}), &server.clients().await, "arn:web:2", &events).await;
            assert_eq!(done.expect("placed").task_definition, "arn:web:2", "{operation}: {refusal}");
            assert_eq!(server.count(operation), 3, "{refusal}");
            let mut said = Vec::new();
            while let Ok(event) = receiver.try_recv() {
                if let Event::Notice { message } = event {
                    said.push(message);
                }
            }
            assert!(matches!(&said[..], [once] if once.contains(what)), "{operation}: {said:?}");
        }
    }
}

#[tokio::test]
async fn a_throttled_creation_is_waited_out() {
    let ecs = Arc::new(Ecs::default());
    // Beyond what the SDK itself tries again.
    let throttled = |before| (before < 6).then_some((false, Reply::Error(400, "ThrottlingException", "Rate exceeded")));
    let server = server(&ecs, throttled).await;
    assert_eq!(placed(&server.clients().await, "arn:web:1").await.expect("created").action, Action::Created);
}

#[tokio::test]
async fn what_ecs_refuses_leaves_the_service_and_is_bad_input() {
    let ecs = Ecs::with("arn:web:1", "COMPLETED");
    let refused = |_| Some((false, Reply::Error(400, "ClientException", "TaskDefinition is inactive")));
    let server = server(&ecs, refused).await;
    let error = placed(&server.clients().await, "arn:web:2").await.expect_err("refused");
    assert_eq!(error.kind().exit_code(), 2);
    assert_eq!(server.count("UpdateService"), 1);
}
