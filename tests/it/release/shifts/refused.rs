//! What is refused before anything is built, and what reaches ECS as the document says it.

use serde_json::{Value, json};

use crate::rehearsal::Rehearsal;
use crate::scenario::recorder::{Recorder, only};

fn project(lab: &Rehearsal, service: &Value, more: &str) {
    lab.write(
        "steady.yaml",
        &format!(
            "services:\n  web:\n    image: {{ repository: web, create: true, build: {{ run: touch built, layers: [{{ from: page, to: /page }}] }} }}\n    \
             task_definition: task.json\n    service: service.json\n{more}"
        ),
    );
    lab.write("page", "hello");
    let container = json!({ "name": "web", "memory": 32, "portMappings": [{ "containerPort": 80 }] });
    lab.write("task.json", &json!({ "containerDefinitions": [container] }).to_string());
    lab.write("service.json", &service.to_string());
}

/// A service that CodeDeploy or somebody else deploys.
fn controlled(by: &'static str) -> impl Fn(&str, &mut Value) + Send + Sync {
    move |operation, reply| {
        if operation == "DescribeServices" {
            *reply = json!({ "failures": [], "services": [{
                "serviceName": "web", "status": "ACTIVE", "deploymentController": { "type": by }, "desiredCount": 1,
                "runningCount": 1, "pendingCount": 0, "deployments": [], "events": [], "loadBalancers": [],
                "taskSets": [{ "id": "ecs-svc/1", "status": "PRIMARY" }],
            }] });
        }
    }
}

#[test]
fn services_of_other_deployment_controllers_are_refused_before_anything_is_built() {
    let lab = Rehearsal::start();
    project(&lab, &json!({}), "");
    for (by, hint) in [
        ("CODE_DEPLOY", "`strategy: BLUE_GREEN` below `rollout:`"),
        ("EXTERNAL", "its task sets are another tool's"),
        ("SOMETHING_NEW", "steady deploys services with the deployment controller ECS"),
    ] {
        let recorder = Recorder::rewriting(&lab.host, controlled(by));
        for command in ["deploy", "deploy --dry-run", "wait", "rollback", "continue"] {
            let run = recorder.steady(&lab, command);
            let error = run.json(3)["error"].clone();
            let said = format!("the service's deployments are controlled by {by}, not by ECS");
            assert_eq!(error["message"], said, "{command}: {error}");
            assert!(error["hints"].to_string().contains(hint), "{command}: {error}");
        }
        let changes = ["Create", "Update", "Register", "Put", "Stop", "Continue"];
        let calls = recorder.taken();
        assert!(!calls.iter().any(|(name, _)| changes.iter().any(|verb| name.starts_with(verb))), "{calls:?}");
    }
    // And one that is yet to be made.
    project(&lab, &json!({ "deploymentController": { "type": "CODE_DEPLOY" } }), "");
    let refused = lab.lab("deploy").json(3);
    assert!(refused["error"]["message"].as_str().unwrap().contains("controlled by CODE_DEPLOY"), "{refused}");
    assert!(!lab.path("built").exists(), "nothing was built");
}

#[test]
fn a_strategy_without_its_load_balancer_is_refused_before_anything_is_built() {
    let lab = Rehearsal::start();
    project(&lab, &json!({}), "    rollout: { strategy: CANARY }\n");
    let refused = lab.lab("deploy").json(3);
    assert_eq!(refused["error"]["message"], "the strategy CANARY needs a load balancer whose traffic it shifts");
    let balancer =
        "    load_balancer: { type: network, listener: { port: 8080 } }\n    rollout: { strategy: BLUE_GREEN }\n";
    project(&lab, &json!({}), balancer);
    let refused = lab.lab("deploy").json(3);
    assert!(refused["error"]["hints"][0].as_str().unwrap().contains("`advanced_configuration: { role:"), "{refused}");
    // Two places that say different things: the project file's is shown.
    project(&lab, &json!({ "deploymentConfiguration": { "strategy": "ROLLING" } }), balancer);
    let refused = lab.lab("deploy").json(2);
    assert_eq!((&refused["error"]["file"], &refused["error"]["line"]), (&json!("steady.yaml"), &json!(7)));
    assert!(
        refused["error"]["message"].as_str().unwrap().contains("`deploymentConfiguration.strategy` says otherwise")
    );
    assert!(!lab.path("built").exists(), "nothing was built");
}

/// All that ECS has of it, and a member that no shape knows yet.
#[test]
fn what_a_service_document_says_of_its_deployments_reaches_ecs_as_it_is() {
    let lab = Rehearsal::start();
    let arn = |what: &str| format!("arn:aws:elasticloadbalancing:us-east-1:123456789012:{what}");
    let document = json!({
        "desiredCount": 3,
        "loadBalancers": [{
            "targetGroupArn": "targetgroup/blue/73e2d6bc24d8a067", "containerName": "web", "containerPort": 80,
            "advancedConfiguration": {
                "alternateTargetGroupArn": "targetgroup/green/09966783158cda59",
                "productionListenerRule": arn("listener-rule/app/web/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee"),
                "testListenerRule": arn("listener-rule/app/web/50dc6c495c0c9188/0467ef3c8400ae65/a1b2c3d4e5f6a7b8"),
                "roleArn": "arn:aws:iam::123456789012:role/ecsInfrastructureRoleForLoadBalancers",
            },
        }],
        "deploymentConfiguration": {
            "strategy": "LINEAR", "bakeTimeInMinutes": 5, "maximumPercent": 150, "minimumHealthyPercent": 100,
            "linearConfiguration": { "stepPercent": 12.5, "stepBakeTimeInMinutes": 0 },
            "alarms": { "alarmNames": ["web-5xx"], "enable": true, "rollback": true },
            "deploymentCircuitBreaker": {
                "enable": true, "rollback": true, "resetOnHealthyTask": true,
                "thresholdConfiguration": { "type": "UNBOUNDED_PERCENT", "value": 10 },
            },
            "lifecycleHooks": [
                {
                    "hookTargetArn": "arn:aws:lambda:us-east-1:123456789012:function:check",
                    "roleArn": "arn:aws:iam::123456789012:role/hooks", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
                    "hookDetails": { "url": "https://green.example.com", "tries": 3 },
                },
                {
                    "targetType": "PAUSE", "lifecycleStages": ["PRE_PRODUCTION_TRAFFIC_SHIFT"],
                    "timeoutConfiguration": { "timeoutInMinutes": 30, "action": "CONTINUE" },
                },
            ],
            "newerThanThisSteady": { "kept": [1, "", {}] },
        },
    });
    project(&lab, &document, "    allow_unknown_fields: true\n");
    let recorder = Recorder::start(&lab.host);
    // These are no target groups, which only ECS says; what counts is what it was asked.
    recorder.steady(&lab, "deploy").json(2);
    let calls = recorder.taken();
    let sent = only(&calls, "CreateService");
    for (member, value) in document.as_object().unwrap() {
        assert_eq!(&sent[member], value, "{member}");
    }
    assert_eq!(
        sent["deploymentConfiguration"].to_string(),
        document["deploymentConfiguration"].to_string(),
        "to the order of its members"
    );
}
