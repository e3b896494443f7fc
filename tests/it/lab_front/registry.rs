use serde_json::json;

use super::{OCI_MANIFEST, TestLab, basic, digest, manifest};

#[tokio::test]
async fn the_registry_wants_ecrs_login() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let login = lab.login().await;
    let wrong_user = login.clone();
    let table = [
        (None, 401),
        (Some(basic("AWS", "nonsense")), 401),
        (Some(basic("AWS", "")), 401),
        (Some("Basic !".to_owned()), 401),
        (Some(wrong_user.replace("Basic", "Bearer")), 401),
        (Some(login.clone()), 200),
        (Some(login.replace("Basic", "basic")), 200),
    ];
    for (authorization, status) in table {
        let header = authorization.as_deref().map(|value| ("authorization", value));
        let answer = lab.send("GET", "/v2/", header.as_slice(), "").await;
        assert_eq!(answer.status, status, "{authorization:?}");
        if status == 401 {
            let realm = format!("Basic realm=\"http://{}/\",service=\"ecr.amazonaws.com\"", lab.host);
            assert_eq!(answer.header("www-authenticate"), realm);
            assert_eq!(answer.code(), "UNAUTHORIZED");
        }
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    }
    assert_eq!(lab.send("POST", "/v2/there/blobs/uploads/", &[], "").await.status, 401);
    lab.end().await;
}

#[tokio::test]
async fn an_expired_login_is_403() {
    let lab = TestLab::start().await;
    let login = lab.login().await;
    let folder = lab.end().await;
    let path = folder.path().join("state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(!state.to_string().contains("AWS:"), "only a hash is kept");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    state["ecr"]["tokens"][0]["expires_at"] = json!(now - 1);
    std::fs::write(&path, state.to_string()).unwrap();
    let lab = TestLab::start_in(folder).await;
    let answer = lab.send("GET", "/v2/", &[("authorization", &login)], "").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "DENIED"));
    assert!(answer.text().contains("Your authorization token has expired"));
    lab.end().await;
}

#[tokio::test]
async fn blobs_go_in_by_every_way_that_the_specification_has() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let login = lab.login().await;
    let auth = [("authorization", login.as_str())];
    let begin = async || {
        let answer = lab.send("POST", "/v2/there/blobs/uploads/", &auth, "").await;
        assert_eq!(answer.status, 202);
        assert!(answer.header("location").starts_with(&format!("http://{}/v2/there/blobs/uploads/", lab.host)));
        answer.header("location").to_owned()
    };
    let large = vec![7; 3_000_000];

    // One PUT.
    let put = format!("{}?digest={}", begin().await, digest(&large));
    let answer = lab.send("PUT", &put, &auth, large.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.header("docker-content-digest")), (201, digest(&large).as_str()));

    // A PATCH, then an empty PUT.
    let location = begin().await;
    let first = lab.send("PATCH", &location, &auth, "hello there").await;
    assert_eq!((first.status.as_u16(), first.header("range")), (202, "0-10"));
    let again = lab.send("PATCH", &location, &[auth[0], ("content-range", "0-4")], "there").await;
    assert_eq!((again.status.as_u16(), again.header("range")), (416, "0-10"));
    assert!(again.text().contains("First byte of the layer part is 0 instead of 11"));
    let put = format!("{location}?digest={}", digest(b"hello there"));
    assert_eq!(lab.send("PUT", &put, &auth, "").await.status, 201);
    assert_eq!(lab.send("PUT", &put, &auth, "").await.code(), "BLOB_UPLOAD_UNKNOWN", "a session ends with its blob");

    // One POST.
    let path = format!("/v2/there/blobs/uploads/?digest={}", digest(b"post"));
    assert_eq!(lab.send("POST", &path, &auth, "post").await.status, 201);

    // A session that is given up.
    let location = begin().await;
    assert_eq!(lab.send("DELETE", &location, &auth, "").await.status, 204);
    assert_eq!(lab.send("GET", &location, &auth, "").await.status, 404);

    for content in [large.as_slice(), b"hello there", b"post"] {
        let answer = lab.send("GET", &format!("/v2/there/blobs/{}", digest(content)), &auth, "").await;
        assert_eq!(digest(&answer.body), digest(content));
    }
    let folder = lab.end().await;
    let uploads = folder.path().join("uploads");
    assert!(uploads.exists());
    let blob = folder.path().join("blobs/sha256").join(&digest(b"post")[7..]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&blob), mode(blob.parent().unwrap())), (0o600, 0o700));
    }
}

