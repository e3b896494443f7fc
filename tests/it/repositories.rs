//! `steady repo` on the lab.

use serde_json::{Value, json};

use crate::rehearsal::Rehearsal;

/// A small image in the repository, by ECR's own API.
fn push(lab: &Rehearsal, name: &str, tag: &str, architecture: &str) -> String {
    use base64::Engine;
    let config = json!({ "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] } });
    let config = config.to_string();
    let digest = steadystate::image::digest::of(config.as_bytes());
    let upload = lab.call("ecr.InitiateLayerUpload", json!({ "repositoryName": name }))["uploadId"].clone();
    let part = base64::engine::general_purpose::STANDARD.encode(&config);
    let last = config.len() - 1;
    let of_upload = json!({ "repositoryName": name, "uploadId": upload });
    let with = |more: Value| {
        let mut input = of_upload.clone();
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    lab.call("ecr.UploadLayerPart", with(json!({ "partFirstByte": 0, "partLastByte": last, "layerPartBlob": part })));
    lab.call("ecr.CompleteLayerUpload", with(json!({ "layerDigests": [digest] })));
    let media_type = "application/vnd.oci.image.config.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": media_type, "digest": digest, "size": config.len() },
        "layers": [],
    });
    let put = json!({ "repositoryName": name, "imageManifest": manifest.to_string(), "imageTag": tag });
    lab.call("ecr.PutImage", put)["image"]["imageId"]["imageDigest"].as_str().unwrap().to_owned()
}

#[test]
fn repositories_are_made_listed_and_deleted() {
    let lab = Rehearsal::start();
    assert_eq!(lab.lab("repo list").json(0), json!([]));
    let statement = json!({ "Sid": "pull", "Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage" });
    lab.write("policy.json", &json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string());
    let rule = json!({
        "rulePriority": 1,
        "selection": { "tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 5 },
        "action": { "type": "expire" },
    });
    lab.write("lifecycle.json", &json!({ "rules": [rule] }).to_string());
    let flags = "--immutable --scan-on-push --encryption KMS --policy policy.json --lifecycle lifecycle.json";
    let made = lab.lab(&format!("repo create team/web {flags}")).json(0);
    assert_eq!((&made["status"], &made["tagMutability"]), (&json!("created"), &json!("IMMUTABLE")));
    assert_eq!(made["scanOnPush"], true);
    assert!(made["encryption"].as_str().is_some_and(|with| with.contains("kms") || with == "KMS"), "{made}");
    let policy = lab.call("ecr.GetRepositoryPolicy", json!({ "repositoryName": "team/web" }));
    assert!(policy["policyText"].as_str().unwrap().contains("ecr:BatchGetImage"));
    lab.call("ecr.GetLifecyclePolicy", json!({ "repositoryName": "team/web" }));
    // Once more is no mistake, and another encryption cannot be had.
    assert_eq!(lab.lab("repo create team/web --immutable").json(0)["status"], "exists");
    let refused = lab.lab("repo create team/web --encryption AES256");
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.contains("is encrypted with"), "{}", refused.stderr);

    lab.lab("repo create plain").json(0);
    let listed = lab.lab("repo list").json(0);
    assert_eq!([&listed[0]["name"], &listed[1]["name"]], ["plain", "team/web"]);
    assert_eq!(listed[0]["uri"], format!("{}/plain", lab.host));

    push(&lab, "plain", "v1", "amd64");
    let refused = lab.lab("repo delete plain --yes");
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.contains("--images"), "{}", refused.stderr);
    assert_eq!(lab.lab("repo delete plain --images").code, 2);
    assert_eq!(lab.lab("repo delete plain --images --yes").json(0)["status"], "deleted");
    let missing = lab.lab("repo images plian");
    assert_eq!(missing.code, 3);
    assert_eq!(lab.lab("repo list").json(0).as_array().unwrap().len(), 1);
}

