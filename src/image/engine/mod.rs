//! Programs that build: docker, and a build's own `run` command. Command lines are data; one runner runs them all.

mod process;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::{Built, Draft, Open, Platform, archive, digest};
use crate::error::{Error, Result};
pub use process::{Command, answers, run, shell};

/// How long docker may take to say whether it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// `docker build`.
#[derive(Debug, Clone)]
pub struct DockerBuild {
    /// `docker`, or the path of a program with its command line.
    pub program: OsString,
    pub context: PathBuf,
    /// `None` is the context's `Dockerfile`.
    pub file: Option<PathBuf>,
    pub target: Option<String>,
    /// Only the names go on the command line: docker takes the values from its environment.
    pub build_args: BTreeMap<String, SecretString>,
    pub labels: BTreeMap<String, String>,
    pub platform: Option<Platform>,
}

impl DockerBuild {
    /// The command that builds, run in `folder`; it writes the image's id into `id_file`. The image gets no name:
    /// another build at the same time could take it over before the image is saved.
    pub fn command(&self, id_file: &Path, folder: &Path) -> Command {
        let mut arguments: Vec<OsString> = vec!["build".into(), "--iidfile".into(), id_file.into()];
        let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        if let Some(file) = &self.file {
            option("--file", file.into());
        }
        if let Some(target) = &self.target {
            option("--target", target.into());
        }
        if let Some(platform) = &self.platform {
            option("--platform", platform.to_string().into());
        }
        for name in self.build_args.keys() {
            option("--build-arg", name.into());
        }
        for (name, value) in &self.labels {
            option("--label", format!("{name}={value}").into());
        }
        // A context that begins with `-` would be an option.
        arguments.extend(["--".into(), self.context.clone().into_os_string()]);
        let environment = self.build_args.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Command { program: self.program.clone(), arguments, environment, folder: folder.to_owned() }
    }

    /// The command that saves the image with this id into a file.
    pub fn save(&self, id: &str, archive: &Path, folder: &Path) -> Command {
        let arguments = vec!["save".into(), "--output".into(), archive.into(), "--".into(), id.into()];
        Command { program: self.program.clone(), arguments, environment: Vec::new(), folder: folder.to_owned() }
    }
}

/// Builds with docker and opens what it built, for `open.platform`. Output goes to `on_line`, line by line.
///
/// # Errors
/// `Preflight` when docker does not answer; `BuildOrPush` when the build fails, with its last lines.
pub async fn docker_image(
    build: &DockerBuild,
    folder: &Path,
    open: &Open,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Built> {
    docker_answers(&build.program).await?;
    let scratch = tempfile::Builder::new()
        .prefix(".writing-")
        .tempdir_in(open.cache.folder())
        .map_err(|error| Error::build_or_push("cannot make a folder for docker's image").cause(error))?;
    let id_file = scratch.path().join("id");
    run(&build.command(&id_file, folder), on_line).await?;
    let said = std::fs::read_to_string(&id_file).unwrap_or_default();
    let id = said.trim();
    if !digest::is_valid(id) {
        return Err(Error::build_or_push(format!("docker did not say which image it built: its id is {id:?}"))
            .hint("`docker build --iidfile FILE …` must write an id such as sha256:…; docker does since 17.06"));
    }
    let path = scratch.path().join("image.tar");
    run(&build.save(id, &path, folder), on_line).await?;
    let open = open.clone();
    let opened = tokio::task::spawn_blocking(move || {
        Ok(match archive::draft(&path, &open)? {
            Built::Draft(draft) => Built::Draft(Draft { scratch: Some(Arc::new(scratch)), ..draft }),
            // Blobs that still point into the archive must outlive it.
            Built::Image(image) => Built::Image(open.cache.take_in(image)?),
        })
    });
    opened.await.map_err(|error| Error::build_or_push("reading docker's image failed").cause(error))?
}

/// Whether docker's daemon answers.
///
/// # Errors
/// `Preflight` with the reason when it does not.
pub async fn docker_answers(program: &OsStr) -> Result<()> {
    let arguments = ["version", "--format", "{{.Server.Version}}"].map(OsString::from).to_vec();
    let command = Command { program: program.to_owned(), arguments, environment: Vec::new(), folder: ".".into() };
    answers(&command, PROBE_TIMEOUT).await
}
