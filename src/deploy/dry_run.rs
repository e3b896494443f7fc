//! What a deploy would change. Builds, asks, compares; pushes, creates and updates nothing.

use serde::Serialize;
use serde_json::json;

use super::build::Made;
use super::decide::{Decision, decide};
use super::event::{Event, Events, Step};
use super::preflight::{self, Ground};
use super::render::{self, Facts, PushedImage};
use super::repository::{Repository, names_registry};
use super::{around, build, register, service, trap};
use crate::aws::Clients;
use crate::aws::reply::text;
use crate::config::Plan;
use crate::document::{self, Change, Values};
use crate::error::Result;

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// `unchanged` when a deploy would change nothing, else `changes`.
    pub status: &'static str,
    pub service: String,
    pub cluster: String,
    pub image: Option<String>,
    pub digest: Option<String>,
    /// The repository does not have this digest yet.
    pub pushes: bool,
    /// The ARN of the identical revision, if it is there.
    pub task_definition: Option<String>,
    pub task_definition_changes: Vec<Change>,
    /// `create`, `update`, `none`, `follow`, `wait` or `refuse`.
    pub service_action: &'static str,
    /// The members of the service that would change.
    pub service_changes: Vec<String>,
    /// What would be created around the service.
    pub creates: Vec<String>,
    /// What would run before the service is touched, by name.
    pub before: Vec<String>,
    /// What would run once it is steady.
    pub after: Vec<String>,
}

pub async fn dry_run(plan: &Plan, clients: &Clients, events: &Events) -> Result<DryRun> {
    let ground = super::step(events, Step::Preflight, preflight::check(plan, clients, events), Ground::detail).await?;
    let mut creates = Vec::new();
    let (image, pushes) = image(plan, &ground, clients, events, &mut creates).await?;
    let facts = Facts::new(plan, clients, &ground, image.as_ref());
    let rendered = render::documents(plan, &facts, events)?;
    let input = &rendered.task_definition;
    let own = ground.live.as_ref().map(|live| text(live, "taskDefinition"));
    let found = register::find(&document::fingerprint(input), text(input, "family"), own, clients).await?;
    let before = match own {
        Some(own) => register::describe(own, clients).await?.map(|reply| reply["taskDefinition"].clone()),
        None => None,
    };
    let task_definition_changes = document::diff(before.as_ref().unwrap_or(&json!({})), input, Values::Redacted);
    creates.extend(ground.looked.creates.iter().cloned());
    let mut warnings = Vec::new();
    // A revision that is not registered yet differs from whatever runs.
    let arn = found.as_ref().map_or_else(|| format!("{}:new", text(input, "family")), |found| found.arn.clone());
    let wanted = service::wanted(plan, &rendered, &arn, &ground.looked.surroundings, &mut warnings);
    let decision = decide(ground.live.as_ref(), &wanted, plan.rollout.fail_fast, &mut warnings);
    let mut before = around::names(&plan.before);
    let (service_action, service_changes) = match decision {
        Decision::Create(_) => ("create", Vec::new()),
        Decision::Update { changes, deploys, .. } => {
            if let (true, Some(live)) = (deploys, &ground.live)
                && let Err(error) = trap::check(plan, live, &wanted, input, clients).await
            {
                return Err(error);
            }
            if !deploys {
                before.clear();
            }
            ("update", changes)
        }
        Decision::Nothing { .. } => ("none", Vec::new()),
        Decision::Follow { .. } => ("follow", Vec::new()),
        Decision::WaitDraining => ("wait", Vec::new()),
        Decision::Refuse(error) => {
            warnings.push(format!("a deploy would be refused now: {error}"));
            ("refuse", Vec::new())
        }
    };
    for warning in warnings {
        events.warn(warning, None);
    }
    let unchanged = service_action == "none" && !pushes && creates.is_empty();
    Ok(DryRun {
        status: if unchanged { "unchanged" } else { "changes" },
        service: plan.service.clone(),
        cluster: plan.cluster.clone(),
        image: facts.image.as_ref().map(PushedImage::uri),
        digest: facts.digest().map(str::to_owned),
        pushes,
        task_definition: found.map(|found| found.arn),
        task_definition_changes,
        service_action,
        service_changes,
        creates,
        before: if matches!(service_action, "create" | "update" | "wait") { before } else { Vec::new() },
        after: if service_action == "refuse" { Vec::new() } else { around::names(&plan.after) },
    })
}

/// The image as it would be pushed, and whether it would be.
async fn image(
    plan: &Plan,
    ground: &Ground,
    clients: &Clients,
    events: &Events,
    creates: &mut Vec<String>,
) -> Result<(Option<PushedImage>, bool)> {
    let (Some(image), Some(repository)) = (&plan.image, &ground.repository) else { return Ok((None, false)) };
    let work = build::image(plan, image, &ground.rehearsed.task_definition, clients, events);
    let digest = super::step(events, Step::Build, work, Made::detail).await?.digest().await?;
    let tags = render::tags(plan, &image.tags, &clients.region)?;
    let mut repository_uri = repository.uri();
    let pushes = match repository {
        Repository::Ecr { exists: false, name, .. } => {
            creates.push(format!("repository {name}"));
            if !names_registry(&repository_uri) {
                let (account, region) = (&ground.identity.account_id, &clients.region);
                repository_uri = format!("{account}.dkr.ecr.{region}.amazonaws.com/{name}");
            }
            true
        }
        Repository::Ecr { described: true, name, .. } => super::push::tags_of(name, &digest, clients).await?.is_none(),
        // Other registries would need a login to be asked.
        _ => {
            let message = format!("whether {repository_uri} has {digest} is not asked in a dry run");
            events.emit(Event::Notice { message });
            true
        }
    };
    Ok((Some(PushedImage { repository_uri, digest, tags }), pushes))
}
