//! A task's loop: requests, children that end, and ports that are bound.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdin, setsid};

use super::container::{self, Container};
use super::namespaces;
use super::ports::Ports;
use super::processes;
use crate::lab::runtime::launch::{Channel, Launch, REASON_LIMIT, Reply, Request};
use crate::lab::runtime::spec::Level;

/// The exit code of the process.
pub fn run() -> i32 {
    match serve() {
        Ok(()) => 0,
        // the lab sees the socket close
        Err(_) => 1,
    }
}

struct Task {
    level: Level,
    channel: Channel,
    containers: Vec<Container>,
    ports: Ports,
}

fn serve() -> io::Result<()> {
    // A Ctrl-C for the lab is not one for its containers: the lab stops them in order.
    let _ = setsid();
    container::close_inherited();
    umask(Mode::from_bits_truncate(0o022));
    let channel = take_stdin()?;
    let Some((Request::Launch, mut fds)) = channel.receive()? else { return Ok(()) };
    if fds.is_empty() {
        return Err(io::Error::other("no launch"));
    }
    let launch = Launch::from_memory(fds.remove(0))?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block()?;
    let ended = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    // what a container leaves behind becomes our child, so that we can end it
    prctl::set_child_subreaper(true)?;
    std::env::set_current_dir(&launch.base)?;

    let mut task = Task { level: launch.level, channel, containers: Vec::new(), ports: Ports::default() };
    let outcome = task.start(&launch, fds).and_then(|started| if started { task.run(&ended) } else { Ok(()) });
    task.end();
    outcome
}

// The socket must not be what a container finds as its standard input.
fn take_stdin() -> io::Result<Channel> {
    let stdin = io::stdin();
    let socket = fcntl(stdin.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(3))?;
    let null = File::open("/dev/null")?;
    dup2_stdin(&null)?;
    Ok(Channel::from(container::own(socket)))
}

impl Task {
    /// False when a container did not start; the lab has been told.
    fn start(&mut self, launch: &Launch, fds: Vec<OwnedFd>) -> io::Result<bool> {
        let root = nix::unistd::geteuid().is_root();
        if let Err(reason) = namespaces::enter(self.level) {
            self.failed(0, reason)?;
            return Ok(false);
        }
        let mut fds = fds.into_iter();
        for (at, process) in launch.containers.iter().enumerate() {
            let (Some(stdout), Some(stderr)) = (fds.next(), fds.next()) else {
                return Err(io::Error::other("a container without its pipes"));
            };
            let limited = root && self.level != Level::UserNamespaces;
            match container::start(self.level, process, [stdout, stderr], launch.check, limited) {
                Ok(container) => self.containers.push(container),
                Err(reason) => {
                    self.failed(at, reason)?;
                    return Ok(false);
                }
            }
            self.channel.send(&Reply::Started { container: at }, &[])?;
        }
        Ok(true)
    }

    fn failed(&mut self, container: usize, mut reason: String) -> io::Result<()> {
        self.end();
        let mut end = reason.len().min(REASON_LIMIT);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        self.channel.send(&Reply::Failed { container, reason }, &[])
    }

    fn run(&mut self, ended: &SignalFd) -> io::Result<()> {
        loop {
            self.reap()?;
            if self.containers.iter().all(|container| container.exited) {
                return Ok(());
            }
            let ready = self.wait(ended)?;
            while let Ok(Some(_)) = ended.read_signal() {}
            for (at, events) in ready.ports {
                self.serve_ports(at, events);
            }
            if ready.request && !self.serve_request()? {
                return Ok(());
            }
        }
    }

    fn wait(&self, ended: &SignalFd) -> io::Result<Ready> {
        let fd = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![fd(self.channel.as_fd()), fd(ended.as_fd())];
        // poll skips no entry, so a container without a listener waits for the signals once more
        fds.extend(self.containers.iter().map(|container| match &container.listener {
            Some(listener) => fd(listener.as_fd()),
            None => fd(ended.as_fd()),
        }));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let events = |fd: &PollFd<'_>| fd.revents().filter(|events| !events.is_empty());
        let ports = fds[2..].iter().zip(0..);
        Ok(Ready {
            request: events(&fds[0]).is_some(),
            ports: ports
                .filter(|(_, at)| self.containers[*at].listener.is_some())
                .filter_map(|(fd, at)| Some((at, events(fd)?)))
                .collect(),
        })
    }

    fn serve_ports(&mut self, at: usize, events: PollFlags) {
        let container = &mut self.containers[at];
        match &container.listener {
            // it fails when the process that asked was killed, and then there is nobody to answer
            Some(listener) if events.contains(PollFlags::POLLIN) => drop(self.ports.serve(listener)),
            // no process is left that could ask
            _ => container.listener = None,
        }
    }

    /// False when the lab is gone.
    fn serve_request(&mut self) -> io::Result<bool> {
        match self.channel.receive()? {
            None => return Ok(false),
            Some((Request::Launch, _)) => {}
            Some((Request::Kill { signal }, _)) => {
                for container in self.containers.iter().filter(|container| !container.exited) {
                    container.kill(signal.unwrap_or(container.stop_signal));
                }
            }
            Some((Request::Connect { ticket, port }, _)) => {
                let (address, socket) = if self.level.has_network() {
                    (Some(([127, 0, 0, 1], port).into()), namespaces::socket().ok())
                } else {
                    (self.ports.address(port), None)
                };
                let fds: Vec<BorrowedFd<'_>> = socket.iter().map(AsFd::as_fd).collect();
                self.channel.send(&Reply::Connect { ticket, address }, &fds)?;
            }
        }
        Ok(true)
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            let (pid, exit_code, signal) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code, None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32, Some(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if let Some(at) = self.position(pid) {
                let oom_killed = self.containers[at].ended(self.level, signal);
                self.channel.send(&Reply::Exited { container: at, exit_code, signal, oom_killed }, &[])?;
            }
        }
    }

    fn position(&self, pid: Pid) -> Option<usize> {
        self.containers.iter().position(|container| container.pid == pid && !container.exited)
    }

    /// Leaves nothing of the task.
    fn end(&mut self) {
        for container in self.containers.iter_mut().filter(|container| !container.exited) {
            let _ = kill(container.pid, Signal::SIGKILL);
            let _ = waitpid(container.pid, None);
            container.ended(self.level, None);
        }
        processes::end_children();
    }
}

struct Ready {
    request: bool,
    /// By container, what its listener has.
    ports: Vec<(usize, PollFlags)>,
}
