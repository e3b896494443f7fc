//! `steady run`: which task, what of it differs, its log, its exit code.

use serde_json::{Value, json};

use super::{shop, tasks};
use crate::rehearsal::Rehearsal;

/// A run with JSON, as `words` say; blanks do not split them.
fn run(lab: &Rehearsal, code: i32, words: &[&str]) -> Value {
    ran(lab, words, true).json(code)
}

fn ran(lab: &Rehearsal, words: &[&str], json: bool) -> crate::rehearsal::Run {
    let mut command = crate::rehearsal::command(&lab.path(""));
    command.args(["run", "-C", "shop", "--lab"]);
    if json {
        command.args(["-o", "json"]);
    }
    crate::rehearsal::Run::new(&command.args(words).env("HERE", "inherited").output().unwrap())
}

#[test]
fn a_task_runs_to_its_end_as_the_service_s_do() {
    let lab = shop("");
    // Without a service there is nothing to take it from.
    let refused = run(&lab, 125, &["--", "say", "x"]);
    assert_eq!((&refused["status"], &refused["error"]["exitCode"]), (&json!("preflight"), &json!(125)));
    let registered = run(&lab, 0, &["--register", "--launch-type", "ec2", "--", "exists", "/tool"]);
    assert_eq!((&registered["status"], &registered["exitCode"]), (&json!("succeeded"), &json!(0)));
    assert!(registered["taskDefinition"].as_str().unwrap().ends_with("web:1"), "{registered}");

    let deployed = lab.lab("deploy -C shop").json(0);
    assert_eq!(deployed["taskDefinition"], registered["taskDefinition"]);
    // Stdout is what the container wrote, and nothing else.
    let said = ran(&lab, &["--", "say", "one two", "three"], false);
    assert_eq!(said.code, 0, "{said:?}");
    let mut lines: Vec<&str> = said.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["no line end", "on stderr", "one two", "three"], "{said:?}");
    assert!(said.stderr.contains("exited with code 0"), "{said:?}");

    let shown = ran(&lab, &["--env", "FLAVOUR=strong", "--env", "HERE", "--", "show"], false);
    for line in ["FLAVOUR=strong", "HERE=inherited"] {
        assert!(shown.stdout.lines().any(|shown| shown == line), "{shown:?}");
    }
    let own = ran(&lab, &["--memory", "24", "--count", "2", "--container", "web", "--", "say"], true).json(0);
    let ids: Vec<&str> = own["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap()).collect();
    let all = tasks(&lab);
    let of = |id: &str| all.iter().find(|task| task["taskArn"].as_str().unwrap().ends_with(id)).unwrap();
    for id in &ids {
        let task = of(id);
        let container = &task["overrides"]["containerOverrides"][0];
        assert_eq!((&container["memory"], &container["command"]), (&json!(24), &json!(["say"])));
        assert_eq!((&task["launchType"], &task["group"]), (&json!("EC2"), &json!("family:web")));
        assert!(task["startedBy"].as_str().unwrap().starts_with("steady/run/"), "{task}");
    }
    assert_eq!(ids.len(), 2);

    let named = ["--task-definition", "web", "--group", "jobs", "--started-by", "ci/7", "--client-token", "t-1"];
    let first = run(&lab, 0, &[&named[..], &["--", "say"]].concat());
    let again = run(&lab, 0, &[&named[..], &["--", "say"]].concat());
    assert_eq!(first["tasks"], again["tasks"], "the same token is the same run");
    let all = tasks(&lab);
    let marked: Vec<_> = all.iter().filter(|task| task["startedBy"] == "ci/7").collect();
    assert_eq!((marked.len(), &marked[0]["group"]), (1, &json!("jobs")));
    let other = run(&lab, 125, &[&named[..], &["--", "say", "more"]].concat());
    assert!(other["error"]["message"].as_str().unwrap().contains("ConflictException"), "{other}");
    let derived = ["--client-token", "t-2", "--", "say"];
    assert_eq!(run(&lab, 0, &derived)["tasks"], run(&lab, 0, &derived)["tasks"]);
    let service = lab.service("web");
    assert_eq!(
        (&service["runningCount"], &service["deployments"][0]["rolloutState"]),
        (&json!(1), &json!("COMPLETED"))
    );
}

