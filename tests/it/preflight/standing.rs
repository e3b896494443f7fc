//! The service as it is, and whether a deployment can begin.

use serde_json::{Value, json};
use steadystate::aws::Failure;
use steadystate::aws::failure::Reach;
use steadystate::deploy::preflight::Purpose;
use steadystate::deploy::preflight::checked::{Checked, State};
use steadystate::deploy::preflight::standing::check;
use steadystate::error::Kind;

fn live(status: &str, controller: &str, rollout: &str) -> Value {
    let revision = "arn:aws:ecs:us-east-1:111122223333:task-definition/web:3";
    let primary =
        json!({ "id": "ecs-svc/3", "status": "PRIMARY", "rolloutState": rollout, "taskDefinition": revision });
    json!({
        "serviceName": "web", "status": status, "deploymentController": { "type": controller }, "desiredCount": 1,
        "runningCount": 1, "taskDefinition": revision, "deployments": [primary], "schedulingStrategy": "REPLICA",
    })
}

#[test]
fn another_deployment_is_said_and_another_controller_is_found() {
    let wanted = json!({ "serviceName": "web", "cluster": "default", "taskDefinition": "web:new" });
    let look = |live: Option<&Value>| check("web", live, &wanted, 3, Purpose::Deploy);
    for (of, state, said) in [
        (None, State::Ok, ""),
        (Some(live("ACTIVE", "ECS", "COMPLETED")), State::Ok, ""),
        (Some(live("ACTIVE", "ECS", "FAILED")), State::Ok, ""),
        (Some(live("INACTIVE", "ECS", "COMPLETED")), State::Ok, ""),
        (
            Some(live("ACTIVE", "ECS", "IN_PROGRESS")),
            State::Warning,
            "another deployment is in progress: ecs-svc/3 of web:3",
        ),
        (Some(live("DRAINING", "ECS", "COMPLETED")), State::Warning, "still draining"),
        (Some(live("ACTIVE", "CODE_DEPLOY", "COMPLETED")), State::Finding, "CODE_DEPLOY"),
        (Some(live("ACTIVE", "SOMETHING_NEW", "COMPLETED")), State::Finding, "SOMETHING_NEW"),
    ] {
        let checked = look(of.as_ref());
        assert_eq!(checked.state(), state, "{of:?}: {checked:?}");
        let findings = checked.findings.iter().map(ToString::to_string);
        let told: Vec<String> = findings.chain(checked.warnings.iter().map(|of| of.message.clone())).collect();
        assert!(told.iter().all(|one| one.contains(said)) && told.is_empty() == said.is_empty(), "{told:?}");
        assert!(checked.findings.iter().all(|error| error.kind() == Kind::Preflight && !error.hints().is_empty()));
    }
    assert_eq!(look(Some(&live("ACTIVE", "ECS", "COMPLETED"))).detail, "web runs web:3");
    assert_eq!(look(None).detail, "web is to be created");
}

#[test]
fn what_cannot_be_read_is_a_warning_once_and_nothing_where_nobody_knows_the_question() {
    let failure = |code: &str, status: u16| Failure {
        service: "IAM",
        operation: "GetRole",
        code: Some(code.to_owned()),
        message: "no".to_owned(),
        status: Some(status),
        reach: Reach::Refused,
    };
    let mut checked = Checked::new("roles");
    checked.unread("the role `web`", &failure("InvalidAction", 400));
    assert_eq!(checked.state(), State::None);
    for _ in 0..2 {
        checked.unread("the role `web`", &failure("AccessDenied", 403));
    }
    assert_eq!(checked.state(), State::Warning);
    assert_eq!(checked.warnings.len(), 1);
    assert_eq!(checked.warnings[0].action.as_deref(), Some("iam:GetRole"));
    checked.unread("the role `web`", &failure("ServiceFailure", 500));
    assert_eq!(checked.warnings[1].action, None);
    assert!(checked.warnings[1].message.contains("ServiceFailure"), "{:?}", checked.warnings[1]);
}
