use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use steadystate::error::Kind;
use steadystate::image::{Image, Platform, digest, layout};

use super::{Workshop, check_sound};

/// Puts a JSON document into a layout and gives its descriptor.
fn put(folder: &Path, media_type: &str, document: &Value) -> Value {
    let text = document.to_string();
    let name = digest::of(text.as_bytes());
    fs::write(folder.join("blobs/sha256").join(&name[7..]), &text).unwrap();
    json!({ "mediaType": media_type, "digest": name, "size": text.len() })
}

fn with_platform(mut descriptor: Value, platform: &str) -> Value {
    let platform: Vec<&str> = platform.split('/').collect();
    descriptor["platform"] = json!({ "os": platform[0], "architecture": platform[1] });
    if let Some(variant) = platform.get(2) {
        descriptor["platform"]["variant"] = json!(variant);
    }
    descriptor
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn index_of(manifests: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}

fn descriptor(image: &Image) -> Value {
    json!({ "mediaType": image.media_type, "digest": image.digest, "size": image.manifest.len() })
}

fn image_for(workshop: &Workshop, platform: &str) -> Image {
    workshop.file("hello", platform);
    let mut spec = workshop.spec(vec![vec![super::entry("hello", "/hello")]]);
    spec.platform = platform.parse().unwrap();
    steadystate::image::layers::assemble(spec, None).unwrap()
}

/// A layout as buildx makes it: an index in an index, two platforms, an attestation for each.
pub fn multi_platform(workshop: &Workshop) -> (std::path::PathBuf, Image, Image) {
    let folder = workshop.path("layout");
    let (amd, arm) = (image_for(workshop, "linux/amd64"), image_for(workshop, "linux/arm64"));
    layout::write(&amd, &folder, None).unwrap();
    layout::write(&arm, &folder, None).unwrap();
    let attestation =
        put(&folder, MANIFEST, &json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": {}, "layers": [] }));
    let mut attestation = with_platform(attestation, "unknown/unknown");
    attestation["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let inner = index_of(&[
        attestation.clone(),
        with_platform(descriptor(&amd), "linux/amd64"),
        attestation,
        with_platform(descriptor(&arm), "linux/arm64/v8"),
    ]);
    let inner = put(&folder, INDEX, &inner);
    fs::write(folder.join("index.json"), index_of(&[inner]).to_string()).unwrap();
    (folder, amd, arm)
}

#[test]
fn what_is_written_opens_as_the_same_image() {
    let workshop = Workshop::new();
    let image = workshop.image("hello");
    let folder = workshop.path("out");
    layout::write(&image, &folder, Some("hello:v1")).unwrap();
    // Once more is nothing new.
    layout::write(&image, &folder, Some("hello:v1")).unwrap();
    for platform in [None, Some("linux/amd64")] {
        let opened = steadystate::image::open(&folder, &workshop.open(platform)).unwrap();
        assert_eq!((&opened.digest, &opened.manifest, &opened.config), (&image.digest, &image.manifest, &image.config));
        check_sound(&opened);
    }
    let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "hello:v1");
    let blobs = fs::read_dir(folder.join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 3, "manifest, config, layer, and nothing half written");
}

