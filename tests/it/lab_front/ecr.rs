use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{OCI_MANIFEST, TestLab, digest, manifest};

const POLICY: &str = r#"{"Version":"2008-10-17","Statement":[{"Sid":"my_repository_statement","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/ecsInstanceRole"},"Action":["ecr:BatchGetImage"]}]}"#;

#[tokio::test]
async fn a_repository_says_what_ecr_says_of_it() {
    let lab = TestLab::start().await;
    let created = lab.ecr("CreateRepository", json!({ "repositoryName": "team/hello" })).await;
    let repository = &created["repository"];
    assert_eq!(repository["repositoryUri"], format!("{}/team/hello", lab.host));
    assert_eq!(repository["repositoryArn"], "arn:aws:ecr:us-east-1:111122223333:repository/team/hello");
    assert_eq!(repository["imageTagMutability"], "MUTABLE");
    assert!(repository["createdAt"].is_f64(), "epoch seconds: {}", repository["createdAt"]);
    let described = lab.ecr("DescribeRepositories", json!({ "repositoryNames": ["team/hello"] })).await;
    assert_eq!(&described["repositories"][0], repository);
    assert!(described.get("nextToken").is_none(), "explicit nulls are wrong");
    lab.ecr("DeleteRepository", json!({ "repositoryName": "team/hello" })).await;
    assert_eq!(lab.ecr("DescribeRepositories", json!({})).await, json!({ "repositories": [] }));
    lab.end().await;
}

