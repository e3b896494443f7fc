//! Secrets in real containers, and releases that ask for what is not there.

use serde_json::{Value, json};
use steadystate::lab::lifecycle::{self, ACCOUNT_ID, Options, REGION};
use steadystate::lab::runtime::Runtime;

use crate::release::{Bench, get, text};
use crate::signing::signer;

const ROLE: &str = "arn:aws:iam::111122223333:role/execution";

/// A JSON operation of the lab's.
pub(crate) async fn call(bench: &Bench, target: &str, input: Value) -> Value {
    let body = input.to_string();
    let headers = [("x-amz-target", target)];
    send(bench, &headers, body).await.parse().unwrap()
}

async fn send(bench: &Bench, headers: &[(&str, &str)], body: String) -> String {
    steadystate::registry::use_ring();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(bench.url());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let host = bench.url().trim_start_matches("http://").to_owned();
    for (name, value) in signer(headers, body.as_bytes()).sign(&host, headers, body.as_bytes()) {
        request = request.header(name, value);
    }
    let answer = request.body(body).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    text
}

async fn parameter(bench: &Bench, name: &str, value: &str) {
    let input = json!({ "Name": name, "Value": value, "Type": "SecureString" });
    call(bench, "AmazonSSM.PutParameter", input).await;
}

/// The secret's ARN.
async fn secret(bench: &Bench, name: &str, value: &str) -> String {
    let reply = call(bench, "secretsmanager.CreateSecret", json!({ "Name": name, "SecretString": value })).await;
    text(&reply, "ARN").to_owned()
}

/// The role that tasks are started with, which this service may take and which may do everything.
async fn role(bench: &Bench, service: &str) {
    let role = [("Version", "2010-05-08"), ("RoleName", "execution")];
    let trust = super::iam::trust(service);
    let policy = "arn:aws:iam::aws:policy/AdministratorAccess";
    for (action, more) in
        [("CreateRole", ("AssumeRolePolicyDocument", trust.as_str())), ("AttachRolePolicy", ("PolicyArn", policy))]
    {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action).extend_pairs(role).extend_pairs([more]);
        send(bench, &[("content-type", "application/x-www-form-urlencoded")], form.finish()).await;
    }
}

/// The caller may not look at these, so that no preflight sees what is wrong.
async fn unseen(bench: &Bench, operations: &[&str]) {
    for on in operations {
        let fault = json!({ "on": on, "kind": "error", "code": "AccessDeniedException", "status": 400 });
        let options = Options::new(bench.folder.path().join("lab"));
        lifecycle::add_fault(&options, &serde_json::from_value(fault).unwrap()).await.unwrap();
    }
}

/// The next release's container has these secrets.
fn ask_for(bench: &Bench, secrets: &[(&str, &str)]) {
    let secrets = secrets.iter().map(|(name, from)| json!({ "name": name, "valueFrom": from }));
    let container = json!({
        "name": "web", "image": "{{image}}", "memory": 32, "portMappings": [{ "containerPort": 8080, "hostPort": 0 }],
        "environment": [{ "name": "FAIL", "value": "" }],
        "secrets": secrets.collect::<Vec<_>>(),
    });
    let definition = json!({ "executionRoleArn": ROLE, "containerDefinitions": [container] });
    bench.write("task-definition.json.hbs", &definition.to_string());
}

