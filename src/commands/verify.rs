use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;

/// Say whether a release could be made now; builds nothing and changes nothing
///
/// Looks at everything that a deploy needs: who is calling and what IAM allows them, cluster, repository, images, roles,
/// secrets and parameters, log groups, load balancer and target groups, room and host ports, alarms, other deployments. All
/// that is missing is told together, each with what to do about it: exit code 3. Warnings do not fail.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The repository may be missing: a deploy would create it
    #[arg(long)]
    create_repository: bool,
    /// Verify for this many tasks
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(0..=5000))]
    desired_count: Option<i64>,
    /// Verify for this image instead of the one that is built
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let mut options = context.options()?;
        options.create_repository = self.create_repository;
        options.desired_count = self.desired_count;
        options.image = self.image;
        let (project, clients) = context.load_to_deploy(options, events).await?;
        shown(&deploy::verify(&project.plan, &clients, events).await?)
    }
}
