//! Lifecycle policies: what is refused, what a preview says, and images that really go.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{OCI_MANIFEST, TestLab, digest};

fn rule(priority: i64, status: &str, more: Value) -> Value {
    let mut selection = json!({ "tagStatus": status, "countType": "imageCountMoreThan", "countNumber": 1 });
    selection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "rulePriority": priority, "description": "One of the rules of a policy that the lab is to keep, try and apply", "selection": selection, "action": { "type": "expire" } })
}

fn policy(rules: &[Value]) -> String {
    json!({ "rules": rules }).to_string()
}

#[tokio::test]
async fn policies_that_are_wrong_are_refused_in_ecrs_words() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let with = |pointer: &str, value: Value| {
        let mut rule = rule(1, "untagged", json!({}));
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        rule.pointer_mut(parent).unwrap()[member] = value;
        policy(&[rule])
    };
    let without = |pointer: &str| {
        let mut rule = rule(1, "untagged", json!({}));
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        rule.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(member);
        policy(&[rule])
    };
    let untagged = rule(1, "untagged", json!({}));
    let no_schema = "instance failed to match exactly one schema (matched 0 out of 2)";
    let table = [
        (" ".repeat(100), "Could not map policyString into LifecyclePolicy."),
        (
            json!({ "rulez": [], "more": "x".repeat(100) }).to_string(),
            "object has missing required properties ([\"rules\"])",
        ),
        (
            json!({ "rules": [], "more": "x".repeat(100) }).to_string(),
            "object instance has properties which are not allowed by the schema: ([\"more\"])",
        ),
        (without("/selection"), "object has missing required properties ([\"selection\"])"),
        (without("/selection/countNumber"), "object has missing required properties ([\"countNumber\"])"),
        (with("/rulePriority", json!(0)), "numeric instance is lower than the required minimum (minimum: 1, found: 0)"),
        (
            with("/rulePriority", json!("1")),
            "instance type (string) does not match any allowed primitive type (allowed: [\"integer\"])",
        ),
        (with("/action/type", json!("keep")), "instance value (keep) not found in enum :(possible values: "),
        (with("/action/targetStorageClass", json!(null)), no_schema),
        (with("/action/targetStorageClass", json!("archive")), no_schema),
        (with("/action/type", json!("transition")), no_schema),
        (with("/selection/storageClass", json!("archive")), no_schema),
        (
            with("/selection/storageClass", json!("glacier")),
            "instance value (glacier) not found in enum :(possible values: ",
        ),
        (policy(&[rule(1, "any", json!({ "countType": "sinceImageTransitioned", "countUnit": "days" }))]), no_schema),
        (
            policy(&[rule(
                1,
                "any",
                json!({ "countType": "sinceImageTransitioned", "countUnit": "days", "storageClass": "archive" }),
            )]),
            "numeric instance is lower than the required minimum (minimum: 90, found: 1)",
        ),
        (
            policy(&[rule(1, "any", json!({ "countType": "sinceImagePulled", "countUnit": "days" }))]),
            "archived, not expired, by sinceImagePulled",
        ),
        (
            policy(&(1..=51).map(|at| rule(at, "tagged", json!({ "tagPrefixList": ["v"] }))).collect::<Vec<_>>()),
            "array is too long: must have at most 50 elements but instance has 51 elements",
        ),
        (with("/selection/tagStatus", json!("all")), "instance value (all) not found in enum :(possible values: "),
        (with("/selection/countType", json!("newest")), no_schema),
        (with("/selection/countUnit", json!("days")), no_schema),
        (with("/selection/tagPrefixList", json!(["v"])), no_schema),
        (policy(&[rule(1, "tagged", json!({}))]), no_schema),
        (policy(&[rule(1, "tagged", json!({ "tagPrefixList": ["v"], "tagPatternList": ["v*"] }))]), no_schema),
        (policy(&[rule(1, "tagged", json!({ "tagPatternList": ["*a*b*c*d*"] }))]), "more than 4 wildcards"),
        (
            policy(&[rule(1, "any", json!({ "countType": "sinceImagePushed", "countUnit": "weeks" }))]),
            "instance value (weeks) not found in enum :(possible values: [\"days\"])",
        ),
        (policy(&[untagged.clone(), untagged.clone()]), "rulePriority of its own"),
        (policy(&[untagged.clone(), rule(2, "untagged", json!({}))]), "only one rule can select untagged"),
        (policy(&[rule(1, "any", json!({})), rule(2, "untagged", json!({}))]), "must have the highest rulePriority"),
    ];
    let begin = "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: ";
    for (text, why) in table {
        let input = json!({ "repositoryName": "there", "lifecyclePolicyText": text });
        for operation in ["PutLifecyclePolicy", "StartLifecyclePolicyPreview"] {
            let (code, message) = lab.ecr_error(operation, input.clone()).await;
            assert_eq!(code, "InvalidParameterException", "{operation} {text}: {message}");
            assert!(message.starts_with(begin) && message.contains(why), "{operation} {text}: {message}");
        }
    }
    let short = json!({ "repositoryName": "there", "lifecyclePolicyText": "{}" });
    let (_, message) = lab.ecr_error("PutLifecyclePolicy", short).await;
    assert!(message.contains("must have length greater than or equal to 100"), "{message}");
    lab.end().await;
}

