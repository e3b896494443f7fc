//! SIGINT and SIGTERM: the first ends the command and says how to go on, the second ends it at once.

use tokio::signal::unix::{SignalKind, signal};

use crate::deploy::event::Step;
use crate::error::{Error, Kind};
use crate::report::Seen;

/// Waits for the first signal and returns its number.
pub async fn first() -> u8 {
    let number = next().await;
    tokio::spawn(async {
        let again = next().await;
        std::process::exit(128 + i32::from(again));
    });
    number
}

async fn next() -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // without handlers the signals do what they do by default: end the process
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    }
}

pub fn stopped_by(signal: u8) -> Error {
    let name = if signal == 2 { "SIGINT" } else { "SIGTERM" };
    Error::new(Kind::Interrupted(signal), format!("stopped by {name}"))
}

/// An interruption with what goes on without us, and the command that takes it up again.
pub fn with_resume(error: Error, seen: Seen, flags: &str) -> Error {
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
