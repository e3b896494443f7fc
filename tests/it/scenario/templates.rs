//! What `steady init` writes can be deployed as it is.

use std::ffi::OsString;
use std::process::Command;

use serde_json::json;

use crate::ports::free_port;
use crate::rehearsal::{Rehearsal, Run, command, get};

/// `init`, and nothing after it but another port for the listener: another test may have this one.
fn init(template: &str) -> (Rehearsal, String) {
    let lab = Rehearsal::start();
    let made = lab.steady(&format!("init -C shop --template {template} --output json")).json(0);
    assert_eq!(made["name"], "shop");
    let port = free_port();
    lab.replace("shop/steady.yaml", &[("listener: { port: 8080 }", &format!("listener: {{ port: {port} }}"))]);
    (lab, format!(":{port}"))
}

/// A PATH with the toolchain's own rustc first: rustup's stand-in would look for its settings in the home folder.
fn rust() -> OsString {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Command::new(rustc).args(["--print", "sysroot"]).output().unwrap().stdout;
    let own = std::path::Path::new(String::from_utf8(sysroot).unwrap().trim()).join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&path))).unwrap()
}

fn deploys(template: &str) -> Rehearsal {
    let (lab, port) = init(template);
    let mut command = command(&lab.path(""));
    command.env("PATH", rust()).args("deploy -C shop --var release=first --lab --output json".split(' '));
    let outcome = Run::new(&command.output().unwrap()).json(0);
    assert_eq!(outcome["status"], "steady");
    let url = outcome["url"].as_str().unwrap();
    assert!(url.ends_with(&port), "{url}");
    let (status, page) = get(url);
    assert_eq!(status, 200);
    assert!(page.contains("<h1>shop</h1><p>Release first is in steady state.</p>"), "{page}");
    lab
}

#[test]
fn ec2_is_deployed_with_rustc_alone() {
    let lab = deploys("ec2");
    assert_eq!(lab.service("shop")["launchType"], "EC2");
    // every environment can at least be rendered
    let production = lab.lab("render -C shop --environment production").json(0);
    let environment = &production["taskDefinition"]["containerDefinitions"][0]["environment"];
    assert!(environment.as_array().unwrap().contains(&json!({ "name": "LOG", "value": "warn" })), "{environment}");
    a_lab_that_was_stopped_says_at_once_what_it_said_before(&lab);
}

fn a_lab_that_was_stopped_says_at_once_what_it_said_before(lab: &Rehearsal) {
    let before = lab.lab("status -C shop").json(0);
    lab.steady("lab stop --output json").json(0);
    lab.steady("lab start --output json").json(0);
    let after = lab.lab("status -C shop").json(0);
    assert_eq!(after, before);
    let (status, page) = get(before["url"].as_str().unwrap());
    assert!(status == 200 && page.contains("Release first is in steady state"), "{status} {page}");
}

#[test]
fn fargate_is_deployed_with_rustc_alone() {
    let lab = deploys("fargate");
    let service = lab.service("shop");
    assert_eq!(service["launchType"], "FARGATE");
    assert_eq!(service["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"], "ENABLED");
}

#[test]
fn both_environments_have_a_place_in_one_account() {
    let lab = deploys("fargate");
    let port = free_port();
    lab.replace("shop/steady.yaml", &[("listener: { port: 80 }", &format!("listener: {{ port: {port} }}"))]);
    lab.call("ecs.CreateCluster", json!({ "clusterName": "production" }));
    let deploy = |more: &str| {
        let mut command = command(&lab.path(""));
        let line = format!("deploy -C shop --lab --output json {more}");
        command.env("PATH", rust()).args(line.split_whitespace());
        Run::new(&command.output().unwrap())
    };
    let run = deploy("--environment production --var release=second");
    let url = run.json(0)["url"].as_str().unwrap().to_owned();
    assert!(url.ends_with(&format!(":{port}")), "{url}");
    assert!(get(&url).1.contains("Release second is in steady state."));
    assert_eq!(run.stderr.matches("which admits only its own members").count(), 1, "{}", run.stderr);
    let first = deploy("--var release=first");
    assert_eq!(first.json(0)["action"], "unchanged");
    assert!(!first.stderr.contains("which admits only"), "said when it is created: {}", first.stderr);
}

#[test]
fn dockerrun_is_rendered_and_says_that_it_needs_docker() {
    let (lab, _) = init("dockerrun");
    assert!(lab.path("shop/Dockerfile").exists() && lab.path("shop/public/index.html").exists());
    let rendered = lab.lab("render -C shop").json(0);
    let container = &rendered["taskDefinition"]["containerDefinitions"][0];
    assert!(container["image"].as_str().unwrap().contains("/shop@sha256:"), "{container}");
    // whatever engines are here, this one does not answer at this address
    let mut command = command(&lab.path(""));
    command.env("DOCKER_HOST", "tcp://127.0.0.1:9").args([
        "deploy",
        "-C",
        "shop",
        "--builder",
        "docker",
        "--lab",
        "-o",
        "json",
    ]);
    let failed = Run::new(&command.output().unwrap()).json(3);
    assert!(failed["error"]["message"].as_str().unwrap().contains("docker"), "{failed:#}");
    assert!(failed["error"]["hints"].to_string().contains("layers"), "{failed:#}");
    assert_eq!(lab.service("shop"), json!(null));

    // A secret that is not set stops a build before it begins, and nothing else.
    let yaml = std::fs::read_to_string(lab.path("shop/steady.yaml")).unwrap();
    let line = yaml.lines().find(|line| line.trim_start().starts_with("dockerfile:")).unwrap();
    let indent = &line[..line.len() - line.trim_start().len()];
    let secrets = format!("{line}\n{indent}secrets: {{ npm: {{ env: NO_SUCH_TOKEN }} }}");
    lab.replace("shop/steady.yaml", &[(line, &secrets)]);
    lab.lab("render -C shop").json(0);
    let refused = lab.lab("build -C shop").json(3);
    assert!(refused["error"]["message"].as_str().unwrap().ends_with("not set: NO_SUCH_TOKEN"), "{refused:#}");
}
