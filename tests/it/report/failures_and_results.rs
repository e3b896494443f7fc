//! Errors and results as people and programs get them.

use super::*;

fn an_error() -> Error {
    let source =
        SourceText::new("deploy/steady.yaml", "services:\n  héllo: { rollout: { timeot: 15m } }\ncluster: 7\n");
    let at = source.text.find("timeot").unwrap();
    let seven = source.text.find('7').unwrap();
    let cause = std::io::Error::other("the connection was closed");
    Error::all(vec![
        Error::input("unknown key `timeot`")
            .at(&source, at..at + 6, Some("not known here"))
            .hint("did you mean `timeout`?"),
        Error::input("`cluster` has to be a string").at(&source, seven..seven + 1, None),
        Error::new(Kind::Preflight, "ECS.DescribeClusters failed")
            .cause(cause)
            .hint("try again")
            .hint("or ask someone"),
    ])
    .unwrap()
}

#[test]
fn an_error_shows_place_causes_hints_and_all_findings() {
    insta::assert_snapshot!(failure::text(&an_error(), PLAIN), @r#"
     × unknown key `timeot`
      ╭─[deploy/steady.yaml:2:23]
    1 │ services:
    2 │   héllo: { rollout: { timeot: 15m } }
      ·                       ───┬──
      ·                          ╰── not known here
    3 │ cluster: 7
      ╰────
     help: did you mean `timeout`?

     × `cluster` has to be a string
      ╭─[deploy/steady.yaml:3:10]
    2 │   héllo: { rollout: { timeot: 15m } }
    3 │ cluster: 7
      ·          ─
      ╰────

     × ECS.DescribeClusters failed
     ╰─▶ the connection was closed
     help: try again
           or ask someone
    "#);
    insta::assert_snapshot!(failure::text(&an_error(), ASCII), @r#"
     x unknown key `timeot`
      ,-[deploy/steady.yaml:2:23]
    1 | services:
    2 |   héllo: { rollout: { timeot: 15m } }
      :                       ^^^|^^
      :                          `-- not known here
    3 | cluster: 7
      `----
     help: did you mean `timeout`?

     x `cluster` has to be a string
      ,-[deploy/steady.yaml:3:10]
    2 |   héllo: { rollout: { timeot: 15m } }
    3 | cluster: 7
      :          ^
      `----

     x ECS.DescribeClusters failed
     `-> the connection was closed
     help: try again
           or ask someone
    "#);
    let colored = failure::text(&an_error(), COLOR);
    assert!(colored.contains('\u{1b}'));
    insta::assert_snapshot!(failure::json(&an_error()), @r#"
    {"kind":"input","exitCode":2,"message":"unknown key `timeot`","file":"deploy/steady.yaml","line":2,"column":23,"hints":["did you mean `timeout`?"],"others":[{"kind":"input","exitCode":2,"message":"`cluster` has to be a string","file":"deploy/steady.yaml","line":3,"column":10},{"kind":"preflight","exitCode":3,"message":"ECS.DescribeClusters failed","causes":["the connection was closed"],"hints":["try again","or ask someone"]}]}
    "#);
}

#[test]
fn a_cause_that_is_already_quoted_is_not_said_twice() {
    let inner = std::io::Error::other("no route to host");
    let error = Error::other("cannot reach ECR: no route to host").cause(inner);
    assert_eq!(failure::json(&error).get("causes"), None);
    assert_eq!(failure::text(&error, PLAIN).matches("no route").count(), 1);
}

#[test]
fn results_as_text() {
    let deploy = json!({
        "status": "steady", "service": "hello", "cluster": "lab", "deploymentId": "ecs-svc/1",
        "taskDefinition": "arn:aws:ecs:us-west-2:1:task-definition/hello:7", "image": "r@sha256:1", "digest": null,
        "url": "http://127.64.0.1:8080", "previousTaskDefinition": "arn:aws:ecs:us-west-2:1:task-definition/hello:6",
        "tags": ["v1", "latest"], "revisionReused": false, "durationMs": 2345
    });
    insta::assert_snapshot!(result::text(&deploy, PLAIN), @r#"
    hello on lab is steady after 2.3s
      deployment id             ecs-svc/1
      task definition           hello:7
      image                     r@sha256:1
      url                       http://127.64.0.1:8080
      previous task definition  hello:6
      tags                      v1, latest
      revision reused           no
    "#);
    let status = json!({
        "status": "inProgress", "service": "hello", "cluster": "lab", "desiredCount": 2, "nothing": [],
        "tasks": [{
            "id": "1a2b", "taskDefinition": "arn:aws:ecs:us-west-2:1:task-definition/hello:7",
            "containers": [{ "name": "web", "digest": "sha256:0123456789abcdef", "exitCode": null }, { "name": "side", "exitCode": 1 }]
        }],
        "targets": [{ "target": "10.0.0.7:80", "state": "healthy", "reason": null }, { "target": "10.0.0.8:80", "state": "unhealthy", "reason": "Target.Timeout" }]
    });
    insta::assert_snapshot!(result::text(&status, PLAIN), @r#"
    hello on lab is in progress
      desired count  2

    tasks
     ID    TASK DEFINITION  CONTAINERS
     1a2b  hello:7          web digest=0123456789ab, side exit code=1

    targets
     TARGET       STATE      REASON
     10.0.0.7:80  healthy
     10.0.0.8:80  unhealthy  Target.Timeout
    "#);
    let revisions = json!([
        { "revision": 7, "taskDefinition": "arn:aws:ecs:us-west-2:1:task-definition/hello:7", "registeredAt": 1_700_000_000_000i64, "active": true, "image": "r/hello@sha256:0123456789abcdef" },
        { "revision": 6, "taskDefinition": "arn:aws:ecs:us-west-2:1:task-definition/hello:6", "registeredAt": 1_600_000_000_000i64, "active": false, "image": null },
    ]);
    insta::assert_snapshot!(result::text(&revisions, PLAIN), @r#"
    REVISION  TASK DEFINITION  REGISTERED AT         ACTIVE  IMAGE
    7         hello:7          2023-11-14 22:13:20Z  yes     r/hello@0123456789ab
    6         hello:6          2020-09-13 12:26:40Z  no
    "#);
    assert_eq!(result::text(&json!([]), PLAIN), "");
    assert_eq!(result::text(&json!("a\nb"), PLAIN), "a\nb\n");
}

#[test]
fn words_for_values() {
    let ms = std::time::Duration::from_millis;
    for (took, expected) in
        [(0, "0ms"), (999, "999ms"), (1_000, "1.0s"), (59_999, "59.9s"), (60_000, "1m00s"), (3_725_000, "62m05s")]
    {
        assert_eq!(words::duration(ms(took)), expected);
    }
    for (size, expected) in
        [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB")]
    {
        assert_eq!(words::bytes(size), expected);
    }
    for (digest, expected) in
        [("sha256:0123456789abcdef", "0123456789ab"), ("short", "short"), ("sha256:é12345678901234", "é1234567890")]
    {
        assert_eq!(words::digest(digest), expected);
    }
    for (arn, expected) in [
        ("arn:aws:ecs:r:1:task-definition/hello:7", "hello:7"),
        ("arn:aws:elasticloadbalancing:r:1:targetgroup/web/50dc6c495c0c9188", "web"),
        ("hello", "hello"),
    ] {
        assert_eq!(words::short_arn(arn), expected);
    }
    assert_eq!(words::exit_code(137), "exit code 137 (SIGKILL)");
    assert_eq!(words::exit_code(1), "exit code 1");
}