#[tokio::test]
async fn blobs_go_out_whole_and_in_part() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    lab.push("there", "v1", b"0123456789").await;
    let login = lab.login().await;
    let path = format!("/v2/there/blobs/{}", digest(b"0123456789"));
    let table = [
        ("", 200, "0123456789", ""),
        ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
        ("bytes=4-", 206, "456789", "bytes 4-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=8-99", 206, "89", "bytes 8-9/10"),
        ("bytes=0-9", 200, "0123456789", ""),
        ("bytes=0-1,3-4", 200, "0123456789", ""),
        ("lines=0-1", 200, "0123456789", ""),
    ];
    for (range, status, body, content_range) in table {
        let headers = [("authorization", login.as_str()), ("range", range)];
        let headers = if range.is_empty() { &headers[..1] } else { &headers[..] };
        let answer = lab.send("GET", &path, headers, "").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (status, body), "{range}");
        assert_eq!(answer.header("content-range"), content_range, "{range}");
    }
    let beyond = lab.send("GET", &path, &[("authorization", &login), ("range", "bytes=10-")], "").await;
    assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, "bytes */10"));
    let head = lab.send("HEAD", &path, &[("authorization", &login)], "").await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.body.len()), (200, "10", 0));
    lab.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_the_specifications_codes() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let image = lab.push("there", "v1", b"layer").await;
    let login = lab.login().await;
    let none = digest(b"none");
    let good = String::from_utf8(manifest(b"{}", &[b"layer"])).unwrap();
    let unknown_blob = String::from_utf8(manifest(b"{}", &[b"none"])).unwrap();
    let wrong_size = good.replace("\"size\":5", "\"size\":6");
    let bad_digest = good.replace("sha256:", "md5:");
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [{ "mediaType": OCI_MANIFEST, "digest": none, "size": 2 }] }).to_string();
    let old = json!({ "schemaVersion": 1, "name": "there", "tag": "v1" }).to_string();
    let put = |reference: &str| ("PUT", format!("/v2/there/manifests/{reference}"));
    let (oci, docker) = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json");
    let table = [
        (("GET", "/v2/gone/tags/list".to_owned()), "", "", 404, "NAME_UNKNOWN"),
        (("GET", "/v2/gone/manifests/v1".to_owned()), "", "", 404, "NAME_UNKNOWN"),
        (("GET", format!("/v2/gone/blobs/{none}")), "", "", 404, "NAME_UNKNOWN"),
        (("POST", "/v2/gone/blobs/uploads/".to_owned()), "", "", 404, "NAME_UNKNOWN"),
        (("PUT", "/v2/gone/manifests/v1".to_owned()), oci, good.as_str(), 404, "NAME_UNKNOWN"),
        (("GET", "/v2/there/manifests/v9".to_owned()), "", "", 404, "MANIFEST_UNKNOWN"),
        (("DELETE", "/v2/there/manifests/v9".to_owned()), "", "", 404, "MANIFEST_UNKNOWN"),
        (("GET", format!("/v2/there/blobs/{none}")), "", "", 404, "BLOB_UNKNOWN"),
        (("GET", "/v2/there/blobs/sha256:..%2F..%2Fstate.json".to_owned()), "", "", 400, "DIGEST_INVALID"),
        (("GET", "/v2/there/blobs/sha512:00".to_owned()), "", "", 400, "DIGEST_INVALID"),
        (("PATCH", "/v2/there/blobs/uploads/nope".to_owned()), "", "x", 404, "BLOB_UPLOAD_UNKNOWN"),
        (("POST", "/v2/there/blobs/uploads/?digest=md5:00".to_owned()), "", "x", 400, "DIGEST_INVALID"),
        (("POST", format!("/v2/there/blobs/uploads/?digest={none}")), "", "x", 400, "DIGEST_INVALID"),
        (put("v2"), oci, unknown_blob.as_str(), 400, "MANIFEST_BLOB_UNKNOWN"),
        (put("v2"), oci, index.as_str(), 400, "MANIFEST_INVALID"),
        (put("v2"), "", index.as_str(), 400, "MANIFEST_BLOB_UNKNOWN"),
        (put("v2"), oci, wrong_size.as_str(), 400, "MANIFEST_INVALID"),
        (put("v2"), oci, bad_digest.as_str(), 400, "MANIFEST_INVALID"),
        (put("v2"), docker, good.as_str(), 400, "MANIFEST_INVALID"),
        (put("v2"), "text/html", good.as_str(), 400, "MANIFEST_INVALID"),
        (put("v2"), "", old.as_str(), 400, "MANIFEST_INVALID"),
        (put("v2"), oci, "{", 400, "MANIFEST_INVALID"),
        (put(".v2"), oci, good.as_str(), 400, "MANIFEST_INVALID"),
        (put(&none), oci, good.as_str(), 400, "DIGEST_INVALID"),
        (("DELETE", format!("/v2/there/blobs/{}", digest(b"layer"))), "", "", 405, "UNSUPPORTED"),
    ];
    for ((method, path), kind, body, status, code) in table {
        let headers = [("authorization", login.as_str()), ("content-type", kind)];
        let headers = if kind.is_empty() { &headers[..1] } else { &headers[..] };
        let answer = lab.send(method, &path, headers, body.to_owned()).await;
        let found = (answer.status.as_u16(), answer.code());
        assert_eq!(found, (status, code.to_owned()), "{method} {path} {kind} {body}: {}", answer.text());
    }
    let large = format!("{good}{}", " ".repeat(5_000_000));
    assert_eq!(lab.send("PUT", "/v2/there/manifests/v2", &[("authorization", &login)], large).await.status, 413);
    let described = lab.ecr("DescribeImages", json!({ "repositoryName": "there" })).await;
    assert_eq!(described["imageDetails"].as_array().unwrap().len(), 1);
    assert_eq!(described["imageDetails"][0]["imageDigest"], image.as_str(), "nothing of it was taken");
    lab.end().await;
}

