//! Layers from random files, put on top of each other by a small reader of our own: the files come back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;
use steadystate::image::layers::{LayerEntry, assemble};
use steadystate::image::{BlobCache, Compression, Image, Platform, layout};
use steadystate::registry;

use super::super::registry::{Fake, client, push};
use super::{Workshop, bytes_of, check_sound, entry, set_mode, unpacked};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Leaf {
    File { content: Vec<u8>, runs: bool },
    Link(String),
    Folder,
}

/// A folder on disk by its paths, and how it goes into a layer.
#[derive(Debug, Clone)]
struct Part {
    files: BTreeMap<String, Leaf>,
    to: &'static str,
    mode: Option<u32>,
    folder_mode: Option<u32>,
    owner: Option<(u32, u32)>,
}

/// Names tell what they are, so that no path is a file in one layer and a folder in another.
fn part() -> impl Strategy<Value = Part> {
    let folders = || prop::collection::vec(prop::sample::select(vec!["d0", "d1", "döner", "d 3"]), 0..3);
    let content = prop_oneof![prop::collection::vec(any::<u8>(), 0..1500), Just(vec![7; 70_000])];
    let file = (prop::sample::select(vec!["f0", "f1", ".f", "f*"]), content, any::<bool>())
        .prop_map(|(name, content, runs)| (name.to_owned(), Leaf::File { content, runs }));
    let targets = vec!["f0", "/etc//x/", "../../out", "./.", "gone"];
    let link = (prop::sample::select(vec!["l0", "l1"]), prop::sample::select(targets), 1..9_usize)
        .prop_map(|(name, target, times)| (name.to_owned(), Leaf::Link(vec![target; times * times].join("/"))));
    let long = ("[a-z]{80,240}", any::<bool>())
        .prop_map(|(name, runs)| (format!("f{name}"), Leaf::File { content: b"long".to_vec(), runs }));
    let folder = Just(("d9".to_owned(), Leaf::Folder));
    let leaf = (folders(), prop_oneof![4 => file, 2 => link, 1 => long, 1 => folder]);
    let files = prop::collection::vec(leaf, 0..9).prop_map(|leaves| {
        let named =
            |(folders, (name, leaf)): (Vec<&str>, (String, Leaf))| ([folders, vec![&*name]].concat().join("/"), leaf);
        leaves.into_iter().map(named).collect()
    });
    (
        files,
        prop::sample::select(vec!["/", "/srv", "/srv/d0/", "/d1"]),
        prop::option::of(prop::sample::select(vec![0o600, 0o4755, 0o444])),
        prop::option::of(prop::sample::select(vec![0o700, 0o2775, 0o1777])),
        prop::option::of((0..3_u32, prop::sample::select(vec![0, 100, 3_000_000]))),
    )
        .prop_map(|(files, to, mode, folder_mode, owner)| Part { files, to, mode, folder_mode, owner })
}

fn on_disk(workshop: &Workshop, name: &str, part: &Part, careful: bool) -> LayerEntry {
    let root = workshop.path("project").join(name);
    fs::create_dir_all(&root).unwrap();
    let mut leaves: Vec<_> = part.files.iter().collect();
    if careful {
        leaves.reverse();
    }
    for (path, leaf) in leaves {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match leaf {
            Leaf::File { content, runs } => {
                fs::write(&path, content).unwrap();
                // As under another umask.
                set_mode(&path, if careful { 0o600 } else { 0o666 } | if *runs { 0o110 } else { 0 });
            }
            Leaf::Link(target) => symlink(target, &path).unwrap(),
            Leaf::Folder => fs::create_dir_all(&path).unwrap(),
        }
        if careful {
            let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&root));
            folders.for_each(|folder| set_mode(folder, 0o700));
        }
    }
    let owner = part.owner.map(|(user, group)| format!("{user}:{group}").parse().unwrap());
    LayerEntry { mode: part.mode, folder_mode: part.folder_mode, owner, ..entry(name, part.to) }
}

type Files = BTreeMap<String, (Leaf, u32, (u64, u64))>;

