use serde_json::Value;

use super::context::Context;
use super::source::Source;
use crate::deploy::event::{Event, Events};
use crate::deploy::{self, Trial};
use crate::document::Values;
use crate::error::{Error, Result};

/// Show what a deploy would change of the task definition and the service; changes nothing
///
/// What runs against what would be sent, as ECS understands both: what it fills in by itself, the order of what has none
/// and other ways to write the same are no difference. The image is built, because its digest is what gets deployed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    shown: Shown,
    /// Build nothing: compare with the image that is deployed
    #[arg(long, conflicts_with_all = ["builder", "image"])]
    no_build: bool,
    /// Tag the image with this instead of the project's tags; may be given more than once
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// How many tasks to run
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(0..=5000))]
    desired_count: Option<i64>,
    /// Take a missing repository for one to create
    #[arg(long)]
    create_repository: bool,
    #[command(flatten)]
    source: Source,
}

/// How differences are told, here and by `deploy --dry-run`.
#[derive(Debug, clap::Args)]
pub struct Shown {
    /// In differences, show values of environment variables and others that look like secrets
    #[arg(long)]
    show_values: bool,
    /// Exit with 11 when there are differences, 0 when there are none
    #[arg(long)]
    pub exit_code: bool,
}

impl Shown {
    pub fn values(&self) -> Values {
        if self.show_values { Values::Shown } else { Values::Redacted }
    }

    /// Refuses flags that mean nothing without a trial.
    pub fn needs_dry_run(&self) -> Result<()> {
        let flag = match (self.show_values, self.exit_code) {
            (true, _) => "--show-values",
            (_, true) => "--exit-code",
            _ => return Ok(()),
        };
        Err(Error::input(format!("{flag} is for differences, and a deploy shows none"))
            .hint(format!("`steady diff {flag}`, or add --dry-run")))
    }

    /// The result of a trial, and that something of it is left out.
    pub fn shown(&self, result: &impl serde::Serialize, events: &Events) -> Result<Option<Value>> {
        let result = super::shown(result)?;
        let hides = |result: &Value| result.to_string().contains("\"(redacted)\"");
        if !self.show_values && result.as_ref().is_some_and(hides) {
            let message = "values that may be secrets are left out; --show-values shows them".to_owned();
            events.emit(Event::Notice { message });
        }
        Ok(result)
    }
}

/// Whether a trial's result says that a deploy would change something.
pub fn is_different(result: &Value) -> bool {
    result["status"] == "changes"
}

impl Args {
    pub fn exit_code(&self) -> bool {
        self.shown.exit_code
    }

    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let mut options = context.options()?;
        options.tags = self.tags;
        self.source.set(&mut options);
        options.desired_count = self.desired_count;
        options.create_repository = self.create_repository;
        let (project, clients) = context.load_to_deploy(options, events).await?;
        let trial = Trial { values: self.shown.values(), build: !self.no_build };
        self.shown.shown(&deploy::dry_run(&project.plan, trial, &clients, events).await?, events)
    }
}