#[test]
fn images_are_shown_with_their_platforms() {
    let lab = Rehearsal::start();
    lab.lab("repo create web").json(0);
    let one = push(&lab, "web", "v1", "amd64");
    let two = push(&lab, "web", "v2", "arm64");
    let shown = lab.lab("repo images web").json(0);
    let of = |digest: &str| {
        let found = shown.as_array().unwrap().iter().find(|image| image["digest"] == digest).unwrap();
        (found["tags"].clone(), found["platforms"].clone())
    };
    assert_eq!(of(&one), (json!(["v1"]), json!(["linux/amd64"])));
    assert_eq!(of(&two), (json!(["v2"]), json!(["linux/arm64"])));
    assert!(shown[0]["pushedAt"].as_i64().unwrap() >= shown[1]["pushedAt"].as_i64().unwrap());
    assert_eq!(lab.lab("repo images web --limit 1").json(0).as_array().unwrap().len(), 1);
    let quick = lab.lab("repo images web --no-platforms").json(0);
    assert_eq!((quick.as_array().unwrap().len(), &quick[0]["platforms"]), (2, &json!([])));
    let by_tag = lab.lab("repo images web --tag *1 --tag x*").json(0);
    assert_eq!((by_tag.as_array().unwrap().len(), &by_tag[0]["digest"]), (1, &json!(one)));
    let by_address = lab.lab(&format!("repo images {}/web", lab.host)).json(0);
    assert_eq!(by_address.as_array().unwrap().len(), 2);
    let typo = lab.lab("repo images wbe");
    assert!(typo.stdout.contains("did you mean `web`?"), "{}", typo.stdout);
}

#[test]
fn what_one_may_not_do_is_named() {
    let lab = Rehearsal::start();
    lab.lab("repo create web").json(0);
    let access = lab.lab("repo test web").json(0);
    assert_eq!(access, json!({ "repository": "web", "list": true, "pull": true, "push": true, "missing": [] }));
    assert_eq!(lab.lab("repo images web").json(0), json!([]), "nothing was changed");
    for action in ["PutImage", "CompleteLayerUpload", "BatchGetImage"] {
        let fault =
            format!("lab fault add error --on ecr:{action} --code AccessDeniedException --status 400 --message no");
        assert_eq!(lab.steady(&fault).code, 0);
    }
    let access = lab.lab("repo test web").json(0);
    assert_eq!((&access["list"], &access["pull"], &access["push"]), (&json!(true), &json!(false), &json!(false)));
    assert_eq!(access["missing"], json!(["ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:PutImage"]));
    assert_eq!(lab.lab("repo test wbe").code, 3);
    let required = lab.lab("repo test web --require list --require push");
    assert_eq!(required.code, 3);
    let said = "the caller lacks ecr:CompleteLayerUpload, ecr:PutImage in web";
    assert!(required.stderr.contains(said), "{}", required.stderr);
    assert_eq!(lab.lab("repo test web --require list").json(0)["list"], true);
}

