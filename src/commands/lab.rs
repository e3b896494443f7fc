mod console;
mod furnish;

use std::ffi::OsString;
use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::context::{Context, quoted};
use super::fault;
use crate::aws::Variables;
use crate::deploy::event::{Event, Events};
use crate::error::{Error, Result};
use crate::lab::clock::Pace;
use crate::lab::lifecycle::{self, Endpoint, Options, Running, Status};
use crate::lab::runtime::{self, Level};
use crate::report::Output;

pub use furnish::furnish;

/// The rehearsal of AWS on this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Where the lab keeps its state [default: $STEADY_LAB_DIR, else the user's data folder]
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Start the lab in the background
    Start(How),
    /// Stop the lab; its state stays
    Stop,
    /// Say whether the lab runs, where and how
    Status,
    /// Forget everything that the lab knows
    Reset,
    /// Run the lab in the foreground
    Serve(How),
    /// Make things go wrong in the lab, on demand
    #[command(subcommand)]
    Fault(fault::Verb),
    /// Print what points any AWS client at the lab: eval "$(steady lab env)"
    Env,
    Console(console::Args),
}

#[derive(Debug, Default, clap::Args)]
struct How {
    /// The port of its APIs and registry, on loopback; 0 is any [default: the one it had, else 4580]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// `fast` shortens AWS's waits and keeps every state; `aws` keeps its times [default: fast]
    #[arg(long, value_name = "PACE", value_parser = pace)]
    pace: Option<Pace>,
    /// How containers are isolated, instead of the best that this machine allows: namespaces, user-namespaces, chroot
    /// or process; docker runs them with the engine of DOCKER_HOST, or the one at the usual socket; `simulated` runs none
    /// and only goes through their states
    #[arg(long, value_name = "LEVEL")]
    runtime: Option<Level>,
    /// A YAML file of what is to go wrong from the start: a list `faults`, with the flags of `lab fault add` as members
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Throttle nobody, for load tests: AWS's request budgets hold otherwise, at any pace
    #[arg(long)]
    no_request_budgets: bool,
}

fn pace(word: &str) -> std::result::Result<Pace, String> {
    match word {
        "fast" => Ok(Pace::Fast),
        "aws" => Ok(Pace::Aws),
        _ => Err("it is `fast` or `aws`".to_owned()),
    }
}

impl Args {
    /// Whether this runs the lab itself.
    pub fn serves(&self) -> bool {
        matches!(self.verb, Verb::Serve(_))
    }

    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        match self.verb {
            Verb::Start(how) => {
                let options = options(context, self.data_dir, how)?;
                let running = lifecycle::start(&options).await?;
                warn(&options, &running, events).await?;
                Ok(Some(described("running", &running)))
            }
            Verb::Stop => {
                let stopped = lifecycle::stop(&options(context, self.data_dir, How::default())?).await?;
                Ok(Some(json!({ "status": "stopped", "wasRunning": stopped })))
            }
            Verb::Status => {
                let status = lifecycle::status(&options(context, self.data_dir, How::default())?).await?;
                Ok(Some(match status {
                    Status::Stopped => json!({ "status": "stopped" }),
                    Status::Unresponsive { pid } => json!({ "status": "unresponsive", "pid": pid }),
                    Status::Running { running, report } => {
                        let mut described = described("running", &running);
                        if let (Some(described), Value::Object(report)) = (described.as_object_mut(), report) {
                            described.extend(report);
                        }
                        described
                    }
                }))
            }
            Verb::Reset => {
                lifecycle::reset(&options(context, self.data_dir, How::default())?).await?;
                Ok(Some(json!({ "status": "empty" })))
            }
            Verb::Fault(verb) => Ok(Some(verb.run(&options(context, self.data_dir, How::default())?).await?)),
            Verb::Serve(how) => {
                let options = options(context, self.data_dir, how)?;
                events
                    .emit(Event::Notice { message: format!("the lab keeps its state in {}", options.data.display()) });
                lifecycle::serve(options, lifecycle::asked_to_end()).await?;
                Ok(None)
            }
            Verb::Console(args) => {
                args.run(&options(context, self.data_dir, How::default())?, context, events).await.map(Some)
            }
            Verb::Env => {
                let running = lifecycle::ensure_running(&options(context, self.data_dir, How::default())?).await?;
                let mut variables = lifecycle::environment(&running.endpoint);
                variables.extend(lifecycle::no_proxy(|name| context.variable(name).map(OsString::from)));
                if context.global.output == Output::Json {
                    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
                    return Ok(Some(variables.collect()));
                }
                let mut script = format!("unset {}", lifecycle::UNSET.join(" "));
                for (name, value) in variables {
                    script += &format!("\nexport {name}={}", quoted(&value));
                }
                Ok(Some(Value::String(script)))
            }
        }
    }
}

