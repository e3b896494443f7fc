//! What a request meets before and after it is answered: budgets, and faults on demand.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use futures_util::{StreamExt, stream};

use crate::aws_model::Service;
use crate::lab::Lab;
use crate::lab::api::ApiError;
use crate::lab::ecr::digest_of;
use crate::lab::faults::{Fault, Kind, service_name};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What becomes of a request that may be answered.
#[derive(Debug, Default, Clone, Copy)]
pub struct Then {
    pub drops: bool,
    pub wrong_digest: bool,
    /// The registry's token counts as expired.
    pub token_expired: bool,
}

/// Why a request is not answered.
#[derive(Debug)]
pub enum Denied {
    Throttled,
    Failed(Box<Fault>),
    /// Its connection ends.
    Dropped,
}

/// Spends from the budget of a request, and does to it what faults say. What takes its time is waited for.
pub async fn meet(lab: &Lab, service: &str, operation: &str) -> Result<Then, Denied> {
    let mut then = Then::default();
    let within = lab.budgets.take(service, operation, lab.clock.now());
    let denied = match within {
        true => strike(lab, service, operation, &mut then).await,
        false => Err(Denied::Throttled),
    };
    match &denied {
        Err(Denied::Throttled) => lab.budgets.throttled(service, operation),
        Err(_) => {}
        Ok(()) => lab.budgets.answered(),
    }
    denied.map(|()| then)
}

async fn strike(lab: &Lab, service: &str, operation: &str, then: &mut Then) -> Result<(), Denied> {
    for fault in lab.faults.strike(service, operation) {
        match fault.kind {
            Kind::Throttle => return Err(Denied::Throttled),
            Kind::Error => return Err(Denied::Failed(Box::new(fault))),
            Kind::DropBefore => return Err(Denied::Dropped),
            Kind::Delay => tokio::time::sleep(fault.lasts().unwrap_or_default()).await,
            Kind::Stall => {
                lab.faults.stalled(service, operation).await;
                return Err(Denied::Dropped);
            }
            Kind::DropAfter => then.drops = true,
            Kind::WrongDigest => then.wrong_digest = true,
            Kind::ExpireToken => then.token_expired = true,
            Kind::LoseCapacity | Kind::InterruptSpot | Kind::FailPlacement | Kind::SlowPull | Kind::FlappingHealth => {}
        }
    }
    Ok(())
}

/// A service's answer to one who asks too often.
pub fn throttled(service: Service) -> ApiError {
    match service {
        Service::Elbv2 | Service::Iam | Service::Sts | Service::CloudWatch => {
            ApiError::new("Throttling", "Rate exceeded")
        }
        Service::Ec2 => ApiError { status: 503, ..ApiError::new("RequestLimitExceeded", "Request limit exceeded.") },
        _ => ApiError::new("ThrottlingException", "Rate exceeded"),
    }
}

/// A service's answer to credentials that have expired.
pub fn expired(service: Service) -> ApiError {
    const SAID: &str = "The security token included in the request is expired";
    match service {
        Service::Elbv2 | Service::Iam | Service::Sts | Service::CloudWatch => {
            ApiError { status: 403, ..ApiError::new("ExpiredToken", SAID) }
        }
        Service::Ec2 => ApiError::new("RequestExpired", "Request has expired."),
        _ => ApiError::new("ExpiredTokenException", SAID),
    }
}

/// The error that a fault asks for, or a service's own for what is its fault.
pub fn failed(service: Service, fault: &Fault) -> ApiError {
    let usual = match service {
        Service::Ecs | Service::Ecr | Service::EcrPublic => "ServerException",
        Service::Logs => "ServiceUnavailableException",
        Service::Ssm => "InternalServerError",
        Service::SecretsManager => "InternalServiceError",
        Service::Ec2 => "InternalError",
        Service::Iam => "ServiceFailure",
        Service::CloudWatch => "InternalServiceFault",
        Service::Elbv2 | Service::Sts | Service::ServiceDiscovery => "InternalFailure",
    };
    let code = fault.code.as_deref().unwrap_or(usual);
    let message = fault.message.as_deref().unwrap_or(match fault.code {
        None => "Service Unavailable. Please try again later.",
        Some(_) => "The lab was told to answer this.",
    });
    let declared = || Fault::declared_status(service_name(service), code);
    let status = match (fault.status, &fault.code) {
        (Some(status), _) => status,
        (None, None) => 500,
        (None, Some(code)) => declared().unwrap_or(if code.starts_with("Internal") { 500 } else { 400 }),
    };
    ApiError { status, ..ApiError::new(code, message) }
}

/// Ends the connection: a body that cannot be had stops the reply before its first byte is sent.
pub fn dropped() -> Response<Body> {
    let gone = stream::once(async { Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)) });
    Response::new(Body::from_stream(gone))
}

/// The registry's reply with another digest than its content has.
pub fn with_wrong_digest(response: Response<Body>, is_blob: bool) -> Response<Body> {
    if !response.status().is_success() || response.status() == StatusCode::ACCEPTED {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Some(said) = head.headers.get(CONTENT_DIGEST) else { return Response::from_parts(head, body) };
    if !is_blob {
        let other = digest_of(said.as_bytes());
        head.headers.insert(CONTENT_DIGEST, HeaderValue::from_str(&other).unwrap_or_else(|_| said.clone()));
        return Response::from_parts(head, body);
    }
    let mut first = true;
    let altered = body.into_data_stream().map(move |part| {
        part.map(|bytes| {
            let mut bytes = bytes.to_vec();
            if let (true, Some(byte)) = (std::mem::take(&mut first), bytes.first_mut()) {
                *byte = !*byte;
            }
            Bytes::from(bytes)
        })
    });
    Response::from_parts(head, Body::from_stream(altered))
}