#[test]
fn an_index_is_one_image_and_its_parts_are_no_others() {
    let lab = Rehearsal::start();
    lab.lab("repo create web").json(0);
    let parts = [push(&lab, "web", "amd", "amd64"), push(&lab, "web", "arm", "arm64")];
    let part = |(digest, architecture): (&String, &str)| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": 400,
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let sizes = |digest: &str| {
        let id = json!({ "repositoryName": "web", "imageIds": [{ "imageDigest": digest }] });
        lab.call("ecr.BatchGetImage", id)["images"][0]["imageManifest"].as_str().unwrap().len()
    };
    let mut manifests: Vec<Value> = parts.iter().zip(["amd64", "arm64"]).map(part).collect();
    for (manifest, digest) in manifests.iter_mut().zip(&parts) {
        manifest["size"] = sizes(digest).into();
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    let put = json!({ "repositoryName": "web", "imageManifest": index.to_string(), "imageTag": "v1" });
    let index = lab.call("ecr.PutImage", put)["image"]["imageId"]["imageDigest"].as_str().unwrap().to_owned();
    let other = push(&lab, "web", "other", "s390x");
    let shown = lab.lab("repo images web").json(0);
    let rows: Vec<(&Value, &Value)> =
        shown.as_array().unwrap().iter().map(|row| (&row["digest"], &row["platforms"])).collect();
    assert_eq!(rows.len(), 2, "{shown}");
    assert!(rows.contains(&(&json!(index), &json!(["linux/amd64", "linux/arm64"]))));
    assert!(rows.iter().any(|(digest, _)| **digest == json!(other)));
    assert_eq!(lab.lab("repo images web --limit 2").json(0).as_array().unwrap().len(), 2);

    // What is named is shown before it goes, and a part of an index cannot go before that.
    let asked = lab.lab("repo delete-images web v1 amd");
    assert_eq!(asked.code, 2);
    assert!(asked.stderr.contains("this deletes 2 images") && asked.stderr.contains("(v1)"), "{}", asked.stderr);
    let part = lab.lab(&format!("repo delete-images web {} --yes", parts[0])).json(0);
    assert_eq!((&part["deleted"], &part["kept"][0]["image"]), (&json!([]), &json!(parts[0])));
    assert_eq!(part["kept"][0]["code"], "ImageReferencedByManifestList");
    let gone = lab.lab("repo delete-images web v1 --yes").json(0);
    assert_eq!(gone["deleted"], json!([{ "digest": index, "tags": ["v1"] }]));
    assert_eq!(lab.lab("repo delete-images web v1 --yes").code, 3);
}

#[test]
fn a_tag_goes_and_the_image_stays_while_it_has_others() {
    let lab = Rehearsal::start();
    lab.lab("repo create web").json(0);
    let digest = push(&lab, "web", "one", "amd64");
    let named = json!({ "repositoryName": "web", "imageIds": [{ "imageDigest": digest }] });
    let manifest = lab.call("ecr.BatchGetImage", named)["images"][0]["imageManifest"].clone();
    lab.call("ecr.PutImage", json!({ "repositoryName": "web", "imageManifest": manifest, "imageTag": "two" }));
    let asked = lab.lab("repo delete-images web one");
    assert!(asked.stderr.contains("the tag one, but not the image"), "{}", asked.stderr);
    let gone = lab.lab("repo delete-images web one --yes").json(0);
    assert_eq!(gone["deleted"], json!([{ "digest": digest, "tags": ["one"] }]));
    assert_eq!(lab.lab("repo images web").json(0)[0]["tags"], json!(["two"]));
    assert_eq!(lab.lab("repo images web --untagged").json(0), json!([]));
    assert_eq!(lab.lab("repo delete-images web --untagged --yes").json(0)["deleted"], json!([]));
    let gone = lab.lab("repo delete-images web two --yes").json(0);
    assert_eq!(gone["deleted"][0]["digest"], json!(digest));
    assert_eq!(lab.lab("repo images web").json(0), json!([]));
}

#[test]
fn immutable_tags_have_exceptions() {
    let lab = Rehearsal::start();
    let made = lab.lab("repo create web --immutable --except latest --except dev-* --resource-tag team=web").json(0);
    assert_eq!(made["tagMutability"], "IMMUTABLE_WITH_EXCLUSION");
    assert_eq!(made["tagMutabilityExclusions"], json!(["dev-*", "latest"]));
    let tags = lab.call("ecr.DescribeRepositories", json!({}))["repositories"][0]["repositoryArn"].clone();
    let tags = lab.call("ecr.ListTagsForResource", json!({ "resourceArn": tags }))["tags"].clone();
    assert!(tags.as_array().unwrap().contains(&json!({ "Key": "team", "Value": "web" })), "{tags}");
    // What is as it should be is left alone, and what is not said too.
    let again = lab.lab("repo create web --immutable --except dev-* --except latest --progress json");
    assert!(!again.stderr.contains("resource"), "{}", again.stderr);
    assert_eq!(lab.lab("repo create web --scan-on-push").json(0)["tagMutability"], "IMMUTABLE_WITH_EXCLUSION");
    let loose = lab.lab("repo create web --mutable --scan-on-push=false").json(0);
    assert_eq!((&loose["tagMutability"], &loose["scanOnPush"]), (&json!("MUTABLE"), &json!(false)));
    assert_eq!(loose["tagMutabilityExclusions"], json!([]));
    assert_eq!(lab.lab("repo create web --except latest").code, 2);
}
