//! From source to an image: assembled from files, built by docker, or opened where it is.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::Value;

use super::event::{BlobState, Event, Events};
use super::{login, repository};
use crate::aws::Clients;
use crate::aws::reply::optional;
use crate::config::{DockerfileBuild, ImagePlan, ImageSource, LayersBuild, Plan};
use crate::error::{Error, Kind, Result};
use crate::image::config::Execution;
use crate::image::engine::{self, Build};
use crate::image::layers::{self, LayerEntry, LayersSpec};
use crate::image::{BlobCache, Built, Image, Open, Platform, Reference, saved};
use crate::registry;

/// The image, with the output of what builds it as events. `task_definition` says for which machine it is.
pub async fn image(
    plan: &Plan,
    image: &ImagePlan,
    task_definition: &Value,
    clients: &Clients,
    events: &Events,
) -> Result<Built> {
    let mut on_line = |line: &str| events.emit(Event::BuildOutput { line: line.to_owned() });
    if let Some(run) = image.run() {
        engine::run(&engine::shell(run, &plan.project), &mut on_line).await?;
    }
    let cache = BlobCache::open_default()?;
    let wanted = wanted_platform(task_definition);
    let open = Open { platform: wanted.clone(), cache, compression: image.compression };
    let built = match &image.source {
        ImageSource::Layers(build) => Built::Image(layers(plan, build, open, clients, events).await?),
        ImageSource::Dockerfile(build) => dockerfile(plan, build, open, &mut on_line).await?,
        ImageSource::Existing(existing) => existing_image(&existing.image, open, clients, events).await?,
    };
    if let Some(wanted) = wanted.filter(|wanted| !built.platform().matches(wanted)) {
        let message = format!("the image is for {}, and the task definition asks for {wanted}", built.platform());
        return Err(Error::preflight(message)
            .hint("build it for that platform (`platform:`), or change `runtimePlatform` in the task definition"));
    }
    Ok(built)
}

/// What the tasks run on, if the task definition says so: EC2 instances may be of any kind when it does not.
fn wanted_platform(task_definition: &Value) -> Option<Platform> {
    let runtime = &task_definition["runtimePlatform"];
    let (system, architecture) = (optional(runtime, "operatingSystemFamily"), optional(runtime, "cpuArchitecture"));
    let fargate = task_definition["requiresCompatibilities"] == serde_json::json!(["FARGATE"]);
    (architecture.is_some() || fargate).then(|| Platform::from_ecs(system, architecture))
}

fn platform(named: Option<&str>, wanted: Option<&Platform>) -> Result<Option<Platform>> {
    named.map(|named| named.parse::<Platform>()).transpose().map(|named| named.or_else(|| wanted.cloned()))
}

async fn layers(plan: &Plan, build: &LayersBuild, open: Open, clients: &Clients, events: &Events) -> Result<Image> {
    let named = platform(build.platform.as_deref(), open.platform.as_ref())?;
    let base = match &build.base {
        Some(base) => {
            let base = existing_image(base, Open { platform: named.clone(), ..open.clone() }, clients, events).await?;
            Some(settled(base).await?)
        }
        None => None,
    };
    let base_platform = base.as_ref().map(|base| base.platform.clone());
    let entry = |entry: &crate::config::LayerEntry| LayerEntry {
        from: entry.from.clone(),
        to: entry.to.clone(),
        mode: entry.mode,
        owner: entry.owner,
    };
    let spec = LayersSpec {
        project: plan.project.clone(),
        layers: build.layers.iter().map(|entries| entries.iter().map(entry).collect()).collect(),
        execution: Execution {
            entrypoint: build.entrypoint.clone(),
            command: build.command.clone(),
            env: build.env.clone(),
            working_dir: build.working_dir.clone(),
            user: build.user.clone(),
            exposed_ports: build.exposed_ports.clone(),
            labels: build.labels.clone(),
            stop_signal: build.stop_signal.clone(),
        },
        platform: named.or(base_platform).unwrap_or_else(Platform::linux_here),
        created: None,
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
    let platform = platform(build.platform.as_deref(), open.platform.as_ref())?;
    let secret = |(name, value): (&String, &String)| (name.clone(), SecretString::from(value.clone()));
    let recipe = Build {
        context: build.context.clone(),
        file: Some(build.dockerfile.clone()),
        target: build.target.clone(),
        build_args: build.args.iter().map(secret).collect(),
        secrets: build.secrets.clone(),
        labels: build.labels.clone(),
        cache_from: build.cache_from.clone(),
        cache_to: build.cache_to.clone(),
        platform: platform.clone(),
    };
    if !build.unset.is_empty() {
        let error = Error::preflight(format!("secrets of the build are not set: {}", build.unset.join(", ")));
        return Err(error.hint("set these variables, or name others in `build.secrets`"));
    }
    let engine = engine::choose(build.builder).await?;
    let held = engine::image(&engine, &recipe, &plan.project, &Open { platform, ..open }, on_line).await?;
    Ok(Built::Held(Box::new(held)))
}

/// An image that is there: on stdin, in an engine, a path, or a reference in some registry.
async fn existing_image(name: &str, open: Open, clients: &Clients, events: &Events) -> Result<Built> {
    if name == "-" {
        return from_stdin(open).await;
    }
    if let Some(held) = engine::named(name, Path::new("."), &open).await? {
        return Ok(Built::Held(Box::new(held)));
    }
    let path = PathBuf::from(name);
    if path.is_absolute() || path.exists() {
        return blocking(move || crate::image::draft(Path::new(&path), &open)).await;
    }
    let reference: Reference = name.parse()?;
    let (client, repository) = match reference.ecr() {
        Some(_) => {
            let repository = repository::of_ecr(&reference, clients).await?;
            let session = login::session(&repository, clients).await?;
            (registry::Client::new(&session.base_url, session.credentials)?, repository.path().to_owned())
        }
        None => (registry::Client::of(&reference, None)?, reference.repository.clone()),
    };
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

/// The image with its digest, its layers compressed into the cache.
pub(super) async fn settled(built: Built) -> Result<Image> {
    let built = match built {
        Built::Held(held) => held.fetched().await?,
        built => built,
    };
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
        registry::BlobState::Uploading => BlobState::Uploading,
        registry::BlobState::Pushed => BlobState::Pushed,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| Error::new(Kind::BuildOrPush, "the build was broken off").cause(error))?
}
