//! `docker-credential-steady` by Docker's protocol, and how it is installed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::rehearsal::{Rehearsal, Run, command};

const NOT_FOUND: &str = "credentials not found in native keychain\n";

/// The helper as clients call it: by its name, with a verb, and what it is about on stdin.
fn helper(home: &Path, verb: &str, input: &str) -> Run {
    helper_as("docker-credential-steady", home, verb, input)
}

fn helper_as(name: &str, home: &Path, verb: &str, input: &str) -> Run {
    let program = home.join(name);
    if !program.exists() {
        symlink(env!("CARGO_BIN_EXE_steady"), &program).unwrap();
    }
    let mut called = Command::new(&program);
    let like = command(home);
    called.env_clear().envs(like.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(home);
    let mut child =
        called.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Run::new(&child.wait_with_output().unwrap())
}

fn config(home: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(home.join(".docker/config.json")).unwrap()).unwrap()
}

#[test]
fn it_lends_the_lab_s_password_and_nobody_else_s() {
    let lab = Rehearsal::start();
    let home = lab.path("");
    for server in [lab.host.clone(), format!("http://{}", lab.host), format!("https://{}/v1/", lab.host)] {
        let lent = helper(&home, "get", &format!("{server}\n")).json(0);
        assert_eq!((&lent["ServerURL"], &lent["Username"]), (&json!(server), &json!("AWS")));
        let login = BASE64.encode(format!("AWS:{}", lent["Secret"].as_str().unwrap()));
        let mut registry = TcpStream::connect(&lab.host).unwrap();
        let asked = format!(
            "GET /v2/ HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {login}\r\nConnection: close\r\n\r\n",
            lab.host
        );
        registry.write_all(asked.as_bytes()).unwrap();
        let mut answer = String::new();
        registry.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    for server in ["https://index.docker.io/v1/", "registry.example", "127.0.0.1:1"] {
        let refused = helper(&home, "get", server);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, NOT_FOUND), "{server}");
    }
    let refused = helper(&home, "get", "");
    assert_eq!((refused.code, refused.stdout.as_str()), (1, "no credentials server URL\n"));
    // ECR's own hosts need credentials of AWS, and say so in a line.
    let refused = helper(&home, "get", "123456789012.dkr.ecr.eu-west-1.amazonaws.com");
    assert_eq!((refused.code, refused.stdout.lines().count()), (1, 1));
    assert!(refused.stdout.starts_with("steady: ") && refused.stdout.contains("redential"), "{}", refused.stdout);
}

