//! The lab's front through real HTTP: protocols, ECR, registry, console, and a lab's life.

mod account;
mod archive;
mod clock;
mod cloudwatch;
mod console;
#[cfg(target_os = "linux")]
mod disk;
mod ecr;
mod expiry;
mod fault_command;
mod faults;
mod kept;
mod life;
mod oci;
mod registry;
mod resolve;
mod scans;
mod server;
mod simulated;
mod wire;

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use steadystate::lab::lifecycle::{self, Options};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::signing::{Signer, signer};

/// A lab in this process, on a free port, in a folder that goes with it.
pub(crate) struct TestLab {
    pub(crate) host: String,
    pub(crate) folder: TempDir,
    stop: CancellationToken,
    served: JoinHandle<steadystate::error::Result<()>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

pub fn options(data: &Path) -> Options {
    Options { executable: None, ..Options::new(data) }
}

impl TestLab {
    pub(crate) async fn start() -> TestLab {
        TestLab::start_in(tempfile::tempdir().unwrap()).await
    }

    pub(crate) async fn start_in(folder: TempDir) -> TestLab {
        let options = options(folder.path());
        TestLab::start_with(folder, options).await
    }

    /// The same with real containers.
    pub(crate) async fn start_real() -> TestLab {
        let folder = tempfile::tempdir().unwrap();
        let executable = Some(env!("CARGO_BIN_EXE_steady").into());
        let options = Options { executable, ..options(folder.path()) };
        TestLab::start_with(folder, options).await
    }

    pub(crate) async fn start_with(folder: TempDir, options: Options) -> TestLab {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let told = stop.clone();
        let serving = lifecycle::serve_on(listener, options, async move { told.cancelled().await });
        let served = tokio::spawn(serving);
        let client = Client::builder(TokioExecutor::new()).build_http();
        TestLab { host, folder, stop, served, client }
    }

    /// Waits for a lab that was told to stop.
    pub(crate) async fn ended(self) {
        self.served.await.unwrap().unwrap();
    }

    /// Ends the lab and gives its folder back.
    pub(crate) async fn end(self) -> TempDir {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
        self.folder
    }

    /// As real clients do, again after a while when the lab throttles it.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let body = body.into();
        loop {
            let answer = self.send_once(method, path, headers, body.clone()).await.expect("an answer");
            if !answer.is_throttled() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// `Err` when the connection ends before an answer has come.
    pub(crate) async fn send_once(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, hyper_util::client::legacy::Error> {
        let uri = if path.starts_with("http:") { path.to_owned() } else { format!("http://{}{path}", self.host) };
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.into();
        let is_signed = headers.iter().any(|(name, _)| *name == "authorization");
        if method == "POST" && path == "/" && !is_signed && !headers.iter().any(|(name, _)| *name == "host") {
            for (name, value) in signer(headers, &body).sign(&self.host, headers, &body) {
                request = request.header(name, value);
            }
        }
        let request = request.body(Full::new(body)).unwrap();
        let response = self.client.request(request).await?;
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() })
    }

    /// A request to the AWS APIs that somebody else has signed.
    async fn signed_by(&self, signer: Signer<'_>, headers: &[(&str, &str)], body: &str) -> Answer {
        let signed = signer.sign(&self.host, headers, body.as_bytes());
        let signed = signed.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<(&str, &str)> = headers.iter().copied().chain(signed).collect();
        self.send("POST", "/", &headers, body.to_owned()).await
    }

    pub(crate) async fn json(&self, target: &str, body: &Value) -> Answer {
        self.send("POST", "/", &[("x-amz-target", target)], body.to_string()).await
    }

    /// An ECR operation that succeeds.
    async fn ecr(&self, operation: &str, input: Value) -> Value {
        let answer = self.json(&format!("AmazonEC2ContainerRegistry_V20150921.{operation}"), &input).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text());
        answer.json()
    }

    /// An ECR operation that is refused: code and message.
    async fn ecr_error(&self, operation: &str, input: Value) -> (String, String) {
        let answer = self.json(&format!("AmazonEC2ContainerRegistry_V20150921.{operation}"), &input).await;
        assert_eq!(answer.status, 400, "{operation}: {}", answer.text());
        let error = answer.json();
        assert_eq!(answer.header("x-amzn-errortype"), error["__type"].as_str().unwrap());
        (error["__type"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
    }

    /// An `Authorization` header for the registry.
    pub(crate) async fn login(&self) -> String {
        let reply = self.ecr("GetAuthorizationToken", json!({})).await;
        format!("Basic {}", reply["authorizationData"][0]["authorizationToken"].as_str().unwrap())
    }

    pub(crate) async fn create(&self, repository: &str) {
        self.ecr("CreateRepository", json!({ "repositoryName": repository })).await;
    }

    /// Pushes an image of one layer with this content, and returns its manifest's digest.
    pub(crate) async fn push(&self, repository: &str, tag: &str, layer: &[u8]) -> String {
        let login = self.login().await;
        let (config, layer) = (b"{}".as_slice(), layer);
        for blob in [config, layer] {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(blob));
            let answer = self.send("POST", &path, &[("authorization", &login)], blob.to_vec()).await;
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
        let manifest = manifest(config, &[layer]);
        let path = format!("/v2/{repository}/manifests/{tag}");
        let headers = [("authorization", login.as_str()), ("content-type", OCI_MANIFEST)];
        let answer = self.send("PUT", &path, &headers, manifest.clone()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        digest(&manifest)
    }
}

impl Answer {
    fn is_throttled(&self) -> bool {
        self.status == 429 || self.status == 400 && self.text().contains("Rate exceeded")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of a registry's error.
    fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(ring::digest::digest(&ring::digest::SHA256, content)))
}

fn manifest(config: &[u8], layers: &[&[u8]]) -> Vec<u8> {
    let descriptor = |kind: &str, content: &[u8]| {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": digest(content),
            "size": content.len(),
        })
    };
    let layers: Vec<Value> = layers.iter().map(|layer| descriptor("layer.v1.tar+gzip", layer)).collect();
    let config = descriptor("config.v1+json", config);
    json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers })
        .to_string()
        .into_bytes()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}
