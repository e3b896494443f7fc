//! An image with all its platforms, in an OCI layout or an archive of one.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;

use super::index::{self, Manifested, Part, Tree};
use super::layout::{self, Locate, MAX_DEPTH};
use super::manifest::{self, Document, IndexEntry};
use super::{Blob, BlobSource, Built, Descriptor, Open, Platform, archive};
use crate::error::{Error, Result};

/// Opens what is at `path` as it is: an index whole, with its digest, or the part of it that is for `platforms`. Where
/// there is no index, or parts of it were left out (as `docker save` does), `open` says which image is meant.
///
/// # Errors
/// As [`super::open`].
pub fn draft(path: &Path, platforms: &[Platform], open: &Open) -> Result<Built> {
    let of = |platform: &Platform| super::draft(path, &Open { platform: Some(platform.clone()), ..open.clone() });
    if let [one] = platforms {
        return of(one);
    }
    let name = format!("`{}`", path.display());
    let found = match path.is_dir() {
        true => layout::with_index(path, &mut |index, locate| find(index, locate, platforms, &name))?,
        false => archive::with_index(path, &mut |index, locate| find(index, locate, platforms, &name))?,
    };
    match found {
        Some(tree) => Ok(Built::Index(tree)),
        None if platforms.is_empty() => super::draft(path, open),
        None => platforms.iter().map(of).collect::<Result<Vec<Built>>>().map(Built::Platforms),
    }
}

/// The one index that an `index.json` names, when all of it is there.
fn find(index: &[u8], locate: &Locate<'_>, platforms: &[Platform], name: &str) -> Result<Option<Tree>> {
    let Document::Index(entries) = manifest::parse(index, Some(manifest::OCI_INDEX), name)? else { return Ok(None) };
    let mut digests = HashSet::new();
    let mut images = entries.iter().filter(|entry| !entry.attestation && digests.insert(&entry.descriptor.digest));
    let (Some(only), None) = (images.next(), images.next()) else { return Ok(None) };
    if locate(&only.descriptor).is_none() {
        return Ok(None);
    }
    let bytes = layout::document(&only.descriptor, locate, name)?;
    let Document::Index(entries) = parse(&bytes, &only.descriptor)? else { return Ok(None) };
    let (bytes, entries) = match index::part(&bytes, &entries, platforms, name)? {
        Part::Whole => (bytes, entries),
        Part::One(_) => return Ok(None),
        Part::Several(part) => match parse(&part, &only.descriptor)? {
            Document::Index(entries) => (part, entries),
            Document::Image(_) => return Ok(None),
        },
    };
    let mut below = Vec::new();
    Ok(collect(&entries, locate, name, MAX_DEPTH, &mut below)?
        .then(|| index::tree(bytes, &only.descriptor.media_type, below)))
}

/// Whether everything that these entries name is there, and what it is.
fn collect(
    entries: &[IndexEntry],
    locate: &Locate<'_>,
    name: &str,
    depth: usize,
    below: &mut Vec<Manifested>,
) -> Result<bool> {
    for entry in entries {
        let descriptor = &entry.descriptor;
        if below.iter().any(|known| known.digest == descriptor.digest) {
            continue;
        }
        if locate(descriptor).is_none() {
            return Ok(false);
        }
        let bytes = layout::document(descriptor, locate, name)?;
        let (media_type, blobs) = match parse(&bytes, descriptor)? {
            Document::Index(_) if depth == 0 => {
                return Err(Error::build_or_push(format!("{name} has indexes within indexes without end")));
            }
            Document::Index(entries) => {
                if !collect(&entries, locate, name, depth - 1, below)? {
                    return Ok(false);
                }
                (descriptor.media_type.clone(), Vec::new())
            }
            Document::Image(manifest) => {
                let named = manifest.layers.into_iter().filter(|layer| !layer.foreign).map(|layer| layer.descriptor);
                let blob = |descriptor: Descriptor| {
                    let found = layout::located(&descriptor, locate, name)?;
                    Ok(Blob { descriptor, source: BlobSource::File { path: found.path, offset: found.offset } })
                };
                (manifest.media_type, named.chain([manifest.config]).map(blob).collect::<Result<Vec<Blob>>>()?)
            }
        };
        below.push(of_entry(bytes, entry, media_type, blobs));
    }
    Ok(true)
}

/// The manifest that an entry of an index names. It knows best itself what it is.
pub fn of_entry(bytes: Bytes, entry: &IndexEntry, media_type: String, blobs: Vec<Blob>) -> Manifested {
    let digest = entry.descriptor.digest.clone();
    let is_image = !entry.attestation && !manifest::is_index(&media_type);
    Manifested { bytes, media_type, digest, blobs, platform: entry.platform.clone().filter(|_| is_image) }
}

fn parse(bytes: &[u8], descriptor: &Descriptor) -> Result<Document> {
    manifest::parse(bytes, Some(&descriptor.media_type), &descriptor.digest)
}