#[tokio::test]
async fn refusals_are_in_ecrs_words() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let there = |rest: Value| {
        let mut input = json!({ "repositoryName": "there" });
        input.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        input
    };
    let gone = "The repository with name 'gone' does not exist in the registry with id '111122223333'";
    let no_image = "The image with imageId {imageDigest:'null', imageTag:'v9'} does not exist within the repository with name 'there' in the registry with id '111122223333'";
    let no_policy =
        "Repository policy does not exist for the repository with name 'there' in the registry with id '111122223333'";
    let table = [
        (
            "CreateRepository",
            there(json!({})),
            "RepositoryAlreadyExistsException",
            "The repository with name 'there' already exists in the registry with id '111122223333'",
        ),
        ("CreateRepository", json!({}), "InvalidParameterException", "repositoryName"),
        ("CreateRepository", json!({ "repositoryName": null }), "InvalidParameterException", "repositoryName"),
        (
            "CreateRepository",
            json!({ "repositoryName": "Upper" }),
            "InvalidParameterException",
            "must satisfy regular expression",
        ),
        ("CreateRepository", json!({ "repositoryName": "a//b" }), "InvalidParameterException", "must satisfy"),
        ("CreateRepository", json!({ "repositoryName": "a/../b" }), "InvalidParameterException", "must satisfy"),
        ("CreateRepository", json!({ "repositoryName": "a" }), "InvalidParameterException", "must have length"),
        (
            "CreateRepository",
            json!({ "repositoryName": "x-", "tags": [] }),
            "InvalidParameterException",
            "must satisfy",
        ),
        (
            "CreateRepository",
            json!({ "repositoryName": "ok", "imageTagMutability": "SOMETIMES" }),
            "InvalidParameterException",
            "enum value set",
        ),
        (
            "CreateRepository",
            json!({ "repositoryName": "ok", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION" }),
            "InvalidParameterException",
            "exclusion",
        ),
        ("DescribeRepositories", json!({ "repositoryNames": ["gone"] }), "RepositoryNotFoundException", gone),
        ("DescribeRepositories", json!({ "maxResults": 0 }), "InvalidParameterException", "maxResults"),
        ("DescribeRepositories", json!({ "nextToken": "?" }), "InvalidParameterException", "nextToken"),
        (
            "DescribeRepositories",
            json!({ "registryId": "999999999999" }),
            "RepositoryNotFoundException",
            "999999999999",
        ),
        (
            "DescribeRepositories",
            json!({ "registryId": "999999999999", "repositoryNames": ["there"] }),
            "RepositoryNotFoundException",
            "The repository with name 'there' does not exist in the registry with id '999999999999'",
        ),
        ("DeleteRepository", json!({ "repositoryName": "gone" }), "RepositoryNotFoundException", gone),
        ("DescribeImages", json!({ "repositoryName": "gone" }), "RepositoryNotFoundException", gone),
        ("DescribeImages", there(json!({ "imageIds": [{ "imageTag": "v9" }] })), "ImageNotFoundException", no_image),
        ("BatchGetImage", there(json!({ "imageIds": [] })), "InvalidParameterException", "imageIds"),
        ("GetRepositoryPolicy", there(json!({})), "RepositoryPolicyNotFoundException", no_policy),
        ("DeleteRepositoryPolicy", there(json!({})), "RepositoryPolicyNotFoundException", no_policy),
        (
            "SetRepositoryPolicy",
            there(json!({ "policyText": "{" })),
            "InvalidParameterException",
            "Invalid repository policy provided",
        ),
        (
            "SetRepositoryPolicy",
            there(json!({ "policyText": "{\"Statement\":[{\"Effect\":\"Allow\"}]}" })),
            "InvalidParameterException",
            "Invalid repository policy provided",
        ),
        ("GetLifecyclePolicy", there(json!({})), "LifecyclePolicyNotFoundException", "Lifecycle policy does not exist"),
        (
            "UploadLayerPart",
            there(json!({ "uploadId": "x", "partFirstByte": 0, "partLastByte": 0, "layerPartBlob": "eA==" })),
            "UploadNotFoundException",
            "The layer upload with uploadId 'x' does not exist",
        ),
        (
            "GetDownloadUrlForLayer",
            there(json!({ "layerDigest": "sha256:00" })),
            "LayersNotFoundException",
            "sha256:00",
        ),
        (
            "ListTagsForResource",
            json!({ "resourceArn": "arn:aws:ecr:us-east-1:1:repository/there" }),
            "InvalidParameterException",
            "resourceArn",
        ),
        (
            "ListTagsForResource",
            json!({ "resourceArn": "arn:aws:ecr:eu-west-1:111122223333:repository/there" }),
            "InvalidParameterException",
            "resourceArn",
        ),
        (
            "PutImage",
            there(json!({ "imageManifest": "{}", "imageTag": "-a" })),
            "InvalidParameterException",
            "'imageTag'",
        ),
        ("PutImage", there(json!({ "imageManifest": "{}" })), "InvalidParameterException", "ImageManifest"),
    ];
    for (operation, input, code, message) in table {
        let (found, text) = lab.ecr_error(operation, input.clone()).await;
        assert_eq!(found, code, "{operation} {input}: {text}");
        assert!(text.contains(message), "{operation} {input}: {text}");
    }
    lab.end().await;
}

#[tokio::test]
async fn names_that_ecr_takes_are_taken() {
    let lab = TestLab::start().await;
    for name in ["ab", "a/b", "a-b.c_d", "a__b", "a---b", "0/1/2", &"x".repeat(256)] {
        lab.create(name).await;
    }
    for name in ["a..b", "a___b", "-a", "a/", "/a", "a.-b", "é", &"x".repeat(257)] {
        lab.ecr_error("CreateRepository", json!({ "repositoryName": name })).await;
    }
    let first = lab.ecr("DescribeRepositories", json!({ "maxResults": 4 })).await;
    let rest = lab.ecr("DescribeRepositories", json!({ "nextToken": first["nextToken"] })).await;
    let count = |reply: &Value| reply["repositories"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&rest), rest.get("nextToken")), (4, 3, None));
    lab.end().await;
}

