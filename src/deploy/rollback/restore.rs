//! Bringing the release before back: by ECS itself where it does, else by an update; verified.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::history::{self, Past, Release};
use super::{confirm, expects_targets, settings, steady, stop, superseded};
use crate::aws::Clients;
use crate::aws::reply::{id, text};
use crate::deploy::failure;
use crate::deploy::follow::observe::Eye;
use crate::deploy::follow::steady::{Observation, Ours, Verdict, verdict};
use crate::deploy::follow::{End, Followed, Steady, Teller, follow};
use crate::deploy::service::{self, Placed, decide, update};
use crate::error::{Error, Kind, Result};

/// What a rollback came to.
pub(in crate::deploy) enum Restored {
    /// This revision runs, and is steady.
    Previous(String),
    /// ECS had finished the deployment meanwhile.
    NotNeeded(Steady),
}

impl Restored {
    pub(in crate::deploy) fn detail(&self) -> String {
        match self {
            Restored::Previous(back) => id(back).to_owned(),
            Restored::NotNeeded(_) => "not needed any more".to_owned(),
        }
    }
}

/// A rollback that ECS has agreed to shows within this; a service that looks otherwise for longer is otherwise.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);

/// Brings the previous release back, or follows ECS doing so, and verifies it.
#[allow(clippy::too_many_arguments)]
pub(in crate::deploy) async fn restore(
    placed: &Placed,
    ours: &Ours<'_>,
    previous: &Past,
    mut eye: Eye,
    by_ecs: bool,
    until: Instant,
    teller: &mut Teller<'_>,
    clients: &Clients,
) -> Result<Restored> {
    // Without fail_fast: the failed tasks are still counted, and what counts now is ECS's word.
    let patient = Ours { fail_fast: 0, ..ours.clone() };
    let asked = eye.service_deployment.clone();
    let mut by_ecs = by_ecs
        || match asked.as_deref() {
            Some(arn) => stop::ask(arn, until, clients, teller.events()).await.unwrap_or(false),
            None => false,
        };
    if !by_ecs {
        // ECS may refuse to stop because it began to roll back meanwhile, or because it has finished.
        let (seen, service) = eye.look(ours.deployment_id, clients).await?;
        let record = seen.service_deployment.as_ref().map_or("", |record| &record.status);
        match verdict(&seen, &patient) {
            Verdict::RollingBack(_) | Verdict::RolledBack(_) | Verdict::RollbackFailed(_) => by_ecs = true,
            Verdict::Superseded(by) => return Err(superseded(&by)),
            Verdict::Steady { .. } if record.starts_with("ROLLBACK_") => by_ecs = true,
            steady @ Verdict::Steady { .. } => {
                let followed = Followed { end: End::Verdict(steady), seen, service, eye };
                return Ok(Restored::NotNeeded(self::steady(followed, ours.deployment_id)));
            }
            // Asked for, though the answer was lost; the deployments do not show it yet.
            Verdict::Pending(_) | Verdict::Failed(_) => {
                by_ecs = matches!(record, "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS");
                // Right after an update its service deployment was not known yet.
                if let (false, None, Some(arn)) = (by_ecs, asked, eye.service_deployment.as_deref()) {
                    by_ecs = stop::ask(arn, until, clients, teller.events()).await.unwrap_or(false);
                }
            }
        }
    }
    if by_ecs {
        let otherwise_since = Cell::new(None);
        let over = |verdict: &Verdict| match verdict {
            Verdict::Pending(_) | Verdict::RollingBack(_) => false,
            Verdict::RolledBack(_) | Verdict::RollbackFailed(_) | Verdict::Superseded(_) => true,
            Verdict::Steady { .. } | Verdict::Failed(_) => {
                let since = otherwise_since.get().unwrap_or_else(Instant::now);
                otherwise_since.set(Some(since));
                since.elapsed() >= SHOWS_WITHIN
            }
        };
        let followed = follow(&patient, eye, until, teller, clients, over).await;
        match &followed.end {
            End::Verdict(Verdict::RolledBack(_)) => {
                let live = another_primary(placed, clients).await?;
                return verify(&live, until, teller, clients).await.map(Restored::Previous);
            }
            End::Verdict(Verdict::Superseded(by)) => return Err(superseded(by)),
            End::Verdict(Verdict::Steady { .. }) => {
                return Ok(Restored::NotNeeded(steady(followed, ours.deployment_id)));
            }
            // ECS does not bring it back after all.
            End::Verdict(Verdict::Failed(_)) => {}
            End::Verdict(verdict) => return Err(Error::other(words(verdict))),
            End::Deadline(what) => {
                let message = format!("not back in time: {what}");
                return Err(Error::new(Kind::DeadlinePassed, message));
            }
            End::Lost(lost) => return Err(lost.clone().into()),
        }
    }
    let live = service::describe(&placed.cluster, &placed.service_name, clients).await?.unwrap_or_default();
    let names = (placed.cluster.as_str(), placed.service_name.as_str());
    let configuration = match previous.arn.as_str() {
        "" => Value::Null,
        arn => history::described(arn, clients).await["deploymentConfiguration"].take(),
    };
    let input = settings::update_to(names, &live, &previous.release, &configuration);
    if previous.release.task_definition == placed.task_definition && !settings::changes_settings(&input) {
        return Err(Error::other("the release before it is of the same revision"));
    }
    let live = update::update(input, Some(&live), until, clients, teller.events()).await?;
    verify(&live, until, teller, clients).await.map(Restored::Previous)
}

