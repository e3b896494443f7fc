//! The workflow "content discovery": tags, referrers, and what there is at all.

use super::*;

/// end-8a and end-8b
#[tokio::test]
async fn tags_are_listed_in_pages() {
    let lab = lab().await;
    let manifest = image(b"{}", &[], digest);
    let tags = ["v1", "B", "a", "_", "v10", "v2"];
    let mut table = vec![
        row("end-8a: none yet", "GET", "/v2/one/tags/list", 200)
            .has("content-type", "application/json")
            .has("link", "")
            .json(json!({ "name": "one", "tags": [] })),
        post("one", b"{}", digest),
    ];
    table.extend(tags.iter().map(|tag| put("one", tag, &manifest)));
    let listed = |query: &str, tags: &[&str], next: &str| {
        let next = if next.is_empty() { String::new() } else { format!("</v2/one/tags/list?{next}>; rel=\"next\"") };
        row("end-8b: a page", "GET", format!("/v2/one/tags/list{query}"), 200)
            .has("link", next)
            .json(json!({ "name": "one", "tags": tags }))
    };
    table.extend([
        listed("", &["B", "_", "a", "v1", "v10", "v2"], ""),
        listed("?n=2", &["B", "_"], "n=2&last=_"),
        listed("?n=2&last=_", &["a", "v1"], "n=2&last=v1"),
        listed("?n=2&last=v1", &["v10", "v2"], ""),
        listed("?n=6", &["B", "_", "a", "v1", "v10", "v2"], ""),
        listed("?last=v1", &["v10", "v2"], ""),
        listed("?last=b", &["v1", "v10", "v2"], ""),
        listed("?n=1000&last=v2", &[], ""),
        listed("?n=0", &[], ""),
        row("end-8b: no number", "GET", "/v2/one/tags/list?n=x", 400),
        // ECR gives no more at once, and says so in these words
        row("end-8b: too many", "GET", "/v2/one/tags/list?n=1001", 405).error("UNSUPPORTED"),
        row("end-8a: no repository", "GET", "/v2/gone/tags/list", 404).error("NAME_UNKNOWN"),
    ]);
    walk(&lab, table).await;
    let answer = lab.send("GET", "/v2/one/tags/list?n=1001", &[("authorization", &lab.login().await)], "").await;
    let text = "Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have value less than or equal to 1000'";
    assert_eq!(answer.json()["errors"][0]["message"], text);
    lab.end().await;
}

/// As ECR, which has a hundred on a page where nobody asks for a number.
#[tokio::test]
async fn a_page_that_nobody_asked_for_has_a_hundred_tags() {
    let lab = lab().await;
    let manifest = image(b"{}", &[], digest);
    let tags: Vec<String> = (0..101).map(|at| format!("v{at:03}")).collect();
    let mut table = vec![post("one", b"{}", digest)];
    table.extend(tags.iter().map(|tag| put("one", tag, &manifest)));
    table.push(
        row("end-8a: a page", "GET", "/v2/one/tags/list", 200)
            .has("link", "</v2/one/tags/list?n=100&last=v099>; rel=\"next\"")
            .json(json!({ "name": "one", "tags": tags[..100] })),
    );
    table.push(
        row("end-8b: the rest", "GET", "/v2/one/tags/list?n=100&last=v099", 200)
            .has("link", "")
            .json(json!({ "name": "one", "tags": ["v100"] })),
    );
    walk(&lab, table).await;
    lab.end().await;
}

#[tokio::test]
async fn repositories_are_listed_in_pages() {
    let lab = lab().await;
    lab.create("three").await;
    let listed = |query: &str, names: &[&str], next: &str| {
        let next = if next.is_empty() { String::new() } else { format!("</v2/_catalog?{next}>; rel=\"next\"") };
        row("_catalog", "GET", format!("/v2/_catalog{query}"), 200)
            .has("link", next)
            .json(json!({ "repositories": names }))
    };
    let table = vec![
        listed("", &["one", "team/two", "three"], ""),
        listed("?n=2", &["one", "team/two"], "n=2&last=team/two"),
        listed("?n=2&last=team/two", &["three"], ""),
        listed("?last=one", &["team/two", "three"], ""),
        row("_catalog", "DELETE", "/v2/_catalog", 405).error("UNSUPPORTED"),
    ];
    walk(&lab, table).await;
    assert_eq!(lab.send("GET", "/v2/_catalog", &[], "").await.status, 401);
    lab.end().await;
}

