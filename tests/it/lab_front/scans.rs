//! Scans end as AWS's do for an image made from nothing, whatever the image: the lab has no list of vulnerabilities.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{OCI_MANIFEST, TestLab};

const UNSUPPORTED: &str = "UnsupportedImageError: The operating system and/or package manager are not supported.";

/// What the scan came to.
async fn ended(lab: &TestLab, image: &Value) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = lab.ecr("DescribeImageScanFindings", image.clone()).await;
        assert!(found.get("imageScanFindings").is_none(), "{found}");
        if found["imageScanStatus"]["status"] != "IN_PROGRESS" {
            return found["imageScanStatus"].clone();
        }
        assert!(Instant::now() < deadline, "{found}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_scan_says_that_it_could_not_scan() {
    let lab = TestLab::start().await;
    let failed = json!({ "status": "FAILED", "description": UNSUPPORTED });
    let (asked, on_push) = (json!({ "scanOnPush": false }), json!({ "scanOnPush": true }));
    for (name, scanning) in [("asked", asked), ("on-push", on_push)] {
        let input = json!({ "repositoryName": name, "imageScanningConfiguration": scanning });
        lab.ecr("CreateRepository", input).await;
        let digest = lab.push(name, "v1", b"layer").await;
        let image = json!({ "repositoryName": name, "imageId": { "imageTag": "v1" } });
        if name == "asked" {
            let images = lab.ecr("DescribeImages", json!({ "repositoryName": name })).await;
            assert!(images["imageDetails"][0].get("imageScanStatus").is_none(), "{images}");
            let (code, text) = lab.ecr_error("DescribeImageScanFindings", image.clone()).await;
            assert_eq!(code, "ScanNotFoundException");
            assert_eq!(
                text,
                format!(
                    "Image scan does not exist for the image with '{{imageDigest:'{digest}', imageTag:'null'}}' in \
                     the repository with name 'asked' in the registry with id '111122223333'"
                )
            );
            let started = lab.ecr("StartImageScan", image.clone()).await;
            assert_eq!(started["imageScanStatus"], json!({ "status": "IN_PROGRESS" }));
            assert_eq!(started["imageId"], json!({ "imageDigest": digest, "imageTag": "v1" }));
        }
        assert_eq!(ended(&lab, &image).await, failed);
        let images = lab.ecr("DescribeImages", json!({ "repositoryName": name })).await;
        assert_eq!(images["imageDetails"][0]["imageScanStatus"], failed, "{name}");
        // Once in 24 hours, the scan on push counted.
        let (code, text) = lab.ecr_error("StartImageScan", image).await;
        assert_eq!(code, "LimitExceededException");
        assert_eq!(text, "The scan quota per image has been exceeded. Wait and try again.");
    }
    lab.end().await;
}

#[tokio::test]
async fn what_cannot_be_scanned_is_refused() {
    let lab = TestLab::start().await;
    let scanning = json!({ "scanOnPush": true });
    lab.ecr("CreateRepository", json!({ "repositoryName": "lists", "imageScanningConfiguration": scanning })).await;
    let digest = lab.push("lists", "v1", b"layer").await;
    let index = "application/vnd.oci.image.index.v1+json";
    let size = lab.ecr("BatchGetImage", json!({ "repositoryName": "lists", "imageIds": [{ "imageTag": "v1" }] })).await;
    let size = size["images"][0]["imageManifest"].as_str().unwrap().len();
    let child = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": size });
    let list = json!({ "schemaVersion": 2, "mediaType": index, "manifests": [child] }).to_string();
    lab.ecr("PutImage", json!({ "repositoryName": "lists", "imageTag": "list", "imageManifest": list })).await;
    let of = |tag: &str| json!({ "repositoryName": "lists", "imageId": { "imageTag": tag } });
    let table = [
        ("StartImageScan", of("list"), "UnsupportedImageTypeException"),
        ("DescribeImageScanFindings", of("list"), "ScanNotFoundException"),
        ("StartImageScan", of("v9"), "ImageNotFoundException"),
        ("DescribeImageScanFindings", of("v9"), "ImageNotFoundException"),
        (
            "StartImageScan",
            json!({ "repositoryName": "gone", "imageId": { "imageTag": "v1" } }),
            "RepositoryNotFoundException",
        ),
    ];
    for (operation, input, code) in table {
        let (found, text) = lab.ecr_error(operation, input.clone()).await;
        assert_eq!(found, code, "{operation} {input}: {text}");
    }
    lab.end().await;
}
