//! `steady push` of images that an engine holds or that come on stdin, into a registry that is not ECR: the real binary.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use steadystate::image::digest;
use tokio::process::Child;

use super::Workshop;
use super::archives::gzipped;
use super::held::{containerd, containerd_that, docker, new_docker, old_docker, program, saves};
use super::machine::{Machine, PATIENCE};
use crate::registry::fake::{Fake, refuse};
use crate::rehearsal::Run;

#[tokio::test]
async fn nothing_missing_nothing_exported() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    docker(&workshop);
    let config = old_docker(&workshop, &["a", &"b".repeat(3 << 20), "a"]);
    let machine = Machine::new(&workshop, &fake, "first");
    let run = machine.push(&digest::of(&config)).await;
    machine.pushed(&run, &config);
    assert_eq!((saves(&workshop), machine.cached()), (1, 1), "what was sent is gone; the config stays");

    // Again, as the project file says it: the engine is asked for nothing but the id.
    fake.forget();
    let yaml = std::fs::read_to_string(workshop.path("project/steady.yaml")).unwrap();
    let named = yaml.replace(r#""image":"-""#, &format!(r#""image":"docker-daemon:{}""#, digest::of(&config)));
    assert_ne!(named, yaml);
    workshop.file("steady.yaml", named);
    let run = Run::new(&machine.command("").output().await.unwrap());
    machine.pushed(&run, &config);
    assert_eq!(saves(&workshop), 1);
    assert_eq!(fake.count("POST", "") + fake.count("PUT", "") + fake.count("GET", ""), 0);
    assert!(fake.log().len() <= 3, "{:?}", fake.counted());

    // Another machine finds all of it in the image before.
    let other = Machine::new(&workshop, &fake, "other");
    fake.forget();
    let run = other.push(&digest::of(&config)).await;
    other.pushed(&run, &config);
    assert_eq!((saves(&workshop), fake.count("POST", "")), (1, 0));
}

#[tokio::test]
async fn only_what_is_missing_is_read_and_sent() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    docker(&workshop);
    let config = new_docker(&workshop, &["a", &"b".repeat(1 << 21)]);
    let machine = Machine::new(&workshop, &fake, "home");
    let run = machine.push(&digest::of(&config)).await;
    machine.pushed(&run, &config);
    let config = new_docker(&workshop, &["a", &"b".repeat(1 << 21), "new"]);
    // A layer that the registry has is passed over: nobody notices that it is damaged here.
    let path = workshop.path("project").join(format!("saved-{}", digest::of(&config)));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|window| window == b"bbbb").unwrap();
    bytes[at] = b'X';
    // Nor is the engine listened to when all that was missing has come.
    std::fs::write(&path, &bytes).unwrap();
    program(
        &workshop,
        "#!/bin/sh\ncase $1 in\n  image) exec cat \"inspect-$4\" ;;\n  save) cat \"saved-$3\"; exec sleep 1000 ;;\nesac\n",
    );
    fake.forget();
    let run = machine.push(&digest::of(&config)).await;
    machine.pushed(&run, &config);
    assert_eq!(fake.count("PUT", "/blobs/"), 2, "the new layer and the config: {:?}", fake.counted());
    // What is missing has to be sound.
    let config = new_docker(&workshop, &["a", &"c".repeat(1 << 21)]);
    let path = workshop.path("project").join(format!("saved-{}", digest::of(&config)));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|window| window == b"cccc").unwrap();
    bytes[at] = b'X';
    std::fs::write(&path, &bytes).unwrap();
    let refused = machine.push(&digest::of(&config)).await.json(4);
    assert!(refused["error"]["message"].as_str().unwrap().contains("is damaged"), "{refused}");
}

