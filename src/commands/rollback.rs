use std::time::Duration;

use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::config::parse_duration;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;

/// Go back to the release that was good before this one
///
/// ECS's history of the service tells which one that is: the newest that ended well and is another release than what runs, or
/// is being deployed; never simply the revision before. Its service settings come back with it (network, load balancers,
/// capacity provider strategy, deployment configuration, ...); the desired count stays. A deployment that is in progress is
/// taken back by ECS itself. Nothing is deregistered.
///
/// Asked again it goes no further: a service that is back already, by this command or by ECS's own rollback, is left as it
/// is, with a word about where the next release back is. To go there, name it with --to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go to this one instead: a revision (7, hello:7 or its ARN), an image's digest (sha256:..., or its first 7 digits and
    /// more) or a release's name
    #[arg(long, value_name = "REVISION|DIGEST|RELEASE")]
    to: Option<String>,
    /// Say what the service ran, how it ended and what can be gone back to; change nothing
    #[arg(long, conflicts_with = "to")]
    list: bool,
    /// With --list: at most this many
    #[arg(long, value_name = "N", default_value_t = 20, requires = "list", value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// Give up waiting after this long; the rollout goes on
    #[arg(long, value_name = "15m", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let (named, clients) = context.reach(self.timeout, events).await?;
        let (cluster, service, to) = (&named.cluster, &named.service, self.to.as_deref());
        if self.list {
            let limit = usize::from(self.limit);
            return shown(&deploy::list_targets(cluster, service, limit, &clients, events).await?);
        }
        shown(&deploy::rollback(cluster, service, to, &named.rollout, &clients, events).await?)
    }
}
