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
    /// Also delete what steady created around it: load balancer, target group, discovery service, and the repository if
    /// it is empty. Never what it did not
    #[arg(long)]
    created: bool,
    /// With --created: delete the repository with all its images, whoever else runs them
    #[arg(long, requires = "created")]
    images: bool,
}

impl Args {
    /// The command that goes on where this one was stopped.
    pub fn again(&self) -> String {
        let also = [(self.created, " --created"), (self.images, " --images")];
        let also: String = also.iter().filter(|(given, _)| *given).map(|(_, flag)| *flag).collect();
        format!("steady delete --yes{also}")
    }

    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        // what steady may have created is named by the project; nothing of it is rendered
        let options = config::Options { without_rendering: true, ..context.options()? };
        if !self.yes {
            let plan = config::load(&options)?.plan;
            let created = match (self.created, self.images) {
                (false, _) => "",
                (true, false) => " and what steady created around it",
                (true, true) => " and what steady created around it, with all images of its repository",
            };
            let message = format!("this deletes the service `{}` of cluster `{}`{created}", plan.service, plan.cluster);
            return Err(Error::input(message).hint("say --yes to do it"));
        }
        let (project, clients) = context.load(options, events).await?;
        let options = DeleteOptions { created: self.created, images: self.images };
        shown(&deploy::delete(&project.plan, options, &clients, events).await?)
    }
}
