use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use steadystate::error::Kind;
use steadystate::image::{BlobSource, archive, digest, layout, open};

use super::{Workshop, check_sound, unpacked};

pub enum Member<'a> {
    File(&'a str, Vec<u8>),
    Symlink(&'a str, &'a str),
}

pub fn archive_of(workshop: &Workshop, name: &str, members: &[Member]) -> PathBuf {
    let path = workshop.path(name);
    write_archive(&path, members);
    path
}

fn write_archive(path: &Path, members: &[Member]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        match member {
            Member::File(name, content) => {
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, name, &content[..]).unwrap();
            }
            Member::Symlink(name, target) => {
                header.set_size(0);
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, name, target).unwrap();
            }
        }
    }
    tar.into_inner().unwrap().flush().unwrap();
}

pub fn layer(content: &str) -> Vec<u8> {
    layer_of(content.as_bytes())
}

/// A layer that holds one file.
pub fn layer_of(content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, "file", content).unwrap();
    tar.into_inner().unwrap()
}

/// What docker saves of an image of these layers.
pub fn saved_of(path: &Path, layers: &[Vec<u8>]) {
    let names: Vec<String> = (1..=layers.len()).map(|at| format!("{at}/layer.tar")).collect();
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["hello:v1"], "Layers": names }]);
    let config = config(&layers.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut members: Vec<Member> =
        names.iter().zip(layers).map(|(name, layer)| Member::File(name, layer.clone())).collect();
    members.push(Member::File("c.json", config));
    members.push(Member::File("manifest.json", manifest.to_string().into_bytes()));
    write_archive(path, &members);
}

pub fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest::of(layer)).collect();
    let config = json!({
        "architecture": "arm64", "os": "linux", "config": { "Cmd": ["/file"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    config.to_string().into_bytes()
}

pub fn gzipped(raw: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(raw).unwrap();
    gzip.finish().unwrap()
}

/// Two plain layers, one of them once more as a link, and one that is compressed already.
pub fn saved_archive(workshop: &Workshop, name: &str) -> PathBuf {
    let (a, b) = (layer("a"), layer(&"b".repeat(1 << 21)));
    let manifest = json!([{
        "Config": "c.json", "RepoTags": ["hello:v1"], "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar", "4.tar.gz"],
    }]);
    archive_of(
        workshop,
        name,
        &[
            Member::File("1/layer.tar", a.clone()),
            Member::File("2/layer.tar", b.clone()),
            Member::Symlink("3/layer.tar", "../1/layer.tar"),
            Member::File("4.tar.gz", gzipped(&b)),
            Member::File("c.json", config(&[&a, &b, &a, &b])),
            Member::File("manifest.json", manifest.to_string().into_bytes()),
        ],
    )
}

/// The config in [`saved_archive`].
pub fn saved_config() -> Vec<u8> {
    let (a, b) = (layer("a"), layer(&"b".repeat(1 << 21)));
    config(&[&a, &b, &a, &b])
}

/// What docker saves of a small image that holds `content`, and the image's config.
pub fn small_archive(workshop: &Workshop, name: &str, content: &str) -> Vec<u8> {
    let layer = layer(content);
    let manifest = json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["1/layer.tar"] }]);
    let config = config(&[&layer]);
    let members = [
        Member::File("1/layer.tar", layer),
        Member::File("c.json", config.clone()),
        Member::File("manifest.json", manifest.to_string().into_bytes()),
    ];
    archive_of(workshop, name, &members);
    config
}

/// The id of a saved image, and what docker and buildah tell of it.
pub fn told_of(archive: &Path) -> (String, Value, Value) {
    let mut tar = tar::Archive::new(File::open(archive).unwrap());
    let mut members = tar.entries().unwrap().map(Result::unwrap);
    let mut member = members.find(|member| member.path().unwrap().as_os_str() == "c.json").unwrap();
    let mut config = String::new();
    member.read_to_string(&mut config).unwrap();
    let id = digest::of(config.as_bytes());
    let of: Value = serde_json::from_str(&config).unwrap();
    let docker = json!([{
        "Id": id, "Os": of["os"], "Architecture": of["architecture"], "RootFS": { "Layers": of["rootfs"]["diff_ids"] },
    }]);
    let buildah = json!({ "FromImageID": id, "Config": config, "OCIv1": of });
    (id, docker, buildah)
}

/// What an engine saves of a build for an architecture: a layer that all architectures share, and one of its own.
pub fn saved_for(workshop: &Workshop, name: &str, architecture: &str) -> PathBuf {
    let (shared, own) = (layer("shared"), layer(architecture));
    let config = String::from_utf8(config(&[&shared, &own])).unwrap().replace("arm64", architecture);
    let manifest = json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["1/layer.tar", "2/layer.tar"] }]);
    let members = [
        Member::File("1/layer.tar", shared),
        Member::File("2/layer.tar", own),
        Member::File("c.json", config.into_bytes()),
        Member::File("manifest.json", manifest.to_string().into_bytes()),
    ];
    archive_of(workshop, name, &members)
}

