//! Tar headers with their GNU and PAX extensions, read with a bound on their size.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use tar::{Entry, EntryType};

/// Longer names, links and attributes than this have no honest use.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// What a layer says of one entry.
pub struct Header {
    pub path: PathBuf,
    pub link: PathBuf,
    pub kind: EntryType,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds.
    pub modified: i64,
}

/// Extension entries seen so far for the entry that follows them.
#[derive(Default)]
pub struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Extensions {
    /// Takes in an extension entry, or gives the header of a real one.
    pub fn next<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<Option<Header>> {
        match entry.header().entry_type() {
            EntryType::GNULongName => self.path = Some(text(entry)?),
            EntryType::GNULongLink => self.link = Some(text(entry)?),
            EntryType::XHeader => self.pax(&read(entry)?)?,
            EntryType::XGlobalHeader => drop(read(entry)?),
            EntryType::GNUSparse => return Err(io::Error::other("GNU sparse entries cannot be unpacked")),
            kind => {
                let known = std::mem::take(self);
                let header = entry.header();
                let path = known.path.unwrap_or_else(|| header.path_bytes().into_owned());
                let link = known.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
                return Ok(Some(Header {
                    path: os(path).into(),
                    link: os(link.unwrap_or_default()).into(),
                    kind,
                    mode: header.mode()?,
                    uid: known.uid.or_else(|| header.uid().ok()?.try_into().ok()).unwrap_or_default(),
                    gid: known.gid.or_else(|| header.gid().ok()?.try_into().ok()).unwrap_or_default(),
                    modified: header.mtime().ok().and_then(|time| time.try_into().ok()).unwrap_or_default(),
                }));
            }
        }
        Ok(None)
    }

    // Records are `LENGTH KEY=VALUE\n`; values may hold line ends, so only the length can be trusted.
    fn pax(&mut self, records: &[u8]) -> io::Result<()> {
        let malformed = || io::Error::other("malformed pax extension");
        let mut rest = records;
        while !rest.is_empty() && rest[0] != 0 {
            let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let length = std::str::from_utf8(&rest[..space]).ok().and_then(|length| length.parse::<usize>().ok());
            let length = length.filter(|length| *length > space + 1 && *length <= rest.len()).ok_or_else(malformed)?;
            let record = &rest[space + 1..length - 1];
            rest = &rest[length..];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let number = || std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"uid" => self.uid = number(),
                b"gid" => self.gid = number(),
                b"size" => return Err(io::Error::other("entries of 8 GiB and more cannot be unpacked")),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(io::Error::other("GNU sparse entries cannot be unpacked"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn read<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<u8>> {
    if entry.header().size()? > EXTENSION_LIMIT {
        return Err(io::Error::other("an extension header of more than 1 MiB"));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<u8>> {
    let mut bytes = read(entry)?;
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    Ok(bytes)
}

fn os(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}
