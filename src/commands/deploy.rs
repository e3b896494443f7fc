use std::time::Duration;

use serde_json::Value;

use super::context::Context;
use super::diff::Shown;
use super::shown;
use super::source::Source;
use crate::config::{self, is_check_url, parse_duration};
use crate::deploy::event::Events;
use crate::deploy::{self, Trial};
use crate::error::{Error, Result};

/// Take the service from its source to steady state
///
/// Builds and pushes the image, registers the task definition with its digest, creates or updates the service behind
/// its load balancer, and follows that deployment until it is steady. What is there already is not done again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say what would change, and touch nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    shown: Shown,
    /// Tag the image with this instead of the project's tags; the first names the release
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// GET this path at the load balancer, or this whole URL, when steady
    #[arg(long, value_name = "PATH|URL")]
    check_url: Option<String>,
    /// Give up waiting after this long
    #[arg(long, value_name = "15m", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// What Ctrl-C does while the rollout is followed: leave it to go on at AWS, or bring the release before back
    /// [default: detach]
    #[arg(long, value_name = "detach|rollback", value_enum, hide_possible_values = true)]
    on_interrupt: Option<OnInterrupt>,
    /// How many tasks to run
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(0..=5000))]
    desired_count: Option<i64>,
    /// Create the repository if it is missing
    #[arg(long)]
    create_repository: bool,
    #[command(flatten)]
    source: Source,
}

/// What a signal does while the rollout is followed.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum OnInterrupt {
    Detach,
    Rollback,
}

impl From<OnInterrupt> for config::OnInterrupt {
    fn from(given: OnInterrupt) -> Self {
        match given {
            OnInterrupt::Detach => config::OnInterrupt::Detach,
            OnInterrupt::Rollback => config::OnInterrupt::Rollback,
        }
    }
}

impl Args {
    pub fn exit_code(&self) -> bool {
        self.shown.exit_code
    }

    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        if !self.dry_run {
            self.shown.needs_dry_run()?;
        }
        let mut options = context.options()?;
        match self.check_url.as_deref().filter(|wanted| !is_check_url(wanted)) {
            // It may hold a password.
            Some(url) if url.contains("://") => {
                return Err(Error::input("--check-url is no URL to GET")
                    .hint("such as https://www.example.com/healthz, without a password"));
            }
            Some(path) => {
                return Err(Error::input(format!("--check-url {path}: a path begins with a slash"))
                    .hint(format!("did you mean --check-url /{path}?")));
            }
            None => {}
        }
        options.tags = self.tags;
        self.source.set(&mut options);
        options.check_url = self.check_url;
        options.timeout = self.timeout;
        options.on_interrupt = self.on_interrupt.map(Into::into);
        options.desired_count = self.desired_count;
        options.create_repository = self.create_repository;
        let (project, clients) = context.load_to_deploy(options, events).await?;
        if self.dry_run {
            let trial = Trial { values: self.shown.values(), build: true };
            return self.shown.shown(&deploy::dry_run(&project.plan, trial, &clients, events).await?, events);
        }
        shown(&deploy::run_interruptible(&project.plan, &clients, events, &context.interrupt).await?)
    }
}
