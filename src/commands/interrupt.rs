//! SIGINT and SIGTERM: the first ends the command and says how to go on, the second ends it at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::deploy::event::Step;
use crate::error::{Error, Kind};
use crate::report::Seen;

/// From its making on, signals no longer end the process by themselves.
pub struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl Signals {
    pub fn listen() -> Self {
        // one that cannot be listened to does what it does by default: it ends the process
        Signals { interrupt: signal(SignalKind::interrupt()).ok(), terminate: signal(SignalKind::terminate()).ok() }
    }

    /// Waits for the first signal and returns its number.
    pub async fn first(mut self) -> u8 {
        let number = self.next().await;
        tokio::spawn(async move {
            let again = self.next().await;
            std::process::exit(128 + i32::from(again));
        });
        number
    }

    async fn next(&mut self) -> u8 {
        tokio::select! {
            () = received(&mut self.interrupt) => 2,
            () = received(&mut self.terminate) => 15,
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    let received = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending().await
    }
}

pub fn stopped_by(signal: u8) -> Error {
    let name = if signal == 2 { "SIGINT" } else { "SIGTERM" };
    Error::new(Kind::Interrupted(signal), format!("stopped by {name}"))
}

/// A hint's commands with `--lab`, so that what was rehearsed is not done to AWS.
pub fn in_the_lab(hint: String) -> String {
    let mut parts: Vec<String> = hint.split('`').map(str::to_owned).collect();
    // every second part is between backticks
    for part in parts.iter_mut().skip(1).step_by(2) {
        let verb = part.strip_prefix("steady ").map(|rest| rest.split(' ').next().unwrap_or_default());
        let elsewhere = matches!(verb, None | Some("lab" | "init" | "completions" | "--help"));
        if !elsewhere && !part.split(' ').any(|word| word == "--lab") {
            part.push_str(" --lab");
        }
    }
    parts.join("`")
}

/// An interruption or a deadline with what goes on without us, and the command that takes it up again.
pub fn with_resume(error: Error, seen: Seen, flags: &str) -> Error {
    if error.kind() == Kind::DeadlinePassed && !error.hints().iter().any(|hint| hint.contains("steady wait")) {
        return error.hint(format!("the rollout goes on at AWS; `steady wait{flags}` follows it"));
    }
    if !matches!(error.kind(), Kind::Interrupted(_)) {
        return error;
    }
    match seen.last_step {
        None => error,
        Some(Step::Delete) => {
            error.hint(format!("what was deleted stays deleted; `steady delete --yes{flags}` goes on"))
        }
        _ if seen.service_changed => error
            .hint(format!("the rollout goes on at AWS; `steady wait{flags}` follows it"))
            .hint(format!("`steady rollback{flags}` goes back to the release before")),
        Some(Step::Service) => error
            .hint(format!("the service may have been changed already; `steady status{flags}` tells"))
            .hint("the same command again finds out and goes on from there"),
        Some(_) => error.hint("the service is untouched; the same command again goes on from what is done"),
    }
}
