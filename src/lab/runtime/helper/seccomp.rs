//! seccomp user notification: the kernel asks us before a container binds or connects a socket.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::{offset_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd};

use super::container::own;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: u32 = 0;

/// Every `bind` and `connect` of this process and its children is from now on asked about on the descriptor that
/// this returns.
pub fn supervise() -> io::Result<OwnedFd> {
    if ARCHITECTURE == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(load, 0, 0, offset_of!(libc::seccomp_data, arch) as u32),
        step(equal, 0, 4, ARCHITECTURE),
        step(load, 0, 0, offset_of!(libc::seccomp_data, nr) as u32),
        step(equal, 1, 0, libc::SYS_bind as u32),
        step(equal, 0, 1, libc::SYS_connect as u32),
        step(answer, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: `program` and the filter that it points to outlive the call; the kernel copies both.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    if listener < 0 { Err(io::Error::last_os_error()) } else { Ok(own(listener as i32)) }
}

/// A system call that waits for our answer.
pub struct Notification {
    id: u64,
    pub pid: u32,
    pub is_bind: bool,
    pub address: u64,
    pub length: u64,
}

/// The next one; an error when the process that asked is gone.
pub fn receive(listener: &OwnedFd) -> io::Result<Option<Notification>> {
    // SAFETY: plain data, for which all zeroes is a value, and the kernel demands it.
    let mut notification: libc::seccomp_notif = unsafe { zeroed() };
    // SAFETY: the request takes a `seccomp_notif`, which is writable for the whole call.
    match unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut notification) } {
        0 => Ok(Some(Notification {
            id: notification.id,
            pid: notification.pid,
            is_bind: i64::from(notification.data.nr) == libc::SYS_bind,
            address: notification.data.args[1],
            length: notification.data.args[2],
        })),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EINTR) => Ok(None),
            error => Err(error),
        },
    }
}

impl Notification {
    /// The asking process's memory. Only to be used while [`Notification::is_waiting`], as its number may be
    /// someone else's afterwards.
    pub fn memory(&self) -> io::Result<File> {
        let _as_user = FsUser::of(self.pid)?;
        OpenOptions::new().read(true).write(true).open(format!("/proc/{}/mem", self.pid))
    }

    pub fn is_waiting(&self, listener: &OwnedFd) -> bool {
        // SAFETY: the request reads one u64, which lives for the whole call.
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _, &raw const self.id) == 0 }
    }

    /// Lets the system call go on, or fail with this error number.
    pub fn answer(&self, listener: &OwnedFd, error: Option<i32>) {
        let mut response = libc::seccomp_notif_resp { id: self.id, val: 0, error: 0, flags: 0 };
        match error {
            Some(error) => response.error = -error,
            None => response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        }
        // SAFETY: the request takes a `seccomp_notif_resp`, which lives for the whole call. It fails when the
        // process is gone, and then nobody waits.
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw mut response) };
    }
}

/// The file system sees a process's own user instead of us: without CAP_SYS_PTRACE, as in a Docker container, root
/// may not open another user's memory.
struct FsUser(Option<(libc::c_int, libc::c_int)>);

impl FsUser {
    fn of(pid: u32) -> io::Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(FsUser(None));
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let effective = |name| {
            let ids = status.lines().find_map(|line| line.strip_prefix(name))?;
            ids.split_ascii_whitespace().nth(1)?.parse::<u32>().ok()
        };
        let (Some(uid), Some(gid)) = (effective("Uid:"), effective("Gid:")) else {
            return Err(io::Error::other("no user in a process's status"));
        };
        // SAFETY: these change this single-threaded process's credentials for files, and no memory.
        unsafe {
            let ours = libc::setfsgid(gid);
            Ok(FsUser(Some((libc::setfsuid(uid), ours))))
        }
    }
}

impl Drop for FsUser {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.0 {
            // SAFETY: as above.
            unsafe {
                libc::setfsuid(uid as u32);
                libc::setfsgid(gid as u32);
            }
        }
    }
}
