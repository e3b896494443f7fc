//! The helper: this executable again, single-threaded, as the parent of one task's containers.
//!
//! It is told what to run over its standard input, which is a socket, and lives no longer than that socket or its
//! containers. Namespaces cannot be entered by a process that has threads, hence a process of its own.

pub(super) mod cgroup;
mod check;
mod child;
mod container;
mod identity;
mod join;
pub(super) mod landlock;
mod limits;
mod mounts;
mod namespaces;
mod ports;
mod processes;
mod seccomp;
mod task;

/// Call this first in `main`: when this process was started as a helper it never returns.
pub fn main_if_helper() {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == super::launch::ARGUMENT) {
        std::process::exit(task::run());
    }
}
