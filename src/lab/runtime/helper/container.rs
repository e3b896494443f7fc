//! One container: its process is made, watched until it runs its program, and later ended.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};

use super::cgroup::Cgroup;
use super::child::Child;
use super::processes;
use crate::lab::runtime::launch::{Channel, Process};
use crate::lab::runtime::spec::Level;

pub struct Container {
    pub pid: Pid,
    pub stop_signal: i32,
    /// Where the kernel asks about `bind` and `connect`, at the levels without a network namespace.
    pub listener: Option<OwnedFd>,
    pub exited: bool,
    cgroup: Option<Cgroup>,
}

/// Starts a container and returns when its program runs; the error is for a person.
pub fn start(
    level: Level,
    process: &Process,
    output: [OwnedFd; 2],
    check: bool,
    limited: bool,
) -> Result<Container, String> {
    let cgroup = process.memory_bytes.filter(|_| limited).and_then(|bytes| Cgroup::create(&process.cgroup, bytes));
    let os = |error: nix::Error| error.to_string();
    let (failure, failure_of_child) = pipe2(OFlag::O_CLOEXEC).map_err(os)?;
    let (go_of_child, go) = pipe2(OFlag::O_CLOEXEC).map_err(os)?;
    let supervised = match level.has_network() {
        true => None,
        false => Some(Channel::pair().map_err(|error| error.to_string())?),
    };
    let flags = match level {
        Level::Namespaces | Level::UserNamespaces => {
            libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC
        }
        Level::Chroot | Level::Process => 0,
    };
    let Some(pid) = clone(flags)? else {
        drop((failure, go));
        let supervisor = supervised.map(|(ours, theirs)| {
            drop(ours);
            Channel::from(theirs)
        });
        Child { level, process, output, check, supervisor, failure: Some(failure_of_child), go: go_of_child }.run()
    };
    drop((failure_of_child, go_of_child, output));
    let mut container = Container {
        pid,
        stop_signal: process.stop_signal,
        listener: None,
        exited: false,
        cgroup: cgroup.and_then(|cgroup| cgroup.add(pid)),
    };
    let _ = File::from(go).write_all(b"!");
    if let Some((ours, theirs)) = supervised {
        drop(theirs);
        // none comes when the child fails before it
        container.listener = ours.receive::<()>().ok().flatten().and_then(|(_, mut fds)| fds.pop());
    }
    let mut text = Vec::new();
    let _ = File::from(failure).read_to_end(&mut text);
    if text.is_empty() {
        return Ok(container);
    }
    let _ = waitpid(pid, None);
    container.ended(level, None);
    Err(String::from_utf8_lossy(&text).into_owned())
}

impl Container {
    pub fn kill(&self, signal: i32) {
        // SAFETY: kill touches no memory; `pid` is our child that was not waited for yet. Not nix's, which has no
        // real-time signals.
        unsafe { libc::kill(self.pid.as_raw(), signal) };
    }

    /// Clears away after the container's first process; true when it was killed for its memory.
    pub fn ended(&mut self, level: Level, signal: Option<i32>) -> bool {
        self.exited = true;
        self.listener = None;
        if !level.has_network() {
            processes::end_session(self.pid);
        }
        let Some(cgroup) = self.cgroup.take() else { return false };
        let killed = signal == Some(Signal::SIGKILL as i32) && cgroup.oom_kills() > 0;
        cgroup.remove();
        killed
    }
}

/// `fork`, into new namespaces. `None` in the child.
fn clone(flags: libc::c_int) -> Result<Option<Pid>, String> {
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
