//! Signature version 4 as AWS checks it: whether who knows the lab's key has sent this request, and sent it now.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::collections::BTreeMap;

use axum::http::request::Parts;
use jiff::Timestamp;
use ring::{digest, hmac};

use crate::lab::lifecycle::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a request's time may be from ours, in seconds.
const SKEW: i64 = 15 * 60;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Missing,
    Incomplete(String),
    UnknownKey,
    Mismatch,
    Expired(String),
}

impl Refusal {
    pub fn message(&self) -> &str {
        match self {
            Refusal::Missing => "Request is missing Authentication Token",
            Refusal::Incomplete(what) | Refusal::Expired(what) => what,
            Refusal::UnknownKey => "The security token included in the request is invalid.",
            Refusal::Mismatch => {
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details."
            }
        }
    }

    /// The error's code where JSON is spoken.
    pub fn json_code(&self) -> &'static str {
        match self {
            Refusal::Missing => "MissingAuthenticationTokenException",
            Refusal::Incomplete(_) => "IncompleteSignatureException",
            Refusal::UnknownKey => "UnrecognizedClientException",
            Refusal::Mismatch | Refusal::Expired(_) => "InvalidSignatureException",
        }
    }

    /// The error's code where forms are: EC2 has codes of its own.
    pub fn query_code(&self, is_ec2: bool) -> &'static str {
        match self {
            Refusal::Missing => "MissingAuthenticationToken",
            Refusal::Incomplete(_) => "IncompleteSignature",
            Refusal::Expired(_) if is_ec2 => "RequestExpired",
            Refusal::UnknownKey | Refusal::Mismatch if is_ec2 => "AuthFailure",
            Refusal::UnknownKey => "InvalidClientTokenId",
            Refusal::Mismatch | Refusal::Expired(_) => "SignatureDoesNotMatch",
        }
    }
}

/// Checks the `Authorization` header of a request with this body, received at `now`.
///
/// # Errors
///
/// When it is not signed, not with the lab's key, not as it came, or not lately.
pub fn check(head: &Parts, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
    let authorization = header(head, "authorization").ok_or(Refusal::Missing)?;
    let Authorization { key, scope, signed, signature } = parse(authorization)?;
    let incomplete = |what: &str| Refusal::Incomplete(format!("{what} Authorization={authorization}"));
    let time = header(head, "x-amz-date").ok_or_else(|| {
        incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    })?;
    if key != ACCESS_KEY_ID {
        return Err(Refusal::UnknownKey);
    }
    for needed in ["host", "x-amz-date"] {
        if !signed.split(';').any(|name| name == needed) {
            return Err(incomplete(&format!("'{needed}' must be a signed header.")));
        }
    }
    if !scope.starts_with(time.get(..8).unwrap_or("-")) {
        return Err(Refusal::Expired(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP".into(),
        ));
    }
    let payload = hex::encode(digest::digest(&digest::SHA256, body));
    if header(head, "x-amz-content-sha256").is_some_and(|given| given != payload && given != "UNSIGNED-PAYLOAD") {
        return Err(Refusal::Mismatch);
    }
    let payload = header(head, "x-amz-content-sha256").unwrap_or(&payload);
    let canonical = canonical(head, signed, payload);
    let hashed = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{hashed}");
    let given = hex::decode(signature).map_err(|_| Refusal::Mismatch)?;
    hmac::verify(&signing_key(scope), to_sign.as_bytes(), &given).map_err(|_| Refusal::Mismatch)?;
    let sent = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time)
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|_| incomplete("Date must be in ISO-8601 'basic format'."))?;
    let age = now.as_second() - sent.timestamp().as_second();
    let stamp = |at: i64| Timestamp::from_second(at).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
    let (now, limit) = (now.as_second(), "15 min.");
    match age {
        age if age > SKEW => {
            let oldest = stamp(now - SKEW);
            Err(Refusal::Expired(format!(
                "Signature expired: {time} is now earlier than {oldest} ({} - {limit})",
                stamp(now)
            )))
        }
        age if age < -SKEW => {
            let newest = stamp(now + SKEW);
            Err(Refusal::Expired(format!(
                "Signature not yet current: {time} is still later than {newest} ({} + {limit})",
                stamp(now)
            )))
        }
        _ => Ok(()),
    }
}

struct Authorization<'a> {
    key: &'a str,
    /// `20260131/us-east-1/ecs/aws4_request`
    scope: &'a str,
    /// The names, with `;` between them.
    signed: &'a str,
    signature: &'a str,
}

fn parse(authorization: &str) -> Result<Authorization<'_>, Refusal> {
    let parameters = authorization.strip_prefix(ALGORITHM).unwrap_or_default().split(',');
    let parameters: BTreeMap<&str, &str> = parameters.filter_map(|one| one.trim().split_once('=')).collect();
    let parameter = |name: &str| {
        let missing = || Refusal::Incomplete(format!("Authorization header requires '{name}' parameter."));
        parameters.get(name).copied().filter(|value| !value.is_empty()).ok_or_else(missing)
    };
    let credential = parameter("Credential")?;
    let (signed, signature) = (parameter("SignedHeaders")?, parameter("Signature")?);
    // the key may have slashes, the scope has three
    let start = credential.rmatch_indices('/').nth(3).map(|(at, _)| at);
    let malformed =
        || Refusal::Incomplete(format!("Credential must have at least 5 slash-delimited elements: {credential}"));
    let (key, scope) = credential.split_at(start.ok_or_else(malformed)?);
    Ok(Authorization { key, scope: &scope[1..], signed, signature })
}

fn canonical(head: &Parts, signed: &str, payload: &str) -> String {
    let mut query: Vec<&str> =
        head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let mut headers = String::new();
    for name in signed.split(';') {
        let values = head.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let values: Vec<String> =
            values.map(|value| value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect();
        headers += &format!("{name}:{}\n", values.join(","));
    }
    format!("{}\n{}\n{}\n{headers}\n{signed}\n{payload}", head.method, head.uri.path(), query.join("&"))
}

fn signing_key(scope: &str) -> hmac::Key {
    let key = |secret: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, secret);
    let first = key(format!("AWS4{SECRET_ACCESS_KEY}").as_bytes());
    scope.split('/').fold(first, |so_far, part| key(hmac::sign(&so_far, part.as_bytes()).as_ref()))
}

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}
