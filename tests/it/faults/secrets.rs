//! Secrets: 55 to 58.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::cutter::Cutter;
use crate::images::archives::{layer_of, saved_of, told_of};
use crate::lab_front::TestLab;
use crate::site::{Ended, Site, noise};

/// Any program that steady starts: notes how it was called and what it was given on stdin, and does as engines do.
const RECORDER: &str = r#"#!/bin/sh
here=PROJECT
{ echo "$0"; printf '  %s\n' "$@"; } >> "$here/called"
for word; do
    case "$before" in
        --iidfile) stat -c '%a' "$(dirname "$word")" > "$here/scratch"; cp "$here/id" "$word" ;;
    esac
    case "$word" in
        --password-stdin) cat >> "$here/given" ;;
    esac
    before=$word
done
case "$*" in
    inspect*) cat "$here/told.buildah" ;;
    "image inspect"*) cat "$here/told" ;;
    save*|push*) cat "$here/saved.tar" ;;
esac
"#;

const PROGRAMS: [&str; 8] = ["docker", "podman", "buildah", "finch", "nerdctl", "helm", "skopeo", "git"];

fn with_programs(site: &Site) {
    for program in PROGRAMS {
        site.program(program, &RECORDER.replace("PROJECT", site.folder.path().to_str().unwrap()));
    }
}

const DOCKERFILE: &str = "{ repository: hello, create: true, tags: [v1], build: { dockerfile: Dockerfile, \
    args: { TOKEN: arg-s3cret }, secrets: { npm: { env: NPM_TOKEN } } } }";

async fn site_at(lab: &TestLab) -> (Site, Cutter) {
    let line = Cutter::start(&lab.host, 1, 0, Vec::new()).await;
    let site = Site::new(&format!("http://{}", line.address), DOCKERFILE);
    site.write("Dockerfile", "FROM scratch\n");
    saved_of(&site.path("saved.tar"), &[layer_of(&noise(1, 1_100_000)), layer_of(b"small")]);
    let (id, docker, buildah) = told_of(&site.path("saved.tar"));
    site.write("id", id);
    site.write("told", docker.to_string());
    site.write("told.buildah", buildah.to_string());
    with_programs(&site);
    (site, line)
}

/// The passwords that passed the line.
fn passwords(line: &Cutter) -> Vec<String> {
    let tokens: Vec<_> = line.record().tokens.iter().map(|token| token.to_str().unwrap().to_owned()).collect();
    let decoded = tokens.iter().map(|token| BASE64_STANDARD.decode(token.trim_start_matches("Basic ")).unwrap());
    decoded.map(|pair| String::from_utf8(pair).unwrap().split_once(':').unwrap().1.to_owned()).collect()
}

#[tokio::test]
async fn case_55_no_secret_is_an_argument() {
    let lab = TestLab::start().await;
    let (site, line) = site_at(&lab).await;
    let run = async |arguments: &[&str]| site.well(arguments, &[("NPM_TOKEN", "npm-s3cret")]).await;
    let mut shown = String::new();
    for engine in &PROGRAMS[..5] {
        let ended = run(&["build", "--builder", engine]).await;
        shown.push_str(&(ended.stdout + &ended.stderr));
    }
    let ended = run(&["push", "-o", "json"]).await;
    shown.push_str(&(ended.stdout + &ended.stderr));
    for client in ["docker", "podman", "buildah", "nerdctl", "helm", "skopeo"] {
        let ended = run(&["login", "--client", client]).await;
        shown.push_str(&(ended.stdout + &ended.stderr));
    }
    let given = std::fs::read_to_string(site.path("given")).unwrap();
    assert!(given.len() > 6 * 20, "each client was given a password on stdin");
    let called = std::fs::read_to_string(site.path("called")).unwrap();
    for program in ["docker", "podman", "buildah", "finch", "nerdctl", "helm", "skopeo", "git"] {
        assert!(called.contains(&format!("bin/{program}\n")), "{program} was not called: {called}");
    }
    assert!(called.contains("  TOKEN\n"), "its name is one: {called}");
    let mut secrets = vec!["arg-s3cret".to_owned(), "npm-s3cret".to_owned()];
    secrets.extend(passwords(&line));
    assert!(secrets.len() > 2);
    for secret in secrets {
        assert!(!called.contains(&secret) && !shown.contains(&secret), "{secret} in {called}{shown}");
    }
    let words = called.lines().chain(shown.lines()).flat_map(str::split_whitespace);
    assert!(words.into_iter().all(|word| word.len() < 20 || !given.contains(word)), "{called}{shown}");
    drop(line);
    lab.end().await;
}