/// What there has to be, said another way than the code says it.
fn expected(layers: &[Vec<Part>]) -> Files {
    let mut files = Files::new();
    for part in layers.iter().flatten() {
        let (user, group) = part.owner.unwrap_or_default();
        let owner = (u64::from(user), u64::from(group));
        let mut folders = vec![String::new()];
        for (path, leaf) in &part.files {
            let whole =
                format!("{}/{path}", part.to).split('/').filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/");
            folders.extend(path.match_indices('/').map(|(slash, _)| path[..slash].to_owned()));
            match leaf {
                Leaf::File { runs, .. } => {
                    let mode = part.mode.unwrap_or(if *runs { 0o755 } else { 0o644 });
                    files.insert(whole, (leaf.clone(), mode, owner));
                }
                Leaf::Link(_) => drop(files.insert(whole, (leaf.clone(), 0o777, owner))),
                Leaf::Folder => folders.push(path.clone()),
            }
        }
        for folder in folders {
            let whole = format!("{}/{folder}", part.to);
            let names: Vec<&str> = whole.split('/').filter(|name| !name.is_empty()).collect();
            for count in 1..=names.len() {
                let usual = (Leaf::Folder, 0o755, (0, 0));
                let known = files.entry(names[..count].join("/")).or_insert(usual);
                if count == names.len() && (part.owner.is_some() || part.folder_mode.is_some()) {
                    (known.1, known.2) = (part.folder_mode.unwrap_or(0o755), owner);
                }
            }
        }
    }
    files
}

fn applied(image: &Image) -> Files {
    let mut files = Files::new();
    for layer in image.layers() {
        let raw = unpacked(layer);
        let mut seen: Vec<String> = Vec::new();
        for entry in tar::Archive::new(&raw[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap().trim_end_matches('/').to_owned();
            let parent = path.rsplit_once('/').map(|(parent, _)| parent.to_owned());
            assert!(parent.is_none_or(|parent| seen.contains(&parent)), "{path} comes before its folder");
            assert!(!seen.contains(&path), "{path} is there twice");
            seen.push(path.clone());
            let header = entry.header().clone();
            let mode = header.mode().unwrap();
            let leaf = match header.entry_type() {
                tar::EntryType::Directory => Leaf::Folder,
                tar::EntryType::Symlink => {
                    Leaf::Link(String::from_utf8(entry.link_name_bytes().unwrap().into()).unwrap())
                }
                tar::EntryType::Regular => {
                    let mut content = Vec::new();
                    std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
                    Leaf::File { content, runs: mode & 0o100 != 0 }
                }
                other => panic!("{other:?}"),
            };
            files.insert(path, (leaf, mode, (header.uid().unwrap(), header.gid().unwrap())));
        }
    }
    files
}

/// `runs` is known by the mode alone where an entry gives one.
fn comparable(files: Files) -> Files {
    let same = |(path, (leaf, mode, owner))| match leaf {
        Leaf::File { content, .. } => (path, (Leaf::File { content, runs: mode & 0o100 != 0 }, mode, owner)),
        leaf => (path, (leaf, mode, owner)),
    };
    files.into_iter().map(same).collect()
}

/// The same image from a layout, and from a registry.
async fn comes_back(image: &Image, workshop: &Workshop, out: &Path) {
    layout::write(image, out, Some("v1")).unwrap();
    let opened = layout::open(out, &workshop.open(None)).unwrap();
    let fake = Fake::start().await;
    push(&client(&fake), image, &["v1"]).await.unwrap();
    let cache = BlobCache::open(workshop.path("pulled")).unwrap();
    let platform = Platform::linux_amd64();
    let pulled = registry::pull_image(&client(&fake), "hello", "v1", &platform, &cache, &|_| {}).await.unwrap();
    for other in [&opened, &pulled] {
        assert_eq!((&other.digest, &other.manifest, &other.config), (&image.digest, &image.manifest, &image.config));
        let blobs = |image: &Image| image.blobs.iter().map(bytes_of).collect::<Vec<_>>();
        assert_eq!(blobs(other), blobs(image));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn files_come_back(
        layers in prop::collection::vec(prop::collection::vec(part(), 1..3), 1..4),
        zstd in any::<bool>(),
    ) {
        let build = |careful: bool| {
            let workshop = Workshop::new();
            let name = |layer: usize, part: usize| format!("{layer}-{part}");
            let entries = layers.iter().enumerate().map(|(layer, parts)| {
                parts.iter().enumerate().map(|(index, part)| on_disk(&workshop, &name(layer, index), part, careful)).collect()
            });
            let mut spec = workshop.spec(entries.collect());
            spec.compression = if zstd { Compression::Zstd } else { Compression::Gzip };
            (assemble(spec, None).unwrap(), workshop)
        };
        let (image, workshop) = build(false);
        check_sound(&image);
        prop_assert_eq!(comparable(applied(&image)), comparable(expected(&layers)));
        let (again, _) = build(true);
        prop_assert_eq!(&again.manifest, &image.manifest);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(comes_back(&image, &workshop, &workshop.path("layout")));
    }
}
