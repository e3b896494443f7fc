//! Several platforms under one name: made, in layouts and archives, and the parts of them.

use std::path::Path;

use serde_json::{Value, json};
use steadystate::error::Kind;
use steadystate::image::index::{self, Part};
use steadystate::image::manifest::{self, Document, IndexEntry, OCI_INDEX, OCI_MANIFEST};
use steadystate::image::{BlobSource, Built, Image, Platform, Tree, digest, layers, whole};

use super::{Workshop, bytes_of, entry};

pub fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

/// An image for a platform, whose program is distinct.
pub fn image_for(workshop: &Workshop, text: &str) -> Image {
    workshop.file("hello", format!("a program for {text}"));
    workshop.file("shared", "what all platforms share");
    let mut spec = workshop.spec(vec![vec![entry("shared", "/shared")], vec![entry("hello", "/hello")]]);
    spec.platform = platform(text);
    layers::assemble(spec, None).unwrap()
}

/// What buildx attests of an image: a manifest of another kind, for a platform that there is not.
pub fn attestation(about: &Image) -> (Value, Image) {
    let statement = format!("{{\"subject\":\"{}\"}}", about.digest);
    let layer = digest::of(statement.as_bytes());
    let config =
        json!({ "architecture": "unknown", "os": "unknown", "rootfs": { "type": "layers", "diff_ids": [layer] } });
    let blob = |media_type: &str, bytes: String| steadystate::image::Blob {
        descriptor: steadystate::image::Descriptor {
            media_type: media_type.into(),
            digest: digest::of(bytes.as_bytes()),
            size: bytes.len() as u64,
        },
        source: BlobSource::Memory(bytes.into()),
    };
    let layers = vec![blob("application/vnd.in-toto+json", statement)];
    let image = manifest::write(layers, config.to_string().into(), Platform::new("unknown", "unknown", None));
    let entry = json!({
        "mediaType": OCI_MANIFEST, "digest": image.digest, "size": image.manifest.len(),
        "annotations": { "vnd.docker.reference.digest": about.digest, "vnd.docker.reference.type": "attestation-manifest" },
        "platform": { "architecture": "unknown", "os": "unknown" },
    });
    (entry, image)
}

/// An index as buildx makes it: images, then what is attested of them.
pub fn attested(images: &[Image]) -> (String, Vec<Image>) {
    let plain: Value = serde_json::from_slice(&index::of(images).unwrap().root.bytes).unwrap();
    let mut entries = plain["manifests"].as_array().unwrap().clone();
    let mut all = images.to_vec();
    for image in images {
        let (entry, attestation) = attestation(image);
        entries.push(entry);
        all.push(attestation);
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, "annotations": { "made.by": "somebody" },
    });
    (index.to_string(), all)
}

/// A layout whose `index.json` names one index.
pub fn layout_of(folder: &Path, index: &str, images: &[Image]) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| std::fs::write(blobs.join(digest::hex_of(&digest::of(bytes)).unwrap()), bytes).unwrap();
    for image in images {
        put(&image.manifest);
        image.blobs.iter().for_each(|blob| put(&bytes_of(blob)));
    }
    put(index.as_bytes());
    let entry = json!({ "mediaType": OCI_INDEX, "digest": digest::of(index.as_bytes()), "size": index.len() });
    let top = json!({ "schemaVersion": 2, "manifests": [entry] });
    std::fs::write(folder.join("index.json"), top.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn entries(bytes: &[u8]) -> Vec<IndexEntry> {
    match manifest::parse(bytes, None, "it").unwrap() {
        Document::Index(entries) => entries,
        Document::Image(_) => panic!("an image"),
    }
}

fn tree(built: Built) -> Tree {
    match built {
        Built::Index(tree) => tree,
        other => panic!("{other:?}"),
    }
}

fn digests(tree: &Tree) -> Vec<&str> {
    tree.below.iter().map(|one| one.digest.as_str()).collect()
}

#[test]
fn an_index_of_images_is_the_same_bytes_each_time() {
    let workshop = Workshop::new();
    let images = ["linux/amd64", "linux/arm64", "linux/arm/v7"].map(|text| image_for(&workshop, text));
    let tree = index::of(&images).unwrap();
    let shown: Value = serde_json::from_slice(&tree.root.bytes).unwrap();
    assert_eq!((&shown["mediaType"], &shown["schemaVersion"]), (&json!(OCI_INDEX), &json!(2)));
    for (entry, image) in shown["manifests"].as_array().unwrap().iter().zip(&images) {
        assert_eq!((&entry["digest"], &entry["size"]), (&json!(image.digest), &json!(image.manifest.len())));
        assert_eq!(entry["platform"]["architecture"], image.platform.architecture.as_str());
    }
    assert_eq!(shown["manifests"][2]["platform"]["variant"], "v7");
    assert_eq!(digest::of(&tree.root.bytes), tree.digest());
    assert_eq!(index::of(&images).unwrap().digest(), tree.digest());
    assert_eq!(index::listed(&tree.platforms()), "linux/amd64, linux/arm64, linux/arm/v7");
    // three programs and configs, and one layer that they share
    assert_eq!((tree.blobs().count(), tree.below.len()), (7, 3));
    let twice = index::of(&[images[0].clone(), images[0].clone()]).unwrap_err();
    assert_eq!((twice.kind(), twice.to_string()), (Kind::Input, "there are two images for linux/amd64".to_owned()));
}

#[test]
fn parts_of_an_index() {
    let workshop = Workshop::new();
    let images = ["linux/amd64", "linux/arm64", "linux/s390x"].map(|text| image_for(&workshop, text));
    let (index, all) = attested(&images);
    let entries = entries(index.as_bytes());
    let part = |platforms: &[&str]| {
        let platforms: Vec<Platform> = platforms.iter().map(|text| platform(text)).collect();
        index::part(index.as_bytes(), &entries, &platforms, "it")
    };
    assert!(matches!(part(&[]).unwrap(), Part::Whole));
    assert!(matches!(part(&["linux/s390x", "linux/arm64", "linux/amd64"]).unwrap(), Part::Whole));
    assert!(matches!(part(&["linux/arm64"]).unwrap(), Part::One(entry) if entry.descriptor.digest == images[1].digest));
    let Part::Several(bytes) = part(&["linux/arm64", "linux/amd64"]).unwrap() else { panic!("another part") };
    let shown: Value = serde_json::from_slice(&bytes).unwrap();
    let kept: Vec<&str> =
        shown["manifests"].as_array().unwrap().iter().map(|one| one["digest"].as_str().unwrap()).collect();
    // what is attested of them stays with them
    assert_eq!(kept, [&all[0].digest, &all[1].digest, &all[3].digest, &all[4].digest]);
    assert_eq!(shown["annotations"]["made.by"], "somebody");
    let error = part(&["linux/amd64", "linux/riscv64"]).unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (Kind::Input, "it holds no image for linux/riscv64".to_owned()));
    // an attestation is never the image, whatever is asked for
    let unknown = index::part(index.as_bytes(), &entries, &[Platform::new("unknown", "unknown", None)], "it");
    assert_eq!(unknown.unwrap_err().kind(), Kind::Input);
}

