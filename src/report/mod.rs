//! Shows events, results and errors: bars, lines or JSON. The only place that writes to stdout and stderr.

pub mod bars;
pub mod changes;
pub mod checks;
pub mod choose;
pub mod escape;
pub mod failure;
pub mod lines;
pub mod result;
pub mod stages;
pub mod transfers;
pub mod words;

use std::io::{self, Write};

use indicatif::ProgressDrawTarget;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

pub use choose::{Output, Progress, Show, Style, Terminal};

use crate::deploy::event::{Event, ResourceAction, Step};
use crate::error::Error;

/// Where everything of one run is shown.
#[derive(Debug, Clone, Copy)]
pub struct Display {
    pub output: Output,
    pub show: Show,
    /// Stdout is a terminal.
    pub stdout_tty: bool,
    pub stdout: Style,
    pub stderr: Style,
    /// Rows of the terminal that bars are drawn on.
    pub rows: Option<usize>,
    /// What containers log is the result, and goes to stdout.
    pub logs_are_the_result: bool,
}

/// What a run had done by its end, as its events tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    pub last_step: Option<Step>,
    /// The service was created or updated, so a deployment goes on at AWS's side.
    pub service_changed: bool,
    /// By this run, so that there is no release before.
    pub service_created: bool,
    /// Something runs at AWS beside the service.
    pub runs_task: bool,
    /// What comes after the release has not begun.
    pub leaves_after: bool,
}

impl Seen {
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step } => {
                self.last_step = Some(*step);
                self.runs_task = false;
                self.service_changed |= matches!(step, Step::Steady | Step::Rollback);
            }
            Event::Resource { action: action @ (ResourceAction::Created | ResourceAction::Updated), kind, .. } => {
                let is_service = kind.eq_ignore_ascii_case("service");
                self.service_changed |= is_service;
                self.service_created |= is_service && *action == ResourceAction::Created;
            }
            Event::Task { .. } => self.runs_task = true,
            _ => {}
        }
    }
}

impl Display {
    pub fn new(output: Output, progress: Progress, terminal: &Terminal) -> Self {
        Display {
            output,
            show: choose::progress(progress, terminal),
            stdout_tty: terminal.stdout_tty,
            stdout: choose::style(terminal.stdout_tty, terminal),
            stderr: choose::style(terminal.stderr_tty, terminal),
            rows: terminal.height,
            logs_are_the_result: false,
        }
    }

    /// Shows events until the last sender is gone, each as `told` tells it.
    pub async fn events(self, mut events: UnboundedReceiver<Event>, told: impl Fn(Event) -> Event) -> Seen {
        let mut seen = Seen::default();
        let mut bars =
            (self.show == Show::Bars).then(|| bars::Bars::new(ProgressDrawTarget::stderr(), self.stderr, self.rows));
        let mut lines = lines::Lines::new(self.stderr);
        while let Some(event) = events.recv().await {
            let event = told(event);
            seen.note(&event);
            if let (Event::Log { line, .. }, true) = (&event, self.logs_are_the_result) {
                let line = if self.stdout_tty { lines::harmless(line) } else { line.clone() };
                match &bars {
                    Some(bars) => bars.beside(|| to_stdout(&format!("{line}\n"))),
                    None => to_stdout(&format!("{line}\n")),
                }
                continue;
            }
            match self.show {
                Show::Bars => {
                    if let Some(bars) = &mut bars {
                        bars.show(&event);
                    }
                }
                Show::Lines => lines.of(&event).iter().for_each(|line| to_stderr(&format!("{line}\n"))),
                Show::Json => {
                    if let Ok(line) = serde_json::to_string(&event) {
                        to_stderr(&format!("{line}\n"));
                    }
                }
                Show::None if matches!(event, Event::Warning { .. }) || stages::is_pause(&event) => {
                    lines.of(&event).iter().for_each(|line| to_stderr(&format!("{line}\n")));
                }
                Show::None => {}
            }
        }
        if let Some(bars) = bars {
            bars.close();
        }
        seen
    }

    /// Prints the result: as it is documented, or for people.
    pub fn result(&self, result: &Value) {
        to_stdout(&match self.output {
            Output::Json => pretty(result),
            Output::Text => result::text(result, self.stdout),
        });
    }

    /// Prints the error on stderr; with `--output json` stdout gets an object too.
    pub fn failure(&self, error: &Error) {
        // Before the error: what to do next stands last.
        if let (Output::Text, Some(results)) = (self.output, error.results()) {
            to_stdout(&result::text(results, self.stdout));
        }
        to_stderr(&match self.show {
            Show::Json => format!("{}\n", json!({ "event": "failed", "error": failure::json(error) })),
            _ => failure::text(error, self.stderr),
        });
        let mut ended = json!({ "status": error.kind().name(), "error": failure::json(error) });
        if self.output == Output::Json {
            if let Some(results) = error.results() {
                ended["results"] = results.clone();
            }
            to_stdout(&pretty(&ended));
        }
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A reader that went away is no error of ours.
pub fn to_stdout(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

pub fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
