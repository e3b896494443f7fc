//! Docker's own folders in place of `docker save`: layers that this test unpacked, with the notes that tar-split would
//! make of their tars.

mod pushed;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;
use serde_json::{Value, json};
use steadystate::image::digest;
use steadystate::image::engine::overlay2::{Store, chain_ids};

use super::Workshop;

/// What docker keeps of an image of these layers, and what it says of it.
struct Kept {
    root: PathBuf,
    chain_ids: Vec<String>,
    diff_ids: Vec<String>,
}

impl Kept {
    fn new(root: PathBuf, tars: &[Vec<u8>]) -> Kept {
        let diff_ids: Vec<String> = tars.iter().map(|tar| digest::of(tar)).collect();
        let mut chain_ids: Vec<String> = Vec::new();
        for diff_id in &diff_ids {
            let below = chain_ids.last();
            chain_ids.push(below.map_or(diff_id.clone(), |below| digest::of(format!("{below} {diff_id}").as_bytes())));
        }
        let kept = Kept { root, chain_ids, diff_ids };
        for (at, tar) in tars.iter().enumerate() {
            fs::create_dir_all(kept.about(at)).unwrap();
            fs::create_dir_all(kept.layer(at)).unwrap();
            fs::write(kept.about(at).join("diff"), &kept.diff_ids[at]).unwrap();
            fs::write(kept.about(at).join("cache-id"), format!("layer{at}")).unwrap();
            kept.note(at, &unpack(tar, &kept.layer(at)));
        }
        kept
    }

    fn about(&self, at: usize) -> PathBuf {
        self.root.join("image/overlay2/layerdb/sha256").join(&self.chain_ids[at][7..])
    }

    fn layer(&self, at: usize) -> PathBuf {
        self.root.join(format!("overlay2/layer{at}/diff"))
    }

    fn note(&self, at: usize, notes: &[Value]) {
        let mut text = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for (position, note) in notes.iter().enumerate() {
            let mut note = note.clone();
            note["position"] = position.into();
            writeln!(text, "{note}").unwrap();
        }
        fs::write(self.about(at).join("tar-split.json.gz"), text.finish().unwrap()).unwrap();
    }

    /// The config as docker keeps it, and what `docker image inspect` says of the image's files.
    fn image(&self, workshop: &Workshop, config: &[u8]) {
        let id = digest::of(config);
        let folder = self.root.join("image/overlay2/imagedb/content/sha256");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(&id[7..]), config).unwrap();
        let inspect = workshop.path("project").join(format!("inspect-{id}"));
        let mut said: Value = serde_json::from_slice(&fs::read(&inspect).unwrap()).unwrap();
        said[0]["GraphDriver"] = self.driver();
        fs::write(inspect, said.to_string()).unwrap();
    }

    fn driver(&self) -> Value {
        json!({ "Name": "overlay2", "Data": { "UpperDir": self.layer(self.diff_ids.len() - 1) } })
    }

    fn store(&self) -> Store {
        Store::of(&json!({ "GraphDriver": self.driver() })).unwrap()
    }

    fn tar(&self, at: usize) -> io::Result<Vec<u8>> {
        let unpacked = self.store().layer(&self.chain_ids[at], &self.diff_ids[at])?;
        let mut tar = Vec::new();
        unpacked.open()?.read_to_end(&mut tar)?;
        assert_eq!(tar.len() as u64, unpacked.size);
        Ok(tar)
    }
}

