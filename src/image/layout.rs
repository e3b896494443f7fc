//! OCI image layouts: a folder with `oci-layout`, `index.json` and `blobs/`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};

use super::manifest::{self, Document, IndexEntry, Manifest};
use super::{Blob, BlobSource, Descriptor, Image, Open, Platform, digest};
use crate::error::{Error, Result};

/// The annotation that holds an image's name in a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Manifests and configs are read whole; nothing sound is larger.
pub(super) const MAX_DOCUMENT: u64 = 8 << 20;

/// How deep an index may lie in an index.
pub(super) const MAX_DEPTH: usize = 4;

/// Opens the image in a layout folder. Manifest and config are verified here, layers where they are read.
///
/// # Errors
/// `Input` when the folder is no layout, or has no image (or several) for the platform; `BuildOrPush` when it is damaged.
pub fn open(folder: &Path, open: &Open) -> Result<Image> {
    let name = format!("`{}`", folder.display());
    with_index(folder, &mut |index, locate| resolve(index, locate, open.platform.as_ref(), &name))
}

/// Gives the layout's `index.json`, and how its blobs are found, to `read`.
pub(super) fn with_index<T>(folder: &Path, read: &mut Reading<'_, T>) -> Result<T> {
    if !folder.join("oci-layout").is_file() {
        return Err(Error::input(format!("`{}` is not an OCI layout", folder.display())).hint(
            "an OCI layout folder holds `oci-layout`, `index.json` and `blobs`; `skopeo copy … oci:FOLDER` writes one",
        ));
    }
    let path = folder.join("index.json");
    let index = std::fs::read(&path)
        .map_err(|error| Error::build_or_push(format!("cannot read `{}`", path.display())).cause(error))?;
    let locate = |descriptor: &Descriptor| {
        let hex = digest::hex_of(&descriptor.digest)?;
        let path = folder.join("blobs/sha256").join(hex);
        let size = std::fs::metadata(&path).ok()?.len();
        Some(Located { path, offset: 0, size })
    };
    read(&index, &locate)
}

/// Finds a blob of a layout.
pub(super) type Locate<'a> = dyn Fn(&Descriptor) -> Option<Located> + 'a;

/// What becomes of a layout's `index.json`.
pub(super) type Reading<'a, T> = dyn FnMut(&[u8], &Locate<'_>) -> Result<T> + 'a;

/// Where a blob lies, and how many bytes are there.
pub(super) struct Located {
    pub path: PathBuf,
    pub offset: u64,
    pub size: u64,
}

/// Follows an `index.json` to its one image, in a folder or in an archive of one.
pub(super) fn resolve(index: &[u8], locate: &Locate<'_>, wanted: Option<&Platform>, name: &str) -> Result<Image> {
    let mut found = Vec::new();
    search(index, locate, wanted, name, MAX_DEPTH, &mut found)?;
    found.dedup_by(|a, b| a.0.descriptor.digest == b.0.descriptor.digest);
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some((_, image)), None) => Ok(image),
        (Some((first, _)), Some((second, _))) => {
            let names = [first, second].map(|entry| entry.name.unwrap_or(entry.descriptor.digest));
            Err(Error::input(format!("{name} holds several images: {}, …", names.join(", ")))
                .hint("give a layout or archive that holds one"))
        }
        (None, _) => Err(Error::input(match wanted {
            Some(wanted) => format!("{name} holds no image for {wanted}"),
            None => format!("{name} holds no image"),
        })),
    }
}

