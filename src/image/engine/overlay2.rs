//! Docker's own store, where it is on this machine and may be read. Its storage driver overlay2 keeps each layer unpacked,
//! and tar-split's notes beside it make the layer's tar again, byte for byte (github.com/vbatts/tar-split). The daemon does
//! the same for `docker save`, one layer after the other, before it gives the first byte: that takes most of a push.
//!
//! Docker promises nothing of these folders. Whatever is read is held to its digest, and the daemon is asked for what is
//! not there or is something else.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Take};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::image::digest;
use crate::image::layout::MAX_DOCUMENT;

/// Longer notes than any header of a tar makes.
const MAX_NOTE: u64 = 32 << 20;

/// Where docker keeps images.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A layer whose tar can be made again.
#[derive(Debug)]
pub struct Unpacked {
    pub folder: PathBuf,
    notes: PathBuf,
    /// The tar's.
    pub size: u64,
}

/// Why a layer cannot be had from docker's folders: the daemon may have it all the same.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAsKept(pub String);

impl NotAsKept {
    pub fn is_cause_of(error: &Error) -> bool {
        std::error::Error::source(error).is_some_and(|cause| cause.is::<NotAsKept>())
    }
}

impl Store {
    /// By what `docker image inspect` says of an image's files.
    pub fn of(told: &Value) -> Option<Store> {
        let driver = &told["GraphDriver"];
        // ROOT/overlay2/ID/diff
        let folder = Path::new(driver["Data"]["UpperDir"].as_str()?);
        let home = folder.parent()?.parent()?;
        let is_overlay2 = driver["Name"] == "overlay2" && home.is_absolute() && home.file_name()? == "overlay2";
        is_overlay2.then_some(Store { root: home.parent()?.to_owned() })
    }

    /// The config of an image, whatever it is: it may be another's.
    ///
    /// # Errors
    /// When it is not there, or may not be read.
    pub fn config(&self, id: &str) -> io::Result<Bytes> {
        let path = self.root.join("image/overlay2/imagedb/content/sha256").join(hex_of(id)?);
        let mut text = Vec::new();
        File::open(path)?.take(MAX_DOCUMENT).read_to_end(&mut text)?;
        Ok(text.into())
    }

    /// The layer on top of those below it: `chain_id` is the name of all of them. Reads all its notes. Blocks.
    ///
    /// # Errors
    /// When it is not there, or may not be read.
    pub fn layer(&self, chain_id: &str, diff_id: &str) -> io::Result<Unpacked> {
        let about = self.root.join("image/overlay2/layerdb/sha256").join(hex_of(chain_id)?);
        let line = |name: &str| {
            let mut text = String::new();
            File::open(about.join(name))?.take(1 << 10).read_to_string(&mut text)?;
            Ok::<_, io::Error>(text.trim().to_owned())
        };
        if line("diff")? != diff_id {
            return Err(malformed("it holds another layer"));
        }
        let id = line("cache-id")?;
        let mut parts = Path::new(&id).components();
        let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else {
            return Err(malformed("a layer's folder has no name"));
        };
        let folder = self.root.join("overlay2").join(&id).join("diff");
        let (opened, notes) = (open_folder(&folder)?, about.join("tar-split.json.gz"));
        // A rootless docker's files may be other users': all are tried. To root all are open, or none.
        let (is_root, mut is_tried) = (rustix::process::geteuid().is_root(), false);
        let (mut noted, mut size) = (Notes::open(&notes)?, 0_u64);
        while let Some(note) = noted.next()? {
            let more = match note {
                Note::Bytes(bytes) => bytes.len() as u64,
                Note::File { name, size } => {
                    if size > 0 && !(is_root && is_tried) {
                        open_file(&opened, &name)?;
                        is_tried = true;
                    }
                    size
                }
            };
            size = size.checked_add(more).ok_or_else(|| malformed("a layer has no end"))?;
        }
        Ok(Unpacked { folder, notes, size })
    }
}

