//! `/_lab/`: what `steady lab` tells a running lab. Every request needs the token of this run.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{Front, plain};
use crate::lab::faults::Fault;
use crate::lab::wire::without_nulls;

/// A fault is shorter.
const LARGEST: usize = 64 * 1024;

pub const TOKEN_HEADER: &str = "x-steady-lab-token";

pub async fn answer(front: &Front, request: Request) -> Response<Body> {
    let given = request.headers().get(TOKEN_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
    // Hashes are compared, so that the time it takes tells nothing of the token.
    if digest(&SHA256, given).as_ref() != digest(&SHA256, front.token.as_bytes()).as_ref() {
        return plain(StatusCode::FORBIDDEN, "this needs the token of the running lab\n");
    }
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    if let Some(about) = path.strip_prefix("/_lab/faults").filter(|about| about.is_empty() || about.starts_with('/')) {
        return faults(front, &method, about, request).await;
    }
    match (method, path.as_str()) {
        (Method::GET, "/_lab/status") => reply(&status(front)),
        (Method::POST, "/_lab/stop") => {
            front.stop.cancel();
            reply(&json!({ "stopping": true }))
        }
        (Method::POST, "/_lab/reset") => match front.house.reset().await {
            Ok(()) => reply(&status(front)),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("the lab cannot be emptied: {error}\n")),
        },
        (_, path) => plain(StatusCode::NOT_FOUND, &format!("the lab has no control {path}\n")),
    }
}

/// What goes wrong on demand.
async fn faults(front: &Front, method: &Method, about: &str, request: Request) -> Response<Body> {
    let lab = front.house.current().lab.clone();
    let id = about.strip_prefix('/').map(str::parse::<u64>);
    let answer = match (method, id) {
        (&Method::GET, None) => json!({ "faults": lab.faults.list() }),
        (&Method::POST, None) => {
            let body = Limited::new(request.into_body(), LARGEST).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let fault: Fault = match serde_json::from_slice(&body) {
                Ok(fault) => fault,
                Err(error) => return plain(StatusCode::BAD_REQUEST, &format!("this is no fault: {error}\n")),
            };
            if let Err(mistake) = fault.check() {
                return plain(StatusCode::BAD_REQUEST, &format!("{}\n", mistake.message));
            }
            lab.faults.add(fault)
        }
        (&Method::DELETE, None) => json!({ "cleared": lab.faults.clear(None) }),
        (&Method::DELETE, Some(Ok(id))) => match lab.faults.clear(Some(id)) {
            0 => return plain(StatusCode::NOT_FOUND, &format!("there is no fault {id}\n")),
            cleared => json!({ "cleared": cleared }),
        },
        _ => return plain(StatusCode::NOT_FOUND, &format!("the lab has no control {method} /_lab/faults{about}\n")),
    };
    // What the scheduler does may be another thing now.
    lab.write(|_| ());
    reply(&answer)
}

fn status(front: &Front) -> Value {
    let mut status = report(front);
    without_nulls(&mut status);
    status
}

fn report(front: &Front) -> Value {
    let instance = front.house.current();
    let lab = &instance.lab;
    let (repositories, images) = lab.read(|state| {
        let all = &state.ecr.repositories;
        (all.len(), all.values().map(|repository| repository.images.len()).sum::<usize>())
    });
    let mut report = json!({
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "url": format!("http://{}", front.address),
        "dns": lab.resolves.load(Ordering::Relaxed).then(|| front.address.to_string()),
        "data": lab.settings.data,
        "region": lab.settings.region,
        "accountId": lab.settings.account_id,
        "pace": lab.clock.pace,
        "runtime": lab.runtime.level().map(|level| level.to_string()),
        "warning": lab.runtime.warning(),
        "startedAt": front.started_at,
        "failed": instance.failed(),
        "resuming": instance.resuming(),
        "repositories": repositories,
        "images": images,
        "faults": lab.faults.list().as_array().map_or(0, Vec::len),
    });
    if let (Some(report), Value::Object(requests)) = (report.as_object_mut(), lab.budgets.report()) {
        report.extend(requests);
    }
    report
}

fn reply(body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
