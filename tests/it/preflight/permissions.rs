//! What the caller may do, and what it may not look at.

use serde_json::{Value, json};
use steadystate::aws::Identity;
use steadystate::config;
use steadystate::deploy::preflight::needs::{There, needs};
use steadystate::deploy::preflight::permissions::{Need, Refused, check, principal, refused};

use super::World;
use crate::aws::server::{Reply, Server};
use crate::lab_secrets::iam;

fn identity(arn: &str) -> Identity {
    Identity { account_id: "111122223333".to_owned(), arn: arn.to_owned() }
}

const USER: &str = "arn:aws:iam::111122223333:user/ci";

/// A simulator that refuses these actions, the second kind for what it does not know.
async fn simulator(denied: &'static [&'static str], unknown: &'static [&'static str]) -> Server {
    Server::start(move |request, _| match request.operation.as_str() {
        "SimulatePrincipalPolicy" => {
            let form: Vec<(String, String)> = url::form_urlencoded::parse(request.text.as_bytes()).into_owned().collect();
            let actions = form.iter().filter(|(name, _)| name.starts_with("ActionNames.member."));
            let results: String = actions
                .map(|(_, action)| {
                    let missing = if unknown.contains(&action.as_str()) { "<member>aws:SourceIp</member>" } else { "" };
                    let said = if denied.contains(&action.as_str()) || !missing.is_empty() { "implicitDeny" } else { "allowed" };
                    format!(
                        "<member><EvalActionName>{action}</EvalActionName><EvalDecision>{said}</EvalDecision>\
                         <MissingContextValues>{missing}</MissingContextValues></member>"
                    )
                })
                .collect();
            Reply::Xml(200, format!(
                "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated>\
                 <EvaluationResults>{results}</EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
            ))
        }
        "GetRole" => Reply::Xml(200, "<GetRoleResponse><GetRoleResult><Role><Arn>arn:aws:iam::111122223333:role/a/ci</Arn></Role></GetRoleResult></GetRoleResponse>".into()),
        other => panic!("{other}"),
    })
    .await
}

#[tokio::test]
async fn what_iam_refuses_for_sure_is_found_and_what_it_cannot_know_is_a_warning() {
    let needs = [
        Need::new(
            "arn:aws:ecs:us-west-2:111122223333:service/default/web",
            true,
            &["ecs:DescribeServices", "ecs:UpdateService"],
        ),
        Need::new("arn:aws:iam::111122223333:role/exec", true, &["iam:PassRole"])
            .with("iam:PassedToService", "ecs-tasks.amazonaws.com"),
        Need::new("arn:aws:ecr:us-west-2:111122223333:repository/web", false, &["ecr:PutImage"]),
    ];
    let server = simulator(&["iam:PassRole", "ecr:PutImage"], &["ecs:UpdateService"]).await;
    let checked = check(&needs, None, &identity(USER), &server.clients().await).await;
    let found: Vec<String> = checked.findings.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["the caller may not do iam:PassRole on arn:aws:iam::111122223333:role/exec"]);
    assert!(checked.findings[0].hints()[0].contains(USER));
    let warned: Vec<(&str, &str)> =
        checked.warnings.iter().map(|warning| (warning.message.as_str(), warning.hint.as_deref().unwrap())).collect();
    assert_eq!(
        warned,
        [
            (
                "the caller may not be allowed to do ecs:UpdateService on arn:aws:ecs:us-west-2:111122223333:service/default/web",
                "it depends on aws:SourceIp, which IAM's simulator does not know"
            ),
            (
                "the caller may not be allowed to do ecr:PutImage on arn:aws:ecr:us-west-2:111122223333:repository/web",
                "no policy of its own allows it; one of the resource may, which IAM's simulator does not see"
            ),
        ]
    );
    let asked = server.requests();
    assert_eq!(asked.len(), 3, "one call a resource");
    let passing = asked.iter().find(|request| request.text.contains("PassRole")).unwrap();
    for part in [
        "PolicySourceArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Auser%2Fci",
        "iam%3APassedToService",
        "aws%3ARequestedRegion",
    ] {
        assert!(passing.text.contains(part), "{}", passing.text);
    }
}

