use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::Result;
use crate::image::engine::Builder;

/// Build and push the image, and register the task definition with it; an identical revision is reused
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tag the image with this instead of the project's tags; may be given more than once
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
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
        let mut options = context.options()?;
        options.tags = self.tags;
        options.builder = self.builder;
        options.image = self.image;
        let (project, clients) = context.load(options, events).await?;
        shown(&deploy::register(&project.plan, &clients, events).await?)
    }
}
