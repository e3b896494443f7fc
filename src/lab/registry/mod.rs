//! The OCI distribution API (1.1) under `/v2/`, over ECR's repositories, with ECR's login and ECR's words.

mod blobs;
mod listings;
mod manifests;
mod uploads;

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::Lab;
use super::ecr::{self, Login};
use super::faults::{Fault, REGISTRY};
use super::server::trouble::{self, Denied};

/// A reply, and whether it may have changed the state.
pub struct Reply {
    pub response: Response<Body>,
    pub wrote: bool,
}

/// An error as the distribution specification writes it.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    /// What `detail` says, an error for each; none is one error without.
    details: Vec<Value>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

type Outcome = Result<Response<Body>, Refusal>;

/// What a path under `/v2/` names.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Base,
    Catalog,
    Tags { name: &'a str },
    Manifest { name: &'a str, reference: &'a str },
    Blob { name: &'a str, digest: &'a str },
    Uploads { name: &'a str },
    Upload { name: &'a str, id: &'a str },
    Referrers { name: &'a str, digest: &'a str },
}

/// Answers a request whose path begins with `/v2`.
pub async fn handle(lab: &Arc<Lab>, request: Request) -> Reply {
    let wrote = !matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = route(lab, request).await.unwrap_or_else(|refusal| refusal.response());
    let headers = response.headers_mut();
    headers.insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Reply { response, wrote }
}

/// The reply to a request that the lab failed in.
pub fn failure(why: &str) -> Response<Body> {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", why).response()
}

async fn route(lab: &Arc<Lab>, request: Request) -> Outcome {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let Some(route) = Route::of(&path) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "the registry has no such path"));
    };
    let allowed = match route {
        Route::Blob { name, digest } => ecr::layer_url_allows(lab, name, digest, &query),
        _ => false,
    };
    let method = request.method().clone();
    let operation = route.operation(&method);
    let then = match trouble::meet(lab, REGISTRY, operation).await {
        Ok(then) => then,
        Err(Denied::Dropped) => return Ok(trouble::dropped()),
        Err(Denied::Throttled) => {
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "Rate exceeded"));
        }
        Err(Denied::Failed(fault)) => return Err(Refusal::on_demand(&fault)),
    };
    if !allowed {
        log_in(lab, request.headers(), then.token_expired)?;
    }
    let answer = answer(lab, route, &query, request).await;
    match then {
        _ if then.drops => Ok(trouble::dropped()),
        _ if then.wrong_digest => answer.map(|response| trouble::with_wrong_digest(response, operation == "GetBlob")),
        _ => answer,
    }
}

async fn answer(lab: &Arc<Lab>, route: Route<'_>, query: &str, request: Request) -> Outcome {
    match (request.method().clone(), route) {
        (Method::GET | Method::HEAD, Route::Base) => Ok(json_response(StatusCode::OK, &json!({}))),
        (Method::GET, Route::Catalog) => listings::catalog(lab, query),
        (Method::GET, Route::Tags { name }) => listings::tags(lab, name, query),
        (method @ (Method::GET | Method::HEAD), Route::Manifest { name, reference }) => {
            manifests::get(lab, name, reference, method == Method::GET)
        }
        (Method::PUT, Route::Manifest { name, reference }) => manifests::put(lab, name, reference, request).await,
        (Method::DELETE, Route::Manifest { name, reference }) => manifests::delete(lab, name, reference),
        (Method::GET, Route::Referrers { name, digest }) => listings::referrers(lab, name, digest, query),
        (method @ (Method::GET | Method::HEAD), Route::Blob { name, digest }) => {
            let headers = request.headers().clone();
            drop(request);
            blobs::get(lab, name, digest, &method, &headers).await
        }
        (Method::POST, Route::Uploads { name }) => uploads::begin(lab, name, query, request).await,
        (Method::GET, Route::Upload { name, id }) => uploads::status(lab, name, id, request.headers()),
        (Method::PATCH, Route::Upload { name, id }) => uploads::append(lab, name, id, request).await,
        (Method::PUT, Route::Upload { name, id }) => uploads::finish(lab, name, id, query, request).await,
        (Method::DELETE, Route::Upload { name, id }) => uploads::cancel(lab, name, id),
        _ => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "The operation is unsupported.")),
    }
}

