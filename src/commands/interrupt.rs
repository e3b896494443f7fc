//! SIGINT and SIGTERM: the first ends the command in order, the second ends it at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;

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

    /// Waits for the first signal and returns its number. Another one ends the process, after `last_words`.
    pub async fn first(mut self, last_words: impl FnOnce(Error) + Send + 'static) -> u8 {
        let number = self.next().await;
        tokio::spawn(async move {
            let again = self.next().await;
            last_words(Error::interrupted(again).hint("what was begun at AWS goes on there: `steady status` tells"));
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