#[test]
fn what_docker_saves() {
    let workshop = Workshop::new();
    let path = saved_archive(&workshop, "saved.tar");
    let image = open(&path, &workshop.open(None)).unwrap();
    check_sound(&image);
    assert_eq!(image.platform.to_string(), "linux/arm64");
    assert_eq!(unpacked(&image.layers()[0]), layer("a"));
    assert_eq!(image.layers()[0].descriptor, image.layers()[2].descriptor);
    assert!(image.layers()[1].descriptor.size < 1 << 16, "compressed on the way");
    assert_eq!(
        image.layers()[3].descriptor.digest,
        digest::of(&gzipped(&layer(&"b".repeat(1 << 21)))),
        "compressed ones stay"
    );
    assert!(matches!(image.layers()[3].source, BlobSource::File { .. }), "and where they are");

    let elsewhere = Workshop::new();
    assert_eq!(open(&path, &elsewhere.open(None)).unwrap().digest, image.digest, "the same on every machine");
    assert_eq!(open(&path, &workshop.open(Some("linux/amd64"))).unwrap_err().kind(), Kind::Input);
}

/// A layout in a tar, as buildx and newer versions of docker save it.
pub fn oci_archive(workshop: &Workshop, plain: bool) -> (PathBuf, String) {
    let raw = layer("content");
    let config = config(&[&raw]);
    let image = workshop.image("x");
    let blob = if plain { raw.clone() } else { super::bytes_of(&image.layers()[0]) };
    let config = if plain { config } else { image.config.to_vec() };
    let suffix = if plain { "" } else { "+gzip" };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest::of(&config), "size": config.len() },
        "layers": [{ "mediaType": format!("application/vnd.oci.image.layer.v1.tar{suffix}"), "digest": digest::of(&blob), "size": blob.len() }],
    });
    let manifest = manifest.to_string().into_bytes();
    let name = digest::of(&manifest);
    let index = json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": name, "size": manifest.len() },
    ] });
    let paths = [&config, &blob, &manifest].map(|bytes| format!("./blobs/sha256/{}", &digest::of(bytes)[7..]));
    let path = archive_of(
        workshop,
        if plain { "plain.tar" } else { "packed.tar" },
        &[
            Member::File(&paths[0], config),
            Member::File(&paths[1], blob),
            Member::File(&paths[2], manifest),
            Member::File("./oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            Member::File("./index.json", index.to_string().into_bytes()),
        ],
    );
    (path, name)
}

#[test]
fn oci_archives_keep_their_digest_unless_they_must_be_compressed() {
    let workshop = Workshop::new();
    let (path, name) = oci_archive(&workshop, false);
    let image = archive::open(&path, &workshop.open(None)).unwrap();
    assert_eq!(image.digest, name);
    check_sound(&image);
    let (path, name) = oci_archive(&workshop, true);
    let image = archive::open(&path, &workshop.open(Some("linux/arm64"))).unwrap();
    assert_ne!(image.digest, name);
    check_sound(&image);
    // From an archive into a layout, by offset.
    layout::write(&image, &workshop.path("out"), None).unwrap();
    assert_eq!(open(&workshop.path("out"), &workshop.open(None)).unwrap().digest, image.digest);
}

#[test]
fn what_is_no_archive_says_so() {
    let workshop = Workshop::new();
    let a = layer("a");
    let manifest =
        |layers: &[&str]| json!([{ "Config": "c", "RepoTags": ["x:1"], "Layers": layers }]).to_string().into_bytes();
    let two = json!([{ "Config": "c", "RepoTags": ["x:1"], "Layers": [] }, { "Config": "c", "RepoTags": ["y:2"], "Layers": [] }]);
    let file = |name: &str, content: &[u8]| {
        let path = workshop.path(name);
        fs::write(&path, content).unwrap();
        path
    };
    let whole = fs::read(oci_archive(&workshop, true).0).unwrap();
    let table = [
        (file("text", b"hello"), Kind::Input, "not an archive of an image"),
        (file("empty", b""), Kind::Input, "not an archive of an image"),
        (file("gz", &[0x1f, 0x8b, 8, 0, 0]), Kind::Input, "is compressed"),
        (file("other.tar", &a), Kind::Input, "not an archive of an image"),
        (file("cut.tar", &whole[..2000]), Kind::BuildOrPush, "ends within"),
        (
            archive_of(&workshop, "two.tar", &[Member::File("manifest.json", two.to_string().into_bytes())]),
            Kind::Input,
            "holds 2 images: x:1, y:2",
        ),
        (
            archive_of(
                &workshop,
                "lacking.tar",
                &[Member::File("c", config(&[&a])), Member::File("manifest.json", manifest(&["l"]))],
            ),
            Kind::BuildOrPush,
            "lacks `l`",
        ),
        (
            archive_of(
                &workshop,
                "other-content.tar",
                &[
                    Member::File("c", config(&[&layer("another")])),
                    Member::File("l", a.clone()),
                    Member::File("manifest.json", manifest(&["l"])),
                ],
            ),
            Kind::BuildOrPush,
            "content is not what its digest says",
        ),
        (
            archive_of(
                &workshop,
                "count.tar",
                &[Member::File("c", config(&[])), Member::File("manifest.json", manifest(&["l"]))],
            ),
            Kind::BuildOrPush,
            "holds 1 layers",
        ),
    ];
    for (path, kind, message) in table {
        let error = open(&path, &workshop.open(None)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(message), "{error:?}");
    }
}
