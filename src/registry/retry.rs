//! Which failures pass, and how long to wait for it.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::auth::{Renewals, Ticket};
use super::client::{Client, text_of};
use super::gate::Gate;
use super::{Patience, Scope};
use crate::error::{Error, Result};

/// Longer waits are not worth waiting, whatever the registry says.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// What to do about a registry that wants a login.
pub(super) const NO_CREDENTIAL: &str = "neither docker nor podman has a login to this registry: log in with one of them \
     (`docker login REGISTRY`); to ECR steady logs in by itself";

pub(super) enum Failure {
    /// May pass.
    Again {
        error: Error,
        after: Option<Duration>,
        throttled: bool,
    },
    /// 401 or 403: a new credential may help.
    Denied {
        error: Error,
        ticket: Ticket,
        challenges: Vec<String>,
    },
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

impl Failure {
    pub(super) fn again(error: Error) -> Self {
        Failure::Again { error, after: None, throttled: false }
    }
}

/// Repeats `operation` while its failures may pass; renews the credential once when it is denied.
pub(super) async fn persist<T>(
    client: &Client,
    scope: &Scope,
    gate: Option<&Gate>,
    mut operation: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T> {
    let mut delays = delays(client.patience());
    let mut renewals = Renewals::default();
    loop {
        match operation().await {
            Ok(value) => return Ok(value),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Denied { error, ticket, challenges }) => {
                if !client.renew(scope, ticket, &challenges, &mut renewals).await? {
                    return Err(error);
                }
            }
            Err(Failure::Again { error, after, throttled }) => {
                if throttled && let Some(gate) = gate {
                    gate.narrow();
                }
                let Some(delay) = delays.next() else { return Err(error) };
                tracing::debug!(%error, "trying again");
                tokio::time::sleep(after.map_or(delay, |after| after.min(MAX_RETRY_AFTER).max(delay))).await;
            }
        }
    }
}

fn delays(patience: &Patience) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(patience.first_delay)
        .with_max_delay(patience.max_delay)
        .with_max_times(patience.attempts.saturating_sub(1))
        .build()
}

/// What a registry said in place of what was asked.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The distribution spec's error codes, in capitals.
    pub(super) codes: Vec<String>,
    text: String,
    after: Option<Duration>,
}

impl Refusal {
    pub(super) async fn read(response: Response, client: &Client) -> Refusal {
        let status = response.status();
        let after = retry_after(response.headers());
        let body = text_of(response, client.patience().stall).await;
        let (codes, text) = explain(&body);
        Refusal { status, codes, text, after }
    }

    pub(super) fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|known| known == code)
    }

    /// Whether the registry says that a tag may not be moved.
    pub(super) fn is_immutable_tag(&self) -> bool {
        let text = self.text.to_ascii_lowercase();
        self.status.is_client_error()
            && (self.has("TAG_INVALID")
                || self.has("TAG_IMMUTABLE")
                || text.contains("immutable")
                || text.contains("imagetagalreadyexists"))
    }

    /// `doing` completes "the registry refused to …".
    pub(super) fn error(&self, client: &Client, doing: &str) -> Error {
        let explanation = if self.text.is_empty() { String::new() } else { format!(": {}", self.text) };
        let error = Error::build_or_push(format!(
            "the registry {} refused to {doing} ({}){explanation}",
            client.host(),
            self.status.as_u16()
        ));
        match self.status {
            StatusCode::NOT_FOUND if self.has("NAME_UNKNOWN") || self.codes.is_empty() => error
                .hint("does the repository exist? `--create-repository` makes it, `image.create` in steady.yaml too"),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !client.auth().has_source() => {
                error.hint(client.auth().no_credential())
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                error.hint("the credential was renewed once and is still refused: may it use this repository?")
            }
            StatusCode::TOO_MANY_REQUESTS => error.hint("the registry is throttling; try again in a minute"),
            _ => error,
        }
    }

    /// Sorts this into what may pass and what will not. 401 and 403 were sorted out before.
    pub(super) fn into_failure(self, client: &Client, doing: &str) -> Failure {
        let throttled = self.status == StatusCode::TOO_MANY_REQUESTS || self.has("TOOMANYREQUESTS");
        let passing = throttled || self.status.is_server_error() || self.status == StatusCode::REQUEST_TIMEOUT;
        let error = self.error(client, doing);
        if passing { Failure::Again { error, after: self.after, throttled } } else { Failure::Final(error) }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    Some(Duration::from_secs(headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?))
}

/// Codes and messages of a registry's error body; any other body as it begins.
fn explain(body: &str) -> (Vec<String>, String) {
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let errors = value.get("errors").and_then(|errors| errors.as_array()).cloned().unwrap_or_default();
    let text = |error: &serde_json::Value, name: &str| {
        error.get(name).and_then(|value| value.as_str()).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let codes: Vec<String> = errors.iter().map(|error| text(error, "code").to_ascii_uppercase()).collect();
    if errors.is_empty() {
        return (codes, body.trim().chars().take(300).collect());
    }
    let lines =
        errors.iter().map(|error| format!("{} {}", text(error, "code"), text(error, "message")).trim().to_owned());
    (codes, lines.collect::<Vec<_>>().join("; ").chars().take(500).collect())
}
