use std::time::Duration;

use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::config::parse_duration;
use crate::deploy;
use crate::deploy::event::Events;
use crate::deploy::pause::ContinueOptions;
use crate::error::Result;

/// Answer the pause that a deployment waits at, and follow it until it is steady
///
/// A lifecycle hook of type PAUSE holds a deployment until somebody lets it go on or back; without an answer ECS does what
/// the hook's timeout says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go back to the release before instead
    #[arg(long)]
    rollback: bool,
    /// Answer this hook only; without it all that the stage waits for
    #[arg(long, value_name = "ID")]
    hook: Option<String>,
    /// Answer, and do not follow the deployment
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting after this long; the rollout goes on
    #[arg(long, value_name = "15m", value_parser = parse_duration, conflicts_with = "no_wait")]
    timeout: Option<Duration>,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let (named, clients) = context.reach(self.timeout, events).await?;
        let options = ContinueOptions { rollback: self.rollback, hook: self.hook, no_wait: self.no_wait };
        let (cluster, service) = (&named.cluster, &named.service);
        shown(&deploy::go_on(cluster, service, &options, &named.rollout, &clients, events).await?)
    }
}
