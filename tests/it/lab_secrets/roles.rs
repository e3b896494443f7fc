//! Roles that ECS may not take, and registrations that ask for secrets in a wrong way: the lab's ECS stepped through.

use serde_json::{Value, json};

use super::iam::trust;
use crate::lab_ecs::{Sim, service};

const ROLE: &str = "arn:aws:iam::000000000000:role/task";

fn known(sim: &mut Sim, service: &str) {
    let role = json!({ "arn": ROLE, "path": "/", "trust": trust(service) });
    sim.state.iam = serde_json::from_value(json!({ "roles": { "task": role } })).unwrap();
}

fn definition(member: &str) -> Value {
    let container =
        json!({ "name": "app", "image": "good", "memory": 64, "portMappings": [{ "containerPort": 8080 }] });
    json!({ "family": "web", "containerDefinitions": [container], member: ROLE })
}

fn refusal() -> String {
    format!(
        "ECS was unable to assume the role '{ROLE}' that was provided for this task. Please verify that the role being \
         passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this \
         role."
    )
}

#[test]
fn a_role_that_the_lab_does_not_know_is_taken_as_given() {
    let mut sim = Sim::new();
    sim.call("RegisterTaskDefinition", definition("taskRoleArn"));
    sim.call("CreateService", service(1));
    sim.settle();
}

#[test]
fn a_role_that_does_not_trust_tasks_starts_none_until_it_does() {
    for member in ["taskRoleArn", "executionRoleArn"] {
        let mut sim = Sim::new();
        known(&mut sim, "ec2.amazonaws.com");
        sim.call("RegisterTaskDefinition", definition(member));
        sim.call("CreateService", service(1));
        sim.seconds(30);
        let told = format!("(service web) failed to launch a task with (error {}).", refusal());
        assert_eq!(sim.events(), [told], "{member}");
        assert!(sim.tasks("RUNNING").is_empty() && sim.tasks("STOPPED").is_empty());
        let error = sim.refused("RunTask", json!({ "taskDefinition": "web" }));
        assert_eq!((error.code.as_str(), error.message), ("ClientException", refusal()));
        known(&mut sim, "ecs-tasks.amazonaws.com");
        sim.settle();
    }
}

#[test]
fn the_roles_of_run_task_are_its_overrides() {
    let mut sim = Sim::new();
    known(&mut sim, "ec2.amazonaws.com");
    sim.register("good");
    sim.call("RunTask", json!({ "taskDefinition": "web" }));
    let error = sim.refused("RunTask", json!({ "taskDefinition": "web", "overrides": { "taskRoleArn": ROLE } }));
    assert_eq!(error.message, refusal());
}

#[test]
fn a_trust_policy_may_deny_and_name_many() {
    let statement = |effect: &str, service: Value| json!({ "Effect": effect, "Principal": { "Service": service }, "Action": "sts:AssumeRole" });
    let many = statement("Allow", json!(["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]));
    let deny = statement("Deny", json!("ecs-tasks.amazonaws.com"));
    for (statements, taken) in [(json!([many]), true), (json!([many, deny]), false), (json!([deny]), false)] {
        let mut sim = Sim::new();
        let role = json!({ "arn": ROLE, "trust": json!({ "Statement": statements }).to_string() });
        sim.state.iam = serde_json::from_value(json!({ "roles": { "task": role } })).unwrap();
        sim.call("RegisterTaskDefinition", definition("taskRoleArn"));
        assert_eq!(sim.try_call("RunTask", json!({ "taskDefinition": "web" })).is_ok(), taken, "{statements}");
    }
}

#[test]
fn secrets_that_ecs_refuses_to_register() {
    let mut sim = Sim::new();
    let arn = "arn:aws:secretsmanager:us-west-2:000000000000:secret:a-AbCdEf";
    let invalid = "The Systems Manager parameter name specified for secret S is invalid.";
    let format =
        "An invalid ARN format for the AWS Secrets Manager secret was specified. Specify a valid ARN and try again.";
    let unique = "The secret name must be unique and not shared with any new or existing environment variables set on the container, such as 'S'.";
    let table = [
        ("/a/b", "V", true, ""),
        ("name", "V", true, ""),
        ("arn:aws:ssm:us-west-2:000000000000:parameter/a/b", "V", true, ""),
        (arn, "V", true, ""),
        (&format!("{arn}:key::"), "V", true, ""),
        (&format!("{arn}:key:AWSPREVIOUS:"), "V", true, ""),
        (&format!("{arn}:key"), "V", true, format),
        ("a:key::", "V", true, invalid),
        ("a b", "V", true, invalid),
        ("arn:aws:s3:::bucket", "V", true, invalid),
        ("/a/b", "S", true, unique),
        (
            "/a/b",
            "V",
            false,
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
        ),
    ];
    for (from, variable, role, message) in table {
        let mut input = definition("executionRoleArn");
        input["containerDefinitions"][0]["secrets"] = json!([{ "name": "S", "valueFrom": from }]);
        input["containerDefinitions"][0]["environment"] = json!([{ "name": variable, "value": "" }]);
        if !role {
            input.as_object_mut().unwrap().remove("executionRoleArn");
        }
        let refused = sim.try_call("RegisterTaskDefinition", input).err();
        assert_eq!(refused.map_or_else(String::new, |error| error.message), message, "{from}");
    }
}
