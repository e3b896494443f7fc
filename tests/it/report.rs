//! What is shown for events, results and errors, and how it is chosen.

use std::collections::HashMap;

use serde_json::json;
use steadystate::deploy::event::{BlobState, ContainerExit, Event, ResourceAction, Step};
use steadystate::error::{Error, Kind, SourceText};
use steadystate::report::choose::{self, Progress, Show, Style, Terminal};
use steadystate::report::{Seen, escape, failure, lines::Lines, result, words};

const PLAIN: Style = Style { color: false, unicode: true, width: None };
const ASCII: Style = Style { color: false, unicode: false, width: None };
const COLOR: Style = Style { color: true, unicode: true, width: None };

fn terminal(variables: &[(&str, &str)], stderr_tty: bool) -> Terminal {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    Terminal::new(|name| variables.get(name).map(|value| (*value).to_owned()), stderr_tty, stderr_tty)
}

#[test]
fn progress_is_chosen_from_the_flag_and_the_terminal() {
    let xterm = ("TERM", "xterm-256color");
    for (flag, variables, tty, expected) in [
        (Progress::Auto, vec![xterm], true, Show::Bars),
        (Progress::Auto, vec![xterm], false, Show::Lines),
        (Progress::Auto, vec![xterm, ("CI", "true")], true, Show::Lines),
        (Progress::Auto, vec![xterm, ("CI", "")], true, Show::Bars),
        (Progress::Auto, vec![xterm, ("CI", "false")], true, Show::Bars),
        (Progress::Auto, vec![("TERM", "dumb")], true, Show::Lines),
        (Progress::Auto, vec![], true, Show::Lines),
        (Progress::Auto, vec![xterm, ("NO_COLOR", "1")], true, Show::Bars),
        (Progress::Bars, vec![xterm, ("CI", "true")], true, Show::Bars),
        (Progress::Bars, vec![xterm], false, Show::Lines),
        (Progress::Bars, vec![("TERM", "dumb")], true, Show::Lines),
        (Progress::Lines, vec![xterm], true, Show::Lines),
        (Progress::Json, vec![xterm], true, Show::Json),
        (Progress::Json, vec![], false, Show::Json),
        (Progress::None, vec![xterm], true, Show::None),
    ] {
        assert_eq!(choose::progress(flag, &terminal(&variables, tty)), expected, "{flag:?} {variables:?} {tty}");
    }
}

