//! Images that come as a stream, read once.

use serde_json::{Value, json};
use steadystate::error::Kind;
use steadystate::image::saved::{Found, Sought, from_stdin, read};
use steadystate::image::{BlobSource, Built, Compression, Open, digest};

use super::archives::{Member, archive_of, config, gzipped, layer, oci_archive, saved_archive, small_archive};
use super::{Workshop, check_sound, unpacked};

fn came(workshop: &Workshop, bytes: &[u8]) -> Result<Built, steadystate::error::Error> {
    from_stdin(bytes, &workshop.open(None))
}

#[test]
fn the_same_image_as_from_a_file() {
    let workshop = Workshop::new();
    let path = saved_archive(&workshop, "saved.tar");
    let from_file = steadystate::image::open(&path, &Workshop::new().open(None)).unwrap();
    let plain = std::fs::read(&path).unwrap();
    let packed = [gzipped(&plain), zstd::encode_all(&plain[..], 1).unwrap()];
    for bytes in [&plain, &packed[0], &packed[1]] {
        let image = came(&workshop, bytes).unwrap().settled().unwrap();
        assert_eq!(image.digest, from_file.digest);
        check_sound(&image);
    }
    let wanted: Open = workshop.open(Some("linux/amd64"));
    assert_eq!(from_stdin(&plain[..], &wanted).unwrap_err().kind(), Kind::Input);
}

/// `blobs/sha256/…` of Docker 25 and later: `manifest.json` is what counts where layers are as they are.
fn docker_25(workshop: &Workshop, layouts_manifest: bool) -> (Vec<u8>, String) {
    let (raw, other) = (layer("content"), layer("other"));
    let config = config(&[&raw, &other, &raw]);
    let name = |bytes: &[u8]| format!("blobs/sha256/{}", &digest::of(bytes)[7..]);
    let about = |bytes: &[u8], kind: &str| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest::of(bytes), "size": bytes.len() });
    let layers: Vec<_> = [&raw, &other, &raw].map(|layer| about(layer, "layer.v1.tar")).into();
    let layers = if layouts_manifest { layers } else { Vec::new() };
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": about(&config, "config.v1+json"), "layers": layers });
    let manifest = manifest.to_string().into_bytes();
    let index = json!({ "schemaVersion": 2, "manifests": [about(&manifest, "manifest.v1+json")] });
    let listed =
        json!([{ "Config": name(&config), "RepoTags": null, "Layers": [name(&raw), name(&other), name(&raw)] }]);
    let names = [&config, &raw, &other, &manifest].map(|bytes| name(bytes));
    let path = archive_of(
        workshop,
        "docker25.tar",
        &[
            Member::File(&names[0], config.clone()),
            Member::File(&names[1], raw),
            Member::File(&names[2], other),
            Member::File(&names[3], manifest),
            Member::File("index.json", index.to_string().into_bytes()),
            Member::File("manifest.json", listed.to_string().into_bytes()),
            Member::File("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ],
    );
    (std::fs::read(path).unwrap(), digest::of(&config))
}

#[test]
fn archives_of_newer_dockers() {
    let workshop = Workshop::new();
    let (bytes, config) = docker_25(&workshop, true);
    let image = came(&workshop, &bytes).unwrap().settled().unwrap();
    check_sound(&image);
    assert_eq!((digest::of(&image.config), image.layers().len()), (config, 3));
    // Docker 25.0 forgot the layers in the layout's own manifest.
    let (bytes, _) = docker_25(&workshop, false);
    assert_eq!(came(&workshop, &bytes).unwrap().settled().unwrap().digest, image.digest);
}

/// With docker's containerd store, and of `skopeo copy … oci-archive:`.
#[test]
fn layouts_with_compressed_layers_keep_their_digest() {
    let workshop = Workshop::new();
    let (path, digest) = oci_archive(&workshop, false);
    let Built::Image(image) = came(&workshop, &std::fs::read(path).unwrap()).unwrap() else { panic!("as it is") };
    assert_eq!(image.digest, digest);
    check_sound(&image);
    assert!(matches!(image.layers()[0].source, BlobSource::Spooled(_)));
    let (path, other) = oci_archive(&workshop, true);
    let image = came(&workshop, &std::fs::read(path).unwrap()).unwrap().settled().unwrap();
    check_sound(&image);
    assert_ne!(image.digest, other, "compressed, it is another manifest");
}

#[test]
fn what_is_no_image_is_refused() {
    let workshop = Workshop::new();
    small_archive(&workshop, "a.tar", &"a".repeat(100_000));
    let whole = std::fs::read(workshop.path("a.tar")).unwrap();
    let two = json!([
        { "Config": "c.json", "RepoTags": ["x:1"], "Layers": [] }, { "Config": "c.json", "RepoTags": ["y:2"], "Layers": [] },
    ]);
    let two = archive_of(&workshop, "two.tar", &[Member::File("manifest.json", two.to_string().into_bytes())]);
    let other = archive_of(&workshop, "other.tar", &[Member::File("readme", b"hello".to_vec())]);
    let mut damaged = whole.clone();
    damaged[60_000] ^= 1;
    let mut damaged_name = docker_25(&workshop, true).0;
    let at = damaged_name.windows(7).position(|window| window == b"content").unwrap();
    damaged_name[at] = b'C';
    let refused = [
        (Vec::new(), Kind::Input, "nothing came on stdin"),
        (b"hello, this is no archive of anything\n".repeat(100), Kind::Input, "stdin is not an archive of an image"),
        (std::fs::read(other).unwrap(), Kind::Input, "stdin is not an archive of an image"),
        (std::fs::read(two).unwrap(), Kind::Input, "stdin holds 2 images: x:1, y:2"),
        (whole[..50_000].to_vec(), Kind::BuildOrPush, "stdin was cut short within `1/layer.tar`"),
        (gzipped(&whole)[..200].to_vec(), Kind::BuildOrPush, "stdin was cut short"),
        (whole[..102_400].to_vec(), Kind::Input, "stdin is not an archive of an image"),
        (damaged, Kind::BuildOrPush, "a layer of stdin is damaged"),
        (damaged_name, Kind::BuildOrPush, "a layer of stdin is damaged"),
        (b"\xfd7zXZ\0 and so on".to_vec(), Kind::Input, "compressed with xz"),
    ];
    for (bytes, kind, words) in refused {
        let error = came(&workshop, &bytes).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error:?}");
        assert_eq!(error.kind(), kind, "{words}");
        assert!(!error.hints().is_empty(), "{words}");
    }
    let left: Vec<_> =
        std::fs::read_dir(workshop.cache.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "nothing half written stays: {left:?}");
}

