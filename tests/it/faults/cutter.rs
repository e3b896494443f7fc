//! A line to the lab's registry that is cut on purpose, and that notices what is sent again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, LOCATION};
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use steadystate::image::digest;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::kill::proxy::{Body, full, replaced, serve, set_length};
use crate::signing::sign_anew;

/// A body that is cut in the middle is cut after so much of it; so much of it also tells which one it is.
const MIDDLE: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    Middle,
    /// The registry has taken a blob; who sent it never hears of it.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The connection ends without an answer.
    Lose(When),
    /// The process gets a signal, and has ended before its connection does.
    Kill(When),
    /// An answer of this status, with `Retry-After`.
    Refuse(u16, Option<u32>),
    /// From now on this token has expired, which is said with this status.
    Expire(u16),
}

/// Asks for the death of the process, and hears when it is dead.
pub type Killer = mpsc::UnboundedSender<oneshot::Sender<()>>;

/// Random, and the same for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

pub struct Cutter {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Shared {
    lab: String,
    own: String,
    client: Client<HttpConnector, Body>,
    record: Mutex<Record>,
}

pub struct Record {
    random: Random,
    /// Requests that pass until the next cut.
    gap: usize,
    /// At most so many pass between two cuts.
    widest: usize,
    pub cuts: Vec<Cut>,
    pub killer: Option<Killer>,
    /// A signal is on its way: until the next run, nothing else is cut.
    pub dying: bool,
    dead: Option<HeaderValue>,
    /// Whatever somebody logged in with.
    pub tokens: HashSet<HeaderValue>,
    /// How the content of each session begins, by its path.
    sessions: HashMap<String, String>,
    /// What the registry has taken: digests, and how they begin.
    pub finished: HashSet<String>,
    /// What was sent although the registry had it.
    pub again: Vec<String>,
    pub log: Vec<String>,
}

impl Cutter {
    pub async fn start(lab: &str, seed: u64, widest: usize, cuts: Vec<Cut>) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let record = Record {
            random: Random(seed),
            gap: widest,
            widest,
            cuts,
            killer: None,
            dying: false,
            dead: None,
            tokens: HashSet::new(),
            sessions: HashMap::new(),
            finished: HashSet::new(),
            again: Vec::new(),
            log: Vec::new(),
        };
        let shared = Arc::new(Shared {
            lab: lab.to_owned(),
            own: address.to_string(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            record: Mutex::new(record),
        });
        let serving = shared.clone();
        let accepting = serve(listener, move |request| {
            let shared = serving.clone();
            async move { shared.pass(request).await }
        });
        Cutter { address, shared, accepting }
    }

    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.shared.record.lock().unwrap()
    }
}

