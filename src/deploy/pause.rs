//! Pauses: deployments that wait at a lifecycle hook until somebody answers. The command `continue`, and what a pause
//! means for whoever follows.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::event::{Event, Events, ResourceAction};
use super::follow::stage;
use super::follow::stage::{Hook, Stage};
use super::follow::steady::Observation;
use super::rollback::history;
use super::service::{controller, decide};
use super::{service, wait};
use crate::aws::Clients;
use crate::aws::reply::{id, list, optional, text};
use crate::config::{OnPause, RolloutPlan};
use crate::error::{Error, Kind, Result};

/// What to type when a deployment is paused.
pub const HINTS: [&str; 2] = ["let it go on: `steady continue`", "go back instead: `steady continue --rollback`"];

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContinueOutcome {
    /// `steady`, or when it was not waited for `continued` or `rollingBack`.
    pub status: &'static str,
    pub service: String,
    pub cluster: String,
    /// `CONTINUE` or `ROLLBACK`.
    pub action: &'static str,
    /// The ARN of ECS's service deployment.
    pub service_deployment: String,
    /// Where it was paused.
    pub stage: String,
    /// The ids of the hooks that were answered.
    pub hooks: Vec<String>,
    /// The revision that runs now, or is on its way.
    pub task_definition: String,
    pub url: Option<String>,
    pub duration_ms: u64,
}

#[derive(Debug, Clone, Default)]
pub struct ContinueOptions {
    /// Go back to the release before instead.
    pub rollback: bool,
    /// Answer this hook only.
    pub hook: Option<String>,
    /// Answer, and do not follow.
    pub no_wait: bool,
}

/// Answers the pause that the service's deployment waits at, and follows it to its end.
pub async fn go_on(
    cluster: &str,
    service_name: &str,
    options: &ContinueOptions,
    rollout: &RolloutPlan,
    clients: &Clients,
    events: &Events,
) -> Result<ContinueOutcome> {
    let started = Instant::now();
    let live = service::active(cluster, service_name, clients).await?;
    if let Some(refused) = controller::refusal(&live) {
        return Err(refused);
    }
    let (arn, stage) = current(cluster, service_name, &live, clients).await?;
    let asked = |hook: &&Hook| options.hook.as_ref().is_none_or(|wanted| *wanted == hook.id);
    let paused: Vec<&Hook> = stage.pauses().filter(asked).collect();
    if paused.is_empty() {
        return Err(not_paused(service_name, &stage, options.hook.as_deref()));
    }
    let action = if options.rollback { "ROLLBACK" } else { "CONTINUE" };
    let mut hooks = Vec::new();
    for hook in paused {
        answer(&arn, &hook.id, action, clients).await?;
        hooks.push(hook.id.clone());
        let id = format!("{} at {}", hook.id, stage.name);
        events.emit(Event::Resource { action: ResourceAction::Updated, kind: "pause".into(), id });
        if options.rollback {
            break;
        }
    }
    let mut outcome = ContinueOutcome {
        status: if options.rollback { "rollingBack" } else { "continued" },
        service: service_name.to_owned(),
        cluster: cluster.to_owned(),
        action,
        service_deployment: arn,
        stage: stage.name,
        hooks,
        task_definition: decide::primary(&live).map_or("", |primary| text(primary, "taskDefinition")).to_owned(),
        url: None,
        duration_ms: 0,
    };
    if !options.no_wait {
        match wait::wait(cluster, service_name, rollout, clients, events).await {
            Ok(waited) => (outcome.task_definition, outcome.url) = (waited.task_definition, waited.url),
            // What was asked for.
            Err(error) if options.rollback && error.kind() == Kind::RolledBack => {
                let live = service::active(cluster, service_name, clients).await?;
                let runs = decide::primary(&live).map_or("", |primary| text(primary, "taskDefinition"));
                runs.clone_into(&mut outcome.task_definition);
                outcome.url = super::outcome::url(&live, clients, events).await;
            }
            Err(error) => return Err(error),
        }
        outcome.status = "steady";
    }
    outcome.duration_ms = started.elapsed().as_millis() as u64;
    Ok(outcome)
}

/// The service deployment that is under way, and how far it is.
async fn current(cluster: &str, service: &str, live: &Value, clients: &Clients) -> Result<(String, Stage)> {
    let arn = match optional(live, "currentServiceDeployment") {
        Some(arn) => Some(arn.to_owned()),
        None => {
            let latest = history::latest(cluster, service, clients).await?;
            latest.and_then(|latest| optional(&latest, "serviceDeploymentArn").map(str::to_owned))
        }
    };
    let arn = arn.ok_or_else(|| not_paused(service, &Stage::default(), None))?;
    Ok((arn.clone(), look(&arn, clients).await?))
}

