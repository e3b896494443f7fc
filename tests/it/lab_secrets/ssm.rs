//! The Parameter Store's operations.

use serde_json::{Value, json};

use super::{Row, call, run};
use crate::lab_front::TestLab;

const SSM: &str = "AmazonSSM";

fn put(name: &str, value: &str, kind: &str) -> Value {
    json!({ "Name": name, "Value": value, "Type": kind })
}

fn over(name: &str, value: &str) -> Value {
    json!({ "Name": name, "Value": value, "Overwrite": true })
}

#[tokio::test]
async fn parameters_have_versions_and_types() {
    let lab = TestLab::start().await;
    let arn = "arn:aws:ssm:us-east-1:111122223333:parameter/web/key";
    let rows: Vec<Row> = vec![
        ("GetParameter", json!({ "Name": "/web/key" }), Err(("ParameterNotFound", ""))),
        (
            "PutParameter",
            json!({ "Name": "/web/key", "Value": "a" }),
            Err(("ValidationException", "A parameter type is required")),
        ),
        (
            "PutParameter",
            json!({ "Name": "/web/key" }),
            Err(("ValidationException", "1 validation error detected: Value null at 'value'")),
        ),
        (
            "PutParameter",
            put("/web/key", "", "String"),
            Err(("ValidationException", "1 validation error detected: Value '' at 'value'")),
        ),
        (
            "PutParameter",
            put("/web/key", "a", "Secret"),
            Err(("ValidationException", "1 validation error detected: Value 'Secret' at 'type' failed")),
        ),
        (
            "PutParameter",
            put("web/key", "a", "String"),
            Err(("ValidationException", "Parameter name must be a fully qualified name.")),
        ),
        (
            "PutParameter",
            put("/aws/key", "a", "String"),
            Err(("AccessDeniedException", "No access to reserved parameter name: /aws/key.")),
        ),
        (
            "PutParameter",
            put("/web/ke y", "a", "String"),
            Err(("ValidationException", "Parameter name: can't be prefixed with")),
        ),
        (
            "PutParameter",
            put("/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16", "a", "String"),
            Err(("HierarchyLevelLimitExceededException", "")),
        ),
        (
            "PutParameter",
            put("/web/key", &"x".repeat(4097), "String"),
            Err(("ValidationException", "Standard tier parameters support a maximum")),
        ),
        ("PutParameter", put("/web/key", "one", "SecureString"), Ok(json!({ "Version": 1, "Tier": "Standard" }))),
        (
            "PutParameter",
            put("/web/key", "two", "SecureString"),
            Err(("ParameterAlreadyExists", "The parameter already exists. To overwrite")),
        ),
        ("PutParameter", over("/web/key", "two"), Ok(json!({ "Version": 2 }))),
        (
            "PutParameter",
            json!({ "Name": "/web/key", "Value": "two", "Type": "String", "Overwrite": true }),
            Err(("HierarchyTypeMismatchException", "")),
        ),
        (
            "GetParameter",
            json!({ "Name": "/web/key", "WithDecryption": true }),
            Ok(
                json!({ "Parameter": { "Name": "/web/key", "Type": "SecureString", "Value": "two", "Version": 2, "ARN": arn, "DataType": "text" } }),
            ),
        ),
        (
            "GetParameter",
            json!({ "Name": "/web/key:1", "WithDecryption": true }),
            Ok(json!({ "Parameter": { "Value": "one", "Selector": ":1" } })),
        ),
        (
            "GetParameter",
            json!({ "Name": format!("{arn}:1"), "WithDecryption": true }),
            Ok(json!({ "Parameter": { "Value": "one" } })),
        ),
        (
            "GetParameter",
            json!({ "Name": arn, "WithDecryption": true }),
            Ok(json!({ "Parameter": { "Name": "/web/key", "Value": "two" } })),
        ),
        (
            "GetParameter",
            json!({ "Name": "/web/key:9" }),
            Err(("ParameterVersionNotFound", "Systems Manager could not find version 9 of /web/key.")),
        ),
        (
            "GetParameter",
            json!({ "Name": "arn:aws:ssm:eu-west-1:111122223333:parameter/web/key" }),
            Err(("ParameterNotFound", "")),
        ),
        (
            "GetParameters",
            json!({ "Names": ["/none", "/web/key:1", "/web/key:7"], "WithDecryption": true }),
            Ok(json!({ "Parameters": [{ "Value": "one" }], "InvalidParameters": ["/none", "/web/key:7"] })),
        ),
        (
            "GetParameterHistory",
            json!({ "Name": "/web/key", "WithDecryption": true }),
            Ok(json!({ "Parameters": [{ "Value": "one", "Version": 1 }, { "Value": "two", "Version": 2 }] })),
        ),
        ("DeleteParameter", json!({ "Name": "/web/key" }), Ok(json!({}))),
        ("DeleteParameter", json!({ "Name": "/web/key" }), Err(("ParameterNotFound", ""))),
        ("MakeCoffee", json!({}), Err(("UnknownOperationException", ""))),
    ];
    run(&lab, SSM, rows).await;
    lab.end().await;
}

