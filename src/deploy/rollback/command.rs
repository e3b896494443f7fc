//! The command `rollback`: to the release that was good before, or to the one that is named.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::course::{Course, course, path};
use super::history::{self, Past, Release};
use super::inactive::{deployable, restored};
use super::stop::{Stopped, going_back, take_back};
use super::{confirm, follow_or_roll_back, settings, target as rollback_target};
use crate::aws::Clients;
use crate::aws::reply::{id, list, optional, tag, text};
use crate::config::RolloutPlan;
use crate::deploy::event::{Event, Events, Step};
use crate::deploy::follow::Steady;
use crate::deploy::service::{Action, Placed, controller, decide};
use crate::deploy::{outcome, register, service};
use crate::error::{Error, Kind, Result};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RollbackOutcome {
    pub status: &'static str,
    pub service: String,
    pub cluster: String,
    /// `updated`, `stopped` (ECS took back what was in progress), `adopted` (it was on its way back) or `unchanged`.
    pub action: &'static str,
    pub deployment_id: String,
    pub task_definition: String,
    /// The image of the first container that names a digest.
    pub image: Option<String>,
    pub digest: Option<String>,
    pub release: Option<String>,
    /// The service's settings that came back with it.
    pub settings: Vec<String>,
    pub url: Option<String>,
    pub previous_task_definition: String,
    pub duration_ms: u64,
}

/// One look at what there is, and what it asks for may be overtaken so often.
const TRIES: usize = 4;

/// Brings the service to the release that was good before, or to the one that `to` names.
pub async fn rollback(
    cluster: &str,
    service_name: &str,
    to: Option<&str>,
    rollout: &RolloutPlan,
    clients: &Clients,
    events: &Events,
) -> Result<RollbackOutcome> {
    let started = Instant::now();
    let run = Run { cluster, service: service_name, to, until: started + rollout.timeout, clients, events };
    let back = crate::deploy::step(events, Step::Rollback, run.back(), Back::detail).await?;
    let Back { placed, target, action, settings, previous, revision } = back;
    let image = list(&revision["taskDefinition"], "containerDefinitions")
        .iter()
        .filter_map(|container| optional(container, "image"))
        .find(|image| image.contains("@sha256:"));
    let digest = image.and_then(|image| image.split_once('@')).map(|(_, digest)| digest);
    let following = async {
        let steady = follow_or_roll_back(rollout, &placed, digest, clients, events).await?;
        confirm::by_digest((cluster, service_name), &target.release, clients, events).await?;
        Ok(steady)
    };
    let steady = crate::deploy::step(events, Step::Steady, following, Steady::detail).await?;
    Ok(RollbackOutcome {
        status: "steady",
        service: service_name.to_owned(),
        cluster: cluster.to_owned(),
        action,
        deployment_id: steady.deployment_id.clone(),
        task_definition: target.release.task_definition.clone(),
        image: image.map(str::to_owned),
        digest: digest.map(str::to_owned),
        release: tag(list(&revision, "tags"), register::RELEASE_TAG).map(str::to_owned),
        settings,
        url: outcome::url(&steady.service, clients, events).await,
        previous_task_definition: previous,
        duration_ms: started.elapsed().as_millis() as u64,
    })
}

struct Run<'a> {
    cluster: &'a str,
    service: &'a str,
    to: Option<&'a str>,
    until: Instant,
    clients: &'a Clients,
    events: &'a Events,
}

/// The deployment that leads back.
struct Back {
    placed: Placed,
    target: Past,
    action: &'static str,
    settings: Vec<String>,
    /// The revision that ran before.
    previous: String,
    /// Of the target, as DescribeTaskDefinition has it.
    revision: Value,
}

impl Back {
    fn detail(&self) -> String {
        match self.action {
            "stopped" => format!("ECS takes {} back, deployment {}", id(&self.previous), self.placed.deployment_id),
            _ => self.placed.detail(),
        }
    }
}

