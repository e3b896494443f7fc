//! Why a task that asks for secrets stops, in the words of Fargate and of EC2's agent.

use std::time::Duration;

use serde_json::json;

use super::{call, iam};
use crate::lab_front::TestLab;

const ECS: &str = "AmazonEC2ContainerServiceV20141113";
const ASM: &str = "arn:aws:secretsmanager:us-east-1:111122223333:secret";
const PATIENCE: Duration = Duration::from_secs(30);

/// The stopped reason of a task whose container asks for these, and its id.
async fn stopped(lab: &TestLab, launch_type: &str, secrets: &[&str], role: &str) -> (String, String) {
    let secrets = secrets.iter().enumerate().map(|(at, from)| json!({ "name": format!("S{at}"), "valueFrom": from }));
    let definition = json!({
        "family": "asks", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE", "EC2"], "cpu": "256", "memory": "512",
        "executionRoleArn": format!("arn:aws:iam::111122223333:role/{role}"),
        "containerDefinitions": [{ "name": "a", "image": "none", "secrets": secrets.collect::<Vec<_>>() }],
    });
    let definition = call(lab, ECS, "RegisterTaskDefinition", &definition).await.unwrap();
    let network = json!({ "awsvpcConfiguration": { "subnets": [subnet(lab).await] } });
    let run = json!({
        "taskDefinition": definition["taskDefinition"]["taskDefinitionArn"], "launchType": launch_type,
        "networkConfiguration": network,
    });
    let run = call(lab, ECS, "RunTask", &run).await.unwrap();
    let task = run["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{run}")).to_owned();
    let asked = json!({ "tasks": [task] });
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let described = call(lab, ECS, "DescribeTasks", &asked).await.unwrap()["tasks"][0].clone();
        if described["lastStatus"] == "STOPPED" {
            assert_eq!(described["stopCode"], "TaskFailedToStart", "{described}");
            // it is the task's, not a container's
            let pulled = described["containers"][0]["reason"].as_str();
            assert!(pulled.is_none_or(|reason| reason.starts_with("CannotPullContainerError")), "{described}");
            let id = task.rsplit('/').next().unwrap().to_owned();
            return (described["stoppedReason"].as_str().unwrap().to_owned(), id);
        }
        assert!(tokio::time::Instant::now() < until, "it does not stop: {described}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn subnet(lab: &TestLab) -> String {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let reply = lab.send("POST", "/", &form, "Action=DescribeSubnets&Version=2016-11-15").await.text();
    reply.split("<subnetId>").nth(1).unwrap().split('<').next().unwrap().to_owned()
}

