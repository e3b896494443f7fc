//! `steady login`, by clients that write down what they were handed.

use serde_json::{Value, json};

use crate::rehearsal::{Rehearsal, Run, command};

/// A client that appends its arguments and what stdin had to a file. Written by another process: a file that this one has
/// open for writing cannot be run, nor by what it forks meanwhile.
fn client(lab: &Rehearsal, name: &str) {
    std::fs::create_dir_all(lab.path("bin")).unwrap();
    let log = lab.path(&format!("{name}.log"));
    let script = format!("#!/bin/sh\necho \"$@ $(cat)\" >> '{}'\n", log.display());
    let write = ["-c", "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", &script];
    let path = lab.path(&format!("bin/{name}"));
    assert!(std::process::Command::new("sh").args(write).arg(path).status().unwrap().success());
}

/// In an environment that leads to the lab as AWS's own settings would, with no region.
fn steady(lab: &Rehearsal, line: &str, more: &[(&str, &str)]) -> Run {
    let env = lab.steady("lab env -o json").json(0);
    let mut run = command(&lab.path(""));
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"] {
        run.env(name, env[name].as_str().unwrap());
    }
    let path = format!("{}:{}", lab.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    run.env("PATH", path).envs(more.iter().copied()).args(line.split_whitespace());
    Run::new(&run.output().unwrap())
}

/// Each line that a client was called with: its arguments, and the password.
fn handed(lab: &Rehearsal, client: &str) -> Vec<(String, String)> {
    let log = std::fs::read_to_string(lab.path(&format!("{client}.log"))).unwrap_or_default();
    let pair =
        |line: &str| line.rsplit_once(' ').map(|(arguments, password)| (arguments.to_owned(), password.to_owned()));
    log.lines().filter_map(pair).collect()
}

const EUROPE: &str = "111111111111.dkr.ecr.eu-west-1.amazonaws.com";
const OTHER: &str = "222222222222.dkr.ecr.eu-west-1.amazonaws.com";
const AMERICA: &str = "111111111111.dkr.ecr.us-east-2.amazonaws.com";

#[test]
fn several_clients_registries_accounts_and_regions_in_one_call() {
    let lab = Rehearsal::start();
    for name in ["docker", "helm"] {
        client(&lab, name);
    }
    let line = format!("login {EUROPE} {OTHER} {AMERICA} public.ecr.aws --client docker --client helm -o json");
    let shown = steady(&lab, &line, &[]).json(0);
    let pairs: Vec<(&Value, &Value)> =
        shown.as_array().unwrap().iter().map(|one| (&one["client"], &one["registry"])).collect();
    assert_eq!(pairs.len(), 8, "{shown}");
    let docker = handed(&lab, "docker");
    let registries: Vec<&str> = docker.iter().map(|(arguments, _)| arguments.rsplit(' ').next().unwrap()).collect();
    assert_eq!(registries, [EUROPE, OTHER, AMERICA, "public.ecr.aws"]);
    // One token a region, which is good for every account's registry there.
    assert_eq!(docker[0].1, docker[1].1);
    assert!(docker[0].1 != docker[2].1 && docker[2].1 != docker[3].1 && docker[3].1.len() == 64);
    assert!(docker.iter().all(|(arguments, _)| arguments.starts_with("login --username AWS --password-stdin ")));
    let helm = handed(&lab, "helm");
    assert!(helm.iter().all(|(arguments, _)| arguments.starts_with("registry login --username AWS ")), "{helm:?}");
}

#[test]
fn one_password_on_stdout_and_no_other() {
    let lab = Rehearsal::start();
    let alone = steady(&lab, &format!("login --password-stdout {EUROPE} {OTHER}"), &[]);
    assert_eq!((alone.code, alone.stdout.trim_end().len(), alone.stderr.as_str()), (0, 64, ""));
    let public = steady(&lab, "login --password-stdout public.ecr.aws", &[]);
    assert_eq!((public.code, public.stdout.trim_end().len()), (0, 64), "{}", public.stderr);
    let several = steady(&lab, &format!("login --password-stdout {EUROPE} {AMERICA}"), &[]);
    assert_eq!((several.code, several.stdout.as_str()), (2, ""));
    assert!(several.stderr.contains("one region"), "{}", several.stderr);
    // GitHub's runner is told to hide it before anybody can show it.
    let masked = steady(&lab, &format!("login --password-stdout {EUROPE}"), &[("GITHUB_ACTIONS", "true")]);
    assert_eq!(masked.stderr, format!("::add-mask::{}", masked.stdout));
    let unknown = steady(&lab, "login --password-stdout ghcr.io", &[("AWS_REGION", "eu-west-1")]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    assert!(unknown.stderr.contains("ghcr.io is not a registry of ECR"), "{}", unknown.stderr);
    let nowhere = steady(&lab, "login --password-stdout", &[]);
    assert_eq!(nowhere.code, 3, "which of the account's own is not said: {}", nowhere.stderr);
}

/// In the lab, whose registry speaks http, and is the account's own.
#[test]
fn the_lab_s_own_registry_is_logged_in_to_by_every_client() {
    let lab = Rehearsal::start();
    for (name, expected) in [
        ("docker", "login --username AWS --password-stdin"),
        ("podman", "login --tls-verify=false --username AWS --password-stdin"),
        ("buildah", "login --tls-verify=false --username AWS --password-stdin"),
        ("skopeo", "login --tls-verify=false --username AWS --password-stdin"),
        ("helm", "registry login --plain-http --username AWS --password-stdin"),
        ("nerdctl", "login --username AWS --password-stdin"),
        ("finch", "login --username AWS --password-stdin"),
    ] {
        client(&lab, name);
        let shown = steady(&lab, &format!("login --lab --client {name} -o json"), &[]).json(0);
        assert_eq!(shown["registry"], json!(format!("http://{}", lab.host)));
        let [(arguments, password)] = &handed(&lab, name)[..] else { panic!("{name}") };
        assert_eq!((arguments, password.len()), (&format!("{expected} {}", lab.host), 64));
        let named = steady(&lab, &format!("login {} --lab --client {name} -o json", lab.host), &[]).json(0);
        assert_eq!(named["registry"], shown["registry"]);
        assert_eq!(handed(&lab, name)[1].0, *arguments);
    }
}

/// What public ECR's token says when a role may not have it.
#[test]
fn both_actions_that_public_ecr_takes_are_named() {
    let lab = Rehearsal::start();
    let fault = "lab fault add error --on ecr-public:GetAuthorizationToken --code AccessDeniedException --status 400 --message no";
    assert_eq!(lab.steady(fault).code, 0);
    let refused = steady(&lab, "login --password-stdout public.ecr.aws", &[]);
    assert_eq!(refused.code, 4);
    for action in ["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"] {
        assert!(refused.stderr.contains(action), "{}", refused.stderr);
    }
}

#[test]
fn the_lab_s_public_token_is_as_aws_s() {
    let lab = Rehearsal::start();
    let reply = lab.call("ecr-public.GetAuthorizationToken", json!({}));
    let data = reply["authorizationData"].as_object().unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["authorizationToken", "expiresAt"]);
    use base64::Engine;
    let token = base64::prelude::BASE64_STANDARD.decode(data["authorizationToken"].as_str().unwrap()).unwrap();
    assert!(String::from_utf8(token).unwrap().starts_with("AWS:"));
}
