//! What a deploy would change. Builds, asks, compares; pushes, creates and updates nothing.

use serde::Serialize;
use serde_json::{Value, json};

use super::build::Made;
use super::event::{Event, Events, Step};
use super::preflight::{self, Ground, Purpose};
use super::register::{self, Registered, Sought};
use super::render::{self, Facts, PushedImage};
use super::repository::{Repository, names_registry};
use super::service::decide::{self, Decision, decide};
use super::service::trap;
use super::{around, build, service};
use crate::aws::Clients;
use crate::aws::reply::{self, list, text};
use crate::config::Plan;
use crate::document::{self, Change, Values};
use crate::error::Result;

/// How a deploy is tried.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// Whether differences show values that may be secrets.
    pub values: Values,
    /// Without, the image that is deployed stands in for the one that a deploy would build.
    pub build: bool,
}

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
    /// The ARN of the revision that is compared with: the one that runs, else the family's newest.
    pub previous_task_definition: Option<String>,
    /// The ARN of the identical revision, if it is there.
    pub task_definition: Option<String>,
    pub task_definition_changes: Vec<Change>,
    /// `create`, `update`, `none`, `follow`, `wait` or `refuse`.
    pub service_action: &'static str,
    pub service_changes: Vec<Change>,
    /// What would be created around the service.
    pub creates: Vec<String>,
    /// What would run before the service is touched, by name.
    pub before: Vec<String>,
    /// What would run once it is steady.
    pub after: Vec<String>,
}

pub async fn dry_run(plan: &Plan, trial: Trial, clients: &Clients, events: &Events) -> Result<DryRun> {
    let ground =
        super::step(events, Step::Preflight, preflight::ground(plan, clients, events, Purpose::Trial), Ground::detail)
            .await?;
    let mut creates = Vec::new();
    // A service that is not there yet may have its family already.
    let family = text(&ground.rehearsed.task_definition, "family");
    let own = ground.live.as_ref().map(decide::running).filter(|own| !own.is_empty());
    let before = register::describe(own.unwrap_or(family), clients).await?;
    let deployed = before.as_ref().map_or(&Value::Null, |reply| &reply["taskDefinition"]);
    let (image, pushes) = image(plan, trial, &ground, deployed, clients, events, &mut creates).await?;
    let facts = Facts::new(plan, clients, &ground, image.as_ref());
    let rendered = render::documents(plan, &facts, events)?;
    let input = &rendered.task_definition;
    let sought = Sought::new(input);
    let found = match before.as_ref().filter(|reply| register::matches(reply, &sought)) {
        Some(same) => Some(Registered::of(same, true)),
        None => register::find(&sought, own, clients).await?,
    };
    let previous = before.as_ref().map(|reply| text(&reply["taskDefinition"], "taskDefinitionArn").to_owned());
    let same = found.as_ref().is_some_and(|found| own.is_none() || Some(&found.arn) == previous.as_ref());
    let task_definition_changes = match &before {
        _ if same => Vec::new(),
        Some(before) => document::diff(&register::described(before), input, trial.values),
        None => document::diff(&json!({}), input, trial.values),
    };
    creates.extend(ground.looked.creates.iter().cloned());
    let mut warnings = Vec::new();
    // A revision that is not registered yet differs from whatever runs.
    let arn = found.as_ref().map_or_else(|| format!("{}:new", text(input, "family")), |found| found.arn.clone());
    let wanted = service::wanted(plan, &rendered, &arn, &ground.looked.surroundings, &mut warnings);
    let decision = decide(ground.live.as_ref(), &wanted, plan.rollout.fail_fast, &mut warnings);
    let mut before = around::names(&plan.before);
    let created = |input: &Value| {
        let changes = document::diff(&json!({}), input, trial.values).into_iter();
        changes.filter(|change| change.path != "clientToken").collect()
    };
    let (service_action, service_changes) = match (decision, &ground.live) {
        (Decision::Create(input), _) => ("create", created(&input)),
        (Decision::Update { changes, deploys, .. }, Some(live)) => {
            if !deploys {
                before.clear();
            } else if let Err(error) = trap::check(plan, live, &wanted, input, clients).await {
                events.warn(format!("a deploy would be refused now: {error}"), error.hints_joined());
            }
            ("update", decide::parts(live, &wanted, &changes, trial.values))
        }
        (Decision::Update { .. } | Decision::WaitDraining, _) => ("wait", created(&wanted)),
        (Decision::Nothing { .. }, _) => ("none", Vec::new()),
        (Decision::Follow { .. }, _) => ("follow", Vec::new()),
        (Decision::Refuse(error), live) => {
            warnings.push(format!("a deploy would be refused now: {error}"));
            ("refuse", live.as_ref().map_or_else(Vec::new, |live| decide::differences(live, &wanted, trial.values)))
        }
    };
    for warning in warnings {
        events.warn(warning, None);
    }
    if let Some(live) = &ground.live {
        tags_that_stay(plan, &wanted, live, clients, events).await;
    }
    let unchanged = matches!(service_action, "none" | "follow") && !pushes && creates.is_empty();
    Ok(DryRun {
        status: if unchanged { "unchanged" } else { "changes" },
        service: plan.service.clone(),
        cluster: plan.cluster.clone(),
        image: facts.image.as_ref().map(PushedImage::uri),
        digest: facts.digest().map(str::to_owned),
        pushes,
        previous_task_definition: previous,
        task_definition: found.map(|found| found.arn),
        task_definition_changes,
        service_action,
        service_changes,
        creates,
        before: if matches!(service_action, "create" | "update" | "wait") { before } else { Vec::new() },
        after: if service_action == "refuse" { Vec::new() } else { around::names(&plan.after) },
    })
}