/// A layer whose first file has a name that begins like JSON is a layer.
#[test]
fn a_layer_that_looks_like_a_document() {
    let workshop = Workshop::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    tar.append_data(&mut header, "{odd}", &b"hi"[..]).unwrap();
    let odd = tar.into_inner().unwrap();
    let listed = json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["1/layer.tar"] }]);
    let path = archive_of(
        &workshop,
        "odd.tar",
        &[
            Member::File("1/layer.tar", odd.clone()),
            Member::File("c.json", config(&[&odd])),
            Member::File("manifest.json", listed.to_string().into_bytes()),
        ],
    );
    let image = came(&workshop, &std::fs::read(path).unwrap()).unwrap().settled().unwrap();
    assert_eq!(unpacked(&image.layers()[0]), odd);
}

#[test]
fn pieces_of_any_size() {
    let workshop = Workshop::new();
    small_archive(&workshop, "a.tar", "content");
    let whole = std::fs::read(workshop.path("a.tar")).unwrap();
    struct Bytewise(std::vec::IntoIter<u8>);
    impl std::io::Read for Bytewise {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let Some(byte) = self.0.next() else { return Ok(0) };
            buffer[0] = byte;
            Ok(1)
        }
    }
    let image = from_stdin(Bytewise(whole.into_iter()), &workshop.open(None)).unwrap().settled().unwrap();
    check_sound(&image);
}

/// What Docker 20.10 saved, but for the layers: its ids say which layer is where, before its bytes come.
#[test]
fn layers_of_an_old_docker_are_known_before_they_come() {
    let workshop = Workshop::new();
    let lower = include_bytes!("../../fixtures/docker-20.10-save/lower.json");
    let upper = include_bytes!("../../fixtures/docker-20.10-save/upper.json");
    let text = include_bytes!("../../fixtures/docker-20.10-save/config.json");
    let id = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap()["id"].as_str().unwrap().to_owned();
    let name = |json: &[u8], file: &str| format!("{}/{file}", id(json));
    let diff_ids = steadystate::image::config::diff_ids(text).unwrap();
    let read = |layers: [&[u8]; 2], missing: &[&String]| {
        let names = [name(lower, "VERSION"), name(lower, "json"), name(lower, "layer.tar")];
        let others = [name(upper, "json"), name(upper, "layer.tar")];
        let members = [
            Member::File(&names[0], b"1.0".to_vec()),
            Member::File(&names[1], lower.to_vec()),
            Member::File(&names[2], layers[0].to_vec()),
            Member::File("config.json", text.to_vec()),
            Member::File(&others[0], upper.to_vec()),
            Member::File(&others[1], layers[1].to_vec()),
        ];
        let stream = std::fs::File::open(archive_of(&workshop, "old.tar", &members)).unwrap();
        let sought = Sought {
            config: Some(digest::of(text)),
            diff_ids: diff_ids.clone(),
            missing: missing.iter().map(|id| (*id).clone()).collect(),
            passed: diff_ids.iter().filter(|id| !missing.contains(id)).cloned().collect(),
        };
        read(stream, "it", &sought, &workshop.cache, Compression::Gzip, &mut |_| {})
    };
    let other = layer("another layer");
    assert!(matches!(read([&other, &other], &[]).unwrap(), Found::Enough(_)));
    for at in [0, 1] {
        let Err(error) = read([&other, &other], &[&diff_ids[at]]) else { panic!("layer {at} is damaged") };
        let hint = &error.hints()[0];
        assert!(hint.contains(&diff_ids[at]) && hint.contains(&digest::of(&other)), "{hint}");
    }
}
