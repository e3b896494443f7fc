use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;

/// Build the image and say its digest; nothing leaves this machine
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let (project, clients) = context.load(context.options()?, events).await?;
        shown(&deploy::build(&project.plan, &clients, events).await?)
    }
}
