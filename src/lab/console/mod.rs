//! The lab's console: a page at `/console/` that shows what the AWS console shows of such services, live. It reads and
//! changes nothing.
//!
//! `/console/data/…` answers a [`views`] once, `/console/live/…` as server-sent events for as long as somebody looks.

mod assets;
mod live;
mod views;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::server::Front;
use super::wire::without_nulls;
use views::View;

/// Where it is, after the lab's URL.
pub const PATH: &str = "/console/";

/// The page runs its own scripts only, asks nobody but the lab, and takes no text for markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

pub async fn answer(front: &Arc<Front>, request: Request) -> Response<Body> {
    let (head, _) = request.into_parts();
    let mut response = route(front, &head).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn route(front: &Arc<Front>, head: &Parts) -> Response<Body> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "the console is only read\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let Some(path) = head.uri.path().strip_prefix(PATH) else {
        let mut response = text(StatusCode::PERMANENT_REDIRECT, "the console is at /console/\n");
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(PATH));
        return response;
    };
    if is_foreign(&head.headers, path.is_empty()) {
        return text(StatusCode::FORBIDDEN, "the console answers to its own page only\n");
    }
    let with_logs = head.uri.query() == Some("logs");
    if let Some(path) = path.strip_prefix("data/") {
        return match View::parse(path, with_logs) {
            Some(view) => data(front, view).await,
            None => reply(StatusCode::NOT_FOUND, &missing("page")),
        };
    }
    if let Some(path) = path.strip_prefix("live/") {
        return match View::parse(path, with_logs) {
            Some(view) => respond(StatusCode::OK, "text/event-stream", live::body(front, view)),
            None => reply(StatusCode::NOT_FOUND, &missing("page")),
        };
    }
    match assets::find(path) {
        Some((kind, content)) => respond(StatusCode::OK, kind, content),
        None => text(StatusCode::NOT_FOUND, "the console has no such file\n"),
    }
}

/// Whether another page's script, image or frame asks. A link to the page itself may be anywhere.
fn is_foreign(headers: &HeaderMap, is_page: bool) -> bool {
    let sent = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    let is_link = sent("sec-fetch-mode") == Some("navigate") && sent("sec-fetch-dest") == Some("document");
    match sent("sec-fetch-site") {
        None | Some("same-origin" | "none") => false,
        Some(_) => !(is_page && is_link),
    }
}

async fn data(front: &Arc<Front>, view: View) -> Response<Body> {
    let instance = front.house.current();
    let shown = tokio::task::spawn_blocking(move || view.show(&instance.lab)).await;
    match shown {
        Ok(Some(shown)) => reply(StatusCode::OK, &shown),
        Ok(None) => reply(StatusCode::NOT_FOUND, &missing("resource")),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the lab failed to show this; its log says where\n"),
    }
}

fn missing(what: &str) -> Value {
    json!({ "missing": what })
}

/// What does not change while the lab runs.
fn about(front: &Front) -> Value {
    let instance = front.house.current();
    let lab = &instance.lab;
    let mut about = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "url": format!("http://{}", front.address),
        "region": lab.settings.region,
        "accountId": lab.settings.account_id,
        "pace": lab.clock.pace,
        "runtime": lab.runtime.level().map(|level| level.to_string()),
        "warning": lab.runtime.warning(),
        "startedAt": front.started_at,
        "now": lab.clock.now(),
    });
    without_nulls(&mut about);
    about
}

fn reply(status: StatusCode, body: &Value) -> Response<Body> {
    respond(status, "application/json", body.to_string())
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", text)
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
