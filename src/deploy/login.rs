//! Login to a registry: ECR lends a password for 12 hours, to others docker or podman is logged in.

use std::sync::{Arc, Mutex};

use base64::Engine;
use futures_util::FutureExt;
use secrecy::SecretString;
use serde_json::json;

use super::repository::Repository;
use crate::aws::Clients;
use crate::aws::reply::{list, millis, text};
use crate::error::{Error, Kind, Result};
use crate::image::reference::is_loopback;
use crate::image::{EcrHost, Reference};
use crate::registry::{self, Credential, CredentialSource, DockerLogins};

/// A registry's password, as `ecr:GetAuthorizationToken` lends it. Debug shows no password.
#[derive(Debug, Clone)]
pub struct Login {
    /// Scheme and host, as ECR's `proxyEndpoint` has them.
    pub registry: String,
    pub username: String,
    pub password: SecretString,
    /// Epoch milliseconds.
    pub expires_at: i64,
}

/// Asks ECR for a token.
pub async fn login(clients: &Clients) -> Result<Login> {
    let asked = clients.get_authorization_token(json!({})).await;
    let reply = asked.map_err(|failure| failure.error(Kind::BuildOrPush))?;
    let unreadable = || Error::build_or_push("ECR.GetAuthorizationToken: the reply holds no readable token");
    let data = list(&reply, "authorizationData").first().ok_or_else(unreadable)?;
    let token = base64::engine::general_purpose::STANDARD
        .decode(text(data, "authorizationToken"))
        .ok()
        .and_then(|token| String::from_utf8(token).ok())
        .ok_or_else(unreadable)?;
    let (username, password) = token.split_once(':').ok_or_else(unreadable)?;
    Ok(Login {
        registry: text(data, "proxyEndpoint").trim_end_matches('/').to_owned(),
        username: username.to_owned(),
        password: SecretString::from(password.to_owned()),
        expires_at: millis(data, "expiresAt"),
    })
}

/// Where and as whom to push and pull.
pub struct Session {
    pub client: registry::Client,
}

/// A login that may be made before its repository is.
pub enum Prepared {
    Ecr(Login),
    /// To another registry, if docker or podman has one.
    Docker(registry::Client),
}

impl Prepared {
    pub fn registry(&self) -> String {
        match self {
            Prepared::Ecr(login) => login.registry.clone(),
            Prepared::Docker(client) if client.has_login() => format!("{}, as docker is logged in", client.host()),
            Prepared::Docker(_) => "no login".to_owned(),
        }
    }

    pub fn at(self, repository: &Repository, clients: &Clients) -> Result<Session> {
        let client = match self {
            Prepared::Docker(client) => client,
            Prepared::Ecr(login) => {
                let base_url = base_url(repository.registry(), &login.registry);
                registry::Client::new(&base_url, Some(source(lender(repository, clients), login)))?
            }
        };
        Ok(Session { client })
    }
}

/// ECR's token for its repositories; for any other, the login that docker or podman keeps.
pub async fn prepare(repository: &Repository, clients: &Clients) -> Result<Prepared> {
    Ok(match repository {
        Repository::Ecr { .. } => Prepared::Ecr(login(&lender(repository, clients)).await?),
        Repository::Other { registry, path } => Prepared::Docker(as_docker(&Reference::of(registry, path)).await?),
    })
}

/// A client of a registry that is not ECR's, with the login that docker or podman keeps.
pub(super) async fn as_docker(reference: &Reference) -> Result<registry::Client> {
    registry::Client::as_docker(reference, &DockerLogins::of_environment()).await
}

/// A region's token is good for its own registry only.
fn lender(repository: &Repository, clients: &Clients) -> Clients {
    match EcrHost::parse(repository.registry()) {
        Some(host) if host.region != clients.region => clients.with_ecr_in(&host.region),
        _ => clients.clone(),
    }
}

/// A session for this repository.
pub async fn session(repository: &Repository, clients: &Clients) -> Result<Session> {
    prepare(repository, clients).await?.at(repository, clients)
}

/// The host with the scheme of ECR's proxy endpoint. A password never goes over plain http to another machine.
fn base_url(host: &str, endpoint: &str) -> String {
    let plain = endpoint.starts_with("http://") && is_loopback(host);
    format!("{}://{host}", if plain { "http" } else { "https" })
}

/// Gives the token at hand first, and a fresh one each time it is asked again.
fn source(clients: Clients, first: Login) -> CredentialSource {
    let first = Arc::new(Mutex::new(Some(first)));
    Arc::new(move || {
        let (clients, first) = (clients.clone(), first.clone());
        async move {
            let at_hand = first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            let login = match at_hand {
                Some(login) => login,
                None => login(&clients).await?,
            };
            Ok(Credential { username: login.username, password: login.password })
        }
        .boxed()
    })
}
