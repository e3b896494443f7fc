//! What ECR keeps for the whole registry and for a repository's tags, and how it lists and filters images.

use serde_json::{Value, json};

use super::{OCI_MANIFEST, TestLab, digest};

#[tokio::test]
async fn account_settings_have_aws_defaults_and_values() {
    let lab = TestLab::start().await;
    let table = [
        ("BASIC_SCAN_TYPE_VERSION", "AWS_NATIVE", "AWS_NATIVE"),
        ("REGISTRY_POLICY_SCOPE", "V2", "V2"),
        ("BLOB_MOUNTING", "DISABLED", "ENABLED"),
    ];
    for (name, default, other) in table {
        assert_eq!(
            lab.ecr("GetAccountSetting", json!({ "name": name })).await,
            json!({ "name": name, "value": default })
        );
        let set = json!({ "name": name, "value": other });
        assert_eq!(lab.ecr("PutAccountSetting", set.clone()).await, set);
        assert_eq!(lab.ecr("GetAccountSetting", json!({ "name": name })).await, set);
        let (code, message) = lab.ecr_error("PutAccountSetting", json!({ "name": name, "value": "SOMETIMES" })).await;
        assert_eq!(code, "InvalidParameterException");
        assert!(message.contains("'value'") && message.contains(other), "{message}");
    }
    for operation in ["GetAccountSetting", "PutAccountSetting"] {
        let (code, message) = lab.ecr_error(operation, json!({ "name": "TASTE", "value": "SWEET" })).await;
        assert!(code == "InvalidParameterException" && message.contains("'name'"), "{code}: {message}");
    }
    let folder = lab.end().await;
    let lab = TestLab::start_in(folder).await;
    assert_eq!(
        lab.ecr("GetAccountSetting", json!({ "name": "BLOB_MOUNTING" })).await["value"],
        "ENABLED",
        "after a restart"
    );
    lab.end().await;
}

#[tokio::test]
async fn the_registry_has_a_policy() {
    let lab = TestLab::start().await;
    let text = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "cache", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" },
            "Action": ["ecr:CreateRepository"], "Resource": "arn:aws:ecr:us-east-1:111122223333:repository/*",
        }],
    });
    let policy = json!({ "registryId": "111122223333", "policyText": text.to_string() });
    let none = "Registry policy does not exist in the registry with id '111122223333'";
    for operation in ["GetRegistryPolicy", "DeleteRegistryPolicy"] {
        let refused = lab.ecr_error(operation, json!({})).await;
        assert_eq!(refused, ("RegistryPolicyNotFoundException".to_owned(), none.to_owned()));
    }
    assert_eq!(lab.ecr("PutRegistryPolicy", json!({ "policyText": text.to_string() })).await, policy);
    assert_eq!(lab.ecr("GetRegistryPolicy", json!({})).await, policy);
    let (code, message) = lab.ecr_error("PutRegistryPolicy", json!({ "policyText": "{}" })).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "InvalidParameterException",
            "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid registry policy provided'"
        )
    );
    assert_eq!(lab.ecr("DeleteRegistryPolicy", json!({})).await, policy);
    assert_eq!(lab.ecr_error("GetRegistryPolicy", json!({})).await.0, "RegistryPolicyNotFoundException");
    lab.end().await;
}