impl Unpacked {
    /// The layer's tar.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open(&self) -> io::Result<impl Read + Send + use<>> {
        Ok(Tar { notes: Notes::open(&self.notes)?, folder: open_folder(&self.folder)?, part: Part::None })
    }
}

/// The names of layers with all those below them
/// (<https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid>), lowest first.
pub fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let below = |below: &mut Option<String>, diff_id: &String| {
        let chain_id = match below.take() {
            Some(below) => digest::of(format!("{below} {diff_id}").as_bytes()),
            None => diff_id.clone(),
        };
        *below = Some(chain_id.clone());
        Some(chain_id)
    };
    diff_ids.iter().scan(None, below).collect()
}

struct Tar {
    notes: Notes,
    folder: OwnedFd,
    part: Part,
}

enum Part {
    None,
    Bytes(Cursor<Vec<u8>>),
    File(Take<File>),
}

impl Read for Tar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            let read = match &mut self.part {
                Part::None => 0,
                Part::Bytes(bytes) => bytes.read(buffer)?,
                Part::File(file) => match file.read(buffer)? {
                    0 if file.limit() > 0 => return Err(malformed("a layer's file is shorter than it was")),
                    read => read,
                },
            };
            if read > 0 {
                return Ok(read);
            }
            self.part = match self.notes.next()? {
                None => return Ok(0),
                Some(Note::Bytes(bytes)) => Part::Bytes(Cursor::new(bytes)),
                Some(Note::File { size: 0, .. }) => Part::None,
                Some(Note::File { name, size }) => Part::File(open_file(&self.folder, &name)?.take(size)),
            };
        }
        Ok(0)
    }
}

fn open_folder(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

/// Nothing outside of the layer, wherever its links lead.
fn open_file(folder: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(folder, Path::new(OsStr::from_bytes(name)), flags, Mode::empty(), within)?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(malformed("a layer's file is none")),
    }
}

/// What tar-split noted of a tar, in its order.
struct Notes {
    lines: BufReader<MultiGzDecoder<BufReader<File>>>,
    line: Vec<u8>,
}

enum Note {
    /// Headers and padding, as they were.
    Bytes(Vec<u8>),
    /// The content of a file that was unpacked.
    File { name: Vec<u8>, size: u64 },
}

/// A line of the notes. `type` 1 is a file, whose payload is a checksum, and 2 a segment, whose payload is its bytes.
#[derive(Deserialize)]
struct Line<'a> {
    r#type: u8,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    /// Where the name is not UTF-8.
    #[serde(borrow, default)]
    name_raw: Option<Cow<'a, str>>,
    #[serde(default)]
    size: u64,
    #[serde(borrow, default)]
    payload: Option<Cow<'a, str>>,
}

impl Notes {
    fn open(path: &Path) -> io::Result<Notes> {
        let unpacked = MultiGzDecoder::new(BufReader::new(File::open(path)?));
        Ok(Notes { lines: BufReader::with_capacity(64 << 10, unpacked), line: Vec::new() })
    }

    fn next(&mut self) -> io::Result<Option<Note>> {
        self.line.clear();
        if self.lines.by_ref().take(MAX_NOTE).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let line: Line<'_> = serde_json::from_slice(&self.line)?;
        let raw = |text: &str| BASE64.decode(text).map_err(|_| malformed("a note is no base64"));
        Ok(Some(match line.r#type {
            1 => {
                let name = match (line.name_raw, line.name) {
                    (Some(name), _) => raw(&name)?,
                    (None, name) => name.unwrap_or_default().into_owned().into_bytes(),
                };
                Note::File { name, size: line.size }
            }
            2 => Note::Bytes(raw(&line.payload.unwrap_or_default())?),
            _ => return Err(malformed("a note is of another kind")),
        }))
    }
}

fn hex_of(digest: &str) -> io::Result<&str> {
    digest::hex_of(digest).ok_or_else(|| malformed("a digest is malformed"))
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
