//! The OCI distribution client: what ECR and every other registry speak under `/v2/`.
//!
//! A credential goes to the registry's own host and nowhere else: not after a redirect, not to another host's upload
//! location, not to a token realm elsewhere. Only docker's own logins go to the realm that the registry names, encrypted,
//! as docker sends them there. Everything is streamed, retried and bounded in time and memory.

mod auth;
mod body;
mod client;
mod docker_login;
mod find;
mod gate;
mod packing;
mod pull;
mod push;
mod relay;
mod remote;
mod retry;
mod settle;
mod streamed;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde::Serialize;

use crate::error::Result;
pub use client::{Client, use_ring};
pub use docker_login::{DockerLogins, docker_config_file};
pub use find::{config, image, present};
pub use pull::{ManifestHead, has_names, head_manifest, is_tagged, platforms, pull_image};
pub use push::{PushOptions, Pushed, push, push_tree};
pub use relay::Origin;
pub use remote::{Remote, find};
pub use settle::{Settled, recall, recall_layers, settle};
pub use streamed::send_as_they_come;

/// With this for a username, a password is an identity token, with which a token service gives tokens: so say docker's
/// credential helpers.
pub const IDENTITY_TOKEN: &str = "<token>";

/// What to log in with. `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Or [`IDENTITY_TOKEN`].
    pub username: String,
    pub password: SecretString,
}

/// Where a credential comes from: asked once at the start, and once more when the registry says it has expired.
pub type CredentialSource = Arc<dyn Fn() -> BoxFuture<'static, Result<Credential>> + Send + Sync>;

/// How patient a client is. The defaults are for production.
#[derive(Debug, Clone)]
pub struct Patience {
    pub connect: Duration,
    /// How long nothing may move, in either direction.
    pub stall: Duration,
    /// Tries of one thing, the first included.
    pub attempts: usize,
    /// Before the second try; doubles from then on, with jitter.
    pub first_delay: Duration,
    pub max_delay: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(60),
            attempts: 6,
            first_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(10),
        }
    }
}

/// Where a blob is on its way. A pull counts as one too: `Uploading` is then on its way, and `Pushed` there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BlobState {
    Checking,
    Exists,
    Mounted,
    /// And sent as it goes.
    Compressing,
    Uploading,
    Pushed,
}

/// How far one blob is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The diffID of a layer that is compressed on its way.
    pub digest: String,
    /// In bytes; of such a layer before that, until it is there.
    pub size: u64,
    /// In bytes; starts anew with an attempt.
    pub sent: u64,
    pub state: BlobState,
}

/// What a request may do, for registries that give tokens by scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Scope {
    Pull(String),
    Push(String),
    Mount { to: String, from: String },
    Registry,
}

impl Scope {
    /// As token services are asked for it.
    fn texts(&self) -> Vec<String> {
        let pull = |repository: &str| format!("repository:{repository}:pull");
        let push = |repository: &str| format!("repository:{repository}:pull,push");
        match self {
            Scope::Pull(repository) => vec![pull(repository)],
            Scope::Push(repository) => vec![push(repository)],
            Scope::Mount { to, from } => vec![push(to), pull(from)],
            Scope::Registry => Vec::new(),
        }
    }
}
