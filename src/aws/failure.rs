//! What an AWS call came to when it failed, and what a person can do about it.

use std::error::Error as StdError;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::error::{Error, Kind};
use crate::transport;

/// Why a call failed. `Display` is `Service.Operation: Code: message`; never holds request content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub service: &'static str,
    pub operation: &'static str,
    /// The service's own error code, such as `ClusterNotFoundException`.
    pub code: Option<String>,
    pub message: String,
    /// HTTP status, when there was a reply.
    pub status: Option<u16>,
    pub reach: Reach,
}

/// How far a failed call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It never left: no credentials, no connection.
    NotSent,
    /// AWS refused it: nothing was done.
    Refused,
    /// It was sent, and what AWS did with it is unknown: read back before sending it again.
    Unknown,
}

impl Failure {
    pub fn from_sdk<E>(service: &'static str, operation: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.as_service_error().and_then(|error| error.meta().code()).map(str::to_owned);
        let reach = match &error {
            SdkError::ConstructionFailure(_) => Reach::NotSent,
            SdkError::ServiceError(_) if status.is_some_and(|status| status >= 500) => Reach::Unknown,
            SdkError::ServiceError(_) => Reach::Refused,
            SdkError::DispatchFailure(failure) if failure.is_user() || never_left(&error) => Reach::NotSent,
            _ => Reach::Unknown,
        };
        let message = match error.as_service_error() {
            Some(service_error) => service_error.meta().message().map_or_else(
                || status.map_or_else(|| "no reason given".to_owned(), |status| format!("HTTP status {status}")),
                str::to_owned,
            ),
            None => match &error {
                SdkError::TimeoutError(_) => "no answer in time".to_owned(),
                _ => chain(&error),
            },
        };
        Failure { service, operation, code, message, status, reach }
    }

    /// No answer within the time that there was.
    pub fn late(service: &'static str, operation: &'static str) -> Self {
        let message = "no answer in time".to_owned();
        Failure { service, operation, code: None, message, status: None, reach: Reach::Unknown }
    }

    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    pub fn is_throttled(&self) -> bool {
        matches!(
            self.code.as_deref(),
            Some(
                "ThrottlingException"
                    | "Throttling"
                    | "ThrottledException"
                    | "RequestLimitExceeded"
                    | "TooManyRequestsException"
                    | "RequestThrottled"
            )
        ) || self.status == Some(429)
    }

    /// "Too many concurrent attempts to create a new revision": nothing was done, and the SDK does not retry it.
    pub fn is_concurrent_revision(&self) -> bool {
        self.message.contains("Too many concurrent attempts to create a new revision")
    }

    /// What ECS does not see yet of what was made a moment ago: refused now, taken soon.
    pub fn not_yet(&self) -> Option<&'static str> {
        [
            ("does not have an associated load balancer", "the load balancer at its target group"),
            ("Unable to assume the service linked role", "the service-linked role of this account"),
            ("Unable to assume role and validate the specified targetGroupArn", "what its role may do"),
        ]
        .into_iter()
        .find_map(|(refusal, what)| (self.reach == Reach::Refused && self.message.contains(refusal)).then_some(what))
    }

    pub fn is_expired(&self) -> bool {
        matches!(
            self.code.as_deref(),
            Some("ExpiredToken" | "ExpiredTokenException" | "RequestExpired" | "InvalidClientTokenId")
        ) || self.message.contains("security token included in the request is expired")
    }

    pub fn is_denied(&self) -> bool {
        matches!(
            self.code.as_deref(),
            Some("AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" | "UnauthorizedAccess")
        )
    }

    /// The endpoint does not know this operation: an older or smaller AWS-compatible server.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self.code.as_deref(),
            Some("UnknownOperationException" | "InvalidAction" | "NotImplemented" | "UnsupportedOperation")
        ) || matches!(self.status, Some(404 | 501))
            || (self.status == Some(500) && self.code.is_none())
    }

    pub fn is_credentials(&self) -> bool {
        self.code.as_deref() == Some(NO_CREDENTIALS)
    }

    pub fn error(self, kind: Kind) -> Error {
        let hint = self.hint();
        let error = Error::new(kind, self.to_string());
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        if self.is_credentials() || self.message.contains("credential") && self.status.is_none() {
            return Some(
                "no usable AWS credentials: set AWS_PROFILE or AWS_ACCESS_KEY_ID, run `aws sso login`, \
                 or try it all without AWS: --lab"
                    .to_owned(),
            );
        }
        if self.is_expired() {
            return Some(
                "the credentials have expired: log in again (`aws sso login`) and run the same command".into(),
            );
        }
        if matches!(
            self.code.as_deref(),
            Some("UnrecognizedClientException" | "InvalidSignatureException" | "SignatureDoesNotMatch" | "AuthFailure")
        ) {
            return Some(
                "AWS does not accept these credentials: check key id, secret, region and this machine's clock".into(),
            );
        }
        if self.is_denied() {
            let action = self.action();
            return Some(format!("allow the action `{action}` for this role, or use another --profile"));
        }
        if self.is_throttled() {
            return Some("AWS throttles this account's calls: run the same command again in a minute".into());
        }
        if self.status.is_some() || self.reach == Reach::Refused {
            return None;
        }
        if let Some(hint) = transport::hint(&self.message) {
            return Some(hint);
        }
        let proxy = transport::proxy_of("https://amazonaws.com");
        let proxy = proxy.map_or_else(String::new, |proxy| format!("the proxy {proxy}, "));
        Some(format!(
            "check the network, {proxy}the region and AWS_ENDPOINT_URL; running the same command again is safe"
        ))
    }

    /// The IAM action: the one AWS names in its refusal, else the operation's.
    pub fn action(&self) -> String {
        let named = self.message.split("perform: ").nth(1).and_then(|rest| rest.split_whitespace().next());
        match named {
            Some(action) => action.trim_end_matches(['.', ',']).to_owned(),
            None => format!("{}:{}", iam_prefix(self.service), self.operation),
        }
    }
}

const NO_CREDENTIALS: &str = "NoCredentials";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}: ", self.service, self.operation)?;
        if let Some(code) = &self.code {
            write!(f, "{code}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl StdError for Failure {}

fn iam_prefix(service: &str) -> &'static str {
    match service {
        "ECR" => "ecr",
        "ECRPublic" => "ecr-public",
        "ELBv2" => "elasticloadbalancing",
        "CloudMap" => "servicediscovery",
        "Logs" => "logs",
        "STS" => "sts",
        "EC2" => "ec2",
        "IAM" => "iam",
        "SSM" => "ssm",
        "SecretsManager" => "secretsmanager",
        "CloudWatch" => "cloudwatch",
        _ => "ecs",
    }
}

fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn never_left(error: &(dyn StdError + 'static)) -> bool {
    sources(error).any(|cause| {
        cause.is::<CredentialsError>()
            || cause.downcast_ref::<std::io::Error>().is_some_and(|io| {
                matches!(io.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound)
            })
            || cause.to_string().starts_with("dns error")
    })
}

/// The causes, outermost first, without the SDK's own wrappers and without repeats.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in sources(error).skip(1) {
        let text = cause.to_string();
        if parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
    }
    if parts.is_empty() { error.to_string() } else { parts.join(": ") }
}
