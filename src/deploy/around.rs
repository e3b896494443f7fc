//! What runs around a release: `before` the service is touched, and `after` it is steady. One-off tasks of the new
//! revision, and commands on this machine.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use super::event::{Event, Events, Step};
use super::register::Registered;
use super::render::{Facts, Rendered};
use super::service::decide::{Decision, decide};
use super::service::{self, Action, Placed, Surroundings};
use super::task::{self, End, Patience, Watched, request};
use crate::aws::Clients;
use crate::aws::reply::{id, text};
use crate::config::{AfterFailure, Around, OnFailure, Plan, RolloutPlan, TaskPlan, Work};
use crate::error::{Error, Kind, Result};
use crate::image::engine;

/// One of them, done.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ran {
    pub name: String,
    /// Of a task.
    pub task: Option<String>,
    pub duration_ms: u64,
    /// Why it failed, where that does not count.
    pub failure: Option<String>,
}

/// The release that they run around.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub plan: &'a Plan,
    pub facts: &'a Facts,
    pub registered: &'a Registered,
    pub rendered: &'a Rendered,
    pub surroundings: &'a Surroundings,
}

/// The containers that tasks name have to be in the task definition.
pub fn fits(plan: &Plan, task_definition: &Value) -> Result<()> {
    for around in plan.before.iter().chain(&plan.after) {
        if let Work::Task(task) = &around.work {
            container(plan, task, task_definition)
                .map_err(|error| error.hint(format!("it is of `{}`", around.name)))?;
        }
    }
    Ok(())
}

fn container(plan: &Plan, task: &TaskPlan, task_definition: &Value) -> Result<String> {
    let likely = plan.image.as_ref().and_then(|image| image.container.as_deref());
    request::container(task.container.as_deref(), likely, task_definition)
}

/// All that is to run before, if a release is to come. The first that fails ends the deploy.
pub async fn before(scene: &Scene<'_>, clients: &Clients, events: &Events) -> Result<Vec<Ran>> {
    let mut ran = Vec::new();
    if scene.plan.before.is_empty() {
        return Ok(ran);
    }
    let live = service::describe(&scene.plan.cluster, &scene.plan.service, clients).await?;
    if !releases(scene, live.as_ref()) {
        return Ok(ran);
    }
    for around in &scene.plan.before {
        let one = run(Step::Before, around, scene, live.as_ref(), None, clients, events).await;
        ran.push(one.map_err(|failed| failed.error(Kind::BeforeFailed, "the service is untouched"))?);
    }
    Ok(ran)
}

/// Whether the deploy will begin a deployment. What one that is there needed had run before it began.
fn releases(scene: &Scene<'_>, live: Option<&Value>) -> bool {
    let mut quiet = Vec::new();
    let wanted = service::wanted(scene.plan, scene.rendered, &scene.registered.arn, scene.surroundings, &mut quiet);
    match decide(live, &wanted, scene.plan.rollout.fail_fast, &mut quiet) {
        Decision::Create(_) | Decision::WaitDraining => true,
        Decision::Update { deploys, .. } => deploys,
        Decision::Nothing { .. } | Decision::Follow { .. } | Decision::Refuse(_) => false,
    }
}

/// All that is to run after, and what the first failure comes to.
pub async fn after(
    scene: &Scene<'_>,
    placed: &Placed,
    url: Option<&str>,
    clients: &Clients,
    events: &Events,
) -> Result<Vec<Ran>> {
    let mut ran = Vec::new();
    for around in &scene.plan.after {
        let failed = match run(Step::After, around, scene, Some(&placed.service), url, clients, events).await {
            Ok(one) => {
                ran.push(one);
                continue;
            }
            Err(failed) => failed,
        };
        let revision = id(&scene.registered.arn);
        match around.on_failure {
            AfterFailure::Warn => {
                events.warn(format!("{}; {revision} stays (`on_failure: warn`)", failed.message), failed.hints());
                ran.push(failed.ran());
            }
            AfterFailure::Stop => {
                let ending = format!("{revision} is steady, and stays as it is (`on_failure: stop`)");
                return Err(failed.error(Kind::RolloutFailed, &ending).hint("go back: `steady rollback`"));
            }
            AfterFailure::Rollback if !placed.rolls => {
                let ending = "no new release was deployed, so there is nothing to roll back";
                return Err(failed.error(Kind::RolloutFailed, ending).hint("go back: `steady rollback`"));
            }
            AfterFailure::Rollback => {
                return Err(roll_back(failed, placed, revision, scene.plan, clients, events).await);
            }
        }
    }
    Ok(ran)
}

