//! The workflow "pull".

use super::*;

/// end-1
#[tokio::test]
async fn a_client_finds_out_that_this_is_a_registry() {
    let lab = lab().await;
    walk(&lab, vec![row("end-1: support", "GET", "/v2/", 200), row("end-1: support", "HEAD", "/v2/", 200)]).await;
    let answer = lab.send("GET", "/v2/", &[], "").await;
    assert_eq!(answer.status, 401);
    check_error(&answer, "UNAUTHORIZED", &[], "end-1 without a login");
    lab.end().await;
}

/// end-2
#[tokio::test]
async fn blobs_are_pulled_whole_and_in_ranges() {
    let lab = lab().await;
    for hash in ALGORITHMS {
        let content: Vec<u8> = (0..2048_u32).map(|at| (at % 251) as u8).collect();
        let (content, digest) = (content.as_slice(), hash(content.as_slice()));
        let at = format!("/v2/one/blobs/{digest}");
        let missing = hash(b"not here");
        let part = |range: &str, from: usize, to: usize| {
            row("end-2: a range", "GET", at.clone(), 206)
                .with("range", range)
                .has("content-length", (to - from).to_string())
                .has("content-range", format!("bytes {from}-{}/2048", to - 1))
                .is(&content[from..to])
        };
        let table = vec![
            row("end-2: before the push", "GET", at.clone(), 404)
                .error("BLOB_UNKNOWN")
                .about(json!({ "digest": digest })),
            row("end-2: before the push", "HEAD", at.clone(), 404),
            post("one", content, hash),
            row("end-2: whole", "GET", at.clone(), 200)
                .has("content-length", "2048")
                .has("docker-content-digest", digest.clone())
                .is(content),
            row("end-2: whether it is there", "HEAD", at.clone(), 200)
                .has("content-length", "2048")
                .has("docker-content-digest", digest.clone())
                .is(""),
            part("bytes=500-1499", 500, 1500),
            part("bytes=500-", 500, 2048),
            part("bytes=-500", 1548, 2048),
            part("bytes=2000-5000", 2000, 2048),
            row("end-2: no such range", "GET", at.clone(), 416).with("range", "bytes=500-0"),
            row("end-2: no such range", "GET", at, 416)
                .with("range", "bytes=5000-10000")
                .has("content-range", "bytes */2048"),
            row("end-2: of another repository", "GET", format!("/v2/team/two/blobs/{digest}"), 404)
                .error("BLOB_UNKNOWN"),
            row("end-2: never pushed", "GET", format!("/v2/one/blobs/{missing}"), 404).error("BLOB_UNKNOWN"),
            row("end-2: no digest", "GET", "/v2/one/blobs/sha256:short", 400).error("DIGEST_INVALID"),
            row("end-2: no repository", "GET", format!("/v2/gone/blobs/{digest}"), 404).error("NAME_UNKNOWN"),
            row("end-2: no name", "GET", format!("/v2/No/blobs/{digest}"), 400).error("NAME_INVALID"),
        ];
        walk(&lab, table).await;
    }
    lab.end().await;
}

#[tokio::test]
async fn blobs_without_content_are_blobs() {
    let lab = lab().await;
    for hash in ALGORITHMS {
        for content in ["", "{}"] {
            let path = format!("/v2/one/blobs/{}", hash(content.as_bytes()));
            let length = content.len().to_string();
            let table = vec![
                post("one", content.as_bytes(), hash),
                row("end-2: well-known blobs", "HEAD", path.clone(), 200).has("content-length", length),
                row("end-2: well-known blobs", "GET", path, 200).is(content),
            ];
            walk(&lab, table).await;
        }
    }
    lab.end().await;
}

/// end-3
#[tokio::test]
async fn manifests_are_pulled_by_tag_and_digest() {
    let lab = lab().await;
    let manifest = image(b"{}", &[b"layer"], digest);
    let (content, name) = (bytes(&manifest), digest(&bytes(&manifest)));
    let mut table = vec![
        post("one", b"{}", digest),
        post("one", b"layer", digest),
        row("end-3: unknown tag", "GET", "/v2/one/manifests/v1", 404).error("MANIFEST_UNKNOWN"),
        row("end-3: unknown tag", "HEAD", "/v2/one/manifests/v1", 404),
        row("end-3: unknown digest", "GET", format!("/v2/one/manifests/{name}"), 404).error("MANIFEST_UNKNOWN"),
        row("end-3: no digest", "GET", "/v2/one/manifests/sha256:baddigeststring", 404).error("MANIFEST_UNKNOWN"),
        row("end-3: no repository", "GET", "/v2/gone/manifests/v1", 404).error("NAME_UNKNOWN"),
        put("one", "v1", &manifest).has("docker-content-digest", name.clone()),
    ];
    for reference in ["v1", &name] {
        for accept in
            ["", OCI_MANIFEST, "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"]
        {
            let path = format!("/v2/one/manifests/{reference}");
            let full = |method, body: &[u8]| {
                let row = row("end-3: what was pushed", method, path.clone(), 200)
                    .has("content-type", OCI_MANIFEST)
                    .has("content-length", content.len().to_string())
                    .has("docker-content-digest", name.clone())
                    .is(body);
                if accept.is_empty() { row } else { row.with("accept", accept) }
            };
            table.extend([full("GET", &content), full("HEAD", b"")]);
        }
    }
    walk(&lab, table).await;
    lab.end().await;
}