impl<'a> Route<'a> {
    /// What faults call it.
    fn operation(&self, method: &Method) -> &'static str {
        match (self, method) {
            (Route::Base, _) => "Ping",
            (Route::Catalog, _) => "ListRepositories",
            (Route::Tags { .. }, _) => "ListTags",
            (Route::Manifest { .. }, &Method::PUT) => "PutManifest",
            (Route::Manifest { .. }, &Method::HEAD) => "HeadManifest",
            (Route::Manifest { .. }, &Method::DELETE) => "DeleteManifest",
            (Route::Manifest { .. }, _) => "GetManifest",
            (Route::Blob { .. }, &Method::HEAD) => "HeadBlob",
            (Route::Blob { .. }, _) => "GetBlob",
            (Route::Uploads { .. }, _) => "StartUpload",
            (Route::Upload { .. }, &Method::PATCH) => "PatchUpload",
            (Route::Upload { .. }, &Method::PUT) => "PutUpload",
            (Route::Upload { .. }, &Method::DELETE) => "DeleteUpload",
            (Route::Upload { .. }, _) => "GetUpload",
            (Route::Referrers { .. }, _) => "ListReferrers",
        }
    }

    /// From the end, because a repository's name may itself hold words such as `blobs`.
    fn of(path: &'a str) -> Option<Route<'a>> {
        let rest = path.strip_prefix("/v2")?;
        if rest.is_empty() || rest == "/" {
            return Some(Route::Base);
        }
        let rest = rest.strip_prefix('/')?;
        if rest == "_catalog" {
            return Some(Route::Catalog);
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Some(Route::Tags { name });
        }
        if let Some(name) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
            return Some(Route::Uploads { name });
        }
        let (before, last) = rest.rsplit_once('/')?;
        if last.is_empty() {
            return None;
        }
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            return Some(Route::Upload { name, id: last });
        }
        let (name, kind) = before.rsplit_once('/')?;
        match kind {
            "manifests" => Some(Route::Manifest { name, reference: last }),
            "blobs" => Some(Route::Blob { name, digest: last }),
            "referrers" => Some(Route::Referrers { name, digest: last }),
            _ => None,
        }
    }
}

fn log_in(lab: &Lab, headers: &HeaderMap, expired: bool) -> Result<(), Refusal> {
    let credentials = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let login = match credentials {
        None => Login::Invalid,
        Some(credentials) => lab.read(|state| ecr::authorize(&state.ecr, credentials, lab.clock.now())),
    };
    match login {
        Login::Valid if !expired => Ok(()),
        Login::Valid | Login::Expired => {
            let message = "Your authorization token has expired. Reauthenticate and try again.";
            Err(Refusal::new(StatusCode::FORBIDDEN, "DENIED", message))
        }
        Login::Invalid => {
            let realm = format!("Basic realm=\"http://{}/\",service=\"ecr.amazonaws.com\"", lab.settings.address);
            let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Not Authorized");
            Err(refusal.with(header::WWW_AUTHENTICATE, &realm))
        }
    }
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let code = Cow::Borrowed(code);
        Refusal { status, code, message: message.into(), details: Vec::new(), headers: Vec::new() }
    }

    fn with(mut self, name: header::HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    fn about(mut self, details: impl IntoIterator<Item = Value>) -> Self {
        self.details.extend(details);
        self
    }

    fn no_repository(lab: &Lab, name: &str) -> Self {
        if !ecr::is_repository_name(name) {
            return Refusal::new(StatusCode::BAD_REQUEST, "NAME_INVALID", format!("invalid repository name: {name}"));
        }
        let id = &lab.settings.account_id;
        let message = format!("The repository with name '{name}' does not exist in the registry with id '{id}'");
        Refusal::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message)
    }

    /// What a fault asks for.
    fn on_demand(fault: &Fault) -> Self {
        let status = fault.status.and_then(|status| StatusCode::from_u16(status).ok());
        let message = fault.message.as_deref().unwrap_or("Service Unavailable. Please try again later.");
        let refusal = Refusal::new(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "UNKNOWN", message);
        Refusal { code: fault.code.clone().map_or(refusal.code, Cow::Owned), ..refusal }
    }

    fn disk(error: &std::io::Error) -> Self {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", error.to_string())
    }

    fn response(self) -> Response<Body> {
        let mut errors = vec![json!({ "code": self.code, "message": self.message })];
        errors.resize(self.details.len().max(1), errors[0].clone());
        for (error, detail) in errors.iter_mut().zip(self.details) {
            error["detail"] = detail;
        }
        let mut response = json_response(self.status, &json!({ "errors": errors }));
        response.headers_mut().extend(self.headers);
        response
    }
}

fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A reply without a body.
fn empty(status: StatusCode, headers: &[(header::HeaderName, String)]) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

const CONTENT_DIGEST: header::HeaderName = header::HeaderName::from_static("docker-content-digest");

/// A parameter of a query, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::Route;

    #[test]
    fn a_path_names_its_repository_from_the_end() {
        let table = [
            ("/v2", Some(Route::Base)),
            ("/v2/", Some(Route::Base)),
            ("/v2/a/tags/list", Some(Route::Tags { name: "a" })),
            ("/v2/a/blobs/b/manifests/latest", Some(Route::Manifest { name: "a/blobs/b", reference: "latest" })),
            ("/v2/a/blobs/uploads/", Some(Route::Uploads { name: "a" })),
            ("/v2/a/blobs/uploads", Some(Route::Uploads { name: "a" })),
            ("/v2/a/blobs/uploads/1-2", Some(Route::Upload { name: "a", id: "1-2" })),
            ("/v2/a/blobs/sha256:00", Some(Route::Blob { name: "a", digest: "sha256:00" })),
            ("/v2/a/b/referrers/sha256:00", Some(Route::Referrers { name: "a/b", digest: "sha256:00" })),
            ("/v2/a/manifests/", None),
            ("/v2/_catalog", Some(Route::Catalog)),
            ("/v2/_catalog/tags/list", Some(Route::Tags { name: "_catalog" })),
            ("/v2x/a/tags/list", None),
        ];
        for (path, route) in table {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
