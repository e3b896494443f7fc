//! Processes that a container left behind, where no PID namespace ends them with it.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Ends every process of the session that a container's first process led.
pub fn end_session(leader: Pid) {
    for process in list().into_iter().filter(|process| process.session == leader.as_raw()) {
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
}

/// Ends and reaps all children, and theirs, as they become ours when their parent is gone.
pub fn end_children() {
    let us = Pid::this().as_raw();
    // bounded, so that a process that even SIGKILL cannot end does not hold us
    for _ in 0..500 {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return,
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
        for process in list().into_iter().filter(|process| process.parent == us) {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

struct Process {
    pid: i32,
    parent: i32,
    session: i32,
}

fn list() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // the name before it may hold spaces and parentheses
            let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
            let parent = fields.next()?.parse().ok()?;
            let session = fields.nth(1)?.parse().ok()?;
            Some(Process { pid, parent, session })
        })
        .collect()
}
