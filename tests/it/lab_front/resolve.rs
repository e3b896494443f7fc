use std::path::Path;

use serde_json::json;
use steadystate::lab::Settings;
use steadystate::lab::ecr::resolve_image;
use steadystate::lab::state::{State, Store};

use super::{OCI_MANIFEST, TestLab, digest, manifest};

fn settings(data: &Path) -> Settings {
    Settings {
        data: data.to_owned(),
        address: "127.0.0.1:4580".parse().unwrap(),
        region: "us-east-1".to_owned(),
        account_id: "111122223333".to_owned(),
    }
}

fn state(data: &Path) -> State {
    Store::open(data).unwrap().1
}

#[tokio::test]
async fn a_reference_finds_its_image() {
    let lab = TestLab::start().await;
    lab.create("team/hello").await;
    let one = lab.push("team/hello", "latest", b"one").await;
    let two = lab.push("team/hello", "v2", b"two").await;
    lab.push("team/hello", "archived", b"old").await;
    let archive = json!({ "repositoryName": "team/hello", "imageId": { "imageTag": "archived" }, "targetStorageClass": "ARCHIVE" });
    lab.ecr("UpdateImageStorageClass", archive).await;
    let folder = lab.end().await;
    let (settings, state) = (settings(folder.path()), state(folder.path()));
    let ecr = "111122223333.dkr.ecr.us-east-1.amazonaws.com/team/hello";
    let found = [
        ("127.0.0.1:4580/team/hello".to_owned(), &one),
        ("127.0.0.1:4580/team/hello:v2".to_owned(), &two),
        ("localhost:5000/team/hello:v2".to_owned(), &two),
        ("localhost/team/hello:v2".to_owned(), &two),
        ("[::1]:4580/team/hello:v2".to_owned(), &two),
        (format!("127.0.0.1:4580/team/hello@{one}"), &one),
        (format!("127.0.0.1:4580/team/hello:gone@{one}"), &one),
        (format!("{ecr}:v2"), &two),
    ];
    for (reference, digest) in found {
        let source = resolve_image(&state, &settings, &reference, None).unwrap();
        assert_eq!(&source.digest, digest, "{reference}");
        assert_eq!(source.layers.len(), 1);
        assert_eq!(source.layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
        assert!(source.config.is_file() && source.layers[0].path.is_file());
    }
    let missing = [
        "127.0.0.1:4580/team/hello:v3",
        "127.0.0.1:4580/team/hello:archived",
        "127.0.0.1:4580/hello",
        "team/hello:v2",
        "amazon/amazon-ecs-sample",
        "ghcr.io/team/hello:v2",
        "999922223333.dkr.ecr.us-east-1.amazonaws.com/team/hello:v2",
        "127.0.0.1.evil.example/team/hello:v2",
        "",
    ];
    for reference in missing {
        let why = resolve_image(&state, &settings, reference, None).unwrap_err();
        let begin = "CannotPullContainerError: pull image manifest has been retried 7 time(s): failed to resolve ref ";
        assert!(why.starts_with(begin) && why.contains(": not found"), "{reference}: {why}");
    }
    let hub = resolve_image(&state, &settings, "amazon/amazon-ecs-sample", None).unwrap_err();
    assert!(hub.contains("docker.io/amazon/amazon-ecs-sample") && hub.contains("its own registry only"), "{hub}");

    std::fs::remove_file(folder.path().join("blobs/sha256").join(&digest(b"two")[7..])).unwrap();
    let why = resolve_image(&state, &settings, &format!("{ecr}:v2"), None).unwrap_err();
    assert!(why.starts_with("CannotPullContainerError: failed to fetch"), "{why}");
}

#[tokio::test]
async fn an_index_gives_this_machines_image_under_its_own_digest() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let [ours, theirs] = if cfg!(target_arch = "aarch64") { ["arm64", "amd64"] } else { ["amd64", "arm64"] };
    let child = lab.push("there", "child", b"child").await;
    let other = lab.push("there", "other", b"other").await;
    let login = lab.login().await;
    let index = |architectures: &[(&str, &str)]| {
        let one = |(digest, architecture): &(&str, &str)| {
            let os = if *architecture == "unknown" { "unknown" } else { "linux" };
            json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": 1,
                "platform": { "architecture": architecture, "os": os } })
        };
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": architectures.iter().map(one).collect::<Vec<_>>() })
        .to_string()
    };
    let both = index(&[(&other, "unknown"), (&other, theirs), (&child, ours)]);
    for (tag, body) in [("both", both.clone()), ("theirs", index(&[(&other, theirs), (&other, "unknown")]))] {
        let answer = lab.send("PUT", &format!("/v2/there/manifests/{tag}"), &[("authorization", &login)], body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let folder = lab.end().await;
    let (settings, state) = (settings(folder.path()), state(folder.path()));
    let source = resolve_image(&state, &settings, "localhost:4580/there:both", None).unwrap();
    assert_eq!(source.digest, digest(both.as_bytes()), "what was asked for");
    assert_eq!(source.layers[0].digest, digest(b"child"));
    assert_eq!(digest(&manifest(b"{}", &[b"child"])), child);
    // A task that says what it runs on gets that, wherever the lab is.
    for (says, found) in [(&ours, b"child".as_slice()), (&theirs, b"other")] {
        let says = if *says == "arm64" { "ARM64" } else { "X86_64" };
        let source = resolve_image(&state, &settings, "localhost:4580/there:both", Some(says)).unwrap();
        assert_eq!(source.layers[0].digest, digest(found), "{says}");
    }
    let why = resolve_image(&state, &settings, "localhost:4580/there:theirs", None).unwrap_err();
    let text = "CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/";
    assert_eq!(why, format!("{text}{ours}'"));
}
