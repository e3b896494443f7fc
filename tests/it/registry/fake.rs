//! A registry of the distribution spec in memory, which logs what it is asked and does as a test tells it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::json;
use steadystate::image::digest;
use steadystate::image::manifest::OCI_MANIFEST;
use tokio::task::JoinHandle;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub authorization: Option<String>,
    /// `None` while it is being answered, or when its body never came to an end.
    pub status: Option<u16>,
    pub body: usize,
}

impl Seen {
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

pub type Rule = Box<dyn FnMut(&Seen) -> Option<Response> + Send>;

#[derive(Default)]
pub struct Inner {
    pub blobs: HashMap<String, Bytes>,
    /// By tag and by digest.
    pub manifests: HashMap<String, (String, Bytes)>,
    pub log: Vec<Seen>,
    /// Asked before each request is answered; the first answer counts.
    pub rules: Vec<Rule>,
    pub immutable: bool,
    sessions: usize,
    /// What came by PATCH, by session.
    parts: HashMap<String, Bytes>,
}

pub struct Fake {
    pub address: SocketAddr,
    pub inner: Arc<Mutex<Inner>>,
    pub running: Arc<AtomicUsize>,
    /// Each request takes this long.
    pub delay: Arc<Mutex<Duration>>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Shared {
    inner: Arc<Mutex<Inner>>,
    running: Arc<AtomicUsize>,
    delay: Arc<Mutex<Duration>>,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared { inner: Arc::default(), running: Arc::default(), delay: Arc::default() };
        let (inner, running, delay) = (shared.inner.clone(), shared.running.clone(), shared.delay.clone());
        let router = Router::new().fallback(answer).with_state(shared);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Fake { address, inner, running, delay, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn rule(&self, rule: impl FnMut(&Seen) -> Option<Response> + Send + 'static) {
        self.inner.lock().unwrap().rules.push(Box::new(rule));
    }

    /// Answers the first `times` requests of this kind so.
    pub fn answer(&self, times: usize, method: &'static str, part: &'static str, response: fn() -> Response) {
        let mut left = times;
        self.rule(move |seen| {
            if left == 0 || !seen.is(method, part) {
                return None;
            }
            left -= 1;
            Some(response())
        });
    }

    pub fn log(&self) -> Vec<Seen> {
        self.inner.lock().unwrap().log.clone()
    }

    pub fn forget(&self) {
        self.inner.lock().unwrap().log.clear();
    }

    /// `METHOD what → status` of each request, digests and session numbers left out, sorted runs of the same kind counted once.
    pub fn counted(&self) -> Vec<String> {
        let mut kinds: Vec<(String, usize)> = Vec::new();
        for seen in self.log() {
            let path = seen.path.split("/hello/").last().unwrap_or_default();
            let path = path.split("sha256:").next().unwrap_or_default().trim_end_matches(char::is_numeric);
            let kind = format!("{} {path} {}", seen.method, seen.status.unwrap_or(0));
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count += 1,
                None => kinds.push((kind, 1)),
            }
        }
        kinds.into_iter().map(|(kind, count)| format!("{count} × {kind}")).collect()
    }

    pub fn count(&self, method: &str, part: &str) -> usize {
        self.log().iter().filter(|seen| seen.is(method, part)).count()
    }

    pub fn tag(&self, tag: &str) -> Option<String> {
        self.inner.lock().unwrap().manifests.get(tag).map(|(_, bytes)| digest::of(bytes))
    }
}

pub fn refuse(status: u16, code: &str, message: &str) -> Response {
    let body = json!({ "errors": [{ "code": code, "message": message }] }).to_string();
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

pub fn reply(status: u16, headers: &[(&str, &str)]) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::empty()).unwrap()
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        authorization: header("authorization"),
        status: None,
        body: 0,
    };
    let index = {
        let mut inner = shared.inner.lock().unwrap();
        inner.log.push(seen.clone());
        inner.log.len() - 1
    };
    let Ok(body) = body.collect().await else { return refuse(400, "BLOB_UPLOAD_INVALID", "the body broke off") };
    let body = body.to_bytes();
    let seen = Seen { body: body.len(), ..seen };
    shared.running.fetch_add(1, Ordering::SeqCst);
    let delay = *shared.delay.lock().unwrap();
    tokio::time::sleep(delay).await;
    let response = {
        let mut inner = shared.inner.lock().unwrap();
        let mut rules = std::mem::take(&mut inner.rules);
        let ruled = rules.iter_mut().find_map(|rule| rule(&seen));
        inner.rules.splice(0..0, rules);
        let response = ruled.unwrap_or_else(|| inner.registry(&seen, &head.headers, body));
        if let Some(logged) = inner.log.get_mut(index) {
            logged.status = Some(response.status().as_u16());
            logged.body = seen.body;
        }
        response
    };
    shared.running.fetch_sub(1, Ordering::SeqCst);
    response
}