impl Run<'_> {
    async fn back(&self) -> Result<Back> {
        for again in 0..TRIES {
            tokio::time::sleep(Duration::from_millis(if again == 0 { 0 } else { 500 })).await;
            let live = live(self.cluster, self.service, self.clients).await?;
            let mut history = read(self.cluster, self.service, self.clients, self.events).await?;
            restored(&live, &mut history, self.clients).await?;
            if let Some(back) = self.attempt(&live, &history).await? {
                return Ok(back);
            }
        }
        Err(Error::new(Kind::InProgress, "other deployments of this service end and begin all the time")
            .hint("wait for them: `steady wait`, and run the same command again"))
    }

    /// `None` when what was seen has changed meanwhile.
    async fn attempt(&self, live: &Value, history: &[Past]) -> Result<Option<Back>> {
        let primary = decide::primary(live).cloned().unwrap_or_default();
        let current = text(&primary, "taskDefinition");
        let in_progress = history.last().filter(|newest| !newest.is_over());
        if let Some(to) = self.to {
            let target = rollback_target::named(to, current, history, self.clients, self.events).await?;
            let top = path(history).good.last().is_some_and(|top| top.release.is(&target.release));
            // What ECS would bring back by itself comes back sooner that way: its tasks may still run.
            return match in_progress.filter(|newest| top && !newest.release.is(&target.release)) {
                Some(deployment) if deployment.status.starts_with("ROLLBACK_") => {
                    self.follow(live, Some(deployment), history).await
                }
                Some(deployment) => self.stop(&primary, deployment, Some(target)).await,
                None => self.update(live, target).await.map(Some),
            };
        }
        match course(history, &primary) {
            Course::Back { from } => self.stay(live, history, from).await.map(Some),
            Course::GoingBack => self.follow(live, in_progress, history).await,
            Course::Stop { deployment } => {
                let top = path(history).good.last().map(|top| (*top).clone());
                let top = match top {
                    Some(top) => Some(top),
                    None => history::before(deployment, self.clients).await?,
                };
                let target = top.ok_or_else(|| nowhere(&primary))?;
                self.stop(&primary, deployment, Some(target)).await
            }
            Course::To { past } => self.update(live, past.clone()).await.map(Some),
            // What ECS's history does not reach to, or does not have.
            Course::Nowhere => match history.first() {
                Some(oldest) => {
                    let before = history::before(oldest, self.clients).await?;
                    let before = before.filter(|before| !before.release.is(&oldest.release));
                    self.update(live, before.ok_or_else(|| nowhere(&primary))?).await.map(Some)
                }
                None => self.by_tags(live, &primary).await.map(Some),
            },
        }
    }

    /// Without a history, tags tell which revisions were releases, and nothing how they ended.
    async fn by_tags(&self, live: &Value, primary: &Value) -> Result<Back> {
        let current = text(primary, "taskDefinition");
        let around = history::around_by_tags(current, self.clients).await?;
        if let Some(newer) = around.newer {
            if text(primary, "rolloutState") == "IN_PROGRESS" {
                let target = Past { release: Release::of(current), ..Past::default() };
                return self.placed(live, live, Action::Adopted, target, ("adopted", &newer)).await;
            }
            let message =
                format!("{} runs though {} is newer: the service seems to be back already", id(current), id(&newer));
            return Err(Error::preflight(message)
                .hint("how far back is meant cannot be told without ECS's history: `steady rollback --to REVISION`"));
        }
        let release = around.older.map(|arn| Release::of(&arn)).ok_or_else(|| nowhere(primary))?;
        let older = id(&release.task_definition);
        let message = format!("{older} is the newest release before {}; whether it was good is not known", id(current));
        self.events.warn(message, Some("another one: `steady rollback --to REVISION`".to_owned()));
        self.update(live, Past { release, ..Past::default() }).await
    }

    /// It was brought back already: whoever asks again means the same place.
    async fn stay(&self, live: &Value, history: &[Past], from: &Past) -> Result<Back> {
        let good = path(history).good;
        let runs = primary_of(live, history);
        let at = good.iter().rposition(|past| past.release.task_definition == runs.release.task_definition);
        let here = at.map_or(runs, |at| good[at].clone());
        let left = id(&from.release.task_definition);
        let since = jiff::Timestamp::from_millisecond(here.finished_at.max(from.finished_at))
            .map(|at| at.strftime(" since %Y-%m-%d %H:%M:%SZ").to_string())
            .unwrap_or_default();
        let message = format!(
            "{} is back already{since}, from {left}: nothing is changed, and a rollback goes no further by itself",
            id(&here.release.task_definition)
        );
        let further = at.and_then(|at| at.checked_sub(1)).map(|before| id(&good[before].release.task_definition));
        let hint = match further {
            Some(before) => format!("to go further back: `steady rollback --to {before}`"),
            None => "what else there is: `steady rollback --list`".to_owned(),
        };
        self.events.warn(message, Some(hint));
        self.placed(live, live, Action::Unchanged, here, ("unchanged", &from.release.task_definition)).await
    }

    /// It is on its way back: by ECS itself, or by a deployment of the earlier release.
    async fn follow(&self, live: &Value, deployment: Option<&Past>, history: &[Past]) -> Result<Option<Back>> {
        let names = (self.cluster, self.service);
        let primary = primary_of(live, history);
        // An update of a moment ago may not be in the history yet.
        let deployment = deployment.unwrap_or(&primary);
        let current = id(&deployment.release.task_definition);
        let (by_ecs, message) = match deployment.status.starts_with("ROLLBACK_") {
            true => (true, format!("ECS is taking {current} back already")),
            false => (false, format!("{current} is on its way back already")),
        };
        self.events.emit(Event::Notice { message });
        if !by_ecs {
            let from = path(history).left.map_or("", |left| &left.release.task_definition);
            let back = self.placed(live, live, Action::Adopted, deployment.clone(), ("adopted", from));
            return back.await.map(Some);
        }
        match going_back(names, deployment, self.until, self.clients).await? {
            Stopped::GoingBack(now) => {
                let target = primary_of(&now, history);
                let from = &deployment.release.task_definition;
                self.placed(live, &now, Action::Adopted, target, ("adopted", from)).await.map(Some)
            }
            Stopped::Over | Stopped::NotHad => Ok(None),
        }
    }

    /// ECS takes back what is in progress; where it does not, an update does.
    async fn stop(&self, primary: &Value, deployment: &Past, target: Option<Past>) -> Result<Option<Back>> {
        let names = (self.cluster, self.service);
        let stopped = take_back(names, deployment, text(primary, "id"), self.until, self.clients, self.events).await?;
        match (stopped, target) {
            (Stopped::GoingBack(now), target) => {
                let from = &deployment.release.task_definition;
                let back = primary_of(&now, target.as_slice());
                self.placed(&now, &now, Action::Adopted, back, ("stopped", from)).await.map(Some)
            }
            (Stopped::NotHad, Some(target)) => {
                let live = live(self.cluster, self.service, self.clients).await?;
                self.update(&live, target).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn update(&self, live: &Value, target: Past) -> Result<Back> {
        let current = decide::primary(live).map_or("", |primary| text(primary, "taskDefinition")).to_owned();
        let (target, revision) = deployable(target, self.clients, self.events).await?;
        let configuration = match target.arn.as_str() {
            "" => Value::Null,
            arn => history::described(arn, self.clients).await["deploymentConfiguration"].take(),
        };
        let input = settings::update_to((self.cluster, self.service), live, &target.release, &configuration);
        let arn = target.release.task_definition.clone();
        if arn == current && !settings::changes_settings(&input) {
            let in_progress =
                decide::primary(live).is_some_and(|primary| text(primary, "rolloutState") == "IN_PROGRESS");
            let (action, named) =
                if in_progress { (Action::Adopted, "adopted") } else { (Action::Unchanged, "unchanged") };
            self.events.emit(Event::Notice { message: format!("{} is what runs already", id(&current)) });
            let placed = Placed::new((self.cluster, self.service), Some(live), live, action, (&primary_id(live), &arn));
            return Ok(Back { placed, target, action: named, settings: Vec::new(), previous: current, revision });
        }
        let settings: Vec<String> = settings::named(&input).into_iter().map(str::to_owned).collect();
        if !settings.is_empty() {
            let message = format!("back to the settings of {}: {}", id(&arn), settings.join(", "));
            self.events.emit(Event::Notice { message });
        }
        let now =
            crate::deploy::service::update::update(input, Some(live), self.until, self.clients, self.events).await?;
        let placed =
            Placed::new((self.cluster, self.service), Some(live), &now, Action::Updated, (&primary_id(&now), &arn));
        Ok(Back { placed, target, action: "updated", settings, previous: current, revision })
    }

    async fn placed(
        &self,
        before: &Value,
        now: &Value,
        action: Action,
        target: Past,
        (named, previous): (&'static str, &str),
    ) -> Result<Back> {
        let arn = target.release.task_definition.clone();
        let revision = register::describe(&arn, self.clients).await?.unwrap_or_default();
        let names = (self.cluster, self.service);
        let placed = Placed::new(names, Some(before), now, action, (&primary_id(now), &arn));
        // What is said of its events so far was said to whoever started it.
        let placed = Placed { seen_events: service::event_ids(before), ..placed };
        Ok(Back { placed, target, action: named, settings: Vec::new(), previous: previous.to_owned(), revision })
    }
}

fn primary_id(service: &Value) -> String {
    decide::primary(service).map_or("", |primary| text(primary, "id")).to_owned()
}

/// What the PRIMARY deployment runs, as it was when it ended well.
fn primary_of(service: &Value, history: &[Past]) -> Past {
    let runs = decide::primary(service).map_or("", |primary| text(primary, "taskDefinition"));
    let known = history.iter().rev().find(|past| past.succeeded() && past.release.task_definition == runs);
    known.cloned().unwrap_or_else(|| Past { release: Release::of(runs), ..Past::default() })
}

fn nowhere(primary: &Value) -> Error {
    let current = id(text(primary, "taskDefinition"));
    let error = Error::preflight(format!("there is no good release before {current} to go back to"))
        .hint("what there is: `steady rollback --list`; name one: `steady rollback --to REVISION`");
    match text(primary, "rolloutState") {
        "IN_PROGRESS" => error.hint(FIRST),
        _ => error,
    }
}

/// What is left of a first release that does not get steady.
const FIRST: &str =
    "to begin anew: `steady delete --yes` takes the service away with what it runs, and a deploy makes it again";

/// The service, which has to be ACTIVE and ECS's own to deploy.
pub(in crate::deploy) async fn live(cluster: &str, service_name: &str, clients: &Clients) -> Result<Value> {
    let live = service::describe(cluster, service_name, clients).await?;
    let live = live.filter(|live| text(live, "status") == "ACTIVE").ok_or_else(|| {
        Error::preflight(format!("there is no active service `{service_name}` in the cluster `{cluster}`"))
            .hint("`steady deploy` makes it; --cluster and --service name another")
    })?;
    match controller::refusal(&live) {
        Some(refused) => Err(refused),
        None => Ok(live),
    }
}

/// Empty where this role may not read it: then tags tell, and only the task definition goes back.
pub(in crate::deploy) async fn read(
    cluster: &str,
    service: &str,
    clients: &Clients,
    events: &Events,
) -> Result<Vec<Past>> {
    match history::read(cluster, service, clients).await {
        Err(failure) if failure.is_denied() => {
            let message =
                format!("the settings of earlier releases are not known, and stay as they are now: {failure}");
            events.warn(message, failure.hint());
            Ok(Vec::new())
        }
        found => found.map_err(Error::from),
    }
}