#[tokio::test]
async fn manifests_are_named_by_tag_and_digest() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let one = lab.push("there", "v1", b"one").await;
    for tag in ["b", "a", "c", "v1"] {
        assert_eq!(lab.push("there", tag, b"one").await, one);
    }
    let login = lab.login().await;
    let auth = [("authorization", login.as_str())];
    for reference in ["v1", &one] {
        for method in ["GET", "HEAD"] {
            let answer = lab.send(method, &format!("/v2/there/manifests/{reference}"), &auth, "").await;
            assert_eq!(
                (answer.header("content-type"), answer.header("docker-content-digest")),
                (OCI_MANIFEST, one.as_str())
            );
            assert_eq!(digest(&answer.body) == one, method == "GET");
            assert_ne!(answer.header("content-length"), "0");
        }
    }
    let page = lab.send("GET", "/v2/there/tags/list?n=2", &auth, "").await;
    assert_eq!(page.json(), json!({ "name": "there", "tags": ["a", "b"] }));
    assert_eq!(page.header("link"), "</v2/there/tags/list?n=2&last=b>; rel=\"next\"");
    let rest = lab.send("GET", "/v2/there/tags/list?n=2&last=b", &auth, "").await;
    assert_eq!((rest.json()["tags"].clone(), rest.header("link")), (json!(["c", "v1"]), ""));

    assert_eq!(lab.send("DELETE", "/v2/there/manifests/a", &auth, "").await.status, 202);
    assert_eq!(
        lab.send("HEAD", &format!("/v2/there/manifests/{one}"), &auth, "").await.status,
        200,
        "only the tag went"
    );
    assert_eq!(lab.send("DELETE", &format!("/v2/there/manifests/{one}"), &auth, "").await.status, 202);
    assert_eq!(lab.send("GET", "/v2/there/tags/list", &auth, "").await.json()["tags"], json!([]));
    lab.end().await;
}