#[tokio::test]
async fn a_session_stands_for_its_role_and_the_root_user_is_asked_about_nothing() {
    let server = simulator(&[], &[]).await;
    let clients = server.clients().await;
    let session = "arn:aws:sts::111122223333:assumed-role/ci/run-7";
    assert_eq!(principal(session, &clients).await.as_deref(), Some("arn:aws:iam::111122223333:role/a/ci"));
    assert_eq!(principal(USER, &clients).await.as_deref(), Some(USER));
    let checked = check(
        &[Need::new("*", true, &["ecs:ListTaskDefinitions"])],
        None,
        &identity("arn:aws:iam::111122223333:root"),
        &clients,
    )
    .await;
    assert!(checked.findings.is_empty() && checked.warnings.is_empty() && checked.detail.contains("root"));
    assert_eq!(server.count("SimulatePrincipalPolicy"), 0);

    // Without the right to look at roles, the path is taken to be the plain one.
    let denying = Server::start(|_, _| {
        Reply::Xml(
            403,
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>".into(),
        )
    })
    .await;
    let principal = principal(session, &denying.clients().await).await;
    assert_eq!(principal.as_deref(), Some("arn:aws:iam::111122223333:role/ci"));
}

/// As with IAM Identity Center, whose roles have a path that a session does not show.
#[tokio::test]
async fn a_role_that_cannot_be_found_by_its_session_is_said_not_to_be_checked() {
    let server = Server::start(|request, _| {
        let (status, code) = if request.operation == "GetRole" { (403, "AccessDenied") } else { (404, "NoSuchEntity") };
        let error = format!("<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>");
        Reply::Xml(status, error)
    })
    .await;
    let clients = server.clients().await;
    let needs = [Need::new("*", true, &["ecs:ListTaskDefinitions"]), Need::new("*", false, &["ecs:ListTasks"])];
    let execution = ("arn:aws:iam::111122223333:role/gone".to_owned(), needs[..1].to_vec());
    let session = identity("arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_deploy_0123/anna");
    let checked = check(&needs, Some(&execution), &session, &clients).await;
    assert!(checked.findings.is_empty(), "{checked:?}");
    let warned: Vec<&str> = checked.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        warned,
        ["what the caller may do is not checked: IAM finds no role `AWSReservedSSO_deploy_0123` without a path"]
    );
    assert!(checked.warnings[0].hint.as_deref().unwrap().contains("iam:GetRole"), "{checked:?}");
}

/// Each action with what it is on.
#[tokio::test]
async fn all_that_a_deploy_will_do_is_asked_for() {
    let world = World::start().await;
    world.project(
        "    load_balancer:\n      type: application\n      create: true\n      listener: { port: 8080 }\n      \
         container_port: 8080\n      advanced_configuration: { role: \"arn:aws:iam::111122223333:role/shift\" }\n    \
         rollout: { strategy: BLUE_GREEN }\n    before: [{ task: { command: [migrate] } }]\n",
    );
    let options = config::Options { directory: world.site.path(""), ..Default::default() };
    let plan = config::load(&options).unwrap().plan;
    let logs = json!({ "options": { "awslogs-group": "/web", "awslogs-region": "eu-west-1" } });
    let task_definition = json!({ "family": "web", "containerDefinitions": [{ "logConfiguration": logs }] });
    let hook = json!({ "roleArn": "arn:aws:iam::111122223333:role/hook" });
    let wanted = json!({ "deploymentConfiguration": { "lifecycleHooks": [hook] } });
    let creates = ["load balancer web", "target group web", "target group web-2", "listener HTTP:8080"];
    let creates = creates.map(str::to_owned);
    let clients = world.clients().await;
    let asked = |creates: &[String]| -> Vec<String> {
        let there = There { service: true, wanted: &wanted, repository: None, creates };
        let needs = needs(&plan, &task_definition, &there, &identity(USER), &clients);
        let all = needs.iter().flat_map(|need| {
            need.actions.iter().flat_map(|action| need.resources.iter().map(move |on| format!("{action} {on}")))
        });
        all.map(|one| one.replace("us-east-1:111122223333", "HERE")).collect()
    };
    let told = asked(&creates);
    for one in [
        "ecs:UpdateService arn:aws:ecs:HERE:service/default/web",
        "ecs:ListServiceDeployments arn:aws:ecs:HERE:service/default/web",
        "ecs:RegisterTaskDefinition arn:aws:ecs:HERE:task-definition/web:*",
        "ecs:TagResource arn:aws:ecs:HERE:task-definition/web:*",
        "ecs:RunTask arn:aws:ecs:HERE:task-definition/web:*",
        "ecs:StopTask arn:aws:ecs:HERE:task/default/*",
        "ecs:StopServiceDeployment arn:aws:ecs:HERE:service-deployment/default/web/*",
        "ecs:DescribeServiceRevisions arn:aws:ecs:HERE:service-revision/default/web/*",
        "iam:PassRole arn:aws:iam::111122223333:role/hook",
        "iam:PassRole arn:aws:iam::111122223333:role/shift",
        "logs:GetLogEvents arn:aws:logs:eu-west-1:111122223333:log-group:/web:log-stream:*",
        "elasticloadbalancing:DescribeTargetHealth *",
        "elasticloadbalancing:CreateLoadBalancer arn:aws:elasticloadbalancing:HERE:loadbalancer/app/web/*",
        "elasticloadbalancing:CreateTargetGroup arn:aws:elasticloadbalancing:HERE:targetgroup/web/*",
        "elasticloadbalancing:CreateTargetGroup arn:aws:elasticloadbalancing:HERE:targetgroup/web-2/*",
        "elasticloadbalancing:CreateListener arn:aws:elasticloadbalancing:HERE:loadbalancer/app/web/*",
        "elasticloadbalancing:ModifyListener arn:aws:elasticloadbalancing:HERE:listener/app/web/*",
        "elasticloadbalancing:ModifyRule arn:aws:elasticloadbalancing:HERE:listener-rule/app/web/*",
    ] {
        assert!(told.iter().any(|told| told == one), "{one} is not in {told:#?}");
    }
    // What is there already is not asked for.
    let less = asked(&[]);
    let changes = |one: &&String| one.starts_with("elasticloadbalancing:") && !one.contains(":Describe");
    assert_eq!(less.iter().filter(changes).count(), 0, "{less:#?}");
    world.end().await;
}

