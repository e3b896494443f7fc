//! Images as data: references, assembling, layouts, archives, engines.

pub mod archives;
mod assemble;
mod bases;
mod caches;
mod compression;
mod engine;
pub mod held;
mod ignored;
pub mod indexes;
pub mod layouts;
mod machine;
mod members;
mod overlay2;
mod pushed;
mod random;
mod references;
mod saved;
mod socket;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use steadystate::image::config::Execution;
use steadystate::image::layers::{Ignore, LayerEntry, LayersSpec, assemble};
use steadystate::image::{Blob, BlobCache, BlobSource, Compression, Image, Open, Platform};
use tempfile::TempDir;

/// A folder for one test: `project` and `cache` in it.
pub struct Workshop {
    pub folder: TempDir,
    pub cache: BlobCache,
}

impl Workshop {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("project")).unwrap();
        let cache = BlobCache::open(folder.path().join("cache")).unwrap();
        Workshop { folder, cache }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path("project").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        // Whatever the umask is here.
        set_mode(&path, 0o644);
        set_mode(path.parent().unwrap(), 0o755);
    }

    pub fn spec(&self, layers: Vec<Vec<LayerEntry>>) -> LayersSpec {
        LayersSpec {
            project: self.path("project"),
            layers,
            execution: Execution { entrypoint: Some(vec!["/hello".into()]), ..Execution::default() },
            platform: Platform::linux_amd64(),
            created: None,
            annotations: BTreeMap::new(),
            compression: Compression::Gzip,
            cache: self.cache.clone(),
        }
    }

    pub fn open(&self, platform: Option<&str>) -> Open {
        let platform = platform.map(|text| text.parse().unwrap());
        Open { platform, cache: self.cache.clone(), compression: Compression::Gzip }
    }

    /// A small image of one layer, distinct by its content.
    pub fn image(&self, content: &str) -> Image {
        self.file("hello", content);
        assemble(self.spec(vec![vec![entry("hello", "/hello")]]), None).unwrap()
    }
}

pub fn entry(from: &str, to: &str) -> LayerEntry {
    LayerEntry {
        from: from.into(),
        to: to.into(),
        mode: None,
        folder_mode: None,
        owner: None,
        ignore: Ignore::Usual,
        platform: None,
    }
}

pub fn bytes_of(blob: &Blob) -> Vec<u8> {
    match &blob.source {
        BlobSource::Memory(bytes) => bytes.to_vec(),
        BlobSource::Cached(path) => fs::read(path).unwrap(),
        BlobSource::Spooled(spool) => fs::read(spool.path()).unwrap(),
        BlobSource::InRegistry | BlobSource::Elsewhere => panic!("it is in a registry"),
        BlobSource::File { path, offset } => {
            let (offset, size) = (*offset as usize, blob.descriptor.size as usize);
            fs::read(path).unwrap()[offset..offset + size].to_vec()
        }
    }
}

pub fn unpacked(blob: &Blob) -> Vec<u8> {
    let bytes = bytes_of(blob);
    let mut raw = Vec::new();
    match blob.descriptor.media_type.ends_with("zstd") {
        true => zstd::stream::read::Decoder::new(&bytes[..]).unwrap().read_to_end(&mut raw).unwrap(),
        false => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut raw).unwrap(),
    };
    raw
}

/// `mode owner path -> link` of each entry of a layer.
pub fn listing(blob: &Blob) -> Vec<String> {
    let raw = unpacked(blob);
    let mut archive = tar::Archive::new(&raw[..]);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), 0);
        let link = entry.link_name().unwrap().map(|link| format!(" -> {}", link.display())).unwrap_or_default();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (mode, uid, gid) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        format!("{mode:04o} {uid}:{gid} {path}{link}")
    });
    entries.collect()
}

pub fn config_of(image: &Image) -> serde_json::Value {
    serde_json::from_slice(&image.config).unwrap()
}

/// Every blob is what its descriptor says, and the manifest names exactly these.
pub fn check_sound(image: &Image) {
    use steadystate::image::digest;
    assert_eq!(digest::of(&image.manifest), image.digest);
    let manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    let mut named: Vec<&serde_json::Value> = manifest["layers"].as_array().unwrap().iter().collect();
    named.push(&manifest["config"]);
    assert_eq!(named.len(), image.blobs.len());
    for (blob, named) in image.blobs.iter().zip(named) {
        assert_eq!(blob.descriptor.digest, named["digest"]);
        assert_eq!(blob.descriptor.size, named["size"]);
        assert_eq!(blob.descriptor.media_type, named["mediaType"]);
        let bytes = bytes_of(blob);
        assert_eq!(bytes.len() as u64, blob.descriptor.size);
        assert_eq!(digest::of(&bytes), blob.descriptor.digest);
    }
    let diff_ids = config_of(image)["rootfs"]["diff_ids"].as_array().unwrap().clone();
    assert_eq!(diff_ids.len(), image.layers().len());
    for (blob, diff_id) in image.layers().iter().zip(diff_ids) {
        assert_eq!(digest::of(&unpacked(blob)), diff_id);
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
