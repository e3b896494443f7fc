//! From source to an image: assembled from files, built by docker, or opened where it is.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::Value;

use super::event::{BlobState, Event, Events};
use super::{annotations, origin};
use crate::aws::Clients;
use crate::aws::reply::optional;
use crate::config::{DockerfileBuild, ImagePlan, ImageSource, LayerEntry, LayersBuild, Plan};
use crate::error::{Error, Kind, Result};
use crate::image::config::Execution;
use crate::image::engine::{self, Build};
use crate::image::index::listed;
use crate::image::layers::{self, LayersSpec};
use crate::image::{BlobCache, Built, Image, Open, Platform, Reference, Tree, manifest, saved};
use crate::registry::{self, Origin, Remote};

/// What there is to push.
#[derive(Debug)]
pub enum Made {
    Here(Built),
    /// In another registry, and for which platforms: it goes from there to its repository.
    Elsewhere(Box<Remote>, Vec<Platform>),
}

impl Made {
    /// As the step that made it says it.
    pub fn detail(&self) -> String {
        match self {
            Made::Here(built) => built.detail(),
            Made::Elsewhere(remote, platforms) => format!("{} for {}", remote.digest(), listed(platforms)),
        }
    }

    fn platforms(&self) -> Vec<Platform> {
        match self {
            Made::Here(built) => built.platforms(),
            Made::Elsewhere(_, platforms) => platforms.clone(),
        }
    }

    /// Layers are compressed into the cache for that.
    pub async fn digest(self) -> Result<String> {
        match self {
            Made::Elsewhere(remote, _) => Ok(remote.digest().to_owned()),
            here => Ok(here.tree().await?.root.digest),
        }
    }

    /// With all that it names; layers are compressed into the cache.
    pub async fn tree(self) -> Result<Tree> {
        match self {
            Made::Here(built) => {
                let built = fetched(built).await?;
                blocking(|| built.tree()).await
            }
            Made::Elsewhere(remote, platforms) => {
                let mut tree = remote.tree(&HashSet::new()).await?;
                if let ([_], true) = (&platforms[..], tree.below.is_empty()) {
                    tree.root.platform = platforms.into_iter().next();
                }
                Ok(tree)
            }
        }
    }
}

/// The image, with the output of what builds it as events. `task_definition` says for which machine it is.
pub async fn image(
    plan: &Plan,
    image: &ImagePlan,
    task_definition: &Value,
    clients: &Clients,
    events: &Events,
) -> Result<Made> {
    let mut on_line = |line: &str| events.emit(Event::BuildOutput { line: line.to_owned() });
    if !matches!(image.source, ImageSource::Existing(_)) {
        // before anything is built for nothing
        annotations::Origin::of(plan, false)?;
    }
    if let Some(run) = image.run() {
        engine::run(&engine::shell(run, &plan.project), &mut on_line).await?;
    }
    let cache = BlobCache::open_default()?;
    let wanted = wanted_platform(task_definition);
    let open = Open { platform: wanted.clone(), cache, compression: image.compression };
    let made = match &image.source {
        ImageSource::Layers(build) => Made::Here(layers(plan, build, open, clients, events).await?),
        ImageSource::Dockerfile(build) => Made::Here(dockerfile(plan, build, open, &mut on_line).await?),
        ImageSource::Existing(existing) => whole(&existing.image, &existing.platforms, open, clients).await?,
    };
    let platforms = made.platforms();
    if let Some(wanted) = wanted.filter(|wanted| !platforms.iter().any(|platform| platform.matches(wanted))) {
        let message = format!("the image is for {}, and the task definition asks for {wanted}", listed(&platforms));
        return Err(Error::preflight(message).hint(manifest::OTHER_PLATFORM));
    }
    Ok(made)
}

/// What the tasks run on, if the task definition says so: EC2 instances may be of any kind when it does not.
pub(super) fn wanted_platform(task_definition: &Value) -> Option<Platform> {
    let runtime = &task_definition["runtimePlatform"];
    let (system, architecture) = (optional(runtime, "operatingSystemFamily"), optional(runtime, "cpuArchitecture"));
    let fargate = task_definition["requiresCompatibilities"] == serde_json::json!(["FARGATE"]);
    (architecture.is_some() || fargate).then(|| Platform::from_ecs(system, architecture))
}

