//! A layer's tar, the same bytes for the same files: GNU headers, no times, no names of users, nothing of this machine.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use tar::{Builder, EntryType, Header};

use super::entries::{Content, Node};
use crate::error::{Error, Result};

/// What a header has room for; longer ones come in an entry of their own before it.
const NAME: usize = 100;

/// A file as it was found: what is read later has to be this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    // Not its inode: some network and user-space file systems number a file anew each time.
    pub(super) size: u64,
    modified: (i64, i64),
    /// An entry named it, perhaps by a link. What a folder holds is itself, or it is not read.
    named: bool,
}

impl Seen {
    pub(super) fn new(found: &Metadata, named: bool) -> Self {
        Seen { size: found.size(), modified: (found.mtime(), found.mtime_nsec()), named }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it changed while its layer was made")]
struct Changed;

/// Writes these nodes, by their paths without a leading slash, parents first.
pub(super) fn write<'a>(nodes: impl Iterator<Item = (&'a [u8], &'a Node)>, out: &mut dyn Write) -> Result<()> {
    let mut tar = Builder::new(out);
    for (path, node) in nodes {
        put(&mut tar, path, node).map_err(|error| {
            let path = match &node.content {
                Content::File(from, _) => from.display().to_string(),
                _ => format!("/{}", String::from_utf8_lossy(path)),
            };
            let changed = error.get_ref().is_some_and(|inner| inner.is::<Changed>());
            let failure = Error::build_or_push(format!("cannot put `{path}` into its layer")).cause(error);
            if changed {
                failure.hint("what writes to it has to end first, as `build.run` does; run it again")
            } else {
                failure
            }
        })?;
    }
    tar.into_inner().map(drop).map_err(|error| Error::build_or_push("cannot write a layer").cause(error))
}

fn put(tar: &mut Builder<&mut dyn Write>, path: &[u8], node: &Node) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(node.mode);
    header.set_uid(node.owner.0.into());
    header.set_gid(node.owner.1.into());
    header.set_mtime(0);
    header.set_size(0);
    match &node.content {
        Content::Folder { .. } => {
            header.set_entry_type(EntryType::Directory);
            name(tar, &mut header, &[path, b"/"].concat())?;
            append(tar, header, io::empty())
        }
        Content::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            name(tar, &mut header, path)?;
            let target = target.as_os_str().as_bytes();
            long(tar, EntryType::GNULongLink, target)?;
            fill(&mut header.as_old_mut().linkname, target);
            append(tar, header, io::empty())
        }
        Content::File(from, seen) => {
            let file = open(from, seen)?;
            header.set_entry_type(EntryType::Regular);
            header.set_size(seen.size);
            name(tar, &mut header, path)?;
            let mut whole = Whole { file, left: seen.size };
            append(tar, header, &mut whole)?;
            unchanged(&whole.file, seen)
        }
    }
}

fn append(tar: &mut Builder<&mut dyn Write>, mut header: Header, content: impl Read) -> io::Result<()> {
    header.set_cksum();
    tar.append(&header, content)
}

/// Paths and links are written as bytes, for not all are text, and none may be "cleaned".
fn name(tar: &mut Builder<&mut dyn Write>, header: &mut Header, path: &[u8]) -> io::Result<()> {
    long(tar, EntryType::GNULongName, path)?;
    fill(&mut header.as_old_mut().name, path);
    Ok(())
}

fn fill(field: &mut [u8; NAME], bytes: &[u8]) {
    let room = bytes.len().min(NAME);
    field[..room].copy_from_slice(&bytes[..room]);
}

fn long(tar: &mut Builder<&mut dyn Write>, kind: EntryType, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() <= NAME {
        return Ok(());
    }
    let mut header = Header::new_gnu();
    fill(&mut header.as_old_mut().name, b"././@LongLink");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64 + 1);
    header.set_entry_type(kind);
    append(tar, header, bytes.chain(&[0][..]))
}

fn open(from: &Path, seen: &Seen) -> io::Result<File> {
    // Should it have become a pipe meanwhile, opening it must not wait for a writer.
    let flags = if seen.named { OFlags::NONBLOCK } else { OFlags::NONBLOCK | OFlags::NOFOLLOW };
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(from)?;
    unchanged(&file, seen)?;
    Ok(file)
}

fn unchanged(file: &File, seen: &Seen) -> io::Result<()> {
    let found = file.metadata()?;
    if found.is_file() && Seen::new(&found, seen.named) == *seen {
        return Ok(());
    }
    Err(io::Error::other(Changed))
}

/// A file that may not get shorter while it is read.
struct Whole {
    file: File,
    left: u64,
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..want])?;
        if read == 0 {
            return Err(io::Error::other(Changed));
        }
        self.left -= read as u64;
        Ok(read)
    }
}