#[tokio::test]
async fn settings_are_kept_and_given_back() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let one = json!({ "repositoryName": "there" });
    lab.ecr("SetRepositoryPolicy", json!({ "repositoryName": "there", "policyText": POLICY })).await;
    assert_eq!(lab.ecr("GetRepositoryPolicy", one.clone()).await["policyText"], POLICY);
    assert_eq!(lab.ecr("DeleteRepositoryPolicy", one.clone()).await["policyText"], POLICY);
    lab.ecr_error("GetRepositoryPolicy", one.clone()).await;

    let rules = r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":9},"action":{"type":"expire"}}]}"#;
    lab.ecr("PutLifecyclePolicy", json!({ "repositoryName": "there", "lifecyclePolicyText": rules })).await;
    assert_eq!(lab.ecr("GetLifecyclePolicy", one.clone()).await["lifecyclePolicyText"], rules);

    let arn = "arn:aws:ecr:us-east-1:111122223333:repository/there";
    let tags = json!([{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "2" }]);
    lab.ecr("TagResource", json!({ "resourceArn": arn, "tags": tags })).await;
    lab.ecr("UntagResource", json!({ "resourceArn": arn, "tagKeys": ["a"] })).await;
    let listed = lab.ecr("ListTagsForResource", json!({ "resourceArn": arn })).await;
    assert_eq!(listed, json!({ "tags": [{ "Key": "b", "Value": "2" }] }));

    let scan = json!({ "repositoryName": "there", "imageScanningConfiguration": { "scanOnPush": true } });
    lab.ecr("PutImageScanningConfiguration", scan).await;
    lab.ecr("PutImageTagMutability", json!({ "repositoryName": "there", "imageTagMutability": "IMMUTABLE" })).await;
    let repository = lab.ecr("DescribeRepositories", json!({})).await["repositories"][0].clone();
    assert_eq!(repository["imageScanningConfiguration"]["scanOnPush"], true);
    assert_eq!(repository["imageTagMutability"], "IMMUTABLE");
    lab.end().await;
}

#[tokio::test]
async fn immutable_tags_stay_and_exclusions_move() {
    let lab = TestLab::start().await;
    let filters =
        json!([{ "filterType": "WILDCARD", "filter": "dev-*" }, { "filterType": "WILDCARD", "filter": "latest" }]);
    lab.ecr("CreateRepository", json!({ "repositoryName": "all", "imageTagMutability": "IMMUTABLE" })).await;
    lab.ecr("CreateRepository", json!({ "repositoryName": "some", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION", "imageTagMutabilityExclusionFilters": filters })).await;
    for (repository, tag, moves) in [
        ("all", "v1", false),
        ("some", "v1", false),
        ("some", "dev-1", true),
        ("some", "latest", true),
        ("some", "latest2", false),
    ] {
        let first = lab.push(repository, tag, b"first").await;
        let login = lab.login().await;
        let layer: &[u8] = b"third";
        for blob in [b"{}".as_slice(), layer] {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(blob));
            assert_eq!(lab.send("POST", &path, &[("authorization", &login)], blob.to_vec()).await.status, 201);
        }
        let manifest = manifest(b"{}", &[layer]);
        let put = json!({ "repositoryName": repository, "imageTag": tag, "imageManifest": String::from_utf8(manifest.clone()).unwrap() });
        let path = format!("/v2/{repository}/manifests/{tag}");
        let headers = [("authorization", login.as_str()), ("content-type", OCI_MANIFEST)];
        let text = format!(
            "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten because the tag is immutable."
        );
        if moves {
            assert_eq!(lab.send("PUT", &path, &headers, manifest).await.status, 201);
            assert_eq!(lab.ecr_error("PutImage", put).await.0, "ImageAlreadyExistsException");
        } else {
            let answer = lab.send("PUT", &path, &headers, manifest).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "TAG_INVALID"));
            assert_eq!(answer.json()["errors"][0]["message"], text.as_str());
            assert_eq!(lab.ecr_error("PutImage", put).await, ("ImageTagAlreadyExistsException".to_owned(), text));
            let image = lab
                .ecr("DescribeImages", json!({ "repositoryName": repository, "imageIds": [{ "imageTag": tag }] }))
                .await;
            assert_eq!(image["imageDetails"][0]["imageDigest"], first.as_str());
        }
    }
    lab.end().await;
}

