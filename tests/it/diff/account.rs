//! What the fixtures take to be in their account, made at the lab: roles, log groups, secrets and parameters.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use steadystate::aws::Clients;

use crate::lab_front::TestLab;

/// The document with secrets as the lab makes them, which have other ends.
pub fn at_the_lab(document: &Value) -> Value {
    serde_json::from_str(&document.to_string().replace("-AbCdEf", "")).unwrap()
}

#[derive(Default)]
struct Needed {
    roles: BTreeSet<String>,
    log_groups: BTreeSet<String>,
    secrets: BTreeSet<String>,
    parameters: BTreeSet<String>,
}

impl Needed {
    fn of(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| self.of(name, value)),
            Value::Array(items) => items.iter().for_each(|value| self.of(name, value)),
            Value::String(text) => {
                let (to, name) = match name {
                    "taskRoleArn" | "executionRoleArn" => (&mut self.roles, text.rsplit('/').next()),
                    "awslogs-group" => (&mut self.log_groups, Some(&**text)),
                    "valueFrom" | "credentialsParameter" => match text.split_once(":secret:") {
                        Some((_, secret)) => (&mut self.secrets, secret.split(':').next()),
                        None => (&mut self.parameters, text.rsplit(":parameter").next()),
                    },
                    _ => return,
                };
                to.extend(name.map(str::to_owned));
            }
            _ => {}
        }
    }
}

pub async fn furnish(lab: &TestLab, clients: &Clients, documents: &[Value]) {
    let mut needed = Needed::default();
    documents.iter().for_each(|document| needed.of("", document));
    let trusted = json!({ "Service": "ecs-tasks.amazonaws.com" });
    let statement = json!({ "Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole" });
    let trust = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    for role in &needed.roles {
        clients.iam.create_role(role, "/", &trust).await.unwrap();
        clients.iam.attach_role_policy(role, "arn:aws:iam::aws:policy/AdministratorAccess").await.unwrap();
    }
    for group in &needed.log_groups {
        clients.create_log_group(json!({ "logGroupName": group })).await.unwrap();
    }
    let secrets = needed
        .secrets
        .iter()
        .map(|name| ("secretsmanager.CreateSecret", json!({ "Name": name, "SecretString": r#"{"password":"x"}"# })));
    let parameters = needed
        .parameters
        .iter()
        .map(|name| ("AmazonSSM.PutParameter", json!({ "Name": name, "Value": "x", "Type": "SecureString" })));
    for (target, input) in secrets.chain(parameters) {
        let made = lab.json(target, &input).await;
        assert_eq!(made.status, 200, "{input}: {}", made.text());
    }
}
