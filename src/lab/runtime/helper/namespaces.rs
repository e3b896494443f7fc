//! The namespaces that all containers of a task share: the network, and where needed the user namespace around it.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket as make_socket};
use nix::unistd::{getegid, geteuid};

use crate::lab::runtime::spec::Level;

/// Enters what `level` needs; the error names the step that this machine refuses.
pub fn enter(level: Level) -> Result<(), String> {
    match level {
        Level::Namespaces => {}
        Level::UserNamespaces => user().map_err(|error| format!("user namespace: {error}"))?,
        Level::Chroot | Level::Process | Level::Docker | Level::Simulated => return Ok(()),
    }
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("network namespace: {error}"))?;
    loopback_up().map_err(|error| format!("loopback interface: {error}"))?;
    // a container's user may bind port 80, as with Docker
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    Ok(())
}

fn user() -> io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))
}

fn loopback_up() -> io::Result<()> {
    let socket = make_socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: `ifreq` is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which `request` is, and it outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A TCP socket of the network that this process is in. It stays in there whoever connects it.
pub fn socket() -> nix::Result<OwnedFd> {
    make_socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}
