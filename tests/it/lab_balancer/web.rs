//! A web server as a task would run it, and the clients that ask it through a load balancer.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Answers every request with its name and what it was asked, `/healthz` with `health`, `/wait` when it is let, and sets a cookie at `/login`.
pub struct Web {
    pub address: SocketAddr,
    pub health: Arc<AtomicU16>,
    /// How long (milliseconds) `/healthz` takes.
    pub health_takes: Arc<AtomicU64>,
    pub requests: Arc<AtomicUsize>,
    pub waiting: Arc<Notify>,
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Web {
    pub async fn start(name: &str) -> Web {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let web = Web {
            address: listener.local_addr().unwrap(),
            health: Arc::new(AtomicU16::new(200)),
            health_takes: Arc::default(),
            requests: Arc::default(),
            waiting: Arc::default(),
            stop: CancellationToken::new(),
            connections: TaskTracker::new(),
        };
        let says = Arc::new(Says {
            name: name.to_owned(),
            health: Arc::clone(&web.health),
            health_takes: Arc::clone(&web.health_takes),
            requests: Arc::clone(&web.requests),
            waiting: Arc::clone(&web.waiting),
        });
        let (stop, connections) = (web.stop.clone(), web.connections.clone());
        web.connections.spawn(async move {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = stop.cancelled() => return,
                };
                let (says, stop) = (Arc::clone(&says), stop.clone());
                connections.spawn(async move {
                    let service = service_fn(|request: Request<Incoming>| {
                        let says = Arc::clone(&says);
                        async move { Ok::<_, Infallible>(says.answer(request).await) }
                    });
                    let mut serving = hyper::server::conn::http1::Builder::new();
                    serving.max_headers(400);
                    let mut serving = std::pin::pin!(serving.serve_connection(TokioIo::new(stream), service));
                    tokio::select! {
                        _ = serving.as_mut() => return,
                        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
                    }
                    let _ = serving.await;
                });
            }
        });
        web
    }

    /// As on SIGTERM: no new connection, those at hand are finished.
    pub async fn stop(self) {
        self.stop.cancel();
        self.connections.close();
        self.connections.wait().await;
    }
}

struct Says {
    name: String,
    health: Arc<AtomicU16>,
    health_takes: Arc<AtomicU64>,
    requests: Arc<AtomicUsize>,
    waiting: Arc<Notify>,
}

impl Says {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() == "/healthz" {
            tokio::time::sleep(Duration::from_millis(self.health_takes.load(Ordering::Relaxed))).await;
            let status = self.health.load(Ordering::Relaxed);
            return Response::builder().status(status).body(Full::default()).unwrap();
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        if request.uri().path() == "/wait" {
            self.waiting.notified().await;
        }
        let signs_in = request.uri().path() == "/login";
        let mut headers: Vec<String> =
            request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        headers.sort();
        let line = format!("{} {} {}", self.name, request.method(), request.uri());
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let said = format!("{line}\n{}\n\n{}", headers.join("\n"), String::from_utf8_lossy(&body));
        let mut response = Response::new(Full::from(said));
        if signs_in {
            response.headers_mut().insert("set-cookie", "SESSION=1; Path=/".parse().unwrap());
        }
        response
    }
}

/// One GET over a connection of its own; the whole answer, or why there is none.
pub async fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    send(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await
}

/// Says all of `request` and hears all of the answer.
pub async fn send(address: SocketAddr, request: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("write: {error}"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(|error| format!("read: {error}"))?;
    Ok(answer)
}

/// A client that keeps its connection. As every HTTP client, it connects anew when the server closed a connection
/// that had served before; anything else is a failure.
pub struct KeepAlive {
    address: SocketAddr,
    stream: Option<TcpStream>,
    pub reconnects: usize,
}

impl KeepAlive {
    pub fn new(address: SocketAddr) -> Self {
        KeepAlive { address, stream: None, reconnects: 0 }
    }

    pub async fn get(&mut self, path: &str) -> Result<String, String> {
        if let Some(mut stream) = self.stream.take() {
            if let Ok(answer) = ask(&mut stream, self.address, path).await {
                self.stream = Some(stream);
                return Ok(answer);
            }
            self.reconnects += 1;
        }
        let mut stream = TcpStream::connect(self.address).await.map_err(|error| format!("connect: {error}"))?;
        let answer = ask(&mut stream, self.address, path).await?;
        self.stream = Some(stream);
        Ok(answer)
    }
}

async fn ask(stream: &mut TcpStream, address: SocketAddr, path: &str) -> Result<String, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("write: {error}"))?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.map_err(|error| format!("read: {error}"))?;
        if read == 0 {
            return Err(format!("closed after {} bytes", answer.len()));
        }
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).ok_or("no length")?;
        if answer.len() >= head.len() + 4 + length.trim().parse::<usize>().map_err(|error| error.to_string())? {
            return Ok(String::from_utf8_lossy(&answer).into_owned());
        }
    }
}
