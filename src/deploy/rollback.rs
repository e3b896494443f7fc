//! Back to what was good: ECS's own rollback followed to its end, or ours; verified, or said to have failed.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::event::{Event, Events, Step};
use super::follow::{End, Followed, Steady, Teller, follow};
use super::history::{self, Past, Release};
use super::observe::Eye;
use super::poller::Poller;
use super::service::{self, Action, Placed};
use super::steady::{Observation, Ours, Verdict, verdict};
use super::{confirm, course, deadline, decide, failure, pause, settings, stop, waits};
use crate::aws::Clients;
use crate::aws::reply::{id, text};
use crate::config::{OnFailure, RolloutPlan};
use crate::error::{Error, Kind, Result};

pub use super::rollback_command::{RollbackOutcome, rollback};

/// Follows the deployment to steady state. What fails is brought back to what was good before, as the plan says.
pub async fn follow_or_roll_back(
    rollout: &RolloutPlan,
    placed: &Placed,
    digest: Option<&str>,
    clients: &Clients,
    events: &Events,
) -> Result<Steady> {
    follow_together(rollout, placed, digest, &Poller::default(), clients, events).await
}

/// The same, looking together with others of this process.
pub async fn follow_together(
    rollout: &RolloutPlan,
    placed: &Placed,
    digest: Option<&str>,
    poller: &Poller,
    clients: &Clients,
    events: &Events,
) -> Result<Steady> {
    let watched = watch(rollout, placed, digest, poller, clients, events).await;
    conclude(rollout, placed, watched, clients, events).await
}

/// A deployment that was followed, and who followed it.
pub(super) struct Watched<'a> {
    ours: Ours<'a>,
    followed: Followed,
    timeout: Duration,
    teller: Teller<'a>,
}

/// What is looked at, and how long its way to steady state may be.
pub(super) async fn patience(
    rollout: &RolloutPlan,
    placed: &Placed,
    poller: &Poller,
    clients: &Clients,
) -> (Eye, Duration) {
    let mut eye = placed.eye().sharing(poller);
    eye.waits = waits::of(&placed.service, &placed.task_definition, poller, clients).await;
    let timeout = match rollout.timeout_is_least {
        true => deadline::of(&placed.service, &eye.waits.groups).max(rollout.timeout),
        false => rollout.timeout,
    };
    (eye, timeout)
}

/// Follows the deployment to its end, or to the end of our patience. Changes nothing.
pub(super) async fn watch<'a>(
    rollout: &RolloutPlan,
    placed: &'a Placed,
    digest: Option<&'a str>,
    poller: &Poller,
    clients: &Clients,
    events: &'a Events,
) -> Watched<'a> {
    let ours = placed.ours(rollout, digest);
    let (eye, timeout) = patience(rollout, placed, poller, clients).await;
    if timeout > rollout.timeout && placed.rolls {
        let message = format!("this rollout may take {}: --timeout sets it", humantime::format_duration(timeout));
        events.emit(Event::Notice { message });
    }
    let mut teller = Teller::new(events, placed.seen_events.clone());
    let first = |verdict: &Verdict| !matches!(verdict, Verdict::Pending(_));
    let followed = follow(&ours, eye, Instant::now() + timeout, &mut teller, clients, first).await;
    Watched { ours, followed, timeout, teller }
}

