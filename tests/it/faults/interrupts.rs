//! A signal while a rollout is followed: 36.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;

use crate::release::bad_releases::serves_the_first;
use crate::release::{Bench, PATIENCE, text};

/// A deploy of a release that never gets healthy, and that is followed by now.
async fn following(arguments: &[&str]) -> (Bench, String, Child, BufReader<tokio::process::ChildStderr>) {
    let bench = Bench::start().await;
    let url = text(&bench.deploy().await, "url").to_owned();
    bench.page("two");
    bench.write("service.json", &json!({ "healthCheckGracePeriodSeconds": 100_000 }).to_string());
    let all = [&["deploy", "--var", "fail=silent", "--progress", "lines"], arguments].concat();
    let mut child = bench.spawn(&all);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let begins = async {
        let mut line = String::new();
        while !(line.starts_with("steady ") && line.contains("started")) {
            line.clear();
            assert!(stderr.read_line(&mut line).await.unwrap() > 0, "it ended");
        }
    };
    tokio::time::timeout(PATIENCE, begins).await.expect("it follows");
    bench.until_primary(2).await;
    (bench, url, child, stderr)
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
}

/// Exit code, and what it said from here on.
async fn ended(mut child: Child, mut stderr: BufReader<tokio::process::ChildStderr>) -> (Option<i32>, String) {
    let ending = async {
        let mut said = String::new();
        stderr.read_to_string(&mut said).await.unwrap();
        (child.wait().await.unwrap().code(), said)
    };
    tokio::time::timeout(PATIENCE, ending).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn case_36_a_signal_detaches_and_says_how_to_resume() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (bench, _, child, stderr) = following(&[]).await;
        send(&child, signal);
        let (ended, said) = ended(child, stderr).await;
        assert_eq!(ended, Some(code), "{said}");
        for text in ["the rollout goes on at AWS; `steady wait` follows it", "`steady rollback`"] {
            assert!(said.contains(text), "{said}");
        }
        let service = bench.service().await;
        let primary = &service["deployments"][0];
        assert!(text(primary, "taskDefinition").ends_with("web:2"), "{primary}");
        assert_eq!(primary["rolloutState"], "IN_PROGRESS");
        bench.steady(&["wait", "--timeout", "1s"]).await.assert(9, &["steady wait"]);
        bench.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_36_on_interrupt_rollback_brings_the_release_before_back() {
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM")] {
        let (bench, url, child, stderr) = following(&["--on-interrupt", "rollback"]).await;
        send(&child, signal);
        let (ended, said) = ended(child, stderr).await;
        assert_eq!(ended, Some(5), "{said}");
        let message =
            format!("stopped by {name} while web:2 rolled out; the previous release web:1 is back and steady");
        assert!(said.contains(&message), "{said}");
        serves_the_first(&bench, &url).await;
        bench.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_36_a_second_signal_ends_it_at_once() {
    let (bench, _, child, mut stderr) = following(&["--on-interrupt", "rollback"]).await;
    // the rollback does not get through
    bench.fault(json!({ "on": "ecs:StopServiceDeployment", "kind": "delay", "for": "60s" })).await;
    send(&child, Signal::INT);
    let tells = async {
        let mut line = String::new();
        while !line.contains("going back to web:1") {
            line.clear();
            assert!(stderr.read_line(&mut line).await.unwrap() > 0, "it ended");
        }
    };
    tokio::time::timeout(PATIENCE, tells).await.expect("it goes back");
    send(&child, Signal::INT);
    let began = std::time::Instant::now();
    let (ended, said) = ended(child, stderr).await;
    assert_eq!(ended, Some(130), "{said}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    bench.clear().await;
    bench.end().await;
}

/// A first release has nothing before it: it is left as a signal leaves it otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn case_36_without_a_release_before_a_signal_only_detaches() {
    let bench = Bench::start().await;
    bench.configure("timeout: 60s, on_interrupt: rollback", "");
    bench.write("service.json", &json!({ "healthCheckGracePeriodSeconds": 100_000 }).to_string());
    let mut child = bench.spawn(&["deploy", "--var", "fail=silent", "--progress", "lines"]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !(line.starts_with("steady ") && line.contains("started")) {
        line.clear();
        assert!(stderr.read_line(&mut line).await.unwrap() > 0, "it ended");
    }
    bench.until_primary(1).await;
    send(&child, Signal::TERM);
    let (ended, said) = ended(child, stderr).await;
    assert_eq!(ended, Some(143), "{said}");
    assert!(said.contains("there is no good release before web:1") && said.contains("`steady wait`"), "{said}");
    bench.end().await;
}