#[tokio::test]
async fn images_are_described_and_deleted_by_tag_and_digest() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let one = lab.push("there", "v1", b"one").await;
    lab.push("there", "latest", b"one").await;
    let two = lab.push("there", "v2", b"two!").await;
    let described = lab
        .ecr(
            "DescribeImages",
            json!({ "repositoryName": "there", "imageIds": [{ "imageTag": "v1" }, { "imageDigest": one }] }),
        )
        .await;
    assert_eq!(described["imageDetails"].as_array().unwrap().len(), 1);
    let detail = &described["imageDetails"][0];
    assert_eq!(
        (&detail["imageDigest"], &detail["imageTags"], &detail["imageSizeInBytes"]),
        (&json!(one), &json!(["latest", "v1"]), &json!(5))
    );
    assert_eq!(detail["artifactMediaType"], "application/vnd.oci.image.config.v1+json");

    lab.push("there", "v2", b"two, again").await;
    let untagged =
        lab.ecr("ListImages", json!({ "repositoryName": "there", "filter": { "tagStatus": "UNTAGGED" } })).await;
    assert_eq!(untagged, json!({ "imageIds": [{ "imageDigest": two }] }), "a tag that moves leaves its image behind");

    let ids = json!([{ "imageTag": "v1" }, { "imageTag": "nope" }, { "imageDigest": "nope" }, {}, { "imageDigest": two, "imageTag": "v2" }]);
    let got = lab.ecr("BatchGetImage", json!({ "repositoryName": "there", "imageIds": ids })).await;
    let codes: Vec<&str> =
        got["failures"].as_array().unwrap().iter().map(|failure| failure["failureCode"].as_str().unwrap()).collect();
    assert_eq!(codes, ["ImageNotFound", "InvalidImageDigest", "MissingDigestAndTag", "ImageTagDoesNotMatchDigest"]);
    assert_eq!(digest(got["images"][0]["imageManifest"].as_str().unwrap().as_bytes()), one);

    let deleted =
        lab.ecr("BatchDeleteImage", json!({ "repositoryName": "there", "imageIds": [{ "imageTag": "v1" }] })).await;
    assert_eq!(deleted["imageIds"], json!([{ "imageDigest": one, "imageTag": "v1" }]));
    let layer = lab.folder.path().join("blobs/sha256").join(&digest(b"one")[7..]);
    assert!(layer.exists(), "`latest` still has it");
    lab.ecr("BatchDeleteImage", json!({ "repositoryName": "there", "imageIds": [{ "imageTag": "latest" }] })).await;
    assert!(!layer.exists(), "the last tag takes image and layers along");
    let (code, _) = lab.ecr_error("DeleteRepository", json!({ "repositoryName": "there" })).await;
    assert_eq!(code, "RepositoryNotEmptyException");
    lab.ecr("DeleteRepository", json!({ "repositoryName": "there", "force": true })).await;
    assert_eq!(std::fs::read_dir(lab.folder.path().join("blobs/sha256")).unwrap().count(), 0);
    lab.end().await;
}

#[tokio::test]
async fn blobs_that_another_repository_has_outlive_a_deletion() {
    let lab = TestLab::start().await;
    for repository in ["one", "two"] {
        lab.create(repository).await;
        lab.push(repository, "v1", b"shared").await;
    }
    lab.ecr("DeleteRepository", json!({ "repositoryName": "one", "force": true })).await;
    let login = lab.login().await;
    let path = format!("/v2/two/blobs/{}", digest(b"shared"));
    assert_eq!(lab.send("GET", &path, &[("authorization", &login)], "").await.text(), "shared");
    lab.end().await;
}

/// A full disk: what is there and what was hashed may differ from then on.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_part_that_could_not_be_written_ends_its_upload() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let upload = lab.ecr("InitiateLayerUpload", json!({ "repositoryName": "there" })).await["uploadId"].clone();
    let file = lab.folder.path().join("uploads").join(upload.as_str().unwrap());
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/full", &file).unwrap();
    let part = json!({
        "repositoryName": "there", "uploadId": upload, "partFirstByte": 0, "partLastByte": 4,
        "layerPartBlob": BASE64.encode("hello"),
    });
    let target = "AmazonEC2ContainerRegistry_V20150921.UploadLayerPart";
    let answer = lab.json(target, &part).await;
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert_eq!(lab.ecr_error("UploadLayerPart", part).await.0, "UploadNotFoundException");
    assert!(file.symlink_metadata().is_err(), "it is gone");
    lab.end().await;
}

