//! The steps of a container's process from its birth to its program.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, execve, setsid};

use super::{check, identity, landlock, limits, mounts, seccomp};
use crate::lab::runtime::inroot::InRoot;
use crate::lab::runtime::launch::{Channel, Mount, Process, Root};
use crate::lab::runtime::spec::Level;

/// How long a program may be busy.
const BUSY: Duration = Duration::from_secs(5);

pub struct Child<'a> {
    pub level: Level,
    pub process: &'a Process,
    pub arguments: &'a [String],
    pub output: [OwnedFd; 2],
    pub check: bool,
    /// Whether the container is there already, and its namespaces were entered.
    pub beside: bool,
    pub supervisor: Option<Channel>,
    /// Closes when the program runs; else says why it does not.
    pub failure: Option<OwnedFd>,
    /// Says that the parent has done its part.
    pub go: OwnedFd,
}

/// Why a program does not run.
enum Refusal {
    Early(String),
    /// What `runc` finds out when it has said that the container runs: a program for another machine, or one whose
    /// loader or interpreter is missing. ECS then has a container that started and ended, and the reason is in its log.
    Late(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Refusal::Early(reason)
    }
}

impl Child<'_> {
    pub fn run(mut self) -> ! {
        match self.execute() {
            Err(Refusal::Early(reason)) => {
                if let Some(failure) = self.failure {
                    let _ = File::from(failure).write_all(reason.as_bytes());
                }
                identity::exit(127)
            }
            // by now it counts as started
            Err(Refusal::Late(reason)) => {
                let _ = std::io::stderr().write_all(format!("{reason}\n").as_bytes());
                identity::exit(255)
            }
            Ok(never) => match never {},
        }
    }

    fn execute(&mut self) -> Result<Infallible, Refusal> {
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| error.to_string())?;
        let go = rustix::io::read(&self.go, &mut [0]);
        if !matches!(go, Ok(1)) {
            return Err("the lab's helper is gone".to_owned().into());
        }
        setsid().map_err(|error| format!("setsid: {error}"))?;
        streams(&self.output).map_err(|error| format!("standard streams: {error}"))?;
        let proc = File::open("/proc").map_err(|error| format!("/proc: {error}"))?;

        match (self.level, self.beside) {
            (Level::Namespaces | Level::UserNamespaces, false) => mounts::enter(self.level, self.process)?,
            (Level::Chroot, false) => mounts::change_root(self.process)?,
            (Level::Chroot, true) => mounts::join_root(self.process)?,
            (Level::Namespaces | Level::UserNamespaces, true)
            | (Level::Process | Level::Docker | Level::Simulated, _) => {}
        }
        // at level 4 paths lead to the unpacked root, at the others they are in it
        let root = match (self.level, &self.process.root) {
            (Level::Process, Root::Directory(root)) => std::fs::canonicalize(root),
            _ => Ok(PathBuf::from("/")),
        }
        .map_err(|error| error.to_string())?;
        let places = Places { root: InRoot::open(&root).map_err(|error| error.to_string())?, root_path: root };
        places.enter(&self.process.working_directory)?;
        if self.process.read_only && self.level.has_network() && !self.beside {
            mounts::make_read_only()?;
        }
        limits::set(&self.process.limits)?;
        identity::become_user(self.level, &self.process.user, &proc.into())?;
        // changing the user cleared it
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| error.to_string())?;
        identity::restore_signals();
        prctl::set_no_new_privs().map_err(|error| format!("no_new_privs: {error}"))?;
        if self.process.read_only && !self.level.has_network() {
            landlock::make_read_only(self.writable()).map_err(|error| format!("read-only root: {error}"))?;
        }
        if let Some(supervisor) = &self.supervisor {
            let listener = seccomp::supervise().map_err(|error| format!("seccomp user notification: {error}"))?;
            supervisor.send(&(), &[listener.as_fd()]).map_err(|error| error.to_string())?;
        }
        if self.check {
            self.failure = None;
            check::run(self.level);
        }
        places.execute(self.process, self.arguments, self.level)
    }

    /// What may be written though the root may not.
    fn writable(&self) -> impl Iterator<Item = PathBuf> {
        let volumes = self.process.mounts.iter().filter(|mount| !mount.read_only);
        // links lead to a plain process's volumes
        let volume = |mount: &Mount| if self.level == Level::Process { &mount.source } else { &mount.target }.clone();
        volumes.map(volume).chain(["/dev", "/proc"].map(PathBuf::from))
    }
}

