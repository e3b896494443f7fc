//! One container: its processes are made, watched until they run their programs, and later ended.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};

use super::cgroup::Cgroup;
use super::child::Child;
use super::{join, processes};
use crate::lab::runtime::launch::{Channel, Process};
use crate::lab::runtime::spec::Level;

pub struct Container {
    pub pid: Pid,
    pub stop_signal: i32,
    /// Where the kernel asks about `bind` and `connect`, at the levels without a network namespace.
    pub listener: Option<OwnedFd>,
    pub exited: bool,
    /// What [`execute`] enters. Opened early: once the container is another user we might not be allowed to.
    namespaces: Vec<File>,
    cgroup: Option<Cgroup>,
}

/// A process beside a container's first one.
pub struct Execution {
    pub ticket: u64,
    pub container: usize,
    pub pid: Pid,
    pub listener: Option<OwnedFd>,
}

/// Starts a container and returns when its program runs; the error is for a person.
pub fn start(
    level: Level,
    lab: &Channel,
    process: &Process,
    output: [OwnedFd; 2],
    check: bool,
) -> Result<Container, String> {
    let mut cgroup = process.memory_bytes.and_then(|bytes| Cgroup::create(&process.cgroup, bytes));
    let flags = match level {
        Level::Namespaces | Level::UserNamespaces => {
            libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC
        }
        Level::Chroot | Level::Process | Level::Docker | Level::Simulated => 0,
    };
    let mut container = Container {
        pid: Pid::from_raw(0),
        stop_signal: process.stop_signal,
        listener: None,
        exited: false,
        namespaces: Vec::new(),
        cgroup: None,
    };
    let birth = Birth { level, process, arguments: &process.arguments, output, check, beside: false };
    let born = birth.give(
        lab,
        || clone(flags),
        |pid| {
            container.pid = pid;
            if level.has_network() {
                container.namespaces = join::namespaces(pid)?;
            }
            container.cgroup = cgroup.take().and_then(|cgroup| cgroup.add(pid));
            Ok(())
        },
    );
    match born {
        Ok((_, listener)) => {
            container.listener = listener;
            Ok(container)
        }
        Err(reason) => {
            if let Some(cgroup) = cgroup {
                cgroup.remove();
            }
            // without a process there is no session to end
            if container.pid.as_raw() > 0 {
                container.ended(level, None);
            }
            Err(reason)
        }
    }
}

/// Starts another program in a container, as whom and where its own one runs.
pub fn execute(
    level: Level,
    lab: &Channel,
    process: &Process,
    container: &Container,
    arguments: &[String],
) -> Result<(Pid, Option<OwnedFd>), String> {
    let null = || OpenOptions::new().write(true).open("/dev/null").map(OwnedFd::from);
    let output = [null(), null()].map(|null| null.map_err(|error| error.to_string()));
    let [Ok(stdout), Ok(stderr)] = output else { return Err("/dev/null cannot be opened".to_owned()) };
    let birth = Birth { level, process, arguments, output: [stdout, stderr], check: false, beside: true };
    let namespaces = &container.namespaces;
    birth.give(
        lab,
        || if level.has_network() { join::clone_into(namespaces) } else { clone(0) },
        |pid| {
            if let Some(cgroup) = &container.cgroup {
                cgroup.join(pid);
            }
            Ok(())
        },
    )
}

/// What a new process is to become.
struct Birth<'a> {
    level: Level,
    process: &'a Process,
    arguments: &'a [String],
    output: [OwnedFd; 2],
    check: bool,
    /// Whether the container is there already.
    beside: bool,
}

impl Birth<'_> {
    /// Makes the process with `clone` and returns when it runs its program; before that, and when it exists, does
    /// `prepare`. When it does not come to that, or `lab` goes away first, the process is gone.
    fn give(
        self,
        lab: &Channel,
        clone: impl FnOnce() -> Result<Option<Pid>, String>,
        prepare: impl FnOnce(Pid) -> Result<(), String>,
    ) -> Result<(Pid, Option<OwnedFd>), String> {
        let os = |error: nix::Error| error.to_string();
        let (failure, failure_of_child) = pipe2(OFlag::O_CLOEXEC).map_err(os)?;
        let (go_of_child, go) = pipe2(OFlag::O_CLOEXEC).map_err(os)?;
        let supervised = match self.level.has_network() {
            true => None,
            false => Some(Channel::pair().map_err(|error| error.to_string())?),
        };
        let Some(pid) = clone()? else {
            drop((failure, go));
            let supervisor = supervised.map(|(ours, theirs)| {
                drop(ours);
                Channel::from(theirs)
            });
            Child {
                level: self.level,
                process: self.process,
                arguments: self.arguments,
                output: self.output,
                check: self.check,
                beside: self.beside,
                supervisor,
                failure: Some(failure_of_child),
                go: go_of_child,
            }
            .run()
        };
        drop((failure_of_child, go_of_child, self.output));
        let prepared = prepare(pid);
        // without the word it ends
        let go = prepared.is_ok().then_some(go).map(|go| File::from(go).write_all(b"!"));
        drop(go);
        let listener = supervised.and_then(|(ours, theirs)| {
            drop(theirs);
            // none comes when the child fails before it
            let spoke = is_heard_before_end(ours.as_fd(), lab);
            spoke.then(|| ours.receive::<()>().ok().flatten().and_then(|(_, mut fds)| fds.pop())).flatten()
        });
        let mut text = Vec::new();
        // the child writes its reason at once and ends, so only the first word is waited for
        if !is_heard_before_end(failure.as_fd(), lab) {
            // SAFETY: kill touches no memory; `pid` is our child that was not waited for yet.
            unsafe { libc::kill(pid.as_raw(), libc::SIGKILL) };
            text.extend_from_slice(b"the lab is gone");
        }
        let _ = File::from(failure).read_to_end(&mut text);
        if text.is_empty() {
            return Ok((pid, listener));
        }
        let _ = waitpid(pid, None);
        prepared.and_then(|()| Err(String::from_utf8_lossy(&text).into_owned()))
    }
}