#[tokio::test]
async fn layers_go_in_and_out_by_ecrs_own_api() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let upload = lab.ecr("InitiateLayerUpload", json!({ "repositoryName": "there" })).await["uploadId"].clone();
    let part = |first: usize, content: &[u8]| {
        json!({
            "repositoryName": "there", "uploadId": upload, "partFirstByte": first,
            "partLastByte": first + content.len() - 1, "layerPartBlob": BASE64.encode(content),
        })
    };
    let complete = |digests: Value| json!({ "repositoryName": "there", "uploadId": upload, "layerDigests": digests });
    assert_eq!(lab.ecr_error("CompleteLayerUpload", complete(json!([digest(b"")]))).await.0, "EmptyUploadException");
    let large = vec![b'-'; 5 * 1024 * 1024];
    lab.ecr("UploadLayerPart", part(0, &large)).await;
    let (code, message) = lab.ecr_error("UploadLayerPart", part(0, b"hello ")).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("InvalidLayerPartException", "First byte of the layer part is 0 instead of 5242880")
    );
    let mut short = part(large.len(), b"layer");
    short["partLastByte"] = json!(large.len() + 5);
    let (_, message) = lab.ecr_error("UploadLayerPart", short).await;
    assert_eq!(message, "The layer part has 5 bytes instead of those from 5242880 to 5242885");
    assert_eq!(lab.ecr("UploadLayerPart", part(large.len(), b"layer")).await["lastByteReceived"], 5_242_884);
    assert_eq!(
        lab.ecr_error("CompleteLayerUpload", complete(json!([digest(b"other")]))).await.0,
        "InvalidLayerException"
    );
    let content = [large.as_slice(), b"layer"].concat();
    let whole = digest(&content);
    assert_eq!(lab.ecr("CompleteLayerUpload", complete(json!([whole]))).await["layerDigest"], whole.as_str());
    assert_eq!(lab.ecr_error("UploadLayerPart", part(content.len(), b"!")).await.0, "UploadNotFoundException");

    let asked = json!({ "repositoryName": "there", "layerDigests": [whole, digest(b"no"), "nonsense"] });
    let available = lab.ecr("BatchCheckLayerAvailability", asked).await;
    let states: Vec<&Value> =
        available["layers"].as_array().unwrap().iter().map(|layer| &layer["layerAvailability"]).collect();
    assert_eq!(states, ["AVAILABLE", "UNAVAILABLE"]);
    assert_eq!(available["layers"][0]["layerSize"], 5_242_885);
    assert_eq!(available["failures"][0]["failureCode"], "InvalidLayerDigest");

    let url = lab.ecr("GetDownloadUrlForLayer", json!({ "repositoryName": "there", "layerDigest": whole })).await["downloadUrl"].clone();
    let url = url.as_str().unwrap();
    assert_eq!(lab.send("GET", url, &[], "").await.body, content, "the address itself is the permission");
    let forged = url.replace("expires=", "expires=9");
    assert_eq!(lab.send("GET", &forged, &[], "").await.status, 401);
    assert_eq!(lab.send("PUT", url, &[], "").await.status, 405, "and a permission to read only");

    let manifest = String::from_utf8(manifest(b"{}", &[&content])).unwrap();
    let put = json!({ "repositoryName": "there", "imageTag": "v1", "imageManifest": manifest });
    let (code, message) = lab.ecr_error("PutImage", put).await;
    assert_eq!(code, "LayersNotFoundException");
    assert!(message.contains(&digest(b"{}")) && !message.contains(&whole), "{message}");
    lab.end().await;
}

/// Of several parts only the last may be small, and that is said at the end.
#[tokio::test]
async fn parts_that_are_too_small_end_in_no_layer() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let upload = lab.ecr("InitiateLayerUpload", json!({ "repositoryName": "there" })).await["uploadId"].clone();
    for (first, part) in [(0, "hello "), (6, "layer")] {
        let part = json!({
            "repositoryName": "there", "uploadId": upload, "partFirstByte": first,
            "partLastByte": first + part.len() - 1, "layerPartBlob": BASE64.encode(part),
        });
        lab.ecr("UploadLayerPart", part).await;
    }
    let complete = json!({ "repositoryName": "there", "uploadId": upload, "layerDigests": [digest(b"hello layer")] });
    let refused = lab.ecr_error("CompleteLayerUpload", complete).await;
    let text = "All layer parts except the last part should be at least 5MB";
    assert_eq!(refused, ("LayerPartTooSmallException".to_owned(), text.to_owned()));
    lab.end().await;
}