#[tokio::test]
async fn a_preview_says_what_would_go_and_nothing_goes() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let there = |more: Value| {
        let mut input = json!({ "repositoryName": "there" });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let mut digests = Vec::new();
    for (tag, layer) in [("v1", "1"), ("v2", "2"), ("v3", "3"), ("keep", "4"), ("keep", "5")] {
        digests.push(lab.push("there", tag, layer.as_bytes()).await);
        // an order by the time of the push
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(
        lab.ecr_error("GetLifecyclePolicyPreview", there(json!({}))).await.0,
        "LifecyclePolicyPreviewNotFoundException"
    );
    assert_eq!(
        lab.ecr_error("StartLifecyclePolicyPreview", there(json!({}))).await.0,
        "LifecyclePolicyNotFoundException"
    );
    let text =
        policy(&[rule(2, "any", json!({ "countNumber": 4 })), rule(1, "tagged", json!({ "tagPrefixList": ["v"] }))]);
    let started = lab.ecr("StartLifecyclePolicyPreview", there(json!({ "lifecyclePolicyText": text }))).await;
    assert_eq!(
        started,
        json!({ "registryId": "111122223333", "repositoryName": "there", "lifecyclePolicyText": text, "status": "IN_PROGRESS" })
    );
    let (code, message) =
        lab.ecr_error("StartLifecyclePolicyPreview", there(json!({ "lifecyclePolicyText": text }))).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "LifecyclePolicyPreviewInProgressException",
            "The previous lifecycle policy preview request has not completed. Wait and try again."
        )
    );
    let deadline = Instant::now() + Duration::from_secs(20);
    let preview = loop {
        let preview = lab.ecr("GetLifecyclePolicyPreview", there(json!({}))).await;
        if preview["status"] == "COMPLETE" {
            break preview;
        }
        assert_eq!(preview["previewResults"], json!([]), "{preview}");
        assert!(Instant::now() < deadline, "{preview}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let shown = |preview: &Value| -> Vec<(String, i64)> {
        let results = preview["previewResults"].as_array().unwrap().iter();
        results
            .map(|one| (one["imageDigest"].as_str().unwrap().to_owned(), one["appliedRulePriority"].as_i64().unwrap()))
            .collect()
    };
    assert_eq!(shown(&preview), [(digests[0].clone(), 1), (digests[1].clone(), 1)]);
    assert_eq!(preview["summary"]["expiringImageTotalCount"], 2);
    let first = &preview["previewResults"][0];
    assert_eq!((&first["imageTags"], &first["action"]), (&json!(["v1"]), &json!({ "type": "EXPIRE" })));
    assert!(first["imagePushedAt"].is_f64(), "{first}");

    let table = [
        (json!({ "maxResults": 1 }), 1, true),
        (json!({ "imageIds": [{ "imageTag": "v2" }, { "imageTag": "keep" }] }), 1, false),
        (json!({ "filter": { "tagStatus": "UNTAGGED" } }), 0, false),
        (json!({ "filter": { "tagStatus": "TAGGED" } }), 2, false),
    ];
    for (input, count, more) in table {
        let found = lab.ecr("GetLifecyclePolicyPreview", there(input.clone())).await;
        assert_eq!((shown(&found).len(), found.get("nextToken").is_some()), (count, more), "{input}");
        assert_eq!(found["summary"]["expiringImageTotalCount"], 2, "{input}");
    }
    let next = lab.ecr("GetLifecyclePolicyPreview", there(json!({ "maxResults": 1 }))).await["nextToken"].clone();
    let rest = lab.ecr("GetLifecyclePolicyPreview", there(json!({ "nextToken": next }))).await;
    assert_eq!(shown(&rest), [(digests[1].clone(), 1)]);
    let images = lab.ecr("ListImages", there(json!({}))).await;
    assert_eq!(images["imageIds"].as_array().unwrap().len(), 5, "nothing went");

    // of the policy that is there
    assert_eq!(
        lab.ecr("PutLifecyclePolicy", there(json!({ "lifecyclePolicyText": text }))).await["lifecyclePolicyText"],
        text
    );
    let started = lab.ecr("StartLifecyclePolicyPreview", there(json!({}))).await;
    assert_eq!(started["lifecyclePolicyText"], text);
    lab.end().await;
}

