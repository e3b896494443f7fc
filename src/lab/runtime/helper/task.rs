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
use nix::unistd::{dup2_stdin, setsid};

use super::container::{self, Container, Execution};
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

/// A shell's exit code for what it cannot run.
const NOT_EXECUTED: i32 = 127;

struct Task {
    level: Level,
    channel: Channel,
    launch: Launch,
    places: Vec<Place>,
    executions: Vec<Execution>,
    ports: Ports,
}

/// What has become of a container.
enum Place {
    /// With its standard output and error.
    Waiting([OwnedFd; 2]),
    Started(Container),
    /// And the lab is to say whether it starts again.
    Ended,
    Skipped,
}

impl Place {
    fn container(&self) -> Option<&Container> {
        match self {
            Place::Started(container) => Some(container),
            _ => None,
        }
    }

    fn running(&mut self) -> Option<&mut Container> {
        match self {
            Place::Started(container) if !container.exited => Some(container),
            _ => None,
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Place::Waiting(_) | Place::Ended => false,
            Place::Started(container) => container.exited,
            Place::Skipped => true,
        }
    }
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

    let mut pipes = fds.into_iter();
    let places = launch.containers.iter().map(|_| Some(Place::Waiting([pipes.next()?, pipes.next()?])));
    let places = places.collect::<Option<_>>().ok_or_else(|| io::Error::other("a container without its pipes"))?;
    let mut task =
        Task { level: launch.level, channel, places, executions: Vec::new(), launch, ports: Ports::default() };
    let outcome = match namespaces::enter(task.level) {
        Ok(()) => task.run(&ended),
        Err(reason) => task.failed(0, reason),
    };
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
    /// False when the container did not start; the lab has been told.
    fn start(&mut self, at: usize) -> io::Result<bool> {
        let (Some(place), Some(process)) = (self.places.get_mut(at), self.launch.containers.get(at)) else {
            return Err(io::Error::other("no such container"));
        };
        let output = match std::mem::replace(place, Place::Skipped) {
            Place::Waiting(output) => output,
            // it was skipped meanwhile
            other => {
                *place = other;
                return Ok(true);
            }
        };
        match container::start(self.level, &self.channel, process, output, self.launch.check) {
            Ok(container) => {
                let limited = container.is_limited();
                *place = Place::Started(container);
                self.channel.send(&Reply::Started { container: at, limited }, &[])?;
                Ok(true)
            }
            Err(reason) => {
                self.failed(at, reason)?;
                Ok(false)
            }
        }
    }

    /// One that cannot even start any more has ended again, for good.
    fn restart(&mut self, at: usize, output: Vec<OwnedFd>) -> io::Result<()> {
        let (Some(place @ Place::Ended), Some(process)) = (self.places.get_mut(at), self.launch.containers.get(at))
        else {
            return Ok(());
        };
        let output = <[OwnedFd; 2]>::try_from(output).map_err(|_| io::Error::other("a container without its pipes"))?;
        *place = match container::start(self.level, &self.channel, process, output, false) {
            Ok(container) => Place::Started(container),
            Err(_) => Place::Skipped,
        };
        let reply = match place {
            Place::Started(container) => Reply::Started { container: at, limited: container.is_limited() },
            _ => Reply::Exited { container: at, exit_code: NOT_EXECUTED, signal: None, oom_killed: false },
        };
        self.channel.send(&reply, &[])
    }

    fn execute(&mut self, ticket: u64, at: usize, arguments: &[String]) -> io::Result<()> {
        let container = self.places.get(at).and_then(Place::container).filter(|container| !container.exited);
        let executed = match (container, self.launch.containers.get(at)) {
            (Some(container), Some(process)) => {
                container::execute(self.level, &self.channel, process, container, arguments)
            }
            _ => Err("the container does not run".to_owned()),
        };
        match executed {
            Ok((pid, listener)) => self.executions.push(Execution { ticket, container: at, pid, listener }),
            Err(_) => self.channel.send(&Reply::Executed { ticket, exit_code: 126 }, &[])?,
        }
        Ok(())
    }

