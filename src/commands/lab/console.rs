use std::io::IsTerminal;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::commands::context::Context;
use crate::deploy::event::{Event, Events};
use crate::error::{Error, Result};
use crate::lab::console::PATH;
use crate::lab::lifecycle::{self, Options, Status};
use crate::report::Output;

/// Print the address of the lab's console, and open it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the address only
    #[arg(long)]
    no_open: bool,
}

impl Args {
    pub async fn run(self, options: &Options, context: &Context, events: &Events) -> Result<Value> {
        let running = match lifecycle::status(options).await? {
            Status::Running { running, .. } => running,
            Status::Stopped => {
                return Err(Error::other(format!("no lab runs on {}", options.data.display()))
                    .hint("`steady lab start` starts it; `steady deploy --lab` does, too"));
            }
            Status::Unresponsive { .. } => {
                return Err(Error::other(format!("the lab on {} is starting or ending", options.data.display()))
                    .hint("try again in a moment; `steady lab status` says how it is"));
            }
        };
        let url = format!("{}{PATH}", running.endpoint.url);
        let opened = !self.no_open && is_watched(context) && open(&url, events);
        match context.global.output {
            Output::Json => Ok(json!({ "url": url, "opened": opened })),
            Output::Text => Ok(Value::String(url)),
        }
    }
}

/// Whether somebody sits at a screen that a browser could show itself on.
fn is_watched(context: &Context) -> bool {
    let has_display = cfg!(any(target_os = "macos", windows))
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| context.variable(name).is_some());
    std::io::stdout().is_terminal() && has_display
}

/// Asks the platform to open an address. The browser is nobody's to wait for.
fn open(url: &str, events: &Events) -> bool {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(if cfg!(windows) { "explorer" } else { opener });
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // The terminal's Ctrl-C is not for the browser.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let started = command.spawn();
    if let Err(error) = &started {
        let opener = command.get_program().to_string_lossy().into_owned();
        events.emit(Event::Notice { message: format!("open it yourself: {opener} does not run here ({error})") });
    }
    started.is_ok()
}
