//! The same commit is the same image: on another machine, for another user, at another place and time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use steadystate::image::{Image, layout};

use crate::images::{Workshop, unpacked};
use crate::registry::{Fake, client, push};
use crate::rehearsal::{Run, command};

const PROJECT: &str = r#"
region: us-west-2
services:
  hello:
    image:
      repository: hello
      build:
        layers:
          - { from: hello, to: /hello }
          - { from: public, to: /srv/www, owner: "1000:1000" }
        entrypoint: [/hello]
        platform: linux/amd64
    task_definition: task-definition.json
"#;

/// A checkout with one commit, its files made under this umask.
fn checkout(folder: &Path, private: bool) {
    let mode = |file, folder| if private { (file & 0o700, folder & 0o700) } else { (file, folder) };
    fs::create_dir_all(folder.join("public/img")).unwrap();
    let files = [
        ("steady.yaml", PROJECT, 0o664),
        (
            "task-definition.json",
            r#"{ "family": "hello", "containerDefinitions": [{ "name": "hello", "memory": 64 }] }"#,
            0o664,
        ),
        ("hello", "#!/bin/sh\n", 0o775),
        ("public/index.html", "<h1>hello</h1>", 0o664),
        ("public/img/1.svg", "<svg/>", 0o664),
        ("public/notes.md", "not for everybody", 0o664),
        (".dockerignore", "**/*.md\n", 0o664),
    ];
    let files = if private { files.iter().rev().collect::<Vec<_>>() } else { files.iter().collect() };
    for (name, content, bits) in files {
        fs::write(folder.join(name), content).unwrap();
        let (file, _) = mode(*bits, 0o775);
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(file)).unwrap();
    }
    for name in ["public", "public/img"] {
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode(0, 0o775).1)).unwrap();
    }
}

fn git(folder: &Path, arguments: &[&str]) -> bool {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.autocrlf=false"]);
    git.env("GIT_AUTHOR_DATE", "1700000000 +0000").env("GIT_COMMITTER_DATE", "1700000000 +0000");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("HOME", folder);
    git.args(arguments).current_dir(folder).output().is_ok_and(|output| output.status.success())
}

/// What `steady build` says, run with these variables.
fn build(home: &Path, folder: &Path, variables: &[(&str, &str)]) -> Value {
    let mut steady = command(home);
    steady.args(["build", "--output", "json", "-C"]).arg(folder).envs(variables.iter().copied());
    steady.env("GIT_CONFIG_GLOBAL", "/dev/null");
    Run::new(&steady.output().unwrap()).json(0)
}

#[test]
fn one_commit_is_one_image_everywhere() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (one.path().join("project"), two.path().join("a/path/that is longer/and other/project"));
    checkout(&here, false);
    checkout(&there, true);
    let plain = build(one.path(), &here, &[]);
    let elsewhere = [("LC_ALL", "de_DE.UTF-8"), ("TZ", "Asia/Tokyo"), ("USER", "somebody"), ("COLUMNS", "40")];
    assert_eq!(plain["digest"], build(two.path(), &there, &elsewhere)["digest"], "{plain}");
    assert!(plain["digest"].as_str().unwrap().starts_with("sha256:"), "{plain}");

    let commit = |folder: &Path| {
        git(folder, &["init", "-q", "-b", "main"])
            && git(folder, &["config", "core.fileMode", "false"])
            && git(folder, &["remote", "add", "origin", "https://ci:s3cret@example.com/hello.git"])
            && git(folder, &["add", "."])
            && git(folder, &["update-index", "--chmod=+x", "hello"])
            && git(folder, &["commit", "-qm", "x"])
    };
    if !commit(&here) {
        return;
    }
    assert!(commit(&there) && git(&there, &["remote", "set-url", "origin", "git@example.com:hello.git"]));
    let of_commit = build(one.path(), &here, &[]);
    assert_ne!(of_commit["digest"], plain["digest"]);
    assert_eq!(of_commit["digest"], build(two.path(), &there, &elsewhere)["digest"]);
    // Another time, other digest; said twice, the same.
    let epoch = build(one.path(), &here, &[("SOURCE_DATE_EPOCH", "1")]);
    assert_ne!(epoch["digest"], of_commit["digest"]);
    assert_eq!(epoch["digest"], build(two.path(), &there, &[("SOURCE_DATE_EPOCH", "1")])["digest"]);
    // The same files with no word of git are the image that they were before there was a commit.
    let silent = PROJECT.replace("        entrypoint", "        annotations: false\n        entrypoint");
    fs::write(here.join("steady.yaml"), silent).unwrap();
    assert_eq!(build(one.path(), &here, &[])["digest"], plain["digest"]);
}

#[test]
fn a_time_that_is_none_is_said_before_anything_runs() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("project");
    checkout(&folder, false);
    let run = PROJECT.replace("        layers:", "        run: touch ran\n        layers:");
    fs::write(folder.join("steady.yaml"), run).unwrap();
    let mut steady = command(home.path());
    steady.args(["build", "--output", "json", "-C"]).arg(&folder).env("SOURCE_DATE_EPOCH", "yesterday");
    let refused = Run::new(&steady.output().unwrap()).json(2);
    assert_eq!(refused["error"]["message"], json!("SOURCE_DATE_EPOCH is not a time: `yesterday`"));
    assert!(!folder.join("ran").exists());
}

/// What `docker save` would write of an image.
fn saved(image: &Image, to: &Path) {
    let mut tar = tar::Builder::new(fs::File::create(to).unwrap());
    let mut put = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content).unwrap();
    };
    let names: Vec<String> = (0..image.layers().len()).map(|number| format!("{number}/layer.tar")).collect();
    let manifest = json!([{ "Config": "config.json", "RepoTags": null, "Layers": names }]);
    put("manifest.json", manifest.to_string().as_bytes());
    put("config.json", &image.config);
    names.iter().zip(image.layers()).for_each(|(name, layer)| put(name, &unpacked(layer)));
    tar.into_inner().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_is_the_same_wherever_it_lies() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let base = workshop.image("the base");
    push(&client(&fake), &base, &["v1"]).await.unwrap();
    let project = workshop.path("project/app");
    checkout(&project, false);
    layout::write(&base, &project.join("layout"), None).unwrap();
    saved(&base, &project.join("saved.tar"));
    let mut packed = tar::Builder::new(fs::File::create(project.join("oci.tar")).unwrap());
    packed.append_dir_all(".", project.join("layout")).unwrap();
    packed.into_inner().unwrap();

    let built = |base: &str| {
        let project_file = PROJECT.replace("        layers:", &format!("        base: {base}\n        layers:"));
        fs::write(project.join("steady.yaml"), project_file).unwrap();
        build(workshop.folder.path(), &project, &[])["digest"].as_str().unwrap().to_owned()
    };
    let registry = format!("{}/hello", fake.address);
    let over = tokio::task::block_in_place(|| built("layout"));
    for other in ["./saved.tar", "oci.tar", &format!("{registry}:v1"), &format!("{registry}@{}", base.digest)] {
        assert_eq!(tokio::task::block_in_place(|| built(other)), over, "{other}");
    }
    let scratch = tokio::task::block_in_place(|| built("scratch"));
    fs::write(project.join("steady.yaml"), PROJECT).unwrap();
    let none = tokio::task::block_in_place(|| build(workshop.folder.path(), &project, &[]));
    assert!(none["digest"] == json!(scratch) && scratch != over);
}
