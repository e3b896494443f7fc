//! What goes over the wire: a server between the binary and the lab that passes everything on and keeps it.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::rehearsal::{Rehearsal, Run, command};
use crate::signing::sign_anew;

pub struct Recorder {
    _runtime: Runtime,
    url: String,
    kept: Arc<Mutex<Vec<(String, Value)>>>,
}

/// Changes the JSON that an operation answers.
type Rewrite = Arc<dyn Fn(&str, &mut Value) + Send + Sync>;

#[derive(Clone)]
struct Between {
    lab: String,
    client: reqwest::Client,
    kept: Arc<Mutex<Vec<(String, Value)>>>,
    rewrite: Option<Rewrite>,
}

impl Recorder {
    pub fn start(lab: &str) -> Recorder {
        Recorder::between(lab, None)
    }

    /// The same, where `rewrite` has replies say something else than the lab's.
    pub fn rewriting(lab: &str, rewrite: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Recorder {
        Recorder::between(lab, Some(Arc::new(rewrite)))
    }

    fn between(lab: &str, rewrite: Option<Rewrite>) -> Recorder {
        let runtime = Runtime::new().unwrap();
        let kept = Arc::default();
        let between = Between {
            lab: lab.to_owned(),
            client: reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls()).build().unwrap(),
            kept: Arc::clone(&kept),
            rewrite,
        };
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(pass).with_state(between);
        runtime.spawn(async move { axum::serve(listener, app).await });
        Recorder { _runtime: runtime, url, kept }
    }

    /// The binary with a command line, with this as AWS's endpoint instead of `--lab`.
    pub fn steady(&self, rehearsal: &Rehearsal, line: &str) -> Run {
        let output = command(&rehearsal.path(""))
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "nobody")
            .env("AWS_SECRET_ACCESS_KEY", "nothing")
            .args(line.split_whitespace())
            .args(["--output", "json"])
            .output();
        Run::new(&output.unwrap())
    }

    /// What was asked since the last look: the operations' names, and the bodies of those that are JSON.
    pub fn taken(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.kept.lock().unwrap())
    }
}

/// The only body of an operation.
#[track_caller]
pub fn only<'a>(calls: &'a [(String, Value)], operation: &str) -> &'a Value {
    let mut found = calls.iter().filter(|(name, _)| name == operation);
    let (Some((_, body)), None) = (found.next(), found.next()) else {
        panic!("one {operation} in {:?}", calls.iter().map(|(name, _)| name).collect::<Vec<_>>())
    };
    body
}

fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

async fn pass(
    State(between): State<Between>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response<axum::body::Body> {
    let target = headers.get("x-amz-target").map(|target| target.to_str().unwrap().to_owned());
    let operation = match &target {
        // ECS has a CreateService too
        Some(target) => match target.split_once('.').unwrap() {
            ("Route53AutoNaming_v20170314", operation) => format!("discovery.{operation}"),
            (_, operation) => operation.to_owned(),
        },
        None => {
            let form = String::from_utf8_lossy(&body).into_owned();
            form.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default().to_owned()
        }
    };
    let json = serde_json::from_slice(&body).unwrap_or_default();
    between.kept.lock().unwrap().push((operation.clone(), json));
    for name in ["host", "content-length", "connection", "transfer-encoding"] {
        headers.remove(name);
    }
    if uri.path() == "/" {
        sign_anew(&mut headers, &between.lab, &body);
    }
    let url = format!("http://{}{uri}", between.lab);
    let answer = between.client.request(method, url).headers(headers).body(body).send().await;
    let Ok(answer) = answer else { return status(StatusCode::BAD_GATEWAY) };
    let mut response = status(answer.status());
    *response.headers_mut() = answer.headers().clone();
    response.headers_mut().remove("transfer-encoding");
    let mut body = answer.bytes().await.unwrap_or_default();
    if let (Some(rewrite), Ok(mut value)) = (&between.rewrite, serde_json::from_slice::<Value>(&body)) {
        let before = value.clone();
        rewrite(&operation, &mut value);
        if value != before {
            body = value.to_string().into();
            response.headers_mut().remove("content-length");
            *response.status_mut() = StatusCode::OK;
        }
    }
    *response.body_mut() = axum::body::Body::from(body);
    response
}

fn status(status: StatusCode) -> Response<axum::body::Body> {
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = status;
    response
}