fn search(
    index: &[u8],
    locate: &Locate<'_>,
    wanted: Option<&Platform>,
    name: &str,
    depth: usize,
    found: &mut Vec<(IndexEntry, Image)>,
) -> Result<()> {
    let Document::Index(entries) = manifest::parse(index, Some(manifest::OCI_INDEX), name)? else {
        return Err(Error::build_or_push(format!("{name} has no index")));
    };
    let fitting = manifest::choose(&entries, wanted, name)?;
    // With a platform named, the best match is meant; of equals, each is a candidate of its own.
    let best = fitting.first().and_then(|entry| entry.platform.clone());
    for entry in fitting.into_iter().filter(|entry| wanted.is_none() || entry.platform == best) {
        let bytes = document(&entry.descriptor, locate, name)?;
        match manifest::parse(&bytes, Some(&entry.descriptor.media_type), &entry.descriptor.digest)? {
            Document::Index(_) if depth == 0 => {
                return Err(Error::build_or_push(format!("{name} has indexes within indexes without end")));
            }
            Document::Index(_) => search(&bytes, locate, wanted, name, depth - 1, found)?,
            Document::Image(manifest) => {
                let image = image(bytes, *manifest, locate, name)?;
                if wanted.is_none_or(|wanted| image.platform.matches(wanted)) {
                    found.push((entry.clone(), image));
                }
            }
        }
    }
    Ok(())
}

fn image(bytes: Bytes, manifest: Manifest, locate: &Locate<'_>, name: &str) -> Result<Image> {
    let config = document(&manifest.config, locate, name)?;
    let mut blobs = Vec::new();
    for layer in manifest.layers.into_iter().filter(|layer| !layer.foreign) {
        let descriptor = layer.descriptor;
        let found = located(&descriptor, locate, name)?;
        blobs.push(Blob { source: BlobSource::File { path: found.path, offset: found.offset }, descriptor });
    }
    blobs.push(Blob { descriptor: manifest.config, source: BlobSource::Memory(config.clone()) });
    let platform = manifest::platform_of(&config)?;
    let (digest, media_type) = (digest::of(&bytes), manifest.media_type);
    Ok(Image { digest, manifest: bytes, media_type, config, blobs, platform })
}

pub(super) fn located(descriptor: &Descriptor, locate: &Locate<'_>, name: &str) -> Result<Located> {
    let found = locate(descriptor)
        .ok_or_else(|| Error::build_or_push(format!("{name} lacks the blob `{}`", descriptor.digest)))?;
    if found.size != descriptor.size {
        return Err(Error::build_or_push(format!(
            "the blob `{}` of {name} has {} bytes, and {} are listed",
            descriptor.digest, found.size, descriptor.size
        )));
    }
    Ok(found)
}

/// A manifest or config, whole and verified.
pub(super) fn document(descriptor: &Descriptor, locate: &Locate<'_>, name: &str) -> Result<Bytes> {
    let found = located(descriptor, locate, name)?;
    let bytes = read_range(&found)
        .map_err(|error| Error::build_or_push(format!("cannot read `{}` of {name}", descriptor.digest)).cause(error))?;
    if digest::of(&bytes) != descriptor.digest {
        return Err(Error::build_or_push(format!("the blob `{}` of {name} is damaged", descriptor.digest))
            .hint("its content has another digest than its name; make the image again"));
    }
    Ok(bytes)
}

pub(super) fn read_range(range: &Located) -> io::Result<Bytes> {
    if range.size > MAX_DOCUMENT {
        return Err(io::Error::other(format!("{} bytes are too many for a manifest or config", range.size)));
    }
    let mut file = File::open(&range.path)?;
    file.seek(SeekFrom::Start(range.offset))?;
    let mut bytes = Vec::new();
    file.take(range.size).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Writes `image` as an OCI layout; `name` becomes its `org.opencontainers.image.ref.name`. Layers are verified on
/// the way. Other images of the layout stay, and so do sound blobs; the image of the same name goes. `index.json` comes
/// last and at once.
///
/// # Errors
/// `Input` when `folder` holds something that is no layout; `BuildOrPush` when a blob is damaged or nothing can be written.
pub fn write(image: &Image, folder: &Path, name: Option<&str>) -> Result<()> {
    let occupied = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if occupied && !folder.join("oci-layout").is_file() {
        return Err(Error::input(format!("`{}` is not empty, and no OCI layout", folder.display()))
            .hint("give an empty folder, or one that does not exist yet"));
    }
    let failed = |error: io::Error| Error::build_or_push(format!("cannot write `{}`", folder.display())).cause(error);
    let mut index = existing_index(folder)?;
    let blobs = folder.join("blobs/sha256");
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&blobs).map_err(failed)?;
    for blob in &image.blobs {
        let target = blobs.join(digest::hex_of(&blob.descriptor.digest).unwrap_or_default());
        if !holds(&target, &blob.descriptor) {
            copy_blob(blob, &blobs, &target)?;
        }
    }
    let put = |name: &Path, text: &[u8]| -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::with_prefix_in(".writing-", folder)?;
        io::Write::write_all(&mut file, text)?;
        open_to_readers(file.as_file())?;
        file.persist(name)?;
        Ok(())
    };
    put(&blobs.join(digest::hex_of(&image.digest).unwrap_or_default()), &image.manifest).map_err(failed)?;
    let mut platform = json!({ "architecture": image.platform.architecture, "os": image.platform.os });
    if let Some(variant) = &image.platform.variant {
        platform["variant"] = variant.clone().into();
    }
    let mut entry = json!({
        "mediaType": image.media_type, "digest": image.digest, "size": image.manifest.len(), "platform": platform,
    });
    if let Some(name) = name {
        entry["annotations"] = json!({ REF_NAME: name });
    }
    if let Some(entries) = index["manifests"].as_array_mut() {
        entries.retain(|other| other["annotations"][REF_NAME].as_str() != name);
        entries.push(entry);
    }
    put(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(failed)?;
    put(&folder.join("index.json"), index.to_string().as_bytes()).map_err(failed)
}

