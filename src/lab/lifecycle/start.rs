//! Starting a lab in the background: `steady lab serve` in a process of its own.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::record::{self, Kept, Lock};
use super::{DEFAULT_PORT, Options, Running, Status, cannot_listen, status};
use crate::error::{Error, Result};
use crate::lab::disk;

const POLL: Duration = Duration::from_millis(5);
const ANSWER: Duration = Duration::from_millis(200);
/// A lab that was stopped says at once what it said before, unless its tasks take longer than this.
const RESUME: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(20);
const LARGEST_LOG: u64 = 1024 * 1024;
const LOG_TAIL: u64 = 4096;

/// Starts a lab in the background and waits until it answers, and until what ran in it runs again. If one runs already, that one is it, unless it
/// has another port, pace or runtime than `options` demand.
pub async fn start(options: &Options) -> Result<Running> {
    let running = ensure_running(options).await?;
    if !running.started && options.fault_file.is_some() {
        let url = &running.endpoint.url;
        return Err(Error::other(format!("the lab already runs at {url}: --faults is read when it starts")).hint(
            "`steady lab fault add` makes trouble in a lab that runs; or `steady lab stop` first, its state stays",
        ));
    }
    let wanted = [
        ("requestBudgets", options.unlimited_requests.then(|| "false".to_owned())),
        ("pace", options.pace.map(|pace| pace.to_string())),
        ("runtime", options.runtime_level.map(|level| level.to_string())),
    ];
    if wanted.iter().any(|(_, wanted)| wanted.is_some())
        && let Status::Running { report, .. } = status(options).await?
    {
        for (what, wanted) in wanted {
            let Some(wanted) = wanted else { continue };
            let has = match &report[what] {
                Value::Bool(has) => has.to_string(),
                has => has.as_str().unwrap_or("none").to_owned(),
            };
            if wanted != has {
                let url = &running.endpoint.url;
                return Err(Error::other(format!("the lab already runs at {url} with {what} {has}, not {wanted}"))
                    .hint("`steady lab stop` first; its state stays"));
            }
        }
    }
    match options.port {
        Some(port) if port != 0 && !running.endpoint.url.ends_with(&format!(":{port}")) => {
            let url = &running.endpoint.url;
            Err(Error::other(format!("the lab already runs at {url}, not on port {port}"))
                .hint("`steady lab stop` first; it keeps its images, but their addresses name the old port"))
        }
        _ => Ok(running),
    }
}

/// The lab that runs on `options.data`, started if there is none.
pub async fn ensure_running(options: &Options) -> Result<Running> {
    let until = Instant::now() + LIMIT;
    let mut daemon: Option<Daemon> = None;
    let mut answered: Option<Instant> = None;
    loop {
        match status(options).await? {
            Status::Running { running, report } => {
                let started = daemon.as_ref().is_some_and(|daemon| daemon.child.id() == Some(running.pid));
                if started && report["resuming"] != 0 && answered.get_or_insert_with(Instant::now).elapsed() < RESUME {
                    sleep(POLL).await;
                    continue;
                }
                return Ok(Running { started, ..running });
            }
            Status::Unresponsive { .. } => {}
            Status::Stopped => match &mut daemon {
                None => daemon = Daemon::spawn(options)?,
                Some(daemon) => {
                    if let Ok(Some(ended)) = daemon.child.try_wait() {
                        // Another may have been faster, and is the lab now.
                        if !Lock::is_held(&options.data)? {
                            return Err(daemon.failed(&format!("its process ended with {ended}")));
                        }
                    }
                }
            },
        }
        if Instant::now() >= until {
            let why = format!("it does not answer within {} s", LIMIT.as_secs());
            return Err(match &daemon {
                Some(daemon) => daemon.failed(&why),
                None => Error::other(format!("the lab on {} is stuck: {why}", options.data.display()))
                    .hint("`steady lab stop` ends it"),
            });
        }
        sleep(POLL).await;
    }
}

/// The process that is to become the lab.
struct Daemon {
    child: Child,
    log: PathBuf,
    /// Where in the log its own lines begin.
    log_start: u64,
}

impl Daemon {
    /// `None` if another lab has just begun to start here.
    fn spawn(options: &Options) -> Result<Option<Daemon>> {
        let data = &options.data;
        record::prepare(data)?;
        let port = options.port.or(Kept::read(data).port).unwrap_or(DEFAULT_PORT);
        // The daemon could say so in its log only. Asked by connecting: a bind might be in another daemon's way.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if port != 0 && TcpStream::connect_timeout(&address, ANSWER).is_ok() {
            let taken = io::ErrorKind::AddrInUse.into();
            return if Lock::is_held(data)? { Ok(None) } else { Err(cannot_listen(port, &taken)) };
        }
        let executable = options.executable.as_ref().ok_or_else(|| Error::other("there is no executable to start"))?;
        let path = record::log_path(data);
        if path.metadata().is_ok_and(|log| log.len() > LARGEST_LOG) {
            let _ = fs::rename(&path, data.join("lab.log.1"));
        }
        let unwritable = |error| Error::other(format!("cannot write {}", path.display())).cause(error);
        let log = disk::append_private(&path).map_err(unwritable)?;
        let log_start = log.metadata().map_or(0, |log| log.len());
        let errors = log.try_clone().map_err(unwritable)?;
        let mut command = Command::new(executable);
        command.args(serve_arguments(options)).current_dir(data);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        // The terminal's Ctrl-C is not for the lab.
        #[cfg(unix)]
        command.process_group(0);
        let child = command.spawn().map_err(|error| {
            Error::other(format!("cannot start the lab: {} does not run", executable.display())).cause(error)
        })?;
        Ok(Some(Daemon { child, log: path, log_start }))
    }

    fn failed(&self, why: &str) -> Error {
        let tail = self.log_tail().unwrap_or_default();
        let mut error = Error::other(format!("the lab did not start: {why}"));
        if !tail.trim().is_empty() {
            error = error.hint(format!("its log ends with:\n{}", tail.trim_end()));
        }
        error.hint(format!("the log is {}", self.log.display()))
    }

    fn log_tail(&self) -> io::Result<String> {
        let mut file = fs::File::open(&self.log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.log_start.max(length.saturating_sub(LOG_TAIL))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The arguments by which `steady` serves this lab in the foreground.
pub fn serve_arguments(options: &Options) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["lab".into(), "serve".into(), "--data-dir".into()];
    arguments.push(options.data.clone().into());
    if let Some(pace) = options.pace {
        arguments.extend(["--pace".into(), pace.to_string().into()]);
    }
    if let Some(port) = options.port {
        arguments.extend(["--port".into(), port.to_string().into()]);
    }
    if let Some(level) = options.runtime_level {
        arguments.extend(["--runtime".into(), level.to_string().into()]);
    }
    if let Some(file) = &options.fault_file {
        arguments.extend(["--faults".into(), file.clone().into()]);
    }
    if options.unlimited_requests {
        arguments.push("--no-request-budgets".into());
    }
    arguments
}
