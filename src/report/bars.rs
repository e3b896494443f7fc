//! Bars: a spinner for the step that is going on, a bar for each layer on its way. indicatif's only user.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::choose::Style;
use super::escape;
use super::lines::{Lines, deployment, step_name};
use super::stages;
use super::transfers;
use crate::deploy::event::{BlobState, Event, Step};

pub struct Bars {
    all: MultiProgress,
    lines: Lines,
    style: Style,
    steps: Vec<(Step, ProgressBar)>,
    /// Of blobs that move.
    rows: HashMap<String, ProgressBar>,
    most_rows: usize,
    /// The stage of a deployment that shifts traffic.
    stage: Option<String>,
    /// When the rows were last drawn.
    drawn: Duration,
    began: Instant,
}

/// Columns of a terminal that does not say.
const WIDTH: usize = 80;

/// More bars than this say less.
const MOST_ROWS: usize = 16;

const REDRAW: Duration = Duration::from_millis(100);

impl Bars {
    /// `rows` are those of the terminal, if it says.
    pub fn new(target: ProgressDrawTarget, style: Style, rows: Option<usize>) -> Self {
        // Room for the steps, and for the cursor.
        let most_rows = rows.map_or(MOST_ROWS, |rows| rows.saturating_sub(5)).clamp(1, MOST_ROWS);
        Bars {
            all: MultiProgress::with_draw_target(target),
            lines: Lines::new(style),
            style,
            steps: Vec::new(),
            rows: HashMap::new(),
            most_rows,
            stage: None,
            drawn: Duration::ZERO,
            began: Instant::now(),
        }
    }

    pub fn show(&mut self, event: &Event) {
        self.show_at(event, self.began.elapsed());
    }

    /// An event at a time since these bars began.
    pub fn show_at(&mut self, event: &Event, at: Duration) {
        match event {
            Event::StepStarted { step } => {
                self.lines.of(event);
                self.start(*step);
            }
            Event::StepFinished { step, .. } => {
                self.end(*step);
                self.print(event);
            }
            Event::Blob { digest, size, sent, state } => self.blob(event, digest, *size, *sent, *state, at),
            Event::Deployment { status, desired, running, pending, failed, .. } => {
                let said = deployment(status, *desired, *running, *pending, *failed);
                // Of two releases side by side the stage says more than the one that changed last.
                if let (Some((_, spinner)), None) = (self.steps.last(), &self.stage) {
                    spinner.set_message(said);
                }
            }
            Event::Stage { .. } => {
                self.print(event);
                self.stage = stages::stage(event);
                if let (Some((_, spinner)), Some(stage)) = (self.steps.last(), &self.stage) {
                    spinner.set_message(stage.clone());
                }
            }
            Event::BuildOutput { line } => match self.steps.iter().find(|(step, _)| *step == Step::Build) {
                // the last line is enough while all goes well; a failure's error repeats what matters
                Some((_, spinner)) => {
                    let line = console::strip_ansi_codes(line);
                    spinner.set_message(escape::line(line.trim()).into_owned());
                }
                None => self.print(event),
            },
            _ => self.print(event),
        }
    }

    /// Takes the bars away while something else is written.
    pub fn beside(&self, write: impl FnOnce()) {
        self.all.suspend(write);
    }

    /// Takes all bars away.
    pub fn close(self) {
        let _ = self.all.clear();
    }

    fn print(&mut self, event: &Event) {
        for line in self.lines.of(event) {
            let _ = self.all.println(line);
        }
    }

    fn start(&mut self, step: Step) {
        self.stage = None;
        let spinner = self.all.add(ProgressBar::new_spinner());
        let template = if self.style.color {
            "{prefix:13.bold} {spinner} {wide_msg:.dim}"
        } else {
            "{prefix:13} {spinner} {wide_msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            spinner.set_style(style.tick_strings(self.ticks()));
        }
        spinner.set_prefix(step_name(step));
        spinner.enable_steady_tick(Duration::from_millis(100));
        self.steps.push((step, spinner));
    }

    fn end(&mut self, step: Step) {
        self.steps.retain(|(running, spinner)| {
            if *running == step {
                spinner.finish_and_clear();
            }
            *running != step
        });
        if matches!(step, Step::Build | Step::Push) {
            self.rows.drain().for_each(|(_, row)| row.finish_and_clear());
        }
    }

    fn blob(&mut self, event: &Event, digest: &str, size: u64, sent: u64, state: BlobState, at: Duration) {
        let (step, _) = self.lines.place(state);
        let moves = matches!(state, BlobState::Compressing | BlobState::Uploading);
        if moves {
            self.lines.transfers.note(digest, size, sent, state, at);
        } else {
            if let Some(row) = self.rows.remove(digest) {
                row.finish_and_clear();
                self.all.remove(&row);
            }
            self.print(event);
        }
        // Not more often than one can read, but for what is new.
        let is_new = moves && !self.rows.contains_key(digest) && self.rows.len() < self.most_rows;
        if !is_new && at.saturating_sub(self.drawn) < REDRAW {
            return;
        }
        self.drawn = at;
        let so_far = self.lines.transfers.so_far(at);
        if let Some((_, spinner)) = self.steps.iter().find(|(running, _)| *running == step) {
            spinner.set_message(so_far);
        }
        let width = self.style.width.unwrap_or(WIDTH);
        for blob in self.lines.transfers.moving() {
            if !self.rows.contains_key(&blob.digest) {
                if self.rows.len() >= self.most_rows {
                    continue;
                }
                let row = self.all.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{msg}") {
                    row.set_style(style);
                }
                self.rows.insert(blob.digest.clone(), row);
            }
            let word = self.lines.place(blob.state).1;
            if let Some(row) = self.rows.get(&blob.digest) {
                row.set_message(transfers::line(blob, word, width, self.style.unicode));
            }
        }
    }

    fn ticks(&self) -> &'static [&'static str] {
        if self.style.unicode {
            &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏", "✓"]
        } else {
            &["-", "\\", "|", "/", "*"]
        }
    }
}
