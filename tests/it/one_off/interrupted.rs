//! Ctrl-C while a task runs: it is asked to stop, or left alone.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{shop, tasks};
use crate::rehearsal::{Rehearsal, command};

/// A run of the binary that has said that its task runs.
fn begun(lab: &Rehearsal, words: &[&str]) -> (Child, BufReader<std::process::ChildStderr>, String) {
    let mut command = command(&lab.path(""));
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(" running\n") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "it ended: {said}");
    }
    (child, stderr, said)
}

fn signalled(lab: &Rehearsal, words: &[&str], signal: Signal) -> (i32, Value, String) {
    let (mut child, mut stderr, mut said) = begun(lab, words);
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
    stderr.read_to_string(&mut said).unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    (child.wait().unwrap().code().unwrap(), serde_json::from_str(&stdout).unwrap_or_default(), said)
}

#[test]
fn ctrl_c_stops_the_task_or_leaves_it_as_it_was_told() {
    let lab = shop("");
    lab.lab("deploy -C shop").json(0);
    let base = ["run", "-C", "shop", "--lab", "-o", "json"];
    // The program ends in order, with 0: the run was interrupted all the same.
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let words = [&base[..], &["--", "term", "50"]].concat();
        let (ended, result, said) = signalled(&lab, &words, signal);
        assert_eq!((ended, &result["status"]), (code, &json!("interrupted")), "{said}");
        let task = tasks(&lab).pop().unwrap();
        assert_eq!((&task["lastStatus"], &task["stoppedReason"]), (&json!("STOPPED"), &json!("steady: interrupted")));
        assert_eq!(task["containers"][0]["exitCode"], 0);
        assert!(said.contains("asks ECS to stop") && said.contains("was stopped"), "{said}");
    }
    let words = [&base[..], &["--on-interrupt", "detach", "--", "sleep"]].concat();
    let (ended, _, said) = signalled(&lab, &words, Signal::INT);
    let task = tasks(&lab).pop().unwrap();
    assert_eq!((ended, &task["lastStatus"], &task["desiredStatus"]), (130, &json!("RUNNING"), &json!("RUNNING")));
    assert!(said.contains("`steady run --attach TASK -C shop --lab` follows it"), "{said}");
}

/// A deploy that is killed while its migration runs, and the same again.
#[test]
fn a_killed_deploy_s_migration_is_not_run_twice_at_once() {
    let lab = shop("    before: [{ name: migrate, task: { command: [fail, \"1\", \"0\", \"4000\"] } }]");
    let words = ["deploy", "-C", "shop", "--lab", "-o", "json"];
    let (mut child, ..) = begun(&lab, &words);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lab.call("ecs.DescribeServices", json!({ "services": ["web"] }))["services"], json!([]));
    let again = lab.lab("deploy -C shop");
    let outcome = again.json(0);
    assert!(again.stderr.contains("of an earlier run still goes on: it is followed"), "{again:?}");
    let ran = tasks(&lab);
    assert_eq!(ran.len(), 1, "{ran:#?}");
    assert!(ran[0]["taskArn"].as_str().unwrap().ends_with(outcome["before"][0]["task"].as_str().unwrap()));

    // Ctrl-C leaves the service untouched, and says how to go on.
    lab.write("shop/task-definition.json.hbs", &lab_document(&lab).replace("plain", "bitter"));
    let (code, result, said) = signalled(&lab, &words, Signal::INT);
    assert_eq!((code, &result["status"]), (130, &json!("interrupted")));
    assert!(said.contains("the same command again follows it"), "{said}");
    assert!(lab.service("web")["taskDefinition"].as_str().unwrap().ends_with("web:1"));
    // Two at once run it once.
    let both: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2).map(|_| scope.spawn(|| lab.lab("deploy -C shop"))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(both.iter().all(|run| run.code == 0), "{both:#?}");
    assert_eq!(tasks(&lab).len(), 2);
}

fn lab_document(lab: &Rehearsal) -> String {
    std::fs::read_to_string(lab.path("shop/task-definition.json.hbs")).unwrap()
}
