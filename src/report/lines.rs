//! Events as plain lines: what CI logs and pipes get, and what stands above the bars.

use std::collections::HashMap;
use std::time::Duration;

use super::choose::Style;
use super::escape;
use super::stages;
use super::transfers::Transfers;
use super::words::{self, Tone, toned};
use crate::deploy::event::{BlobState, ContainerExit, Event, ResourceAction, Step};

/// Blobs from this size on say how far they are, a quarter at a time.
const LARGE_BLOB: u64 = 64 << 20;

/// Remembers what it said, so that nothing is said twice in a row.
pub struct Lines {
    style: Style,
    /// Those that go on, the latest last; several do at once.
    steps: Vec<Step>,
    tasks: HashMap<String, String>,
    targets: HashMap<String, String>,
    deployments: HashMap<String, String>,
    quarters: HashMap<String, u64>,
    /// Of the step that goes on.
    pub(super) transfers: Transfers,
    /// The service has told of targets that it registered while we looked.
    registered: bool,
}

pub fn step_name(step: Step) -> &'static str {
    match step {
        Step::Preflight => "preflight",
        Step::Build => "build",
        Step::Login => "login",
        Step::Push => "push",
        Step::Render => "render",
        Step::Register => "register",
        Step::LoadBalancer => "load balancer",
        Step::Before => "before",
        Step::Service => "service",
        Step::Steady => "steady",
        Step::Check => "check",
        Step::After => "after",
        Step::Run => "run",
        Step::Rollback => "rollback",
        Step::Delete => "delete",
    }
}

impl Lines {
    pub fn new(style: Style) -> Self {
        Lines {
            style,
            steps: Vec::new(),
            tasks: HashMap::new(),
            targets: HashMap::new(),
            deployments: HashMap::new(),
            quarters: HashMap::new(),
            transfers: Transfers::default(),
            registered: false,
        }
    }

