//! Images that an engine holds: a program with docker's command line stands for the engine.

use std::path::Path;

use serde_json::{Value, json};
use steadystate::error::Kind;
use steadystate::image::config::diff_ids;
use steadystate::image::engine::{self, Builder, Engine, Held};
use steadystate::image::{Built, digest};

use super::archives::{Member, archive_of, config, gzipped, layer, saved_archive, saved_config, small_archive};
use super::{Workshop, check_sound, set_mode};

/// `docker` in the project.
pub fn program(workshop: &Workshop, script: &str) {
    workshop.file("docker", script);
    set_mode(&workshop.path("project/docker"), 0o755);
}

/// What the program of [`docker`] says of the image with this config, and gives when it is to save it.
pub fn holds(workshop: &Workshop, text: &[u8], archive: &str) {
    let id = digest::of(text);
    workshop.file(&format!("inspect-{id}"), json!([about(&id, text)]).to_string());
    std::fs::rename(workshop.path("project").join(archive), workshop.path("project").join(format!("saved-{id}")))
        .unwrap();
}

fn about(id: &str, text: &[u8]) -> Value {
    let whole: Value = serde_json::from_slice(text).unwrap();
    json!({
        "Id": id, "Os": whole["os"], "Architecture": whole["architecture"],
        "RootFS": { "Type": "layers", "Layers": diff_ids(text).unwrap() },
    })
}

/// An engine that has the images of [`holds`], and counts how often it gave one out.
pub fn docker(workshop: &Workshop) -> Engine {
    let script = r#"#!/bin/sh
case $1 in
  image) [ -e "inspect-$4" ] && exec cat "inspect-$4"; echo "Error: No such image: $4" >&2; exit 1 ;;
  save) echo saved >> saves; exec cat "saved-$3" ;;
esac
"#;
    program(workshop, script);
    Engine { builder: Builder::Docker, program: workshop.path("project/docker").into(), buildx: false }
}

pub fn saves(workshop: &Workshop) -> usize {
    std::fs::read_to_string(workshop.path("project/saves")).unwrap_or_default().lines().count()
}

pub async fn hold(workshop: &Workshop, docker: &Engine, id: &str) -> Held {
    engine::hold(docker, id, &workshop.path("project"), &workshop.open(None)).await.unwrap()
}

/// As Docker before 25 saves it: names say nothing of a layer's content.
pub fn old_docker(workshop: &Workshop, contents: &[&str]) -> Vec<u8> {
    saved(workshop, contents, |at, _| format!("{}/layer.tar", "0123456789abcdef"[at..].chars().next().unwrap()))
}

/// As Docker 25 and later do.
pub fn new_docker(workshop: &Workshop, contents: &[&str]) -> Vec<u8> {
    saved(workshop, contents, |_, layer| format!("blobs/sha256/{}", &digest::of(layer)[7..]))
}

fn saved(workshop: &Workshop, contents: &[&str], name: impl Fn(usize, &[u8]) -> String) -> Vec<u8> {
    let layers: Vec<Vec<u8>> = contents.iter().map(|content| layer(content)).collect();
    let config = config(&layers.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let names: Vec<String> = layers.iter().enumerate().map(|(at, layer)| name(at, layer)).collect();
    let config_name = format!("{}.json", &digest::of(&config)[7..]);
    let listed = json!([{ "Config": config_name, "RepoTags": ["hello:1"], "Layers": names }]).to_string();
    let mut members: Vec<Member> = names.iter().zip(layers).map(|(name, layer)| Member::File(name, layer)).collect();
    members.push(Member::File(&config_name, config.clone()));
    members.push(Member::File("manifest.json", listed.into_bytes()));
    archive_of(workshop, "project/saved.tar", &members);
    holds(workshop, &config, "saved.tar");
    config
}

/// What Docker's containerd store has and gives: an image whose layers are compressed already. With `around` it is in an
/// index beside an attestation, as BuildKit makes them. Its name is `hello:1`; returns its config and its manifest's digest.
pub fn containerd(workshop: &Workshop, around: bool) -> (Vec<u8>, String) {
    containerd_that(workshop, around, "/file")
}

/// The same, of a config that runs another program.
pub fn containerd_that(workshop: &Workshop, around: bool, runs: &str) -> (Vec<u8>, String) {
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let (raw, packed) = (layer("content"), gzipped(&layer("content")));
    let config = String::from_utf8(config(&[&raw])).unwrap().replace("/file", runs).into_bytes();
    let about =
        |bytes: &[u8], kind: &str| json!({ "mediaType": kind, "digest": digest::of(bytes), "size": bytes.len() });
    let name = |bytes: &[u8]| format!("blobs/sha256/{}", &digest::of(bytes)[7..]);
    let manifest_of = |config: Value, layers: Value| {
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers })
            .to_string()
            .into_bytes()
    };
    let manifest = manifest_of(
        about(&config, "application/vnd.oci.image.config.v1+json"),
        json!([about(&packed, "application/vnd.oci.image.layer.v1.tar+gzip")]),
    );
    let statement = br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#.to_vec();
    let attestation = manifest_of(
        about(b"{}", "application/vnd.oci.image.config.v1+json"),
        json!([about(&statement, "application/vnd.in-toto+json")]),
    );
    let mut beside = about(&attestation, MANIFEST);
    beside["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    beside["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let mut image = about(&manifest, MANIFEST);
    image["platform"] = json!({ "os": "linux", "architecture": "arm64" });
    let index =
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [image, beside] }).to_string().into_bytes();
    let (top, kind) = if around { (&index, INDEX) } else { (&manifest, MANIFEST) };
    let id = digest::of(top);
    let root = json!({ "schemaVersion": 2, "manifests": [about(top, kind)] }).to_string().into_bytes();
    let listed =
        json!([{ "Config": name(&config), "RepoTags": null, "Layers": [name(&packed)] }]).to_string().into_bytes();
    let blobs = [&packed, &config, &manifest, &statement, &attestation, &index, &b"{}".to_vec()]
        .map(|bytes| (name(bytes), bytes.clone()));
    let mut members: Vec<Member> = blobs.iter().map(|(name, bytes)| Member::File(name, bytes.clone())).collect();
    members.push(Member::File("index.json", root));
    members.push(Member::File("manifest.json", listed));
    members.push(Member::File("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    archive_of(workshop, &format!("project/saved-{id}"), &members);
    let said = json!([{ "Id": id, "Os": "linux", "Architecture": "arm64", "RootFS": { "Layers": [digest::of(&raw)] },
        "Descriptor": { "mediaType": kind, "digest": id } }]);
    workshop.file("inspect-hello:1", said.to_string());
    (config, digest::of(&manifest))
}

#[tokio::test]
async fn what_an_engine_tells_of_an_image() {
    let workshop = Workshop::new();
    saved_archive(&workshop, "project/a.tar");
    let config = saved_config();
    let docker = docker(&workshop);
    holds(&workshop, &config, "a.tar");
    let id = digest::of(&config);
    let held = hold(&workshop, &docker, &id).await;
    assert_eq!((held.id.as_str(), held.platform.to_string().as_str(), held.diff_ids.len()), (&*id, "linux/arm64", 4));
    assert_eq!(held.config(), None, "docker does not tell it");
    workshop.cache.keep_config(&config).unwrap();
    assert_eq!(held.config(), Some(config.into()));
    assert_eq!(saves(&workshop), 0);

    let folder = workshop.path("project");
    let refused = engine::hold(&docker, "hello:2", &folder, &workshop.open(None)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.to_string().as_str()), (Kind::Preflight, "docker has no image `hello:2`"));
    let refused = engine::hold(&docker, &id, &folder, &workshop.open(Some("linux/amd64"))).await.unwrap_err();
    assert!(refused.to_string().contains("is for linux/arm64, and linux/amd64 is wanted"), "{refused}");
    for said in ["", "[]", "{}", r#"[{"Id": "hello", "RootFS": {}}]"#, r#"[{"Id": 1}]"#] {
        workshop.file("inspect-odd", said);
        let refused = engine::hold(&docker, "odd", &folder, &workshop.open(None)).await.unwrap_err();
        assert!(refused.to_string().contains("does not say what it knows"), "{refused}");
    }
}

