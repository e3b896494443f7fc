use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;

/// Show the service, its deployments, tasks and targets
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let (named, clients) = context.reach(None, events).await?;
        shown(&deploy::status(&named.cluster, &named.service, &clients, events).await?)
    }
}
