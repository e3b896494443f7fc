//! ECR's archive: images that are kept and cannot be pulled, by hand and by a lifecycle policy, and back again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::TestLab;

async fn status(lab: &TestLab, tag: &str) -> Value {
    let named = json!({ "repositoryName": "there", "imageIds": [{ "imageTag": tag }] });
    lab.ecr("DescribeImages", named).await["imageDetails"][0].clone()
}

async fn until(lab: &TestLab, tag: &str, wanted: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let image = status(lab, tag).await;
        if image["imageStatus"] == wanted {
            return image;
        }
        assert!(Instant::now() < deadline, "{image}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn class(tag: &str, class: &str) -> Value {
    json!({ "repositoryName": "there", "imageId": { "imageTag": tag }, "targetStorageClass": class })
}

#[tokio::test]
async fn an_archived_image_is_shown_and_cannot_be_pulled_until_it_is_back() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let digest = lab.push("there", "v1", b"layer").await;
    let login = lab.login().await;
    let pull = async || {
        let answer = lab.send("GET", "/v2/there/manifests/v1", &[("authorization", &login)], "").await;
        (answer.status.as_u16(), if answer.status == 200 { String::new() } else { answer.code() })
    };
    assert_eq!(pull().await, (200, String::new()));
    let archived = lab.ecr("UpdateImageStorageClass", class("v1", "ARCHIVE")).await;
    assert_eq!((&archived["imageStatus"], &archived["imageId"]["imageDigest"]), (&json!("ARCHIVED"), &json!(digest)));
    assert!(status(&lab, "v1").await["lastArchivedAt"].is_f64());
    assert_eq!(pull().await, (404, "MANIFEST_UNKNOWN".to_owned()));
    let got = lab.ecr("BatchGetImage", json!({ "repositoryName": "there", "imageIds": [{ "imageTag": "v1" }] })).await;
    assert_eq!(got["failures"][0]["failureCode"], "ImageNotFound");
    for (filter, count) in
        [(json!({}), 0), (json!({ "imageStatus": "ARCHIVED" }), 1), (json!({ "imageStatus": "ANY" }), 1)]
    {
        for (operation, member) in [("ListImages", "imageIds"), ("DescribeImages", "imageDetails")] {
            let found = lab.ecr(operation, json!({ "repositoryName": "there", "filter": filter })).await;
            assert_eq!(found[member].as_array().unwrap().len(), count, "{operation} {filter}");
        }
    }
    let scan = json!({ "repositoryName": "there", "imageId": { "imageTag": "v1" } });
    let text = "The specified image is archived and cannot be scanned.";
    assert_eq!(lab.ecr_error("StartImageScan", scan).await, ("ImageArchivedException".to_owned(), text.to_owned()));
    let refused = "ImageStorageClassUpdateNotSupportedException";
    assert_eq!(lab.ecr_error("UpdateImageStorageClass", class("v1", "ARCHIVE")).await.0, refused);

    let back = lab.ecr("UpdateImageStorageClass", class("v1", "STANDARD")).await;
    assert_eq!(back["imageStatus"], "ACTIVATING");
    assert_eq!(pull().await.0, 404, "it is on its way");
    assert_eq!(lab.ecr_error("UpdateImageStorageClass", class("v1", "STANDARD")).await.0, refused);
    assert!(until(&lab, "v1", "ACTIVE").await["lastActivatedAt"].is_f64());
    assert_eq!(pull().await.0, 200);

    // A push brings it back at once, also where its tag must stay.
    lab.ecr("PutImageTagMutability", json!({ "repositoryName": "there", "imageTagMutability": "IMMUTABLE" })).await;
    lab.ecr("UpdateImageStorageClass", class("v1", "ARCHIVE")).await;
    let folder = lab.end().await;
    let lab = TestLab::start_in(folder).await;
    assert_eq!(status(&lab, "v1").await["imageStatus"], "ARCHIVED", "after a restart");
    assert_eq!(lab.push("there", "v1", b"layer").await, digest);
    assert_eq!(status(&lab, "v1").await["imageStatus"], "ACTIVE");
    lab.end().await;
}

#[tokio::test]
async fn a_lifecycle_policy_archives_images() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    lab.push("there", "v1", b"old").await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    lab.push("there", "v2", b"new").await;
    let selection = json!({ "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1 });
    let archive = json!({ "type": "transition", "targetStorageClass": "archive" });
    let of_archive = json!({
        "tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days",
        "countNumber": 90,
    });
    let rules = json!([
        { "rulePriority": 1, "selection": selection, "action": archive },
        { "rulePriority": 2, "selection": of_archive, "action": { "type": "expire" } },
    ]);
    let policy = json!({ "repositoryName": "there", "lifecyclePolicyText": json!({ "rules": rules }).to_string() });
    lab.ecr("StartLifecyclePolicyPreview", policy.clone()).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    let preview = loop {
        let preview = lab.ecr("GetLifecyclePolicyPreview", json!({ "repositoryName": "there" })).await;
        if preview["status"] == "COMPLETE" {
            break preview;
        }
        assert!(Instant::now() < deadline, "{preview}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let [result] = preview["previewResults"].as_array().unwrap().as_slice() else { panic!("{preview}") };
    let expected = json!({ "type": "TRANSITION", "targetStorageClass": "ARCHIVE" });
    assert_eq!(
        (&result["imageTags"], &result["action"], &result["storageClass"]),
        (&json!(["v1"]), &expected, &json!("STANDARD"))
    );
    let counts = json!([{ "targetStorageClass": "ARCHIVE", "imageTotalCount": 1 }]);
    assert_eq!(preview["summary"], json!({ "expiringImageTotalCount": 0, "transitioningImageTotalCounts": counts }));

    lab.ecr("PutLifecyclePolicy", policy).await;
    until(&lab, "v1", "ARCHIVED").await;
    assert_eq!(status(&lab, "v2").await["imageStatus"], "ACTIVE");
    lab.end().await;
}
