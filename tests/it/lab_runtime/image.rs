//! Images made by hand: tar layers, a config, blobs in a folder.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use steadystate::lab::runtime::{ImageSource, LayerBlob};
use tar::{Builder, EntryType, Header};

use crate::program;

pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// The statically linked test program, compiled once for a version of its source.
pub fn tool_path() -> &'static Path {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(|| program::compiled("runtime/tool.rs"))
}

/// The test program as `/tool`, which is the entry point, with some users.
pub fn tool(blobs: &Path) -> ImageSource {
    tool_with(blobs, |_| {})
}

/// [`tool`] with more in its layer.
pub fn tool_with(blobs: &Path, more: impl FnOnce(&mut Layer)) -> ImageSource {
    tool_of(blobs, more, json!({}))
}

/// [`tool`] whose image declares a volume.
pub fn tool_with_volume(blobs: &Path, path: &str) -> ImageSource {
    tool_of(blobs, |_| {}, json!({ path: {} }))
}

fn tool_of(blobs: &Path, more: impl FnOnce(&mut Layer), volumes: Value) -> ImageSource {
    let mut layer = Layer::default();
    more(&mut layer);
    layer
        .file("tool", 0o755, &fs::read(tool_path()).unwrap())
        .file("etc/passwd", 0o644, b"root:x:0:0::/root:/tool\napp:x:1000:1000::/srv:/tool\n")
        .file("etc/group", 0o644, b"root:x:0:\napp:x:1000:\n")
        .file("script", 0o755, b"#!/no/such/interpreter\n")
        .file("garbage", 0o755, b"\x7fELF not really");
    let config = json!({ "Entrypoint": ["/tool"], "Env": ["FROM=image", "BOTH=image"], "WorkingDir": "/srv",
        "Volumes": volumes });
    // not compressed: every test makes it anew
    write(blobs, &[(layer.finish(), PLAIN)], config)
}

/// An image of these uncompressed layers, compressed as their media type says.
pub fn write(blobs: &Path, layers: &[(Vec<u8>, &str)], config: Value) -> ImageSource {
    let diff_ids: Vec<String> = layers.iter().map(|(tar, _)| sha256(tar)).collect();
    write_with(blobs, layers, config, &diff_ids)
}

pub fn write_with(blobs: &Path, layers: &[(Vec<u8>, &str)], config: Value, diff_ids: &[String]) -> ImageSource {
    fs::create_dir_all(blobs).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = sha256(bytes);
        let path = blobs.join(&digest[7..]);
        fs::write(&path, bytes).unwrap();
        (path, digest)
    };
    let layers: Vec<LayerBlob> = layers
        .iter()
        .map(|(tar, media_type)| {
            let (path, digest) = blob(&compress(tar, media_type));
            LayerBlob { path, media_type: (*media_type).to_owned(), digest }
        })
        .collect();
    let config = json!({ "architecture": "amd64", "os": "linux", "config": config, "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let (config, config_digest) = blob(config.to_string().as_bytes());
    let manifest =
        json!({ "config": config_digest, "layers": layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>() });
    ImageSource { digest: sha256(manifest.to_string().as_bytes()), config, layers }
}

pub fn compress(tar: &[u8], media_type: &str) -> Vec<u8> {
    match media_type {
        GZIP => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        }
        ZSTD => zstd::encode_all(tar, 3).unwrap(),
        _ => tar.to_vec(),
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, bytes)))
}

/// A tar file, entry by entry, without the checks of the crate that writes it.
pub struct Layer(Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Layer(Builder::new(Vec::new()))
    }
}

impl Layer {
    pub fn entry(&mut self, kind: EntryType, path: &str, mode: u32, link: &str, content: &[u8]) -> &mut Self {
        let mut header = Header::new_ustar();
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> &mut Self {
        self.entry(EntryType::Regular, path, mode, "", content)
    }

    pub fn directory(&mut self, path: &str, mode: u32) -> &mut Self {
        self.entry(EntryType::Directory, path, mode, "", b"")
    }

    pub fn symlink(&mut self, path: &str, to: &str) -> &mut Self {
        self.entry(EntryType::Symlink, path, 0o777, to, b"")
    }

    pub fn hardlink(&mut self, path: &str, to: &str) -> &mut Self {
        self.entry(EntryType::Link, path, 0o644, to, b"")
    }

    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(self).0.into_inner().unwrap()
    }
}
