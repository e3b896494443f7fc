//! What a deploy would change. Builds, asks, compares; pushes, creates and updates nothing.

use serde::Serialize;
use serde_json::{Value, json};

use super::decide::{Decision, decide};
use super::event::{Event, Events, Step};
use super::preflight::{self, Ground};
use super::render::{self, Facts, PushedImage};
use super::repository::Repository;
use super::service::{self, Surroundings};
use super::{build, discovery, load_balancer, register, target_group, trap};
use crate::aws::Clients;
use crate::aws::reply::{list, text};
use crate::config::Plan;
use crate::document::{self, Change, Values};
use crate::error::{Error, Result};

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
    let mut surroundings = surroundings(plan, ground.live.as_ref(), clients, &mut creates).await?;
    if let Some(discovery) = &plan.service_discovery {
        surroundings.registries = discovery::look(plan, discovery, input, clients, &mut creates).await?;
    }
    let mut warnings = Vec::new();
    // A revision that is not registered yet differs from whatever runs.
    let arn = found.as_ref().map_or_else(|| format!("{}:new", text(input, "family")), |found| found.arn.clone());
    let wanted = service::wanted(plan, &rendered, &arn, &surroundings, &mut warnings);
    let decision = decide(ground.live.as_ref(), &wanted, plan.rollout.fail_fast, &mut warnings);
    let (service_action, service_changes) = match decision {
        Decision::Create(_) => ("create", Vec::new()),
        Decision::Update { changes, deploys, .. } => {
            if let (true, Some(live)) = (deploys, &ground.live)
                && let Err(error) = trap::check(plan, live, &wanted, input, clients).await
            {
                return Err(error);
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
    let built = super::step(events, Step::Build, work, |image| image.digest.clone()).await?;
    let tags = render::tags(plan, &image.tags, &clients.region)?;
    let mut repository_uri = repository.uri();
    let pushes = match repository {
        Repository::Ecr { exists: false, name, .. } => {
            creates.push(format!("repository {name}"));
            let (account, region) = (&ground.identity.account_id, &clients.region);
            repository_uri = format!("{account}.dkr.ecr.{region}.amazonaws.com/{name}");
            true
        }
        Repository::Ecr { described: true, name, .. } => {
            super::push::tags_of(name, &built.digest, clients).await?.is_none()
        }
        // Other registries would need a login to be asked.
        _ => {
            let message = format!("whether {repository_uri} has {} is not asked in a dry run", built.digest);
            events.emit(Event::Notice { message });
            true
        }
    };
    Ok((Some(PushedImage { repository_uri, digest: built.digest, tags }), pushes))
}

/// What the service would be attached to, as far as it exists; the rest is said to be created.
async fn surroundings(
    plan: &Plan,
    live: Option<&Value>,
    clients: &Clients,
    creates: &mut Vec<String>,
) -> Result<Surroundings> {
    let Some(balancer) = &plan.load_balancer else { return Ok(Surroundings::default()) };
    let name = load_balancer::balancer_name(plan, balancer);
    let group_name = balancer.target_group.name.clone().unwrap_or_else(|| load_balancer::elb_name(&plan.service));
    let (found, group) = tokio::try_join!(
        async { load_balancer::find(balancer.arn.as_deref(), Some(&name), clients).await.map_err(Error::from) },
        async {
            target_group::find(balancer.target_group.arn.as_deref(), Some(&group_name), clients)
                .await
                .map_err(Error::from)
        },
    )?;
    if found.is_none() {
        creates.push(format!("load balancer {name}"));
        creates.push(format!("listener {}:{}", balancer.listener.protocol, balancer.listener.port));
    }
    match group {
        // What is attached stays attached; a difference in settings is not looked for.
        Some(group) => {
            let arn = group.target_group_arn().unwrap_or_default();
            let attached = list(live.unwrap_or(&Value::Null), "loadBalancers").to_vec();
            let same = attached.iter().any(|one| text(one, "targetGroupArn") == arn);
            let load_balancers = if same { json!(attached) } else { json!([{ "targetGroupArn": arn }]) };
            Ok(Surroundings { load_balancers: Some(load_balancers), ..Default::default() })
        }
        None => {
            creates.push(format!("target group {group_name}"));
            let new = json!([{ "targetGroupArn": format!("{group_name} (new)") }]);
            Ok(Surroundings { load_balancers: Some(new), ..Default::default() })
        }
    }
}