/// The lab looks every ten of AWS's minutes, that is 6 s.
#[tokio::test]
async fn images_that_a_policy_expires_go_with_what_is_about_them() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let there = json!({ "repositoryName": "there" });
    let old = lab.push("there", "v1", b"old").await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let new = lab.push("there", "v2", b"new").await;
    let about = |subject: &str| {
        let empty =
            json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(b"{}"), "size": 2 });
        let subject = json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 });
        json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": [], "subject": subject })
            .to_string()
    };
    for subject in [&old, &new] {
        lab.ecr("PutImage", json!({ "repositoryName": "there", "imageManifest": about(subject) })).await;
    }
    let text = policy(&[rule(1, "tagged", json!({ "tagPrefixList": ["v"] })), rule(2, "untagged", json!({}))]);
    lab.ecr("PutLifecyclePolicy", json!({ "repositoryName": "there", "lifecyclePolicyText": text })).await;
    let kept = lab.ecr("GetLifecyclePolicy", there.clone()).await;
    assert_eq!((&kept["lifecyclePolicyText"], &kept["lastEvaluatedAt"]), (&json!(text), &json!(0.0)));
    let deadline = Instant::now() + Duration::from_secs(60);
    let left = loop {
        let listed = lab.ecr("ListImages", there.clone()).await;
        let mut left: Vec<String> = listed["imageIds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id["imageDigest"].as_str().unwrap().to_owned())
            .collect();
        left.sort();
        if left.len() < 4 {
            break left;
        }
        assert!(Instant::now() < deadline, "{listed}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut expected = vec![new.clone(), digest(about(&new).as_bytes())];
    expected.sort();
    assert_eq!(left, expected);
    // The file goes when that is saved.
    while lab.folder.path().join("blobs/sha256").join(&digest(b"old")[7..]).exists() {
        assert!(Instant::now() < deadline, "its layer went with it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let evaluated = lab.ecr("GetLifecyclePolicy", there.clone()).await["lastEvaluatedAt"].clone();
    assert!(evaluated.as_f64().unwrap() > 1_700_000_000.0, "{evaluated}");
    let deleted = lab.ecr("DeleteLifecyclePolicy", there.clone()).await;
    assert_eq!(deleted["lifecyclePolicyText"], text);
    assert_eq!(lab.ecr_error("DeleteLifecyclePolicy", there).await.0, "LifecyclePolicyNotFoundException");
    lab.end().await;
}
