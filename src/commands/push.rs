use serde_json::Value;

use super::context::Context;
use super::shown;
use super::source::Source;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;

/// Build the image and push it to its repository
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tag the image with this instead of the project's tags; may be given more than once
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Create the repository if it is missing
    #[arg(long)]
    create_repository: bool,
    #[command(flatten)]
    source: Source,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let mut options = context.options()?;
        options.tags = self.tags;
        self.source.set(&mut options);
        options.create_repository = self.create_repository;
        let (project, clients) = context.load(options, events).await?;
        shown(&deploy::push(&project.plan, &clients, events).await?)
    }
}
