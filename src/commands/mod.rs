//! The command line: one verb, one file, with its arguments and its `run`.

mod build;
mod completions;
mod context;
mod r#continue;
pub mod credential_helper;
mod delete;
mod deploy;
mod diff;
pub mod docker_config;
mod fault;
mod hints;
mod init;
mod interrupt;
mod lab;
mod login;
mod mirror;
mod push;
mod register;
mod render;
mod repo;
mod revisions;
mod rollback;
mod run;
mod source;
mod status;
mod usage;
mod verify;
mod wait;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Serialize;
use serde_json::Value;

use crate::deploy::event::Events;
use crate::error::{Error, Kind, OWN_FAILURE, Result};
use crate::report::{Output, Seen, Terminal};
use context::{Context, Global};

pub use hints::{with_flags, with_resume};
pub use init::{TEMPLATES, Template};
pub use login::{hand_over, login_arguments};

/// From source to steady state on Amazon ECS.
#[derive(Debug, Parser)]
#[command(name = "steady", version, max_term_width = 100, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  steady                        6  rollout failed, not on a known good release
  1  another error                 7  superseded by another deployment
  2  bad input                     8  another deployment is in progress
  3  preflight: nothing touched    9  deadline passed, still rolling
  4  build, push, before failed   10  paused
  5  rolled back, verified        11  different (--exit-code)
                             130/143  interrupted, terminated";

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Deploy(deploy::Args),
    Verify(verify::Args),
    Diff(diff::Args),
    Build(build::Args),
    Push(push::Args),
    Login(login::Args),
    Mirror(mirror::Args),
    Render(render::Args),
    Register(register::Args),
    Status(status::Args),
    Wait(wait::Args),
    Continue(r#continue::Args),
    Rollback(rollback::Args),
    Run(run::Args),
    Repo(repo::Args),
    Revisions(revisions::Args),
    Delete(delete::Args),
    Lab(lab::Args),
    Completions(completions::Args),
}

/// Runs one command line to its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>, env: BTreeMap<String, String>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(profile) = credential_helper::called(&arguments) {
        return credential_helper::main(&arguments, profile, env);
    }
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(usage) => return usage::refuse(&usage, &arguments, own_failure(&arguments)),
    };
    let context = Context::new(cli.global, env, terminal);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Error::other("cannot start the runtime").cause(error);
            context.display.failure(&error);
            return ExitCode::from(error.kind().exit_code());
        }
    };
    let code = runtime.block_on(run(cli.command, &context));
    // a child's pipe that is still read must not keep us
    runtime.shutdown_timeout(Duration::from_millis(200));
    ExitCode::from(code)
}

fn parse(arguments: &[OsString]) -> std::result::Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

/// What a command line that is not understood ends with, where that is not its kind's code.
fn own_failure(arguments: &[OsString]) -> Option<u8> {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(arguments).ok()?;
    (matches.subcommand_name() == Some("run")).then_some(OWN_FAILURE)
}

fn terminal(env: &BTreeMap<String, String>) -> Terminal {
    let (stdout, stderr) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
    let mut terminal = Terminal::new(|name| env.get(name).cloned(), stdout, stderr);
    let size = console::Term::stderr().size_checked();
    terminal.width = size.map(|(_, columns)| usize::from(columns));
    terminal.height = size.map(|(rows, _)| usize::from(rows));
    terminal
}

async fn run(command: Command, context: &Context) -> u8 {
    let (events, receiver) = Events::channel();
    let mut display = context.display;
    display.logs_are_the_result = matches!(command, Command::Run(_)) && context.global.output == Output::Text;
    let (flags, folder) = (context.global.again(), context.global.folder());
    let showing = tokio::spawn(display.events(receiver, move |event| hints::of_event(event, &flags, &folder)));
    let deletes = match &command {
        Command::Delete(args) => Some(args.again()),
        _ => None,
    };
    let differences_count = match &command {
        Command::Diff(args) => args.exit_code(),
        Command::Deploy(args) => args.exit_code(),
        _ => false,
    };
    let ended = match &command {
        // the lab ends by itself when it is told to, and keeps its state
        Command::Lab(args) if args.serves() => dispatch(command, context, events).await,
        // a task that runs is asked to stop first
        Command::Run(_) => dispatch(command, context, events).await,
        _ => {
            let signals = interrupt::Signals::listen();
            let dispatched = dispatch(command, context, events);
            tokio::pin!(dispatched);
            tokio::select! {
                ended = &mut dispatched => ended,
                signal = signals.first(last_words(context)) => match context.interrupt.tell(signal) {
                    true => dispatched.await,
                    false => Err(Error::interrupted(signal)),
                },
            }
        }
    };
    // a task that outlives its command still holds a sender
    let seen = match tokio::time::timeout(Duration::from_secs(1), showing).await {
        Ok(Ok(seen)) => seen,
        _ => Seen::default(),
    };
    match ended {
        Ok(result) => {
            if let Some(result) = &result {
                context.display.result(result);
            }
            match result {
                Some(result) if differences_count && diff::is_different(&result) => Kind::Different.exit_code(),
                _ => 0,
            }
        }
        Err(error) => {
            let (flags, folder) = (context.global.again(), context.global.folder());
            let seen = Seen { leaves_after: context.interrupt.leaves_after(), ..seen };
            let error = with_resume(error, seen, deletes.as_deref());
            let error = error.map_hints(&|hint| with_flags(&hint, &flags, &folder));
            context.display.failure(&error);
            error.exit_code()
        }
    }
}

/// How a command that a second signal ends says so.
fn last_words(context: &Context) -> impl FnOnce(Error) + Send + 'static {
    let (display, flags, folder) = (context.display, context.global.again(), context.global.folder());
    move |error| display.failure(&error.map_hints(&|hint| with_flags(&hint, &flags, &folder)))
}

/// The result is what stdout gets; `None` when the command has written it itself, or there is none.
async fn dispatch(command: Command, context: &Context, events: Events) -> Result<Option<Value>> {
    match command {
        Command::Init(args) => args.run(context, &events),
        Command::Deploy(args) => args.run(context, &events).await,
        Command::Verify(args) => args.run(context, &events).await,
        Command::Diff(args) => args.run(context, &events).await,
        Command::Build(args) => args.run(context, &events).await,
        Command::Push(args) => args.run(context, &events).await,
        Command::Login(args) => args.run(context, &events).await,
        Command::Mirror(args) => args.run(context, &events).await,
        Command::Render(args) => args.run(context, &events).await,
        Command::Register(args) => args.run(context, &events).await,
        Command::Status(args) => args.run(context, &events).await,
        Command::Wait(args) => args.run(context, &events).await,
        Command::Continue(args) => args.run(context, &events).await,
        Command::Rollback(args) => args.run(context, &events).await,
        Command::Run(args) => args.run(context, &events).await,
        Command::Repo(args) => args.run(context, &events).await,
        Command::Revisions(args) => args.run(context, &events).await,
        Command::Delete(args) => args.run(context, &events).await,
        Command::Lab(args) => args.run(context, &events).await,
        Command::Completions(args) => args.run(),
    }
}

/// A result as `--output json` prints it.
fn shown(result: &impl Serialize) -> Result<Option<Value>> {
    let value = serde_json::to_value(result).map_err(|error| Error::other("the result is no JSON").cause(error))?;
    Ok(Some(value))
}
