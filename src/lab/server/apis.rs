//! `POST /`: which service and operation a request means, and the reply in that service's protocol.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use super::Front;
use super::rpc;
use super::signature::{self, Refusal};
use super::trouble::{self, Denied};
use crate::aws_model::Service;
use crate::lab::api::{ApiError, ApiResult, random_hex};
use crate::lab::faults::service_name;
use crate::lab::lifecycle::Instance;
use crate::lab::wire::{self, query, xml};
use crate::lab::{Lab, cloudwatch, conformance, discovery, ec2, ecr, ecs, elbv2, iam, logs, secretsmanager, ssm, sts};

/// ECR takes layer parts of 20 MiB, in base64.
const LARGEST: usize = 32 * 1024 * 1024;

type Handler = fn(&Lab, &str, Value) -> ApiResult;

const BY_TARGET: [(&str, Service, Handler); 8] = [
    ("AmazonEC2ContainerServiceV20141113", Service::Ecs, ecs::handle),
    ("AmazonEC2ContainerRegistry_V20150921", Service::Ecr, ecr::handle),
    ("SpencerFrontendService", Service::EcrPublic, ecr::handle_public),
    ("Route53AutoNaming_v20170314", Service::ServiceDiscovery, discovery::handle),
    ("Logs_20140328", Service::Logs, logs::handle),
    ("AmazonSSM", Service::Ssm, ssm::handle),
    ("secretsmanager", Service::SecretsManager, secretsmanager::handle),
    ("GraniteServiceVersion20100801", Service::CloudWatch, cloudwatch::handle),
];

/// Name in the SigV4 scope, `Version`, and what they stand for.
const BY_SCOPE: [(&str, &str, xml::Dialect, Handler); 5] = [
    ("elasticloadbalancing", "2015-12-01", xml::Dialect::Elbv2, elbv2::handle),
    ("sts", "2011-06-15", xml::Dialect::Sts, sts::handle),
    ("ec2", "2016-11-15", xml::Dialect::Ec2, ec2::handle),
    ("iam", "2010-05-08", xml::Dialect::Iam, iam::handle),
    ("monitoring", "2010-08-01", xml::Dialect::CloudWatch, cloudwatch::handle_form),
];

/// A request id as AWS makes them, a UUID.
fn request_id() -> String {
    let digits = random_hex(32);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

pub async fn answer(front: &Front, request: Request) -> Response<Body> {
    let id = request_id();
    let (head, body) = request.into_parts();
    let rpc = rpc::operation_of(&head).map(str::to_owned);
    if head.method != Method::POST || head.uri.path() != "/" && rpc.is_none() {
        let message = format!("the lab has nothing at {} {}", head.method, head.uri.path());
        let status = if head.uri.path() == "/" { 405 } else { 404 };
        return json_error(&ApiError { status, ..ApiError::new("UnknownOperationException", message) }, &id);
    }
    let body: Bytes = match Limited::new(body, LARGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            let error = ApiError::new("RequestEntityTooLarge", "the request is larger than 32 MiB, or was cut short");
            return json_error(&ApiError { status: 413, ..error }, &id);
        }
    };
    let instance = front.house.current();
    let refused = signature::check(&head, &body, jiff::Timestamp::now()).err();
    if let Some(operation) = rpc {
        return rpc::answer(instance, operation, refused, &body, &id).await;
    }
    match text(&head.headers, "x-amz-target") {
        Some(target) => answer_json(instance, target, refused, &body, &id).await,
        None => answer_query(instance, &head.headers, refused, &body, &id).await,
    }
}

async fn answer_json(
    instance: Arc<Instance>,
    target: &str,
    refused: Option<Refusal>,
    body: &[u8],
    id: &str,
) -> Response<Body> {
    let known = target.split_once('.').and_then(|(prefix, operation)| {
        let service = BY_TARGET.iter().find(|(name, ..)| *name == prefix);
        service.map(|(_, service, handler)| (*service, *handler, operation.to_owned()))
    });
    let Some((service, handler, operation)) = known else {
        return json_error(&ApiError::unknown_operation(target), id);
    };
    if let Some(refusal) = refused {
        return json_error(&ApiError::new(refusal.json_code(), refusal.message()), id);
    }
    let input = match body {
        [] => Ok(json!({})),
        body => serde_json::from_slice(body).map_err(|error| error.to_string()),
    };
    let input = match input {
        Ok(input @ Value::Object(_)) => input,
        Ok(_) => return json_error(&ApiError::new("SerializationException", "the body is not a JSON object"), id),
        Err(why) => return json_error(&ApiError::new("SerializationException", why), id),
    };
    match meet(instance, service, handler, operation, input).await {
        None => trouble::dropped(),
        Some(Ok(reply)) => respond(StatusCode::OK, "application/x-amz-json-1.1", reply.to_string(), id),
        Some(Err(error)) => json_error(&error, id),
    }
}