#[test]
fn a_layout_with_an_index_is_taken_whole() {
    let workshop = Workshop::new();
    let images = ["linux/amd64", "linux/arm64"].map(|text| image_for(&workshop, text));
    let (index, all) = attested(&images);
    let folder = workshop.path("layout");
    layout_of(&folder, &index, &all);
    let archive = workshop.path("layout.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&archive).unwrap());
    tar.append_dir_all(".", &folder).unwrap();
    tar.into_inner().unwrap();
    for path in [&folder, &archive] {
        // whatever the tasks run on: an image stays what it is
        for wanted in [None, Some("linux/arm64")] {
            let found = tree(whole::draft(path, &[], &workshop.open(wanted)).unwrap());
            assert_eq!(found.digest(), digest::of(index.as_bytes()));
            let expected: Vec<&str> = all.iter().map(|image| image.digest.as_str()).collect();
            assert_eq!(digests(&found), expected);
            assert_eq!(index::listed(&found.platforms()), "linux/amd64, linux/arm64");
            for blob in found.blobs() {
                assert_eq!(digest::of(&bytes_of(blob)), blob.descriptor.digest);
            }
        }
        let one = whole::draft(path, &[platform("linux/arm64")], &workshop.open(None)).unwrap();
        assert!(matches!(one, Built::Image(image) if image.digest == images[1].digest));
        let error = whole::draft(path, &[platform("linux/arm/v7")], &workshop.open(None)).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        let error = whole::draft(path, &[platform("linux/amd64"), platform("linux/s390x")], &workshop.open(None));
        assert_eq!(error.unwrap_err().kind(), Kind::Input);
    }
}

/// `docker save` leaves out what it does not have, and names it all the same.
#[test]
fn an_index_of_which_parts_were_left_out_is_no_whole() {
    let workshop = Workshop::new();
    let images = ["linux/amd64", "linux/arm64"].map(|text| image_for(&workshop, text));
    let (index, all) = attested(&images);
    let folder = workshop.path("layout");
    layout_of(&folder, &index, &all[..1]);
    let found = whole::draft(&folder, &[], &workshop.open(Some("linux/amd64"))).unwrap();
    assert!(matches!(found, Built::Image(image) if image.digest == images[0].digest));
    let error = whole::draft(&folder, &[], &workshop.open(None)).unwrap_err();
    assert!(error.to_string().contains("several platforms"), "{error:?}");
    // a damaged manifest is said, and not passed over
    let path = folder.join("blobs/sha256").join(digest::hex_of(&all[0].digest).unwrap());
    std::fs::write(path, vec![b' '; all[0].manifest.len()]).unwrap();
    let error = whole::draft(&folder, &[], &workshop.open(None)).unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error:?}");
}

/// Where `index.json` itself names the platforms there is no index to keep: those that are asked for make one.
#[test]
fn images_beside_each_other_make_an_index_when_asked() {
    let workshop = Workshop::new();
    let images = ["linux/amd64", "linux/arm64"].map(|text| image_for(&workshop, text));
    let folder = workshop.path("layout");
    for (image, name) in images.iter().zip(["one", "two"]) {
        steadystate::image::layout::write(image, &folder, Some(name)).unwrap();
    }
    let platforms = [platform("linux/amd64"), platform("linux/arm64")];
    let found = whole::draft(&folder, &platforms, &workshop.open(None)).unwrap().tree().unwrap();
    assert_eq!(found.digest(), index::of(&images).unwrap().digest());
    let one = whole::draft(&folder, &[], &workshop.open(Some("linux/arm64"))).unwrap();
    assert!(matches!(one, Built::Image(image) if image.digest == images[1].digest));
}
