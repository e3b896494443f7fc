use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use steadystate::image::BlobCache;

use super::set_mode;

/// The folder of this user's cache among temporary files.
fn first(temporary: &Path) -> PathBuf {
    temporary.join(format!("steady-cache-{}", rustix::process::geteuid().as_raw()))
}

#[test]
fn a_cache_among_temporary_files_is_its_users_own() {
    let temporary = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let cache = BlobCache::open_among(temporary.path()).unwrap();
        assert_eq!(cache.folder(), first(temporary.path()).join("blobs"));
        for level in ["", "blobs", "blobs/sha256", "blobs/gzip"] {
            let mode = first(temporary.path()).join(level).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{level}");
        }
    }
}

#[test]
fn what_others_may_have_put_there_is_refused() {
    for level in ["", "blobs", "blobs/sha256", "blobs/gzip"] {
        type Harm = fn(&Path);
        let table: [(&str, Harm); 4] = [
            ("anyone may write", |path| set_mode(path, 0o777)),
            ("a link", |path| {
                let elsewhere = path.with_extension("elsewhere");
                fs::rename(path, &elsewhere).unwrap();
                symlink(elsewhere, path).unwrap();
            }),
            ("a file", |path| {
                fs::remove_dir_all(path).unwrap();
                fs::write(path, "").unwrap();
            }),
            // only root can play another user
            ("another user's", |path| match path.metadata().unwrap().uid() {
                0 => chown(path, Some(65534), None).unwrap(),
                _ => set_mode(path, 0o777),
            }),
        ];
        for (name, harm) in table {
            let temporary = tempfile::tempdir().unwrap();
            BlobCache::open_among(temporary.path()).unwrap();
            let path: PathBuf = first(temporary.path()).join(level).components().collect();
            harm(&path);
            let error = BlobCache::open_among(temporary.path()).expect_err(name);
            let message = error.to_string();
            assert!(message.contains("not a folder that only this user may write"), "{level} {name}: {message}");
            assert!(error.hints()[0].contains("XDG_CACHE_HOME"), "{error:?}");
        }
    }
}

#[test]
fn what_nobody_used_for_long_goes_and_what_is_used_stays() {
    let folder = tempfile::tempdir().unwrap();
    let open = || BlobCache::open(folder.path()).unwrap();
    let keep = |content: &[u8]| {
        let mut writer = open().writer().unwrap();
        std::io::Write::write_all(&mut writer, content).unwrap();
        writer.keep().unwrap()
    };
    let age = |path: &Path, days: u64| {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
        fs::File::open(path).unwrap().set_modified(then).unwrap();
    };
    let ((_, unused), (used, used_path), (_, young)) = (keep(b"unused"), keep(b"used"), keep(b"young"));
    for (path, days) in [(&unused, 70), (&used_path, 70), (&young, 50)] {
        age(path, days);
    }
    let there = || [&unused, &used_path, &young].map(|path| path.exists());
    open();
    assert_eq!(there(), [true, true, true], "it is looked at once a day");
    assert!(open().find(&used.digest, used.size).is_some());
    age(&folder.path().join(".swept"), 2);
    open();
    assert_eq!(there(), [false, true, true]);
}
