//! CONTRACT: the entry points that commands call; replaced by the deploy branch at the merge.

pub mod event;

use secrecy::SecretString;
use serde_json::Value;

use crate::aws::Clients;
use crate::config::{Plan, RolloutPlan};
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
    register(plan: &Plan, clients: &Clients, events: &Events) -> Value;
    status(cluster: &str, service: &str, clients: &Clients) -> Value;
    wait(cluster: &str, service: &str, rollout: &RolloutPlan, clients: &Clients, events: &Events) -> Value;
    rollback(
        cluster: &str, service: &str, to: Option<&str>, rollout: &RolloutPlan, clients: &Clients, events: &Events
    ) -> Value;
    revisions(cluster: &str, service: &str, family: Option<&str>, limit: usize, clients: &Clients) -> Value;
    delete(cluster: &str, service: &str, options: &DeleteOptions, clients: &Clients, events: &Events) -> Value;
    login(clients: &Clients) -> Login;
}

// CONTRACT
pub fn render(plan: &Plan, clients: &Clients, digest: Option<&str>) -> Result<Value> {
    let _ = (plan, clients, digest);
    Err(Error::other("deploy::render comes with the deploy branch"))
}
