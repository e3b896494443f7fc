//! What a rollback sends: the release with the settings that it ran with.

use std::time::Duration;

use serde_json::{Value, json};
use steadystate::config::RolloutPlan;
use steadystate::deploy::event::{Event, Events};
use steadystate::deploy::rollback;

use crate::aws::server::{Reply, Server};

fn arn(revision: i64) -> String {
    format!("arn:aws:ecs:us-west-2:1:task-definition/web:{revision}")
}

fn with(mut value: Value, members: &Value) -> Value {
    for (member, setting) in members.as_object().unwrap() {
        value[member] = setting.clone();
    }
    value
}

/// A service that runs web:2 after web:1 with these settings; updates are refused, so that it ends there.
async fn server(live: Value, on_deployment: Value, then: Value, history: Option<Reply>) -> Server {
    let history = std::sync::Mutex::new(history);
    Server::start(move |request, _| {
        let primary = json!({
            "id": "ecs-svc/2", "status": "PRIMARY", "rolloutState": "COMPLETED", "taskDefinition": arn(2),
            "desiredCount": 1, "runningCount": 1, "pendingCount": 0, "failedTasks": 0,
        });
        let service = json!({
            "serviceName": "web", "clusterArn": "default", "status": "ACTIVE", "desiredCount": 1, "runningCount": 1,
            "pendingCount": 0, "deployments": [with(primary, &on_deployment)], "events": [],
        });
        Reply::Json(match request.operation.as_str() {
            "DescribeServices" => json!({ "services": [with(service, &live)] }),
            "ListServiceDeployments" => match history.lock().unwrap().take() {
                Some(refused) => return refused,
                None => json!({ "serviceDeployments": [
                    { "serviceDeploymentArn": "sd/1", "targetServiceRevisionArn": "sr/1", "status": "SUCCESSFUL", "createdAt": 1 },
                    { "serviceDeploymentArn": "sd/2", "targetServiceRevisionArn": "sr/2", "status": "SUCCESSFUL", "createdAt": 2 },
                ] }),
            },
            "DescribeServiceDeployments" => {
                let one = json!({ "serviceDeploymentArn": "sd/1", "deploymentConfiguration": then["configuration"] });
                json!({ "serviceDeployments": [one] })
            }
            "DescribeServiceRevisions" => {
                let one = |n: i64| json!({ "serviceRevisionArn": format!("sr/{n}"), "taskDefinition": arn(n) });
                json!({ "serviceRevisions": [with(one(1), &then), one(2)] })
            }
            "ListTaskDefinitions" => json!({ "taskDefinitionArns": [arn(2), arn(1)] }),
            "DescribeTaskDefinition" => {
                let asked = request.json()["taskDefinition"].as_str().unwrap().to_owned();
                let revision = if asked.ends_with(":1") { 1 } else { 2 };
                let tags = json!([{ "key": "steady:release", "value": "r" }]);
                json!({ "taskDefinition": { "taskDefinitionArn": arn(revision), "status": "ACTIVE" }, "tags": tags })
            }
            "UpdateService" => return Reply::Error(400, "InvalidParameterException", "the end of the test"),
            _ => return Reply::Error(400, "UnknownOperationException", "no such operation"),
        })
    })
    .await
}

/// UpdateService's input, and the warnings with their hints.
async fn sent(server: &Server, to: Option<&str>) -> (Value, Vec<String>) {
    let (events, mut receiver) = Events::channel();
    let rollout = RolloutPlan { timeout: Duration::from_secs(20), ..RolloutPlan::default() };
    let error = rollback("default", "web", to, &rollout, &server.clients().await, &events).await.unwrap_err();
    assert!(error.to_string().contains("the end of the test"), "{error:?}");
    let input = server.requests().iter().find(|request| request.operation == "UpdateService").unwrap().json();
    let mut warnings = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        if let Event::Warning { message, hint } = event {
            warnings.push(format!("{message} | {}", hint.unwrap_or_default()));
        }
    }
    (input, warnings)
}

