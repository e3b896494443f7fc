//! What is shown for events, results and errors, and how it is chosen.

mod failures_and_results;
mod progress;
mod transfers;

use std::collections::HashMap;

use serde_json::json;
use steadystate::deploy::event::{BlobState, ContainerExit, Event, ResourceAction, Step};
use steadystate::error::{Error, Kind, SourceText};
use steadystate::report::choose::{self, Progress, Show, Style, Terminal};
use steadystate::report::{Seen, failure, lines::Lines, result, words};

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
