use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;

/// List the revisions of the service's task definition, newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let (named, clients) = context.reach(None, events).await?;
        let limit = usize::from(self.limit);
        shown(&deploy::revisions(&named.cluster, &named.service, None, limit, &clients).await?)
    }
}