#[test]
fn its_exit_code_is_ours_and_our_own_failures_are_125() {
    let lab = shop("");
    lab.lab("deploy -C shop").json(0);
    let failed = run(&lab, 3, &["--", "exit", "3"]);
    assert_eq!((&failed["status"], &failed["error"]["kind"]), (&json!("taskFailed"), &json!("taskFailed")));
    assert_eq!((&failed["results"]["exitCode"], &failed["results"]["status"]), (&json!(3), &json!("failed")));
    assert_eq!(failed["error"].get("hints"), None, "nothing is known beyond its code: {failed}");
    let shown = ran(&lab, &["--", "exit", "7"], false);
    assert_eq!((shown.code, shown.stdout.as_str()), (7, ""));
    assert!(shown.stderr.contains("of web:1 exited with code 7"), "{shown:?}");
    for (words, said) in [
        (&["--container", "wbe"][..], "did you mean `web`?"),
        (&["--env", "NOT_SET_ANYWHERE"], "the variable is not set here"),
        (&["--task-definition", "web:9"], "there is no task definition web:9"),
        (&["--attach", "0123456789abcdef0123456789abcdef"], "there is no task 0123456789abcdef0123456789abcdef"),
        (&["--memory", "999999"], "RESOURCE:MEMORY"),
        (&["--memory", "lots"], "is no size such as 512"),
        (&["--count", "11"], "11 is not in 1..=10"),
        (&["--started-by", "a b"], "letters, digits, hyphens"),
        (&["--bogus"], "unexpected argument"),
        (&["--launch-type", "FARGATE"], "does not support launch_type FARGATE"),
    ] {
        let refused = ran(&lab, words, true);
        let error = refused.json(125)["error"].clone();
        assert!(error.to_string().contains(said) && error["exitCode"] == 125, "{words:?}: {error}");
    }
    // What never ran has no code of its own.
    let broken = json!({
        "family": "broken", "networkMode": "bridge",
        "containerDefinitions": [{ "name": "web", "image": format!("{}/nothing:here", lab.host), "memory": 16 }],
    });
    lab.call("ecs.RegisterTaskDefinition", broken);
    let never = run(&lab, 125, &["--task-definition", "broken"]);
    let message = never["error"]["message"].as_str().unwrap();
    assert!(message.contains("never ran: CannotPullContainerError"), "{message}");
}

#[test]
fn a_task_can_be_left_alone_and_taken_up_again() {
    let lab = shop("");
    lab.lab("deploy -C shop").json(0);
    let left = ran(&lab, &["--detach", "--", "fail", "1", "5", "1500"], true);
    let outcome = left.json(0);
    assert_eq!((&outcome["status"], &outcome["exitCode"]), (&json!("started"), &json!(null)));
    let id = outcome["tasks"][0]["id"].as_str().unwrap();
    assert!(left.stderr.contains(&format!("`steady run --attach {id} -C shop --lab`")), "{left:?}");
    let attached = run(&lab, 5, &["--attach", id]);
    assert_eq!((&attached["results"]["tasks"][0]["id"], &attached["results"]["exitCode"]), (&json!(id), &json!(5)));
    // Its log is read from its beginning, and it can be asked again.
    let again = ran(&lab, &["--attach", id], false);
    assert_eq!((again.code, again.stdout.as_str()), (5, "run 1\n"));

    let late = run(&lab, 125, &["--timeout", "1s", "--", "sleep"]);
    assert_eq!((&late["status"], &late["error"]["kind"]), (&json!("deadlinePassed"), &json!("deadlinePassed")));
    let task = &late["results"]["tasks"][0];
    assert_eq!(
        (&task["stopCode"], &task["stoppedReason"]),
        (&json!("UserInitiated"), &json!("steady: its time is up"))
    );
}

#[test]
fn a_lost_answer_starts_nothing_twice() {
    let lab = shop("");
    lab.lab("deploy -C shop").json(0);
    for (kind, expected) in [("drop-after", 1), ("drop-before", 2), ("throttle", 3)] {
        lab.steady(&format!("lab fault add {kind} --on ecs:RunTask --count 1 -o json")).json(0);
        run(&lab, 0, &["--", "say", kind]);
        assert_eq!(tasks(&lab).len(), expected, "{kind}");
    }
    lab.steady("lab fault add fail-placement --on scheduler:PlaceTask --count 1 -o json").json(0);
    let refused = run(&lab, 125, &["--", "say"]);
    assert_eq!(refused["status"], "preflight");
    assert!(refused["error"]["message"].as_str().unwrap().starts_with("ECS could not place the task: RESOURCE:"));
    assert_eq!(tasks(&lab).len(), 3);
}