/// Back to the release that was good before ours, which ECS calls good by now.
async fn roll_back(
    failed: Failed,
    placed: &Placed,
    revision: &str,
    plan: &Plan,
    clients: &Clients,
    events: &Events,
) -> Error {
    let left = |failed: Failed| {
        let ending = format!("there is no good release before {revision}, so it is left as it is");
        failed.error(Kind::RolloutFailed, &ending).hint("look closer: `steady status`")
    };
    if placed.action == Action::Created {
        return left(failed);
    }
    // Where only settings changed it is of the same revision, and where ours was adopted it is not known here: then ECS's
    // history leads.
    let previous = placed.previous.as_ref().map(|previous| previous.task_definition.as_str());
    let to = previous.filter(|previous| *previous != placed.task_definition);
    let goal = to.map_or("the release before", id);
    events.warn(format!("{}; going back to {goal}", failed.message), None);
    // What fails on its way back must not lead here again.
    let rollout = RolloutPlan { on_failure: OnFailure::Stop, ..plan.rollout.clone() };
    match super::rollback(&placed.cluster, &placed.service_name, to, &rollout, clients, events).await {
        Ok(back) if back.action == "unchanged" => left(failed),
        Ok(back) => {
            let ending = format!("the previous release {} is back and steady", id(&back.task_definition));
            failed.error(Kind::RolledBack, &ending).hint("mend it and deploy again")
        }
        Err(error) if error.kind() == Kind::Superseded => error,
        // It goes on, and its hints say how to follow it.
        Err(error) if matches!(error.kind(), Kind::Paused | Kind::DeadlinePassed) => {
            let failed = failed.error(error.kind(), &format!("and its rollback is not over: {error}"));
            error.hints().iter().cloned().fold(failed, Error::hint)
        }
        Err(error) => {
            let ending = format!("and so did the rollback: {error}");
            failed.error(Kind::RolloutFailed, &ending).hint("look closer: `steady status`").cause(error)
        }
    }
}

/// Why one failed.
struct Failed {
    ran: Ran,
    message: String,
    findings: Vec<String>,
    cause: Option<Error>,
}

impl Failed {
    fn error(self, kind: Kind, ending: &str) -> Error {
        let error = Error::new(kind, format!("{}; {ending}", self.message));
        let error = self.findings.into_iter().fold(error, Error::hint);
        match self.cause {
            Some(cause) => error.cause(cause),
            None => error,
        }
    }

    fn hints(&self) -> Option<String> {
        (!self.findings.is_empty()).then(|| self.findings.join("; "))
    }

    fn ran(self) -> Ran {
        Ran { failure: Some(self.message), ..self.ran }
    }
}

async fn run(
    step: Step,
    around: &Around,
    scene: &Scene<'_>,
    service: Option<&Value>,
    url: Option<&str>,
    clients: &Clients,
    events: &Events,
) -> Result<Ran, Failed> {
    let started = Instant::now();
    let mut ran = Ran { name: around.name.clone(), task: None, duration_ms: 0, failure: None };
    let word = if step == Step::Before { "before" } else { "after" };
    events.emit(Event::StepStarted { step });
    let (ended, detail) = match &around.work {
        Work::Command(line) => {
            events.emit(Event::Notice { message: format!("runs `{}`", around.name) });
            (command(line, around.timeout, scene, url, clients, events).await, String::new())
        }
        Work::Task(task) => {
            let ended = one_task(word, around, task, scene, service, &mut ran, clients, events).await;
            (ended, format!(", task {}", ran.task.as_deref().unwrap_or_default()))
        }
    };
    ran.duration_ms = started.elapsed().as_millis() as u64;
    match ended {
        Ok(()) => {
            let detail = format!("{}{detail}", around.name);
            events.emit(Event::StepFinished { step, detail, duration_ms: ran.duration_ms });
            Ok(ran)
        }
        Err((why, findings, cause)) => {
            let message = format!("`{word}` failed: {}: {why}", around.name);
            Err(Failed { ran, message, findings, cause })
        }
    }
}