#[test]
fn a_decision_is_that_of_the_resource() {
    let result = |decision: &str, specific: Value| json!({ "EvalActionName": "a:B", "EvalDecision": decision, "ResourceSpecificResults": specific });
    let on = |decision: &str, missing: &[&str]| {
        let of =
            json!({ "EvalResourceName": "arn:x", "EvalResourceDecision": decision, "MissingContextValues": missing });
        json!([of, { "EvalResourceName": "arn:y", "EvalResourceDecision": "allowed", "MissingContextValues": "" }])
    };
    let no = |resource: Option<&str>, explicit, unknown: &[&str]| {
        let unknown = unknown.iter().map(|key| (*key).to_owned()).collect();
        vec![Refused { action: "a:B".to_owned(), resource: resource.map(str::to_owned), explicit, unknown }]
    };
    for (result, expected) in [
        (result("allowed", json!("")), vec![]),
        (result("implicitDeny", json!("")), no(None, false, &[])),
        (result("implicitDeny", on("allowed", &[])), vec![]),
        (result("explicitDeny", on("explicitDeny", &["aws:SourceIp"])), no(Some("arn:x"), true, &["aws:SourceIp"])),
        // A word that is newer than this binary stops nothing.
        (result("maybe", json!("")), vec![]),
    ] {
        assert_eq!(refused(&result), expected, "{result}");
    }
}

#[tokio::test]
async fn the_lab_simulates_what_a_role_may_do() {
    let world = World::start().await;
    world.role("ci", "ec2.amazonaws.com").await;
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "ecs:*", "Resource": "arn:aws:ecs:*:*:service/default/*" },
        { "Effect": "Deny", "Action": "ecs:DeleteService", "Resource": "*" },
        { "Effect": "Allow", "Action": "iam:PassRole", "Resource": "*", "Condition": { "StringEquals": { "iam:PassedToService": "ecs-tasks.amazonaws.com" } } },
        { "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": { "StringNotEquals": { "aws:RequestedRegion": "us-east-1" } } },
    ]}).to_string();
    let put =
        iam::call(&world.lab, "PutRolePolicy", &[("RoleName", "ci"), ("PolicyName", "p"), ("PolicyDocument", &policy)])
            .await;
    assert_eq!(put.0, 200, "{}", put.1);
    let clients = world.clients().await;
    let ci = "arn:aws:iam::111122223333:role/ci";
    let service = "arn:aws:ecs:us-east-1:111122223333:service/default/web";
    let here = ("aws:RequestedRegion", "us-east-1");
    let passed = ("iam:PassedToService", "ecs-tasks.amazonaws.com");
    for (action, resource, context, said, missing) in [
        ("ecs:UpdateService", service, vec![here], "allowed", vec![]),
        (
            "ecs:UpdateService",
            "arn:aws:ecs:us-east-1:111122223333:service/other/web",
            vec![here],
            "implicitDeny",
            vec![],
        ),
        ("ecs:DeleteService", service, vec![here], "explicitDeny", vec![]),
        ("ecs:UpdateService", service, vec![("aws:RequestedRegion", "eu-west-1")], "explicitDeny", vec![]),
        ("ecs:UpdateService", service, vec![], "explicitDeny", vec!["aws:RequestedRegion"]),
        ("iam:PassRole", ci, vec![here, passed], "allowed", vec![]),
        ("iam:PassRole", ci, vec![here], "implicitDeny", vec!["iam:PassedToService"]),
    ] {
        let found =
            clients.iam.simulate_principal_policy(ci, &[action.to_owned()], &[resource.to_owned()], &context).await;
        let found = &found.unwrap()[0];
        assert_eq!(found["EvalDecision"], said, "{action} {resource} {context:?}: {found:#}");
        let of: Vec<String> = refused(found).into_iter().flat_map(|refused| refused.unknown).collect();
        assert_eq!(of, missing, "{action} {resource} {context:?}");
    }
    let own = clients.identity().await.unwrap().arn;
    let all = clients
        .iam
        .simulate_principal_policy(&own, &["a:B".to_owned(), "c:D".to_owned()], &["*".to_owned()], &[])
        .await
        .unwrap();
    assert!(all.len() == 2 && all.iter().all(|result| result["EvalDecision"] == "allowed"), "{all:?}");
    let gone = clients
        .iam
        .simulate_principal_policy(&ci.replace("ci", "gone"), &["a:B".to_owned()], &[], &[])
        .await
        .unwrap_err();
    assert!(gone.is("NoSuchEntity"), "{gone}");
    world.end().await;
}