    /// The lines that an event is worth; most are worth one, repetitions none.
    pub fn of(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::BuildOutput { line } | Event::Output { line } if line.trim().is_empty() => Vec::new(),
            Event::StepStarted { step } => {
                self.steps.retain(|running| running != step);
                self.steps.push(*step);
                // the others are over before they could be read
                match step {
                    Step::Build
                    | Step::Push
                    | Step::Before
                    | Step::Steady
                    | Step::After
                    | Step::Run
                    | Step::Rollback
                    | Step::Delete => {
                        vec![self.quiet("started")]
                    }
                    _ => Vec::new(),
                }
            }
            Event::StepFinished { step, detail, duration_ms } => {
                self.steps.retain(|running| running != step);
                let took = words::duration(Duration::from_millis(*duration_ms));
                let done = toned("done", Tone::Good, self.style);
                let detail = if detail.is_empty() {
                    String::new()
                } else {
                    format!(": {}", escape::line(&words::shorter(detail)))
                };
                let mut lines = Vec::new();
                if matches!(step, Step::Build | Step::Push) {
                    let there = if *step == Step::Build { "pulled" } else { "pushed" };
                    let summary = std::mem::take(&mut self.transfers).summary(there);
                    lines.extend(summary.map(|summary| self.under(step_name(*step), &summary)));
                    self.quarters.clear();
                }
                lines.push(self.under(step_name(*step), &format!("{done} in {took}{detail}")));
                lines
            }
            Event::Warning { message, hint } => {
                let warning = toned("warning", Tone::Warning, self.style);
                let mut lines = vec![format!("{warning}: {}", escape::line(message))];
                lines.extend(hint.iter().map(|hint| format!("  help: {}", escape::line(hint))));
                lines
            }
            Event::Notice { message } => vec![self.said(&escape::line(message))],
            Event::BuildOutput { line } => {
                let line = toned(&escape::line(&without_colors(line)), Tone::Quiet, self.style);
                vec![self.under(step_name(Step::Build), &line)]
            }
            Event::Output { line } => vec![self.quiet(&escape::line(&without_colors(line)))],
            Event::Blob { digest, size, sent, state } => self.blob(digest, *size, *sent, *state),
            Event::Resource { action, kind, id } => {
                let (action, step) = match action {
                    ResourceAction::Created => ("created", step_of(kind)),
                    ResourceAction::Updated => ("updated", step_of(kind)),
                    ResourceAction::Deleted => ("deleted", None),
                    ResourceAction::Unchanged => return Vec::new(),
                };
                let text = format!("{action} {} {}", escape::line(kind), escape::line(&words::shorter(id)));
                let step = step.or(self.steps.last().copied());
                vec![self.under(step.map_or("", step_name), &text)]
            }
            Event::ServiceEvent { message, .. } => {
                self.registered |= message.contains(" registered ");
                vec![self.quiet(&format!("event: {}", escape::line(&words::shorter(message))))]
            }
            Event::Deployment { id, status, desired, running, pending, failed } => {
                let said = deployment(status, *desired, *running, *pending, *failed);
                let text = format!("deployment {} {said}", escape::line(id));
                // what was there before is worth a line when it changes
                let is_old = status.starts_with("ACTIVE") || status.starts_with("INACTIVE");
                self.once(|lines| &mut lines.deployments, id, text, is_old)
            }
            Event::Stage { .. } => stages::stage(event).map(|text| self.said(&text)).into_iter().collect(),
            Event::Hook { .. } => {
                let Some((text, below)) = stages::hook(event) else { return Vec::new() };
                let tone = if stages::is_pause(event) { Tone::Warning } else { Tone::Quiet };
                let below = below.iter().map(|line| format!("  help: {line}"));
                std::iter::once(self.said(&toned(&text, tone, self.style))).chain(below).collect()
            }
            Event::Task { id, task_definition, last_status, health, stopped_reason, exit_codes } => {
                let mut text = format!(
                    "task {} of {} {}",
                    escape::line(words::task(id)),
                    escape::line(words::short_arn(task_definition)),
                    words::status(&escape::line(last_status)),
                );
                if let Some(health) = health.as_deref().filter(|health| *health != "UNKNOWN") {
                    text += &format!(", {}", words::status(&escape::line(health)));
                }
                if let Some(why) = stopped(stopped_reason.as_deref(), exit_codes) {
                    text += &toned(&format!(": {}", escape::line(&words::shorter(&why))), Tone::Bad, self.style);
                }
                self.once(|lines| &mut lines.tasks, id, text, false)
            }
            Event::Target { target_group, target, state, reason } => {
                let mut text = format!("target {} {}", escape::line(target), words::status(&escape::line(state)));
                if let Some(reason) = reason {
                    text += &format!(": {}", escape::line(&words::shorter(reason)));
                }
                let is_old = match state.as_str() {
                    "draining" | "unused" => true,
                    "healthy" => !self.registered,
                    _ => false,
                };
                self.once(|lines| &mut lines.targets, &format!("{target_group} {target}"), text, is_old)
            }
            Event::Log { task, container, line } => {
                let from = format!("log {} {} | ", escape::line(words::task(task)), escape::line(container));
                vec![self.quiet(&(from + &escape::line(&without_colors(line))))]
            }
        }
    }

    fn blob(&mut self, digest: &str, size: u64, sent: u64, state: BlobState) -> Vec<String> {
        let is_done = self.transfers.note(digest, size, sent, state, Duration::ZERO);
        let (name, total) = (escape::line(words::digest(digest)).into_owned(), words::bytes(size));
        let (step, word) = self.place(state);
        match state {
            BlobState::Checking | BlobState::Abandoned => Vec::new(),
            BlobState::Exists | BlobState::Mounted | BlobState::Pushed => {
                // The summary counts them all.
                let is_worth_it = is_done && (!self.transfers.are_many() || size >= LARGE_BLOB);
                let line = is_worth_it.then(|| self.under(step_name(step), &format!("{name} {word}, {total}")));
                line.into_iter().collect()
            }
            BlobState::Compressing | BlobState::Uploading if size < LARGE_BLOB => Vec::new(),
            BlobState::Compressing | BlobState::Uploading => {
                let quarter = sent.saturating_mul(4) / size;
                let before = self.quarters.insert(digest.to_owned(), quarter);
                if before == Some(quarter) || quarter == 4 {
                    return Vec::new();
                }
                vec![self.under(step_name(step), &format!("{name} {word}, {} % of {total}", quarter * 25))]
            }
        }
    }

    /// Whose blobs these are, and what their state is called there: a build may pull its base while the login goes on.
    pub(super) fn place(&self, state: BlobState) -> (Step, &'static str) {
        let builds = self.steps.contains(&Step::Build);
        let word = match state {
            BlobState::Checking => "checking",
            BlobState::Exists => "exists",
            BlobState::Mounted => "mounted",
            BlobState::Compressing => "compressing",
            BlobState::Uploading if builds => "downloading",
            BlobState::Uploading => "uploading",
            BlobState::Pushed if builds => "pulled",
            BlobState::Pushed => "pushed",
            BlobState::Abandoned => "abandoned",
        };
        (if builds { Step::Build } else { Step::Push }, word)
    }

    /// Nothing if it was said last; nor, for what `is_old`, if it is seen for the first time.
    fn once(
        &mut self,
        said: impl Fn(&mut Self) -> &mut HashMap<String, String>,
        id: &str,
        text: String,
        is_old: bool,
    ) -> Vec<String> {
        match said(self).insert(id.to_owned(), text.clone()) {
            Some(before) if before == text => Vec::new(),
            None if is_old => Vec::new(),
            _ => vec![self.said(&text)],
        }
    }

    fn said(&self, text: &str) -> String {
        self.under(self.steps.last().copied().map_or("", step_name), text)
    }

    fn quiet(&self, text: &str) -> String {
        self.said(&toned(text, Tone::Quiet, self.style))
    }

    fn under(&self, name: &str, text: &str) -> String {
        if name.is_empty() {
            return text.trim_end().to_owned();
        }
        // padded before it is coloured, or the colours would count as columns
        let name = format!("{name:<13}");
        format!("{} {text}", toned(&name, Tone::Strong, self.style)).trim_end().to_owned()
    }
}

