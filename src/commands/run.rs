use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::{interrupt, shown};
use crate::aws::Clients;
use crate::config::around::{LAUNCH_TYPES, parse_cpu, parse_memory};
use crate::config::{self, Project, TaskPlan, parse_duration};
use crate::deploy;
use crate::deploy::event::{Event, Events};
use crate::deploy::one_off::{OneOff, Which};
use crate::deploy::task::Patience;
use crate::error::{Error, Kind, OWN_FAILURE, Result};
use crate::report::Output;

/// Run a task once, show its log, and end with its exit code
///
/// The task definition is the service's, and so are network, launch type or capacity providers, and placement. Stdout gets
/// what the container logs (with --output json one object). Ctrl-C asks ECS to stop the task and waits for its end; a second
/// one leaves at once. Where steady itself fails, and not the task, the exit code is 125.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The command, instead of the container's own
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Run this instead: a family, family:revision, an ARN, or the number of a revision of the service's family
    #[arg(long, value_name = "REVISION", conflicts_with = "register")]
    task_definition: Option<String>,
    /// Build, push and register first, as `steady register` does, and run that
    #[arg(long)]
    register: bool,
    /// The container that is meant [default: the image's, the only one, or the only essential one]
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// An environment variable of the container; without a value, this process's own
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    env_variables: Vec<String>,
    /// CPU units of the task, or .25vCPU
    #[arg(long, value_name = "UNITS", value_parser = parse_cpu)]
    cpu: Option<i64>,
    /// Memory of the task in MiB, or 1GB
    #[arg(long, value_name = "MIB", value_parser = parse_memory)]
    memory: Option<i64>,
    /// How many of it, each with its own log and exit code; the first that is not 0 counts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    count: u32,
    /// EC2, FARGATE or EXTERNAL, instead of the service's
    #[arg(long, value_name = "TYPE", value_parser = LAUNCH_TYPES, ignore_case = true, conflicts_with = "capacity_provider")]
    launch_type: Option<String>,
    /// A capacity provider, instead of the service's
    #[arg(long, value_name = "NAME")]
    capacity_provider: Option<String>,
    /// The task's group [default: family:FAMILY]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// What ECS shows as the one who started it: letters, digits, - / _
    #[arg(long, value_name = "NAME", value_parser = started_by)]
    started_by: Option<String>,
    /// The same token again (within a day) is the same run, and starts no second task
    #[arg(long, value_name = "TOKEN", value_parser = client_token)]
    client_token: Option<String>,
    /// Do not wait for its end; say which task it is
    #[arg(long)]
    detach: bool,
    /// Follow a task that runs already, by its id
    #[arg(long, value_name = "TASK", conflicts_with_all = ["command", "task_definition", "register", "env_variables", "cpu",
        "memory", "count", "launch_type", "capacity_provider", "group", "started_by", "client_token", "detach"])]
    attach: Option<String>,
    /// Ask ECS to stop it after this long [default: it may run as long as it likes]
    #[arg(long, value_name = "15m", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// What Ctrl-C and SIGTERM do to the task
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    on_interrupt: OnInterrupt,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum OnInterrupt {
    /// Ask ECS to stop it, and wait for its end
    #[default]
    Stop,
    /// Leave it running, and say how to follow it
    Detach,
}

fn started_by(text: &str) -> std::result::Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-/_".contains(c);
    match (1..=128).contains(&text.len()) && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("it has 1 to 128 letters, digits, hyphens, slashes and underscores".to_owned()),
    }
}