/// The service with another PRIMARY deployment than ours; reads may lag behind what ECS said of the rollback.
async fn another_primary(placed: &Placed, clients: &Clients) -> Result<Value> {
    for wait in [0, 200, 1000, 3000] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let live = service::describe(&placed.cluster, &placed.service_name, clients).await?.unwrap_or_default();
        if decide::primary(&live).is_some_and(|primary| text(primary, "id") != placed.deployment_id) {
            return Ok(live);
        }
    }
    Err(Error::other("the service still runs the release that failed"))
}

/// Whether what is PRIMARY now gets steady, and its tasks run what it names. Returns its revision.
async fn verify(live: &Value, until: Instant, teller: &mut Teller<'_>, clients: &Clients) -> Result<String> {
    let primary = decide::primary(live).cloned().unwrap_or_default();
    let task_definition = text(&primary, "taskDefinition").to_owned();
    settle(live, text(&primary, "id"), &task_definition, until, teller, clients).await?;
    let names = (text(live, "clusterArn"), text(live, "serviceName"));
    confirm::by_digest(names, &Release::of(&task_definition), clients, teller.events()).await?;
    Ok(task_definition)
}

/// Follows a deployment that is expected to be good, judged by its rollout state alone.
async fn settle(
    live: &Value,
    deployment_id: &str,
    task_definition: &str,
    until: Instant,
    teller: &mut Teller<'_>,
    clients: &Clients,
) -> Result<Steady> {
    let mut eye = Eye::new(text(live, "clusterArn"), text(live, "serviceName"), None);
    eye.no_service_deployments = true;
    let ours = Ours { deployment_id, task_definition, expects_targets: expects_targets(live), ..Ours::default() };
    let over = |verdict: &Verdict| !matches!(verdict, Verdict::Pending(_) | Verdict::RollingBack(_));
    let followed = follow(&ours, eye, until, teller, clients, over).await;
    match &followed.end {
        End::Verdict(Verdict::Steady { .. }) => Ok(steady(followed, deployment_id)),
        End::Verdict(Verdict::Superseded(by)) => Err(superseded(by)),
        End::Verdict(verdict) => Err(explained(words(verdict), &followed.seen, &ours)),
        End::Deadline(what) => {
            let error = explained(format!("not steady in time: {what}"), &followed.seen, &ours);
            Err(error.with_kind(Kind::DeadlinePassed))
        }
        End::Lost(lost) => Err(Error::new(Kind::DeadlinePassed, format!("lost sight of the rollout: {lost}"))),
    }
}

fn explained(message: String, seen: &Observation, ours: &Ours<'_>) -> Error {
    let error = Error::new(Kind::RolloutFailed, message);
    failure::causes(seen, ours).into_iter().fold(error, Error::hint)
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pending(text)
        | Verdict::Failed(text)
        | Verdict::RollingBack(text)
        | Verdict::RolledBack(text)
        | Verdict::RollbackFailed(text)
        | Verdict::Superseded(text) => text.clone(),
        Verdict::Steady { .. } => "steady".to_owned(),
    }
}