async fn secret(lab: &TestLab, name: &str, value: Option<&str>) -> String {
    let input = json!({ "Name": name, "SecretString": value });
    call(lab, "secretsmanager", "CreateSecret", &input).await.unwrap()["ARN"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_in_the_words_of_who_fetches() {
    let lab = TestLab::start().await;
    let (empty, plain) = (secret(&lab, "empty", None).await, secret(&lab, "plain", Some("'hidden")).await);
    let (parts, number) =
        (secret(&lab, "parts", Some(r#"{"a":"hidden"}"#)).await, secret(&lab, "number", Some("17")).await);
    let cut = secret(&lab, "cut", Some(r#"{"a":"hidden"#)).await;
    let gone = secret(&lab, "gone", Some("hidden")).await;
    call(&lab, "secretsmanager", "DeleteSecret", &json!({ "SecretId": gone })).await.unwrap();
    call(&lab, "AmazonSSM", "PutParameter", &json!({ "Name": "/there", "Value": "hidden", "Type": "String" }))
        .await
        .unwrap();
    let fargate = |what: &str, why: &str| {
        format!(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: \
             {what}: service call has been retried 1 time(s): {why}"
        )
    };
    let from_ssm = |why: &str| fargate("unable to retrieve secrets from ssm", why);
    let from_asm = |why: &str| fargate("unable to retrieve secret from asm", why);
    let agent = |why: &str| format!("Fetching secret data from SSM Parameter Store in us-east-1: {why}");
    let missing = |arn: &str, error: &str| {
        format!(
            "ResourceInitializationError: The task can't retrieve the secret with ARN '{arn}' from AWS Secrets Manager. \
             Check that the secret ARN is correct: {error}"
        )
    };
    let (no, none) =
        (format!("{ASM}:none"), "ResourceNotFoundException: Secrets Manager can't find the specified secret.");
    let unstaged = "ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSCURRENT";
    let deleted =
        "InvalidRequestException: You can't perform this operation on the secret because it was marked for deletion.";
    let no_key = "retrieved secret from Secrets Manager did not contain json key b";
    let not_json = r"invalid character '\'' looking for beginning of value";
    let not_object = "json: cannot unmarshal number into Go value of type map[string]interface {}";
    let arn = "arn:aws:ssm:us-east-1:111122223333:parameter";
    let (deep, flat) = (format!("{arn}/not/there"), format!("{arn}/flat"));
    let fetch =
        |arn: &str, error: &str| from_asm(&format!("failed to fetch secret {arn} from secrets manager: {error}"));
    // what is asked for, what Fargate says, and the agent
    let table: Vec<(Vec<&str>, String, String)> = vec![
        (vec!["/there", "/none"], from_ssm("invalid ssm parameters: /none"), agent("invalid parameters: /none")),
        (
            vec![&deep, &flat, &flat],
            from_ssm("invalid ssm parameters: /not/there,flat"),
            agent("invalid parameters: /not/there,flat"),
        ),
        (vec![&no], fetch(&no, none), missing(&no, none)),
        (vec![&empty], fetch(&empty, unstaged), missing(&empty, unstaged)),
        (vec![&gone], fetch(&gone, deleted), format!("{deleted}: {deleted}")),
    ];
    let keys: Vec<(String, &str)> = vec![
        (format!("{parts}:b::"), no_key),
        (format!("{plain}:a::"), not_json),
        (format!("{number}:a::"), not_object),
        (format!("{cut}:a::"), "unexpected end of JSON input"),
    ];
    let keyed = keys.iter().map(|(from, why)| (vec![from.as_str()], from_asm(why), (*why).to_owned()));
    for (asked, fargate, agent) in table.into_iter().chain(keyed) {
        for (launch_type, reason) in [("FARGATE", fargate), ("EC2", agent)] {
            let (said, _) = stopped(&lab, launch_type, &asked, "unknown").await;
            assert_eq!(said, reason, "{asked:?} on {launch_type}");
            assert!(!said.contains("hidden"), "{said}");
        }
    }
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_role_that_the_lab_knows_has_to_allow_it() {
    let lab = TestLab::start().await;
    iam::create(&lab, "execution", "ecs-tasks.amazonaws.com").await;
    call(&lab, "AmazonSSM", "PutParameter", &json!({ "Name": "/there", "Value": "v", "Type": "String" }))
        .await
        .unwrap();
    let held = secret(&lab, "held", Some("v")).await;
    let denied = |id: &str, action: &str, resource: &str, because: &str| {
        format!(
            "AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/execution/{id} is not authorized to \
             perform: {action} on resource: {resource} {because}"
        )
    };
    let resource = "arn:aws:ssm:us-east-1:111122223333:parameter/there";
    let (said, id) = stopped(&lab, "EC2", &["/there"], "execution").await;
    let because = "because no identity-based policy allows the ssm:GetParameters action";
    let refused = denied(&id, "ssm:GetParameters", resource, because);
    assert_eq!(said, format!("Fetching secret data from SSM Parameter Store in us-east-1: {refused}"));
    let (said, id) = stopped(&lab, "FARGATE", &[&held], "execution").await;
    let because = "because no identity-based policy allows the secretsmanager:GetSecretValue action";
    let refused = denied(&id, "secretsmanager:GetSecretValue", &held, because);
    assert!(said.ends_with(&format!("failed to fetch secret {held} from secrets manager: {refused}")), "{said}");

    let statement = |effect: &str, action: &str, resource: &str| json!({ "Effect": effect, "Action": action, "Resource": resource });
    let allow = statement("Allow", "ssm:Get*", "arn:aws:ssm:*:*:parameter/the*");
    // AWS's own policy for execution roles allows no secrets
    let execution = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy";
    let full = "arn:aws:iam::aws:policy/AmazonSSMFullAccess";
    let table = [
        (None, json!([statement("Allow", "ssm:GetParameters", "*/other")]), Some("because no")),
        (Some(execution), json!([statement("Allow", "ecr:*", "*")]), Some("because no")),
        (None, json!([allow]), None),
        (Some(full), json!([statement("Allow", "ecr:*", "*")]), None),
        (Some(full), json!([statement("Deny", "SSM:getparameters", "*")]), Some("with an explicit deny")),
    ];
    for (managed, statements, refused) in table {
        let document = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        let inline = [("RoleName", "execution"), ("PolicyName", "p"), ("PolicyDocument", document.as_str())];
        assert_eq!(iam::call(&lab, "PutRolePolicy", &inline).await.0, 200);
        let attached = managed.map(|arn| [("RoleName", "execution"), ("PolicyArn", arn)]);
        if let Some(attached) = attached {
            assert_eq!(iam::call(&lab, "AttachRolePolicy", &attached).await.0, 200);
        }
        let (said, _) = stopped(&lab, "FARGATE", &["/there"], "execution").await;
        match refused {
            Some(because) => assert!(said.contains("AccessDeniedException") && said.contains(because), "{said}"),
            // this lab has no image of that name, nor runs any
            None => assert!(said.starts_with("CannotPullContainerError"), "{said}"),
        }
        if let Some(attached) = attached {
            iam::call(&lab, "DetachRolePolicy", &attached).await;
        }
    }
    lab.end().await;
}