fn client_token(text: &str) -> std::result::Result<String, String> {
    match (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("it has 1 to 64 characters of ASCII, without blanks".to_owned()),
    }
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let json = context.global.output == Output::Json;
        let signals = interrupt::Signals::listen();
        let stops = self.on_interrupt == OnInterrupt::Stop;
        let interrupted = CancellationToken::new();
        let ended = {
            let mut work = std::pin::pin!(self.ran(context, interrupted.clone(), events));
            tokio::select! {
                ended = &mut work => ended,
                signal = signals.first(super::last_words(context)) => {
                    let stopped = Error::interrupted(signal);
                    if stops {
                        interrupted.cancel();
                        // the task's own end is told beside it
                        Err(match work.await {
                            Ok(_) => stopped,
                            Err(error) => beside(stopped, &error),
                        })
                    } else {
                        Err(stopped.hint("a task that was started goes on: `steady run --attach TASK` follows it"))
                    }
                }
            }
        };
        match ended {
            // stdout has had the log
            Ok(result) => Ok(result.filter(|_| json)),
            Err(error) => {
                let error = if json { error } else { error.without_results() };
                Err(match error.kind() {
                    Kind::TaskFailed(_) | Kind::Interrupted(_) => error,
                    _ => error.with_exit_code(OWN_FAILURE),
                })
            }
        }
    }

    async fn ran(self, context: &Context, interrupted: CancellationToken, events: &Events) -> Result<Option<Value>> {
        let task = TaskPlan {
            container: self.container.clone(),
            command: (!self.command.is_empty()).then(|| self.command.clone()),
            environment: environment(&self.env_variables, context)?,
            cpu: self.cpu,
            memory: self.memory,
            launch_type: self.launch_type.as_ref().map(|launch_type| launch_type.to_ascii_uppercase()),
            capacity_provider: self.capacity_provider.clone(),
        };
        let (cluster, service, project, clients) = self.place(context, events).await?;
        let which = match (self.attach, self.task_definition, self.register) {
            (Some(task), ..) => Which::Running(task),
            (None, Some(name), _) => Which::Named(name),
            (None, None, true) => Which::Registered,
            (None, None, false) => Which::Deployed,
        };
        let one_off = OneOff {
            cluster,
            service,
            which,
            task,
            count: self.count,
            group: self.group,
            started_by: self.started_by,
            client_token: self.client_token,
            detach: self.detach,
            patience: Patience { timeout: self.timeout, interrupted },
        };
        let plan = project.as_ref().map(|project| &project.plan);
        let outcome = deploy::run_task(&one_off, plan, &clients, events).await?;
        if let ("started", Some(task)) = (outcome.status, outcome.tasks.first()) {
            let (id, flags) = (&task.id, context.global.again());
            events.emit(Event::Notice { message: format!("it goes on: `steady run --attach {id}{flags}` follows it") });
        }
        shown(&outcome)
    }

    /// Cluster, service, project and clients. A task definition or a task that is named needs neither project nor service.
    async fn place(
        &self,
        context: &Context,
        events: &Events,
    ) -> Result<(String, Option<String>, Option<Project>, Clients)> {
        let options = context.options()?;
        let alone = self.attach.is_some() || self.task_definition.is_some();
        if alone && options.service.is_none() && !config::is_there(&options) {
            let clients = context.clients(None, events).await?;
            return Ok((options.cluster.unwrap_or_else(|| "default".to_owned()), None, None, clients));
        }
        if self.register {
            let (project, clients) = context.load(options, events).await?;
            let (cluster, service) = (project.plan.cluster.clone(), project.plan.service.clone());
            return Ok((cluster, Some(service), Some(project), clients));
        }
        let (named, clients) = context.reach(None, events).await?;
        Ok((named.cluster, Some(named.service), named.project, clients))
    }
}

fn environment(given: &[String], context: &Context) -> Result<BTreeMap<String, String>> {
    let one = |variable: &String| match variable.split_once('=') {
        Some(("", _)) => {
            Err(Error::input("--env: a variable has a name").hint("write --env NAME=VALUE, or --env NAME"))
        }
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        // so that no secret has to be on a command line
        None => match context.env.get(variable) {
            Some(value) => Ok((variable.clone(), value.clone())),
            None => Err(Error::input(format!("--env {variable}: the variable is not set here"))
                .hint(format!("set it, or give it a value: --env {variable}=VALUE"))),
        },
    };
    given.iter().map(one).collect()
}

/// An interruption that says what became of the task.
fn beside(stopped: Error, error: &Error) -> Error {
    let told = match error.to_string().as_str() {
        "interrupted" => stopped.hint("no task was started"),
        said => error.hints().iter().cloned().fold(stopped.hint(said), Error::hint),
    };
    match error.results() {
        Some(results) => told.with_results(results.clone()),
        None => told,
    }
}
