//! One entry of a layer, applied to the tree of the layers below it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use tar::EntryType;

use super::header::Header;
use super::whiteout::{OPAQUE, Touched, WHITEOUT, remove};
use crate::lab::runtime::inroot::{InRoot, proc_path, split};

/// Set-user-id and set-group-id bits are dropped; the sticky bit is kept for `/tmp`.
const MODE_BITS: u32 = 0o1777;

/// The layer being applied.
pub struct Applied<'a> {
    root: &'a InRoot,
    touched: Touched,
    /// Only root may give files away.
    keep_owner: bool,
    buffer: Vec<u8>,
}

impl<'a> Applied<'a> {
    pub fn new(root: &'a InRoot) -> Self {
        let keep_owner = rustix::process::geteuid().is_root();
        Applied { root, touched: Touched::default(), keep_owner, buffer: vec![0; 128 << 10] }
    }

    pub fn apply(&mut self, header: &Header, content: &mut impl Read) -> io::Result<()> {
        let Ok((parent, name)) = split(&header.path) else {
            return if is_root(&header.path) { self.root_directory(header) } else { Err(outside()) };
        };
        let parent = self.root.make_directory(&parent)?;
        // A tree deeper than PATH_MAX, made by way of symbolic links, could hardly be removed again.
        std::fs::read_link(proc_path(&parent))?;
        let bytes = name.as_encoded_bytes();
        if bytes == OPAQUE {
            return self.touched.hide_lower(&parent);
        }
        if let Some(hidden) = bytes.strip_prefix(WHITEOUT) {
            // other names of AUFS's own
            return if hidden.is_empty() || hidden.starts_with(WHITEOUT) || hidden == b"." || hidden == b".." {
                Ok(())
            } else {
                self.touched.hide(&parent, std::os::unix::ffi::OsStrExt::from_bytes(hidden))
            };
        }
        if self.make(header, &parent, &name, content)? {
            self.touched.add(&parent, &name)?;
        }
        Ok(())
    }

    /// False when the entry is of a kind that is skipped.
    fn make(&mut self, header: &Header, parent: &OwnedFd, name: &OsStr, content: &mut impl Read) -> io::Result<bool> {
        match header.kind {
            EntryType::Directory => {
                if !is_directory(parent, name)? {
                    remove(parent, name)?;
                    fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
                }
                self.own(header, parent, name)?;
                self.mode(header, parent, name)?;
            }
            EntryType::Regular | EntryType::Continuous => {
                remove(parent, name)?;
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
                let file = File::from(fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
                self.copy(content, &file)?;
                self.own(header, parent, name)?;
                self.mode(header, parent, name)?;
                let modified = Timespec { tv_sec: header.modified, tv_nsec: 0 };
                fs::futimens(&file, &Timestamps { last_access: modified, last_modification: modified })?;
            }
            EntryType::Symlink => {
                remove(parent, name)?;
                fs::symlinkat(&header.link, parent, name)?;
                self.own(header, parent, name)?;
            }
            EntryType::Link => {
                let (of, target) = split(&header.link).map_err(|_| outside())?;
                let of = self.root.resolve(&of, OFlags::PATH | OFlags::DIRECTORY)?;
                // linking a name to itself must not lose it
                if !same(&of, &target, parent, name)? {
                    remove(parent, name)?;
                    fs::linkat(&of, &target, parent, name, AtFlags::empty())?;
                }
            }
            EntryType::Fifo => {
                remove(parent, name)?;
                fs::mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
                self.own(header, parent, name)?;
                self.mode(header, parent, name)?;
            }
            EntryType::Block | EntryType::Char => return Ok(false),
            kind => return Err(io::Error::other(format!("entries of type {:?} cannot be unpacked", kind.as_byte()))),
        }
        Ok(true)
    }

    fn copy(&mut self, content: &mut impl Read, mut file: &File) -> io::Result<()> {
        loop {
            match content.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => io::Write::write_all(&mut file, &self.buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn root_directory(&self, header: &Header) -> io::Result<()> {
        if header.kind != EntryType::Directory {
            return Err(outside());
        }
        self.own(header, self.root, OsStr::new("."))?;
        self.mode(header, self.root, OsStr::new("."))
    }

    fn own(&self, header: &Header, parent: &impl std::os::fd::AsFd, name: &OsStr) -> io::Result<()> {
        if !self.keep_owner || header.uid == u32::MAX || header.gid == u32::MAX {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(header.uid), Gid::from_raw(header.gid));
        match fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
            // root of a user namespace, or without CAP_CHOWN
            Err(Errno::PERM | Errno::INVAL) => Ok(()),
            result => Ok(result?),
        }
    }

    // `name` was made by us a moment ago and is no symbolic link.
    fn mode(&self, header: &Header, parent: &impl std::os::fd::AsFd, name: &OsStr) -> io::Result<()> {
        let mut mode = header.mode & MODE_BITS;
        if !self.keep_owner {
            // without privilege we could neither fill nor copy nor remove it
            mode |= if header.kind == EntryType::Directory { 0o700 } else { 0o400 };
        }
        Ok(fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?)
    }
}

fn is_root(path: &Path) -> bool {
    path.components().all(|part| matches!(part, std::path::Component::CurDir | std::path::Component::RootDir))
}

fn is_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(FileType::from_raw_mode(found.st_mode) == FileType::Directory),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn same(of: &OwnedFd, target: &OsStr, parent: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let target = fs::statat(of, target, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(target.st_mode) == FileType::Directory {
        return Err(io::Error::other("a hard link to a directory"));
    }
    Ok(fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| (found.st_dev, found.st_ino) == (target.st_dev, target.st_ino)))
}

fn outside() -> io::Error {
    io::Error::other("it leads out of the image's root")
}