/// The index of the layout that is there, or an empty one.
fn existing_index(folder: &Path) -> Result<Value> {
    let path = folder.join("index.json");
    let malformed = || {
        Error::input(format!("`{}` is no index of images", path.display()))
            .hint("give an empty folder, or one that does not exist yet")
    };
    match std::fs::read(&path) {
        Ok(text) => {
            let index = serde_json::from_slice(&text).map_err(|error| malformed().cause(error))?;
            Some(index).filter(|index: &Value| index["manifests"].is_array()).ok_or_else(malformed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(json!({ "schemaVersion": 2, "mediaType": manifest::OCI_INDEX, "manifests": [] }))
        }
        Err(error) => Err(Error::build_or_push(format!("cannot read `{}`", path.display())).cause(error)),
    }
}

/// Whether the blob is there, and is what its name says.
fn holds(path: &Path, descriptor: &Descriptor) -> bool {
    let mut hasher = digest::Hasher::new();
    let read = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher));
    read.is_ok_and(|size| size == descriptor.size) && hasher.finish() == descriptor.digest
}

fn copy_blob(blob: &Blob, folder: &Path, target: &Path) -> Result<()> {
    let name = &blob.descriptor.digest;
    let failed = |error: io::Error| Error::build_or_push(format!("cannot copy the blob `{name}`")).cause(error);
    let mut reader: Box<dyn Read> = match &blob.source {
        BlobSource::Memory(bytes) => Box::new(io::Cursor::new(bytes.clone())),
        BlobSource::File { path, offset } => {
            let mut file = File::open(path).map_err(failed)?;
            file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
            Box::new(file.take(blob.descriptor.size))
        }
        BlobSource::Cached(path) => Box::new(File::open(path).map_err(failed)?),
        BlobSource::Spooled(spool) => Box::new(File::open(spool.path()).map_err(failed)?),
        BlobSource::InRegistry | BlobSource::Elsewhere => {
            return Err(failed(io::Error::other("only a registry has it")));
        }
    };
    let mut file = tempfile::NamedTempFile::with_prefix_in(".writing-", folder).map_err(failed)?;
    let mut hasher = digest::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = reader.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        io::Write::write_all(&mut file, &buffer[..read]).map_err(failed)?;
    }
    if hasher.finish() != *name {
        if let BlobSource::Cached(path) = &blob.source {
            let _ = std::fs::remove_file(path);
        }
        return Err(Error::build_or_push(format!("the blob `{name}` changed on disk, or is damaged"))
            .hint("run the build again"));
    }
    open_to_readers(file.as_file()).map_err(failed)?;
    file.persist(target).map(drop).map_err(|error| failed(error.error))
}

/// Temporary files are the owner's alone; a layout is for other tools too.
fn open_to_readers(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}
