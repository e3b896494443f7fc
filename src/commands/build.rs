use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::config;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;
use crate::image::engine::Builder;

/// Build the image and say its digest; nothing leaves this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Who builds the Dockerfile [default: the first that answers of docker, podman, buildah, finch and nerdctl]
    #[arg(long, value_name = "PROGRAM")]
    builder: Option<Builder>,
    /// Take this image instead of building one: a reference, the path of an OCI layout or archive, docker-daemon:NAME,
    /// containers-storage:NAME, or - for an archive on stdin
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let options = config::Options { builder: self.builder, image: self.image, ..context.options()? };
        let (project, clients) = context.load(options, events).await?;
        shown(&deploy::build(&project.plan, &clients, events).await?)
    }
}
