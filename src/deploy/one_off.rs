//! The command `run`: a task of the project's, once, followed to its end.

use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::event::{Event, Events, Step};
use super::rollback::target::revision_name;
use super::service::decide;
use super::surroundings::network;
use super::task::{self, Came, End, Patience, TaskOutcome, Watched, request};
use super::{parts, register, render, service};
use crate::aws::Clients;
use crate::aws::reply::{id, list, text};
use crate::config::{NetworkPlan, Plan, Selector, TaskPlan};
use crate::error::{Error, Kind, Result};

/// What is to run.
#[derive(Debug, Clone, Default)]
pub struct OneOff {
    pub cluster: String,
    /// Where the task runs as this service's tasks do.
    pub service: Option<String>,
    pub which: Which,
    pub task: TaskPlan,
    /// How many of it; 1 to 10.
    pub count: u32,
    pub group: Option<String>,
    pub started_by: Option<String>,
    /// The same one again is the same run.
    pub client_token: Option<String>,
    /// Do not wait for its end.
    pub detach: bool,
    pub patience: Patience,
}

/// Which task definition.
#[derive(Debug, Clone, Default)]
pub enum Which {
    /// The service's.
    #[default]
    Deployed,
    /// A revision, or the newest of a family.
    Named(String),
    /// The project's, built, pushed and registered first.
    Registered,
    /// That of a task which runs already: it is only followed.
    Running(String),
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunOutcome {
    /// `succeeded` or `failed`; `started` when its end was not waited for.
    pub status: &'static str,
    pub cluster: String,
    /// ARN of the revision.
    pub task_definition: String,
    pub container: String,
    /// What steady's own exit code is.
    pub exit_code: Option<u8>,
    pub tasks: Vec<TaskOutcome>,
    pub duration_ms: u64,
}

/// Runs it to its end. A task that fails is an error with its exit code.
pub async fn run(one_off: &OneOff, plan: Option<&Plan>, clients: &Clients, events: &Events) -> Result<RunOutcome> {
    let started = Instant::now();
    // Until a task is asked for there is nothing to stop.
    let watched = tokio::select! {
        biased;
        prepared = prepare(one_off, plan, clients, events) => prepared?,
        () = one_off.patience.interrupted.cancelled() => return Err(Error::other("interrupted")),
    };
    let (watched, unplaced) = match watched {
        Prepared::Running(watched) => (watched, Vec::new()),
        Prepared::Request(input, watched) => {
            let name = one_off.client_token.clone().unwrap_or_else(task::random_name);
            let begun = task::start(&input, std::slice::from_ref(&name), clients, events).await?;
            (Watched { arns: begun.arns, ..watched }, begun.failures)
        }
    };
    for why in &unplaced {
        events.warn(format!("ECS could not place another task: {why}"), task::advice(why).map(str::to_owned));
    }
    let outcome = |status, exit_code, tasks: Vec<TaskOutcome>| RunOutcome {
        status,
        cluster: one_off.cluster.clone(),
        task_definition: text(&watched.task_definition, "taskDefinitionArn").to_owned(),
        container: watched.container.clone(),
        exit_code,
        tasks,
        duration_ms: started.elapsed().as_millis() as u64,
    };
    if one_off.detach {
        let begun = watched.arns.iter().map(|arn| TaskOutcome::begun(id(arn))).collect();
        return Ok(outcome("started", None, begun));
    }
    let began = Instant::now();
    events.emit(Event::StepStarted { step: Step::Run });
    let end = task::follow(&watched, &one_off.patience, clients, events).await;
    let attach = format!("`steady run --attach {}`", id(&watched.arns[0]));
    let (tasks, late) = match end {
        End::Stopped(tasks) => (tasks, None),
        End::Late(tasks) => (tasks, Some(Kind::DeadlinePassed)),
        End::Interrupted(tasks) => (tasks, Some(Kind::Other)),
        End::Lost(failure) => {
            let error = Error::other(format!("lost sight of the task, which goes on at AWS's side: {failure}"));
            let error = failure.hint().into_iter().fold(error, Error::hint);
            return Err(error.hint(format!("then follow it: {attach}")));
        }
    };
    let told: Vec<TaskOutcome> = tasks.iter().map(|task| TaskOutcome::of(task, &watched.container)).collect();
    if let Some(kind) = late {
        let ended = tasks.iter().all(|task| task.last_status == "STOPPED");
        let after = one_off.patience.timeout.filter(|_| kind == Kind::DeadlinePassed);
        let message = watched.stopped(&tasks, after);
        let error = Error::new(kind, message).with_results(json!(outcome("failed", None, told)));
        return Err(if ended { error } else { error.hint(format!("follow it to its end: {attach}")) });
    }
    let came: Vec<Came> = tasks.iter().map(|task| task::came(task, &watched.container)).collect();
    let bad = came.iter().zip(&tasks).find(|(came, _)| !came.is_good());
    let Some((came, task)) = bad else {
        if let Some(why) = unplaced.first() {
            let message = format!("{} of {} tasks ran: {why}", tasks.len(), one_off.count);
            return Err(Error::other(message).with_results(json!(outcome("failed", None, told))));
        }
        let detail = match &tasks[..] {
            [task] => format!("task {} exited with code 0", task.id),
            several => format!("{} tasks exited with code 0", several.len()),
        };
        let duration_ms = began.elapsed().as_millis() as u64;
        events.emit(Event::StepFinished { step: Step::Run, detail, duration_ms });
        return Ok(outcome("succeeded", Some(0), told));
    };
    let message = format!("the task {} of {} {}", task.id, watched.revision(), came.said());
    let error = match came.exit_code() {
        Some(code) => Error::new(Kind::TaskFailed(code), message),
        None => Error::other(message),
    };
    let error = came.explained(task).into_iter().fold(error, Error::hint);
    Err(error.with_results(json!(outcome("failed", came.exit_code(), told))))
}

enum Prepared {
    /// RunTask's input, and what is to be watched of it.
    Request(Value, Watched),
    Running(Watched),
}

async fn prepare(one_off: &OneOff, plan: Option<&Plan>, clients: &Clients, events: &Events) -> Result<Prepared> {
    let likely = plan.and_then(|plan| plan.image.as_ref()).and_then(|image| image.container.as_deref());
    let container =
        |task_definition: &Value| request::container(one_off.task.container.as_deref(), likely, task_definition);
    if let Which::Running(name) = &one_off.which {
        let input = json!({ "cluster": one_off.cluster, "tasks": [name] });
        let reply = clients.describe_tasks(input).await.map_err(|failure| {
            let malformed = failure.is("InvalidParameterException");
            let error = failure.error(Kind::Preflight);
            match malformed {
                true => error
                    .hint("a task is named by its ARN, or its whole id: 32 characters, as `aws ecs list-tasks` has it"),
                false => error,
            }
        })?;
        let Some(task) = list(&reply, "tasks").first() else {
            let message = format!("there is no task {name} in the cluster `{}`", one_off.cluster);
            return Err(
                Error::preflight(message).hint("ECS forgets a task an hour after its end; --cluster names another")
            );
        };
        let task_definition = described(text(task, "taskDefinitionArn"), clients).await?;
        let container = container(&task_definition)?;
        let arns = vec![text(task, "taskArn").to_owned()];
        return Ok(Prepared::Running(Watched { cluster: one_off.cluster.clone(), arns, task_definition, container }));
    }
    let live = async {
        let Some(name) = &one_off.service else { return Ok(None) };
        let live = service::describe(&one_off.cluster, name, clients).await;
        let live = live.map_err(|failure| failure.error(Kind::Preflight))?;
        Ok::<_, Error>(live.filter(|live| text(live, "status") != "INACTIVE"))
    };
    let live = live.await?;
    let task_definition = match &one_off.which {
        Which::Deployed | Which::Running(_) => {
            let Some(live) = &live else {
                let name = one_off.service.as_deref().unwrap_or_default();
                let message =
                    format!("there is no service `{name}` in the cluster `{}` to take it from", one_off.cluster);
                return Err(Error::preflight(message)
                    .hint("--task-definition names a revision, --register makes one from the project")
                    .hint("`steady deploy` makes the service"));
            };
            let primary = decide::primary(live).unwrap_or(live);
            described(text(primary, "taskDefinition"), clients).await?
        }
        Which::Named(name) => {
            let own = live.as_ref().map_or("", |live| text(live, "taskDefinition"));
            let is_number = name.parse::<u32>().is_ok();
            let name =
                revision_name(name, own).filter(|_| is_number && !own.is_empty()).unwrap_or_else(|| name.clone());
            described(&name, clients).await?
        }
        Which::Registered => {
            let plan = plan.ok_or_else(|| Error::input("--register needs a project file"))?;
            let registered = parts::register(plan, clients, events).await?;
            described(&registered.task_definition, clients).await?
        }
    };
    let container = container(&task_definition)?;
    let wanted = plan.filter(|_| live.is_none()).map(|plan| wanted_of(plan, clients)).unwrap_or_default();
    let live = live.unwrap_or_default();
    let mut input = Value::Object(request::placement(&one_off.task, &wanted, &live, &task_definition));
    if text(&task_definition, "networkMode") == "awsvpc" && input.get("networkConfiguration").is_none() {
        input["networkConfiguration"] = network_of(plan, &input, clients).await?;
    }
    input["cluster"] = one_off.cluster.as_str().into();
    input["taskDefinition"] = text(&task_definition, "taskDefinitionArn").into();
    input["count"] = one_off.count.max(1).into();
    if let Some(overrides) = request::overrides(&one_off.task, &container, &task_definition) {
        input["overrides"] = overrides;
    }
    if let Some(group) = &one_off.group {
        input["group"] = group.as_str().into();
    }
    // With a token of the user's own it has to be the same request again.
    let mark = || one_off.client_token.as_deref().map_or_else(task::random_name, task::derived_name);
    let mark = one_off.started_by.clone().unwrap_or_else(|| format!("steady/run/{}", mark()));
    input["startedBy"] = mark.into();
    let watched = Watched { cluster: one_off.cluster.clone(), arns: Vec::new(), task_definition, container };
    Ok(Prepared::Request(input, watched))
}

/// What the project says of a service that is not there yet.
fn wanted_of(plan: &Plan, clients: &Clients) -> Value {
    match render::rehearse(plan, clients) {
        Ok(rehearsed) => service::wanted(plan, &rehearsed, "", &service::Surroundings::default(), &mut Vec::new()),
        // Variables have no values where nothing of the project's own is deployed.
        Err(_) => json!({ "launchType": plan.launch_type }),
    }
}

/// Where a task runs that no service shows a place for: as the project says, else in the default VPC.
async fn network_of(plan: Option<&Plan>, input: &Value, clients: &Clients) -> Result<Value> {
    let default =
        NetworkPlan { subnets: Selector::Default, security_groups: Selector::Default, assign_public_ip: None };
    let network = plan.and_then(|plan| plan.network.as_ref()).unwrap_or(&default);
    let fargate = text(input, "launchType") == "FARGATE"
        || list(input, "capacityProviderStrategy")
            .iter()
            .any(|one| text(one, "capacityProvider").starts_with("FARGATE"));
    network::configuration(network, fargate, clients).await
}

/// The revision, which has to be one that can be started.
async fn described(name: &str, clients: &Clients) -> Result<Value> {
    let reply = register::describe(name, clients).await.map_err(|failure| failure.error(Kind::Preflight))?;
    let Some(mut reply) = reply else {
        return Err(Error::input(format!("there is no task definition {}", id(name)))
            .hint("give a family, family and revision (web:7), or an ARN; see `steady revisions`"));
    };
    Ok(reply["taskDefinition"].take())
}

impl TaskOutcome {
    fn begun(id: &str) -> Self {
        TaskOutcome {
            id: id.to_owned(),
            last_status: "PROVISIONING".to_owned(),
            exit_code: None,
            stop_code: None,
            stopped_reason: None,
        }
    }
}
