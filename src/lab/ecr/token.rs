//! ECR's authorization tokens, and the signed addresses of layers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest::{SHA256, digest};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::EcrState;
use crate::lab::Lab;
use crate::lab::api::{ApiResult, random_hex};
use crate::lab::wire::epoch_seconds;

const LIFE_MS: i64 = 12 * 3_600_000;
/// An expired token is answered with 403 for this long, after that as one that never was.
const REMEMBERED_MS: i64 = 24 * 3_600_000;
const MOST: usize = 1000;

/// A token is kept as the hash of its password: the password itself never reaches the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    password_sha256: String,
    /// Epoch milliseconds.
    expires_at: i64,
}

/// What an `Authorization` header is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    Valid,
    Expired,
    Invalid,
}

pub(super) fn issue(lab: &Lab) -> ApiResult {
    let password = random_hex(64);
    let now = lab.clock.now();
    let expires_at = now + LIFE_MS;
    lab.write(|state| {
        let tokens = &mut state.ecr.tokens;
        tokens.retain(|token| token.expires_at + REMEMBERED_MS > now);
        let surplus = (tokens.len() + 1).saturating_sub(MOST);
        tokens.drain(..surplus);
        tokens.push(Token { password_sha256: hash(&password), expires_at });
    });
    Ok(json!({
        "authorizationData": [{
            "authorizationToken": BASE64.encode(format!("AWS:{password}")),
            "expiresAt": epoch_seconds(expires_at),
            "proxyEndpoint": format!("http://{}", lab.settings.address),
        }]
    }))
}

/// A token for the public registry, whose one address everybody knows: it is not in the answer.
pub(super) fn issue_public(now: i64) -> Value {
    json!({
        "authorizationData": {
            "authorizationToken": BASE64.encode(format!("AWS:{}", random_hex(64))),
            "expiresAt": epoch_seconds(now + LIFE_MS),
        }
    })
}

/// Checks `Basic` credentials. `now` is in epoch milliseconds.
pub fn authorize(state: &EcrState, header: &str, now: i64) -> Login {
    let Some(password) = password(header) else { return Login::Invalid };
    // A hash is compared, so that the time it takes tells nothing of the password.
    let hash = hash(&password);
    match state.tokens.iter().find(|token| token.password_sha256 == hash) {
        Some(token) if token.expires_at > now => Login::Valid,
        Some(_) => Login::Expired,
        None => Login::Invalid,
    }
}

fn password(header: &str) -> Option<String> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64.decode(credentials.trim()).ok()?).ok()?;
    Some(pair.strip_prefix("AWS:")?.to_owned())
}

fn hash(password: &str) -> String {
    hex::encode(digest(&SHA256, password.as_bytes()))
}

/// The query of a layer's address: whoever has it may GET that blob until `expires_at` (epoch milliseconds).
pub(super) fn layer_url_query(lab: &Lab, repository: &str, digest: &str, expires_at: i64) -> String {
    let signature = hmac::sign(&lab.uploads.url_key, layer_text(repository, digest, expires_at).as_bytes());
    format!("expires={expires_at}&signature={}", hex::encode(signature))
}

/// Whether a query is one that `GetDownloadUrlForLayer` gave out for this blob.
pub fn layer_url_allows(lab: &Lab, repository: &str, digest: &str, query: &str) -> bool {
    let value = |wanted: &str| query.split('&').find_map(|pair| pair.strip_prefix(wanted)?.strip_prefix('='));
    let (Some(expires), Some(signature)) = (value("expires"), value("signature")) else { return false };
    let (Ok(expires_at), Ok(signature)) = (expires.parse(), hex::decode(signature)) else { return false };
    let text = layer_text(repository, digest, expires_at);
    expires_at > lab.clock.now() && hmac::verify(&lab.uploads.url_key, text.as_bytes(), &signature).is_ok()
}

fn layer_text(repository: &str, digest: &str, expires_at: i64) -> String {
    format!("{repository}\n{digest}\n{expires_at}")
}