/// What `/sum/NAME` answers for this value.
fn summed(value: &str) -> String {
    let add = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{} {:016x}", value.len(), value.bytes().fold(0xcbf2_9ce4_8422_2325, add))
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_the_container_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let probes = Runtime::probe(folder.path(), std::path::Path::new(env!("CARGO_BIN_EXE_steady")));
    let levels: Vec<_> = probes.into_iter().filter(|probe| probe.outcome.is_ok()).map(|probe| probe.level).collect();
    assert!(!levels.is_empty());
    for level in levels {
        let mut bench = Bench::start_at(Some(level)).await;
        role(&bench, "ecs-tasks.amazonaws.com").await;
        parameter(&bench, "/web/key", "hidden-parameter").await;
        parameter(&bench, "plain", "hidden-plain").await;
        let whole = secret(&bench, "whole", "hidden secret\nof two lines").await;
        let parts = secret(&bench, "parts", r#"{"user":"hidden-user","port":5432}"#).await;
        let old = secret(&bench, "old", "hidden-old").await;
        call(&bench, "secretsmanager.PutSecretValue", json!({ "SecretId": old, "SecretString": "hidden-new" })).await;
        let arn = format!("arn:aws:ssm:{REGION}:{ACCOUNT_ID}:parameter/web/key");
        let partial = &whole[..whole.len() - 7];
        let asked = [
            ("NAME", "/web/key", "hidden-parameter"),
            ("PLAIN", "plain", "hidden-plain"),
            ("ARN", &arn, "hidden-parameter"),
            ("WHOLE", &whole, "hidden secret\nof two lines"),
            ("PARTIAL", partial, "hidden secret\nof two lines"),
            ("USER_KEY", &format!("{parts}:user::"), "hidden-user"),
            ("PORT_KEY", &format!("{parts}:port::"), "5432"),
            ("OLD", &format!("{old}::AWSPREVIOUS:"), "hidden-old"),
            ("NEW", &format!("{old}:::"), "hidden-new"),
        ];
        let secrets: Vec<(&str, &str)> = asked.iter().map(|(name, from, _)| (*name, *from)).collect();
        ask_for(&bench, &secrets);
        let deployed = bench.deploy().await;
        let url = text(&deployed, "url").trim_end_matches('/').to_owned();
        for (name, _, value) in &asked {
            assert_eq!(get(&format!("{url}/sum/{name}")).await.unwrap(), summed(value), "{name} at {level}");
        }
        nothing_shows(&bench, &deployed).await;
        // The values are the lab's to keep.
        call(&bench, "AmazonSSM.PutParameter", json!({ "Name": "plain", "Value": "hidden-later", "Overwrite": true }))
            .await;
        assert_eq!(get(&format!("{url}/sum/PLAIN")).await.unwrap(), summed("hidden-plain"), "a task keeps what it got");
        bench.restart().await;
        bench.page("two");
        bench.deploy().await;
        assert_eq!(get(&format!("{url}/sum/PLAIN")).await.unwrap(), summed("hidden-later"), "{level}");
        assert_eq!(get(&format!("{url}/sum/WHOLE")).await.unwrap(), summed("hidden secret\nof two lines"));
        bench.end().await;
    }
}

async fn nothing_shows(bench: &Bench, deployed: &Value) {
    let clients = bench.clients().await;
    let tasks = clients.list_tasks(json!({ "serviceName": "web" })).await.unwrap();
    let task = clients.describe_tasks(json!({ "tasks": tasks["taskArns"] })).await.unwrap();
    let definition = json!({ "taskDefinition": deployed["taskDefinition"] });
    let definition = clients.describe_task_definition(definition).await.unwrap();
    assert!(definition.to_string().contains("/web/key"), "{definition}");
    let log = std::fs::read_to_string(bench.folder.path().join("lab/lab.log")).unwrap_or_default();
    for told in [task.to_string(), definition.to_string(), bench.service().await.to_string(), deployed.to_string(), log]
    {
        assert!(!told.contains("hidden"), "{told}");
    }
    // On the disk it is in the lab's state, and nowhere else.
    let mut kept = 0;
    for entry in walkdir::WalkDir::new(bench.folder.path().join("lab")).into_iter().flatten() {
        // devices of the container's root have no end
        if !entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
            continue;
        }
        let content = std::fs::read(entry.path()).unwrap_or_default();
        let holds = content.windows(16).any(|window| window == b"hidden-parameter");
        let state = entry.file_name() == "state.json" || entry.file_name() == "changes.jsonl";
        assert!(!holds || state, "{}", entry.path().display());
        kept += usize::from(holds);
    }
    assert!(kept > 0);
}

/// A good release, and then one that asks for this: it goes back, and the screen says why.
async fn goes_back(bench: &Bench, from: &str, said: &str) {
    ask_for(bench, &[("KEY", from)]);
    let run = bench.steady(&["deploy", "--progress", "lines"]).await;
    run.assert(5, &[said, "web:1 is back and steady"]);
    assert!(!run.stderr.contains("hidden"), "{}", run.stderr);
    let stopped = bench.clients().await;
    let tasks = stopped.list_tasks(json!({ "serviceName": "web", "desiredStatus": "STOPPED" })).await.unwrap();
    let tasks = stopped.describe_tasks(json!({ "tasks": tasks["taskArns"] })).await.unwrap();
    let of = |task: &&Value| text(task, "stoppedReason").contains(said);
    let task = tasks["tasks"].as_array().unwrap().iter().find(of).unwrap_or_else(|| panic!("{tasks}"));
    assert_eq!(text(task, "stopCode"), "TaskFailedToStart");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_makes_a_release_go_back_and_is_named() {
    let bench = Bench::start().await;
    role(&bench, "ecs-tasks.amazonaws.com").await;
    bench.deploy().await;
    unseen(&bench, &["ssm:DescribeParameters", "secretsmanager:DescribeSecret"]).await;
    let reason = "Fetching secret data from SSM Parameter Store in us-east-1: invalid parameters: /none/such";
    goes_back(&bench, "/none/such", reason).await;
    let arn = format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:none");
    let reason = format!(
        "ResourceInitializationError: The task can't retrieve the secret with ARN '{arn}' from AWS Secrets Manager. \
         Check that the secret ARN is correct: ResourceNotFoundException: Secrets Manager can't find the specified secret."
    );
    goes_back(&bench, &arn, &reason).await;
    let arn = secret(&bench, "parts", r#"{"user":"hidden"}"#).await;
    let reason = "retrieved secret from Secrets Manager did not contain json key password";
    goes_back(&bench, &format!("{arn}:password::"), reason).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_ecs_may_not_take_is_what_the_failed_release_names() {
    let bench = Bench::start().await;
    bench.deploy().await;
    role(&bench, "ec2.amazonaws.com").await;
    unseen(&bench, &["iam:GetRole"]).await;
    parameter(&bench, "/key", "hidden").await;
    ask_for(&bench, &[("KEY", "/key")]);
    // no task is ever there that could fail: the deadline ends it
    let run = bench.steady(&["deploy", "--progress", "none", "--timeout", "2s"]).await;
    let said = format!(
        "ECS said: (service web) failed to launch a task with (error ECS was unable to assume the role '{ROLE}'"
    );
    run.assert(5, &["not steady after 2s", &said, "web:1 is back and steady"]);
    bench.end().await;
}
