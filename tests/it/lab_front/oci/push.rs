//! The workflow "push": blobs by every way, mounts, manifests of every kind.

use super::*;

const CHUNK: usize = 5 * 1024 * 1024;
const UPLOADS: &str = "/v2/one/blobs/uploads/";

fn begin() -> Row {
    row("end-4a: an upload begins", "POST", UPLOADS, 202).has("location", "*").has("docker-upload-uuid", "*")
}

fn patch(range: &str, content: &[u8], status: u16) -> Row {
    let row = row("end-5: a chunk", "PATCH", "<location>", status).body(content).has("location", "*");
    if range.is_empty() { row } else { row.with("content-range", range) }
}

fn finish(content: &[u8], rest: &[u8], hash: Hash) -> Row {
    row("end-6: the upload ends", "PUT", format!("<location>?digest={}", hash(content)), 201)
        .body(rest)
        .has("location", format!("/v2/one/blobs/{}", hash(content)))
        .has("docker-content-digest", hash(content))
}

fn pulled(content: &[u8], hash: Hash) -> Row {
    row("end-2: what was pushed", "GET", format!("/v2/one/blobs/{}", hash(content)), 200).is(content)
}

/// end-4a, end-4b, end-5, end-6 and end-13
#[tokio::test]
async fn blobs_are_pushed_whole_and_in_chunks() {
    let lab = lab().await;
    // as large as chunks have to be
    let (large, rest) = (vec![b'-'; CHUNK], b"rest".as_slice());
    let (two, three) = ([large.as_slice(), rest].concat(), [large.as_slice(), large.as_slice(), rest].concat());
    let range = |first: usize, length: usize| format!("{first}-{}", first + length - 1);
    let until = |length: usize| format!("0-{}", length - 1);
    for hash in ALGORITHMS {
        let table = vec![
            post("one", b"post only", hash),
            pulled(b"post only", hash),
            begin(),
            finish(b"post and put", b"post and put", hash),
            pulled(b"post and put", hash),
            // streamed: no range
            begin(),
            patch("", b"streamed", 202).has("range", "0-7"),
            finish(b"streamed", b"", hash),
            pulled(b"streamed", hash),
            // one chunk, then chunks with and without one in the PUT
            begin().has("oci-chunk-min-length", CHUNK.to_string()),
            patch("0-4", b"chunk", 202).has("range", "0-4"),
            finish(b"chunk", b"", hash),
            pulled(b"chunk", hash),
            begin(),
            patch(&range(0, CHUNK), &large, 202),
            patch(&range(CHUNK, CHUNK), &large, 202).has("range", until(2 * CHUNK)),
            row("end-13: how far it is", "GET", "<location>", 204).has("range", until(2 * CHUNK)).has("location", "*"),
            patch(&range(2 * CHUNK, 4), rest, 202),
            finish(&three, b"", hash),
            pulled(&three, hash),
            begin(),
            patch(&range(0, CHUNK), &large, 202),
            finish(&two, rest, hash).with("content-range", range(CHUNK, 4)),
            pulled(&two, hash),
            // what is out of order changes nothing
            begin(),
            patch(&range(CHUNK, 4), rest, 416).error("BLOB_UPLOAD_INVALID"),
            patch(&range(0, CHUNK), &large, 202),
            patch("0-3", rest, 416).has("range", until(CHUNK)),
            patch(&range(CHUNK + 1, 4), rest, 416).has("range", until(CHUNK)).error("BLOB_UPLOAD_INVALID"),
            row("end-6: out of order", "PUT", format!("<location>?digest={}", hash(&two)), 416)
                .with("content-range", range(CHUNK + 1, 4))
                .body(rest),
            row("end-13: as it was", "GET", "<location>", 204).has("range", until(CHUNK)),
            patch(&range(CHUNK, 4), rest, 202),
            finish(&two, b"", hash),
            pulled(&two, hash),
            row("end-6: it has ended", "PUT", "<location>", 405),
        ];
        walk(&lab, table).await;
    }
    lab.end().await;
}

/// ECR's, which the specification lets a registry have.
#[tokio::test]
async fn of_several_chunks_only_the_last_may_be_small() {
    let lab = lab().await;
    let refused = |rest: &str| {
        row("end-6: small chunks", "PUT", format!("<location>?digest={}", digest(b"onetwo")), 400)
            .body(rest)
            .error("BLOB_UPLOAD_INVALID")
    };
    let table = vec![
        begin(),
        patch("0-2", b"one", 202),
        patch("3-5", b"two", 202),
        refused(""),
        row("end-13: it is over", "GET", "<location>", 404).error("BLOB_UPLOAD_UNKNOWN"),
        begin(),
        patch("0-2", b"one", 202),
        refused("two"),
        // nothing is no chunk
        begin(),
        patch("", b"", 202),
        patch("0-5", b"onetwo", 202),
        patch("", b"", 202),
        finish(b"onetwo", b"", digest),
    ];
    walk(&lab, table).await;
    lab.end().await;
}

