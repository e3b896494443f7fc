//! Execution and task role.

use serde_json::json;
use steadystate::deploy::preflight::roles::{Role, parse, trusts_tasks};

use super::World;
use crate::lab_secrets::iam::trust;

const TASKS: &str = "ecs-tasks.amazonaws.com";

#[tokio::test]
async fn roles_have_to_be_there_and_for_tasks_to_take() {
    let world = World::start().await;
    world.role("exec", TASKS).await;
    world.role("theirs", "ec2.amazonaws.com").await;
    let arn = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");

    world.task_definition(json!({ "executionRoleArn": arn("exec"), "taskRoleArn": arn("exec") }), json!({}));
    assert_eq!(world.verify(0).await.fine("roles"), "execution role and task role exec");

    world.task_definition(json!({ "executionRoleArn": arn("exec"), "taskRoleArn": arn("theirs") }), json!({}));
    let said = world.verify(3).await;
    said.found("roles", "the task role `theirs` cannot be taken by tasks of ECS", TASKS);

    world.task_definition(json!({ "executionRoleArn": arn("gone"), "taskRoleArn": "exec" }), json!({}));
    let said = world.verify(3).await;
    said.found("roles", "the execution role `gone` does not exist in the account 111122223333", "create-role");
    said.found("roles", "execution role `gone`", "AmazonECSTaskExecutionRolePolicy");

    world.task_definition(json!({ "taskRoleArn": "arn:aws:iam::111122223333:instance-profile/web" }), json!({}));
    world.verify(3).await.found("roles", "is no role's ARN", "arn:aws:iam::111122223333:role/NAME");

    let secret = json!([{ "name": "KEY", "valueFrom": "/web/key" }]);
    world.task_definition(json!({}), json!({ "secrets": secret }));
    let said = world.verify(3).await;
    said.found("roles", "no execution role to read the secrets", "executionRoleArn");

    // Nothing was touched by any of it.
    let listed = world.ecs("ListTaskDefinitions", json!({})).await;
    assert_eq!(listed["taskDefinitionArns"], json!([]));
    world.end().await;
}

/// As at AWS, where each service has an endpoint of its own: a role of another account is not this one's.
#[tokio::test]
async fn a_role_of_another_account_tells_of_wrong_credentials() {
    let world = World::start().await;
    world.role("exec", TASKS).await;
    let url = format!("http://{}", world.lab.host);
    world.project("");
    world.site.write(
        "steady.yaml",
        "region: us-east-1\nservices:\n  web: { task_definition: td.json, service: service.json }\n",
    );
    let run = async |role: &str| {
        world.task_definition(json!({ "taskRoleArn": role }), json!({ "image": "127.0.0.1:1/x" }));
        let mut command = world.site.command(&["verify", "--output", "json"]);
        for service in ["ECS", "ECR", "STS", "IAM", "ELASTIC_LOAD_BALANCING_V2", "EC2", "SSM", "SECRETS_MANAGER"] {
            command.env(format!("AWS_ENDPOINT_URL_{service}"), &url);
        }
        let ended = crate::site::Ended::of(command.output().await.unwrap());
        assert_eq!(ended.code, Some(if role.ends_with("333:role/exec") { 0 } else { 3 }), "{ended:?}");
        super::Checks::of(&ended)
    };
    let said = run("arn:aws:iam::999999999999:role/exec").await;
    said.found(
        "roles",
        "is of the account 999999999999, and the caller is arn:aws:iam::111122223333:user/",
        "--profile",
    );
    let said = run("arn:aws:iam::111122223333:role/service/exec").await;
    said.found("roles", "the role `exec` is arn:aws:iam::111122223333:role/exec", "write arn:aws:iam");
    let said = run("arn:aws:iam::111122223333:role/exec").await;
    assert_eq!(said.fine("roles"), "task role exec");
    world.end().await;
}

#[test]
fn a_role_is_named_by_its_arn_or_its_name() {
    let role = |account_id, path: &str, name| Some(Role { given: "", account_id, path: path.to_owned(), name });
    for (given, expected) in [
        ("arn:aws:iam::111122223333:role/web", role(Some("111122223333"), "/", "web")),
        ("arn:aws-cn:iam::111122223333:role/a/b/web", role(Some("111122223333"), "/a/b/", "web")),
        ("web", role(None, "/", "web")),
        ("arn:aws:iam::111122223333:role/", None),
        ("arn:aws:iam::111122223333:user/web", None),
        ("arn:aws:s3:::role/web", None),
        ("a/b", None),
        ("", None),
    ] {
        assert_eq!(parse(given), expected.map(|role| Role { given, ..role }), "{given}");
    }
}

#[test]
fn trust_is_what_the_statements_say() {
    let statement = |effect: &str, principal: serde_json::Value, action: &str| json!({ "Effect": effect, "Principal": principal, "Action": action });
    let tasks = json!({ "Service": TASKS });
    let allow = statement("Allow", tasks.clone(), "sts:AssumeRole");
    let mut for_this_account = allow.clone();
    for_this_account["Condition"] = json!({ "StringEquals": { "aws:SourceAccount": "111122223333" } });
    for (statements, trusted) in [
        (json!([allow]), true),
        (allow.clone(), true),
        (json!([for_this_account]), true),
        (json!([statement("Allow", json!({ "Service": ["ec2.amazonaws.com", TASKS] }), "sts:*")]), true),
        (json!([statement("Allow", json!("*"), "*")]), true),
        (json!([statement("Allow", json!({ "AWS": "*" }), "sts:AssumeRole")]), false),
        (json!([statement("Allow", tasks.clone(), "sts:TagSession")]), false),
        (json!([allow, statement("Deny", tasks, "sts:AssumeRole")]), false),
        (json!([]), false),
    ] {
        let document = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        let encoded = percent_encoding::utf8_percent_encode(&document, percent_encoding::NON_ALPHANUMERIC).to_string();
        assert_eq!(trusts_tasks(&encoded), trusted, "{document}");
    }
    assert!(trusts_tasks(&trust(TASKS)) && !trusts_tasks(&trust("ec2.amazonaws.com")));
    // What cannot be read is not taken for a refusal.
    assert!(trusts_tasks("%"));
}
