use serde_json::Value;

use super::context::Context;
use super::shown;
use super::source::Source;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;

/// Build the image and say its digest; nothing leaves this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let mut options = context.options()?;
        self.source.set(&mut options);
        let (project, clients) = context.load(options, events).await?;
        shown(&deploy::build(&project.plan, &clients, events).await?)
    }
}
