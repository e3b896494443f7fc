//! Logging in: Basic, or Bearer tokens by way of `WWW-Authenticate`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::sync::{Mutex, MutexGuard};
use url::Url;

use super::client::{Client, text_of};
use super::docker_login::TOKEN_USER;
use super::retry::NO_CREDENTIAL;
use super::{Credential, CredentialSource, Scope};
use crate::error::{Error, Result};
use crate::image::EcrHost;

/// Tokens without `expires_in` last this long, says Docker's token specification.
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// A token is not kept longer, whatever its service says: ECR's lives this long.
const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// What a request was authorized with.
#[derive(Clone)]
pub(super) struct Ticket {
    pub(super) header: Option<HeaderValue>,
    generation: u64,
    bearer: bool,
}

impl Ticket {
    /// For requests to hosts that get no credential.
    pub(super) fn none() -> Self {
        Ticket { header: None, generation: 0, bearer: false }
    }
}

/// What has been done for one operation that was denied; each at most once.
#[derive(Default)]
pub(super) struct Renewals {
    challenged: bool,
    renewed: bool,
}

pub(super) struct Auth {
    source: Option<CredentialSource>,
    /// Held while a credential or token is fetched: whoever needs it meanwhile waits for that one.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Grows with every renewal.
    generation: u64,
    credential: Option<Credential>,
    challenge: Option<Challenge>,
    tokens: HashMap<Scope, Token>,
}

struct Token {
    header: HeaderValue,
    expires: Instant,
}

/// The Bearer challenge of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    realm: Url,
    service: Option<String>,
}

impl Auth {
    pub(super) fn new(source: Option<CredentialSource>) -> Self {
        Auth { source, state: Mutex::default() }
    }

    pub(super) fn has_source(&self) -> bool {
        self.source.is_some()
    }
}

impl Client {
    /// What to authorize a request to the registry's own host with.
    pub(super) async fn ticket(&self, scope: &Scope) -> Result<Ticket> {
        let mut state = self.auth().state.lock().await;
        let bearer = state.challenge.is_some();
        let header = if bearer {
            Some(self.token(&mut state, scope).await?)
        } else {
            self.credential(&mut state).await?.map(|credential| basic(&credential)).transpose()?
        };
        Ok(Ticket { header, generation: state.generation, bearer })
    }

    /// After a denial: whether there is something new to try with. Concurrent callers share one renewal.
    pub(super) async fn renew(
        &self,
        scope: &Scope,
        used: Ticket,
        challenges: &[String],
        renewals: &mut Renewals,
    ) -> Result<bool> {
        let mut state = self.auth().state.lock().await;
        let challenge = challenges.iter().find_map(|text| Challenge::parse(text));
        if let Some(challenge) = challenge
            && !used.bearer
        {
            // The first answer of a registry with tokens; it says nothing against the credential.
            let first = !renewals.challenged;
            renewals.challenged = true;
            state.challenge = Some(challenge);
            return Ok(first);
        }
        if renewals.renewed || (used.header.is_none() && self.auth().source.is_none()) {
            return Ok(false);
        }
        renewals.renewed = true;
        if state.generation > used.generation {
            return Ok(true);
        }
        if used.bearer {
            state.tokens.remove(scope);
        } else {
            state.credential = None;
            if self.credential(&mut state).await?.is_none() {
                return Ok(false);
            }
        }
        state.generation += 1;
        Ok(true)
    }

    async fn credential(&self, state: &mut MutexGuard<'_, State>) -> Result<Option<Credential>> {
        let Some(source) = &self.auth().source else { return Ok(None) };
        if state.credential.is_none() {
            state.credential = Some(source().await?);
        }
        Ok(state.credential.clone())
    }