#[tokio::test]
async fn an_index_and_what_refers_to_an_image() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let child = lab.push("there", "child", b"child").await;
    let login = lab.login().await;
    let auth = [("authorization", login.as_str())];
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{ "mediaType": OCI_MANIFEST, "digest": child, "size": 1, "platform": { "architecture": "amd64", "os": "linux" } }],
    });
    assert_eq!(lab.send("PUT", "/v2/there/manifests/multi", &auth, index.to_string()).await.status, 201);
    let deleted =
        lab.ecr("BatchDeleteImage", json!({ "repositoryName": "there", "imageIds": [{ "imageDigest": child }] })).await;
    assert_eq!(deleted["failures"][0]["failureCode"], "ImageReferencedByManifestList");
    let answer = lab.send("DELETE", &format!("/v2/there/manifests/{child}"), &auth, "").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (405, "UNSUPPORTED".to_owned()), "{}", answer.text());
    let said = format!("Requested image referenced by manifest list: [{}]", digest(index.to_string().as_bytes()));
    assert_eq!(answer.json()["errors"][0]["message"], said);
    assert_eq!(lab.send("GET", &format!("/v2/there/manifests/{child}"), &auth, "").await.status, 200);
    let size =
        lab.ecr("DescribeImages", json!({ "repositoryName": "there", "imageIds": [{ "imageTag": "multi" }] })).await;
    assert_eq!(size["imageDetails"][0]["imageSizeInBytes"], 7, "the largest of its images");

    let mut signature: serde_json::Value = serde_json::from_slice(&manifest(b"{}", &[b"child"])).unwrap();
    signature["artifactType"] = json!("application/x.signature");
    signature["subject"] = json!({ "mediaType": OCI_MANIFEST, "digest": child, "size": 1 });
    let path = format!("/v2/there/manifests/{}", digest(signature.to_string().as_bytes()));
    let answer = lab.send("PUT", &path, &auth, signature.to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.header("oci-subject")), (201, child.as_str()), "{}", answer.text());
    for (query, count) in [("", 1), ("?artifactType=application/x.signature", 1), ("?artifactType=x", 0)] {
        let answer = lab.send("GET", &format!("/v2/there/referrers/{child}{query}"), &auth, "").await;
        assert_eq!(answer.json()["manifests"].as_array().unwrap().len(), count, "{query}");
    }

    let subject = json!({ "mediaType": OCI_MANIFEST, "digest": child, "size": 1 });
    signature["annotations"] = json!({ "org.opencontainers.image.created": "2026-01-01T00:00:00Z" });
    let mut plain = signature.clone();
    plain["artifactType"] = json!("");
    let no_type = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [], "subject": subject,
        "annotations": null,
    });
    let config = json!("application/vnd.oci.image.config.v1+json");
    let table = [
        (&signature, json!("application/x.signature"), signature["annotations"].clone()),
        (&plain, config, plain["annotations"].clone()),
        (&no_type, json!(null), json!(null)),
    ];
    for (manifest, kind, annotations) in table {
        let digest = digest(manifest.to_string().as_bytes());
        let answer = lab.send("PUT", &format!("/v2/there/manifests/{digest}"), &auth, manifest.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let answer = lab.send("GET", &format!("/v2/there/referrers/{child}"), &auth, "").await.json();
        let listed = answer["manifests"].as_array().unwrap().iter().find(|one| one["digest"] == digest.as_str());
        let listed = listed.expect("it is listed").as_object().unwrap();
        let member = |name: &str| listed.get(name).cloned().unwrap_or_default();
        assert_eq!((member("artifactType"), member("annotations")), (kind.clone(), annotations.clone()), "{listed:?}");
        assert_eq!(listed.contains_key("artifactType"), !kind.is_null(), "absent, not null");
        assert_eq!(listed.contains_key("annotations"), !annotations.is_null());
    }
    lab.end().await;
}