/// Why, what is known beyond that, and what caused it.
type Reason = (String, Vec<String>, Option<Error>);

fn because(error: Error) -> Reason {
    (error.to_string(), error.hints().to_vec(), None)
}

async fn command(
    line: &str,
    timeout: Duration,
    scene: &Scene<'_>,
    url: Option<&str>,
    clients: &Clients,
    events: &Events,
) -> Result<(), Reason> {
    let mut command = engine::shell(line, &scene.plan.project);
    // What would lead it elsewhere than us.
    command.without.clone_from(&clients.variables.unset);
    command.environment = variables(scene, url, clients);
    let mut on_line = |line: &str| events.emit(Event::Output { line: line.to_owned() });
    // What it started ends with it when it is dropped.
    match tokio::time::timeout(timeout, engine::run(&command, &mut on_line)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let said = error.to_string();
            let why = said
                .rsplit_once("` failed with ")
                .map_or(said.clone(), |(_, status)| format!("it ended with {status}"));
            Err((why, error.hints().to_vec(), Some(error)))
        }
        Err(_) => Err((
            format!("it did not end within {}, and was killed", humantime::format_duration(timeout)),
            Vec::new(),
            None,
        )),
    }
}

/// What a command is told of the release.
fn variables(scene: &Scene<'_>, url: Option<&str>, clients: &Clients) -> Vec<(String, SecretString)> {
    let (plan, facts) = (scene.plan, scene.facts);
    let image = facts.image.as_ref();
    let uri = image.map(|image| image.uri());
    let known = [
        ("STEADY_IMAGE", uri.as_deref()),
        ("STEADY_REPOSITORY_URI", image.map(|image| image.repository_uri.as_str())),
        ("STEADY_DIGEST", facts.digest()),
        ("STEADY_TASK_DEFINITION", Some(scene.registered.arn.as_str())),
        ("STEADY_REVISION", Some(id(&scene.registered.arn))),
        ("STEADY_RELEASE", Some(facts.release.as_str())),
        ("STEADY_SERVICE", Some(plan.service.as_str())),
        ("STEADY_CLUSTER", Some(plan.cluster.as_str())),
        ("STEADY_REGION", Some(facts.region.as_str())),
        ("STEADY_ACCOUNT_ID", Some(facts.account_id.as_str())),
        ("STEADY_ENVIRONMENT", plan.environment.as_deref()),
        ("STEADY_URL", url),
    ];
    // Set though empty where there is none: `set -u` is common in scripts.
    let told = known.map(|(name, value)| (name.to_owned(), SecretString::from(value.unwrap_or_default().to_owned())));
    told.into_iter().chain(clients.variables.set.iter().cloned()).collect()
}

#[allow(clippy::too_many_arguments)]
async fn one_task(
    word: &str,
    around: &Around,
    task: &TaskPlan,
    scene: &Scene<'_>,
    live: Option<&Value>,
    ran: &mut Ran,
    clients: &Clients,
    events: &Events,
) -> Result<(), Reason> {
    let watched = begun(word, around, task, scene, live, clients, events).await.map_err(because)?;
    ran.task = watched.arns.first().map(|arn| id(arn).to_owned());
    let patience = Patience { timeout: Some(around.timeout), ..Patience::default() };
    match task::follow(&watched, &patience, clients, events).await {
        End::Stopped(tasks) => {
            let bad =
                tasks.iter().map(|task| (task::came(task, &watched.container), task)).find(|(came, _)| !came.is_good());
            match bad {
                None => Ok(()),
                Some((came, task)) => {
                    let findings = task::findings(&came, task, &watched, clients).await;
                    Err((format!("the task {} {}", task.id, came.said()), findings, None))
                }
            }
        }
        End::Late(tasks) => Err((watched.stopped(&tasks, Some(around.timeout)), Vec::new(), None)),
        End::Interrupted(_) => Err(("interrupted".to_owned(), Vec::new(), None)),
        End::Lost(failure) => {
            let why = format!("lost sight of the task {}, which goes on at AWS's side: {failure}", watched.names());
            Err((why, failure.hint().into_iter().collect(), None))
        }
    }
}

