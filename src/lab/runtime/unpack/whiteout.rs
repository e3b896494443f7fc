//! Whiteouts hide what lower layers put there, never what their own layer brings, in whatever order it comes.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

pub const WHITEOUT: &[u8] = b".wh.";
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// The directory entries that the current layer made, by the directory's inode: the same entry can be reached by
/// more than one path.
#[derive(Default)]
pub struct Touched(HashSet<(u64, u64, OsString)>);

impl Touched {
    pub fn add(&mut self, directory: &impl AsFd, name: &OsStr) -> io::Result<()> {
        self.0.insert(key(directory, name)?);
        Ok(())
    }

    /// Removes everything in `directory` that came from below.
    pub fn hide_lower(&self, directory: &impl AsFd) -> io::Result<()> {
        for name in names(directory)? {
            self.hide(directory, &name)?;
        }
        Ok(())
    }

    /// Removes `name` as far as it came from below.
    pub fn hide(&self, directory: &impl AsFd, name: &OsStr) -> io::Result<()> {
        let ours = self.0.contains(&key(directory, name)?);
        if let Some(inner) = open_directory(directory, name)? {
            self.hide_lower(&inner)?;
            if !ours {
                match fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
                    // holds something of this layer
                    Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        } else if !ours {
            unlink(directory, name)?;
        }
        Ok(())
    }
}

/// Removes `name` and all that is in it, if it exists.
pub fn remove(directory: &impl AsFd, name: &OsStr) -> io::Result<()> {
    match fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            if let Some(inner) = open_directory(directory, name)? {
                for name in names(&inner)? {
                    remove(&inner, &name)?;
                }
                fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
                return Ok(());
            }
            unlink(directory, name)
        }
        Err(error) => Err(error.into()),
    }
}

fn unlink(directory: &impl AsFd, name: &OsStr) -> io::Result<()> {
    match fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `None` when `name` is missing or no directory.
fn open_directory(directory: &impl AsFd, name: &OsStr) -> io::Result<Option<OwnedFd>> {
    match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(Some(fs::openat(directory, name, flags, Mode::empty())?))
}

fn names(directory: &impl AsFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fs::openat(directory, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

fn key(directory: &impl AsFd, name: &OsStr) -> io::Result<(u64, u64, OsString)> {
    let directory = fs::fstat(directory)?;
    Ok((directory.st_dev, directory.st_ino, name.to_owned()))
}
