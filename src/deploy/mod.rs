//! CONTRACT: the entry points that commands call; replaced by the deploy branch at the merge.

pub mod event;

use secrecy::SecretString;
use serde_json::Value;

use crate::aws::Clients;
use crate::config::Plan;
use crate::error::{Error, Result};
use event::Events;

// CONTRACT
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Also what steady created around the service.
    pub created: bool,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct Login {
    pub registry: String,
    pub username: String,
    pub password: SecretString,
    /// Epoch milliseconds.
    pub expires_at: i64,
}

macro_rules! contract {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $reply:ty;)*) => {$(
        // CONTRACT
        pub async fn $name($($argument: $kind),*) -> Result<$reply> {
            $(let _ = $argument;)*
            Err(Error::other(concat!("deploy::", stringify!($name), " comes with the deploy branch")))
        }
    )*};
}

contract! {
    run(plan: &Plan, clients: &Clients, events: &Events) -> Value;
    dry_run(plan: &Plan, clients: &Clients, events: &Events) -> Value;
    build(plan: &Plan, clients: &Clients, events: &Events) -> Value;
    push(plan: &Plan, clients: &Clients, events: &Events) -> Value;
    render(plan: &Plan, clients: &Clients, events: &Events) -> Value;
    register(plan: &Plan, clients: &Clients, events: &Events) -> Value;
    status(plan: &Plan, clients: &Clients, events: &Events) -> Value;
    wait(plan: &Plan, clients: &Clients, events: &Events) -> Value;
    rollback(plan: &Plan, clients: &Clients, events: &Events, to: Option<&str>) -> Value;
    revisions(plan: &Plan, clients: &Clients, events: &Events) -> Value;
    delete(plan: &Plan, clients: &Clients, events: &Events, options: &DeleteOptions) -> Value;
    login(clients: &Clients) -> Login;
}