/// The task: that of an earlier run which still goes on, or one that is started now.
async fn begun(
    word: &str,
    around: &Around,
    task: &TaskPlan,
    scene: &Scene<'_>,
    live: Option<&Value>,
    clients: &Clients,
    events: &Events,
) -> Result<Watched> {
    let plan = scene.plan;
    let task_definition = &scene.registered.task_definition;
    let container = container(plan, task, task_definition)?;
    let wanted = service::wanted(plan, scene.rendered, &scene.registered.arn, scene.surroundings, &mut Vec::new());
    let nothing = Value::Null;
    let placement = request::placement(task, &wanted, live.unwrap_or(&nothing), task_definition);
    let mut input = Value::Object(placement);
    input["cluster"] = plan.cluster.as_str().into();
    input["taskDefinition"] = text(task_definition, "taskDefinitionArn").into();
    input["count"] = 1.into();
    if let Some(overrides) = request::overrides(task, &container, task_definition) {
        input["overrides"] = overrides;
    }
    // The mark by which a run after this one knows the task: of the same release, the same place and the same work.
    let place = plan.before.iter().chain(&plan.after).position(|other| std::ptr::eq(other, around));
    let name = task::derived_name(&format!("{}\n{place:?}\n{input}", plan.service));
    let mark = format!("steady/{word}/{name}");
    input["startedBy"] = mark.as_str().into();
    let watched =
        |arns| Watched { cluster: plan.cluster.clone(), arns, task_definition: task_definition.clone(), container };
    let earlier = match task::under_way(&plan.cluster, text(task_definition, "family"), &mark, clients).await {
        Ok(earlier) => earlier,
        Err(failure) if failure.is_denied() => {
            let message = format!("whether an earlier run's task still goes on is not known: {failure}");
            events.warn(message, failure.hint());
            task::Earlier::default()
        }
        Err(failure) => return Err(failure.into()),
    };
    if !earlier.running.is_empty() {
        let watched = watched(earlier.running);
        let message = format!("the task {} of an earlier run still goes on: it is followed", watched.names());
        events.emit(Event::Notice { message });
        return Ok(watched);
    }
    if !earlier.ending.is_empty() {
        let ending = watched.clone()(earlier.ending.clone());
        let message = format!("the task {} of an earlier run is about to end; waiting for that", ending.names());
        events.emit(Event::Notice { message });
        let patience = Patience { timeout: Some(around.timeout), ..Patience::default() };
        if !matches!(task::follow(&ending, &patience, clients, events).await, End::Stopped(_)) {
            return Err(Error::other(format!("the task {} of an earlier run does not end", ending.names())));
        }
    }
    // Two runs at once see the same and so send the same; what has ended makes the next another one.
    let seen: BTreeSet<&str> = earlier.ended.iter().chain(&earlier.ending).map(String::as_str).collect();
    let seen: Vec<&str> = seen.into_iter().collect();
    let tokens: Vec<String> =
        (0..3).map(|nth| task::derived_name(&format!("{mark}\n{}\n{nth}", seen.join("\n")))).collect();
    let started = task::start(&input, &tokens, clients, events).await?;
    Ok(watched(started.arns))
}

/// As a dry run tells of them.
pub fn names(all: &[Around]) -> Vec<String> {
    all.iter().map(|around| around.name.clone()).collect()
}