#[tokio::test]
async fn the_containerd_store_keeps_its_digest() {
    for around in [false, true] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        docker(&workshop);
        let (config, digest) = containerd(&workshop, around);
        let machine = Machine::new(&workshop, &fake, "home");
        let run = machine.push("hello:1").await;
        machine.pushed(&run, &config);
        assert_eq!((fake.tag("v1"), saves(&workshop)), (Some(digest), 1));
        fake.forget();
        machine.pushed(&machine.push("hello:1").await, &config);
        assert_eq!((saves(&workshop), fake.count("POST", "")), (1, 0), "it is known by its manifest");
        if !around {
            // also elsewhere, and the layer was gone from the cache once it was sent
            assert_eq!(machine.cached(), 0);
            let other = Machine::new(&workshop, &fake, "other");
            other.pushed(&other.push("hello:1").await, &config);
            assert_eq!((saves(&workshop), fake.count("POST", "")), (1, 0));
        }
    }
}

/// With all layers there, the first document that has the id for a digest is no config, but the manifest or the index.
#[tokio::test]
async fn another_config_over_the_same_layers_in_the_containerd_store() {
    for around in [false, true] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        docker(&workshop);
        let (config, _) = containerd(&workshop, around);
        let machine = Machine::new(&workshop, &fake, "home");
        machine.pushed(&machine.push("hello:1").await, &config);
        let (config, digest) = containerd_that(&workshop, around, "/other");
        fake.forget();
        machine.pushed(&machine.push("hello:1").await, &config);
        assert_eq!(fake.tag("v1"), Some(digest));
        assert_eq!(fake.count("POST", ""), 1, "the config alone");
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process runs, which is not a zombie.
fn runs(id: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn signalled(mut child: Child, signal: Signal) -> Option<i32> {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().unwrap() as i32), signal).unwrap();
    tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap().code()
}

/// The processes of a program that writes their ids into `saving`, once there are two.
#[cfg(target_os = "linux")]
async fn two_processes(workshop: &Workshop) -> String {
    let ids = || std::fs::read_to_string(workshop.path("project/saving")).unwrap_or_default();
    until("both are there", || ids().lines().count() == 2).await;
    ids()
}

/// `facts/faults.md` 34: the engine ends with us, and the next run sends no finished blob again.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_signal_while_an_engine_saves() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        docker(&workshop);
        let config = old_docker(&workshop, &["a", "b"]);
        let machine = Machine::new(&workshop, &fake, "home");
        let script = r#"#!/bin/sh
case $1 in
  image) exec cat "inspect-$4" ;;
  save) echo $$ > saving; head -c 3000 "saved-$3"; sleep 1000 & echo $! >> saving; wait ;;
esac
"#;
        program(&workshop, script);
        let child = machine.command(&format!("docker-daemon:{}", digest::of(&config))).spawn().unwrap();
        until("the first layer is sent", || fake.inner.lock().unwrap().blobs.len() == 1).await;
        let ids = two_processes(&workshop).await;
        assert_eq!(signalled(child, signal).await, Some(code));
        until("the engine's processes end", || !ids.lines().any(runs)).await;
        docker(&workshop);
        fake.forget();
        let run = machine.push(&digest::of(&config)).await;
        machine.pushed(&run, &config);
        assert_eq!(fake.count("PUT", "/blobs/"), 2, "one layer and the config: {:?}", fake.counted());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_signal_while_an_engine_builds() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        let machine = Machine::new(&workshop, &fake, "home");
        let yaml = std::fs::read_to_string(workshop.path("project/steady.yaml")).unwrap();
        workshop.file("steady.yaml", yaml.replace(r#""image":"-""#, r#""dockerfile":"Dockerfile""#));
        let script = r#"#!/bin/sh
case $1 in
  version) echo 27.0 ;;
  build) echo $$ > saving; sleep 1000 & echo $! >> saving; wait ;;
  *) exit 1 ;;
esac
"#;
        program(&workshop, script);
        let child = machine.command("").args(["--builder", "docker"]).spawn().unwrap();
        let ids = two_processes(&workshop).await;
        assert_eq!(signalled(child, signal).await, Some(code));
        until("the engine's processes end", || !ids.lines().any(runs)).await;
        assert_eq!(machine.cached(), 0);
    }
}