/// The client goes away in the middle of a PATCH: what came is kept, and the upload goes on from there.
#[tokio::test]
async fn an_upload_outlives_a_connection_that_is_cut() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let lab = TestLab::start().await;
    lab.create("there").await;
    let login = lab.login().await;
    let auth = [("authorization", login.as_str())];
    let location = lab.send("POST", "/v2/there/blobs/uploads/", &auth, "").await.header("location").to_owned();
    let path = location.strip_prefix(&format!("http://{}", lab.host)).unwrap();
    let mut stream = tokio::net::TcpStream::connect(&lab.host).await.unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {login}\r\nContent-Length: 100\r\n\r\nhello",
        lab.host
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    drop(stream);
    let mut range = String::new();
    for _ in 0..400 {
        let answer = lab.send("GET", &location, &auth, "").await;
        range = answer.header("range").to_owned();
        if answer.status == 204 && range == "0-4" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(range, "0-4");
    let put = format!("{location}?digest={}", digest(b"hello there"));
    assert_eq!(lab.send("PUT", &put, &[auth[0], ("content-range", "5-10")], " there").await.status, 201);
    lab.end().await;
}

/// A deletion comes between the state and the file.
#[tokio::test]
async fn what_is_deleted_while_it_is_asked_for_is_unknown() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let image = lab.push("there", "v1", b"layer").await;
    let login = lab.login().await;
    let auth = [("authorization", login.as_str())];
    std::fs::remove_dir_all(lab.folder.path().join("blobs/sha256")).unwrap();
    let blob = lab.send("GET", &format!("/v2/there/blobs/{}", digest(b"layer")), &auth, "").await;
    assert_eq!((blob.status.as_u16(), blob.code()), (404, "BLOB_UNKNOWN".to_owned()), "{}", blob.text());
    let manifest = lab.send("GET", "/v2/there/manifests/v1", &auth, "").await;
    assert_eq!(
        (manifest.status.as_u16(), manifest.code()),
        (404, "MANIFEST_UNKNOWN".to_owned()),
        "{}",
        manifest.text()
    );
    let input = json!({ "repositoryName": "there", "imageIds": [{ "imageDigest": image }] });
    let got = lab.ecr("BatchGetImage", input).await;
    assert_eq!((&got["images"], &got["failures"][0]["failureCode"]), (&json!([]), &json!("ImageNotFound")), "{got}");
    lab.end().await;
}

/// Nobody was told the upload's id: without an end it would keep its bytes as long as the lab runs.
#[tokio::test]
async fn a_blob_in_one_request_that_is_cut_leaves_nothing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let lab = TestLab::start().await;
    lab.create("there").await;
    let login = lab.login().await;
    let uploads = lab.folder.path().join("uploads");
    let files = || std::fs::read_dir(&uploads).map_or(0, |files| files.count());
    let mut stream = tokio::net::TcpStream::connect(&lab.host).await.unwrap();
    let head = format!(
        "POST /v2/there/blobs/uploads/?digest={} HTTP/1.1\r\nHost: {}\r\nAuthorization: {login}\r\n\
         Content-Length: 100\r\n\r\nhello",
        digest(b"x"),
        lab.host
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let wait = |wanted: usize| async move {
        while files() != wanted {
            assert!(std::time::Instant::now() < until, "{} uploads, not {wanted}", files());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    wait(1).await;
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    wait(0).await;
    let auth = [("authorization", login.as_str())];
    let wrong = lab.send("POST", &format!("/v2/there/blobs/uploads/?digest={}", digest(b"x")), &auth, "y").await;
    assert_eq!((wrong.status.as_u16(), files()), (400, 0), "{}", wrong.text());
    lab.end().await;
}
