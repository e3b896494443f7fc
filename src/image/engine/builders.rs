//! Who builds a Dockerfile: each engine's command lines, as data.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use secrecy::SecretString;

use super::process::{Command, answers};
use crate::error::{Error, Result, nearest};
use crate::image::Platform;

/// BuildKit's name for it, and everybody's.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// How long an engine may take to say whether it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The engines that can build, the one that is taken first where several answer first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Builder {
    Docker,
    Podman,
    Buildah,
    Finch,
    Nerdctl,
}

impl Builder {
    pub const ALL: [Builder; 5] =
        [Builder::Docker, Builder::Podman, Builder::Buildah, Builder::Finch, Builder::Nerdctl];

    pub fn name(self) -> &'static str {
        match self {
            Builder::Docker => "docker",
            Builder::Podman => "podman",
            Builder::Buildah => "buildah",
            Builder::Finch => "finch",
            Builder::Nerdctl => "nerdctl",
        }
    }
}

impl fmt::Display for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Builder {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Builder::ALL.into_iter().find(|builder| builder.name() == text).ok_or_else(|| {
            let names = Builder::ALL.map(Builder::name);
            let error = Error::input(format!("`{text}` is no builder: {}", names.join(", ")));
            match nearest(text, names) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            }
        })
    }
}

/// An engine that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    pub builder: Builder,
    /// Its name, or the path of a program with its command line.
    pub program: OsString,
    /// Docker's newer builder, a plugin. Without it, secrets and caches in registries are not there.
    pub buildx: bool,
}

/// A Dockerfile, and what its build gets.
#[derive(Debug, Clone, Default)]
pub struct Build {
    pub context: PathBuf,
    /// `None` is the context's `Dockerfile`.
    pub file: Option<PathBuf>,
    pub target: Option<String>,
    /// Only the names go on the command line: engines take the values from their environment.
    pub build_args: BTreeMap<String, SecretString>,
    /// By id, for `RUN --mount=type=secret`.
    pub secrets: BTreeMap<String, Secret>,
    pub labels: BTreeMap<String, String>,
    /// `SOURCE_DATE_EPOCH`, for the engines that know it: the time that the image and what is in it get.
    pub epoch: Option<i64>,
    pub cache_from: Vec<String>,
    pub cache_to: Vec<String>,
    pub platform: Option<Platform>,
    /// Nothing that the engine built before is taken.
    pub no_cache: bool,
}

/// Where a build's secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    File(PathBuf),
    /// A variable of our environment, which the engine gets as all of it.
    Environment(String),
}

impl Engine {
    /// The command that asks whether the engine answers.
    pub fn probe(builder: Builder, program: impl Into<OsString>) -> Command {
        let arguments: &[&str] = match builder {
            Builder::Docker => &["version", "--format", "{{.Server.Version}}"],
            Builder::Podman | Builder::Buildah => &["info"],
            Builder::Finch | Builder::Nerdctl => &["info", "--format", "{{.ServerVersion}}"],
        };
        command(program.into(), arguments.iter().map(Into::into).collect(), Path::new("."))
    }

    /// The command that builds, run in `folder`; it writes the image's id into `id_file`. The image gets no name:
    /// another build at the same time could take it over before the image is saved.
    ///
    /// # Errors
    /// `Input` for what this engine cannot do.
    pub fn build(&self, build: &Build, id_file: &Path, folder: &Path) -> Result<Command> {
        self.can(build)?;
        let mut arguments: Vec<OsString> = match (self.builder, self.buildx) {
            // `--load` because its builder may be one that keeps images to itself
            (Builder::Docker, true) => vec!["buildx".into(), "build".into(), "--load".into()],
            // it would keep no step's result, and squash all into one layer
            (Builder::Buildah, _) => vec!["build".into(), "--layers".into()],
            _ => vec!["build".into()],
        };
        let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        option("--iidfile", id_file.into());
        if self.buildx {
            option("--metadata-file", metadata_file(id_file).into());
        }
        if let Some(file) = &build.file {
            option("--file", file.into());
        }
        if let Some(target) = &build.target {
            option("--target", target.into());
        }
        if let Some(platform) = &build.platform {
            option("--platform", platform.to_string().into());
        }
        for name in build.build_args.keys() {
            option("--build-arg", name.into());
        }
        for (id, secret) in &build.secrets {
            let from = match secret {
                Secret::File(path) => format!("src={}", path.display()),
                Secret::Environment(name) => format!("env={name}"),
            };
            option("--secret", format!("id={id},{from}").into());
        }
        for (name, value) in &build.labels {
            option("--label", format!("{name}={value}").into());
        }
        for (name, places) in [("--cache-from", &build.cache_from), ("--cache-to", &build.cache_to)] {
            places.iter().for_each(|place| option(name, self.cache_place(place).into()));
        }
        let mut environment: Vec<(String, SecretString)> =
            build.build_args.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        if let Some(epoch) = build.epoch.filter(|_| !build.build_args.contains_key(EPOCH)) {
            match self.builder {
                Builder::Podman | Builder::Buildah => {
                    option("--timestamp", epoch.to_string().into());
                    // Newer ones read the variable too, and refuse to be told twice.
                    environment.push((EPOCH.to_owned(), SecretString::default()));
                }
                Builder::Docker if !self.buildx => {}
                Builder::Docker | Builder::Finch | Builder::Nerdctl => {
                    option("--build-arg", EPOCH.into());
                    environment.push((EPOCH.to_owned(), epoch.to_string().into()));
                }
            }
        }
        if build.no_cache {
            arguments.push("--no-cache".into());
        }
        // A context that begins with `-` would be an option.
        arguments.extend(["--".into(), build.context.clone().into_os_string()]);
        let mut command = command(self.program.clone(), arguments, folder);
        command.environment = environment;
        Ok(command)
    }