/// One image, or one for each of several platforms.
async fn layers(plan: &Plan, build: &LayersBuild, open: Open, clients: &Clients, events: &Events) -> Result<Built> {
    if let [] | [_] = build.platforms[..] {
        let named = build.platforms.first().or(open.platform.as_ref()).cloned();
        return layers_for(named, plan, build, open, clients, events).await.map(Built::Image);
    }
    if build.base.as_deref() == Some("-") {
        return Err(Error::input("stdin can be read once, and each of several platforms needs the base")
            .hint("save the base as an archive, and name that"));
    }
    let mut images = Vec::new();
    for platform in &build.platforms {
        let named = Some(platform.clone());
        images.push(Built::Image(layers_for(named, plan, build, open.clone(), clients, events).await?));
    }
    Ok(Built::Platforms(images))
}

async fn layers_for(
    named: Option<Platform>,
    plan: &Plan,
    build: &LayersBuild,
    open: Open,
    clients: &Clients,
    events: &Events,
) -> Result<Image> {
    let origin = annotations::Origin::of(plan, build.annotations)?;
    let base = match &build.base {
        Some(base) => {
            let base = existing_image(base, Open { platform: named.clone(), ..open.clone() }, clients, events).await?;
            Some(settled(base).await?)
        }
        None => None,
    };
    let platform = named.or(base.as_ref().map(|base| base.platform.clone())).unwrap_or_else(Platform::linux_here);
    let fits = |entry: &&LayerEntry| entry.platform.as_ref().is_none_or(|wanted| wanted.matches(&platform));
    // A layer of other platforms alone is none here.
    let chosen = build.layers.iter().filter(|entries| entries.is_empty() || entries.iter().any(|entry| fits(&entry)));
    let spec = LayersSpec {
        project: plan.project.clone(),
        layers: chosen.map(|entries| entries.iter().filter(fits).cloned().collect()).collect(),
        execution: Execution {
            entrypoint: build.entrypoint.clone(),
            command: build.command.clone(),
            env: build.env.clone(),
            working_dir: build.working_dir.clone(),
            user: build.user.clone(),
            exposed_ports: build.exposed_ports.clone(),
            labels: origin.labels(&build.labels),
            stop_signal: build.stop_signal.clone(),
        },
        platform,
        created: origin.created,
        annotations: origin.annotations(&build.labels),
        compression: open.compression,
        cache: open.cache,
    };
    blocking(move || layers::assemble(spec, base)).await
}

