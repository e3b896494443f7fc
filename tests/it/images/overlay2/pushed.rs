//! Pushes of what docker keeps in folders that may be read: the real binary.

use std::fs;

use steadystate::image::digest;

use super::super::Workshop;
use super::super::archives::layer;
use super::super::held::{docker, new_docker, program, saves};
use super::super::machine::Machine;
use super::{Kept, Spoil};
use crate::registry::fake::{Fake, refuse, reply};
use crate::rehearsal::Run;

/// A large layer, which is compressed on its way, and small ones, which are compressed before.
fn contents() -> Vec<String> {
    vec!["a".to_owned(), "b".repeat(3 << 20), "a".to_owned()]
}

/// An image that docker has and keeps in folders that may be read.
fn image(workshop: &Workshop, contents: &[String]) -> (Vec<u8>, Kept) {
    let contents: Vec<&str> = contents.iter().map(String::as_str).collect();
    let config = new_docker(workshop, &contents);
    let tars: Vec<Vec<u8>> = contents.iter().map(|content| layer(content)).collect();
    let kept = Kept::new(workshop.path(&format!("docker{}", contents.len())), &tars);
    kept.image(workshop, &config);
    (config, kept)
}

#[tokio::test]
async fn docker_is_not_asked_for_what_may_be_read() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    docker(&workshop);
    let (config, _) = image(&workshop, &contents());
    let machine = Machine::new(&workshop, &fake, "first");
    let manifest = machine.pushed(&machine.push(&digest::of(&config)).await, &config);
    assert_eq!(saves(&workshop), 0);
    // Only what the registry lacks is read.
    let (config, kept) = image(&workshop, &[contents(), vec!["new".to_owned()]].concat());
    for at in 0..3 {
        fs::remove_file(kept.layer(at).join("file")).unwrap();
    }
    fake.forget();
    let more = machine.pushed(&machine.push(&digest::of(&config)).await, &config);
    assert_eq!(more["layers"].as_array().unwrap()[..3], manifest["layers"].as_array().unwrap()[..]);
    assert_eq!((saves(&workshop), fake.count("PUT", "/blobs/")), (0, 2), "{:?}", fake.counted());
}

#[tokio::test]
async fn docker_gives_what_its_folders_do_not() {
    let damaged = Some("is damaged: its content is not `sha256:");
    let spoil: [(Spoil, Option<&str>); 4] = [
        (
            ("a large layer", |kept| {
                let path = kept.layer(1).join("file");
                let size = fs::metadata(&path).unwrap().len() as usize;
                fs::write(path, "c".repeat(size)).unwrap();
            }),
            damaged,
        ),
        (("a small layer", |kept| fs::write(kept.layer(0).join("file"), "z").unwrap()), damaged),
        // Known before anything was begun, it is nobody's concern.
        (("no notes", |kept| fs::remove_file(kept.about(2).join("tar-split.json.gz")).unwrap()), None),
        (
            ("another config", |kept| {
                let folder = kept.root.join("image/overlay2/imagedb/content/sha256");
                let only = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
                fs::write(only, "{}").unwrap();
            }),
            None,
        ),
    ];
    let mut manifests = Vec::new();
    for ((what, spoil), said) in spoil {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        docker(&workshop);
        let (config, kept) = image(&workshop, &contents());
        spoil(&kept);
        let machine = Machine::new(&workshop, &fake, "home");
        let mut push = machine.telling("lines", &format!("docker-daemon:{}", digest::of(&config)));
        let run = Run::new(&push.output().await.unwrap());
        manifests.push(machine.pushed(&run, &config));
        assert_eq!(saves(&workshop), 1, "{what}");
        assert_eq!(said.is_some(), run.stderr.contains("docker is asked for the image itself"), "{}", run.stderr);
        assert!(said.is_none_or(|said| run.stderr.contains(said)), "{}", run.stderr);
        assert!(run.stderr.contains("3 blobs: "), "each is counted once: {}", run.stderr);
    }
    manifests.dedup();
    assert_eq!(manifests.len(), 1, "it is the same image wherever it came from");
}

#[tokio::test]
async fn a_registry_that_refuses_is_no_reason_to_ask_docker() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    docker(&workshop);
    let (config, _) = image(&workshop, &contents());
    fake.rule(|seen| seen.is("POST", "/blobs/").then(|| refuse(400, "UNSUPPORTED", "not today")));
    let machine = Machine::new(&workshop, &fake, "home");
    let refused = machine.push(&digest::of(&config)).await.json(4);
    assert!(refused["error"]["message"].as_str().unwrap().contains("not today"), "{refused}");
    assert_eq!(saves(&workshop), 0);
}

#[tokio::test]
async fn an_image_that_is_removed_while_it_is_pushed() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    docker(&workshop);
    let (config, kept) = image(&workshop, &contents());
    let id = digest::of(&config);
    // Once docker has told of it, it is gone, and a layer's file with it.
    let file = kept.layer(1).join("file");
    let script = format!(
        "#!/bin/sh\n[ -e inspect-{id} ] || {{ echo \"Error: No such image: {id}\" >&2; exit 1; }}\ncat inspect-{id}\n\
         rm inspect-{id}\n: > {}\n",
        file.display()
    );
    program(&workshop, &script);
    let machine = Machine::new(&workshop, &fake, "home");
    let refused = machine.push(&id).await.json(4);
    assert_eq!(refused["error"]["message"], format!("docker has no image `{id}`"));
    assert!(refused["error"]["hints"].to_string().contains("it was there when the push began"), "{refused}");
}

#[tokio::test]
async fn what_another_repository_has_is_mounted() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    docker(&workshop);
    let (config, _) = image(&workshop, &contents());
    let machine = Machine::new(&workshop, &fake, "home");
    machine.pushed(&machine.push(&digest::of(&config)).await, &config);
    let yaml = fs::read_to_string(workshop.path("project/steady.yaml")).unwrap();
    workshop.file("steady.yaml", yaml.replace("/hello\"", "/other\""));
    fake.forget();
    fake.rule(|seen| {
        let other = seen.path.starts_with("/v2/other/");
        let has_not = seen.method == "HEAD" && seen.path.contains("/blobs/");
        let mounts = seen.method == "POST" && seen.query.contains("from=hello");
        match other {
            true if has_not => Some(refuse(404, "BLOB_UNKNOWN", "no such blob")),
            true if mounts => Some(reply(201, &[])),
            _ => None,
        }
    });
    // So that the image itself is not known to be there.
    fake.inner.lock().unwrap().manifests.clear();
    machine.pushed(&machine.push(&digest::of(&config)).await, &config);
    let mounted = fake.log().iter().filter(|seen| seen.query.contains("from=hello")).count();
    assert_eq!((mounted, fake.count("PATCH", ""), fake.count("POST", ""), saves(&workshop)), (3, 0, 3, 0));
}