/// What may not be read is a warning that names the action, and a deploy goes on.
#[tokio::test]
async fn what_may_not_be_looked_at_stops_nothing() {
    let world = World::start().await;
    let logs = json!({ "logDriver": "awslogs", "options": { "awslogs-group": "/web", "awslogs-region": "us-east-1" } });
    let secrets = json!([
        { "name": "A", "valueFrom": "/web/key" },
        { "name": "B", "valueFrom": "arn:aws:secretsmanager:us-east-1:111122223333:secret:db-abcdef" },
    ]);
    world.task_definition(
        json!({ "executionRoleArn": "exec" }),
        json!({ "logConfiguration": logs, "secrets": secrets }),
    );
    world.service(json!({ "desiredCount": 0, "deploymentConfiguration": { "alarms": { "alarmNames": ["web-5xx"], "enable": true, "rollback": true } } }));
    let denied = [
        ("iam:GetRole", "roles"),
        ("iam:SimulatePrincipalPolicy", "permissions"),
        ("ssm:DescribeParameters", "secrets"),
        ("secretsmanager:DescribeSecret", "secrets"),
        ("logs:DescribeLogGroups", "logGroups"),
        ("cloudwatch:DescribeAlarms", "alarms"),
        ("ecs:DescribeClusters", "cluster"),
    ];
    for (action, _) in denied {
        world.fault(json!({ "on": action, "kind": "error", "code": "AccessDeniedException", "status": 400, "message": "no" })).await;
    }
    let said = world.verify(0).await;
    assert_eq!(said.0["status"], "ready");
    for (action, check) in denied {
        let warning = said.warned(check, &format!("the caller lacks {action}"));
        assert_eq!(warning["action"], action);
        assert!(warning["hint"].as_str().unwrap().contains(action), "{warning}");
    }
    let deployed = world.deploy(0).await;
    let line = deployed.stderr.lines().find(|line| line.contains("not everything is checked beforehand")).unwrap();
    for (action, _) in denied {
        assert_eq!(line.matches(action).count(), 1, "{action} in {line}");
    }
    world.end().await;
}

/// What a task would stop with only after it was started.
#[tokio::test]
async fn an_execution_role_that_may_not_read_a_secret_is_told_of() {
    let world = World::start().await;
    world.role("exec", "ecs-tasks.amazonaws.com").await;
    let made = world.call("secretsmanager.CreateSecret", json!({ "Name": "db", "SecretString": "x" })).await;
    world.call("AmazonSSM.PutParameter", json!({ "Name": "/web/key", "Value": "x", "Type": "SecureString" })).await;
    let secrets = json!([{ "name": "A", "valueFrom": made["ARN"] }, { "name": "B", "valueFrom": "/web/key" }]);
    world.task_definition(json!({ "executionRoleArn": "exec" }), json!({ "secrets": secrets }));
    let said = world.verify(0).await;
    let secret = made["ARN"].as_str().unwrap();
    said.warned(
        "permissions",
        &format!("the execution role `exec` may not be allowed to do secretsmanager:GetSecretValue on {secret}"),
    );
    said.warned("permissions", "ssm:GetParameters on arn:aws:ssm:us-east-1:111122223333:parameter/web/key");

    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": ["ssm:GetParameters", "secretsmanager:GetSecretValue"], "Resource": ["arn:aws:ssm:*:*:parameter/web/*", secret] },
    ]}).to_string();
    let put = iam::call(
        &world.lab,
        "PutRolePolicy",
        &[("RoleName", "exec"), ("PolicyName", "p"), ("PolicyDocument", &policy)],
    )
    .await;
    assert_eq!(put.0, 200, "{}", put.1);
    let detail = world.verify(0).await.fine("permissions").to_owned();
    assert!(detail.ends_with("2 IAM actions of the execution role exec"), "{detail}");
    world.end().await;
}
