//! Calls what stands for a Lambda function: a URL on this machine.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::lab::ecs::strategy_rules::HookUrl;

/// As much as Lambda lets a function answer.
const MOST: usize = 6 * 1024 * 1024;

/// POSTs the event, and gives back what the function answers.
pub(super) async fn call(url: &str, event: String, patience: Duration) -> Result<String, String> {
    let url = HookUrl::parse(url).ok_or("it is no URL on this machine")?;
    match tokio::time::timeout(patience, exchange(&url, event)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
    }
}

async fn exchange(url: &HookUrl, event: String) -> Result<String, String> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::post(&url.path)
        .header(header::HOST, &url.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(event)))
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|error| error.to_string())?;
        match status.is_success() {
            true => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
            false => Err(format!("the function answered {status}")),
        }
    };
    let answer = answer.await;
    connection.abort();
    answer
}