    /// What waits for its start no longer does.
    fn skip(&mut self, at: usize) {
        if let Some(place @ (Place::Waiting(_) | Place::Ended)) = self.places.get_mut(at) {
            *place = Place::Skipped;
        }
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
            if self.places.iter().all(Place::is_over) {
                return Ok(());
            }
            let ready = self.wait(ended)?;
            while let Ok(Some(_)) = ended.read_signal() {}
            let listeners = listeners(&mut self.places, &mut self.executions);
            for (listener, events) in listeners.zip(ready.ports) {
                match listener {
                    // it fails when the process that asked was killed, and then there is nobody to answer
                    Some(asking) if events.contains(PollFlags::POLLIN) => drop(self.ports.serve(asking)),
                    Some(_) if events.is_empty() => {}
                    // no process is left that could ask
                    listener => *listener = None,
                }
            }
            if ready.request && !self.serve_request()? {
                return Ok(());
            }
        }
    }

    fn wait(&mut self, ended: &SignalFd) -> io::Result<Ready> {
        let fd = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![fd(self.channel.as_fd()), fd(ended.as_fd())];
        let listening: Vec<bool> = listeners(&mut self.places, &mut self.executions).map(|of| of.is_some()).collect();
        fds.extend(listeners(&mut self.places, &mut self.executions).filter_map(|of| Some(fd(of.as_ref()?.as_fd()))));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut events = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let request = events.next().is_some_and(|events| !events.is_empty());
        events.next();
        let of = |listening: bool| listening.then(|| events.next()).flatten().unwrap_or(PollFlags::empty());
        Ok(Ready { request, ports: listening.into_iter().map(of).collect() })
    }

    /// False when the lab is gone, or a container did not start.
    fn serve_request(&mut self) -> io::Result<bool> {
        match self.channel.receive()? {
            None => return Ok(false),
            Some((Request::Launch, _)) => {}
            Some((Request::Start { container }, _)) => return self.start(container),
            Some((Request::Restart { container }, output)) => self.restart(container, output)?,
            Some((Request::Skip { container }, _)) => self.skip(container),
            Some((Request::Kill { container, signal }, _)) => {
                if let Some(container) = self.places.get_mut(container).and_then(Place::running) {
                    container.kill(signal.unwrap_or(container.stop_signal));
                }
            }
            Some((Request::Exec { ticket, container, arguments }, _)) => {
                self.execute(ticket, container, &arguments)?;
            }
            Some((Request::Abort { ticket }, _)) => {
                self.executions.iter().filter(|of| of.ticket == ticket).for_each(Execution::kill);
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
            if let Some(at) = self.executions.iter().position(|of| of.pid == pid) {
                let execution = self.executions.swap_remove(at);
                if !self.level.has_network() {
                    processes::end_session(pid);
                }
                self.channel.send(&Reply::Executed { ticket: execution.ticket, exit_code }, &[])?;
            }
            let position =
                self.places.iter_mut().position(|place| place.running().is_some_and(|container| container.pid == pid));
            if let Some((at, Place::Started(container))) = position.map(|at| (at, &mut self.places[at])) {
                self.executions.iter().filter(|of| of.container == at).for_each(Execution::kill);
                let oom_killed = container.ended(self.level, signal);
                if self.launch.containers.get(at).is_some_and(|process| process.restarts) {
                    self.places[at] = Place::Ended;
                }
                self.channel.send(&Reply::Exited { container: at, exit_code, signal, oom_killed }, &[])?;
            }
        }
    }

    /// Leaves nothing of the task.
    fn end(&mut self) {
        for container in self.places.iter_mut().filter_map(Place::running) {
            let _ = kill(container.pid, Signal::SIGKILL);
            let _ = waitpid(container.pid, None);
            container.ended(self.level, None);
        }
        processes::end_children();
    }
}

/// Where the kernel may ask us: of containers, then of what runs beside them.
fn listeners<'a>(
    places: &'a mut [Place],
    executions: &'a mut [Execution],
) -> impl Iterator<Item = &'a mut Option<OwnedFd>> {
    let containers = places.iter_mut().filter_map(|place| match place {
        Place::Started(container) => Some(&mut container.listener),
        _ => None,
    });
    containers.chain(executions.iter_mut().map(|of| &mut of.listener))
}

struct Ready {
    request: bool,
    /// What each of the [`listeners`] has.
    ports: Vec<PollFlags>,
}