#[tokio::test]
async fn a_secure_string_is_told_to_who_asks_for_it() {
    let lab = TestLab::start().await;
    call(&lab, SSM, "PutParameter", &put("/a/s", "do-not-tell", "SecureString")).await.unwrap();
    for (operation, input) in [
        ("GetParameter", json!({ "Name": "/a/s" })),
        ("GetParameters", json!({ "Names": ["/a/s"] })),
        ("GetParametersByPath", json!({ "Path": "/a" })),
        ("GetParameterHistory", json!({ "Name": "/a/s" })),
        ("DescribeParameters", json!({})),
    ] {
        let reply = call(&lab, SSM, operation, &input).await.unwrap().to_string();
        assert!(reply.contains("/a/s") && !reply.contains("do-not-tell"), "{operation}: {reply}");
    }
    lab.end().await;
}

#[tokio::test]
async fn listings_go_by_path_and_filter_in_pages() {
    let lab = TestLab::start().await;
    for (name, kind) in [("/a/1", "String"), ("/a/2", "SecureString"), ("/a/b/3", "String"), ("plain", "StringList")] {
        call(&lab, SSM, "PutParameter", &put(name, "v", kind)).await.unwrap();
    }
    let names = |names: &[&str]| {
        Ok(json!({ "Parameters": names.iter().map(|name| json!({ "Name": name })).collect::<Vec<_>>() }))
    };
    let filter = |key: &str, option: &str, value: &str| json!({ "ParameterFilters": [{ "Key": key, "Option": option, "Values": [value] }] });
    let tag = json!([{ "Key": "team", "Value": "blue" }]);
    let resource = json!({ "ResourceType": "Parameter", "ResourceId": "/a/2" });
    let with = |member: &str, value: Value| {
        let mut input = resource.clone();
        input[member] = value;
        input
    };
    let rows: Vec<Row> = vec![
        ("GetParametersByPath", json!({ "Path": "/a" }), names(&["/a/1", "/a/2"])),
        ("GetParametersByPath", json!({ "Path": "/a/", "Recursive": true }), names(&["/a/1", "/a/2", "/a/b/3"])),
        ("GetParametersByPath", json!({ "Path": "/" }), names(&["plain"])),
        (
            "GetParametersByPath",
            json!({ "Path": "a" }),
            Err(("ValidationException", "The parameter doesn't meet the parameter name requirements.")),
        ),
        ("GetParametersByPath", json!({ "Path": "/a", "MaxResults": 11 }), Err(("ValidationException", ""))),
        ("GetParametersByPath", json!({ "Path": "/a", "NextToken": "x" }), Err(("InvalidNextToken", ""))),
        (
            "GetParametersByPath",
            json!({ "Path": "/a", "ParameterFilters": [{ "Key": "Name", "Values": ["x"] }] }),
            Err(("InvalidFilterKey", "The following filter key is not valid: Name.")),
        ),
        ("DescribeParameters", filter("Type", "Equals", "StringList"), names(&["plain"])),
        ("DescribeParameters", filter("Name", "BeginsWith", "/a/b"), names(&["/a/b/3"])),
        ("DescribeParameters", filter("Path", "OneLevel", "/a"), names(&["/a/1", "/a/2"])),
        ("DescribeParameters", filter("Name", "Contains", "lai"), names(&["plain"])),
        ("DescribeParameters", filter("Color", "Equals", "x"), Err(("InvalidFilterKey", ""))),
        ("DescribeParameters", filter("Name", "Ends", "x"), Err(("InvalidFilterOption", ""))),
        ("DescribeParameters", json!({ "Filters": [{ "Key": "Name", "Values": ["pl"] }] }), names(&["plain"])),
        ("AddTagsToResource", with("Tags", tag.clone()), Ok(json!({}))),
        ("ListTagsForResource", resource.clone(), Ok(json!({ "TagList": tag }))),
        ("DescribeParameters", filter("tag:team", "Equals", "blue"), names(&["/a/2"])),
        ("RemoveTagsFromResource", with("TagKeys", json!(["team"])), Ok(json!({}))),
        ("ListTagsForResource", resource, Ok(json!({ "TagList": [] }))),
        (
            "ListTagsForResource",
            json!({ "ResourceType": "Parameter", "ResourceId": "/x" }),
            Err(("InvalidResourceId", "")),
        ),
        (
            "DeleteParameters",
            json!({ "Names": ["/a/1", "/x"] }),
            Ok(json!({ "DeletedParameters": ["/a/1"], "InvalidParameters": ["/x"] })),
        ),
    ];
    run(&lab, SSM, rows).await;
    let (mut found, mut token) = (Vec::new(), Value::Null);
    loop {
        let input = json!({ "MaxResults": 2, "NextToken": token });
        let reply = call(&lab, SSM, "DescribeParameters", &input).await.unwrap();
        found.extend(reply["Parameters"].as_array().unwrap().iter().map(|of| of["Name"].clone()));
        token = reply["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(found, ["/a/2", "/a/b/3", "plain"]);
    lab.end().await;
}