    async fn token(&self, state: &mut MutexGuard<'_, State>, scope: &Scope) -> Result<HeaderValue> {
        if let Some(token) = state.tokens.get(scope).filter(|token| token.expires > Instant::now()) {
            return Ok(token.header.clone());
        }
        let Some(challenge) = state.challenge.clone() else {
            return Err(Error::build_or_push(format!("{} did not say where its tokens are", self.host())));
        };
        self.check_realm(&challenge.realm)?;
        let mut credential = self.credential(state).await?;
        let mut answer = self.ask_for_token(&challenge, scope, credential.as_ref()).await?;
        if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && credential.is_some() {
            state.credential = None;
            credential = self.credential(state).await?;
            answer = self.ask_for_token(&challenge, scope, credential.as_ref()).await?;
        }
        let status = answer.status();
        let text = text_of(answer, self.patience().stall).await;
        if !status.is_success() {
            let realm = challenge.realm.host_str().unwrap_or_default();
            let message = format!("{realm} gave no token for {} ({})", self.host(), status.as_u16());
            return Err(Error::build_or_push(message).hint(match self.auth().has_source() {
                true => "check the credential, and that it may use this repository",
                false => NO_CREDENTIAL,
            }));
        }
        // The text is a secret: it is in no error.
        let reply: TokenReply = serde_json::from_str(&text)
            .map_err(|_| Error::build_or_push(format!("the token service of {} answered no token", self.host())))?;
        let token = reply.token.or(reply.access_token).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Error::build_or_push(format!("{} gave an empty token", self.host())))?;
        let header = secret_header(&format!("Bearer {token}"))?;
        let life = reply.expires_in.map_or(TOKEN_LIFE, Duration::from_secs).min(LONGEST_TOKEN_LIFE);
        // A token that ends on its way is as good as expired.
        let expires = Instant::now() + life.saturating_sub(Duration::from_secs(5)).max(Duration::from_secs(5));
        state.tokens.insert(scope.clone(), Token { header: header.clone(), expires });
        Ok(header)
    }

    /// Whether a realm may be asked at all. One that is elsewhere may give anonymous tokens, but gets no credential.
    fn check_realm(&self, realm: &Url) -> Result<()> {
        let plain = realm.scheme() != "https" && self.base().scheme() == "https";
        let foreign = plain
            || !matches!(realm.scheme(), "http" | "https")
            || (realm.host_str() != self.base().host_str() && !is_sibling(self.base(), realm));
        if plain || (foreign && self.auth().source.is_some()) {
            let place = format!("{}://{}", realm.scheme(), realm.host_str().unwrap_or_default());
            let error = Error::build_or_push(format!(
                "the registry {} wants its credential sent to {place}, which is refused",
                self.host()
            ));
            return Err(
                error.hint("a credential goes only to the registry's own host, encrypted; is this the right registry?")
            );
        }
        Ok(())
    }

    async fn ask_for_token(
        &self,
        challenge: &Challenge,
        scope: &Scope,
        credential: Option<&Credential>,
    ) -> Result<reqwest::Response> {
        let mut url = challenge.realm.clone();
        if let Some(token) = credential.filter(|credential| credential.username == TOKEN_USER) {
            return self.trade_token(url, challenge, scope, token).await;
        }
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &challenge.service {
                query.append_pair("service", service);
            }
            let scope = scope.to_string();
            if !scope.is_empty() {
                query.append_pair("scope", &scope);
            }
        }
        let mut request = self.http_for(&url)?.get(url).timeout(self.patience().stall);
        if let Some(credential) = credential {
            request = request.header(AUTHORIZATION, basic(credential)?);
        }
        request.send().await.map_err(|error| self.no_token(error))
    }

    /// An identity token is no password: it is traded for one that is good for this scope.
    async fn trade_token(
        &self,
        realm: Url,
        challenge: &Challenge,
        scope: &Scope,
        token: &Credential,
    ) -> Result<reqwest::Response> {
        let scope = scope.to_string();
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", "steady");
        form.append_pair("service", challenge.service.as_deref().unwrap_or_default());
        form.append_pair("scope", &scope).append_pair("refresh_token", token.password.expose_secret());
        let request = self.http_for(&realm)?.post(realm).timeout(self.patience().stall);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.finish());
        request.send().await.map_err(|error| self.no_token(error))
    }

    fn no_token(&self, error: reqwest::Error) -> Error {
        Error::build_or_push(format!("cannot get a token for {}", self.host())).cause(error.without_url())
    }
}

/// Whether a realm is in the domain of its registry, as Docker Hub's and GitLab's are: `auth.docker.io` and
/// `registry-1.docker.io`. ECR's registries have no realm elsewhere, and their domain is everybody's.
fn is_sibling(registry: &Url, realm: &Url) -> bool {
    let domain = |url: &Url| {
        let host = url.domain()?.to_owned();
        let mut labels = host.rsplit('.');
        let (top, second) = (labels.next()?, labels.next()?);
        let is_name = !top.is_empty() && !top.bytes().all(|byte| byte.is_ascii_digit());
        is_name.then(|| format!("{second}.{top}"))
    };
    let is_ecr = registry.domain().is_some_and(|host| EcrHost::parse(host).is_some());
    !is_ecr && realm.scheme() == "https" && domain(registry).is_some() && domain(registry) == domain(realm)
}

#[derive(Deserialize)]
struct TokenReply {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

fn basic(credential: &Credential) -> Result<HeaderValue> {
    let pair = format!("{}:{}", credential.username, credential.password.expose_secret());
    secret_header(&format!("Basic {}", BASE64_STANDARD.encode(pair)))
}

fn secret_header(text: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(text)
        .map_err(|_| Error::build_or_push("a credential or token has characters that no header can hold"))?;
    header.set_sensitive(true);
    Ok(header)
}

impl Challenge {
    /// Reads one `WWW-Authenticate` header; `None` when it is not about Bearer tokens.
    fn parse(text: &str) -> Option<Challenge> {
        let (scheme, parameters) = text.trim().split_once(char::is_whitespace)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        for (name, value) in parameters_of(parameters) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Url::parse(&value).ok(),
                "service" => service = Some(value),
                _ => {}
            }
        }
        Some(Challenge { realm: realm?, service })
    }
}

/// `name="value"` pairs between commas; values may be quoted, with backslashes before quotes.
fn parameters_of(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let mut value = String::new();
        let mut characters = after.char_indices();
        let mut end = after.len();
        if after.starts_with('"') {
            characters.next();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                    other => value.push(other),
                }
            }
        } else {
            end = after.find(',').unwrap_or(after.len());
            value.push_str(after[..end].trim());
        }
        pairs.push((name.trim().to_owned(), value));
        rest = after[end..].trim_start_matches([',', ' ', '\t']);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_in_the_registry_s_own_domain_are_its_own() {
        let ecr = "https://111122223333.dkr.ecr.us-west-2.amazonaws.com";
        let cases = [
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
            ("https://registry.example.com:5000", "https://login.example.com/token", true),
            ("https://registry-1.docker.io", "http://auth.docker.io/token", false),
            ("https://registry-1.docker.io", "https://auth.docker.io.evil.com/token", false),
            ("https://registry-1.docker.io", "https://evildocker.io/token", false),
            ("https://ghcr.io", "https://gitlab.com/token", false),
            ("https://10.0.0.1", "https://10.0.0.2/token", false),
            ("https://localhost:5000", "https://other:5000/token", false),
            (ecr, "https://bucket.s3.amazonaws.com/token", false),
        ];
        for (registry, realm, expected) in cases {
            let parse = |text: &str| Url::parse(text).expect("a URL");
            assert_eq!(is_sibling(&parse(registry), &parse(realm)), expected, "{registry} {realm}");
        }
    }
}
