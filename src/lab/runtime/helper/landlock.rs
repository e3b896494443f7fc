//! A read-only root where nothing can be mounted: the kernel refuses to write anywhere but in the volumes.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

const CREATE_RULESET: libc::c_long = 444;
const ADD_RULE: libc::c_long = 445;
const RESTRICT_SELF: libc::c_long = 446;
const VERSION: libc::c_ulong = 1;
const PATH_BENEATH: libc::c_int = 1;

/// Write to files, remove directories and files, make all kinds of them.
const WRITE: u64 = 1 << 1 | 0b1_1111_1111 << 4;
/// Of these, what a rule for a single file may grant.
const WRITE_FILE: u64 = 1 << 1;
/// Links and renames across directories, from version 2 on.
const REFER: u64 = 1 << 13;
/// From version 3 on.
const TRUNCATE: u64 = 1 << 14;

#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// What this kernel knows of it; `None` when it is switched off, or forbidden.
pub fn version() -> Option<i32> {
    // SAFETY: with this flag no attribute is read.
    let version = unsafe { libc::syscall(CREATE_RULESET, std::ptr::null::<u64>(), 0usize, VERSION) };
    (version > 0).then_some(version as i32)
}

/// From here on this process and its children write below `writable` only. Needs `no_new_privs`. Where the kernel has
/// no Landlock nothing changes.
pub fn make_read_only(writable: impl Iterator<Item = PathBuf>) -> io::Result<()> {
    let Some(version) = version() else { return Ok(()) };
    let rights = WRITE | if version >= 2 { REFER } else { 0 } | if version >= 3 { TRUNCATE } else { 0 };
    // SAFETY: the attribute's first member, as long as is said.
    let ruleset = unsafe { libc::syscall(CREATE_RULESET, &raw const rights, size_of::<u64>(), 0) };
    let ruleset = match ruleset {
        -1 => return Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just made it, and nobody else knows it.
        fd => unsafe { OwnedFd::from_raw_fd(fd as i32) },
    };
    for path in writable {
        // what is not there cannot be written
        let Ok(place) = File::open(&path) else { continue };
        let of_files = WRITE_FILE | (rights & TRUNCATE);
        let allowed_access = if place.metadata()?.is_dir() { rights } else { of_files };
        let rule = PathBeneath { allowed_access, parent_fd: place.as_raw_fd() };
        // SAFETY: the rule lives for the whole call.
        check(unsafe { libc::syscall(ADD_RULE, ruleset.as_raw_fd(), PATH_BENEATH, &raw const rule, 0) })?;
    }
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(RESTRICT_SELF, ruleset.as_raw_fd(), 0) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
