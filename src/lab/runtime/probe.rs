//! Whether this machine permits a level: by running a server and its client at that level.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::launch::{ARGUMENT, Channel, Launch, Process, Reply, Request, Root, User};
use super::spec::Level;
use super::{Permitted, Roots};

/// More than the probe's process needs.
const MEMORY: u64 = 256 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// The helper's executable; this very one even when its file was replaced since it started.
pub fn executable(helper: PathBuf) -> PathBuf {
    let this = PathBuf::from("/proc/self/exe");
    let same = fs::canonicalize(&helper).is_ok_and(|helper| fs::canonicalize(&this).is_ok_and(|this| this == helper));
    if same || helper.as_os_str().is_empty() { this } else { helper }
}

/// A helper process that waits for its launch on its standard input.
pub fn command(helper: &Path) -> Command {
    let mut command = Command::new(helper);
    command.arg(ARGUMENT).env_clear().stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Tries a level in a temporary folder inside `data`; the error names the step that was refused.
pub fn level(level: Level, data: &Path, helper: &Path) -> Result<Permitted, String> {
    let overlay = match level.has_network() {
        true => attempt(level, Roots::Overlay, data, helper),
        false => Err(String::new()),
    };
    overlay.or_else(|_| attempt(level, Roots::Copy, data, helper))
}

fn attempt(level: Level, roots: Roots, data: &Path, helper: &Path) -> Result<Permitted, String> {
    let text = |error: io::Error| error.to_string();
    let folder = tempfile::Builder::new().prefix("probe-").tempdir_in(data).map_err(text)?;
    let outcome = run(level, roots, folder.path(), helper).map_err(text);
    let _ = super::unpack::remove_tree(&folder.keep());
    outcome?.map(|memory_limits| Permitted { roots, memory_limits })
}

/// Whether memory can be limited, when the level works.
fn run(level: Level, roots: Roots, folder: &Path, helper: &Path) -> io::Result<Result<bool, String>> {
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(folder.join(name))?;
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755))?;
    }
    let root = match roots {
        Roots::Overlay => Root::Overlay { lower: "lower".into(), directory: ".".into() },
        Roots::Copy => Root::Directory("lower".into()),
    };
    let process = Process {
        root,
        arguments: Vec::new(),
        environment: Vec::new(),
        working_directory: "/".to_owned(),
        user: User::default(),
        hostname: "probe".to_owned(),
        hosts: String::new(),
        resolv_conf: String::new(),
        stop_signal: 15,
        memory_bytes: Some(MEMORY),
        cgroup: super::tasks::cgroup_name(folder, "probe", 0),
        read_only: false,
        mounts: Vec::new(),
        tmpfs: Vec::new(),
        limits: Vec::new(),
        restarts: false,
    };
    let launch = Launch { level, base: folder.to_owned(), check: true, containers: vec![process] };

    let (channel, theirs) = Channel::pair()?;
    setsockopt(&channel, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE.as_secs() as i64))?;
    let mut child = command(helper).stdin(Stdio::from(theirs)).spawn()?;
    let outcome = converse(&channel, &launch);
    drop(channel);
    child.wait()?;
    outcome
}

fn converse(channel: &Channel, launch: &Launch) -> io::Result<Result<bool, String>> {
    let memory = launch.to_memory()?;
    let (stdout_here, stdout) = io::pipe()?;
    let (mut stderr_here, stderr) = io::pipe()?;
    let (stdout, stderr) = (OwnedFd::from(stdout), OwnedFd::from(stderr));
    channel.send(&Request::Launch, &[memory.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
    drop((stdout, stderr, stdout_here));
    channel.send(&Request::Start { container: 0 }, &[])?;
    let mut memory_limits = false;
    while let Some((reply, _)) = channel.receive()? {
        match reply {
            Reply::Failed { reason, .. } => return Ok(Err(reason)),
            Reply::Exited { exit_code: 0, .. } => return Ok(Ok(memory_limits)),
            Reply::Exited { .. } => {
                let mut problem = String::new();
                stderr_here.read_to_string(&mut problem)?;
                return Ok(Err(problem));
            }
            Reply::Started { limited, .. } => memory_limits = limited,
            Reply::Executed { .. } | Reply::Connect { .. } => {}
        }
    }
    Ok(Err("the helper process ended early".to_owned()))
}
