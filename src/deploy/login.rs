//! Login to a registry: ECR lends a password for 12 hours, to others docker or podman is logged in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use futures_util::future::{BoxFuture, ready};
use futures_util::{FutureExt, TryFutureExt};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::repository::Repository;
use crate::aws::Clients;
use crate::aws::reply::{list, millis, text};
use crate::error::{Error, Kind, Result};
use crate::image::ecr_host::PUBLIC;
use crate::image::reference::is_loopback;
use crate::image::{EcrHost, Reference};
use crate::registry::{self, Credential, CredentialSource, DockerLogins};

/// It can be done without a login to public ECR, for which nobody waits long.
const PUBLIC_PATIENCE: Duration = Duration::from_secs(5);

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
    let data = list(&reply, "authorizationData").first().unwrap_or(&Value::Null);
    lent(data, text(data, "proxyEndpoint").trim_end_matches('/'))
}

/// Asks public ECR for a token, good for all of it, whatever region the clients are for.
pub async fn public_login(clients: &Clients) -> Result<Login> {
    let asked = clients.get_public_authorization_token(json!({})).await;
    let reply = asked.map_err(|failure| {
        let denied = failure.is_denied();
        let error = failure.error(Kind::BuildOrPush);
        // AWS names the one that it missed first.
        if denied {
            error.hint("it takes `ecr-public:GetAuthorizationToken` and `sts:GetServiceBearerToken`")
        } else {
            error
        }
    })?;
    lent(&reply["authorizationData"], &format!("https://{PUBLIC}"))
}

fn lent(data: &Value, registry: &str) -> Result<Login> {
    let unreadable = || Error::build_or_push("ECR.GetAuthorizationToken: the reply holds no readable token");
    let token = base64::engine::general_purpose::STANDARD
        .decode(text(data, "authorizationToken"))
        .ok()
        .and_then(|token| String::from_utf8(token).ok())
        .ok_or_else(unreadable)?;
    let (username, password) = token.split_once(':').ok_or_else(unreadable)?;
    Ok(Login {
        registry: registry.to_owned(),
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
    /// To another registry, if there is one.
    Elsewhere(registry::Client),
}

impl Prepared {
    pub fn registry(&self) -> String {
        match self {
            Prepared::Ecr(login) => login.registry.clone(),
            Prepared::Elsewhere(client) if client.has_login() => client.host(),
            Prepared::Elsewhere(_) => "no login".to_owned(),
        }
    }

    pub fn at(self, repository: &Repository, clients: &Clients) -> Result<Session> {
        let client = match self {
            Prepared::Elsewhere(client) => client,
            Prepared::Ecr(first) => {
                let base_url = base_url(repository.registry(), &first.registry);
                let lender = lender(repository, clients);
                let again = move || {
                    let lender = lender.clone();
                    async move { login(&lender).await }.boxed()
                };
                registry::Client::new(&base_url, Some(source(again, first)))?
            }
        };
        Ok(Session { client })
    }
}

/// ECR's token for its repositories; for any other, the login that docker or podman keeps.
pub async fn prepare(repository: &Repository, clients: &Clients) -> Result<Prepared> {
    Ok(match repository {
        Repository::Ecr { .. } => Prepared::Ecr(login(&lender(repository, clients)).await?),
        Repository::Other { registry, path } => {
            Prepared::Elsewhere(elsewhere(&Reference::of(registry, path), clients).await?)
        }
    })
}

/// A client of a registry that is no private one of ECR's. Public ECR lets everybody pull, but those who are logged in more of
/// it, and only they push; to others docker or podman is logged in.
pub(super) async fn elsewhere(reference: &Reference, clients: &Clients) -> Result<registry::Client> {
    // Another endpoint, such as the lab's, lends nothing that is good there.
    if reference.is_public_ecr() && clients.endpoint_url.is_none() {
        match tokio::time::timeout(PUBLIC_PATIENCE, public_login(clients)).await {
            Ok(Ok(login)) => {
                let clients = clients.clone();
                let again = move || {
                    let clients = clients.clone();
                    async move { public_login(&clients).await }.boxed()
                };
                return registry::Client::new(&reference.base_url(), Some(source(again, login)));
            }
            Ok(Err(error)) => tracing::debug!(%error, "no login to public ECR"),
            Err(_) => tracing::debug!("no login to public ECR in time"),
        }
    }
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
fn source(
    again: impl Fn() -> BoxFuture<'static, Result<Login>> + Send + Sync + 'static,
    first: Login,
) -> CredentialSource {
    let first = Mutex::new(Some(first));
    Arc::new(move || {
        let at_hand = first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let login = at_hand.map_or_else(&again, |login| ready(Ok(login)).boxed());
        login.map_ok(|login| Credential { username: login.username, password: login.password }).boxed()
    })
}
