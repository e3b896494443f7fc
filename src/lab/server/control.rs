//! `/_lab/`: what `steady lab` tells a running lab. Every request needs the token of this run.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{Front, plain};
use crate::lab::wire::without_nulls;

pub const TOKEN_HEADER: &str = "x-steady-lab-token";

pub async fn answer(front: &Front, request: Request) -> Response<Body> {
    let given = request.headers().get(TOKEN_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
    // Hashes are compared, so that the time it takes tells nothing of the token.
    if digest(&SHA256, given).as_ref() != digest(&SHA256, front.token.as_bytes()).as_ref() {
        return plain(StatusCode::FORBIDDEN, "this needs the token of the running lab\n");
    }
    let method = request.method().clone();
    match (method, request.uri().path()) {
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
    json!({
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "url": format!("http://{}", front.address),
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
    })
}

fn reply(body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
