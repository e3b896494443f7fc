use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::config;
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
        // what steady may have created is named by the project; nothing of it is rendered
        let options = config::Options { without_rendering: true, ..context.options()? };
        if !self.yes {
            let plan = config::load(&options)?.plan;
            let created = if self.created { " and what steady created around it" } else { "" };
            let message = format!("this deletes the service `{}` of cluster `{}`{created}", plan.service, plan.cluster);
            return Err(Error::input(message).hint("say --yes to do it"));
        }
        let (project, clients) = context.load(options, events).await?;
        let options = DeleteOptions { created: self.created };
        shown(&deploy::delete(&project.plan, options, &clients, events).await?)
    }
}