/// Steps go on at once, and resources tell by their kind whose they are.
fn step_of(kind: &str) -> Option<Step> {
    match kind {
        "repository" | "repository policy" | "tag mutability" | "scan on push" => Some(Step::Push),
        "task definition" => Some(Step::Register),
        "load balancer" | "target group" | "listener" | "health check" | "deregistration delay" => {
            Some(Step::LoadBalancer)
        }
        // Made beside the load balancer, without a step of their own.
        "namespace" | "Cloud Map service" => Some(Step::Service),
        _ => None,
    }
}

/// `in progress: 1 of 2 running, 1 pending, 3 failed`
pub fn deployment(status: &str, desired: i64, running: i64, pending: i64, failed: i64) -> String {
    let mut text = format!("{}: {running} of {desired} running", words::status(&escape::line(status)));
    for (count, name) in [(pending, "pending"), (failed, "failed")] {
        if count > 0 {
            text += &format!(", {count} {name}");
        }
    }
    text
}

fn stopped(reason: Option<&str>, exits: &[ContainerExit]) -> Option<String> {
    let containers: Vec<String> = exits
        .iter()
        .filter(|exit| exit.exit_code.is_some() || exit.reason.is_some())
        .map(|exit| {
            let code = exit.exit_code.map(words::exit_code);
            let parts: Vec<&str> = code.as_deref().into_iter().chain(exit.reason.as_deref()).collect();
            format!("{} {}", exit.container, parts.join(", "))
        })
        .collect();
    match (reason, containers.is_empty()) {
        (None, true) => None,
        (Some(reason), true) => Some(reason.to_owned()),
        (None, false) => Some(containers.join("; ")),
        (Some(reason), false) => Some(format!("{reason} ({})", containers.join("; "))),
    }
}

/// A line from outside that may go to a terminal.
pub fn harmless(line: &str) -> String {
    escape::line(&without_colors(line)).into_owned()
}

/// Colours are what builds and programs write most; shown as escapes they would drown the text.
fn without_colors(line: &str) -> std::borrow::Cow<'_, str> {
    console::strip_ansi_codes(line)
}
