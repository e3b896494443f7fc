//! Login to a registry: ECR lends a password for 12 hours, other registries are used as they are.

use std::sync::{Arc, Mutex};

use base64::Engine;
use futures_util::FutureExt;
use secrecy::SecretString;
use serde_json::json;

use super::origin;
use super::repository::Repository;
use crate::aws::Clients;
use crate::aws::reply::{list, millis, text};
use crate::error::{Error, Kind, Result};
use crate::image::EcrHost;
use crate::registry::{Credential, CredentialSource};

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

/// Where and as whom to push.
pub struct Session {
    /// Scheme and host of the registry.
    pub base_url: String,
    pub credentials: Option<CredentialSource>,
}

/// A login that may be made before its repository is.
pub struct Prepared {
    login: Option<Login>,
    /// For a registry that is not ECR's.
    other: Option<CredentialSource>,
}

impl Prepared {
    pub fn registry(&self) -> String {
        match &self.login {
            Some(login) => login.registry.clone(),
            None if self.other.is_some() => "docker's login".to_owned(),
            None => "no login".to_owned(),
        }
    }

    pub fn at(self, repository: &Repository, clients: &Clients) -> Session {
        let base_url = base_url(repository.registry(), self.login.as_ref().map(|login| login.registry.as_str()));
        let credentials = self.login.map(|login| source(lender(repository, clients), login)).or(self.other);
        Session { base_url, credentials }
    }
}

/// ECR's token for its repositories; for any other what docker's configuration has, if anything.
pub async fn prepare(repository: &Repository, clients: &Clients) -> Result<Prepared> {
    if repository.is_ecr() {
        return Ok(Prepared { login: Some(login(&lender(repository, clients)).await?), other: None });
    }
    Ok(Prepared { login: None, other: origin::docker_login(repository.registry()).await? })
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
    Ok(prepare(repository, clients).await?.at(repository, clients))
}

/// The host with the scheme of ECR's proxy endpoint; without one, loopback speaks http and everything else https.
fn base_url(host: &str, endpoint: Option<&str>) -> String {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    let loopback = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let scheme = match endpoint.and_then(|endpoint| endpoint.split_once("://")) {
        // A password never goes over plain http to another machine.
        Some(("http", _)) if loopback => "http",
        Some(_) => "https",
        None if loopback => "http",
        None => "https",
    };
    format!("{scheme}://{host}")
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