/// What the end comes to: steady, said to have failed, or brought back to what was good before.
pub(super) async fn conclude(
    rollout: &RolloutPlan,
    placed: &Placed,
    watched: Watched<'_>,
    clients: &Clients,
    events: &Events,
) -> Result<Steady> {
    let Watched { ours, followed, timeout, mut teller } = watched;
    let resume = "resume: `steady wait`";
    let (why, ecs_rolls_back) = match &followed.end {
        End::Verdict(Verdict::Steady { note }) => {
            if let Some(note) = note {
                events.warn(note.clone(), None);
            }
            return Ok(steady(followed, &placed.deployment_id));
        }
        End::Verdict(Verdict::Superseded(by)) => {
            return Err(superseded(by).hint("follow it: `steady wait`"));
        }
        End::Lost(lost) => {
            let message = format!("lost sight of the rollout, which goes on at AWS's side: {lost}");
            let error = Error::new(Kind::DeadlinePassed, message);
            let error = lost.hint().into_iter().fold(error, Error::hint);
            return Err(error.hint(format!("then {resume}")));
        }
        End::Deadline(waits_for) => {
            let took = humantime::format_duration(timeout);
            (format!("not steady after {took}: {waits_for}"), None)
        }
        End::Verdict(Verdict::Failed(why)) => (why.clone(), None),
        End::Verdict(Verdict::RollbackFailed(why)) => (why.clone(), Some(false)),
        End::Verdict(Verdict::RollingBack(why) | Verdict::RolledBack(why)) => (why.clone(), Some(true)),
        End::Verdict(Verdict::Pending(why)) => (why.clone(), None),
    };
    let timed_out = matches!(followed.end, End::Deadline(_));
    if let (true, Some(paused)) = (timed_out, pause::error(&followed.seen, &placed.task_definition)) {
        return Err(paused);
    }
    let findings = failure::explain(&followed.seen, &ours, &mut teller, clients, events).await;
    let why = why.trim_end_matches('.').to_owned();
    let revision = id(&placed.task_definition).to_owned();
    let failed = |kind: Kind, ending: &str, next: &str| {
        let error = Error::new(kind, format!("the rollout of {revision} failed: {why}; {ending}"));
        findings.iter().fold(error, |error, finding| error.hint(finding.clone())).hint(next)
    };
    let look = "look closer: `steady status`";
    if !placed.rolls && ecs_rolls_back.is_none() {
        let (kind, next) = match timed_out {
            true => (Kind::DeadlinePassed, resume),
            false => (Kind::RolloutFailed, look),
        };
        return Err(failed(kind, "no new release was deployed, so there is nothing to roll back", next));
    }
    let previous = good_before(placed, clients).await;
    let before = previous.is_some();
    let Some(previous) = previous.filter(|_| ecs_rolls_back != Some(false)) else {
        if timed_out {
            return Err(failed(Kind::DeadlinePassed, "it goes on rolling", resume));
        }
        let ending = match before {
            true => "ECS could not bring the previous release back",
            false => "there is no good release before it, so it is left for inspection",
        };
        return Err(failed(Kind::RolloutFailed, ending, look));
    };
    if ecs_rolls_back.is_none() && rollout.on_failure == OnFailure::Stop {
        let (kind, ending) = match timed_out {
            true => (Kind::DeadlinePassed, "it goes on rolling"),
            false => (Kind::RolloutFailed, "it is left as it is (`on_failure: stop`)"),
        };
        return Err(failed(kind, ending, resume).hint("go back: `steady rollback`"));
    }
    let until = Instant::now() + timeout;
    let eye = followed.eye.clone();
    let work = restore(placed, &ours, &previous, eye, ecs_rolls_back.is_some(), until, &mut teller, clients);
    match super::step(events, Step::Rollback, work, Restored::detail).await {
        Ok(Restored::NotNeeded(steady)) => {
            let late = humantime::format_duration(timeout);
            let message = match timed_out {
                true => format!("{revision} is steady, but later than --timeout {late}"),
                false => format!("{revision} is steady after all, though {why}"),
            };
            [Some(message), steady.note.clone()].into_iter().flatten().for_each(|message| events.warn(message, None));
            Ok(steady)
        }
        Ok(Restored::Previous(back)) => {
            let ending = format!("the previous release {} is back and steady", id(&back));
            Err(failed(Kind::RolledBack, &ending, "mend it and deploy again"))
        }
        Err(error) if error.kind() == Kind::Superseded => Err(error),
        Err(error) => {
            let ending = format!("and so did the rollback: {error}");
            Err(failed(Kind::RolloutFailed, &ending, look).cause(error))
        }
    }
}

pub(super) fn expects_targets(service: &Value) -> bool {
    crate::aws::reply::list(service, "loadBalancers").iter().any(|one| !text(one, "targetGroupArn").is_empty())
}

fn steady(followed: Followed, deployment_id: &str) -> Steady {
    let note = match followed.end {
        End::Verdict(Verdict::Steady { note }) => note,
        _ => None,
    };
    Steady {
        deployment_id: deployment_id.to_owned(),
        service_deployment: followed.eye.service_deployment,
        desired: followed.seen.desired,
        running: followed.seen.running,
        note,
        service: followed.service,
    }
}

/// The release that was good before ours; history knows even when ours followed a failed one.
pub(super) async fn good_before(placed: &Placed, clients: &Clients) -> Option<Past> {
    if placed.action == Action::Created {
        return None;
    }
    let history = history::read(&placed.cluster, &placed.service_name, clients).await.unwrap_or_default();
    let ours = history.iter().rev().find(|past| past.release.task_definition == placed.task_definition);
    let ours = ours.map_or_else(|| Release::of(&placed.task_definition), |past| past.release.clone());
    let known = course::path(&history).good.into_iter().rev();
    let found = match &placed.previous {
        Some(previous) => known.clone().find(|past| past.release.task_definition == previous.task_definition),
        None => course::good_before(&history, &ours),
    };
    let previous = placed.previous.as_ref().map(|previous| Release::of(&previous.task_definition));
    found.cloned().or_else(|| previous.map(|release| Past { release, ..Past::default() }))
}

/// What a rollback came to.
pub(super) enum Restored {
    /// This revision runs, and is steady.
    Previous(String),
    /// ECS had finished the deployment meanwhile.
    NotNeeded(Steady),
}

impl Restored {
    pub(super) fn detail(&self) -> String {
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
pub(super) async fn restore(
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
            End::Deadline(what) => return Err(Error::other(format!("not back in time: {what}"))),
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
    let live = super::update::update(input, Some(&live), until, clients, teller.events()).await?;
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

fn superseded(by: &str) -> Error {
    Error::new(Kind::Superseded, format!("superseded: {by}")).hint("the other deployment is left alone")
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
