use std::time::Duration;

use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::config::parse_duration;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;

/// Go back to the release that was good before this one
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go to this revision instead: 7, hello:7 or its ARN
    #[arg(long, value_name = "REVISION")]
    to: Option<String>,
    /// Give up waiting after this long; the rollout goes on
    #[arg(long, value_name = "15m", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let mut options = context.options_without_rendering()?;
        options.timeout = self.timeout;
        let (project, clients) = context.load(options, events).await?;
        shown(&deploy::rollback(&project.plan, &clients, events, self.to.as_deref()).await?)
    }
}
