//! Entering a container that is there already.

use std::fs::File;
use std::io::{Read, Write};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};

use super::container::clone;
use super::identity;

/// The namespaces of a container's own, in the order in which they are entered: the mounts' last, as `/proc` is
/// another one from then on.
const NAMESPACES: [(&str, CloneFlags); 4] = [
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

pub fn namespaces(of: Pid) -> Result<Vec<File>, String> {
    let open = |(name, _): &(&str, CloneFlags)| {
        File::open(format!("/proc/{of}/ns/{name}")).map_err(|error| format!("{name} namespace: {error}"))
    };
    NAMESPACES.iter().map(open).collect()
}

/// `fork`, into these namespaces. `None` in the child, whose parent we are.
pub fn clone_into(namespaces: &[File]) -> Result<Option<Pid>, String> {
    let (answer, answer_of_child) = pipe2(OFlag::O_CLOEXEC).map_err(|error| error.to_string())?;
    // A PID namespace is entered by children only, and not left again: hence one process in between.
    let Some(between) = clone(0)? else {
        drop(answer);
        let entered = NAMESPACES.iter().zip(namespaces).try_for_each(|((name, kind), namespace)| {
            setns(namespace, *kind).map_err(|error| format!("{name} namespace: {error}"))
        });
        let text = match entered.and_then(|()| clone(libc::CLONE_PARENT)) {
            Ok(None) => return Ok(None),
            Ok(Some(pid)) => pid.to_string(),
            Err(reason) => reason,
        };
        let _ = File::from(answer_of_child).write_all(text.as_bytes());
        identity::exit(0)
    };
    drop(answer_of_child);
    let mut text = String::new();
    let _ = File::from(answer).read_to_string(&mut text);
    let _ = waitpid(between, None);
    match text.parse() {
        Ok(pid) => Ok(Some(Pid::from_raw(pid))),
        Err(_) => Err(text),
    }
}