#[test]
fn colour_and_unicode_are_chosen_from_the_terminal() {
    let xterm = ("TERM", "xterm");
    let utf8 = ("LANG", "en_US.UTF-8");
    for (variables, tty, color, unicode) in [
        (vec![xterm, utf8], true, true, true),
        (vec![xterm, ("LC_ALL", "C"), utf8], true, true, false),
        (vec![xterm, ("LC_ALL", ""), ("LC_CTYPE", "C.utf8")], true, true, true),
        (vec![xterm], true, true, false),
        (vec![xterm, utf8, ("NO_COLOR", "1")], true, false, true),
        (vec![xterm, utf8, ("NO_COLOR", "")], true, true, true),
        (vec![xterm, utf8], false, false, true),
        (vec![xterm, utf8, ("CLICOLOR_FORCE", "1")], false, true, true),
        (vec![xterm, ("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true, false, false),
        (vec![("TERM", "dumb"), utf8], true, false, false),
    ] {
        let style = choose::style(tty, &terminal(&variables, tty));
        assert_eq!((style.color, style.unicode), (color, unicode), "{variables:?} {tty}");
    }
}

fn shown(events: &[Event], style: Style) -> String {
    let mut lines = Lines::new(style);
    events.iter().flat_map(|event| lines.of(event)).map(|line| line + "\n").collect()
}

fn started(step: Step) -> Event {
    Event::StepStarted { step }
}

fn finished(step: Step, detail: &str, duration_ms: u64) -> Event {
    Event::StepFinished { step, detail: detail.into(), duration_ms }
}

fn blob(digit: char, size: u64, sent: u64, state: BlobState) -> Event {
    Event::Blob { digest: format!("sha256:{}", String::from(digit).repeat(64)), size, sent, state }
}

fn task(last_status: &str, health: Option<&str>, reason: Option<&str>, exits: Vec<ContainerExit>) -> Event {
    Event::Task {
        id: "arn:aws:ecs:us-west-2:123456789012:task/lab/1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d".into(),
        task_definition: "arn:aws:ecs:us-west-2:123456789012:task-definition/hello:7".into(),
        last_status: last_status.into(),
        health: health.map(str::to_owned),
        stopped_reason: reason.map(str::to_owned),
        exit_codes: exits,
    }
}

fn deployment(status: &str, running: i64, pending: i64, failed: i64) -> Event {
    Event::Deployment {
        id: "ecs-svc/1234567890123456789".into(),
        status: status.into(),
        desired: 1,
        running,
        pending,
        failed,
    }
}

fn target(state: &str, reason: Option<&str>) -> Event {
    let reason = reason.map(str::to_owned);
    Event::Target {
        target_group: "arn:aws:x:y:z:targetgroup/hello/1".into(),
        target: "10.0.0.7:8080".into(),
        state: state.into(),
        reason,
    }
}

fn service_event(message: &str) -> Event {
    Event::ServiceEvent { id: "1".into(), created_at: 0, message: message.into() }
}

fn a_good_deploy() -> Vec<Event> {
    vec![
        started(Step::Preflight),
        finished(Step::Preflight, "arn:aws:iam::123456789012:user/ci", 84),
        started(Step::Build),
        Event::BuildOutput { line: "\u{1b}[1m\u{1b}[32m   Compiling\u{1b}[0m hello v0.1.0".into() },
        finished(Step::Build, "2 layers", 65_432),
        started(Step::Push),
        blob('a', 3 << 20, 0, BlobState::Checking),
        blob('a', 3 << 20, 0, BlobState::Exists),
        blob('b', 200 << 20, 0, BlobState::Uploading),
        blob('b', 200 << 20, 1 << 20, BlobState::Uploading),
        blob('b', 200 << 20, 110 << 20, BlobState::Uploading),
        blob('b', 200 << 20, 200 << 20, BlobState::Uploading),
        blob('b', 200 << 20, 200 << 20, BlobState::Pushed),
        blob('c', 312, 312, BlobState::Uploading),
        blob('c', 312, 312, BlobState::Mounted),
        finished(Step::Push, "sha256:4f2a", 1_999),
        started(Step::Register),
        finished(Step::Register, "hello:7", 12),
        started(Step::LoadBalancer),
        Event::Resource { action: ResourceAction::Created, kind: "load balancer".into(), id: "hello".into() },
        Event::Resource { action: ResourceAction::Unchanged, kind: "listener".into(), id: "80".into() },
        finished(Step::LoadBalancer, "", 5),
        started(Step::Service),
        Event::Resource { action: ResourceAction::Updated, kind: "service".into(), id: "hello".into() },
        finished(Step::Service, "ecs-svc/1234567890123456789", 40),
        started(Step::Steady),
        deployment("IN_PROGRESS", 0, 1, 0),
        deployment("IN_PROGRESS", 0, 1, 0),
        task("PENDING", Some("UNKNOWN"), None, vec![]),
        task("RUNNING", Some("HEALTHY"), None, vec![]),
        task("RUNNING", Some("HEALTHY"), None, vec![]),
        target("initial", Some("Elb.RegistrationInProgress")),
        target("healthy", None),
        service_event("(service hello) has reached a steady state."),
        Event::Log {
            task: "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d".into(),
            container: "hello".into(),
            line: "listening".into(),
        },
        deployment("COMPLETED", 1, 0, 0),
        finished(Step::Steady, "1 task, 1 healthy target", 4_210),
        started(Step::Check),
        finished(Step::Check, "http://127.64.0.1:8080/healthz answered 200", 3),
    ]
}

#[test]
fn a_good_deploy_in_lines() {
    insta::assert_snapshot!(shown(&a_good_deploy(), PLAIN), @r#"
    preflight     done in 84ms: arn:aws:iam::123456789012:user/ci
    build         started
    build            Compiling hello v0.1.0
    build         done in 1m05s: 2 layers
    push          started
    push          aaaaaaaaaaaa exists, 3.0 MiB
    push          bbbbbbbbbbbb uploading, 0 % of 200.0 MiB
    push          bbbbbbbbbbbb uploading, 50 % of 200.0 MiB
    push          bbbbbbbbbbbb pushed, 200.0 MiB
    push          cccccccccccc mounted, 312 B
    push          done in 1.9s: sha256:4f2a
    register      done in 12ms: hello:7
    load balancer created load balancer hello
    load balancer done in 5ms
    service       updated service hello
    service       done in 40ms: ecs-svc/1234567890123456789
    steady        started
    steady        deployment ecs-svc/1234567890123456789 in progress: 0 of 1 running, 1 pending
    steady        task 1a2b3c4d of hello:7 pending
    steady        task 1a2b3c4d of hello:7 running, healthy
    steady        target 10.0.0.7:8080 initial: Elb.RegistrationInProgress
    steady        target 10.0.0.7:8080 healthy
    steady        event: (service hello) has reached a steady state.
    steady        log 1a2b3c4d hello | listening
    steady        deployment ecs-svc/1234567890123456789 completed: 1 of 1 running
    steady        done in 4.2s: 1 task, 1 healthy target
    check         done in 3ms: http://127.64.0.1:8080/healthz answered 200
    "#);
}

#[test]
fn a_crash_loop_in_lines() {
    let exit = |exit_code, reason: Option<&str>| ContainerExit {
        container: "hello".into(),
        exit_code,
        reason: reason.map(str::to_owned),
    };
    let events = vec![
        started(Step::Steady),
        task("STOPPED", None, Some("Essential container in task exited"), vec![exit(Some(1), None)]),
        task(
            "STOPPED",
            None,
            Some("Essential container in task exited"),
            vec![exit(Some(137), Some("OutOfMemoryError: Container killed due to memory usage"))],
        ),
        task("STOPPED", None, None, vec![exit(None, Some("CannotPullContainerError: not found")), exit(None, None)]),
        task("STOPPED", None, Some("Scaling activity initiated by (deployment ecs-svc/1)"), vec![]),
        target("unhealthy", Some("Target.ResponseCodeMismatch")),
        deployment("IN_PROGRESS", 0, 0, 3),
        service_event("(service hello) (deployment ecs-svc/1) deployment failed: tasks failed to start."),
        Event::Warning { message: "the deployment failed".into(), hint: Some("steady rolls back".into()) },
        started(Step::Rollback),
        Event::Notice { message: "back to hello:6".into() },
        finished(Step::Rollback, "hello:6", 61_000),
    ];
    insta::assert_snapshot!(shown(&events, PLAIN), @r#"
    steady        started
    steady        task 1a2b3c4d of hello:7 stopped: Essential container in task exited (hello exit code 1)
    steady        task 1a2b3c4d of hello:7 stopped: Essential container in task exited (hello exit code 137 (SIGKILL), OutOfMemoryError: Container killed due to memory usage)
    steady        task 1a2b3c4d of hello:7 stopped: hello CannotPullContainerError: not found
    steady        task 1a2b3c4d of hello:7 stopped: Scaling activity initiated by (deployment ecs-svc/1)
    steady        target 10.0.0.7:8080 unhealthy: Target.ResponseCodeMismatch
    steady        deployment ecs-svc/1234567890123456789 in progress: 0 of 1 running, 3 failed
    steady        event: (service hello) (deployment ecs-svc/1) deployment failed: tasks failed to start.
    warning: the deployment failed
      help: steady rolls back
    rollback      started
    rollback      back to hello:6
    rollback      done in 1m01s: hello:6
    "#);
}

#[test]
fn colours_change_nothing_but_colours() {
    let colored = shown(&a_good_deploy(), COLOR);
    assert!(colored.contains("\u{1b}[32mdone\u{1b}[0m"), "{colored}");
    assert_eq!(console::strip_ansi_codes(&colored), shown(&a_good_deploy(), PLAIN));
}

#[test]
fn nothing_from_outside_reaches_a_terminal_as_it_is() {
    let evil = "a\u{1b}]0;owned\u{7}b\u{9b}31mc\u{202e}d\u{2066}e\rf\ng\u{200b}h\u{0}i";
    let events = [
        finished(Step::Build, evil, 1),
        Event::Warning { message: evil.into(), hint: Some(evil.into()) },
        Event::Notice { message: evil.into() },
        Event::BuildOutput { line: evil.into() },
        Event::Blob { digest: evil.into(), size: 1, sent: 1, state: BlobState::Pushed },
        Event::Resource { action: ResourceAction::Created, kind: evil.into(), id: evil.into() },
        service_event(evil),
        Event::Deployment { id: evil.into(), status: evil.into(), desired: 1, running: 1, pending: 0, failed: 0 },
        Event::Task {
            id: evil.into(),
            task_definition: evil.into(),
            last_status: evil.into(),
            health: Some(evil.into()),
            stopped_reason: Some(evil.into()),
            exit_codes: vec![ContainerExit { container: evil.into(), exit_code: Some(1), reason: Some(evil.into()) }],
        },
        Event::Target { target_group: evil.into(), target: evil.into(), state: evil.into(), reason: Some(evil.into()) },
        Event::Log { task: evil.into(), container: evil.into(), line: evil.into() },
    ];
    let harmless =
        |text: &str| !text.chars().any(|c| (c.is_control() && c != '\n') || "\u{202e}\u{2066}\u{200b}".contains(c));
    for event in &events {
        let lines = Lines::new(PLAIN).of(event);
        assert!(!lines.is_empty() && lines.iter().all(|line| harmless(line) && !line.contains('\n')), "{lines:?}");
    }
    let source = SourceText::new("x.json", format!("first\n{evil} here\n"));
    let at = source.text.find("here").unwrap();
    let error = Error::input(evil).at(&source, at..at + 4, Some(evil)).hint(evil).cause(std::io::Error::other(evil));
    assert!(harmless(&failure::text(&error, PLAIN)), "{:?}", failure::text(&error, PLAIN));
    let value = json!({ "status": evil, "service": evil, "cluster": evil, "x": evil, "rows": [{ "a": evil }], "map": { "k": evil } });
    assert!(harmless(&result::text(&value, PLAIN)), "{:?}", result::text(&value, PLAIN));
    assert_eq!(failure::json(&error)["message"], evil, "JSON carries it as it is");
    assert_eq!(escape::line("plain"), "plain");
    assert_eq!(escape::line("a\tb\u{1b}"), "a\\tb\\u{1b}");
    assert_eq!(escape::block("a\tb\n\u{85}"), "a\tb\n\\u{85}");
}

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
        "status": "ACTIVE", "service": "hello", "cluster": "lab", "desiredCount": 2, "nothing": [],
        "targets": [{ "target": "10.0.0.7:80", "state": "healthy", "reason": null }, { "target": "10.0.0.8:80", "state": "unhealthy", "reason": "Target.Timeout" }]
    });
    insta::assert_snapshot!(result::text(&status, PLAIN), @r#"
    hello on lab is active
      desired count  2

    targets
     TARGET       STATE      REASON
     10.0.0.7:80  healthy
     10.0.0.8:80  unhealthy  Target.Timeout
    "#);
    let revisions = json!([
        { "revision": 7, "taskDefinition": "arn:aws:ecs:us-west-2:1:task-definition/hello:7", "registeredAt": 1_700_000_000_000i64, "active": true, "digest": null },
        { "revision": 6, "taskDefinition": "arn:aws:ecs:us-west-2:1:task-definition/hello:6", "registeredAt": 1_600_000_000_000i64, "active": false, "digest": null },
    ]);
    insta::assert_snapshot!(result::text(&revisions, PLAIN), @r#"
    REVISION  TASK DEFINITION  REGISTERED AT         ACTIVE
    7         hello:7          2023-11-14 22:13:20Z  yes
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

#[test]
fn what_was_seen_tells_how_to_resume() {
    for (events, expected) in [
        (vec![started(Step::Build)], Seen { last_step: Some(Step::Build), service_changed: false }),
        (vec![started(Step::Service)], Seen { last_step: Some(Step::Service), service_changed: false }),
        (a_good_deploy(), Seen { last_step: Some(Step::Check), service_changed: true }),
    ] {
        let mut seen = Seen::default();
        events.iter().for_each(|event| seen.note(event));
        assert_eq!(seen, expected);
    }
}
