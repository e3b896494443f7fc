use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::deploy::event::Events;
use crate::deploy::{self, DeleteOptions};
use crate::error::{Error, Result};

/// Scale the service to zero and delete it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Really do it
    #[arg(long)]
    yes: bool,
    /// Also delete what steady created around it: load balancer, target group, discovery service. Never what it did not
    #[arg(long)]
    created: bool,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        if !self.yes {
            let named = context.named(None)?;
            let created = if self.created { " and what steady created around it" } else { "" };
            let message =
                format!("this deletes the service `{}` of cluster `{}`{created}", named.service, named.cluster);
            return Err(Error::input(message).hint("say --yes to do it"));
        }
        let (named, clients) = context.reach(None, events).await?;
        let options = DeleteOptions { created: self.created };
        shown(&deploy::delete(&named.cluster, &named.service, &options, &clients, events).await?)
    }
}