async fn answer_query(
    instance: Arc<Instance>,
    headers: &HeaderMap,
    refused: Option<Refusal>,
    body: &[u8],
    id: &str,
) -> Response<Body> {
    let form = text(headers, "content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if !form {
        let message = "the request has neither an X-Amz-Target nor a form";
        return json_error(&ApiError::new("UnknownOperationException", message), id);
    }
    let request = query::parse(body);
    let version = request.as_ref().map_or("", |request| request.version.as_str());
    let scope = text(headers, "authorization").and_then(signed_service);
    let service = BY_SCOPE
        .iter()
        .find(|(name, ..)| Some(*name) == scope)
        .or_else(|| BY_SCOPE.iter().find(|(_, of_version, ..)| *of_version == version));
    let Some(&(_, _, dialect, handler)) = service else {
        let message = format!("the lab has no service {} with version '{version}'", scope.unwrap_or("without a name"));
        let error = ApiError::new("UnknownOperationException", message);
        return xml_error(xml::Dialect::Elbv2, &error, id);
    };
    if let Some(refusal) = refused {
        let is_ec2 = dialect == xml::Dialect::Ec2;
        let error = ApiError::new(refusal.query_code(is_ec2), refusal.message());
        return xml_error(dialect, &ApiError { status: if is_ec2 { 401 } else { 403 }, ..error }, id);
    }
    let request = match request {
        Ok(request) => request,
        Err(error) => return xml_error(dialect, &error, id),
    };
    let service = match dialect {
        xml::Dialect::Elbv2 => Service::Elbv2,
        xml::Dialect::Sts => Service::Sts,
        xml::Dialect::Ec2 => Service::Ec2,
        xml::Dialect::Iam => Service::Iam,
        xml::Dialect::CloudWatch => Service::CloudWatch,
    };
    match meet(instance, service, handler, request.operation.clone(), request.input).await {
        None => trouble::dropped(),
        Some(Ok(reply)) => {
            let body = xml::reply(dialect, &request.operation, &reply, id);
            respond(StatusCode::OK, "text/xml", body, id)
        }
        Some(Err(error)) => xml_error(dialect, &error, id),
    }
}

/// Answers a request within its budget, unless a fault has it otherwise; `None` when its connection is to end.
pub(super) async fn meet(
    instance: Arc<Instance>,
    service: Service,
    handler: Handler,
    operation: String,
    input: Value,
) -> Option<ApiResult> {
    let then = match trouble::meet(&instance.lab, service_name(service), &operation).await {
        Ok(then) if then.token_expired => return Some(Err(trouble::expired(service))),
        Ok(then) => then,
        Err(Denied::Throttled) => return Some(Err(trouble::throttled(service))),
        Err(Denied::Failed(fault)) => return Some(Err(trouble::failed(service, &fault))),
        Err(Denied::Dropped) => return None,
    };
    let answer = call(instance, service, handler, operation, input).await;
    (!then.drops).then_some(answer)
}

/// Runs a handler off the network's threads, and saves what it changed before anyone is told.
pub(super) async fn call(
    instance: Arc<Instance>,
    service: Service,
    handler: Handler,
    operation: String,
    mut input: Value,
) -> ApiResult {
    let called = tokio::task::spawn_blocking(move || {
        wire::without_nulls(&mut input);
        let called = instance.run(service, |lab| {
            let called = std::panic::catch_unwind(AssertUnwindSafe(|| handler(lab, &operation, input)));
            if called.is_err() {
                conformance::end_if_broken();
            }
            called.unwrap_or_else(|_| Err(failure("the lab failed in this operation; its log says where")))
        });
        called.unwrap_or_else(|error| Err(failure(&format!("the lab cannot save its state: {error}"))))
    });
    let mut reply = called.await.unwrap_or_else(|_| Err(failure("the lab is stopping")))?;
    wire::without_nulls(&mut reply);
    Ok(reply)
}

fn failure(message: &str) -> ApiError {
    ApiError { status: 500, ..ApiError::new("ServerException", message) }
}