/// Waits for a word from `child`, or its end; false when `lab` goes away first. A child that is stuck on its way
/// into its program must not outlive its lab.
fn is_heard_before_end(child: BorrowedFd<'_>, lab: &Channel) -> bool {
    loop {
        // of the lab only its end counts: what it asks for is for later
        let mut fds = [PollFd::new(child, PollFlags::POLLIN), PollFd::new(lab.as_fd(), PollFlags::empty())];
        if poll(&mut fds, PollTimeout::NONE).is_err_and(|error| error != Errno::EINTR) {
            return false;
        }
        let said = |at: usize| fds[at].revents().is_some_and(|events| !events.is_empty());
        if said(0) || said(1) {
            return said(0);
        }
    }
}

impl Container {
    pub fn is_limited(&self) -> bool {
        self.cgroup.is_some()
    }

    pub fn kill(&self, signal: i32) {
        // SAFETY: kill touches no memory; `pid` is our child that was not waited for yet. Not nix's, which has no
        // real-time signals.
        unsafe { libc::kill(self.pid.as_raw(), signal) };
    }

    /// Clears away after the container's first process; true when it was killed for its memory.
    pub fn ended(&mut self, level: Level, signal: Option<i32>) -> bool {
        self.exited = true;
        self.listener = None;
        self.namespaces.clear();
        if !level.has_network() {
            processes::end_session(self.pid);
        }
        let Some(cgroup) = self.cgroup.take() else { return false };
        let killed = signal == Some(Signal::SIGKILL as i32) && cgroup.oom_kills() > 0;
        cgroup.remove();
        killed
    }
}

impl Execution {
    /// Ends it with all that it started.
    pub fn kill(&self) {
        // SAFETY: kill touches no memory; the process leads a group of its own and was not waited for yet.
        unsafe { libc::kill(-self.pid.as_raw(), libc::SIGKILL) };
    }
}

/// `fork`, into new namespaces. `None` in the child.
pub fn clone(flags: libc::c_int) -> Result<Option<Pid>, String> {
    let flags = (flags | libc::SIGCHLD) as libc::c_ulong;
    // SAFETY: this process has one thread, so the copy that the child gets is consistent; without CLONE_VM and
    // with a null stack both go on as after fork.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize) } {
        -1 => Err(format!("clone: {}", std::io::Error::last_os_error())),
        0 => Ok(None),
        pid => Ok(Some(Pid::from_raw(pid as i32))),
    }
}

/// Takes over a descriptor that a system call just made.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass a fresh descriptor that nobody else knows.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Closes whatever the lab's parents forgot to keep to themselves, so that no container inherits it.
pub fn close_inherited() {
    // SAFETY: this process has just started; nothing owns a descriptor beyond the standard ones yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::{Channel, is_heard_before_end};
    use crate::lab::runtime::launch::Request;

    #[test]
    fn a_child_that_says_nothing_is_waited_for_until_the_lab_goes() {
        let (lab, ours) = Channel::pair().unwrap();
        let ours = Channel::from(ours);
        lab.send(&Request::Kill { container: 0, signal: None }, &[]).unwrap();
        let (child, mut word) = std::io::pipe().unwrap();
        word.write_all(b"exec: ...").unwrap();
        assert!(is_heard_before_end(child.as_fd(), &ours));
        let (child, word) = std::io::pipe().unwrap();
        drop(word);
        assert!(is_heard_before_end(child.as_fd(), &ours), "its program runs");
        let (child, _word) = std::io::pipe().unwrap();
        let gone = std::thread::spawn(move || drop(lab));
        assert!(!is_heard_before_end(child.as_fd(), &ours));
        gone.join().unwrap();
    }
}
