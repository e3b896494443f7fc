//! A look at some paths of a base image, without unpacking it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use tar::EntryType;

use super::manifest::{self, LAYER_GZIP, LAYER_ZSTD};
use super::{Blob, BlobSource, Image};
use crate::error::{Error, Result};

/// Files that are looked at are small; of a larger one nothing is kept.
pub(super) const MAX_FILE: u64 = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Folder,
    File(Vec<u8>),
    /// A link, a device, or a file too large to look at.
    Other,
}

/// What the image has at those of the `wanted` paths where it has something, its layers read from the lowest up.
/// Links on the way to a path are not followed.
pub(super) fn find(image: &Image, wanted: &BTreeSet<&[u8]>) -> Result<BTreeMap<Vec<u8>, Found>> {
    let mut found = BTreeMap::new();
    for blob in image.layers() {
        read_layer(blob, wanted, &mut found).map_err(|error| {
            Error::build_or_push(format!("cannot read the base image's layer `{}`", blob.descriptor.digest))
                .cause(error)
                .hint("its layers are read for `owner` and `folder_mode`; pull or save the base image again")
        })?;
    }
    Ok(found)
}

fn read_layer(blob: &Blob, wanted: &BTreeSet<&[u8]>, found: &mut BTreeMap<Vec<u8>, Found>) -> io::Result<()> {
    // Of one layer the whiteouts count only for the layers below, wherever they stand in it.
    let mut above: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
    let mut tar = tar::Archive::new(open(blob)?);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = normal(&entry.path_bytes());
        let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], &path[..]),
        };
        if name == b".wh..wh..opq" {
            found.retain(|known, _| !is_below(known, folder));
            continue;
        }
        if let Some(gone) = name.strip_prefix(b".wh.") {
            let gone = if folder.is_empty() { gone.to_vec() } else { [folder, b"/", gone].concat() };
            found.retain(|known, _| *known != gone && !is_below(known, &gone));
            continue;
        }
        let kind = entry.header().entry_type();
        if !kind.is_dir() {
            // What is no folder any more holds nothing.
            found.retain(|known, _| !is_below(known, &path));
        }
        if !wanted.contains(&path[..]) {
            continue;
        }
        let what = match kind {
            EntryType::Directory => Found::Folder,
            EntryType::Regular | EntryType::Continuous if entry.size() <= MAX_FILE => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                Found::File(bytes)
            }
            _ => Found::Other,
        };
        above.insert(path, what);
    }
    found.append(&mut above);
    Ok(())
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"))
}

/// `./etc//passwd/` is `etc/passwd`.
fn normal(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    parts.join(&b'/')
}

fn open(blob: &Blob) -> io::Result<Box<dyn Read>> {
    let raw: Box<dyn Read> = match &blob.source {
        BlobSource::Memory(bytes) => Box::new(io::Cursor::new(bytes.clone())),
        BlobSource::Cached(path) => Box::new(File::open(path)?),
        BlobSource::File { path, offset } => {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(*offset))?;
            Box::new(file.take(blob.descriptor.size))
        }
        BlobSource::Spooled(spool) => Box::new(File::open(spool.path())?),
        BlobSource::InRegistry | BlobSource::Elsewhere => return Err(io::Error::other("only a registry has it")),
    };
    Ok(match manifest::oci_layer_type(&blob.descriptor.media_type) {
        LAYER_GZIP => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(1 << 16, raw))),
        LAYER_ZSTD => Box::new(zstd::stream::read::Decoder::new(raw)?),
        _ => raw,
    })
}