/// `elasticloadbalancing` in `AWS4-HMAC-SHA256 Credential=KEY/20260131/us-east-1/elasticloadbalancing/aws4_request, …`.
fn signed_service(authorization: &str) -> Option<&str> {
    let scope = authorization.split("Credential=").nth(1)?.split(',').next()?;
    scope.trim().rsplit('/').nth(1)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn json_error(error: &ApiError, id: &str) -> Response<Body> {
    let mut body = json!({ "__type": error.code, "message": error.message });
    for (name, value) in &error.members {
        body[*name] = value.clone();
    }
    let mut response = respond(status(error), "application/x-amz-json-1.1", body.to_string(), id);
    if let Ok(code) = HeaderValue::from_str(&error.code) {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}

fn xml_error(dialect: xml::Dialect, error: &ApiError, id: &str) -> Response<Body> {
    respond(status(error), "text/xml", xml::error(dialect, error, id), id)
}

pub(super) fn status(error: &ApiError) -> StatusCode {
    StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST)
}

pub(super) fn respond(status: StatusCode, kind: &'static str, body: impl Into<Body>, id: &str) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{call, signed_service};
    use crate::aws_model::Service;
    use crate::lab::api::ApiResult;
    use crate::lab::lifecycle::{House, Options};
    use crate::lab::{Lab, Settings};

    #[tokio::test]
    async fn a_handler_that_panics_leaves_a_lab_that_works() {
        fn handler(lab: &Lab, operation: &str, input: Value) -> ApiResult {
            lab.write(|_| assert_ne!(operation, "Panic", "this is the test's own panic"));
            Ok(json!({ "input": input, "none": null }))
        }
        let folder = tempfile::tempdir().unwrap();
        let options = Options { executable: None, ..Options::new(folder.path()) };
        let house = House::open(settings(folder.path()), options, Default::default()).unwrap();
        let input = json!({ "a": null, "b": 1 });
        let call = |operation: &str| call(house.current(), Service::Ecs, handler, operation.to_owned(), input.clone());
        let error = call("Panic").await.unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (500, "ServerException"));
        assert_eq!(call("Work").await.unwrap(), json!({ "input": { "b": 1 } }), "no null goes in or out");
        house.close().await;
    }

    /// Run once more by the test after it, in a process of its own.
    #[cfg(unix)]
    #[tokio::test]
    #[ignore = "it ends its process"]
    async fn a_reply_that_aws_does_not_give() {
        fn handler(_: &Lab, _: &str, _: Value) -> ApiResult {
            crate::lab::conformance::checked(crate::aws_model::Service::Ecs, "ListClusters", Ok(json!({ "a": 1 })))
        }
        let folder = tempfile::tempdir().unwrap();
        let options = Options { executable: None, ..Options::new(folder.path()) };
        let house = House::open(settings(folder.path()), options, Default::default()).unwrap();
        let _ = call(house.current(), Service::Ecs, handler, "ListClusters".to_owned(), json!({})).await;
    }

    #[cfg(unix)]
    #[test]
    fn a_reply_that_aws_does_not_give_ends_the_lab() {
        use std::os::unix::process::ExitStatusExt;

        let folder = tempfile::tempdir().unwrap();
        let tally = folder.path().join("replies");
        std::fs::write(&tally, "").unwrap();
        let name = "lab::server::apis::tests::a_reply_that_aws_does_not_give";
        let ended = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored"])
            .env("STEADY_LAB_REPLIES", &tally)
            .env("TMPDIR", folder.path())
            // where a core dump would go
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(ended.status.signal(), Some(6), "{ended:?}");
        assert_eq!(std::fs::read_to_string(&tally).unwrap(), "Ecs ListClusters BROKEN\n");
    }

    fn settings(data: &std::path::Path) -> Settings {
        Settings {
            data: data.to_owned(),
            address: ([127, 0, 0, 1], 4580).into(),
            region: "us-east-1".to_owned(),
            account_id: "111122223333".to_owned(),
        }
    }

    #[test]
    fn the_scope_names_the_service() {
        let table = [
            (
                "AWS4-HMAC-SHA256 Credential=A/20260131/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0",
                Some("ec2"),
            ),
            ("AWS4-HMAC-SHA256 Credential=A/B/20260131/us-east-1/sts/aws4_request,SignedHeaders=host", Some("sts")),
            ("Basic QVdTOng=", None),
            ("AWS4-HMAC-SHA256 Credential=", None),
        ];
        for (header, service) in table {
            assert_eq!(signed_service(header), service, "{header}");
        }
    }
}