/// Each mutability with its filters: which of two tags may move.
#[tokio::test]
async fn tags_move_where_the_exclusions_let_them() {
    let lab = TestLab::start().await;
    let wildcard = |filter: &str| json!([{ "filterType": "WILDCARD", "filter": filter }]);
    let table = [
        ("MUTABLE", Value::Null, true, true),
        ("IMMUTABLE", Value::Null, false, false),
        ("IMMUTABLE_WITH_EXCLUSION", wildcard("latest"), true, false),
        ("IMMUTABLE_WITH_EXCLUSION", wildcard("l*t"), true, false),
        ("IMMUTABLE_WITH_EXCLUSION", wildcard("*"), true, true),
        ("IMMUTABLE_WITH_EXCLUSION", wildcard("late"), false, false),
        ("MUTABLE_WITH_EXCLUSION", wildcard("v*.*"), true, false),
        ("MUTABLE_WITH_EXCLUSION", wildcard("latest"), false, true),
    ];
    for (at, (mutability, filters, latest, version)) in table.into_iter().enumerate() {
        let name = format!("repository-{at}");
        lab.create(&name).await;
        for tag in ["latest", "v1.0"] {
            lab.push(&name, tag, b"old").await;
        }
        let setting = json!({ "repositoryName": name, "imageTagMutability": mutability, "imageTagMutabilityExclusionFilters": filters });
        let set = lab.ecr("PutImageTagMutability", setting).await;
        assert_eq!(set.get("imageTagMutabilityExclusionFilters").cloned().unwrap_or_default(), filters);
        let described =
            lab.ecr("DescribeRepositories", json!({ "repositoryNames": [name] })).await["repositories"][0].clone();
        assert_eq!(described["imageTagMutability"], mutability);
        assert_eq!(described.get("imageTagMutabilityExclusionFilters").cloned().unwrap_or_default(), filters);
        let new = lab.push(&name, "new", b"new").await;
        let image =
            lab.ecr("BatchGetImage", json!({ "repositoryName": name, "imageIds": [{ "imageDigest": new }] })).await;
        for (tag, moves) in [("latest", latest), ("v1.0", version)] {
            let put = json!({ "repositoryName": name, "imageTag": tag, "imageManifest": image["images"][0]["imageManifest"] });
            if moves {
                lab.ecr("PutImage", put).await;
                continue;
            }
            let text = format!(
                "The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the tag is immutable."
            );
            let refused = lab.ecr_error("PutImage", put).await;
            assert_eq!(refused, ("ImageTagAlreadyExistsException".to_owned(), text), "{mutability} {filters}");
        }
    }
    // The same image again: as it is where the tag may move, and not even that where it must stay.
    let again = |name: &str, image: &Value| json!({ "repositoryName": name, "imageTag": "latest", "imageManifest": image["images"][0]["imageManifest"] });
    for (name, code) in
        [("repository-0", "ImageAlreadyExistsException"), ("repository-1", "ImageTagAlreadyExistsException")]
    {
        let image =
            lab.ecr("BatchGetImage", json!({ "repositoryName": name, "imageIds": [{ "imageTag": "latest" }] })).await;
        assert_eq!(lab.ecr_error("PutImage", again(name, &image)).await.0, code);
    }
    lab.end().await;
}

#[tokio::test]
async fn exclusion_filters_are_checked() {
    let lab = TestLab::start().await;
    let filters = |filters: &[&str]| -> Value {
        filters.iter().map(|filter| json!({ "filterType": "WILDCARD", "filter": filter })).collect()
    };
    let excluding = "IMMUTABLE_WITH_EXCLUSION";
    let table = [
        (excluding, filters(&["a", "b", "c", "d", "e", "f"])),
        (excluding, filters(&[])),
        (excluding, filters(&["a*b*c*"])),
        (excluding, json!([{ "filterType": "REGEX", "filter": "a" }])),
        (excluding, json!([{ "filterType": "WILDCARD" }])),
        ("IMMUTABLE", filters(&["a"])),
    ];
    for (mutability, filters) in table {
        let input = json!({ "repositoryName": "there", "imageTagMutability": mutability, "imageTagMutabilityExclusionFilters": filters });
        let (code, message) = lab.ecr_error("CreateRepository", input).await;
        assert_eq!(code, "InvalidParameterException", "{filters}");
        assert!(message.contains("imageTagMutabilityExclusionFilters"), "{filters}: {message}");
    }
    lab.end().await;
}

