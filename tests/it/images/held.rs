//! Images that an engine holds: a program with docker's command line stands for the engine.

use std::path::Path;

use serde_json::{Value, json};
use steadystate::error::Kind;
use steadystate::image::engine::{self, Builder, Engine, Held};
use steadystate::image::{Built, config, digest};

use super::archives::{saved_archive, saved_config, small_archive};
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
        "RootFS": { "Type": "layers", "Layers": config::diff_ids(text).unwrap() },
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
    let (id, diff_ids) = (digest::of(&config), config::diff_ids(&config).unwrap());
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