/// UpdateService takes no tags: those of a service that is there stay as they are, which nobody would guess.
async fn tags_that_stay(plan: &Plan, wanted: &Value, live: &Value, clients: &Clients, events: &Events) {
    let tags = list(wanted, "tags");
    if tags.is_empty() {
        return;
    }
    let input = json!({ "cluster": plan.cluster, "services": [plan.service], "include": ["TAGS"] });
    // Who may not read them is told nothing of them.
    let Ok(reply) = clients.describe_services(input).await else { return };
    let now = list(&reply, "services").first().map_or(&[][..], |service| list(service, "tags"));
    let other = tags.iter().filter(|tag| reply::tag(now, text(tag, "key")) != Some(text(tag, "value")));
    let keys: Vec<&str> = other.map(|tag| text(tag, "key")).collect();
    if !keys.is_empty() {
        let message = format!("a deploy does not change the tags of a service that is there: {}", keys.join(", "));
        let hint = format!("`aws ecs tag-resource --resource-arn {} --tags …` does", text(live, "serviceArn"));
        events.warn(message, Some(hint));
    }
}

/// The image as it would be pushed, and whether it would be. `deployed` is the task definition that runs.
async fn image(
    plan: &Plan,
    trial: Trial,
    ground: &Ground,
    deployed: &Value,
    clients: &Clients,
    events: &Events,
    creates: &mut Vec<String>,
) -> Result<(Option<PushedImage>, bool)> {
    let (Some(image), Some(repository)) = (&plan.image, &ground.repository) else { return Ok((None, false)) };
    let tags = render::tags(plan, &image.tags, &clients.region)?;
    let mut repository_uri = repository.uri();
    let missing = match repository {
        Repository::Ecr { exists: false, name, .. } => {
            creates.push(format!("repository {name}"));
            if !names_registry(&repository_uri) {
                let (account, region) = (&ground.identity.account_id, &clients.region);
                repository_uri = format!("{account}.dkr.ecr.{region}.amazonaws.com/{name}");
            }
            true
        }
        _ => false,
    };
    let digests = digests(deployed, &repository_uri);
    if !trial.build {
        let digest = digests.first().copied().map(str::to_owned).unwrap_or_else(|| {
            let message = format!("no image of {repository_uri} is deployed: its digest is a stand-in");
            events.emit(Event::Notice { message });
            render::no_digest()
        });
        return Ok((Some(PushedImage { repository_uri, digest, tags }), false));
    }
    let work = build::image(plan, image, &ground.rehearsed.task_definition, clients, events);
    let digest = super::step(events, Step::Build, work, Made::detail).await?.digest().await?;
    let pushes = match repository {
        _ if missing => true,
        Repository::Ecr { described: true, name, .. } => super::push::tags_of(name, &digest, clients).await?.is_none(),
        // Other registries would need a login to be asked; what runs has been there.
        _ if digests.contains(&digest.as_str()) => false,
        _ => {
            let message = format!("whether {repository_uri} has {digest} is not asked in a dry run");
            events.emit(Event::Notice { message });
            true
        }
    };
    Ok((Some(PushedImage { repository_uri, digest, tags }), pushes))
}

/// The digests of this repository that a task definition names.
fn digests<'a>(task_definition: &'a Value, repository_uri: &str) -> Vec<&'a str> {
    let images = list(task_definition, "containerDefinitions").iter().map(|container| text(container, "image"));
    images.filter_map(|image| image.strip_prefix(repository_uri)?.strip_prefix('@')).collect()
}
