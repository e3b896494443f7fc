use std::path::PathBuf;

use serde_json::{Value, json};

use super::context::{Context, quoted};
use super::{interrupt, shown};
use crate::deploy::event::{Event, Events};
use crate::error::{Error, Result};
use crate::lab::clock::Pace;
use crate::lab::lifecycle::{self, Endpoint, Options};
use crate::lab::runtime::Level;
use crate::report::Output;

/// The rehearsal of AWS on this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Where the lab keeps its state [default: $STEADY_LAB_DIR, else the user's data folder]
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<PathBuf>,
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
    /// Print what points any AWS client at the lab: eval "$(steady lab env)"
    Env,
}

#[derive(Debug, Default, clap::Args)]
struct How {
    /// The port of its APIs and registry, on loopback [default: the one it had, else any]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// `fast` shortens AWS's waits and keeps every state; `aws` keeps its times
    #[arg(long, value_name = "PACE", default_value = "fast", value_parser = pace)]
    pace: Pace,
    /// How containers are isolated, instead of the best that this machine allows: namespaces, user-namespaces, chroot
    /// or process
    #[arg(long, value_name = "LEVEL")]
    runtime: Option<Level>,
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
                let endpoint = lifecycle::start(&options(context, self.data, how)?).await?;
                Ok(Some(json!({ "url": endpoint.url, "region": endpoint.region })))
            }
            Verb::Stop => shown(&lifecycle::stop(&options(context, self.data, How::default())?).await?),
            Verb::Status => shown(&lifecycle::status(&options(context, self.data, How::default())?).await?),
            Verb::Reset => shown(&lifecycle::reset(&options(context, self.data, How::default())?).await?),
            Verb::Serve(how) => {
                let options = options(context, self.data, how)?;
                let shutdown = async {
                    interrupt::first().await;
                };
                events
                    .emit(Event::Notice { message: format!("the lab keeps its state in {}", options.data.display()) });
                lifecycle::serve(&options, shutdown).await?;
                Ok(None)
            }
            Verb::Env => {
                let endpoint = lifecycle::ensure_running(&options(context, self.data, How::default())?).await?;
                let variables = endpoint.environment();
                if context.global.output == Output::Json {
                    return Ok(Some(variables.into_iter().map(|(name, value)| (name, Value::String(value))).collect()));
                }
                let lines = variables.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value)));
                Ok(Some(Value::String(lines.collect::<String>().trim_end().to_owned())))
            }
        }
    }
}

/// The lab that `--lab` means, started if it does not run.
pub async fn endpoint(context: &Context) -> Result<Endpoint> {
    lifecycle::ensure_running(&options(context, None, How::default())?).await
}

fn options(context: &Context, data: Option<PathBuf>, how: How) -> Result<Options> {
    let data = match data {
        Some(data) => data,
        None => lifecycle::default_data(|name| context.variable(name))?,
    };
    let executable = std::env::current_exe()
        .map_err(|error| Error::other("cannot find this executable, which containers are started with").cause(error))?;
    Ok(Options { data, port: how.port, pace: how.pace, runtime_level: how.runtime, executable: Some(executable) })
}
