//! Back to what was good: ECS's own rollback followed to its end, or ours; verified, or said to have failed.

pub mod command;
pub(super) mod confirm;
pub mod course;
pub mod history;
pub mod inactive;
pub mod interrupt;
pub mod list;
mod restore;
pub mod settings;
pub(super) mod stop;
pub mod target;

use std::time::{Duration, Instant};

use serde_json::Value;

use super::event::{Event, Events, Step};
use super::follow::observe::Eye;
use super::follow::poller::Poller;
use super::follow::steady::{Ours, Verdict};
use super::follow::{End, Followed, Steady, Teller, deadline, follow, waits};
use super::service::{Action, Placed};
use super::{failure, pause};
use crate::aws::Clients;
use crate::aws::reply::{id, text};
use crate::config::{OnFailure, RolloutPlan};
use crate::error::{Error, Kind, Result};
use history::{Past, Release};
use restore::{Restored, restore};

pub use command::{RollbackOutcome, rollback};

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
        let message = match timed_out && kind == Kind::DeadlinePassed {
            true => format!("{revision} is {why}; {ending}"),
            false => format!("the rollout of {revision} failed: {why}; {ending}"),
        };
        let error = Error::new(kind, message);
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
            false => "there is no good release before it, so it is left as it is",
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
        Err(error) if error.kind() == Kind::DeadlinePassed => {
            let ending = format!("its rollback goes on at AWS: {error}");
            Err(failed(Kind::DeadlinePassed, &ending, "follow it: `steady wait`"))
        }
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

fn superseded(by: &str) -> Error {
    Error::new(Kind::Superseded, format!("superseded: {by}")).hint("the other deployment is left alone")
}
