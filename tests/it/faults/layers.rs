//! Layers of images that the lab runs: what they may do, and what they may not (46 to 50).

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};
use steadystate::lab::runtime::unpack::{Limits, unpack};
use steadystate::lab::runtime::{ContainerSpec, ImageSource, Runtime, TaskSpec};
use tar::EntryType;

use crate::lab_runtime::HELPER;
use crate::lab_runtime::image::{GZIP, Layer, PLAIN, ZSTD, compress, sha256, write, write_with};

/// A root with something to guard beside it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        fs::write(folder.path().join("secret"), "kept").unwrap();
        Place { folder }
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("root")
    }

    fn apply(&self, layers: Vec<Vec<u8>>) -> Result<(), String> {
        let layers: Vec<_> = layers.into_iter().map(|layer| (layer, PLAIN)).collect();
        let image = write(&self.folder.path().join("blobs"), &layers, Value::Null);
        self.unpack(&image, Limits::default())
    }

    fn unpack(&self, image: &ImageSource, limits: Limits) -> Result<(), String> {
        unpack(image, &diff_ids(image), &self.root(), limits).map_err(|error| error.to_string())
    }

    /// Everything in the root, sorted; directories with a slash, links with their target.
    fn tree(&self) -> Vec<String> {
        let mut tree: Vec<String> = walkdir::WalkDir::new(self.root())
            .min_depth(1)
            .into_iter()
            .map(|entry| {
                let entry = entry.unwrap();
                let path = entry.path().strip_prefix(self.root()).unwrap().display().to_string();
                match entry.file_type() {
                    kind if kind.is_dir() => format!("{path}/"),
                    kind if kind.is_symlink() => {
                        format!("{path} -> {}", fs::read_link(entry.path()).unwrap().display())
                    }
                    _ => format!("{path}={}", fs::read_to_string(entry.path()).unwrap_or_default()),
                }
            })
            .collect();
        tree.sort();
        tree
    }

    fn assert_outside_untouched(&self) {
        let mut names: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["blobs", "root", "secret"]);
        assert_eq!(fs::read_to_string(self.folder.path().join("secret")).unwrap(), "kept");
        assert_eq!(fs::metadata(self.folder.path().join("secret")).unwrap().nlink(), 1);
    }
}

fn diff_ids(image: &ImageSource) -> Vec<String> {
    let config: Value = serde_json::from_slice(&fs::read(&image.config).unwrap()).unwrap();
    serde_json::from_value(config["rootfs"]["diff_ids"].clone()).unwrap()
}

#[test]
fn case_46_nothing_is_written_outside_the_root() {
    let up = "../secret";
    // what the layer does -> what is in the root afterwards, or why it is refused
    type Outcome = Result<&'static [&'static str], &'static str>;
    let table: Vec<(&str, Layer, Outcome)> = {
        let layer = |make: &dyn Fn(&mut Layer) -> &mut Layer| {
            let mut layer = Layer::default();
            make(&mut layer);
            layer
        };
        vec![
            ("dot dot", layer(&|l| l.file(up, 0o644, b"evil")), Err("leads out")),
            ("dot dot inside", layer(&|l| l.file("a/../../secret", 0o644, b"evil")), Err("leads out")),
            ("absolute", layer(&|l| l.file("/secret", 0o644, b"in")), Ok(&["secret=in"])),
            ("dot", layer(&|l| l.directory("./", 0o755).file("./a", 0o644, b"in")), Ok(&["a=in"])),
            (
                "through a relative link",
                layer(&|l| l.symlink("out", "..").file("out/secret", 0o644, b"evil")),
                Ok(&["out -> ..", "secret=evil"]),
            ),
            (
                "through an absolute link",
                layer(&|l| l.directory("tmp", 0o755).symlink("out", "/tmp").file("out/x", 0o644, b"in")),
                Ok(&["out -> /tmp", "tmp/", "tmp/x=in"]),
            ),
            (
                "over a link",
                layer(&|l| l.symlink("passwd", "../secret").file("passwd", 0o644, b"in")),
                Ok(&["passwd=in"]),
            ),
            ("hard link out", layer(&|l| l.hardlink("got", up)), Err("leads out")),
            ("hard link absolute", layer(&|l| l.hardlink("got", "/secret")), Err("No such file")),
            (
                "hard link through a link",
                layer(&|l| l.symlink("out", "..").hardlink("got", "out/secret")),
                Err("No such file"),
            ),
            (
                "hard link to a link, then written",
                layer(&|l| l.symlink("s", "../secret").hardlink("h", "s").file("h", 0o644, b"in")),
                Ok(&["h=in", "s -> ../secret"]),
            ),
            ("whiteout out", layer(&|l| l.symlink("out", "..").file("out/.wh.secret", 0o644, b"")), Ok(&["out -> .."])),
            ("whiteout of dot dot", layer(&|l| l.file("a/.wh...", 0o644, b"")), Ok(&["a/"])),
            ("the root as a file", layer(&|l| l.file(".", 0o644, b"evil")), Err("leads out")),
            (
                "a link loop",
                layer(&|l| l.symlink("a", "b").symlink("b", "a").file("a/x", 0o644, b"")),
                Err("symbolic link"),
            ),
        ]
    };
    for (name, mut layer, expected) in table {
        let place = Place::new();
        match (place.apply(vec![layer.finish()]), expected) {
            (Ok(()), Ok(tree)) => assert_eq!(place.tree(), tree, "{name}"),
            (Err(error), Err(text)) => assert!(error.contains(text), "{name}: {error}"),
            (found, expected) => panic!("{name}: {found:?} instead of {expected:?}"),
        }
        place.assert_outside_untouched();
    }
}

