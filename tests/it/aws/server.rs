//! A server of our own making: it answers what a test's closure says, or drops the connection, and keeps a log.

use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use serde_json::Value;
use steadystate::aws::{Clients, Settings, connect};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Debug, Clone)]
pub struct Request {
    /// `X-Amz-Target` without its prefix, or the form's `Action`.
    pub operation: String,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

pub enum Reply {
    Json(Value),
    Error(u16, &'static str, &'static str),
    Xml(u16, String),
    /// Close the connection without an answer, after the request was read.
    Drop,
}

type Script = Arc<dyn Fn(&Request, usize) -> Reply + Send + Sync>;

pub struct Server {
    pub url: String,
    log: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `script` gets each request and how many of the same operation came before it.
    pub async fn start(script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let (script, shared): (Script, _) = (Arc::new(script), log.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, script.clone(), shared.clone()));
            }
        });
        Server { url, log, task }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().expect("log").clone()
    }

    pub fn operations(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.operation).collect()
    }

    pub fn count(&self, operation: &str) -> usize {
        self.operations().iter().filter(|one| *one == operation).count()
    }

    pub async fn clients(&self) -> Clients {
        connect(&self.settings()).await.expect("settings are whole")
    }

    pub fn settings(&self) -> Settings {
        Settings {
            region: Some("us-west-2".into()),
            profile: None,
            endpoint_url: Some(self.url.clone()),
            static_credentials: Some(("AKIATEST".into(), SecretString::from("secret"))),
            ..Settings::default()
        }
    }
}

async fn connection(stream: TcpStream, script: Script, log: Arc<Mutex<Vec<Request>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let before = {
            let mut log = log.lock().expect("log");
            let before = log.iter().filter(|one| one.operation == request.operation).count();
            log.push(request.clone());
            before
        };
        let (status, kind, body) = match script(&request, before) {
            Reply::Json(value) => (200, "application/x-amz-json-1.1", value.to_string()),
            Reply::Error(status, code, message) => {
                let body = serde_json::json!({ "__type": code, "message": message });
                (status, "application/x-amz-json-1.1", body.to_string())
            }
            Reply::Xml(status, body) => (status, "text/xml", body),
            Reply::Drop => return,
        };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.get_mut().write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut headers = Vec::new();
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let value = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let length = value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let text = String::from_utf8(body).ok()?;
    let operation = match value("x-amz-target") {
        Some(target) => target.rsplit('.').next().unwrap_or_default().to_owned(),
        None => text.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default().to_owned(),
    };
    Some(Request { operation, headers, text })
}
