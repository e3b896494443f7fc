//! Bars: a spinner for the step that is going on, a bar for each layer that is pushed. indicatif's only user.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::choose::Style;
use super::escape;
use super::lines::{Lines, deployment, step_name};
use super::words;
use crate::deploy::event::{BlobState, Event, Step};

pub struct Bars {
    all: MultiProgress,
    lines: Lines,
    style: Style,
    steps: Vec<(Step, ProgressBar)>,
    blobs: HashMap<String, ProgressBar>,
}

impl Bars {
    pub fn new(target: ProgressDrawTarget, style: Style) -> Self {
        Bars {
            all: MultiProgress::with_draw_target(target),
            lines: Lines::new(style),
            style,
            steps: Vec::new(),
            blobs: HashMap::new(),
        }
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step } => {
                self.lines.of(event);
                self.start(*step);
            }
            Event::StepFinished { step, .. } => {
                self.end(*step);
                self.print(event);
            }
            Event::Blob { digest, size, sent, state } => self.blob(event, digest, *size, *sent, *state),
            Event::Deployment { status, desired, running, pending, failed, .. } => {
                let said = deployment(status, *desired, *running, *pending, *failed);
                if let Some((_, spinner)) = self.steps.last() {
                    spinner.set_message(said);
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
        if step == Step::Push {
            for bar in self.blobs.drain().map(|(_, bar)| bar) {
                bar.finish_and_clear();
            }
        }
    }

    fn blob(&mut self, event: &Event, digest: &str, size: u64, sent: u64, state: BlobState) {
        match state {
            BlobState::Checking => {}
            BlobState::Uploading => {
                let (all, style) = (&self.all, self.style);
                let bar = self.blobs.entry(digest.to_owned()).or_insert_with(|| layer_bar(all, style, digest, size));
                bar.set_position(sent);
            }
            BlobState::Exists | BlobState::Mounted | BlobState::Pushed => {
                if let Some(bar) = self.blobs.remove(digest) {
                    bar.finish_and_clear();
                }
                self.print(event);
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

fn layer_bar(all: &MultiProgress, style: Style, digest: &str, size: u64) -> ProgressBar {
    let bar = all.add(ProgressBar::new(size));
    let template = "              {prefix} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
    if let Ok(template) = ProgressStyle::with_template(template) {
        bar.set_style(template.progress_chars(if style.unicode { "━╸ " } else { "=> " }));
    }
    bar.set_prefix(escape::line(words::digest(digest)).into_owned());
    bar
}
