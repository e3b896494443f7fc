//! File system calls that take a directory for the root: `..`, absolute paths and symbolic links all stay inside it.
//!
//! The kernel does the resolving (`openat2` with `RESOLVE_IN_ROOT`), so there is nothing to race against.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

pub struct InRoot(OwnedFd);

impl AsFd for InRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl InRoot {
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(InRoot(fs::openat(CWD, root, PATH_ONLY | OFlags::DIRECTORY, Mode::empty())?))
    }

    /// Opens what `path` names inside the root.
    pub fn resolve(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            match fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // something was renamed while the kernel followed `..`
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// The directory `path`, made with its parents (mode 0755) where missing.
    pub fn make_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.resolve(path, PATH_ONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {}
            result => return Ok(result?),
        }
        let (parent, name) = split(path)?;
        let parent = self.make_directory(&parent)?;
        match fs::mkdirat(&parent, &name, Mode::empty()) {
            Ok(()) => fs::chmodat(&parent, &name, Mode::from_raw_mode(0o755), AtFlags::empty())?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.resolve(path, PATH_ONLY | OFlags::DIRECTORY)?)
    }

    /// An existing or new regular file to mount over.
    pub fn make_file(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.resolve(path, PATH_ONLY) {
            Err(Errno::NOENT) => {}
            result => return Ok(result?),
        }
        let (parent, name) = split(path)?;
        let parent = self.make_directory(&parent)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o644))?)
    }

    /// Where on this machine `path` leads to.
    pub fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        let found = self.resolve(path, PATH_ONLY)?;
        std::fs::read_link(proc_path(&found))
    }

    /// The text of a regular file of at most `limit` bytes.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<String> {
        // a fifo must not block us
        let file = File::from(self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A path to an open file that system calls without an `at` variant take.
pub fn proc_path(fd: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

/// Parent and name, without root, `.` or a trailing slash; refuses `..`.
pub fn split(path: &Path) -> io::Result<(PathBuf, OsString)> {
    let mut parent = PathBuf::new();
    let mut name: Option<OsString> = None;
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => {
                if let Some(name) = name.replace(part.to_owned()) {
                    parent.push(name);
                }
            }
            Component::ParentDir | Component::Prefix(_) => return Err(io::Error::other("`..` in a path")),
        }
    }
    Ok((parent, name.ok_or_else(|| io::Error::other("the path names the root itself"))?))
}
