//! `steady lab` and its runtimes, where no Docker engine is: what it says. With one: tests/interop/test_docker_runtime.py.

use std::path::Path;
use std::process::{Command, Output};

use super::HELPER;

fn steady(data: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(HELPER);
    command.env_clear().envs(variables.iter().copied()).arg("lab").args(arguments).arg("--data-dir").arg(data);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_an_engine_the_lab_says_where_it_looked_and_does_not_start() {
    let data = tempfile::tempdir().unwrap();
    let socket = format!("unix://{}/none", data.path().display());
    let serve = ["serve", "--port", "0", "--runtime", "docker"];
    let refused = steady(data.path(), &[("DOCKER_HOST", &socket)], &serve);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    let words = said(&refused).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("no Docker engine runs containers for the lab"), "{words}");
    assert!(words.contains("No such file or directory"), "{words}");
    let refused = steady(data.path(), &[("DOCKER_HOST", "ssh://host")], &serve);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("DOCKER_HOST is \"ssh://host\""), "{}", said(&refused));
    // nobody asked for it
    let status = steady(data.path(), &[("DOCKER_HOST", "ssh://host")], &["status"]);
    assert!(status.status.success(), "{}", said(&status));
}

#[test]
fn what_is_weak_about_a_level_is_said_when_the_lab_starts() {
    let data = tempfile::tempdir().unwrap();
    let start = || steady(data.path(), &[], &["start", "--port", "0", "--runtime", "process"]);
    let (first, second) = (start(), start());
    let stopped = steady(data.path(), &[], &["stop"]);
    assert!(first.status.success() && second.status.success() && stopped.status.success(), "{}", said(&first));
    assert!(said(&first).contains("WITHOUT ANY ISOLATION"), "{}", said(&first));
    assert!(!said(&second).contains("WITHOUT ANY ISOLATION"), "once: {}", said(&second));
}
