use serde_json::Value;

use super::context::Context;
use super::shown;
use super::source::Source;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;

/// Build and push the image, and register the task definition with it; an identical revision is reused
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tag the image with this instead of the project's tags; may be given more than once
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    source: Source,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let mut options = context.options()?;
        options.tags = self.tags;
        self.source.set(&mut options);
        let (project, clients) = context.load(options, events).await?;
        shown(&deploy::register(&project.plan, &clients, events).await?)
    }
}