#[test]
fn a_layout_keeps_its_other_images_and_trusts_no_blob() {
    let workshop = Workshop::new();
    let folder = workshop.path("out");
    let (old, new, other) = (workshop.image("old"), workshop.image("new"), workshop.image("other"));
    layout::write(&old, &folder, Some("hello:v1")).unwrap();
    layout::write(&other, &folder, Some("other:v1")).unwrap();
    layout::write(&other, &folder, None).unwrap();
    let read = || serde_json::from_slice::<Value>(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let mut index = read();
    index["annotations"] = json!({ "kept": "too" });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    // damaged, and as long as before
    let layer = folder.join("blobs/sha256").join(&new.blobs[0].descriptor.digest[7..]);
    fs::write(&layer, vec![0; new.blobs[0].descriptor.size as usize]).unwrap();
    layout::write(&new, &folder, Some("hello:v1")).unwrap();
    let index = read();
    let entries = index["manifests"].as_array().unwrap();
    let named: Vec<_> = entries
        .iter()
        .map(|entry| (entry["annotations"]["org.opencontainers.image.ref.name"].as_str(), entry["digest"].as_str()))
        .collect();
    assert_eq!(
        named,
        [
            (Some("other:v1"), Some(&*other.digest)),
            (None, Some(&*other.digest)),
            (Some("hello:v1"), Some(&*new.digest))
        ]
    );
    assert_eq!(index["annotations"]["kept"], "too");
    assert_eq!(digest::of(&fs::read(&layer).unwrap()), new.blobs[0].descriptor.digest);

    fs::write(folder.join("index.json"), "[]").unwrap();
    let error = layout::write(&new, &folder, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Input, "{error}");
}

#[test]
fn a_platform_is_picked_from_an_index_in_an_index() {
    let workshop = Workshop::new();
    let (folder, amd, arm) = multi_platform(&workshop);
    for (platform, expected) in [("linux/amd64", &amd), ("linux/arm64", &arm)] {
        let opened = layout::open(&folder, &workshop.open(Some(platform))).unwrap();
        assert_eq!(opened.digest, expected.digest);
        assert_eq!(opened.platform, platform.parse::<Platform>().unwrap());
    }
    let error = layout::open(&folder, &workshop.open(None)).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().ends_with("several platforms: linux/amd64, linux/arm64"), "{error}");
    let error = layout::open(&folder, &workshop.open(Some("linux/s390x"))).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert_eq!(error.hints(), ["it has linux/amd64, linux/arm64"]);
}

#[test]
fn damage_is_found() {
    type Damage = fn(&Path, &Image);
    let blob = |folder: &Path, digest: &str| folder.join("blobs/sha256").join(&digest[7..]);
    let _ = blob;
    let table: [(&str, Damage, Kind, &str); 7] = [
        ("no folder", |folder, _| fs::remove_dir_all(folder).unwrap(), Kind::Input, "no image at"),
        (
            "no marker",
            |folder, _| fs::remove_file(folder.join("oci-layout")).unwrap(),
            Kind::Input,
            "not an OCI layout",
        ),
        ("no index", |folder, _| fs::remove_file(folder.join("index.json")).unwrap(), Kind::BuildOrPush, "cannot read"),
        (
            "index cut",
            |folder, _| fs::write(folder.join("index.json"), "{\"schema").unwrap(),
            Kind::BuildOrPush,
            "not a manifest",
        ),
        (
            "another manifest",
            |folder, image| {
                fs::write(folder.join("blobs/sha256").join(&image.digest[7..]), vec![b' '; image.manifest.len()])
                    .unwrap()
            },
            Kind::BuildOrPush,
            "is damaged",
        ),
        (
            "a layer lost",
            |folder, image| {
                fs::remove_file(folder.join("blobs/sha256").join(&image.blobs[0].descriptor.digest[7..])).unwrap()
            },
            Kind::BuildOrPush,
            "lacks the blob",
        ),
        (
            "a layer cut",
            |folder, image| {
                fs::write(folder.join("blobs/sha256").join(&image.blobs[0].descriptor.digest[7..]), "x").unwrap()
            },
            Kind::BuildOrPush,
            "has 1 bytes",
        ),
    ];
    for (name, damage, kind, message) in table {
        let workshop = Workshop::new();
        let image = workshop.image("hello");
        let folder = workshop.path("out");
        layout::write(&image, &folder, None).unwrap();
        damage(&folder, &image);
        let error = steadystate::image::open(&folder, &workshop.open(None)).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error:?}");
        assert!(error.to_string().contains(message), "{name}: {error:?}");
    }
}

#[test]
fn a_digest_is_never_a_path() {
    let workshop = Workshop::new();
    let folder = workshop.path("out");
    layout::write(&workshop.image("hello"), &folder, None).unwrap();
    fs::write(workshop.path("secret"), "{}").unwrap();
    for digest in ["sha256:../../../secret", "sha256:/etc/passwd", "sha512:00"] {
        let index = index_of(&[json!({ "mediaType": MANIFEST, "digest": digest, "size": 2 })]);
        fs::write(folder.join("index.json"), index.to_string()).unwrap();
        let error = layout::open(&folder, &workshop.open(None)).unwrap_err();
        assert_eq!(error.kind(), Kind::BuildOrPush, "{error:?}");
    }
}

#[test]
fn other_folders_are_not_written_over() {
    let workshop = Workshop::new();
    workshop.file("precious", "x");
    let error = layout::write(&workshop.image("hello"), &workshop.path("project"), None).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
}
