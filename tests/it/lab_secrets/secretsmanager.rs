//! The operations of Secrets Manager.

use serde_json::{Value, json};

use super::{Row, call, run};
use crate::lab_front::TestLab;

const ASM: &str = "secretsmanager";
const TOKENS: [&str; 3] = [
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
    "00000000-0000-4000-8000-000000000003",
];

fn with_token(mut input: Value, token: usize) -> Value {
    input["ClientRequestToken"] = json!(TOKENS[token]);
    input
}

async fn create(lab: &TestLab, input: Value) -> String {
    let created = call(lab, ASM, "CreateSecret", &input).await.unwrap();
    created["ARN"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn secrets_are_found_by_name_and_by_arn_whole_or_without_its_end() {
    let lab = TestLab::start().await;
    let first = create(&lab, json!({ "Name": "prod/db", "SecretString": "s" })).await;
    create(&lab, json!({ "Name": "prod/db-AbCdEf", "SecretString": "t" })).await;
    let random = first.strip_prefix("arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/db-").unwrap();
    assert!(random.len() == 6 && random.chars().all(|c| c.is_ascii_alphanumeric()), "{first}");
    let partial = &first[..first.len() - 7];
    for (id, value) in [
        ("prod/db", Some("s")),
        (&first, Some("s")),
        (partial, Some("s")),
        ("db", None),
        (&first[..first.len() - 1], None),
    ] {
        let found = call(&lab, ASM, "GetSecretValue", &json!({ "SecretId": id })).await;
        match value {
            Some(value) => assert_eq!(found.unwrap()["SecretString"], value, "{id}"),
            None => assert_eq!(
                found.unwrap_err(),
                ("ResourceNotFoundException".to_owned(), "Secrets Manager can't find the specified secret.".to_owned()),
                "{id}"
            ),
        }
    }
    lab.end().await;
}

#[tokio::test]
async fn values_have_versions_in_stages() {
    let lab = TestLab::start().await;
    let id = json!({ "SecretId": "a" });
    let put = |value: &str, token: usize| with_token(json!({ "SecretId": "a", "SecretString": value }), token);
    let get = |member: &str, value: &str| {
        let mut input = json!({ "SecretId": "a" });
        input[member] = json!(value);
        input
    };
    let both = json!({ "Name": "a", "SecretString": "x", "SecretBinary": "eA==" });
    let rows: Vec<Row> = vec![
        ("CreateSecret", both, Err(("InvalidParameterException", "You can't specify both a binary secret value"))),
        ("CreateSecret", json!({ "Name": "a b" }), Err(("ValidationException", "Invalid name."))),
        ("CreateSecret", json!({}), Err(("ValidationException", "1 validation error detected: Value null at 'name'"))),
        ("CreateSecret", json!({ "Name": "a" }), Ok(json!({ "Name": "a" }))),
        (
            "CreateSecret",
            json!({ "Name": "a" }),
            Err(("ResourceExistsException", "The operation failed because the secret a already exists.")),
        ),
        (
            "GetSecretValue",
            id.clone(),
            Err((
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
            )),
        ),
        (
            "PutSecretValue",
            id.clone(),
            Err(("InvalidRequestException", "You must provide either SecretString or SecretBinary.")),
        ),
        ("PutSecretValue", put("one", 0), Ok(json!({ "VersionId": TOKENS[0], "VersionStages": ["AWSCURRENT"] }))),
        ("PutSecretValue", put("one", 0), Ok(json!({ "VersionId": TOKENS[0] }))),
        ("PutSecretValue", put("other", 0), Err(("ResourceExistsException", "You can't use ClientRequestToken"))),
        ("PutSecretValue", put("two", 1), Ok(json!({ "VersionId": TOKENS[1] }))),
        ("GetSecretValue", id.clone(), Ok(json!({ "SecretString": "two", "VersionStages": ["AWSCURRENT"] }))),
        (
            "GetSecretValue",
            get("VersionStage", "AWSPREVIOUS"),
            Ok(json!({ "SecretString": "one", "VersionStages": ["AWSPREVIOUS"] })),
        ),
        ("GetSecretValue", get("VersionId", TOKENS[0]), Ok(json!({ "SecretString": "one" }))),
        (
            "GetSecretValue",
            get("VersionId", TOKENS[2]),
            Err(("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId")),
        ),
        (
            "UpdateSecret",
            with_token(json!({ "SecretId": "a", "SecretBinary": "AAEC", "Description": "d" }), 2),
            Ok(json!({ "VersionId": TOKENS[2] })),
        ),
        ("GetSecretValue", id.clone(), Ok(json!({ "SecretBinary": "AAEC" }))),
        ("GetSecretValue", get("VersionStage", "AWSPREVIOUS"), Ok(json!({ "SecretString": "two" }))),
        (
            "DescribeSecret",
            id.clone(),
            Ok(
                json!({ "Description": "d", "VersionIdsToStages": { TOKENS[2]: ["AWSCURRENT"], TOKENS[1]: ["AWSPREVIOUS"] } }),
            ),
        ),
        (
            "PutSecretValue",
            json!({ "SecretId": "a", "SecretString": "" }),
            Err(("ValidationException", "1 validation error detected: Value at 'secretString' failed")),
        ),
    ];
    run(&lab, ASM, rows).await;
    let described = call(&lab, ASM, "DescribeSecret", &id).await.unwrap();
    assert_eq!(described["VersionIdsToStages"].as_object().unwrap().len(), 2, "{described}");
    for (deprecated, count) in [(false, 2), (true, 3)] {
        let input = json!({ "SecretId": "a", "IncludeDeprecated": deprecated });
        let listed = call(&lab, ASM, "ListSecretVersionIds", &input).await.unwrap();
        assert_eq!(listed["Versions"].as_array().unwrap().len(), count, "{listed}");
    }
    lab.end().await;
}

#[tokio::test]
async fn a_deleted_secret_can_come_back_until_it_is_gone() {
    let lab = TestLab::start().await;
    let first = create(&lab, json!({ "Name": "a", "SecretString": "s", "Tags": [{ "Key": "k", "Value": "v" }] })).await;
    let id = json!({ "SecretId": "a" });
    let marked = "You can't perform this operation on the secret because it was marked for deletion.";
    let forced = json!({ "SecretId": "a", "ForceDeleteWithoutRecovery": true });
    let rows: Vec<Row> = vec![
        ("TagResource", json!({ "SecretId": "a", "Tags": [{ "Key": "x", "Value": "y" }] }), Ok(json!({}))),
        ("UntagResource", json!({ "SecretId": "a", "TagKeys": ["k"] }), Ok(json!({}))),
        ("DescribeSecret", id.clone(), Ok(json!({ "Tags": [{ "Key": "x", "Value": "y" }] }))),
        (
            "DeleteSecret",
            json!({ "SecretId": "a", "RecoveryWindowInDays": 3 }),
            Err(("InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30")),
        ),
        ("DeleteSecret", id.clone(), Ok(json!({ "Name": "a" }))),
        ("GetSecretValue", id.clone(), Err(("InvalidRequestException", marked))),
        ("PutSecretValue", json!({ "SecretId": "a", "SecretString": "t" }), Err(("InvalidRequestException", marked))),
        (
            "CreateSecret",
            json!({ "Name": "a" }),
            Err(("InvalidRequestException", "You can't create this secret because")),
        ),
        ("ListSecrets", json!({}), Ok(json!({ "SecretList": [] }))),
        ("ListSecrets", json!({ "IncludePlannedDeletion": true }), Ok(json!({ "SecretList": [{ "Name": "a" }] }))),
        ("RestoreSecret", id.clone(), Ok(json!({ "ARN": first }))),
        ("GetSecretValue", id.clone(), Ok(json!({ "SecretString": "s" }))),
        ("DeleteSecret", forced.clone(), Ok(json!({ "ARN": first }))),
        ("DeleteSecret", forced, Ok(json!({ "Name": "a" }))),
        ("RestoreSecret", id, Err(("ResourceNotFoundException", ""))),
    ];
    run(&lab, ASM, rows).await;
    let again = create(&lab, json!({ "Name": "a" })).await;
    assert_ne!(first, again, "a secret of the same name is another one");
    lab.end().await;
}

#[tokio::test]
async fn listings_filter_sort_and_come_in_pages() {
    let lab = TestLab::start().await;
    for (name, tag) in [("prod/a", "blue"), ("prod/b", "green"), ("test/a", "blue")] {
        create(&lab, json!({ "Name": name, "SecretString": "hidden", "Tags": [{ "Key": "team", "Value": tag }] }))
            .await;
    }
    let filtered = |key: &str, value: &str| json!({ "SortBy": "name", "SortOrder": "asc", "Filters": [{ "Key": key, "Values": [value] }] });
    let names = |names: &[&str]| {
        Ok(json!({ "SecretList": names.iter().map(|name| json!({ "Name": name })).collect::<Vec<_>>() }))
    };
    let rows: Vec<Row> = vec![
        ("ListSecrets", filtered("name", "prod/"), names(&["prod/a", "prod/b"])),
        ("ListSecrets", filtered("name", "!prod/"), names(&["test/a"])),
        ("ListSecrets", filtered("tag-value", "blue"), names(&["prod/a", "test/a"])),
        ("ListSecrets", filtered("all", "TEST"), names(&["test/a"])),
        ("ListSecrets", json!({ "NextToken": "x" }), Err(("InvalidNextTokenException", ""))),
    ];
    run(&lab, ASM, rows).await;
    let input = json!({ "SortBy": "name", "SortOrder": "asc", "MaxResults": 2 });
    let first = call(&lab, ASM, "ListSecrets", &input).await.unwrap();
    let input = json!({ "SortBy": "name", "SortOrder": "asc", "MaxResults": 2, "NextToken": first["NextToken"] });
    let second = call(&lab, ASM, "ListSecrets", &input).await.unwrap();
    assert_eq!((&second["SecretList"][0]["Name"], &second["NextToken"]), (&json!("test/a"), &Value::Null));
    assert!(!first.to_string().contains("hidden"), "{first}");
    lab.end().await;
}
