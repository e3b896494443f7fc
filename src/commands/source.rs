//! The flags that say where an image comes from.

use crate::config::Options;
use crate::image::engine::Builder;

#[derive(Debug, clap::Args)]
pub struct Source {
    /// Who builds the Dockerfile [default: the first that answers of docker, podman, buildah, finch and nerdctl]
    #[arg(long, value_name = "PROGRAM")]
    builder: Option<Builder>,
    /// Take this image instead of building one: a reference, the path of an OCI layout or archive, docker-daemon:NAME,
    /// containers-storage:NAME, or - for an archive on stdin
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
}

impl Source {
    pub fn set(self, options: &mut Options) {
        options.builder = self.builder;
        options.image = self.image;
    }
}