/// Unpacks the files and links of a tar; what is to be noted of it.
fn unpack(tar: &[u8], folder: &Path) -> Vec<Value> {
    let (mut notes, mut done) = (Vec::new(), 0);
    let mut archive = tar::Archive::new(tar);
    let segment = |bytes: &[u8]| json!({ "type": 2, "payload": BASE64.encode(bytes) });
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let (name, begins) = (entry.path_bytes().into_owned(), entry.raw_file_position() as usize);
        let size = if entry.header().entry_type().is_file() { entry.size() } else { 0 };
        notes.push(segment(&tar[done..begins]));
        done = begins + size as usize;
        let mut note = match std::str::from_utf8(&name) {
            Ok(name) => json!({ "type": 1, "name": name, "payload": null }),
            Err(_) => json!({ "type": 1, "name_raw": BASE64.encode(&name), "payload": null }),
        };
        if size > 0 {
            // Nobody looks at the checksum: the whole is held to its digest.
            note["size"] = size.into();
            note["payload"] = BASE64.encode([1; 8]).into();
        }
        notes.push(note);
        let path = folder.join(std::ffi::OsStr::from_bytes(&name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match entry.header().entry_type() {
            kind if kind.is_dir() => fs::create_dir_all(&path).unwrap(),
            kind if kind.is_symlink() => symlink(entry.link_name().unwrap().unwrap(), &path).unwrap(),
            kind if kind.is_file() && size > 0 => {
                io::copy(&mut entry, &mut File::create(&path).unwrap()).unwrap();
            }
            _ => {}
        }
    }
    notes.push(segment(&tar[done..]));
    notes
}

/// What is wrong, and who does it.
type Spoil = (&'static str, fn(&Kept));

struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Tar {
        Tar(tar::Builder::new(Vec::new()))
    }

    fn add(mut self, kind: tar::EntryType, name: &[u8], content: &[u8]) -> Tar {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        let name = Path::new(std::ffi::OsStr::from_bytes(name));
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_size(0);
            self.0.append_link(&mut header, name, Path::new(std::ffi::OsStr::from_bytes(content))).unwrap();
        } else {
            header.set_size(content.len() as u64);
            self.0.append_data(&mut header, name, content).unwrap();
        }
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Tar {
        self.add(tar::EntryType::Regular, name.as_bytes(), content)
    }

    fn link(self, name: &str, target: &str) -> Tar {
        self.add(tar::EntryType::Symlink, name.as_bytes(), target.as_bytes())
    }

    fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

#[test]
fn a_layers_tar_comes_back_byte_for_byte() {
    let mut tar = Tar::new();
    tar.0.append_pax_extensions([("SCHILY.xattr.user.mood", &b"fine"[..])]).unwrap();
    let mut tar = tar
        .file("with-attributes", b"a")
        .add(tar::EntryType::Directory, b"d/", b"")
        .file("d/full", &[7; 1500])
        .file("d/empty", b"")
        .add(tar::EntryType::Link, b"d/again", b"d/full")
        .link("l", "d/full")
        .file("d/.wh.gone", b"")
        .file("d/.wh..wh..opq", b"")
        .file(&format!("d/{}", "long".repeat(60)), b"its name is in an entry of its own")
        .add(tar::EntryType::Regular, b"d/\xff<&>", b"no UTF-8")
        .file("d/a\"b\\c\nd", b"escaped in the notes")
        .end();
    // As GNU tar fills its last record.
    tar.resize(tar.len().next_multiple_of(10 << 10), 0);
    let workshop = Workshop::new();
    let empty = Tar::new().end();
    let kept = Kept::new(workshop.path("docker"), &[tar.clone(), empty.clone(), tar.clone()]);
    assert_eq!(chain_ids(&kept.diff_ids), kept.chain_ids);
    for (at, wanted) in [(0, &tar), (1, &empty), (2, &tar)] {
        assert!(kept.tar(at).unwrap() == *wanted, "layer {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]
    #[test]
    fn random_layers_come_back(files in prop::collection::btree_map("([a-c]{2}/){0,2}f[a-z]{1,3}", prop::collection::vec(any::<u8>(), 0..3000), 0..9)) {
        let tar = files.iter().fold(Tar::new(), |tar, (name, content)| tar.file(name, content)).end();
        let workshop = Workshop::new();
        let kept = Kept::new(workshop.path("docker"), std::slice::from_ref(&tar));
        prop_assert!(kept.tar(0).unwrap() == tar);
    }
}

#[test]
fn names_lead_along_links_and_never_out_of_the_layer() {
    let workshop = Workshop::new();
    let outside = workshop.path("docker/overlay2/outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    // In a tar an entry may go through a link before it.
    let layer =
        |target: &str| Tar::new().file("real/here", b"here").link("way", target).file("way/secret", b"secret").end();
    let inside = layer("real");
    let kept = Kept::new(workshop.path("docker"), std::slice::from_ref(&inside));
    assert!(kept.tar(0).unwrap() == inside);
    let from_the_top = layer("real");
    fs::remove_file(kept.layer(0).join("way")).unwrap();
    symlink("/real", kept.layer(0).join("way")).unwrap();
    assert!(kept.tar(0).unwrap() == from_the_top, "`/` is the layer's");
    for out in ["../../outside", outside.to_str().unwrap()] {
        fs::remove_file(kept.layer(0).join("way")).unwrap();
        symlink(out, kept.layer(0).join("way")).unwrap();
        assert!(fs::read(kept.layer(0).join("way/secret")).is_ok());
        assert_eq!(kept.tar(0).unwrap_err().kind(), io::ErrorKind::NotFound, "{out}");
    }
}

#[test]
fn folders_that_are_not_what_they_were_to_be() {
    let tar = Tar::new().file("file", b"content").end();
    let spoil: [Spoil; 9] = [
        ("the file is gone", |kept| fs::remove_file(kept.layer(0).join("file")).unwrap()),
        ("it is shorter", |kept| fs::write(kept.layer(0).join("file"), "cont").unwrap()),
        ("it is a pipe", |kept| {
            fs::remove_file(kept.layer(0).join("file")).unwrap();
            nix::unistd::mkfifo(&kept.layer(0).join("file"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("it is a link", |kept| {
            fs::rename(kept.layer(0).join("file"), kept.layer(0).join("other")).unwrap();
            symlink("other", kept.layer(0).join("file")).unwrap();
        }),
        ("another layer has this name", |kept| fs::write(kept.about(0).join("diff"), digest::of(b"other")).unwrap()),
        ("the layer's folder is elsewhere", |kept| fs::write(kept.about(0).join("cache-id"), "../layer0").unwrap()),
        ("no notes", |kept| fs::remove_file(kept.about(0).join("tar-split.json.gz")).unwrap()),
        ("cut notes", |kept| {
            let notes = fs::read(kept.about(0).join("tar-split.json.gz")).unwrap();
            fs::write(kept.about(0).join("tar-split.json.gz"), &notes[..notes.len() - 9]).unwrap();
        }),
        ("notes of another version", |kept| kept.note(0, &[json!({ "type": 3, "payload": "" })])),
    ];
    for (what, spoil) in spoil {
        let workshop = Workshop::new();
        let kept = Kept::new(workshop.path("docker"), std::slice::from_ref(&tar));
        assert!(kept.tar(0).unwrap() == tar);
        spoil(&kept);
        assert!(kept.tar(0).is_err(), "{what}");
    }
    // A rootless docker keeps files of other users. To root all are open.
    let workshop = Workshop::new();
    let kept = Kept::new(workshop.path("docker"), std::slice::from_ref(&tar));
    super::set_mode(&kept.layer(0).join("file"), 0);
    let is_root = nix::unistd::geteuid().is_root();
    assert_eq!(kept.store().layer(&kept.chain_ids[0], &kept.diff_ids[0]).is_ok(), is_root);
    for driver in [
        json!({ "Name": "overlayfs", "Data": null }),
        json!({ "Name": "btrfs", "Data": { "UpperDir": "/var/lib/docker/overlay2/a/diff" } }),
        json!({ "Name": "overlay2", "Data": { "UpperDir": "docker/overlay2/a/diff" } }),
        json!({ "Name": "overlay2", "Data": { "UpperDir": "/diff" } }),
        json!({ "Name": "overlay2", "Data": {} }),
        Value::Null,
    ] {
        assert!(Store::of(&json!({ "GraphDriver": driver })).is_none(), "{driver}");
    }
}
