use std::time::Duration;

use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::config::parse_duration;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;

/// Follow the deployment that is going on until it is steady
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Give up waiting after this long; the rollout goes on
    #[arg(long, value_name = "15m", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let (named, clients) = context.reach(self.timeout, events).await?;
        shown(&deploy::wait(&named.cluster, &named.service, &named.rollout, &clients, events).await?)
    }
}
