//! What the lab and its helper process say to each other: one sequenced-packet socket, JSON, and descriptors.
//!
//! Everything passes here, so that no secret is ever in an argument or a file.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use super::spec::{Level, Tmpfs};

/// The hidden first argument by which a process knows that it is a helper.
pub const ARGUMENT: &str = "__lab-container-helper";

/// Longest message; what may be longer travels in a memory file.
const MESSAGE_LIMIT: usize = 64 << 10;
/// Longest text of a failure.
pub const REASON_LIMIT: usize = 8 << 10;

/// What a helper is to run. Has no `Debug`: environments hold secrets.
#[derive(Serialize, Deserialize)]
pub struct Launch {
    pub level: Level,
    /// The helper's working directory; overlay paths are relative to it.
    pub base: PathBuf,
    /// Instead of running the command, try what this level promises. For probing.
    pub check: bool,
    pub containers: Vec<Process>,
}

#[derive(Serialize, Deserialize)]
pub struct Process {
    pub root: Root,
    pub arguments: Vec<String>,
    pub environment: Vec<String>,
    pub working_directory: String,
    pub user: User,
    pub hostname: String,
    pub hosts: String,
    pub resolv_conf: String,
    pub stop_signal: i32,
    pub memory_bytes: Option<u64>,
    /// The name of its memory cgroup, made where the tree is writable.
    pub cgroup: String,
    pub read_only: bool,
    pub mounts: Vec<Mount>,
    pub tmpfs: Vec<Tmpfs>,
    pub limits: Vec<Limit>,
    /// When it ends, its task is not over before the lab says what becomes of it.
    pub restarts: bool,
}

/// Of a resource, by Docker's name for it; `None` is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limit {
    pub name: String,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// Paths relative to [`Launch::base`].
#[derive(Serialize, Deserialize)]
pub enum Root {
    /// `upper`, `work` and `merged` are in `directory`.
    Overlay {
        lower: PathBuf,
        directory: PathBuf,
    },
    Directory(PathBuf),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// All groups, the primary one included.
    pub groups: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
pub struct Mount {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Comes with a memory file that holds a [`Launch`], then two pipes for each container.
    Launch,
    /// Starts a container of the launch.
    Start { container: usize },
    /// Starts one that ended. Comes with two new pipes.
    Restart { container: usize },
    /// It will not be started, or not again.
    Skip { container: usize },
    /// Runs a program beside a container's own, as the same user in the same places. Its output goes nowhere.
    Exec { ticket: u64, container: usize, arguments: Vec<String> },
    /// Kills what an [`Request::Exec`] started.
    Abort { ticket: u64 },
    /// To a container that runs: this signal, or its own stop signal.
    Kill { container: usize, signal: Option<i32> },
    /// A socket of the task's network, and the address to connect it to.
    Connect { ticket: u64, port: u16 },
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Started {
        container: usize,
        /// Whether its memory is.
        limited: bool,
    },
    /// Ends the launch; every container that was started before is gone.
    Failed {
        container: usize,
        reason: String,
    },
    Exited {
        container: usize,
        exit_code: i32,
        signal: Option<i32>,
        oom_killed: bool,
    },
    /// The end of an [`Request::Exec`]; 126 when it could not be started.
    Executed {
        ticket: u64,
        exit_code: i32,
    },
    /// Comes with a socket when the task has a network of its own. No address: nothing listens there.
    Connect {
        ticket: u64,
        address: Option<SocketAddr>,
    },
}

/// One end of the socket. It closes when the other side is gone, however that ended.
pub struct Channel(OwnedFd);

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Self {
        Channel(fd)
    }
}

impl Channel {
    /// Both ends; the second one becomes the helper's standard input.
    pub fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Channel(ours), theirs))
    }

    /// This end for use with `tokio`.
    pub fn into_async(self) -> io::Result<AsyncFd<Channel>> {
        fcntl(&self.0, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // SAFETY: the channel owns its descriptor, always gives the same one, and closes it only when it is dropped.
        Ok(unsafe { AsyncFd::register(self) }?)
    }

    pub fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MESSAGE_LIMIT {
            return Err(io::Error::other("a message that is too long"));
        }
        let fds: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
        let control = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &control[..0] } else { &control[..] };
        sendmsg::<()>(self.as_raw_fd(), &[IoSlice::new(&bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// The next message; `None` when the other side is gone.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; MESSAGE_LIMIT];
        let mut control = nix::cmsg_space!([RawFd; 64]);
        let mut fds = Vec::new();
        let length = {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = loop {
                match recvmsg::<()>(self.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                    // the other side went away with messages of ours unread; its own last ones are still to come
                    Err(nix::errno::Errno::ECONNRESET) => {}
                    message => break message?,
                }
            };
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(received) = control {
                    // SAFETY: the kernel made these descriptors for this message, and nobody else knows them.
                    fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
            message.bytes
        };
        if length == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&bytes[..length])?, fds)))
    }
}

impl Launch {
    /// As a memory file, for [`Request::Launch`].
    pub fn to_memory(&self) -> io::Result<OwnedFd> {
        let memory = rustix::fs::memfd_create("launch", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(memory);
        file.write_all(&serde_json::to_vec(self)?)?;
        file.rewind()?;
        Ok(file.into())
    }

    pub fn from_memory(memory: OwnedFd) -> io::Result<Self> {
        let mut bytes = Vec::new();
        std::fs::File::from(memory).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Channel, Reply, Request};

    #[test]
    fn last_words_are_heard_when_the_other_side_leaves_messages_unread() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from(theirs);
        ours.send(&Request::Connect { ticket: 1, port: 80 }, &[]).unwrap();
        theirs.send(&Reply::Exited { container: 0, exit_code: 3, signal: None, oom_killed: false }, &[]).unwrap();
        drop(theirs);
        let heard: Option<(Reply, _)> = ours.receive().unwrap();
        assert!(matches!(heard, Some((Reply::Exited { exit_code: 3, .. }, _))));
        assert!(ours.receive::<Reply>().unwrap().is_none());
    }
}