#[tokio::test]
async fn chunks_that_say_what_they_are_not_are_refused() {
    let lab = lab().await;
    let mut table = vec![begin()];
    for range in ["", "x", "0", "0-", "-4", "a-b", "4-0", "bytes", "0-18446744073709551615"] {
        let row = row("end-5: no range", "PATCH", "<location>", 416).body("chunk").has("location", "*");
        table.push(row.with("content-range", range).error("BLOB_UPLOAD_INVALID"));
    }
    for range in ["0-3", "0-5"] {
        let row = row("end-5: another length", "PATCH", "<location>", 400).body("chunk");
        table.push(row.with("content-range", range).error("SIZE_INVALID"));
    }
    table.extend([
        row("end-13: nothing came", "GET", "<location>", 204).has("range", "0-0"),
        patch("bytes 0-4/9", b"chunk", 202).has("range", "0-4"),
        row("end-6: without a digest", "PUT", "<location>", 400).error("DIGEST_INVALID"),
        row("end-6: no digest", "PUT", "<location>?digest=md5:00", 400).error("DIGEST_INVALID"),
        finish(b"chunk", b"", digest),
    ]);
    walk(&lab, table).await;
    lab.end().await;
}

#[tokio::test]
async fn content_of_another_digest_is_refused() {
    let lab = lab().await;
    for hash in ALGORITHMS {
        let wrong = hash(b"other content");
        let end = |rest: &[u8]| {
            row("end-6: another digest", "PUT", format!("<location>?digest={wrong}"), 400)
                .body(rest)
                .error("DIGEST_INVALID")
        };
        let gone = || row("end-13: the session is over", "GET", "<location>", 404).error("BLOB_UPLOAD_UNKNOWN");
        let table = vec![
            row("end-4b: another digest", "POST", format!("{UPLOADS}?digest={wrong}"), 400)
                .body("content")
                .error("DIGEST_INVALID"),
            begin(),
            end(b"content"),
            gone(),
            begin(),
            patch("0-6", b"content", 202),
            end(b""),
            gone(),
            row("end-2: nothing was stored", "GET", format!("/v2/one/blobs/{wrong}"), 404).error("BLOB_UNKNOWN"),
        ];
        walk(&lab, table).await;
    }
    let left = std::fs::read_dir(lab.folder.path().join("uploads")).unwrap().count();
    assert_eq!(left, 0, "of what was refused nothing is left");
    lab.end().await;
}

/// end-14, of the specification's next version
#[tokio::test]
async fn an_upload_is_given_up() {
    let lab = lab().await;
    let unknown =
        |method: &'static str, path: &str| row("an upload that is not", method, path, 404).error("BLOB_UPLOAD_UNKNOWN");
    let table = vec![
        begin(),
        patch("0-2", b"one", 202),
        row("end-14: it is given up", "DELETE", "<location>", 204),
        unknown("GET", "<location>"),
        unknown("PATCH", "<location>"),
        unknown("DELETE", "<location>"),
        unknown("PUT", &format!("<location>?digest={}", digest(b"one"))),
        begin(),
        unknown("GET", "/v2/team/two/blobs/uploads/00000000-0000-0000-0000-000000000000"),
        row("end-4a: no repository", "POST", "/v2/gone/blobs/uploads/", 404).error("NAME_UNKNOWN"),
        row("end-4a: no name", "POST", "/v2/not--this-/blobs/uploads/", 400).error("NAME_INVALID"),
    ];
    walk(&lab, table).await;
    lab.end().await;
}

/// end-11; ECR mounts only where the account has switched that on, only what is in an image, and only between
/// repositories that are encrypted alike.
#[tokio::test]
async fn blobs_are_mounted_where_ecr_mounts_them() {
    let lab = lab().await;
    let manifest = image(b"{}", &[b"layer"], digest);
    let pushed = vec![
        post("team/two", b"{}", digest),
        post("team/two", b"layer", digest),
        post("team/two", b"in no image", digest),
        put("team/two", "v1", &manifest),
    ];
    walk(&lab, pushed).await;
    let mount = |content: &[u8], from: &str, status: u16| {
        let path = format!("{UPLOADS}?mount={}{from}", digest(content));
        let row = row("end-11: a mount", "POST", path, status).has("location", "*");
        if status == 201 { row.has("location", format!("/v2/one/blobs/{}", digest(content))) } else { row }
    };
    let absent = || row("not there", "HEAD", format!("/v2/one/blobs/{}", digest(b"layer")), 404);
    walk(&lab, vec![mount(b"layer", "&from=team/two", 202), absent(), mount(b"layer", "", 202), absent()]).await;
    lab.ecr("PutAccountSetting", json!({ "name": "BLOB_MOUNTING", "value": "ENABLED" })).await;
    let kms = json!({ "encryptionType": "KMS" });
    lab.ecr("CreateRepository", json!({ "repositoryName": "sealed", "encryptionConfiguration": kms })).await;
    let table = vec![
        mount(b"layer", "&from=gone", 202),
        mount(b"nowhere", "&from=team/two", 202),
        mount(b"nowhere", "", 202),
        mount(b"in no image", "&from=team/two", 202),
        absent(),
        // the session that comes instead works
        mount(b"nowhere", "&from=team/two", 202),
        finish(b"nowhere", b"nowhere", digest),
        mount(b"layer", "&from=team/two", 201),
        pulled(b"layer", digest),
        // without `from` the registry looks itself
        mount(b"{}", "", 201),
        pulled(b"{}", digest),
        put("one", "v1", &manifest),
        row(
            "end-11: sealed otherwise",
            "POST",
            format!("/v2/sealed/blobs/uploads/?mount={}&from=one", digest(b"layer")),
            202,
        ),
    ];
    walk(&lab, table).await;
    lab.end().await;
}