/// end-12a, end-12b, and the subject in end-7
#[tokio::test]
async fn what_is_about_a_manifest_is_listed() {
    let lab = lab().await;
    for hash in ALGORITHMS {
        let subject = image(b"{}", &[b"layer"], hash);
        let about = descriptor(OCI_MANIFEST, &bytes(&subject), hash);
        let name = about["digest"].as_str().unwrap().to_owned();
        let none = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] });
        let artifact = |kind: &str, annotation: &str| {
            let mut artifact = image(b"{}", &[], hash);
            artifact["artifactType"] = json!(kind);
            artifact["subject"] = about.clone();
            artifact["annotations"] = json!({ "org.example": annotation });
            artifact
        };
        let (first, second) = (artifact("application/x.one", "1"), artifact("application/x.two", "2"));
        let mut untyped = image(b"{}", &[], hash);
        untyped["subject"] = about.clone();
        let mut list = index(&[(OCI_MANIFEST, &bytes(&subject))], hash);
        list["artifactType"] = json!("application/x.one");
        list["subject"] = about.clone();
        let listed = |manifest: &Value, kind: &str| {
            let mut listed = descriptor(manifest["mediaType"].as_str().unwrap(), &bytes(manifest), hash);
            listed["artifactType"] = json!(kind);
            if let Some(annotations) = manifest.get("annotations") {
                listed["annotations"] = annotations.clone();
            }
            listed
        };
        let pushed = |manifest: &Value| put("one", &hash(&bytes(manifest)), manifest).has("oci-subject", name.clone());
        let referrers = |query: &str, mut manifests: Vec<Value>| {
            manifests.sort_by_key(|one| one["digest"].as_str().unwrap().to_owned());
            row("end-12: what is about it", "GET", format!("/v2/one/referrers/{name}{query}"), 200)
                .has("content-type", OCI_INDEX)
                .has("oci-filters-applied", if query.is_empty() { "" } else { "artifactType" })
                .json(json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests }))
        };
        let config = "application/vnd.oci.image.config.v1+json";
        let all = vec![
            listed(&first, "application/x.one"),
            listed(&second, "application/x.two"),
            listed(&untyped, config),
            listed(&list, "application/x.one"),
        ];
        let ones = vec![all[0].clone(), all[3].clone()];
        let table = vec![
            referrers("", vec![]),
            post("one", b"{}", hash),
            post("one", b"layer", hash),
            // before the manifest that it is about
            pushed(&first),
            referrers("", vec![all[0].clone()]),
            put("one", "v1", &subject).has("oci-subject", ""),
            put("one", &name, &subject),
            pushed(&second),
            pushed(&untyped),
            pushed(&list),
            referrers("", all.clone()),
            referrers("?artifactType=application/x.one", ones.clone()),
            referrers("?artifactType=application%2Fx.one", ones),
            referrers("?artifactType=application/x.none", vec![]),
            row("end-12a: in another repository", "GET", format!("/v2/team/two/referrers/{name}"), 200).json(none),
            row("end-12a: no digest", "GET", "/v2/one/referrers/v1", 400).error("DIGEST_INVALID"),
            row("end-12a: no repository", "GET", format!("/v2/gone/referrers/{name}"), 404).error("NAME_UNKNOWN"),
            row("end-9", "DELETE", format!("/v2/one/manifests/{}", hash(&bytes(&second))), 202),
            row("end-9", "DELETE", format!("/v2/one/manifests/{}", hash(&bytes(&list))), 202),
            referrers("", vec![all[0].clone(), all[2].clone()]),
        ];
        walk(&lab, table).await;
        // ECR's own operation says the same
        let asked = json!({ "repositoryName": "one", "subjectId": { "imageDigest": name }, "filter": { "artifactTypes": ["application/x.one"] } });
        let found = lab.ecr("ListImageReferrers", asked).await;
        let mut expected = all[0].clone();
        expected["artifactStatus"] = json!("ACTIVE");
        assert_eq!(found, json!({ "referrers": [expected] }));
    }
    lab.end().await;
}
