//! A lab's life as a process: started in the background, found again, stopped, emptied.
//!
//! A data folder belongs to the process that holds the lock on `<data>/lock`; `<data>/lab.json` says how to
//! reach it. Both outlive a crash harmlessly: the lock ends with its process, and `lab.json` counts for
//! nothing without it.

mod client;
mod environment;
mod faults;
mod instance;
mod loops;
mod record;
mod resume;
mod start;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::api::random_hex;
use super::clock::{Clock, Hand, Pace};
use super::faults::Fault;
use super::runtime::{DockerAddress, Level};
use super::server::{self, Front};
use crate::error::{Error, Result};

pub use environment::{UNSET, data_dir, environment, no_proxy};
pub use faults::{add_fault, clear_faults, list_faults};
pub use instance::{House, Instance};
pub use start::{ensure_running, serve_arguments, start};

use record::{Kept, Lock, Record};

/// Where a lab listens if it was never told otherwise.
pub const DEFAULT_PORT: u16 = 4580;
pub const REGION: &str = "us-east-1";
pub const ACCOUNT_ID: &str = "111122223333";
/// The key that requests to the lab are signed with. It keeps strangers' mistakes out, and is no secret.
pub const ACCESS_KEY_ID: &str = "steady-lab";
pub const SECRET_ACCESS_KEY: &str = "steady-lab";

/// How a lab is to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of its state; see [`data_dir`].
    pub data: PathBuf,
    /// `None`: the port that it had before, else [`DEFAULT_PORT`]. 0: any free one, kept from then on.
    pub port: Option<u16>,
    /// `None`: the default one, or whichever a lab has that runs already.
    pub pace: Option<Pace>,
    /// `None`: the best that this machine allows.
    pub runtime_level: Option<Level>,
    /// Where Docker engines may be, for the level that runs containers with one.
    pub docker: Vec<DockerAddress>,
    /// The `steady` executable: it becomes the daemon, and containers start through it.
    /// `None`: a lab that runs no containers.
    pub executable: Option<PathBuf>,
    /// What is to go wrong from the start, and the file that says so.
    pub faults: Vec<Fault>,
    pub fault_file: Option<PathBuf>,
    /// Whether nobody is ever throttled.
    pub unlimited_requests: bool,
    /// Who can put the lab's clock forward.
    pub hand: Option<Hand>,
}

impl Options {
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let executable = std::env::current_exe().ok();
        Options {
            data: data.into(),
            port: None,
            pace: None,
            runtime_level: None,
            docker: Vec::new(),
            executable,
            faults: Vec::new(),
            fault_file: None,
            unlimited_requests: false,
            hand: None,
        }
    }
}

/// What a client needs to use a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `http://127.0.0.1:4580`, for the AWS APIs and the registry alike.
    pub url: String,
    pub region: String,
    pub account_id: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

/// A lab that answers.
#[derive(Debug, Clone)]
pub struct Running {
    pub endpoint: Endpoint,
    pub pid: u32,
    /// False if it ran already.
    pub started: bool,
}

/// What `steady lab status` knows.
#[derive(Debug, Clone)]
pub enum Status {
    Stopped,
    /// The process is there and does not answer: it is starting, ending or stuck.
    Unresponsive {
        pid: Option<u32>,
    },
    /// With the lab's own account of itself, as `GET /_lab/status` gives it.
    Running {
        running: Running,
        report: Value,
    },
}

/// Serves a lab in the foreground, on the data folder's own port, until `shutdown` is done or `stop` is called.
pub async fn serve(options: Options, shutdown: impl Future<Output = ()>) -> Result<()> {
    record::prepare(&options.data)?;
    let lock = Lock::acquire(&options.data).await?.ok_or_else(|| already_running(&options))?;
    let port = options.port.or(Kept::read(&options.data).port).unwrap_or(DEFAULT_PORT);
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => listener,
        Err(error) => return Err(cannot_listen(port, &error)),
    };
    serve_locked(listener, options, shutdown, lock).await
}

/// Serves a lab on a listener that the caller made; it must be on loopback.
pub async fn serve_on(listener: TcpListener, options: Options, shutdown: impl Future<Output = ()>) -> Result<()> {
    record::prepare(&options.data)?;
    let lock = Lock::acquire(&options.data).await?.ok_or_else(|| already_running(&options))?;
    serve_locked(listener, options, shutdown, lock).await
}

async fn serve_locked(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()>,
    lock: Lock,
) -> Result<()> {
    let address = listener.local_addr().map_err(|error| Error::other("the listener has no address").cause(error))?;
    if !address.ip().is_loopback() {
        return Err(Error::input(format!("the lab listens on loopback only, not on {address}"))
            .hint("it hands out its registry's password and runs containers for whoever asks"));
    }
    let data = options.data.clone();
    // One that a killed lab left behind names a process that may be anyone's by now, and the lock is held again.
    Record::remove(&data);
    Kept { port: Some(address.port()) }.write(&data)?;
    let settings =
        Settings { data: data.clone(), address, region: REGION.to_owned(), account_id: ACCOUNT_ID.to_owned() };
    let started_at = Clock::default().now();
    let token = random_hex(64);
    let stop = CancellationToken::new();
    let front = Arc::new(Front {
        house: House::open(settings, options, stop.clone())?,
        address,
        token: token.clone(),
        started_at,
        stop,
    });
    let record = Record { pid: std::process::id(), endpoint: endpoint(address), token };
    if let Err(error) = record.write(&data) {
        front.house.close().await;
        return Err(error);
    }
    let served = server::serve(front.clone(), listener, shutdown).await;
    front.house.close().await;
    Record::remove(&data);
    drop(lock);
    served.map_err(|error| Error::other("the lab's server failed").cause(error))
}

