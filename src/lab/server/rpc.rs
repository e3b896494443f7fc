//! Smithy's RPC v2 protocol: the operation in the path, CBOR in and out. The AWS CLI and boto3 speak it to CloudWatch.

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::apis::{meet, respond, status};
use super::signature::Refusal;
use super::trouble;
use crate::aws_model::{Service, Shape, operation, shape};
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::cloudwatch;
use crate::lab::lifecycle::Instance;
use crate::lab::wire::cbor;

const PROTOCOL: &str = "rpc-v2-cbor";
/// The one service of the lab's that AWS has speak it.
const SERVICE: Service = Service::CloudWatch;

/// The operation that a path of this protocol names.
pub fn operation_of(head: &Parts) -> Option<&str> {
    let (service, operation) = head.uri.path().strip_prefix("/service/")?.split_once("/operation/")?;
    let spoken = head.headers.get("smithy-protocol").is_some_and(|protocol| protocol == PROTOCOL);
    (spoken && service == SERVICE.model().target_prefix).then_some(operation)
}

pub async fn answer(
    instance: Arc<Instance>,
    name: String,
    refused: Option<Refusal>,
    body: &[u8],
    id: &str,
) -> Response<Body> {
    let Some(reply) = run(instance, name.clone(), refused, body).await else { return trouble::dropped() };
    let (code, body, query) = match reply {
        Ok(reply) => {
            let output = operation(SERVICE, &name).and_then(|operation| operation.output.as_deref());
            (StatusCode::OK, cbor::encode(SERVICE, output, &reply), None)
        }
        Err(error) => {
            let mut members = json!({"__type": type_of(&name, &error), "message": error.message});
            for (name, value) in &error.members {
                members[*name] = value.clone();
            }
            let whose = if error.status < 500 { "Sender" } else { "Receiver" };
            let query = HeaderValue::from_str(&format!("{};{whose}", error.code)).ok();
            (status(&error), cbor::encode(SERVICE, None, &members), query)
        }
    };
    let mut response = respond(code, "application/cbor", body, id);
    let headers = response.headers_mut();
    headers.insert("smithy-protocol", HeaderValue::from_static(PROTOCOL));
    if let Some(query) = query {
        headers.insert("x-amzn-query-error", query);
    }
    response
}

/// `None` when the connection is to end.
async fn run(instance: Arc<Instance>, name: String, refused: Option<Refusal>, body: &[u8]) -> Option<ApiResult> {
    if let Some(refusal) = refused {
        return Some(Err(ApiError::new(refusal.json_code(), refusal.message())));
    }
    let input = if body.is_empty() { Ok(json!({})) } else { cbor::decode(body) };
    match input {
        Ok(input @ Value::Object(_)) => meet(instance, SERVICE, cloudwatch::handle, name, input).await,
        Ok(_) => Some(Err(ApiError::new("SerializationException", "the body is not a map"))),
        Err(why) => Some(Err(ApiError::new("SerializationException", why))),
    }
}

/// The name of an error's shape, where its code is what it was called when forms were all there was.
fn type_of(name: &str, error: &ApiError) -> String {
    let declared = operation(SERVICE, name).map(|operation| operation.errors.as_slice()).unwrap_or_default();
    let is_it = |name: &&String| match shape(SERVICE, name) {
        Some(Shape::Structure(structure)) => structure.error.as_ref().is_some_and(|(code, _)| *code == error.code),
        _ => false,
    };
    declared.iter().find(is_it).unwrap_or(&error.code).clone()
}
