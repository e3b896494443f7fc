//! What a layer makes of each kind of file.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use steadystate::error::Kind;
use steadystate::image::layers::{LayerEntry, assemble};
use steadystate::image::{Blob, Compression};

use super::{Workshop, entry, listing, set_mode, unpacked};

/// Path and link of each member, as bytes.
fn members(blob: &Blob) -> Vec<(Vec<u8>, Vec<u8>)> {
    let raw = unpacked(blob);
    let mut tar = tar::Archive::new(&raw[..]);
    let entries = tar.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.path_bytes().into_owned(), entry.link_name_bytes().unwrap_or_default().into_owned())
    });
    entries.collect()
}

/// Also those that lead nowhere, or out of the folder that is copied: what they name is never read.
#[test]
fn links_stay_what_they_are() {
    let workshop = Workshop::new();
    workshop.file("tree/file", "x");
    workshop.file("outside/secret", "s3cret");
    let long = [&b"l"[..]; 101].concat();
    let targets: [&[u8]; 10] = [
        b"file",
        b"./file",
        b"/etc//passwd",
        b"../outside/secret",
        b"../outside",
        b"gone/",
        b"..",
        b"\xff\xfe",
        &long[..100],
        &long,
    ];
    for (number, target) in targets.iter().enumerate() {
        symlink(OsStr::from_bytes(target), workshop.path(&format!("project/tree/{number}"))).unwrap();
    }
    // What an entry itself names is followed, for it is meant.
    symlink("tree", workshop.path("project/named")).unwrap();
    let image = assemble(workshop.spec(vec![vec![entry("named", "/")]]), None).unwrap();
    let found: Vec<Vec<u8>> = members(&image.layers()[0]).into_iter().map(|(_, link)| link).collect();
    assert_eq!(found[..10], targets.map(<[u8]>::to_vec));
    assert_eq!(found.len(), 11);
    let raw = unpacked(&image.layers()[0]);
    assert!(!raw.windows(6).any(|part| part == b"s3cret"));
}