impl Inner {
    fn registry(&mut self, seen: &Seen, headers: &HeaderMap, body: Bytes) -> Response {
        if seen.path == "/v2/" {
            return reply(200, &[]);
        }
        let path = seen.path.trim_start_matches("/v2/");
        let (_, rest) = path.split_once('/').unwrap_or_default();
        let query: HashMap<String, String> = url::form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect();
        match (seen.method.as_str(), rest.split('/').collect::<Vec<_>>()[..].as_ref()) {
            ("HEAD" | "GET", ["blobs", digest]) => match self.blobs.get(*digest) {
                Some(bytes) => bytes.clone().into_response(),
                None => refuse(404, "BLOB_UNKNOWN", "no such blob"),
            },
            ("POST", ["blobs", "uploads", ..]) => {
                self.sessions += 1;
                let location = format!("/v2/hello/blobs/uploads/{}?state=a%2Fb", self.sessions);
                reply(202, &[("location", &location)])
            }
            ("PATCH", ["blobs", "uploads", session]) => {
                self.parts.insert((*session).to_owned(), body);
                let location = format!("/v2/hello/blobs/uploads/{session}?state=a%2Fb");
                reply(202, &[("location", &location)])
            }
            ("PUT", ["blobs", "uploads", session]) => {
                let body = if body.is_empty() { self.parts.remove(*session).unwrap_or(body) } else { body };
                let digest = query.get("digest").cloned().unwrap_or_default();
                if query.get("state").map(String::as_str) != Some("a/b") {
                    return refuse(404, "BLOB_UPLOAD_UNKNOWN", "the location's query is gone");
                }
                if digest::of(&body) != digest {
                    return refuse(400, "DIGEST_INVALID", "another digest");
                }
                self.blobs.insert(digest.clone(), body);
                reply(201, &[("docker-content-digest", &digest)])
            }
            ("HEAD" | "GET", ["manifests", name]) => match self.manifests.get(*name) {
                Some((media_type, bytes)) => {
                    let mut response = bytes.clone().into_response();
                    response.headers_mut().insert("content-type", media_type.parse().unwrap());
                    response.headers_mut().insert("docker-content-digest", digest::of(bytes).parse().unwrap());
                    response
                }
                // as CNCF distribution does
                None if self.blobs.contains_key(*name) => {
                    refuse(500, "UNKNOWN", "unrecognized manifest schema version 0")
                }
                None => refuse(404, "MANIFEST_UNKNOWN", "no such manifest"),
            },
            ("PUT", ["manifests", name]) => {
                let digest = digest::of(&body);
                if self.immutable && self.manifests.contains_key(*name) {
                    return refuse(
                        400,
                        "TAG_INVALID",
                        "The image tag already exists and cannot be overwritten because the repository is immutable.",
                    );
                }
                let media_type = headers.get("content-type").map_or(OCI_MANIFEST, |value| value.to_str().unwrap());
                for name in [*name, &digest] {
                    self.manifests.insert(name.to_owned(), (media_type.to_owned(), body.clone()));
                }
                reply(201, &[("docker-content-digest", &digest)])
            }
            _ => refuse(404, "NAME_UNKNOWN", "no such repository"),
        }
    }
}
