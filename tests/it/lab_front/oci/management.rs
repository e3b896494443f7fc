//! The workflow "content management": what is deleted.

use super::*;

/// end-9 and end-10
#[tokio::test]
async fn tags_and_manifests_are_deleted_and_blobs_go_with_them() {
    let lab = lab().await;
    for hash in ALGORITHMS {
        let manifest = image(b"{}", &[b"layer"], hash);
        let name = hash(&bytes(&manifest));
        let at = |reference: &str| format!("/v2/one/manifests/{reference}");
        let layer = format!("/v2/one/blobs/{}", hash(b"layer"));
        let table = vec![
            post("one", b"{}", hash),
            post("one", b"layer", hash),
            put("one", &name, &manifest),
            // by tag the tag only; a tag names a manifest by sha256
            put("one", "v1", &image(b"{}", &[b"layer"], hash)),
            row("end-9: a tag", "DELETE", at("v1"), 202),
            row("end-9: it is gone", "GET", at("v1"), 404).error("MANIFEST_UNKNOWN"),
            row("end-9: twice", "DELETE", at("v1"), 404).error("MANIFEST_UNKNOWN"),
            row("end-9: the manifest stays", "HEAD", at(&name), 200),
            row("end-8a", "GET", "/v2/one/tags/list", 200).json(json!({ "name": "one", "tags": [] })),
            // ECR deletes no blobs: they go with the last image that has them
            row("end-10: not here", "DELETE", layer.clone(), 405).error("UNSUPPORTED"),
            row("end-2: it stays", "HEAD", layer.clone(), 200),
            row("end-9: a manifest", "DELETE", at(&digest(&bytes(&manifest))), 202),
            row(
                "end-9: by its other digest",
                "DELETE",
                at(&sha512(&bytes(&manifest))),
                if hash(b"") == digest(b"") { 404 } else { 202 },
            ),
            row("end-9: it is gone", "HEAD", at(&name), 404),
            row("end-9: twice", "DELETE", at(&name), 404).error("MANIFEST_UNKNOWN"),
            row("end-2: its blobs went with it", "HEAD", layer, 404),
            row("end-9: no repository", "DELETE", "/v2/gone/manifests/v1", 404).error("NAME_UNKNOWN"),
        ];
        walk(&lab, table).await;
    }
    lab.end().await;
}

#[tokio::test]
async fn what_no_endpoint_has_is_said() {
    let lab = lab().await;
    let name = digest(b"layer");
    let unsupported = |method, path: &str, status| row("no endpoint", method, path, status).error("UNSUPPORTED");
    let table = vec![
        unsupported("POST", "/v2/", 405),
        unsupported("POST", "/v2/one/manifests/v1", 405),
        unsupported("PATCH", "/v2/one/manifests/v1", 405),
        unsupported("PUT", &format!("/v2/one/blobs/{name}"), 405),
        unsupported("DELETE", "/v2/one/tags/list", 405),
        unsupported("PUT", &format!("/v2/one/referrers/{name}"), 405),
        unsupported("GET", "/v2/one/blobs/uploads/", 405),
        unsupported("GET", "/v2/one", 404),
        unsupported("GET", "/v2/one/manifests/", 404),
        unsupported("GET", "/v2/one/nothing/like", 404),
    ];
    walk(&lab, table).await;
    lab.end().await;
}

/// A tag that must stay is said in the words of ECR, also when it is pushed as it is.
#[tokio::test]
async fn a_tag_that_must_stay_stays() {
    let lab = lab().await;
    let (first, second) = (image(b"{}", &[], digest), image(b"{}", &[b"layer"], digest));
    let name = digest(&bytes(&first));
    let refused =
        |manifest: &Value| Row { status: 400, has: vec![], ..put("one", "v1", manifest) }.error("TAG_INVALID");
    walk(&lab, vec![post("one", b"{}", digest), post("one", b"layer", digest), put("one", "v1", &first)]).await;
    lab.ecr("PutImageTagMutability", json!({ "repositoryName": "one", "imageTagMutability": "IMMUTABLE" })).await;
    let table = vec![
        refused(&second),
        refused(&first),
        put("one", "v2", &second),
        put("one", &name, &first),
        row("end-3: it stayed", "HEAD", "/v2/one/manifests/v1", 200).has("docker-content-digest", name.clone()),
    ];
    walk(&lab, table).await;
    lab.end().await;
}
