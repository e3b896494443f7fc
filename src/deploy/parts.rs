//! Parts of the walk that are commands of their own: build, push, render, register.

use serde::Serialize;
use serde_json::Value;

use super::build::Made;
use super::event::{Events, Step};
use super::preflight::{self, Ground};
use super::render::{self, Facts, PushedImage, Rendered};
use super::repository::Repository;
use super::{build as building, login, push as pushing, register as registering, repository, step};
use crate::aws::Clients;
use crate::aws::reply::text;
use crate::config::{ImagePlan, Plan};
use crate::error::{Error, Result};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildOutcome {
    pub digest: String,
    /// Of all layers and the config as they travel, in bytes.
    pub size: u64,
    /// The image's; none of an index.
    pub platform: Option<String>,
    pub platforms: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PushOutcome {
    /// `repository@digest`.
    pub image: String,
    pub repository_uri: String,
    pub digest: String,
    pub tags: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RenderOutcome {
    pub task_definition: Value,
    pub service: Value,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterOutcome {
    pub task_definition: String,
    pub family: String,
    pub revision: i64,
    /// The identical revision was there already.
    pub reused: bool,
    pub image: Option<String>,
    pub digest: Option<String>,
}

/// Builds the image and touches nothing at AWS.
pub async fn build(plan: &Plan, clients: &Clients, events: &Events) -> Result<BuildOutcome> {
    let rehearsed = render::rehearse(plan, clients)?;
    let made = made(plan, image_of(plan)?, &rehearsed.task_definition, clients, events).await?;
    let tree = made.tree().await?;
    let platforms: Vec<String> = tree.platforms().iter().map(ToString::to_string).collect();
    let platform = if let [one] = &platforms[..] { Some(one.clone()) } else { None };
    Ok(BuildOutcome { size: tree.size(), platform, platforms, digest: tree.root.digest })
}

/// Builds and pushes.
pub async fn push(plan: &Plan, clients: &Clients, events: &Events) -> Result<PushOutcome> {
    let pushed = match repository::elsewhere(&image_of(plan)?.repository)? {
        // AWS has nothing to say about another registry
        Some(repository) => {
            let rehearsed = render::rehearse(plan, clients)?;
            push_to(&repository, &rehearsed, None, None, plan, clients, events).await?
        }
        None => {
            let ground = step(events, Step::Preflight, preflight::for_image(plan, clients), Ground::detail).await?;
            let pushed = self::image(plan, clients, events, &ground).await?;
            pushed.ok_or_else(|| Error::input("the project file has no `image:`"))?
        }
    };
    Ok(PushOutcome {
        image: pushed.uri(),
        repository_uri: pushed.repository_uri,
        digest: pushed.digest,
        tags: pushed.tags,
    })
}

/// The documents as ECS would get them. With `digest` for that image, else with stand-ins for what only a build tells.
pub fn render(plan: &Plan, clients: &Clients, digest: Option<&str>, events: &Events) -> Result<RenderOutcome> {
    let mut facts = render::stand_ins(plan, clients)?;
    if let (Some(image), Some(digest)) = (&mut facts.image, digest) {
        image.digest = digest.to_owned();
        facts.release = render::release(plan, Some(digest), &clients.region);
    }
    let rendered = render::documents(plan, &facts, events)?;
    Ok(RenderOutcome { task_definition: rendered.task_definition, service: rendered.service })
}

/// Builds, pushes and registers; the service is left alone.
pub async fn register(plan: &Plan, clients: &Clients, events: &Events) -> Result<RegisterOutcome> {
    let ground = step(events, Step::Preflight, preflight::for_image(plan, clients), Ground::detail).await?;
    let image = image(plan, clients, events, &ground).await?;
    let facts = Facts::new(plan, clients, &ground, image.as_ref());
    let rendering = async { render::documents(plan, &facts, events) };
    let rendered = step(events, Step::Render, rendering, render::Rendered::detail).await?;
    let registering = registering::register(&rendered.task_definition, &facts, clients, events, ground.live.as_ref());
    let registered = step(events, Step::Register, registering, registering::Registered::detail).await?;
    Ok(RegisterOutcome {
        task_definition: registered.arn,
        family: registered.family,
        revision: registered.revision,
        reused: registered.reused,
        image: facts.image.as_ref().map(PushedImage::uri),
        digest: facts.digest().map(str::to_owned),
    })
}

/// The plan's image in its repository: built, with a login meanwhile, and pushed. `None` when the plan has none.
pub(super) async fn image(
    plan: &Plan,
    clients: &Clients,
    events: &Events,
    ground: &Ground,
) -> Result<Option<PushedImage>> {
    let (Some(_), Some(found)) = (&plan.image, &ground.repository) else { return Ok(None) };
    let policy = render::repository_policy(plan, &Facts::new(plan, clients, ground, None))?;
    let deployed = ground.live.as_ref().map(|live| text(live, "taskDefinition"));
    push_to(found, &ground.rehearsed, policy.as_ref(), deployed, plan, clients, events).await.map(Some)
}

async fn push_to(
    found: &Repository,
    rehearsed: &Rendered,
    policy: Option<&Value>,
    deployed: Option<&str>,
    plan: &Plan,
    clients: &Clients,
    events: &Events,
) -> Result<PushedImage> {
    let image = image_of(plan)?;
    let tags = render::tags(plan, &image.tags, &clients.region)?;
    // The token does not depend on the build, and the repository has to be there only for the push.
    let (made, session) = tokio::try_join!(
        made(plan, image, &rehearsed.task_definition, clients, events),
        step(events, Step::Login, login::prepare(found, clients), |login| login.registry()),
    )?;
    let owner = format!("{}/{}", plan.cluster, plan.service);
    let work = async {
        let create = image.create.as_ref();
        let repository = repository::ensure(found.clone(), create, policy, &owner, clients, events).await?;
        let session = session.at(&repository, clients)?;
        pushing::push(&made, &tags, deployed, &repository, &session, clients, events).await
    };
    step(events, Step::Push, work, PushedImage::uri).await
}

async fn made(
    plan: &Plan,
    image: &ImagePlan,
    task_definition: &Value,
    clients: &Clients,
    events: &Events,
) -> Result<Made> {
    let work = building::image(plan, image, task_definition, clients, events);
    step(events, Step::Build, work, Made::detail).await
}

fn image_of(plan: &Plan) -> Result<&ImagePlan> {
    plan.image.as_ref().ok_or_else(|| {
        Error::input(format!("the service `{}` has no image to build", plan.service))
            .hint("add `image:` to it in steady.yaml")
    })
}