#[tokio::test]
async fn case_56_ecr_s_password_is_written_nowhere_unless_login_is_asked_to() {
    let lab = TestLab::start().await;
    let (site, line) = site_at(&lab).await;
    let run = async |arguments: &[&str]| site.well(arguments, &[("NPM_TOKEN", "npm-s3cret")]).await.stdout;
    run(&["push"]).await;
    run(&["register"]).await;
    let password = run(&["login", "--password-stdout"]).await;
    assert!(!site.path("home/.docker").exists());
    let mut passwords = passwords(&line);
    assert!(!passwords.is_empty());
    passwords.push(password.trim().to_owned());
    // Someone else's helper has this registry, and another one has all others.
    let config = json!({ "credsStore": "keychain", "credHelpers": { line.address.to_string(): "other" } }).to_string();
    std::fs::create_dir(site.path("home/.docker")).unwrap();
    site.write("home/.docker/config.json", &config);
    run(&["login"]).await;
    run(&["push"]).await;
    let after = std::fs::read_to_string(site.path("home/.docker/config.json")).unwrap();
    assert_eq!(after, config, "where a password goes is docker's to say, which was given it");
    let given = std::fs::read_to_string(site.path("given")).unwrap();
    assert!(given.len() > 20);
    std::fs::remove_file(site.path("given")).unwrap();
    passwords.push(given.trim().to_owned());
    walk(site.folder.path(), &mut |path, _| {
        let content = std::fs::read(path).unwrap_or_default();
        for password in &passwords {
            let found = content.windows(password.len()).any(|part| part == password.as_bytes());
            assert!(!found, "the password is in {}", path.display());
        }
    });
    // Asked to, it names itself, and writes no password either.
    run(&["login", "--install", "--bin-dir", "bin"]).await;
    let after: Value = serde_json::from_slice(&std::fs::read(site.path("home/.docker/config.json")).unwrap()).unwrap();
    assert_eq!(after["credsStore"], "keychain");
    assert_eq!(after["credHelpers"], json!({ line.address.to_string(): "steady" }));
    assert_eq!(after.get("auths"), None);
    lab.end().await;
}

#[tokio::test]
async fn case_57_what_is_written_is_for_its_owner_alone() {
    let lab = TestLab::start().await;
    let (site, line) = site_at(&lab).await;
    // With a mask that takes nothing away.
    let run = async |arguments: &str| {
        let mut command = site.command(&[]);
        let program = command.as_std().get_program().to_owned();
        let line = format!("umask 000; exec '{}' {arguments}", program.display());
        let like = command.as_std().get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned()));
        let mut shell = tokio::process::Command::new("/bin/sh");
        shell.env_clear().envs(like).env("NPM_TOKEN", "x").args(["-c", &line]).current_dir(site.folder.path());
        let ended = Ended::of(shell.output().await.unwrap());
        assert_eq!(ended.code, Some(0), "{arguments}: {ended:?}");
        command.env_clear();
    };
    // Where a blob is to be noted, somebody has put a link.
    let victim = site.path("victim");
    site.write("victim", "mine");
    run("push").await;
    run("login --install --bin-dir helper").await;
    let cache = site.path("home/.cache/steady/blobs");
    let noted: Vec<_> = std::fs::read_dir(cache.join("gzip")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(noted.len(), 2, "both layers are noted");
    for note in &noted {
        std::fs::remove_file(note).unwrap();
        symlink(&victim, note).unwrap();
    }
    run("push --tag v2").await;
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "mine", "nothing is written through a link");
    let mut seen = BTreeMap::new();
    walk(&site.path("home"), &mut |path, mode| {
        seen.insert(path.strip_prefix(site.path("home")).unwrap().to_owned(), mode);
    });
    assert!(seen.contains_key(Path::new(".docker/config.json")) && seen.len() > 8, "{seen:?}");
    for (path, mode) in &seen {
        let allowed = if site.path("home").join(path).is_dir() { 0o700 } else { 0o600 };
        // the folders above are the user's own
        let own = path.starts_with(".cache/steady") || path.starts_with(".docker");
        assert!(!own || mode & 0o777 & !allowed == 0, "{} is {mode:o}", path.display());
        assert!(!path.to_string_lossy().contains(".writing-"), "{} is left", path.display());
    }
    assert_eq!(
        std::fs::read_to_string(site.path("scratch")).unwrap().trim(),
        "700",
        "where engines write what they built"
    );
    drop(line);
    // The lab's own, with its passwords' hashes and its images.
    let folder = lab.end().await;
    walk(folder.path(), &mut |path, mode| {
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
    });
}

/// Everything below a folder with its mode; links are not followed.
fn walk(folder: &Path, each: &mut dyn FnMut(&Path, u32)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if !metadata.is_symlink() {
            each(&path, metadata.permissions().mode());
        }
        if metadata.is_dir() {
            walk(&path, each);
        }
    }
}

#[tokio::test]
async fn case_58_github_masks_a_password_before_it_is_printed() {
    let lab = TestLab::start().await;
    let (site, _line) = site_at(&lab).await;
    for (actions, masked) in [("true", true), ("", false)] {
        let mut command = site.command(&["login", "--password-stdout"]);
        let ended = Ended::of(command.env("GITHUB_ACTIONS", actions).output().await.unwrap());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let password = ended.stdout.trim();
        assert!(password.len() > 20 && !password.contains("::"), "a pipe gets the password alone");
        let mask = format!("::add-mask::{password}\n");
        assert_eq!(ended.stderr.starts_with(&mask), masked, "{}", ended.stderr);
        assert_eq!(ended.stderr.contains(password), masked);
    }
    // Where both streams are one, the mask comes first.
    let program = env!("CARGO_BIN_EXE_steady");
    let like = site.command(&[]);
    let like = like.as_std().get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned()));
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell.env_clear().envs(like).env("GITHUB_ACTIONS", "true").current_dir(site.folder.path());
    shell.args(["-c", &format!("'{program}' login --password-stdout 2>&1")]);
    let both = String::from_utf8(shell.output().await.unwrap().stdout).unwrap();
    let lines: Vec<&str> = both.lines().collect();
    assert_eq!(lines[0], format!("::add-mask::{}", lines[1]));
    lab.end().await;
}