/// end-7
#[tokio::test]
async fn manifests_of_every_kind_are_pushed() {
    let lab = lab().await;
    for hash in ALGORITHMS {
        let mut table = vec![post("one", b"{}", hash), post("one", b"layer", hash)];
        let plain = image(b"{}", &[b"layer"], hash);
        let mut docker = plain.clone();
        docker["mediaType"] = json!(DOCKER_MANIFEST);
        let mut custom = plain.clone();
        custom["org.example.member"] = json!({ "of": ["nobody's"] });
        custom["annotations"] = json!({ "a": "x".repeat(100_000) });
        custom["layers"][0]["data"] = json!("bGF5ZXI=");
        let mut artifact = image(b"{}", &[b"layer"], hash);
        artifact["artifactType"] = json!("application/x.example");
        artifact["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
        let mut elsewhere = image(b"{}", &[b"layer", b"on another server"], hash);
        elsewhere["layers"][1]["mediaType"] = json!("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
        let mut lost = artifact.clone();
        lost["subject"] = descriptor(OCI_MANIFEST, b"nowhere", hash);
        let list = index(&[(OCI_MANIFEST, &bytes(&plain)), (DOCKER_MANIFEST, &bytes(&docker))], hash);
        let mut typed = index(&[(OCI_MANIFEST, &bytes(&artifact))], hash);
        typed["artifactType"] = json!("application/x.example");
        let nested = index(&[(OCI_INDEX, &bytes(&list)), (OCI_INDEX, &bytes(&typed))], hash);
        let manifests = [
            plain,
            docker,
            custom,
            image(b"{}", &[], hash),
            artifact,
            elsewhere,
            lost,
            list,
            typed,
            nested,
            index(&[], hash),
        ];
        for manifest in &manifests {
            let (content, name) = (bytes(manifest), hash(&bytes(manifest)));
            let path = format!("/v2/one/manifests/{name}");
            table.push(put("one", &name, manifest).has("docker-content-digest", name.clone()));
            table.push(
                row("end-3: byte for byte", "GET", path, 200)
                    .has("content-type", manifest["mediaType"].as_str().unwrap())
                    .has("docker-content-digest", name)
                    .is(content),
            );
        }
        walk(&lab, table).await;
    }
    lab.end().await;
}

#[tokio::test]
async fn manifests_that_are_wrong_are_refused() {
    let lab = lab().await;
    let manifest = image(b"{}", &[b"layer"], digest);
    let unknown = image(b"no", &[b"layer", b"nor this"], digest);
    let absent = index(&[(OCI_MANIFEST, b"no manifest")], digest);
    let detail = |content: &[u8]| json!({ "digest": digest(content) });
    let refused = |reference: &str, manifest: &Value, code: &'static str| {
        row("end-7: refused", "PUT", format!("/v2/one/manifests/{reference}"), 400)
            .with("content-type", manifest["mediaType"].as_str().unwrap_or(OCI_MANIFEST))
            .body(bytes(manifest))
            .error(code)
    };
    let table = vec![
        post("one", b"{}", digest),
        post("one", b"layer", digest),
        refused("v1", &unknown, "MANIFEST_BLOB_UNKNOWN").about(detail(b"no")).about(detail(b"nor this")),
        refused("v1", &absent, "MANIFEST_BLOB_UNKNOWN").about(detail(b"no manifest")),
        refused(&digest(b"other"), &manifest, "DIGEST_INVALID"),
        refused(&sha512(b"other"), &manifest, "DIGEST_INVALID"),
        refused("sha256:baddigeststring", &manifest, "DIGEST_INVALID"),
        refused("v1", &json!([]), "MANIFEST_INVALID"),
        refused("v1", &json!({ "schemaVersion": 2 }), "MANIFEST_INVALID"),
        refused("v1", &json!({ "schemaVersion": 1, "mediaType": OCI_MANIFEST }), "MANIFEST_INVALID"),
        refused(&"t".repeat(129), &manifest, "MANIFEST_INVALID"),
        row("end-7: no repository", "PUT", "/v2/gone/manifests/v1", 404).body(bytes(&manifest)).error("NAME_UNKNOWN"),
        row("end-8a: nothing was taken", "GET", "/v2/one/tags/list", 200).json(json!({ "name": "one", "tags": [] })),
    ];
    walk(&lab, table).await;
    lab.end().await;
}