#[tokio::test]
async fn images_are_listed_by_status_type_and_page() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let there = |more: Value| {
        let mut input = json!({ "repositoryName": "there" });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    for tag in ["v1", "v2", "v2"] {
        lab.push("there", tag, format!("{tag} {:p}", &tag).as_bytes()).await;
    }
    lab.push("there", "v2", b"another").await;
    let table = [
        (json!({}), 3),
        (json!({ "filter": { "tagStatus": "ANY" } }), 3),
        (json!({ "filter": { "tagStatus": "TAGGED" } }), 2),
        (json!({ "filter": { "tagStatus": "UNTAGGED" } }), 1),
        (json!({ "filter": { "tagStatus": "TAGGED", "imageStatus": "ACTIVE" } }), 2),
        (json!({ "filter": { "imageStatus": "ANY" } }), 3),
        (json!({ "filter": { "imageStatus": "ARCHIVED" } }), 0),
        (json!({ "maxResults": 2 }), 2),
    ];
    for (input, count) in table {
        for (operation, member) in [("ListImages", "imageIds"), ("DescribeImages", "imageDetails")] {
            let found = lab.ecr(operation, there(input.clone())).await;
            assert_eq!(found[member].as_array().unwrap().len(), count, "{operation} {input}: {found}");
            assert_eq!(found.get("nextToken").is_some(), input.get("maxResults").is_some(), "{operation} {input}");
        }
    }
    for page in [json!({ "maxResults": 5 }), json!({ "nextToken": "MQ==" })] {
        let mut input = there(json!({ "imageIds": [{ "imageTag": "v1" }] }));
        input.as_object_mut().unwrap().extend(page.as_object().unwrap().clone());
        assert_eq!(lab.ecr_error("DescribeImages", input).await.0, "InvalidParameterException", "{page}");
    }
    for most in [0, 1001] {
        for operation in ["ListImages", "DescribeImages"] {
            let (code, message) = lab.ecr_error(operation, there(json!({ "maxResults": most }))).await;
            assert!(
                code == "InvalidParameterException" && message.contains("maxResults"),
                "{operation} {most}: {message}"
            );
        }
    }

    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    for (types, found) in
        [(json!([OCI_MANIFEST]), true), (json!([docker]), false), (json!([docker, OCI_MANIFEST]), true)]
    {
        let input = there(json!({ "imageIds": [{ "imageTag": "v1" }], "acceptedMediaTypes": types }));
        let got = lab.ecr("BatchGetImage", input).await;
        assert_eq!(got["images"].as_array().unwrap().len(), usize::from(found), "{types}");
        let failures = got["failures"].as_array().unwrap();
        assert!(found || failures[0]["failureCode"] == "ImageNotFound", "{got}");
    }
    lab.end().await;
}

#[tokio::test]
async fn a_pull_is_recorded_and_a_look_is_not() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let login = lab.login().await;
    let auth = [("authorization", login.as_str())];
    let pulled = async || {
        let found =
            lab.ecr("DescribeImages", json!({ "repositoryName": "there", "imageIds": [{ "imageTag": "v1" }] })).await;
        found["imageDetails"][0].get("lastRecordedPullTime").cloned()
    };
    let name = lab.push("there", "v1", b"layer").await;
    lab.send("HEAD", "/v2/there/manifests/v1", &auth, "").await;
    assert_eq!(pulled().await, None);
    assert_eq!(digest(&lab.send("GET", "/v2/there/manifests/v1", &auth, "").await.body), name);
    let first = pulled().await;
    assert!(first.as_ref().is_some_and(Value::is_f64), "{first:?}");
    lab.send("GET", "/v2/there/manifests/v1", &auth, "").await;
    assert_eq!(pulled().await, first, "once in 24 hours");
    lab.end().await;
}

