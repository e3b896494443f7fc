//! Repositories: how they are named, and policies that others wrote into too.

use serde_json::{Value, json};
use steadystate::deploy::repository::{merge_policy, names_registry};

#[test]
fn policies_are_merged_by_sid_and_left_alone_when_equal() {
    let policy = |statements: Value| json!({ "Version": "2012-10-17", "Statement": statements });
    let pull = |who: &str| json!({ "Sid": "pull", "Effect": "Allow", "Principal": { "AWS": who }, "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"] });
    let theirs = json!({ "Sid": "theirs", "Effect": "Deny", "Principal": "*", "Action": "ecr:DeleteRepository" });
    let nameless = json!({ "Effect": "Allow", "Principal": "*", "Action": "ecr:ListImages" });
    let mut reordered = pull("a");
    reordered["Action"] = json!(["ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"]);
    reordered["Principal"] = json!({ "AWS": ["a"] });
    let rows = [
        ("none yet", None, policy(json!([pull("a")])), Some(policy(json!([pull("a")])))),
        ("equal", Some(policy(json!([pull("a")]))), policy(json!([pull("a")])), None),
        ("equal as IAM reads it", Some(policy(json!([reordered]))), policy(json!([pull("a")])), None),
        ("one statement without a list", Some(policy(pull("a"))), policy(json!([pull("a")])), None),
        (
            "theirs stays",
            Some(policy(json!([theirs]))),
            policy(json!([pull("a")])),
            Some(policy(json!([theirs, pull("a")]))),
        ),
        ("ours is there beside theirs", Some(policy(json!([theirs, pull("a")]))), policy(json!([pull("a")])), None),
        (
            "ours changed",
            Some(policy(json!([pull("a"), theirs]))),
            policy(json!([pull("b")])),
            Some(policy(json!([pull("b"), theirs]))),
        ),
        ("without Sid, there", Some(policy(json!([nameless]))), policy(json!([nameless])), None),
        (
            "without Sid, new",
            Some(policy(json!([theirs]))),
            policy(json!([nameless])),
            Some(policy(json!([theirs, nameless]))),
        ),
    ];
    for (row, live, wanted, expected) in rows {
        assert_eq!(merge_policy(live.as_ref(), &wanted), expected, "{row}");
    }
}

#[test]
fn which_repositories_are_named_in_full() {
    for (name, expected) in [
        ("hello", false),
        ("team/hello", false),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/hello", true),
        ("localhost/hello", true),
        ("127.0.0.1:5000/hello", true),
        ("registry.example.com/a/b", true),
        ("https://registry.example.com/a", true),
    ] {
        assert_eq!(names_registry(name), expected, "{name}");
    }
}