fn streams(output: &[OwnedFd; 2]) -> nix::Result<()> {
    let null = File::open("/dev/null").map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    dup2_stdin(&null)?;
    dup2_stdout(&output[0])?;
    dup2_stderr(&output[1])
}

/// Paths as the container means them.
struct Places {
    root: InRoot,
    root_path: PathBuf,
}

impl Places {
    fn enter(&self, directory: &str) -> Result<(), String> {
        let text = |error: std::io::Error| format!("working directory {directory:?}: {error}");
        let path = Path::new(directory).strip_prefix("/").unwrap_or(Path::new(directory));
        let directory = self.root.make_directory(path).map_err(text)?;
        nix::unistd::fchdir(&directory).map_err(|error| text(error.into()))
    }

    fn execute(&self, process: &Process, arguments: &[String], level: Level) -> Result<Infallible, Refusal> {
        let program = arguments.first().map_or("", String::as_str);
        let error = |text: &str| Err(Refusal::Early(format!("exec: {program:?}: {text}")));
        let late = |text: &str| Err(Refusal::Late(format!("exec {program}: {text}")));
        let arguments = strings(arguments)?;
        let environment = strings(&process.environment)?;
        let candidates: Vec<PathBuf> = if program.contains('/') {
            vec![Path::new(&process.working_directory).join(program)]
        } else {
            let path = process.environment.iter().find_map(|variable| variable.strip_prefix("PATH="));
            path.unwrap_or_default().split(':').map(|directory| Path::new("/").join(directory).join(program)).collect()
        };
        let mut refused = None;
        for candidate in &candidates {
            let Ok(found) = self.find(candidate) else { continue };
            let Ok(path) = CString::new(found.as_os_str().as_encoded_bytes()) else { continue };
            let errno = become_program(&path, &arguments, &environment);
            match errno {
                Errno::ENOEXEC => return late("exec format error"),
                Errno::ENOENT if level == Level::Process => {
                    return late(
                        "no such file or directory: it needs a dynamic loader or interpreter, and without isolation \
                         only statically linked programs of an image can run",
                    );
                }
                Errno::ENOENT => {
                    return late("no such file or directory: its dynamic loader or interpreter is not in the image");
                }
                errno => refused = Some(errno),
            }
        }
        match refused {
            Some(Errno::EACCES) => error("permission denied"),
            Some(errno) => error(errno.desc()),
            None if program.contains('/') => error("no such file or directory"),
            None => error("executable file not found in $PATH"),
        }
    }

    fn find(&self, path: &Path) -> std::io::Result<PathBuf> {
        if self.root_path == Path::new("/") {
            return std::fs::metadata(path).map(|_| path.to_owned());
        }
        self.root.real_path(path.strip_prefix("/").unwrap_or(path))
    }
}

/// A program that was just unpacked is busy as long as a process that the lab is starting meanwhile has not executed its
/// own: it still holds the file open for writing.
fn become_program(path: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let until = Instant::now() + BUSY;
    loop {
        let Err(errno) = execve(path, arguments, environment);
        if errno != Errno::ETXTBSY || Instant::now() >= until {
            return errno;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn strings(texts: &[String]) -> Result<Vec<CString>, String> {
    texts.iter().map(|text| CString::new(text.as_str()).map_err(|_| "a NUL character".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_program_that_is_still_written_elsewhere_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let mut writer = File::create(&path).unwrap();
        writer.write_all(b"no program").unwrap();
        writer.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
        let holder = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(writer);
        });
        let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        assert_eq!(become_program(&path, &[], &[]), Errno::ENOEXEC);
        holder.join().unwrap();
    }
}
