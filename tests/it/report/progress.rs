//! Events as lines and as bars.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{ProgressDrawTarget, TermLike};
use steadystate::report::bars::Bars;

use super::*;

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
    push          3 blobs: 1 exists, 1 mounted, 1 pushed (200.0 MiB of 203.0 MiB)
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
fn what_goes_on_side_by_side_keeps_its_own_name() {
    let created =
        |kind: &str| Event::Resource { action: ResourceAction::Created, kind: kind.into(), id: "hello".into() };
    let blob = Event::Blob { digest: format!("sha256:{}", "a".repeat(64)), size: 9, sent: 9, state: BlobState::Pushed };
    let events = vec![
        started(Step::Build),
        started(Step::Login),
        Event::BuildOutput { line: "Finished `release` profile".into() },
        blob.clone(),
        finished(Step::Build, "", 1),
        blob,
        started(Step::LoadBalancer),
        started(Step::Register),
        created("target group"),
        created("Cloud Map service"),
        started(Step::LoadBalancer),
        created("task definition"),
    ];
    insta::assert_snapshot!(shown(&events, PLAIN), @r#"
    build         started
    build         Finished `release` profile
    build         aaaaaaaaaaaa pulled, 9 B
    build         1 blob: 1 pulled (9 B of 9 B)
    build         done in 1ms
    push          aaaaaaaaaaaa pushed, 9 B
    load balancer created target group hello
    service       created Cloud Map service hello
    register      created task definition hello
    "#);
}

#[test]
fn a_canary_with_a_pause_in_lines() {
    let stage = |stage: &str, share: f64, old_tasks: i64, bakes_ms: Option<u64>| Event::Stage {
        strategy: "CANARY".into(),
        stage: stage.into(),
        production_traffic: Some(share),
        test_traffic: (share > 0.0).then_some(100.0),
        new_tasks: 2,
        old_tasks,
        bakes_ms,
    };
    let hook = |kind: &str, status: &str, target: Option<&str>, hints: &[&str]| Event::Hook {
        id: "ecs-pause-1".into(),
        kind: kind.into(),
        target: target.map(str::to_owned),
        stage: "POST_TEST_TRAFFIC_SHIFT".into(),
        status: status.into(),
        expires_at: Some(1_700_000_000_000),
        on_timeout: "ROLLBACK".into(),
        hints: hints.iter().map(|hint| (*hint).to_owned()).collect(),
    };
    let hints = ["let it go on: `steady continue --lab`", "without an answer ECS rolls back in 59 min"];
    let events = vec![
        started(Step::Steady),
        stage("SCALE_UP", 0.0, 2, Some(1_200_000)),
        hook("AWS_LAMBDA", "IN_PROGRESS", Some("arn:aws:lambda:us-east-1:1:function:check"), &[]),
        hook("PAUSE", "AWAITING_ACTION", None, &hints),
        hook("PAUSE", "SUCCEEDED", None, &[]),
        stage("PRODUCTION_TRAFFIC_SHIFT", 2.5, 1, Some(1_200_000)),
        stage("A_\u{1b}NEW_ONE", 100.0, 0, None),
    ];
    insta::assert_snapshot!(shown(&events, PLAIN), @r#"
    steady        started
    steady        canary: scale up, 0 % of traffic, 2 new and 2 old tasks, 20m to bake
    steady        hook arn:aws:lambda:us-east-1:1:function:check at POST_TEST_TRAFFIC_SHIFT: in progress
    steady        paused at POST_TEST_TRAFFIC_SHIFT, and waits for an answer
      help: let it go on: `steady continue --lab`
      help: without an answer ECS rolls back in 59 min
    steady        hook pause at POST_TEST_TRAFFIC_SHIFT: succeeded
    steady        canary: production traffic shift, 2.5 % of traffic (100 % of test traffic), 2 new and 1 old task, 20m to bake
    steady        canary: a \u{1b}new one, 100 % of traffic (100 % of test traffic), 2 new and 0 old tasks
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
fn what_was_there_before_is_worth_a_line_only_when_it_changes() {
    let deployment = |id: &str, status: &str, running| Event::Deployment {
        id: id.into(),
        status: status.into(),
        desired: 1,
        running,
        pending: 0,
        failed: 0,
    };
    let target = |target: &str, state: &str| Event::Target {
        target_group: "hello".into(),
        target: target.into(),
        state: state.into(),
        reason: None,
    };
    let events = vec![
        started(Step::Steady),
        deployment("ecs-svc/2", "PRIMARY IN_PROGRESS", 0),
        deployment("ecs-svc/1", "ACTIVE COMPLETED", 1),
        target("i-1:32767", "draining"),
        target("i-1:32768", "healthy"),
        service_event("(service hello) registered 1 targets in (target-group hello)"),
        target("i-1:32769", "initial"),
        target("i-1:32769", "healthy"),
        target("i-1:32770", "healthy"),
        target("i-1:32768", "draining"),
        deployment("ecs-svc/1", "ACTIVE COMPLETED", 0),
        target("i-1:32771", "unhealthy"),
    ];
    insta::assert_snapshot!(shown(&events, PLAIN), @r"
    steady        started
    steady        deployment ecs-svc/2 primary in progress: 0 of 1 running
    steady        event: (service hello) registered 1 targets in (target-group hello)
    steady        target i-1:32769 initial
    steady        target i-1:32769 healthy
    steady        target i-1:32770 healthy
    steady        target i-1:32768 draining
    steady        deployment ecs-svc/1 active completed: 0 of 1 running
    steady        target i-1:32771 unhealthy
    ");
}

#[test]
fn colours_change_nothing_but_colours() {
    let colored = shown(&a_good_deploy(), COLOR);
    assert!(colored.contains("\u{1b}[32mdone\u{1b}[0m"), "{colored}");
    assert_eq!(console::strip_ansi_codes(&colored), shown(&a_good_deploy(), PLAIN));
}

#[test]
fn what_was_seen_tells_how_to_resume() {
    for (events, expected) in [
        (vec![started(Step::Build)], Seen { last_step: Some(Step::Build), ..Seen::default() }),
        (vec![started(Step::Service)], Seen { last_step: Some(Step::Service), ..Seen::default() }),
        (a_good_deploy(), Seen { last_step: Some(Step::Check), service_changed: true, ..Seen::default() }),
    ] {
        let mut seen = Seen::default();
        events.iter().for_each(|event| seen.note(event));
        assert_eq!(seen, expected);
    }
}

/// A terminal that keeps what is written to it.
#[derive(Debug, Clone, Default)]
struct Screen(Arc<Mutex<String>>);

impl Screen {
    fn write(&self, text: &str) -> std::io::Result<()> {
        self.0.lock().unwrap().push_str(text);
        Ok(())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        100
    }
    fn height(&self) -> u16 {
        40
    }
    fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn write_line(&self, line: &str) -> std::io::Result<()> {
        self.write(&format!("{line}\n"))
    }
    fn write_str(&self, text: &str) -> std::io::Result<()> {
        self.write(text)
    }
    fn clear_line(&self) -> std::io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn bars_keep_the_lines_above_them_and_show_a_bar_a_layer() {
    let screen = Screen::default();
    let mut bars = Bars::new(ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255), PLAIN, None);
    for (number, event) in a_good_deploy().iter().enumerate() {
        bars.show_at(event, Duration::from_millis(200) * number as u32);
        // The terminal is not written to more often.
        std::thread::sleep(Duration::from_millis(5));
    }
    bars.show(&started(Step::Build));
    bars.show(&Event::BuildOutput { line: "Compiling\u{1b}]0;owned\u{7} hello".into() });
    std::thread::sleep(Duration::from_millis(250));
    bars.close();
    let shown = screen.0.lock().unwrap().clone();
    for expected in [
        "preflight     done in 84ms: arn:aws:iam::123456789012:user/ci",
        "push          aaaaaaaaaaaa exists, 3.0 MiB",
        "bbbbbbbbbbbb uploading   [━━━━━━━━━━━━╸         ]  55 %  200.0 MiB",
        "1 of 2 blobs, 110.0 MiB of 200.0 MiB",
        "push          3 blobs: 1 exists, 1 mounted, 1 pushed (200.0 MiB of 203.0 MiB)",
        "push          bbbbbbbbbbbb pushed, 200.0 MiB",
        "steady        task 1a2b3c4d of hello:7 running, healthy",
        "steady        done in 4.2s: 1 task, 1 healthy target",
        "Compiling",
    ] {
        assert!(shown.contains(expected), "{expected} is not in {shown}");
    }
    assert!(!shown.contains("]0;owned\u{7}"), "{shown}");
    assert!(!shown.contains("uploading, 50 %"), "the bar says it");
}

/// Forty layers on ten rows of forty columns: what does not fit is counted.
#[test]
fn a_small_terminal_has_few_bars_and_all_the_numbers() {
    let screen = Screen::default();
    let style = Style { width: Some(40), ..PLAIN };
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
    let mut bars = Bars::new(target, style, Some(10));
    let digest = |number: usize| format!("sha256:{number:02}{}", "0".repeat(62));
    let event = |number: usize, sent: u64, state| Event::Blob { digest: digest(number), size: 1 << 20, sent, state };
    bars.show_at(&started(Step::Push), Duration::ZERO);
    for number in 0..40 {
        bars.show_at(&event(number, 0, BlobState::Checking), Duration::ZERO);
    }
    for number in 0..8 {
        bars.show_at(&event(number, 1 << 19, BlobState::Uploading), Duration::from_millis(200 * number as u64));
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(50));
    let shown = screen.0.lock().unwrap().clone();
    for number in 0..8 {
        let is_shown = shown.contains(&format!("{number:02}0000000000 uploading"));
        assert_eq!(is_shown, number < 5, "{number}: {shown}");
    }
    // A row that is free goes to the next.
    bars.show_at(&event(0, 1 << 20, BlobState::Pushed), Duration::from_secs(3));
    std::thread::sleep(Duration::from_millis(50));
    let shown = screen.0.lock().unwrap().clone();
    assert!(shown.contains("050000000000 uploading"), "{shown}");
    assert!(shown.contains("1 of 40 blobs"), "{shown}");
    assert!(!shown.contains("000000000000 pushed"), "it is counted: {shown}");
    bars.show_at(&finished(Step::Push, "", 9), Duration::from_secs(4));
    bars.close();
    assert!(screen.0.lock().unwrap().contains("40 blobs: 1 pushed (1.0 MiB of 1.0 MiB)"));
}
