//! A Docker engine's API over its socket: requests, replies and errors.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// How long an answer may take that waits for nothing but the engine.
const PATIENCE: Duration = Duration::from_secs(120);
const CONNECT: Duration = Duration::from_secs(5);

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Socket(PathBuf),
    /// Host and port, without TLS.
    Tcp(String),
}

/// Where an engine may be: what `DOCKER_HOST` says and nothing else, or the usual places.
pub fn addresses(variable: impl Fn(&str) -> Option<OsString>) -> Result<Vec<Address>, String> {
    let path = |name: &str, rest: &str| variable(name).map(|folder| Address::Socket(PathBuf::from(folder).join(rest)));
    if let Some(host) = variable("DOCKER_HOST").filter(|host| !host.is_empty()) {
        return Ok(vec![address(&host.to_string_lossy())?]);
    }
    let usual = [
        Some(Address::Socket("/var/run/docker.sock".into())),
        path("XDG_RUNTIME_DIR", "docker.sock"),
        path("HOME", ".docker/run/docker.sock"),
        path("XDG_RUNTIME_DIR", "podman/podman.sock"),
    ];
    Ok(usual.into_iter().flatten().collect())
}

fn address(host: &str) -> Result<Address, String> {
    match host.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(Address::Socket(path.into())),
        Some(("tcp" | "http", rest)) => Ok(Address::Tcp(rest.trim_end_matches('/').to_owned())),
        _ => Err(format!("DOCKER_HOST is {host:?}; the lab speaks unix:///path and tcp://host:port")),
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Socket(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// Why a request came to nothing.
#[derive(Debug)]
pub struct Failure {
    /// `None` when no answer came.
    pub status: Option<StatusCode>,
    /// As `docker` words it.
    pub message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    fn without_answer(error: impl std::fmt::Display) -> Self {
        Failure { status: None, message: format!("the Docker engine does not answer: {error}") }
    }

    pub fn is_missing(&self) -> bool {
        self.status == Some(StatusCode::NOT_FOUND)
    }
}

pub type Answer<T = Value> = Result<T, Failure>;
type Sent = BoxBody<Bytes, io::Error>;

#[derive(Debug, Clone)]
pub struct Engine {
    address: Address,
}

impl Engine {
    pub fn new(address: Address) -> Self {
        Engine { address }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    /// What is not there is what was wanted.
    pub async fn delete(&self, path: &str) -> Answer<()> {
        match self.call(Method::DELETE, path, None).await {
            Err(failure) if !failure.is_missing() => Err(failure),
            _ => Ok(()),
        }
    }

    pub async fn post(&self, path: &str, body: Option<Value>) -> Answer {
        self.call(Method::POST, path, body).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let asked = self.send(method, path, "application/json", sent(body));
        let answer = async { read(asked.await?).await };
        timeout(PATIENCE, answer).await.unwrap_or_else(|elapsed| Err(Failure::without_answer(elapsed)))
    }

    /// Sends a stream of bytes, however long that takes, and reads the whole answer.
    pub async fn upload<B>(&self, path: &str, body: B) -> Answer<Vec<u8>>
    where
        B: Body<Data = Bytes, Error = io::Error> + Send + Sync + 'static,
    {
        let answer = self.send(Method::POST, path, "application/x-tar", BoxBody::new(body)).await?;
        Ok(answer.collect().await.map_err(Failure::without_answer)?.to_bytes().to_vec())
    }

    /// An answer that comes when something happened.
    pub async fn wait(&self, path: &str) -> Answer {
        read(self.send(Method::POST, path, "application/json", sent(Bytes::new())).await?).await
    }

    /// An answer without an end of its own.
    pub async fn follow(&self, method: Method, path: &str) -> Answer<Incoming> {
        let asked = self.send(method, path, "application/json", sent(Bytes::new()));
        let answer = timeout(PATIENCE, asked).await.map_err(Failure::without_answer)??;
        Ok(answer.into_body())
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: Sent) -> Answer<Response<Incoming>> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "docker");
        let request = request.header(header::CONTENT_TYPE, kind).body(body).map_err(Failure::without_answer)?;
        let refused = |error: io::Error| Failure::without_answer(format!("{}: {error}", self.address));
        let late = |_| refused(io::ErrorKind::TimedOut.into());
        let answer = match &self.address {
            #[cfg(unix)]
            Address::Socket(path) => {
                let wire = timeout(CONNECT, tokio::net::UnixStream::connect(path)).await.map_err(late)?;
                exchange(wire.map_err(refused)?, request).await?
            }
            #[cfg(not(unix))]
            Address::Socket(_) => return Err(refused(io::ErrorKind::Unsupported.into())),
            Address::Tcp(host) => {
                let wire = timeout(CONNECT, tokio::net::TcpStream::connect(host)).await.map_err(late)?;
                exchange(wire.map_err(refused)?, request).await?
            }
        };
        let status = answer.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let text = answer.collect().await.map_err(Failure::without_answer)?.to_bytes();
        let said: Value = serde_json::from_slice(&text).unwrap_or_default();
        let said = said["message"].as_str().map_or_else(|| String::from_utf8_lossy(&text).into_owned(), str::to_owned);
        Err(Failure { status: Some(status), message: format!("Error response from daemon: {}", said.trim()) })
    }
}

fn sent(bytes: Bytes) -> Sent {
    BoxBody::new(Full::new(bytes).map_err(|never| match never {}))
}

async fn exchange<W>(wire: W, request: Request<Sent>) -> Answer<Response<Incoming>>
where
    W: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(wire)).await.map_err(Failure::without_answer)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(Failure::without_answer)
}

async fn read(answer: Response<Incoming>) -> Answer {
    let text = answer.collect().await.map_err(Failure::without_answer)?.to_bytes();
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&text).map_err(Failure::without_answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_where_docker_host_says_or_in_the_usual_places() {
        let given = |host: &'static str| addresses(move |name| (name == "DOCKER_HOST").then(|| host.into()));
        assert_eq!(given("unix:///tmp/d.sock"), Ok(vec![Address::Socket("/tmp/d.sock".into())]));
        assert_eq!(given("tcp://127.0.0.1:2375/"), Ok(vec![Address::Tcp("127.0.0.1:2375".into())]));
        let refused = "DOCKER_HOST is \"ssh://host\"; the lab speaks unix:///path and tcp://host:port";
        assert_eq!(given("ssh://host"), Err(refused.to_owned()));
        let usual = addresses(|name| (name == "HOME").then(|| "/h".into())).unwrap();
        let usual: Vec<String> = usual.iter().map(ToString::to_string).collect();
        assert_eq!(usual, ["unix:///var/run/docker.sock", "unix:///h/.docker/run/docker.sock"]);
        assert_eq!(addresses(|_| Some("".into())).unwrap().len(), 4, "an empty DOCKER_HOST is none");
    }
}
