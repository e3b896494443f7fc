//! Parameters, secrets and roles: their APIs as request tables, and what tasks get of them.

pub(crate) mod iam;
mod reasons;
mod roles;
mod secretsmanager;
mod ssm;
pub(crate) mod tasks;

use serde_json::{Value, json};

use crate::lab_front::TestLab;

/// A JSON operation, and what is to come of it: a part of the reply, or code and text of the error.
type Row = (&'static str, Value, Result<Value, (&'static str, &'static str)>);

async fn call(lab: &TestLab, prefix: &str, operation: &str, input: &Value) -> Result<Value, (String, String)> {
    let answer = lab.json(&format!("{prefix}.{operation}"), input).await;
    match answer.status.as_u16() {
        200 => Ok(answer.json()),
        400 => {
            let error = answer.json();
            let text = |member: &str| error[member].as_str().unwrap().to_owned();
            Err((text("__type"), text("message")))
        }
        _ => panic!("{operation}: {} {}", answer.status, answer.text()),
    }
}

async fn run(lab: &TestLab, prefix: &str, rows: impl IntoIterator<Item = Row>) {
    for (operation, input, expected) in rows {
        match (call(lab, prefix, operation, &input).await, expected) {
            (Ok(reply), Ok(expected)) => has(&reply, &expected, &format!("{operation} {input}")),
            (Err((code, text)), Err((wanted, begins))) => {
                assert_eq!(code, wanted, "{operation} {input}: {text}");
                assert!(text.starts_with(begins), "{operation} {input}: {text}");
            }
            (found, expected) => panic!("{operation} {input}: {found:?} instead of {expected:?}"),
        }
    }
}

/// Every member of `expected` is there; lists are whole.
#[track_caller]
fn has(reply: &Value, expected: &Value, what: &str) {
    match (reply, expected) {
        (Value::Object(_), Value::Object(members)) => {
            members.iter().for_each(|(name, member)| has(&reply[name], member, &format!("{what}/{name}")));
        }
        (Value::Array(found), Value::Array(items)) => {
            assert_eq!(found.len(), items.len(), "{what}: {reply}");
            found.iter().zip(items).for_each(|(found, item)| has(found, item, what));
        }
        _ => assert_eq!(reply, expected, "{what}"),
    }
}

/// Two runs of a lab, and its file on the disk.
#[tokio::test]
async fn a_restart_keeps_all_of_it_in_a_file_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let lab = TestLab::start().await;
    let input = json!({ "Name": "/a", "Value": "kept-parameter", "Type": "SecureString" });
    call(&lab, "AmazonSSM", "PutParameter", &input).await.unwrap();
    let input = json!({ "Name": "b", "SecretString": "kept-secret" });
    let created = call(&lab, "secretsmanager", "CreateSecret", &input).await.unwrap();
    let trust = json!({ "Version": "2012-10-17", "Statement": [] });
    assert!(
        iam::call(&lab, "CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", &trust.to_string())]).await.0
            == 400
    );
    iam::create(&lab, "r", "ecs-tasks.amazonaws.com").await;
    let file = lab.folder.path().join("state.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = lab.end().await;

    let lab = TestLab::start_in(folder).await;
    let parameter = call(&lab, "AmazonSSM", "GetParameter", &json!({ "Name": "/a", "WithDecryption": true })).await;
    assert_eq!(parameter.unwrap()["Parameter"]["Value"], "kept-parameter");
    let secret = call(&lab, "secretsmanager", "GetSecretValue", &json!({ "SecretId": "b" })).await.unwrap();
    assert_eq!((&secret["SecretString"], &secret["ARN"]), (&json!("kept-secret"), &created["ARN"]));
    assert_eq!(iam::call(&lab, "GetRole", &[("RoleName", "r")]).await.0, 200);
    lab.end().await;
}

#[test]
fn nothing_that_is_kept_shows_itself() {
    let mut state = steadystate::lab::state::State::default();
    let secret = json!({ "versions": { "v": { "string": "hidden-1", "binary": "hidden-2" } } });
    let parameter = json!({ "versions": { "1": { "value": "hidden-3" } } });
    state.secrets = serde_json::from_value(json!({ "secrets": { "s": secret } })).unwrap();
    state.ssm = serde_json::from_value(json!({ "parameters": { "p": parameter } })).unwrap();
    let kept = serde_json::to_string(&state).unwrap();
    assert!(["hidden-1", "hidden-2", "hidden-3"].iter().all(|value| kept.contains(value)), "{kept}");
    assert!(!format!("{state:?}").contains("hidden"), "{state:?}");
}