#[tokio::test]
async fn all_settings_of_the_release_come_back_and_those_that_are_so_are_not_sent() {
    let volume = json!([{ "name": "data", "managedEBSVolume": { "roleArn": "r", "sizeInGiB": 8 } }]);
    let lattice = json!([{ "roleArn": "r", "targetGroupArn": "tg", "portName": "web" }]);
    let connect = json!({ "enabled": true, "namespace": "shop" });
    let balancer = json!([{ "targetGroupArn": "tg", "containerName": "web", "containerPort": 80 }]);
    let spot = json!([{ "capacityProvider": "FARGATE_SPOT", "weight": 1 }]);
    let none = json!({});
    for (row, live, on_deployment, then, expected) in [
        ("nothing differs", &none, &none, &none, &none),
        (
            "volumes then",
            &none,
            &none,
            &json!({ "volumeConfigurations": volume }),
            &json!({ "volumeConfigurations": volume }),
        ),
        (
            "volumes now",
            &none,
            &json!({ "volumeConfigurations": volume }),
            &none,
            &json!({ "volumeConfigurations": [] }),
        ),
        (
            "the same volumes",
            &none,
            &json!({ "volumeConfigurations": volume }),
            &json!({ "volumeConfigurations": volume }),
            &none,
        ),
        (
            "lattice then",
            &none,
            &none,
            &json!({ "vpcLatticeConfigurations": lattice }),
            &json!({ "vpcLatticeConfigurations": lattice }),
        ),
        (
            "lattice now",
            &none,
            &json!({ "vpcLatticeConfigurations": lattice }),
            &none,
            &json!({ "vpcLatticeConfigurations": [] }),
        ),
        (
            "connect then",
            &none,
            &none,
            &json!({ "serviceConnectConfiguration": connect }),
            &json!({ "serviceConnectConfiguration": connect }),
        ),
        (
            "connect now",
            &none,
            &json!({ "serviceConnectConfiguration": connect }),
            &none,
            &json!({ "serviceConnectConfiguration": { "enabled": false } }),
        ),
        ("connect off", &none, &json!({ "serviceConnectConfiguration": { "enabled": false } }), &none, &none),
        (
            "an older platform then",
            &json!({ "platformVersion": "LATEST" }),
            &json!({ "platformVersion": "1.4.0" }),
            &json!({ "platformVersion": "1.3.0" }),
            &json!({ "platformVersion": "1.3.0" }),
        ),
        (
            "what is the latest platform",
            &json!({ "platformVersion": "LATEST" }),
            &json!({ "platformVersion": "1.4.0" }),
            &json!({ "platformVersion": "1.4.0" }),
            &none,
        ),
        (
            "a capacity provider strategy then",
            &json!({ "launchType": "FARGATE" }),
            &none,
            &json!({ "capacityProviderStrategy": spot }),
            &json!({ "capacityProviderStrategy": spot, "forceNewDeployment": true }),
        ),
        (
            "a capacity provider strategy now",
            &json!({ "capacityProviderStrategy": spot }),
            &json!({ "capacityProviderStrategy": spot }),
            &json!({ "launchType": "FARGATE" }),
            &json!({ "capacityProviderStrategy": [], "forceNewDeployment": true }),
        ),
        (
            "the same capacity provider strategy",
            &json!({ "capacityProviderStrategy": [{ "capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0 }] }),
            &none,
            &json!({ "capacityProviderStrategy": spot }),
            &none,
        ),
        ("the same launch type", &json!({ "launchType": "EC2" }), &none, &json!({ "launchType": "EC2" }), &none),
        (
            "another deployment configuration",
            &json!({ "deploymentConfiguration": {
                "minimumHealthyPercent": 0, "maximumPercent": 100, "alarms": { "enable": true, "alarmNames": ["a"] },
            } }),
            &none,
            &json!({ "configuration": { "minimumHealthyPercent": 100, "maximumPercent": 200 } }),
            &json!({ "deploymentConfiguration": {
                "minimumHealthyPercent": 100, "maximumPercent": 200,
                "alarms": { "alarmNames": [], "enable": false, "rollback": false },
            } }),
        ),
        (
            "the same deployment configuration",
            &json!({ "deploymentConfiguration": { "minimumHealthyPercent": 100, "maximumPercent": 200 } }),
            &none,
            &json!({ "configuration": { "minimumHealthyPercent": 100, "maximumPercent": 200 } }),
            &none,
        ),
        ("a load balancer now", &json!({ "loadBalancers": balancer }), &none, &none, &json!({ "loadBalancers": [] })),
    ] {
        let server = server(live.clone(), on_deployment.clone(), then.clone(), None).await;
        let (input, warnings) = sent(&server, None).await;
        let base = json!({ "cluster": "default", "service": "web", "taskDefinition": arn(1) });
        assert_eq!(input, with(base, expected), "{row}");
        assert_eq!(warnings, Vec::<String>::new(), "{row}");
    }
}

#[tokio::test]
async fn a_history_that_may_not_be_read_is_a_warning_and_tags_tell() {
    for to in [None, Some("1")] {
        let denied =
            Reply::Error(400, "AccessDeniedException", "not authorized to perform: ecs:ListServiceDeployments");
        let server = server(json!({}), json!({}), json!({}), Some(denied)).await;
        let (input, warnings) = sent(&server, to).await;
        assert_eq!(input["taskDefinition"], arn(1), "{to:?}");
        let named = warnings.iter().any(|warning| warning.contains("`ecs:ListServiceDeployments`"));
        // Of what tags tell, nobody knows whether it was good.
        let guessed = warnings.iter().any(|warning| warning.contains("whether it was good is not known"));
        assert!(named && guessed == to.is_none() && warnings.len() == 1 + usize::from(guessed), "{warnings:?}");
    }
}
