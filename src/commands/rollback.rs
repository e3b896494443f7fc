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
        let (named, clients) = context.reach(self.timeout, events).await?;
        let (cluster, service, to) = (&named.cluster, &named.service, self.to.as_deref());
        shown(&deploy::rollback(cluster, service, to, &named.rollout, &clients, events).await?)
    }
}