/// How far a service deployment is; as if it had not begun when there is none.
async fn look(arn: &str, clients: &Clients) -> Result<Stage> {
    let reply = clients.describe_service_deployments(json!({ "serviceDeploymentArns": [arn] })).await?;
    Ok(list(&reply, "serviceDeployments").first().map(Stage::of).unwrap_or_default())
}

fn not_paused(service: &str, stage: &Stage, hook: Option<&str>) -> Error {
    let waits: Vec<&str> = stage.pauses().map(|hook| hook.id.as_str()).collect();
    let error = match (hook, waits.is_empty()) {
        (Some(hook), false) => Error::preflight(format!("no pause of `{service}` has the id {hook}"))
            .hint(format!("it waits at {}", waits.join(", "))),
        _ => Error::preflight(format!("the deployment of `{service}` is not paused: there is nothing to continue")),
    };
    error.hint("see how far it is: `steady status`")
}

/// Asking twice, after a lost reply, is no error.
async fn answer(arn: &str, hook: &str, action: &str, clients: &Clients) -> Result<()> {
    let input = json!({ "serviceDeploymentArn": arn, "hookId": hook, "action": action });
    let Err(failure) = clients.continue_service_deployment(input).await else { return Ok(()) };
    if failure.is_denied() || failure.is_expired() {
        return Err(failure.into());
    }
    let stage = look(arn, clients).await?;
    let waits = stage.pauses().any(|other| other.id == hook);
    if waits { Err(failure.into()) } else { Ok(()) }
}

/// Reads may lag: a pause that was answered may still show for a moment.
const SHOWS_WITHIN: Duration = Duration::from_secs(2);

/// What a pause does to the deadline of whoever follows: the time that people take is not the rollout's.
#[derive(Debug, Default)]
pub struct Pauses {
    since: Option<Instant>,
}

impl Pauses {
    /// The deadline as it is after this look.
    pub fn deadline(&mut self, deadline: Instant, seen: &Observation, on_pause: OnPause) -> Instant {
        let paused = paused(seen).is_some();
        match (paused, self.since) {
            (true, Some(since)) if on_pause == OnPause::Exit && since.elapsed() >= SHOWS_WITHIN => Instant::now(),
            (true, None) => {
                self.since = Some(Instant::now());
                deadline
            }
            (false, Some(since)) => {
                self.since = None;
                deadline + since.elapsed()
            }
            _ => deadline,
        }
    }
}

/// The pause that waits for an answer, with how far the deployment is.
pub fn paused(seen: &Observation) -> Option<(&Stage, &Hook)> {
    let deployment = seen.service_deployment.as_ref().filter(|deployment| deployment.status == "IN_PROGRESS")?;
    Some((&deployment.stage, deployment.stage.pauses().next()?))
}

/// The end of a follow whose time is up while the deployment is paused.
pub fn error(seen: &Observation, task_definition: &str) -> Option<Error> {
    let (stage, hook) = paused(seen)?;
    let message =
        format!("the rollout of {} is paused at {}, and waits for an answer", id(task_definition), stage.name);
    let error = HINTS.into_iter().fold(Error::new(Kind::Paused, message), Error::hint);
    let error = error.hint("follow it further: `steady wait`");
    Some(by_itself(hook.left(), &hook.on_timeout).into_iter().fold(error, Error::hint))
}

/// What ECS does when nobody answers, and when.
pub fn by_itself(left: Option<Duration>, on_timeout: &str) -> Option<String> {
    let minutes = left?.as_secs().div_ceil(60);
    let left = match minutes {
        0..120 => format!("{minutes} min"),
        _ => format!("{} h", minutes.div_ceil(60)),
    };
    Some(match on_timeout {
        "ROLLBACK" => format!("without an answer ECS rolls back in {left}"),
        "CONTINUE" => format!("without an answer ECS goes on in {left}"),
        other => format!("without an answer ECS does in {left} what it calls {other}"),
    })
}

/// An error of a deployment that is in the way, with what to do if it is paused.
pub async fn explained(error: Error, live: &Value, clients: &Clients) -> Error {
    let Some(arn) = optional(live, "currentServiceDeployment") else { return error };
    let Ok(stage) = look(arn, clients).await else { return error };
    match stage.pauses().next() {
        Some(_) => HINTS.into_iter().fold(error.hint(format!("it is paused at {}", stage.name)), Error::hint),
        None => error,
    }
}

/// What a look at the service tells of a pause, for the command `status`.
pub fn tell(stage: &Stage, events: &Events) {
    stage.pauses().for_each(|hook| events.emit(stage::event(hook, &stage.name)));
}