/// Done when this process is asked to end: SIGINT, SIGTERM or SIGHUP.
pub async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).ok();
        let (term, hup) = (listen(SignalKind::terminate()), listen(SignalKind::hangup()));
        let wait = |source: Option<tokio::signal::unix::Signal>| async {
            match source {
                Some(mut source) => {
                    source.recv().await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = wait(term) => {}
            () = wait(hup) => {}
        }
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// What runs on `options.data`.
pub async fn status(options: &Options) -> Result<Status> {
    if !Lock::is_held(&options.data)? {
        return Ok(Status::Stopped);
    }
    let Some(record) = Record::read(&options.data) else { return Ok(Status::Unresponsive { pid: None }) };
    match client::get(&record, "/_lab/status").await {
        Ok(report) => {
            let running = Running { endpoint: record.endpoint, pid: record.pid, started: false };
            Ok(Status::Running { running, report })
        }
        Err(_) => Ok(Status::Unresponsive { pid: Some(record.pid) }),
    }
}

/// How long a lab may take to end its containers and itself, before it gets SIGTERM; and again after that.
const STOP: Duration = Duration::from_secs(20);

/// Stops the lab and waits until its process is gone. False if none ran.
pub async fn stop(options: &Options) -> Result<bool> {
    if !Lock::is_held(&options.data)? {
        return Ok(false);
    }
    let record = Record::read(&options.data);
    let pid = record.as_ref().map(|record| record.pid);
    if let Some(record) = &record
        && client::post(record, "/_lab/stop").await.is_ok()
        && is_gone_within(options, pid, STOP).await?
    {
        return Ok(true);
    }
    // Only while the lock is held is the pid of the record surely the lab's.
    if let Some(record) = &record
        && Lock::is_held(&options.data)?
    {
        record.terminate();
    }
    if is_gone_within(options, pid, STOP).await? {
        return Ok(true);
    }
    let pid = pid.map_or("unknown".to_owned(), |pid| pid.to_string());
    Err(Error::other(format!("the lab on {} (pid {pid}) does not end", options.data.display()))
        .hint(format!("its log is {}", record::log_path(&options.data).display())))
}

/// Gone also if another lab has taken its place.
async fn is_gone_within(options: &Options, pid: Option<u32>, limit: Duration) -> Result<bool> {
    let until = tokio::time::Instant::now() + limit;
    let replaced = || pid.is_some() && Record::read(&options.data).is_some_and(|record| Some(record.pid) != pid);
    while Lock::is_held(&options.data)? && !replaced() {
        if tokio::time::Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(true)
}

/// Empties the lab, whether it runs or not. A running one goes on, empty.
pub async fn reset(options: &Options) -> Result<()> {
    if Lock::is_held(&options.data)?
        && let Some(record) = Record::read(&options.data)
    {
        return client::post(&record, "/_lab/reset").await.map(|_| ());
    }
    let _lock = Lock::acquire(&options.data).await?.ok_or_else(|| already_running(options))?;
    instance::wipe(&options.data)
        .map_err(|error| Error::other(format!("cannot empty {}", options.data.display())).cause(error))
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        url: format!("http://{address}"),
        region: REGION.to_owned(),
        account_id: ACCOUNT_ID.to_owned(),
        access_key_id: ACCESS_KEY_ID.to_owned(),
        secret_access_key: SECRET_ACCESS_KEY.to_owned(),
    }
}

fn already_running(options: &Options) -> Error {
    let data = options.data.display();
    match Record::read(&options.data) {
        Some(record) => {
            let (url, pid) = (&record.endpoint.url, record.pid);
            Error::other(format!("a lab already runs on {data}, at {url} (pid {pid})"))
                .hint("`steady lab stop` ends it")
        }
        None => Error::other(format!("a lab is just starting or ending on {data}")).hint("try again in a moment"),
    }
}

fn cannot_listen(port: u16, error: &std::io::Error) -> Error {
    use std::io::ErrorKind::{AddrInUse, PermissionDenied};
    let failed = match error.kind() {
        AddrInUse => Error::other(format!("port {port} of 127.0.0.1 is taken by another process")),
        PermissionDenied => Error::other(format!("port {port} of 127.0.0.1 is not for this user")),
        _ => Error::other(format!("cannot listen on port {port} of 127.0.0.1: {error}")),
    };
    failed.hint("`steady lab start --port N` puts the lab on another one, and it stays there from then on")
}