/// A layer that could not be sent is not compressed a second time.
#[tokio::test]
async fn what_was_not_sent_waits_for_the_next_run() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    docker(&workshop);
    let config = old_docker(&workshop, &["a"]);
    let refusing = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&refusing);
    fake.rule(move |seen| {
        let refused = seen.is("PUT", "/blobs/") && refuses.load(Ordering::SeqCst);
        refused.then(|| refuse(400, "UNSUPPORTED", "not today"))
    });
    let machine = Machine::new(&workshop, &fake, "home");
    machine.push(&digest::of(&config)).await.json(4);
    let kept = machine.cached();
    assert!(kept > 0);
    refusing.store(false, Ordering::SeqCst);
    // The layer has come already: the engine may give any other in its place.
    let path = workshop.path("project").join(format!("saved-{}", digest::of(&config)));
    let whole = std::fs::read(&path).unwrap();
    let at = whole.windows(4).position(|window| window == b"file").unwrap();
    std::fs::write(&path, [&whole[..at], b"FILE", &whole[at + 4..]].concat()).unwrap();
    machine.pushed(&machine.push(&digest::of(&config)).await, &config);
}

#[tokio::test]
async fn an_image_on_stdin() {
    use tokio::io::AsyncWriteExt;
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let machine = Machine::new(&workshop, &fake, "home");
    let whole = |contents: &[&str]| {
        let config = old_docker(&workshop, contents);
        (std::fs::read(workshop.path("project").join(format!("saved-{}", digest::of(&config)))).unwrap(), config)
    };
    let (whole, config) = whole(&["a", "b", "a"]);
    let piped = async |image: &str, bytes: &[u8]| {
        let mut child = machine.command(image).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // whoever has heard enough closes it
        let _ = stdin.write_all(bytes).await;
        drop(stdin);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
        Run::new(&output)
    };
    let run = piped("-", &gzipped(&whole)).await;
    machine.pushed(&run, &config);
    assert_eq!(machine.cached(), 0);
    fake.forget();
    // As the project file says it, and nothing is sent again.
    machine.pushed(&piped("", &whole).await, &config);
    assert_eq!(fake.count("POST", ""), 0, "{:?}", fake.counted());
    let refused = piped("-", b"").await.json(2);
    assert_eq!(refused["error"]["message"], "nothing came on stdin");
    let refused = piped("-", &whole[..whole.len() / 3]).await.json(4);
    assert!(refused["error"]["message"].as_str().unwrap().contains("cut short"), "{refused}");
}

#[tokio::test]
async fn a_builder_that_would_build_nothing_is_refused() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let machine = Machine::new(&workshop, &fake, "home");
    for image in ["", "docker-daemon:hello"] {
        let output = machine.command(image).args(["--builder", "podman"]).output().await.unwrap();
        let refused = Run::new(&output).json(2);
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("--builder podman: there is no Dockerfile to build for `hello`"), "{refused}");
    }
    for (image, words) in [("docker-daemon:", "names no image"), ("docker-daemon:--all", "names no image")] {
        let refused = Run::new(&machine.command(image).output().await.unwrap()).json(2);
        assert!(refused["error"]["message"].as_str().unwrap().contains(words), "{refused}");
    }
    program(&workshop, "#!/bin/sh\necho Cannot connect to the Docker daemon >&2; exit 1\n");
    let refused = machine.push("nothing:1").await.json(3);
    assert_eq!(refused["error"]["message"], "docker does not say whether it has the image `nothing:1`");
    assert!(refused["error"]["causes"].to_string().contains("Cannot connect"), "{refused}");
    docker(&workshop);
    let refused = machine.push("nothing:1").await.json(3);
    assert_eq!(refused["error"]["message"], "docker has no image `nothing:1`");
}