#[test]
fn names_of_any_length_and_of_any_bytes() {
    let workshop = Workshop::new();
    let root = workshop.path("project/tree");
    let mut paths: Vec<Vec<u8>> =
        vec![b"\xff\xfe\x80".to_vec(), b"new\nline".to_vec(), b"-rf".to_vec(), b"..x".to_vec()];
    for length in [99, 100, 101, 155, 255] {
        paths.push(vec![b'n'; length]);
        paths.push([b"\xff".repeat(length - 1), b"n".to_vec()].concat());
    }
    // 300 bytes, and a cut at 100 that would leave `..` last.
    paths.push([vec![b'a'; 99], b"/".to_vec(), vec![b'b'; 99], b"/".to_vec(), vec![b'c'; 100]].concat());
    paths.push([vec![b'd'; 97], b"/..e".to_vec()].concat());
    for path in &paths {
        let path = root.join(OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let image = assemble(workshop.spec(vec![vec![entry("tree", "/")]]), None).unwrap();
    let found: Vec<Vec<u8>> = members(&image.layers()[0]).into_iter().map(|(path, _)| path).collect();
    for path in &paths {
        assert!(found.contains(path), "{}", String::from_utf8_lossy(path));
    }
    assert_eq!(found.len(), paths.len() + 3, "and the three folders");
}

/// Links between files are made and lost by git, cp and caches of CI: each name is a file of its own.
#[test]
fn hard_links_and_empty_folders() {
    let workshop = Workshop::new();
    workshop.file("tree/one", "the same");
    fs::hard_link(workshop.path("project/tree/one"), workshop.path("project/tree/two")).unwrap();
    fs::create_dir_all(workshop.path("project/tree/empty/in/empty")).unwrap();
    let linked = assemble(workshop.spec(vec![vec![entry("tree", "/t")]]), None).unwrap();
    insta::assert_snapshot!(listing(&linked.layers()[0]).join("\n"), @r"
    0755 0:0 t/
    0755 0:0 t/empty/
    0755 0:0 t/empty/in/
    0755 0:0 t/empty/in/empty/
    0644 0:0 t/one
    0644 0:0 t/two
    ");
    fs::remove_file(workshop.path("project/tree/two")).unwrap();
    workshop.file("tree/two", "the same");
    let apart = assemble(workshop.spec(vec![vec![entry("tree", "/t")]]), None).unwrap();
    assert_eq!(linked.digest, apart.digest);
}

/// git keeps one bit of a mode, the rest is the umask of whoever checked out.
#[test]
fn modes_are_of_git_or_of_the_entry() {
    let workshop = Workshop::new();
    for (name, mode) in [("a", 0o600), ("b", 0o664), ("c", 0o700), ("d", 0o4777), ("e", 0o011)] {
        workshop.file(&format!("tree/sub/{name}"), "x");
        set_mode(&workshop.path(&format!("project/tree/sub/{name}")), mode);
    }
    if nix::unistd::geteuid().is_root() {
        let usual = assemble(workshop.spec(vec![vec![entry("tree", "/t")]]), None).unwrap();
        let found: Vec<String> = listing(&usual.layers()[0]).iter().map(|line| line[..4].to_owned()).collect();
        assert_eq!(found, ["0755", "0755", "0644", "0644", "0755", "0755", "0644"]);
        let theirs = nix::unistd::chown(&workshop.path("project/tree/sub/a"), Some(77.into()), Some(78.into()));
        let again = assemble(workshop.spec(vec![vec![entry("tree", "/t")]]), None).unwrap();
        assert_eq!((theirs.is_ok(), again.digest == usual.digest), (theirs.is_ok(), true));
    }
    set_mode(&workshop.path("project/tree/sub/e"), 0o400);
    let given =
        LayerEntry { mode: Some(0o640), folder_mode: Some(0o750), owner: "1:2".parse().ok(), ..entry("tree", "/t") };
    let image = assemble(workshop.spec(vec![vec![given]]), None).unwrap();
    let found = listing(&image.layers()[0]);
    assert_eq!(found[..3], ["0750 1:2 t/", "0750 1:2 t/sub/", "0640 1:2 t/sub/a"]);
}

/// Later entries and layers go over earlier ones; a folder that nothing is said of stays as it was said to be.
#[test]
fn layers_lie_on_top_of_each_other() {
    let workshop = Workshop::new();
    workshop.file("one/lib/a", "x");
    workshop.file("two/b", "x");
    workshop.file("root/lib64/c", "x");
    symlink("lib64", workshop.path("project/root/lib")).unwrap();
    let owned = LayerEntry { owner: "5".parse().ok(), ..entry("two", "/data") };
    let layers = vec![
        vec![entry("root", "/")],
        vec![owned, entry("two", "/data/more"), entry("one", "/data")],
        vec![entry("two", "/lib"), entry("two", "/data/lib")],
    ];
    let image = assemble(workshop.spec(layers), None).unwrap();
    insta::assert_snapshot!(listing(&image.layers()[1]).join("\n"), @r"
    0755 5:5 data/
    0644 5:5 data/b
    0755 0:0 data/lib/
    0644 0:0 data/lib/a
    0755 0:0 data/more/
    0644 0:0 data/more/b
    ");
    // No `lib/`, which would take the link's place.
    insta::assert_snapshot!(listing(&image.layers()[2]).join("\n"), @r"
    0755 5:5 data/
    0755 0:0 data/lib/
    0644 0:0 data/lib/b
    0644 0:0 lib/b
    ");
}

#[test]
fn pipes_and_devices_are_refused_unless_they_are_left_out() {
    let workshop = Workshop::new();
    workshop.file("tree/file", "x");
    let pipe = workshop.path("project/tree/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for from in ["tree", "tree/pipe"] {
        let error = assemble(workshop.spec(vec![vec![entry(from, "/t")]]), None).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.to_string().contains("is a named pipe"), "{error:?}");
    }
    let error = assemble(workshop.spec(vec![vec![entry("/dev/null", "/t")]]), None).unwrap_err();
    assert!(error.to_string().contains("is a device"), "{error:?}");
    workshop.file(".dockerignore", "**/pipe");
    assemble(workshop.spec(vec![vec![entry("tree", "/t")]]), None).unwrap();
}

#[test]
fn a_file_that_changes_meanwhile_makes_no_layer() {
    let workshop = Workshop::new();
    workshop.file("log", vec![1; 16 << 20]);
    let (stop, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = fs::OpenOptions::new().append(true).open(workshop.path("project/log")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                log.write_all(b"line\n").unwrap();
                begun.store(true, Ordering::Relaxed);
            }
        });
        while !begun.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let made = assemble(workshop.spec(vec![vec![entry("log", "/log")]]), None);
        stop.store(true, Ordering::Relaxed);
        made.unwrap_err()
    });
    assert_eq!(error.kind(), Kind::BuildOrPush);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().contains("project/log") && cause.contains("it changed"), "{error:?}");
    assert!(error.hints()[0].contains("`build.run`"), "{error:?}");
}

/// Blocks are compressed side by side: on one processor they have to come out the same.
#[test]
fn one_processor_makes_what_many_make() {
    let workshop = Workshop::new();
    let content: Vec<u8> = (0..9_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as u8).collect();
    workshop.file("big", &content);
    let digest = |compression: Compression| {
        let mut spec = Workshop::new().spec(vec![vec![entry("big", "/big")]]);
        (spec.compression, spec.project) = (compression, workshop.path("project"));
        let cache = tempfile::tempdir().unwrap();
        spec.cache = steadystate::image::BlobCache::open(cache.path().join("blobs")).unwrap();
        assemble(spec, None).unwrap().digest
    };
    for compression in [Compression::Gzip, Compression::Zstd] {
        let alone = std::thread::scope(|scope| {
            let alone = scope.spawn(|| {
                let mut one = nix::sched::CpuSet::new();
                let me = nix::unistd::Pid::from_raw(0);
                let allowed = nix::sched::sched_getaffinity(me).unwrap();
                let first = (0..nix::sched::CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
                one.set(first).unwrap();
                nix::sched::sched_setaffinity(me, &one).unwrap();
                assert_eq!(std::thread::available_parallelism().unwrap().get(), 1);
                digest(compression)
            });
            alone.join().unwrap()
        });
        assert_eq!(alone, digest(compression), "{compression:?}");
    }
}