    /// BuildKit takes `type=registry,ref=NAME`, and the others a name.
    fn cache_place<'p>(&self, place: &'p str) -> &'p str {
        let plain = match self.builder {
            Builder::Docker => !self.buildx,
            Builder::Podman | Builder::Buildah => true,
            Builder::Finch | Builder::Nerdctl => false,
        };
        let name = place.split(',').find_map(|part| part.strip_prefix("ref="));
        name.filter(|_| plain && place.split(',').any(|part| part == "type=registry")).unwrap_or(place)
    }

    fn can(&self, build: &Build) -> Result<()> {
        if self.builder != Builder::Docker || self.buildx {
            return Ok(());
        }
        let lacking = match build {
            _ if !build.secrets.is_empty() => "secrets",
            _ if !build.cache_to.is_empty() => "cache_to",
            _ => return Ok(()),
        };
        Err(Error::preflight(format!("this docker has no buildx, and without it no `{lacking}` for a build")).hint(
            "install docker's buildx plugin (docker-buildx-plugin), or build with podman or buildah (`--builder`)",
        ))
    }

    /// The command that says as JSON what this engine knows of an image.
    pub fn inspect(&self, name: &str, folder: &Path) -> Command {
        let verb: &[&str] = match self.builder {
            Builder::Buildah => &["inspect", "--type", "image"],
            _ => &["image", "inspect"],
        };
        let arguments = verb.iter().copied().chain(["--", name]).map(Into::into).collect();
        command(self.program.clone(), arguments, folder)
    }

    /// The command that writes the image with this id to its standard output, as `docker save` does. Podman and buildah
    /// name the layers by their diffIDs in a docker archive, and keep the config as it is.
    pub fn save(&self, id: &str, folder: &Path) -> Command {
        let arguments: &[&str] = match self.builder {
            Builder::Buildah => &["push", "--quiet", "--", id, "docker-archive:/dev/stdout"],
            Builder::Podman => &["save", "--quiet", "--format", "docker-archive", "--", id],
            _ => &["save", "--", id],
        };
        command(self.program.clone(), arguments.iter().map(Into::into).collect(), folder)
    }

    /// The command that says where docker's daemon is. Other engines have none, or one that is not asked for images.
    pub fn endpoint(&self, folder: &Path) -> Option<Command> {
        let arguments = ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"];
        let ask = || command(self.program.clone(), arguments.map(Into::into).to_vec(), folder);
        (self.builder == Builder::Docker).then(ask)
    }
}

/// Where buildx tells more of what it built than its id.
pub(super) fn metadata_file(id_file: &Path) -> PathBuf {
    id_file.with_extension("metadata")
}

fn command(program: OsString, arguments: Vec<OsString>, folder: &Path) -> Command {
    Command { program, arguments, environment: Vec::new(), without: Vec::new(), folder: folder.to_owned() }
}

/// The engine that builds: the one that was asked for, else the first that answers. All are asked at once, and those
/// that come later in the order are not waited for.
///
/// # Errors
/// `Preflight` when none answers, with what each said.
pub async fn choose(asked: Option<Builder>) -> Result<Engine> {
    choose_among(asked, &|builder| builder.name().into()).await
}

/// The same, with the programs that stand for the engines.
pub async fn choose_among(asked: Option<Builder>, program: &(dyn Fn(Builder) -> OsString + Sync)) -> Result<Engine> {
    let wanted: Vec<Builder> = asked.map_or(Builder::ALL.to_vec(), |asked| vec![asked]);
    let probes = wanted.iter().map(|builder| async move {
        let program = program(*builder);
        let probe = Engine::probe(*builder, program.clone());
        answers(&probe, PROBE_TIMEOUT).await?;
        // A plugin may be there and broken: it has to answer, too.
        let version = command(program.clone(), vec!["buildx".into(), "version".into()], Path::new("."));
        let buildx = *builder == Builder::Docker && answers(&version, PROBE_TIMEOUT).await.is_ok();
        Ok::<_, Error>(Engine { builder: *builder, program, buildx })
    });
    let mut failures = Vec::new();
    let mut answers = std::pin::pin!(stream::iter(probes).buffered(Builder::ALL.len()));
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(engine) => return Ok(engine),
            Err(error) => failures.push(error),
        }
    }
    if asked.is_some() {
        return Err(failures.remove(0));
    }
    let said = failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Err(Error::preflight("no engine answers that could build the Dockerfile")
        .cause(said)
        .hint("start docker, podman or buildah, or assemble the image without one: `layers:` in steady.yaml"))
}
