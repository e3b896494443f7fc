//! `steady lab fault` and `--faults FILE`, by the real binary.

use serde_json::{Value, json};

use crate::rehearsal::{Rehearsal, Run, command};

const FILE: &str = r#"
faults:
  - { kind: throttle, on: "ecs:ListClusters", count: 1 }
  - kind: delay
    on: registry:Ping
    for: 1500ms
  - { kind: error, on: "ecr:PutImage", code: LimitExceededException, probability: 0.25, seed: 3, after: 2 }
"#;

#[test]
fn a_lab_starts_with_the_faults_of_a_file() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("trouble.yaml"), FILE).unwrap();
    let run = |line: &str| Run::new(&command(home.path()).args(line.split(' ')).output().unwrap());
    run("lab start --port 0 --faults trouble.yaml --no-request-budgets -o json").json(0);
    let listed = run("lab fault list -o json").json(0);
    let again = run("lab start --faults trouble.yaml");
    let other = run("lab start --no-request-budgets");
    let status = run("lab status -o json").json(0);
    let text = run("lab status").stdout;
    let stopped = run("lab stop");
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
    let expected = json!([
        { "id": 1, "on": "ecs:ListClusters", "kind": "throttle", "count": 1, "met": 0, "struck": 0 },
        { "id": 2, "on": "registry:Ping", "kind": "delay", "for": "1s 500ms", "met": 0, "struck": 0 },
        {
            "id": 3, "on": "ecr:PutImage", "kind": "error", "code": "LimitExceededException", "after": 2,
            "probability": 0.25, "seed": 3, "met": 0, "struck": 0,
        },
    ]);
    assert_eq!(listed, expected);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("--faults is read when it starts"), "{}", again.stderr);
    assert_eq!((other.code, &status["requestBudgets"], &status["faults"]), (0, &json!(false), &json!(3)));
    assert!(text.contains("request budgets  no") && text.contains("throttles"), "{text}");
}

#[test]
fn what_is_wrong_in_a_file_is_said_with_its_place() {
    let home = tempfile::tempdir().unwrap();
    let table = [
        ("faults:\n  - kind: trottle\n", "`faults.kind` cannot be `trottle`", "did you mean `throttle`?", "2:11"),
        ("faults:\n  - { kind: stall, onn: x }\n", "unknown key `onn` in `faults`", "did you mean `on`?", "2:20"),
        ("fault: []\n", "unknown key `fault`", "did you mean `faults`?", "1:1"),
        ("faults:\n  - on: ecs:*\n", "`faults.kind` is missing", "kind: throttle", "2:5"),
        (
            "faults:\n  - kind: stall\n    on: ecs:ListClustres\n",
            "ecs has no operation `ListClustres`",
            "did you mean `ecs:ListClusters`?",
            "3:9",
        ),
        ("faults:\n  - { kind: delay }\n", "delay needs `for`", "", "2:5"),
        ("faults:\n  - { kind: delay, for: soon }\n", "`faults.for` is not a duration", "90s", "2:25"),
        ("faults:\n  - { kind: stall, probability: 2 }\n", "between 0 and 1, not 2", "", "2:33"),
        ("faults:\n  - { kind: stall, kind: stall }\n", "the key `kind` is there twice", "", "2:20"),
        ("faults: {}\n", "`faults` has to be a list", "", "1:9"),
    ];
    for (text, message, hint, place) in table {
        std::fs::write(home.path().join("trouble.yaml"), text).unwrap();
        for verb in ["start", "serve"] {
            let line = ["lab", verb, "--port", "0", "--faults", "trouble.yaml", "-o", "json"];
            let refused = Run::new(&command(home.path()).args(line).output().unwrap()).json(2);
            let error = &refused["error"];
            assert!(error["message"].as_str().unwrap().contains(message), "{text}: {error}");
            assert!(error["hints"].to_string().contains(hint), "{text}: {error}");
            assert_eq!(format!("{}:{}", error["line"], error["column"]), place, "{text}: {error}");
        }
    }
    let missing = command(home.path()).args(["lab", "start", "--faults", "none.yaml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn the_flags_of_a_fault_are_checked_before_a_lab_is_asked() {
    let home = tempfile::tempdir().unwrap();
    let run = |line: &str| Run::new(&command(home.path()).args(line.split(' ')).output().unwrap());
    let refused = run("lab fault add throttle --on ecs:UpdateServise -o json").json(2);
    assert_eq!(refused["error"]["hints"], json!(["did you mean `ecs:UpdateService`?"]));
    let unknown = run("lab fault add trottle");
    assert!(unknown.code == 2 && unknown.stderr.contains("did you mean `throttle`?"), "{}", unknown.stderr);
    let nobody = run("lab fault list");
    assert!(nobody.code == 1 && nobody.stderr.contains("no lab runs on"), "{}", nobody.stderr);

    let lab = Rehearsal::start();
    let added = lab.steady("lab fault add throttle --on ecs:ListClusters --count 1 -o json").json(0);
    assert_eq!(added["id"], 1);
    lab.call("ecs.ListClusters", json!({}));
    let table = lab.steady("lab fault list").stdout;
    assert!(table.contains("KIND") && table.contains("ecs:ListClusters"), "{table}");
    let status: Value = lab.steady("lab status -o json").json(0);
    assert_eq!(status["throttled"], json!([{ "operation": "ecs:ListClusters", "count": 1 }]));
    assert_eq!(lab.steady("lab fault clear 7").code, 1);
    assert_eq!(lab.steady("lab fault clear -o json").json(0), json!({ "cleared": 1 }));
}
