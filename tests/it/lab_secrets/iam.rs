//! What a preflight asks of IAM: roles and their policies, in its XML.

use serde_json::json;

use crate::lab_front::TestLab;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Status and text of an operation's answer.
pub async fn call(lab: &TestLab, operation: &str, parameters: &[(&str, &str)]) -> (u16, String) {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", operation).append_pair("Version", "2010-05-08").extend_pairs(parameters);
    let answer = lab.send("POST", "/", &[FORM], form.finish()).await;
    (answer.status.as_u16(), answer.text())
}

pub fn trust(service: &str) -> String {
    let statement = json!({ "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole" });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

/// Creates a role that `service` may take.
pub async fn create(lab: &TestLab, name: &str, service: &str) {
    let created = call(lab, "CreateRole", &[("RoleName", name), ("AssumeRolePolicyDocument", &trust(service))]).await;
    assert_eq!(created.0, 200, "{}", created.1);
}

#[tokio::test]
async fn roles_and_their_policies() {
    let lab = TestLab::start().await;
    let trust = trust("ecs-tasks.amazonaws.com");
    let role = ("RoleName", "task");
    let (policy, other) = (
        "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy",
        "arn:aws:iam::111122223333:policy/mine",
    );
    let inline =
        json!({ "Statement": { "Effect": "Allow", "Action": "ssm:GetParameters", "Resource": "*" } }).to_string();
    let principal =
        json!({ "Statement": { "Effect": "Allow", "Action": "a:B", "Resource": "*", "Principal": "*" } }).to_string();
    let named = |what: &str| format!("<Message>{what}</Message>");
    type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, u16, String);
    let table: Vec<Row> = vec![
        (
            "GetRole",
            vec![role],
            404,
            "<Code>NoSuchEntity</Code><Message>The role with name task cannot be found.".into(),
        ),
        ("GetRole", vec![], 400, "<Code>ValidationError</Code>".into()),
        (
            "CreateRole",
            vec![role, ("AssumeRolePolicyDocument", "{")],
            400,
            "<Code>MalformedPolicyDocument</Code><Message>This policy contains invalid Json".into(),
        ),
        (
            "CreateRole",
            vec![role, ("AssumeRolePolicyDocument", &inline)],
            400,
            "<Code>MalformedPolicyDocument</Code>".into(),
        ),
        (
            "CreateRole",
            vec![
                role,
                ("AssumeRolePolicyDocument", &trust),
                ("Path", "/a/"),
                ("Tags.member.1.Key", "k"),
                ("Tags.member.1.Value", "v"),
            ],
            200,
            "<Arn>arn:aws:iam::111122223333:role/a/task</Arn>".into(),
        ),
        (
            "CreateRole",
            vec![role, ("AssumeRolePolicyDocument", &trust)],
            409,
            "<Code>EntityAlreadyExists</Code><Message>Role with name task already exists.".into(),
        ),
        (
            "GetRole",
            vec![role],
            200,
            "<AssumeRolePolicyDocument>%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22".into(),
        ),
        (
            "ListRoleTags",
            vec![role],
            200,
            "<Tags><member><Key>k</Key><Value>v</Value></member></Tags><IsTruncated>false</IsTruncated>".into(),
        ),
        ("ListRoles", vec![("PathPrefix", "/b/")], 200, "<Roles></Roles>".into()),
        ("ListRoles", vec![("PathPrefix", "/a")], 200, "<RoleName>task</RoleName>".into()),
        (
            "AttachRolePolicy",
            vec![role, ("PolicyArn", other)],
            404,
            named(&format!("Policy {other} does not exist or is not attachable.")),
        ),
        ("AttachRolePolicy", vec![role, ("PolicyArn", policy)], 200, String::new()),
        (
            "ListAttachedRolePolicies",
            vec![role],
            200,
            format!("<PolicyName>AmazonECSTaskExecutionRolePolicy</PolicyName><PolicyArn>{policy}</PolicyArn>"),
        ),
        (
            "PutRolePolicy",
            vec![role, ("PolicyName", "p"), ("PolicyDocument", &principal)],
            400,
            "should not specify a principal".into(),
        ),
        ("PutRolePolicy", vec![role, ("PolicyName", "p"), ("PolicyDocument", &inline)], 200, String::new()),
        ("GetRolePolicy", vec![role, ("PolicyName", "p")], 200, "<PolicyDocument>%7B%22Statement%22".into()),
        ("GetRolePolicy", vec![role, ("PolicyName", "q")], 404, named("The role policy with name q cannot be found.")),
        ("ListRolePolicies", vec![role], 200, "<PolicyNames><member>p</member></PolicyNames>".into()),
        (
            "DeleteRole",
            vec![role],
            409,
            "<Code>DeleteConflict</Code><Message>Cannot delete entity, must detach all policies first.".into(),
        ),
        ("DetachRolePolicy", vec![role, ("PolicyArn", policy)], 200, String::new()),
        ("DetachRolePolicy", vec![role, ("PolicyArn", policy)], 404, named(&format!("Policy {policy} was not found."))),
        ("DeleteRole", vec![role], 409, "must delete policies first".into()),
        ("DeleteRolePolicy", vec![role, ("PolicyName", "p")], 200, String::new()),
        ("UntagRole", vec![role, ("TagKeys.member.1", "k")], 200, String::new()),
        ("TagRole", vec![role, ("Tags.member.1.Key", "x"), ("Tags.member.1.Value", "y")], 200, String::new()),
        ("ListRoleTags", vec![role], 200, "<Tags><member><Key>x</Key>".into()),
        ("DeleteRole", vec![role], 200, String::new()),
        ("GetRole", vec![role], 404, "NoSuchEntity".into()),
        ("CreateUser", vec![("UserName", "u")], 400, "<Code>InvalidAction</Code>".into()),
    ];
    for (operation, parameters, status, part) in table {
        let (found, text) = call(&lab, operation, &parameters).await;
        assert_eq!(found, status, "{operation} {parameters:?}: {text}");
        assert!(text.contains(&part), "{operation} {parameters:?}: {text}");
    }
    lab.end().await;
}

#[tokio::test]
async fn roles_come_in_pages() {
    let lab = TestLab::start().await;
    for name in ["a", "b", "c"] {
        create(&lab, name, "ecs-tasks.amazonaws.com").await;
    }
    let (_, first) = call(&lab, "ListRoles", &[("MaxItems", "2")]).await;
    assert!(first.contains("<IsTruncated>true</IsTruncated>"), "{first}");
    let marker = first.split("<Marker>").nth(1).unwrap().split('<').next().unwrap();
    let (_, second) = call(&lab, "ListRoles", &[("MaxItems", "2"), ("Marker", marker)]).await;
    assert!(second.contains("<RoleName>c</RoleName>") && !second.contains("<RoleName>b</RoleName>"), "{second}");
    lab.end().await;
}