async fn dockerfile(
    plan: &Plan,
    build: &DockerfileBuild,
    open: Open,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Built> {
    if !build.unset.is_empty() {
        let error = Error::preflight(format!("secrets of the build are not set: {}", build.unset.join(", ")));
        return Err(error.hint("set these variables, or name others in `build.secrets`"));
    }
    let text = std::fs::read(&build.dockerfile).unwrap_or_default();
    let origin = annotations::Origin::of(plan, build.annotations)?.without_those_in(&String::from_utf8_lossy(&text));
    let secret = |(name, value): (&String, &String)| (name.clone(), SecretString::from(value.clone()));
    let recipe = Build {
        context: build.context.clone(),
        file: Some(build.dockerfile.clone()),
        target: build.target.clone(),
        build_args: build.args.iter().map(secret).collect(),
        secrets: build.secrets.clone(),
        labels: origin.labels(&build.labels),
        epoch: origin.epoch,
        cache_from: build.cache_from.clone(),
        cache_to: build.cache_to.clone(),
        platform: build.platforms.first().or(open.platform.as_ref()).cloned(),
        no_cache: false,
    };
    let engine = engine::choose(build.builder).await?;
    if let [] | [_] = build.platforms[..] {
        let open = Open { platform: recipe.platform.clone(), ..open };
        let held = engine::image(&engine, &recipe, &plan.project, &open, on_line).await?;
        return Ok(Built::Held(Box::new(held)));
    }
    // One at a time: every engine can do that, and only some put several into one image.
    let mut images = Vec::new();
    for platform in &build.platforms {
        let platform = Some(platform.clone());
        let recipe = Build { platform: platform.clone(), ..recipe.clone() };
        let open = Open { platform, ..open.clone() };
        let held = engine::image(&engine, &recipe, &plan.project, &open, on_line).await?;
        images.push(Built::Held(Box::new(held)));
    }
    Ok(Built::Platforms(images))
}

/// An image that is there, with all its platforms or with those that are named: on stdin, in an engine, a path, or a
/// reference in some registry.
async fn whole(name: &str, platforms: &[Platform], open: Open, clients: &Clients) -> Result<Made> {
    let here = match platforms {
        [] => from_here(name, &open).await?,
        [one] => from_here(name, &Open { platform: Some(one.clone()), ..open.clone() }).await?,
        _ if name == "-" || engine::is_named(name) => {
            return Err(Error::input(format!("`{name}` is one image, and `platforms` names several"))
                .hint("an OCI layout, an archive on disk or a registry's index holds several"));
        }
        _ => None,
    };
    if let Some(here) = here {
        return Ok(Made::Here(here));
    }
    let path = PathBuf::from(name);
    if path.is_absolute() || path.exists() {
        let platforms = platforms.to_vec();
        return blocking(move || crate::image::whole::draft(&path, &platforms, &open)).await.map(Made::Here);
    }
    let reference: Reference = name.parse()?;
    let origin = origin::of(&reference, clients).await?;
    let remote = registry::find(&origin, reference.tag_or_digest(), platforms).await?;
    let platforms = remote.platforms().await?;
    Ok(Made::Elsewhere(Box::new(remote), platforms))
}

/// What is on stdin, or in an engine.
async fn from_here(name: &str, open: &Open) -> Result<Option<Built>> {
    if name == "-" {
        return from_stdin(open.clone()).await.map(Some);
    }
    let held = engine::named(name, Path::new("."), open).await?;
    Ok(held.map(|held| Built::Held(Box::new(held))))
}

/// One image to build upon: on stdin, in an engine, a path, or a reference in some registry.
async fn existing_image(name: &str, open: Open, clients: &Clients, events: &Events) -> Result<Built> {
    if let Some(here) = from_here(name, &open).await? {
        return Ok(here);
    }
    let path = PathBuf::from(name);
    if path.is_absolute() || path.exists() {
        return blocking(move || crate::image::draft(Path::new(&path), &open)).await;
    }
    let reference: Reference = name.parse()?;
    let Origin { client, repository } = origin::of(&reference, clients).await?;
    let platform = open.platform.unwrap_or_else(Platform::linux_here);
    let progress = |progress: registry::Progress| {
        events.emit(Event::Blob {
            digest: progress.digest,
            size: progress.size,
            sent: progress.sent,
            state: blob_state(progress.state),
        });
    };
    let reference = reference.tag_or_digest();
    registry::pull_image(&client, &repository, reference, &platform, &open.cache, &progress).await.map(Built::Image)
}

/// With what engines hold brought here.
async fn fetched(built: Built) -> Result<Built> {
    Ok(match built {
        Built::Held(held) => held.fetched().await?,
        Built::Platforms(all) => {
            let mut here = Vec::new();
            for one in all {
                here.push(Box::pin(fetched(one)).await?);
            }
            Built::Platforms(here)
        }
        here => here,
    })
}

/// The image with its digest, its layers compressed into the cache.
async fn settled(built: Built) -> Result<Image> {
    let built = fetched(built).await?;
    blocking(|| built.settled()).await
}

/// What is piped into us; it can be read only once.
async fn from_stdin(open: Open) -> Result<Built> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Error::input("stdin is a terminal, and an archive of an image is to come on it")
            .hint("pipe one into the command, such as from `docker save NAME`"));
    }
    blocking(move || saved::from_stdin(stdin.lock(), &open)).await
}

pub(super) fn blob_state(state: registry::BlobState) -> BlobState {
    match state {
        registry::BlobState::Checking => BlobState::Checking,
        registry::BlobState::Exists => BlobState::Exists,
        registry::BlobState::Mounted => BlobState::Mounted,
        registry::BlobState::Compressing => BlobState::Compressing,
        registry::BlobState::Uploading => BlobState::Uploading,
        registry::BlobState::Pushed => BlobState::Pushed,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| Error::new(Kind::BuildOrPush, "the build was broken off").cause(error))?
}