#[tokio::test]
async fn referrers_come_in_pages() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let subject = lab.push("there", "v1", b"layer").await;
    for at in 0..22 {
        let config =
            json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(b"{}"), "size": 2 });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [],
            "artifactType": format!("application/x.{}", at % 2),
            "subject": { "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 }, "annotations": { "at": at.to_string() },
        });
        lab.ecr("PutImage", json!({ "repositoryName": "there", "imageManifest": manifest.to_string() })).await;
    }
    let list = |more: Value| {
        let mut input = json!({ "repositoryName": "there", "subjectId": { "imageDigest": subject } });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let table = [
        (json!({}), 20, true),
        (json!({ "maxResults": 50 }), 22, false),
        (json!({ "filter": { "artifactTypes": ["application/x.1"] } }), 11, false),
        (json!({ "filter": { "artifactTypes": ["application/x.1", "application/x.0"] }, "maxResults": 7 }), 7, true),
        (json!({ "filter": { "artifactTypes": ["application/x"] } }), 0, false),
        (json!({ "filter": { "artifactStatus": "ARCHIVED" } }), 0, false),
    ];
    for (input, count, more) in table {
        let found = lab.ecr("ListImageReferrers", list(input.clone())).await;
        assert_eq!(
            (found["referrers"].as_array().unwrap().len(), found.get("nextToken").is_some()),
            (count, more),
            "{input}"
        );
    }
    let next = lab.ecr("ListImageReferrers", list(json!({}))).await["nextToken"].clone();
    let rest = lab.ecr("ListImageReferrers", list(json!({ "nextToken": next }))).await;
    assert_eq!(rest["referrers"].as_array().unwrap().len(), 2);
    let (code, _) = lab.ecr_error("ListImageReferrers", list(json!({ "subjectId": { "imageDigest": "v1" } }))).await;
    assert_eq!(code, "InvalidParameterException");
    lab.end().await;
}

#[tokio::test]
async fn a_repository_is_in_a_registry_of_ours_and_names_its_key() {
    let lab = TestLab::start().await;
    let create =
        |name: &str, encryption: Value| json!({ "repositoryName": name, "encryptionConfiguration": encryption });
    let own = json!({ "encryptionType": "KMS", "kmsKey": "arn:aws:kms:us-east-1:111122223333:key/own" });
    let created = lab.ecr("CreateRepository", create("own", own.clone())).await;
    assert_eq!(created["repository"]["encryptionConfiguration"], own);
    let mut theirs = create("theirs", own);
    theirs["registryId"] = json!("999999999999");
    let (code, message) = lab.ecr_error("CreateRepository", theirs.clone()).await;
    assert_eq!(code, "AccessDeniedException");
    assert!(message.contains("arn:aws:ecr:us-east-1:999999999999:repository/theirs"), "{message}");
    let tags = json!({ "resourceArn": "arn:aws:ecr:us-east-1:111122223333:repository/own", "tags": [{ "Key": "aws:a", "Value": "b" }] });
    assert_eq!(lab.ecr_error("TagResource", tags).await.0, "InvalidTagParameterException");
    theirs["registryId"] = json!("*");
    let (code, message) = lab.ecr_error("CreateRepository", theirs).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "InvalidParameterException",
            "Invalid parameter at 'registryId' failed to satisfy constraint: 'must satisfy regular expression '[0-9]{12}''"
        )
    );
    lab.ecr("CreateRepository", create("managed", json!({ "encryptionType": "KMS" }))).await;
    let described = lab.ecr("DescribeRepositories", json!({ "repositoryNames": ["managed"] })).await;
    let key = described["repositories"][0]["encryptionConfiguration"]["kmsKey"].clone();
    assert!(key.as_str().is_some_and(|key| key.starts_with("arn:aws:kms:us-east-1:111122223333:key/")), "{key}");
    lab.ecr("CreateRepository", create("plain", json!({ "encryptionType": "AES256" }))).await;
    let described = lab.ecr("DescribeRepositories", json!({ "repositoryNames": ["plain"] })).await;
    assert_eq!(described["repositories"][0]["encryptionConfiguration"], json!({ "encryptionType": "AES256" }));
    lab.end().await;
}
