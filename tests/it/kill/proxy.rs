//! A proxy between `steady` and a lab that counts what passes, and strikes where it is told to: before a request is
//! forwarded, halfway through its body, or when the lab has done it and before the reply is delivered.
//!
//! The lab names itself in its replies (repository URIs, upload sessions); the proxy puts its own address there, so
//! that the registry's traffic passes here, too.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, LOCATION, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::signing::sign_anew;

pub type Body = BoxBody<Bytes, io::Error>;

/// Bodies beyond this are broken off halfway, too.
const LARGE: usize = 4 << 10;

/// The `nth` request (from 1) of a kind: an operation's name, or a method with what it is about in the registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub kind: String,
    pub nth: usize,
    /// It has a body of some length.
    pub large: bool,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.kind, self.nth)
    }
}

impl Point {
    /// Whether it changes anything at AWS.
    pub fn writes(&self) -> bool {
        const READS: [&str; 9] =
            ["Describe", "List", "Get", "Simulate", "BatchCheck", "Query", "HEAD", "GET", "Lookup"];
        !READS.iter().any(|reads| self.kind.starts_with(reads))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    Before,
    Halfway,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// The connection ends without a reply.
    Lose,
    /// The process gets this signal and has ended before its connection does.
    Signal(Signal),
}

/// Where to strike, and how.
#[derive(Debug, Clone)]
pub struct Strike {
    pub at: Point,
    pub when: When,
    pub deed: Deed,
}

/// Asks for a signal to the process, and hears when it has ended.
pub type Killer = mpsc::UnboundedSender<(Signal, oneshot::Sender<()>)>;

pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    lab: String,
    own: String,
    client: Client<HttpConnector, Body>,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    seen: Vec<Point>,
    strike: Option<(Strike, Killer)>,
    struck: bool,
}

impl Proxy {
    pub async fn start(lab: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            lab: lab.to_string(),
            own: address.to_string(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            record: Mutex::default(),
        });
        let serving = shared.clone();
        let accepting = serve(listener, move |request| {
            let shared = serving.clone();
            async move { shared.pass(request).await }
        });
        Proxy { address, shared, accepting }
    }

    /// From here on a new run is recorded.
    pub fn arm(&self, strike: Option<(Strike, Killer)>) {
        *self.shared.record() = Record { strike, ..Record::default() };
    }

    /// What passed since then, and whether it was struck at.
    pub fn seen(&self) -> (Vec<Point>, bool) {
        let mut record = self.shared.record();
        // a process that was killed must not live on in here
        record.strike = None;
        (record.seen.clone(), record.struck)
    }
}

/// Has each request answered by `pass`; what it strikes at ends in an error, and with it the connection.
pub fn serve<F, R>(listener: TcpListener, pass: F) -> AbortHandle
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = io::Result<Response<Body>>> + Send + 'static,
{
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let service = service_fn(pass.clone());
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    accepting.abort_handle()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    async fn pass(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (mut head, body) = request.into_parts();
        let api = head.uri.path() == "/";
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let strike = self.note(&head.method, head.uri.path(), &head.headers, &body);
        if let Some((Strike { when: When::Before, deed, .. }, killer)) = &strike {
            return Err(strike_now(*deed, killer).await);
        }
        let uri = format!("http://{}{}", self.lab, head.uri.path_and_query().map_or("/", |path| path.as_str()));
        head.uri = uri.parse().map_err(io::Error::other)?;
        head.headers.insert(HOST, HeaderValue::from_str(&self.lab).map_err(io::Error::other)?);
        let body = if api { replaced(&body, &self.own, &self.lab) } else { body };
        if api {
            sign_anew(&mut head.headers, &self.lab, &body);
        }
        if let Some((Strike { when: When::Halfway, deed, .. }, killer)) = &strike {
            let half = body.slice(..body.len() / 2);
            let cut = Err(io::Error::other("struck halfway"));
            let body = StreamBody::new(stream::iter([Ok(Frame::data(half)), cut]));
            let _ = self.client.request(Request::from_parts(head, BodyExt::boxed(body))).await;
            return Err(strike_now(*deed, killer).await);
        }
        set_length(&mut head.headers, &body);
        let head_only = head.method == Method::HEAD;
        let reply = self.client.request(Request::from_parts(head, full(body))).await.map_err(io::Error::other)?;
        let (mut head, body) = reply.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        if let Some((Strike { deed, .. }, killer)) = &strike {
            return Err(strike_now(*deed, killer).await);
        }
        let body = if api { replaced(&body, &self.lab, &self.own) } else { body };
        if let Some(location) = head.headers.get(LOCATION) {
            let location = replaced(location.as_bytes(), &self.lab, &self.own);
            head.headers.insert(LOCATION, HeaderValue::from_bytes(&location).map_err(io::Error::other)?);
        }
        if !head_only {
            set_length(&mut head.headers, &body);
        }
        Ok(Response::from_parts(head, full(body)))
    }

    /// Records a request; returns the strike that is meant for it.
    fn note(&self, method: &Method, path: &str, headers: &HeaderMap, body: &Bytes) -> Option<(Strike, Killer)> {
        let kind = kind(method, path, headers, body);
        let mut record = self.record();
        let nth = record.seen.iter().filter(|point| point.kind == kind).count() + 1;
        let point = Point { kind, nth, large: body.len() > LARGE };
        record.seen.push(point.clone());
        let meant =
            record.strike.as_ref().is_some_and(|(strike, _)| strike.at.kind == point.kind && strike.at.nth == nth);
        record.struck |= meant;
        record.strike.take_if(|_| meant)
    }
}

async fn strike_now(deed: Deed, killer: &Killer) -> io::Error {
    if let Deed::Signal(signal) = deed {
        let (dead, is_dead) = oneshot::channel();
        if killer.send((signal, dead)).is_ok() {
            let _ = is_dead.await;
        }
    }
    io::Error::other("struck")
}

fn kind(method: &Method, path: &str, headers: &HeaderMap, body: &Bytes) -> String {
    if let Some(target) = headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
        let (service, operation) = target.split_once('.').unwrap_or(("", target));
        // ECS and Cloud Map both have a CreateService.
        return if service.starts_with("Route53") { format!("{operation} in Cloud Map") } else { operation.to_owned() };
    }
    if path == "/" {
        let form = String::from_utf8_lossy(body);
        return form.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or("?").to_owned();
    }
    let what = match path {
        _ if path.contains("/blobs/uploads/") => "upload",
        _ if path.contains("/blobs/") => "blob",
        _ if path.contains("/manifests/sha256:") => "manifest",
        _ if path.contains("/manifests/") => "tag",
        _ => "/v2/",
    };
    format!("{method} {what}")
}

pub fn set_length(headers: &mut HeaderMap, body: &Bytes) {
    headers.remove(TRANSFER_ENCODING);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.remove(HeaderName::from_static("connection"));
}

pub fn full(body: Bytes) -> Body {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed()
}

pub fn replaced(body: &[u8], from: &str, to: &str) -> Bytes {
    match std::str::from_utf8(body) {
        Ok(text) => text.replace(from, to).into(),
        Err(_) => Bytes::copy_from_slice(body),
    }
}

/// How often each kind passed, for a message.
pub fn counted(seen: &[Point]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for point in seen {
        *counts.entry(point.kind.as_str()).or_default() += 1;
    }
    counts
}
