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
    begins("steady", &mut stderr).await;
    bench.until_primary(2).await;
    (bench, url, child, stderr)
}

async fn begins(step: &str, stderr: &mut BufReader<tokio::process::ChildStderr>) {
    says(&[&format!("{step} "), "started"], stderr).await;
}

/// Reads on to a line that has all of these words.
async fn says(words: &[&str], stderr: &mut BufReader<tokio::process::ChildStderr>) {
    let reading = async {
        let mut line = String::new();
        while !words.iter().all(|word| line.contains(word)) {
            line.clear();
            assert!(stderr.read_line(&mut line).await.unwrap() > 0, "it ended");
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("it never says {words:?}"));
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
    let (bench, _, mut child, mut stderr) = following(&["--on-interrupt", "rollback", "--output", "json"]).await;
    let mut stdout = child.stdout.take().unwrap();
    // the rollback does not get through
    bench.fault(json!({ "on": "ecs:StopServiceDeployment", "kind": "delay", "for": "60s" })).await;
    send(&child, Signal::INT);
    says(&["going back to web:1"], &mut stderr).await;
    send(&child, Signal::INT);
    let began = std::time::Instant::now();
    let (ended, said) = ended(child, stderr).await;
    assert_eq!(ended, Some(130), "{said}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let mut document = String::new();
    stdout.read_to_string(&mut document).await.unwrap();
    let document: serde_json::Value = serde_json::from_str(&document).expect(&document);
    assert_eq!((&document["status"], &document["error"]["exitCode"]), (&json!("interrupted"), &json!(130)));
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
    begins("steady", &mut stderr).await;
    bench.until_primary(1).await;
    send(&child, Signal::TERM);
    let (ended, said) = ended(child, stderr).await;
    assert_eq!(ended, Some(143), "{said}");
    assert!(said.contains("there is no good release before web:1") && said.contains("`steady wait`"), "{said}");
    bench.end().await;
}

/// One that comes while the rollback is under way neither begins another nor leaves it half done.
#[tokio::test(flavor = "multi_thread")]
async fn case_36_a_signal_during_the_rollback_lets_it_end() {
    let bench = Bench::start().await;
    bench.configure("timeout: 60s, on_interrupt: rollback, fail_fast: 1", "");
    let url = text(&bench.deploy().await, "url").to_owned();
    bench.page("two");
    bench.fault(json!({ "on": "ecs:StopServiceDeployment", "kind": "delay", "for": "3s", "count": 1 })).await;
    let mut child = bench.spawn(&["deploy", "--var", "fail=start", "--progress", "lines"]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    begins("rollback", &mut stderr).await;
    send(&child, Signal::INT);
    let (ended, said) = ended(child, stderr).await;
    assert_eq!(ended, Some(5), "{said}");
    assert!(said.contains("SIGINT: this deployment is over already"), "{said}");
    assert!(said.contains("the previous release web:1 is back and steady"), "{said}");
    assert_eq!(bench.deployments().await, 2, "ECS's own rollback, and no update beside it");
    serves_the_first(&bench, &url).await;
    bench.end().await;
}

/// What would have proved the release is not forgotten: the same command again runs it, and still rolls back.
#[tokio::test(flavor = "multi_thread")]
async fn case_36_what_comes_after_is_taken_up_again() {
    let bench = Bench::start().await;
    let after = "after: [{ name: smoke, run: \"echo ran >> smoked; ! test -e broken\" }]";
    bench.configure("timeout: 60s", after);
    bench.deploy().await;
    bench.page("two");
    bench.write("broken", "");
    // No target is asked for its health meanwhile.
    bench.fault(json!({ "on": "elbv2:DescribeTargetHealth", "kind": "delay", "for": "4s", "count": 1 })).await;
    let mut child = bench.spawn(&["deploy", "--progress", "lines"]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    begins("steady", &mut stderr).await;
    send(&child, Signal::INT);
    let (ended, said) = ended(child, stderr).await;
    assert_eq!(ended, Some(130), "{said}");
    assert!(said.contains("the same command again follows it too, and then runs what is `after` it"), "{said}");
    let smoked = || std::fs::read_to_string(bench.project().join("smoked")).unwrap().lines().count();
    assert_eq!(smoked(), 1);
    let again = bench.steady(&["deploy"]).await;
    assert!(matches!(again.code, 5 | 6), "{}", again.stderr);
    assert!(again.stderr.contains("`after` failed: smoke"), "{}", again.stderr);
    assert_eq!(smoked(), 2);
    bench.end().await;
}
