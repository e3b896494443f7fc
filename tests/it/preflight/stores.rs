//! Secrets, parameters and log groups.

use serde_json::{Value, json};

use super::World;

fn secrets(from: &[&str]) -> Value {
    let secrets = from.iter().enumerate();
    secrets.map(|(at, from)| json!({ "name": format!("KEY{at}"), "valueFrom": from })).collect()
}

async fn with_role() -> World {
    let world = World::start().await;
    world.role("exec", "ecs-tasks.amazonaws.com").await;
    world
}

impl World {
    fn wants(&self, from: &[&str]) {
        let role = json!({ "executionRoleArn": "arn:aws:iam::111122223333:role/exec" });
        self.task_definition(role, json!({ "secrets": secrets(from) }));
    }
}

#[tokio::test]
async fn secrets_resolve_without_their_values_being_read() {
    let world = with_role().await;
    let made =
        world.call("secretsmanager.CreateSecret", json!({ "Name": "db", "SecretString": "{\"user\":\"x\"}" })).await;
    let empty = world.call("secretsmanager.CreateSecret", json!({ "Name": "empty" })).await;
    let (db, empty) = (made["ARN"].as_str().unwrap(), empty["ARN"].as_str().unwrap());
    let version = made["VersionId"].as_str().unwrap();
    world.call("AmazonSSM.PutParameter", json!({ "Name": "/web/key", "Value": "x", "Type": "SecureString" })).await;
    world.call("AmazonSSM.PutParameter", json!({ "Name": "plain", "Value": "x", "Type": "String" })).await;

    let own = "arn:aws:ssm:us-east-1:111122223333:parameter";
    let by_version = format!("{db}:user::{version}");
    world.wants(&[
        db,
        &db[..db.len() - 7],
        &format!("{db}:user::"),
        &by_version,
        "/web/key",
        "plain",
        &format!("{own}/web/key"),
        &format!("{own}/plain"),
    ]);
    world.verify(0).await.fine("secrets");
    let described = world.call("secretsmanager.DescribeSecret", json!({ "SecretId": "db" })).await;
    assert_eq!(described.get("LastAccessedDate"), None, "no value was read: {described:#}");

    let (gone, other) = (db.replace(":db-", ":gone-"), format!("{db}::OLD:"));
    for (from, message, hint) in [
        (gone.as_str(), "does not exist; KEY0 of the container `app` is to come from it", "list-secrets"),
        (&other, "has no version in the stage OLD", "put-secret-value"),
        (empty, "has no version in the stage AWSCURRENT", "put-secret-value"),
        (&format!("{db}:::{}", "0".repeat(32)), "has no version 000", "list-secret-version-ids"),
        ("/web/gone", "the parameter /web/gone does not exist in us-east-1", "put-parameter"),
        (&format!("{own}/web/gone"), "parameter/web/gone does not exist", "put-parameter"),
    ] {
        world.wants(&[from, "plain"]);
        world.verify(3).await.found("secrets", message, hint);
    }
    world.call("secretsmanager.DeleteSecret", json!({ "SecretId": "db" })).await;
    world.wants(&[db]);
    world.verify(3).await.found("secrets", "marked for deletion", "restore-secret");
    world.end().await;
}

#[tokio::test]
async fn credentials_of_a_registry_and_log_options_are_secrets_too() {
    let world = with_role().await;
    let logs = json!({ "logDriver": "splunk", "secretOptions": [{ "name": "splunk-token", "valueFrom": "/splunk" }] });
    let registry = json!({ "credentialsParameter": "arn:aws:secretsmanager:us-east-1:111122223333:secret:hub-abcdef" });
    let role = json!({ "executionRoleArn": "exec" });
    world.task_definition(role, json!({ "logConfiguration": logs, "repositoryCredentials": registry }));
    let said = world.verify(3).await;
    let said = said.check("secrets").to_string();
    for finding in ["the log option splunk-token of `app`", "the registry credentials of `app`"] {
        assert!(said.contains(finding), "{finding} in {said}");
    }
    world.end().await;
}

#[tokio::test]
async fn log_groups_are_there_or_created_by_ecs() {
    let world = World::start().await;
    let logs = |create: Value| {
        let options = json!({ "awslogs-group": "/web", "awslogs-region": "us-east-1", "awslogs-create-group": create });
        json!({ "logConfiguration": { "logDriver": "awslogs", "options": options } })
    };
    world.call("Logs_20140328.CreateLogGroup", json!({ "logGroupName": "/web/other" })).await;
    world.task_definition(json!({}), logs("false".into()));
    let said = world.verify(3).await;
    let create = "aws logs create-log-group --region us-east-1 --log-group-name /web";
    said.found("logGroups", "the log group `/web` of the container `app` does not exist in us-east-1", create);
    said.found("logGroups", "`/web`", "awslogs-create-group");
    world.task_definition(json!({}), logs("true".into()));
    world.verify(0).await.fine("logGroups");
    world.call("Logs_20140328.CreateLogGroup", json!({ "logGroupName": "/web" })).await;
    world.task_definition(json!({}), logs("false".into()));
    assert_eq!(world.verify(0).await.fine("logGroups"), "/web");
    world.end().await;
}