#[tokio::test]
async fn podman_and_buildah_tell_it_in_their_own_way() {
    let workshop = Workshop::new();
    let config = small_archive(&workshop, "project/a.tar", "a");
    let (id, diff_ids) = (digest::of(&config), diff_ids(&config).unwrap());
    let hex = digest::hex_of(&id).unwrap();
    let text = String::from_utf8(config.clone()).unwrap();
    let podman = json!([{ "Id": hex, "Os": "linux", "Architecture": "arm64", "RootFS": { "Layers": diff_ids } }]);
    let rootfs = json!({ "os": "linux", "architecture": "arm64", "rootfs": { "diff_ids": diff_ids } });
    let buildah = json!({ "FromImageID": hex, "Config": text, "OCIv1": rootfs });
    for (builder, said) in [(Builder::Podman, podman), (Builder::Buildah, buildah)] {
        workshop.file("said", said.to_string());
        program(&workshop, "#!/bin/sh\ncat said\n");
        let engine = Engine { builder, ..docker(&workshop) };
        program(&workshop, "#!/bin/sh\ncat said\n");
        let held = hold(&workshop, &engine, &id).await;
        assert_eq!((&held.id, &held.diff_ids), (&id, &diff_ids));
        assert_eq!(held.config().is_some(), builder == Builder::Buildah);
    }
}

#[tokio::test]
async fn an_engine_that_fails_says_why() {
    let workshop = Workshop::new();
    let config = small_archive(&workshop, "project/a.tar", "a");
    let id = digest::of(&config);
    let docker = docker(&workshop);
    holds(&workshop, &config, "a.tar");
    let held = hold(&workshop, &docker, &id).await;
    let fetched = async |script: &str| {
        program(&workshop, script);
        held.fetched().await.map(Built::settled)
    };
    let cause = |error: &steadystate::error::Error| std::error::Error::source(error).unwrap().to_string();
    let error = fetched("#!/bin/sh\nhead -c 700 saved-$3; echo no space left >&2; exit 1\n").await.unwrap_err();
    assert!(error.to_string().contains("`docker save` failed") && cause(&error).contains("no space left"), "{error:?}");
    let error = fetched("#!/bin/sh\necho no such layer >&2; exit 1\n").await.unwrap_err();
    assert!(cause(&error).contains("no such layer"), "{error:?}");
    // Cut short, and nobody says so.
    let error = fetched("#!/bin/sh\nhead -c 700 saved-$3\n").await.unwrap_err();
    assert!(error.to_string().contains("was cut short within `1/layer.tar`"), "{error}");
    assert_eq!(error.kind(), Kind::BuildOrPush);
    // Ours is the first failure: the program only fails because nobody reads any more.
    let damaged = format!("#!/bin/sh\nsed 's/{}/{}/' saved-$3; yes\n", "1/layer.tar", "1/layer.tax");
    let error = fetched(&damaged).await.unwrap_err();
    assert!(!error.to_string().contains("failed with"), "{error}");
    let image = fetched("#!/bin/sh\ncat saved-$3\n").await.unwrap().unwrap();
    check_sound(&image);
    assert!(Path::new(&workshop.path("project/saves")).metadata().is_err());
}