#[test]
fn case_47_whiteouts_hide_what_lies_below_and_nothing_else() {
    type Make = fn(&mut Layer) -> &mut Layer;
    let base: Make = |l| {
        l.directory("d", 0o755)
            .file("d/a", 0o644, b"1")
            .file("d/b", 0o644, b"1")
            .directory("d/s", 0o755)
            .file("d/s/x", 0o644, b"1")
    };
    let table: &[(&str, Make, Make, &[&str])] = &[
        ("whiteout", base, |l| l.file("d/.wh.a", 0, b""), &["d/", "d/b=1", "d/s/", "d/s/x=1"]),
        ("whiteout of a directory", base, |l| l.file("d/.wh.s", 0, b""), &["d/", "d/a=1", "d/b=1"]),
        ("whiteout of nothing", base, |l| l.file("d/.wh.zz", 0, b""), &["d/", "d/a=1", "d/b=1", "d/s/", "d/s/x=1"]),
        ("opaque", base, |l| l.directory("d", 0o755).file("d/.wh..wh..opq", 0, b""), &["d/"]),
        (
            "opaque before its own",
            base,
            |l| l.file("d/.wh..wh..opq", 0, b"").file("d/a", 0o644, b"2"),
            &["d/", "d/a=2"],
        ),
        (
            "opaque after its own",
            base,
            |l| l.file("d/a", 0o644, b"2").file("d/s/y", 0o644, b"2").file("d/.wh..wh..opq", 0, b""),
            &["d/", "d/a=2", "d/s/", "d/s/y=2"],
        ),
        (
            "whiteout spares its own layer",
            base,
            |l| l.file("d/a", 0o644, b"2").file("d/.wh.a", 0, b""),
            &["d/", "d/a=2", "d/b=1", "d/s/", "d/s/x=1"],
        ),
        ("file over directory", base, |l| l.file("d", 0o644, b"2"), &["d=2"]),
        ("directory over file", base, |l| l.directory("d/a", 0o755), &["d/", "d/a/", "d/b=1", "d/s/", "d/s/x=1"]),
        ("link over directory", base, |l| l.symlink("d", "/e"), &["d -> /e"]),
        (
            "through a lower link",
            |l| l.directory("run", 0o755).directory("var", 0o755).symlink("var/run", "/run"),
            |l| l.file("var/run/pid", 0o644, b"1"),
            &["run/", "run/pid=1", "var/", "var/run -> /run"],
        ),
        (
            "directory over a lower link",
            |l| l.directory("run", 0o755).symlink("link", "/run"),
            |l| l.directory("link", 0o755).file("link/x", 0o644, b"1"),
            &["link/", "link/x=1", "run/"],
        ),
        (
            "hard link to a lower file",
            base,
            |l| l.hardlink("d/c", "d/a").hardlink("d/c", "d/c"),
            &["d/", "d/a=1", "d/b=1", "d/c=1", "d/s/", "d/s/x=1"],
        ),
    ];
    for (name, lower, upper, expected) in table {
        let place = Place::new();
        let (mut below, mut above) = (Layer::default(), Layer::default());
        lower(&mut below);
        upper(&mut above);
        place.apply(vec![below.finish(), above.finish()]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(place.tree(), *expected, "{name}");
    }
}

#[test]
fn case_50_devices_are_skipped_and_privileges_dropped() {
    let place = Place::new();
    let mut layer = Layer::default();
    layer
        .entry(EntryType::Char, "null", 0o666, "", b"")
        .entry(EntryType::Block, "sda", 0o666, "", b"")
        .entry(EntryType::Fifo, "fifo", 0o644, "", b"")
        .file("sudo", 0o6755, b"")
        .directory("tmp", 0o1777)
        .directory("shared", 0o2775);
    place.apply(vec![layer.finish()]).unwrap();
    let mode = |name: &str| fs::metadata(place.root().join(name)).unwrap().permissions().mode() & 0o7777;
    assert!(!place.root().join("null").exists() && !place.root().join("sda").exists());
    assert!(fs::metadata(place.root().join("fifo")).unwrap().file_type().is_fifo());
    assert_eq!((mode("sudo"), mode("tmp"), mode("shared")), (0o755, 0o1777, 0o775));
    assert_eq!(fs::metadata(place.root().join("sudo")).unwrap().mtime(), 1_700_000_000);
}

#[test]
fn long_names_and_every_compression() {
    let name = format!("{}/file", "long-".repeat(30));
    for media_type in [PLAIN, GZIP, ZSTD] {
        let place = Place::new();
        let mut layer = Layer::default();
        let text = format!("path={name}\n");
        let record = |length: usize| format!("{length} {text}");
        let pax = record(record(text.len() + 4).len());
        layer.entry(EntryType::XHeader, "pax", 0, "", pax.as_bytes()).file("short", 0o644, b"pax");
        let gnu = format!("{name}2\0");
        layer.entry(EntryType::GNULongName, "././@LongLink", 0, "", gnu.as_bytes()).file("short", 0o644, b"gnu");
        let image = write(&place.folder.path().join("blobs"), &[(layer.finish(), media_type)], Value::Null);
        place.unpack(&image, Limits::default()).unwrap();
        assert_eq!(place.tree()[1..], [format!("{name}2=gnu"), format!("{name}=pax")], "{media_type}");
    }
    let place = Place::new();
    let image = write(&place.folder.path().join("blobs"), &[(Layer::default().finish(), "text/plain")], Value::Null);
    assert!(place.unpack(&image, Limits::default()).unwrap_err().contains("text/plain"));
}

#[test]
fn case_48_bombs_are_cut_off_by_bytes_ratio_and_entries() {
    let small = Limits { bytes: 8 << 20, entries: 100, ratio: 20, ratio_from: 1 << 20 };
    let zeroes = |megabytes: usize| Layer::default().file("bomb", 0o644, &vec![0; megabytes << 20]).finish();
    let mut many = Layer::default();
    for at in 0..200 {
        many.file(&format!("{at}"), 0o644, b"");
    }
    let noise: Vec<u8> = (0..12u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let table = [
        ("gzip ratio", vec![(zeroes(4), GZIP)], "more than this lab allows"),
        ("zstd ratio", vec![(zeroes(4), ZSTD)], "more than this lab allows"),
        ("bytes", vec![(Layer::default().file("big", 0o644, &noise).finish(), PLAIN)], "more than this lab allows"),
        (
            "bytes of all layers",
            vec![
                (Layer::default().file("a", 0o644, &noise[..5 << 20]).finish(), PLAIN),
                (Layer::default().file("b", 0o644, &noise[..5 << 20]).finish(), PLAIN),
            ],
            "more than this lab allows",
        ),
        ("entries", vec![(many.finish(), PLAIN)], "too many entries"),
    ];
    for (name, layers, text) in table {
        let place = Place::new();
        let image = write(&place.folder.path().join("blobs"), &layers, Value::Null);
        let error = place.unpack(&image, small).unwrap_err();
        assert!(error.contains(text), "{name}: {error}");
    }
    // an extension header that claims gigabytes is not read into memory
    let place = Place::new();
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(4 << 30);
    header.set_cksum();
    let image = write(&place.folder.path().join("blobs"), &[(header.as_bytes().to_vec(), PLAIN)], Value::Null);
    assert!(place.unpack(&image, Limits::default()).unwrap_err().contains("extension header"));
}

/// As a task would meet them, at the limits that the lab has: the task says why, and nothing is left on disk.
#[tokio::test]
async fn case_48_a_bomb_frees_the_disk_that_it_took() {
    let data = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(data.path().to_owned(), None, HELPER.into()).unwrap();
    for media_type in [GZIP, ZSTD] {
        let bomb = Layer::default().file("bomb", 0o644, &vec![0; 128 << 20]).finish();
        let image = write(&data.path().join("blobs"), &[(bomb, media_type)], json!({ "Entrypoint": ["/bomb"] }));
        let container = ContainerSpec { name: "c".into(), image, ..ContainerSpec::default() };
        let task = TaskSpec { task_id: "t".into(), containers: vec![container], volumes: Vec::new() };
        let error = runtime.start(task).await.unwrap_err();
        assert!(error.reason.starts_with("CannotPullContainerError: "), "{media_type}: {error}");
        assert!(error.reason.contains("more than this lab allows"), "{media_type}: {error}");
        for folder in ["runtime/images", "runtime/tasks"] {
            assert_eq!(entries(&data.path().join(folder)), 0, "{media_type}: disk is not freed");
        }
    }
}

#[tokio::test]
async fn case_49_a_layer_that_is_not_what_the_config_says_never_runs() {
    let data = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(data.path().to_owned(), None, HELPER.into()).unwrap();
    let blobs = data.path().join("blobs");
    let layer = || Layer::default().file("tool", 0o755, b"x").finish();
    let config = || json!({ "Entrypoint": ["/tool"] });
    let truncated = {
        let image = write(&blobs, &[(layer(), GZIP)], config());
        let whole = compress(&layer(), GZIP);
        let path = data.path().join("truncated");
        fs::File::create(&path).unwrap().write_all(&whole[..whole.len() - 12]).unwrap();
        let mut image = image;
        image.layers[0].path = path;
        image.digest = sha256(b"truncated");
        image
    };
    let mut missing = write(&blobs, &[(layer(), GZIP)], config());
    missing.layers[0].path = data.path().join("nowhere");
    let table = [
        (
            "wrong diffID",
            write_with(&blobs, &[(layer(), GZIP)], config(), &[sha256(b"other")]),
            "but the image's config says",
        ),
        ("too few diffIDs", write_with(&blobs, &[(layer(), PLAIN)], config(), &[]), "names 0 layers"),
        ("truncated", truncated, "failed to register layer"),
        ("missing blob", missing, "No such file"),
        (
            "bad digest",
            ImageSource { digest: "sha256:../../x".into(), ..write(&blobs, &[(layer(), ZSTD)], config()) },
            "not the digest",
        ),
    ];
    for (name, image, text) in table {
        let container = ContainerSpec { name: "c".into(), image, ..ContainerSpec::default() };
        let task = TaskSpec { task_id: "t".into(), containers: vec![container], volumes: Vec::new() };
        let error = runtime.start(task).await.unwrap_err();
        assert!(error.reason.starts_with("CannotPullContainerError: "), "{name}: {error}");
        assert!(error.reason.contains(text), "{name}: {error}");
        assert_eq!(entries(&data.path().join("runtime/images")), 0, "{name}: disk is not freed");
        assert_eq!(entries(&data.path().join("runtime/tasks")), 0, "{name}: disk is not freed");
    }
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}