impl Shared {
    async fn pass(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (mut head, body) = request.into_parts();
        let api = head.uri.path() == "/";
        let token = head.headers.get(AUTHORIZATION).cloned();
        let cut = if api { None } else { self.record.lock().unwrap().due(&head.method, &head.uri) };
        if !api {
            self.record.lock().unwrap().tokens.extend(token.clone());
        }
        if let Some(Cut::Expire(_)) = cut {
            self.record.lock().unwrap().dead = token.clone();
        }
        if matches!(cut, Some(Cut::Lose(When::Before) | Cut::Kill(When::Before))) {
            return Err(self.end(cut).await);
        }
        let cut_short = matches!(cut, Some(Cut::Lose(When::Middle) | Cut::Kill(When::Middle)));
        let body = read(body, if cut_short { MIDDLE } else { usize::MAX }).await?;
        if !api {
            self.record.lock().unwrap().arrives(&head.method, &head.uri, &body);
        }
        if cut_short {
            return Err(self.end(cut).await);
        }
        let expired = token.is_some() && self.record.lock().unwrap().dead == token;
        let status = match cut {
            Some(Cut::Refuse(status, after)) => Some((status, after)),
            Some(Cut::Expire(status)) => Some((status, None)),
            _ => (!api && expired).then_some((403, None)),
        };
        if let Some((status, after)) = status {
            let mut reply = Response::builder().status(status);
            if let Some(after) = after {
                reply = reply.header("retry-after", after);
            }
            let words = r#"{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}"#;
            let words = if matches!(status, 401 | 403) { words } else { "" };
            return Ok(reply.body(full(Bytes::from_static(words.as_bytes()))).unwrap());
        }
        let (method, uri) = (head.method.clone(), head.uri.clone());
        let to = format!("http://{}{}", self.lab, uri.path_and_query().map_or("/", |path| path.as_str()));
        head.uri = to.parse().map_err(io::Error::other)?;
        head.headers.insert(HOST, HeaderValue::from_str(&self.lab).map_err(io::Error::other)?);
        let body = if api { replaced(&body, &self.own, &self.lab) } else { body };
        if api {
            sign_anew(&mut head.headers, &self.lab, &body);
        }
        set_length(&mut head.headers, &body);
        let reply = self.client.request(Request::from_parts(head, full(body))).await.map_err(io::Error::other)?;
        let (mut head, body) = reply.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        if !api {
            self.record.lock().unwrap().answered(&method, &uri, head.status.as_u16());
        }
        if cut.is_some() {
            return Err(self.end(cut).await);
        }
        let body = if api { replaced(&body, &self.lab, &self.own) } else { body };
        if let Some(location) = head.headers.get(LOCATION) {
            let location = replaced(location.as_bytes(), &self.lab, &self.own);
            head.headers.insert(LOCATION, HeaderValue::from_bytes(&location).map_err(io::Error::other)?);
        }
        if method != Method::HEAD {
            set_length(&mut head.headers, &body);
        }
        Ok(Response::from_parts(head, full(body)))
    }

    async fn end(&self, cut: Option<Cut>) -> io::Error {
        let killer = self.record.lock().unwrap().killer.clone();
        if let (Some(Cut::Kill(_)), Some(killer)) = (cut, killer) {
            let (dead, is_dead) = oneshot::channel();
            if killer.send(dead).is_ok() {
                let _ = is_dead.await;
            }
        }
        io::Error::other("cut")
    }
}

impl Record {
    fn due(&mut self, method: &Method, uri: &hyper::Uri) -> Option<Cut> {
        self.log.push(format!("{method} {uri}"));
        if self.dying {
            return None;
        }
        if self.gap > 0 {
            self.gap -= 1;
            return None;
        }
        let done = matches!(self.cuts.last()?, Cut::Lose(When::Done) | Cut::Kill(When::Done));
        if done && !(method == Method::PUT && uri.path().contains("/uploads/")) {
            return None;
        }
        let cut = self.cuts.pop()?;
        self.dying = matches!(cut, Cut::Kill(_));
        self.gap = self.random.below(self.widest + 1);
        self.log.push(format!("^ {cut:?}"));
        Some(cut)
    }

    fn arrives(&mut self, method: &Method, uri: &hyper::Uri, body: &Bytes) {
        if body.is_empty() || !uri.path().contains("/uploads/") {
            return;
        }
        let start = digest::of(&body[..body.len().min(MIDDLE)]);
        let named = digest_in(uri);
        if self.finished.contains(&start) || named.as_ref().is_some_and(|named| self.finished.contains(named)) {
            self.again.push(format!("{method} {uri}"));
        }
        self.sessions.insert(uri.path().to_owned(), start);
    }

    fn answered(&mut self, method: &Method, uri: &hyper::Uri, status: u16) {
        if method == Method::PUT
            && status == 201
            && let Some(digest) = digest_in(uri)
        {
            self.finished.extend(self.sessions.remove(uri.path()));
            self.finished.insert(digest);
        }
    }
}

async fn read(mut body: Incoming, limit: usize) -> io::Result<Bytes> {
    let mut bytes = BytesMut::new();
    while bytes.len() < limit
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

fn digest_in(uri: &hyper::Uri) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(name, _)| name == "digest").map(|(_, value)| value.into_owned())
}