#[test]
fn it_stores_nothing_and_says_so_where_that_loses_something() {
    let home = tempfile::tempdir().unwrap();
    let stored = |server: &str| {
        let credential = json!({ "ServerURL": server, "Username": "me", "Secret": "hunter2" });
        helper(home.path(), "store", &credential.to_string())
    };
    for server in ["https://123456789012.dkr.ecr.eu-west-1.amazonaws.com", "public.ecr.aws", "127.0.0.1:4580"] {
        assert_eq!(stored(server).code, 0, "a login to ECR is no mistake");
    }
    let refused = stored("https://registry.example");
    assert_eq!(refused.code, 1);
    assert!(refused.stdout.contains("registry.example needs another credential helper"), "{}", refused.stdout);
    assert!(!refused.stdout.contains("hunter2"));
    let damaged = helper(home.path(), "store", "{\"Secret\": \"hunter2\"");
    assert_eq!((damaged.code, damaged.stdout.contains("hunter2")), (1, false));
    assert_eq!(helper(home.path(), "erase", "127.0.0.1:4580").code, 0);
    assert_eq!(helper(home.path(), "list", "").json(0), json!({}));
    assert!(helper(home.path(), "version", "").stdout.contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(helper(home.path(), "sing", "").code, 1);
}

#[test]
fn it_is_installed_beside_what_was_there_and_taken_back() {
    let lab = Rehearsal::start();
    let home = lab.path("");
    let before = json!({
        "auths": { lab.host.clone(): { "auth": "c2VjcmV0" }, "registry.example": { "auth": "b3RoZXI=" } },
        "credHelpers": { "gcr.io": "gcloud" },
        "detachKeys": "ctrl-x",
    });
    lab.write(".docker/config.json", &before.to_string());
    let installed = lab.lab("login --install --bin-dir bin").json(0);
    assert_eq!(installed["registries"], json!([lab.host]));
    let program = lab.path("bin/docker-credential-steady");
    assert_eq!(installed["program"], json!(program));
    assert_eq!(std::fs::canonicalize(&program).unwrap(), std::fs::canonicalize(env!("CARGO_BIN_EXE_steady")).unwrap());
    let after = config(&home);
    assert_eq!(after["credHelpers"], json!({ "gcr.io": "gcloud", lab.host.clone(): "steady" }));
    assert_eq!(after["auths"], json!({ "registry.example": { "auth": "b3RoZXI=" } }), "its old password is gone");
    assert_eq!(after["detachKeys"], "ctrl-x");
    let mode = std::fs::metadata(home.join(".docker/config.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(helper(&home, "list", "").json(0), json!({ lab.host.clone(): "AWS" }));
    // Once more is the same, and another registry comes beside.
    lab.lab("login --install --bin-dir bin 123456789012.dkr.ecr.eu-west-1.amazonaws.com").json(0);
    assert_eq!(config(&home)["credHelpers"].as_object().unwrap().len(), 3);

    let gone = lab.lab(&format!("login --uninstall {}", lab.host)).json(0);
    assert_eq!(gone["registries"], json!([lab.host]));
    lab.lab("login --uninstall").json(0);
    let left = json!({ "auths": after["auths"], "credHelpers": { "gcr.io": "gcloud" }, "detachKeys": "ctrl-x" });
    assert_eq!(config(&home), left);
    assert_eq!(lab.lab("login --uninstall").json(0)["registries"], json!([]));
}

/// AWS's files in the lab's rehearsal: a profile `prod` that leads to the lab, and a default one that leads nowhere.
fn profiles(lab: &Rehearsal) {
    let endpoint = format!("endpoint_url = http://{}", lab.host);
    lab.write(
        ".aws/config",
        &format!("[default]\nregion = eu-west-1\n[profile prod]\nregion = eu-west-1\n{endpoint}\n"),
    );
    let env = lab.steady("lab env -o json").json(0);
    let of = |name: &str| env[name].as_str().unwrap().to_owned();
    let keys = format!(
        "[prod]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        of("AWS_ACCESS_KEY_ID"),
        of("AWS_SECRET_ACCESS_KEY")
    );
    lab.write(".aws/credentials", &keys);
}

/// Docker hands no flags on: the profile is in the helper's name.
#[test]
fn a_profile_has_a_helper_of_its_own() {
    let lab = Rehearsal::start();
    profiles(&lab);
    let home = lab.path("");
    let (private, public) = ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", "public.ecr.aws");
    let line = format!("login --install --profile prod --bin-dir bin {private} {public} -o json");
    let installed = lab.steady(&line).json(0);
    assert_eq!(installed["program"], json!(lab.path("bin/docker-credential-steady-prod")));
    assert_eq!(config(&home)["credHelpers"], json!({ private: "steady-prod", public: "steady-prod" }));
    for server in [private, public, "https://public.ecr.aws/v2/"] {
        let lent = helper_as("docker-credential-steady-prod", &home, "get", server).json(0);
        assert_eq!((&lent["ServerURL"], &lent["Username"]), (&json!(server), &json!("AWS")));
        assert_eq!(lent["Secret"].as_str().unwrap().len(), 64);
        assert_eq!(helper(&home, "get", server).code, 1, "the default profile has no credentials");
    }
    assert_eq!(helper(&home, "list", "").json(0), json!({ private: "AWS", public: "AWS" }));
    assert_eq!(lab.steady("login --uninstall -o json").json(0)["registries"], json!([private, public]));
    lab.write(".aws/config", &format!("[profile a/b]\nregion = eu-west-1\nendpoint_url = http://{}\n", lab.host));
    lab.write(
        ".aws/credentials",
        &std::fs::read_to_string(lab.path(".aws/credentials")).unwrap().replace("prod", "a/b"),
    );
    let refused = lab.steady(&format!("login --install --profile a/b --bin-dir bin {private} -o json"));
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("cannot be in the name"), "{}", refused.stderr);
}

#[test]
fn what_is_in_the_way_is_left_there() {
    let lab = Rehearsal::start();
    lab.write("bin/docker-credential-steady", "somebody's own");
    let refused = lab.lab("login --install --bin-dir bin");
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("there is another program"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(lab.path("bin/docker-credential-steady")).unwrap(), "somebody's own");
    lab.write(".docker/config.json", "{ \"auths\": { \"a\": { \"auth\": \"hunter2\" } }");
    for line in ["login --install --bin-dir other", "login --uninstall"] {
        let refused = lab.lab(line);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains("line 1") && !refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
    // A file that is a link stays one.
    lab.write("dotfiles/docker.json", "{}");
    std::fs::remove_file(lab.path(".docker/config.json")).unwrap();
    symlink(lab.path("dotfiles/docker.json"), lab.path(".docker/config.json")).unwrap();
    lab.lab("login --install --bin-dir other").json(0);
    assert!(std::fs::symlink_metadata(lab.path(".docker/config.json")).unwrap().is_symlink());
    assert!(std::fs::read_to_string(lab.path("dotfiles/docker.json")).unwrap().contains("steady"));
}