fn described(status: &str, running: &Running) -> Value {
    json!({
        "status": status,
        "url": running.endpoint.url,
        "region": running.endpoint.region,
        "accountId": running.endpoint.account_id,
        "pid": running.pid,
    })
}

/// The lab that `--lab` means, started if it does not run.
pub async fn endpoint(context: &Context, events: &Events) -> Result<Endpoint> {
    let options = options(context, None, How::default())?;
    let running = lifecycle::ensure_running(&options).await?;
    if running.started {
        events.emit(Event::Notice { message: format!("started the lab at {}", running.endpoint.url) });
    }
    warn(&options, &running, events).await?;
    Ok(running.endpoint)
}

/// What leads the programs that a rehearsal starts to the lab as well.
pub fn variables(endpoint: &Endpoint, context: &Context) -> Variables {
    let proxies = lifecycle::no_proxy(|name| context.variable(name).map(OsString::from));
    let set = lifecycle::environment(endpoint).into_iter().chain(proxies);
    Variables {
        set: set.map(|(name, value)| (name.to_owned(), SecretString::from(value))).collect(),
        unset: lifecycle::UNSET.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// Whether the lab that `--lab` means runs at this host and port.
pub async fn is_at(host: &str, context: &Context) -> Result<bool> {
    let running = lifecycle::status(&options(context, None, How::default())?).await?;
    let Status::Running { running, .. } = running else { return Ok(false) };
    Ok(running.endpoint.url.trim_start_matches("http://") == host)
}

/// Says once, of a lab that was started just now, what is weak about its containers.
async fn warn(options: &Options, running: &Running, events: &Events) -> Result<()> {
    if running.started
        && let Status::Running { report, .. } = lifecycle::status(options).await?
        && let Some(warning) = report["warning"].as_str()
    {
        events.warn(warning, None);
    }
    Ok(())
}

fn options(context: &Context, data: Option<PathBuf>, how: How) -> Result<Options> {
    let data = match data {
        Some(data) => std::path::absolute(&data)
            .map_err(|error| Error::input(format!("--data-dir is no path: {}", data.display())).cause(error))?,
        None => lifecycle::data_dir(|name| context.variable(name).map(OsString::from))?,
    };
    let executable = std::env::current_exe()
        .map_err(|error| Error::other("cannot find this executable, which containers are started with").cause(error))?;
    let docker = match runtime::docker_addresses(|name| context.variable(name).map(OsString::from)) {
        Err(problem) if how.runtime == Some(Level::Docker) => return Err(Error::input(problem)),
        addresses => addresses.unwrap_or_default(),
    };
    let fault_file = how.faults.as_deref().map(std::path::absolute).transpose();
    let fault_file = fault_file.map_err(|error| Error::input("--faults is no path").cause(error))?;
    Ok(Options {
        port: how.port,
        pace: how.pace,
        runtime_level: how.runtime,
        docker,
        executable: Some(executable),
        faults: how.faults.as_deref().map(fault::read).transpose()?.unwrap_or_default(),
        fault_file,
        unlimited_requests: how.no_request_budgets,
        ..Options::new(data)
    })
}
