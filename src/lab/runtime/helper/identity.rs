//! Who a container's process is: user, groups, capabilities, signals.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::fs::{Mode, OFlags, openat};

use crate::lab::runtime::launch::User;
use crate::lab::runtime::spec::Level;

/// Capabilities that a container's root keeps, by number: Docker's default ones without MKNOD.
/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT,
/// AUDIT_WRITE, SETFCAP.
const KEPT: [libc::c_ulong; 13] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 29, 31];
const SYS_CHROOT: libc::c_ulong = 18;

/// `proc` is the lab's own `/proc`, opened before the root changed.
pub fn become_user(level: Level, user: &User, proc: &OwnedFd) -> Result<(), String> {
    match level {
        // there is no privilege to change with, or to hide behind
        Level::Process | Level::Docker | Level::Simulated => Ok(()),
        Level::UserNamespaces if user.uid == 0 && user.gid == 0 => Ok(()),
        Level::UserNamespaces => nested(user, proc).map_err(|error| format!("user {}: {error}", user.uid)),
        Level::Namespaces | Level::Chroot => {
            drop_capabilities(level);
            let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            setgroups(&groups)
                .and_then(|()| setresgid(gid, gid, gid))
                .and_then(|()| setresuid(uid, uid, uid))
                .map_err(|error| format!("user {}:{}: {error}", user.uid, user.gid))
        }
    }
}

// Only one user of ours is mapped; one more namespace gives it the number that the image asks for.
fn nested(user: &User, proc: &OwnedFd) -> std::io::Result<()> {
    let write = |name: &str, text: String| {
        let file = openat(proc, format!("self/{name}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        File::from(file).write_all(text.as_bytes())
    };
    unshare(CloneFlags::CLONE_NEWUSER)?;
    write("setgroups", "deny".to_owned())?;
    write("gid_map", format!("{} 0 1", user.gid))?;
    write("uid_map", format!("{} 0 1", user.uid))
}

fn drop_capabilities(level: Level) {
    // where another root is the only wall, root must not be able to take one more and walk out
    let kept = |capability: &libc::c_ulong| {
        KEPT.contains(capability) && !(level == Level::Chroot && *capability == SYS_CHROOT)
    };
    for capability in (0..64).filter(|capability| !kept(capability)) {
        // SAFETY: takes numbers only. It fails for capabilities that this kernel does not know, and without
        // CAP_SETPCAP, when there is less to drop anyway.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

/// Signals as a program expects them: none blocked, none ignored.
pub fn restore_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs no code of ours; numbers that cannot be set are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = SigSet::empty().thread_set_mask();
}

/// Ends the process without running what the parent registered for its own end.
pub fn exit(code: i32) -> ! {
    // SAFETY: never returns and touches no memory.
    unsafe { libc::_exit(code) }
}
