//! Requests to a lab's control endpoints.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::record::Record;
use crate::error::{Error, Result};
use crate::lab::server::TOKEN_HEADER;

const LARGEST: usize = 1024 * 1024;
/// A status comes at once; a reset or stop waits for containers to end.
const READ: Duration = Duration::from_secs(5);
const CHANGE: Duration = Duration::from_secs(60);

pub async fn get(record: &Record, path: &str) -> Result<Value> {
    within(READ, send(record, Method::GET, path, None)).await
}

pub async fn post(record: &Record, path: &str) -> Result<Value> {
    within(CHANGE, send(record, Method::POST, path, None)).await
}

pub async fn post_json(record: &Record, path: &str, body: &Value) -> Result<Value> {
    within(READ, send(record, Method::POST, path, Some(body))).await
}

pub async fn delete(record: &Record, path: &str) -> Result<Value> {
    within(READ, send(record, Method::DELETE, path, None)).await
}

async fn within(limit: Duration, sent: impl Future<Output = Result<Value>>) -> Result<Value> {
    let late = |_| Error::other(format!("the lab does not answer within {} s", limit.as_secs()));
    tokio::time::timeout(limit, sent).await.map_err(late)?
}

async fn send(record: &Record, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::other("the lab does not answer").cause(error);
    let host = record.endpoint.url.trim_start_matches("http://");
    let stream = TcpStream::connect(host).await.map_err(|error| failed(error.into()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.into()))?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::CONNECTION, "close")
        .header(TOKEN_HEADER, &record.token)
        .body(Full::new(body.map_or_else(Bytes::new, |body| body.to_string().into())))
        .map_err(|error| failed(error.into()))?;
    let response = sender.send_request(request).await.map_err(|error| failed(error.into()))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(failed)?.to_bytes();
    connection.abort();
    if !status.is_success() {
        let said = String::from_utf8_lossy(&body);
        return Err(Error::other(format!("the lab answers {status}: {}", said.trim())));
    }
    serde_json::from_slice(&body).map_err(|error| failed(error.into()))
}
