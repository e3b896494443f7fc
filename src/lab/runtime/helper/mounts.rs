//! A container's root file system.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknodat};
use nix::unistd::{chdir, chroot, fchdir, pivot_root, sethostname};
use rustix::fs::{AtFlags, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::lab::runtime::inroot::{InRoot, proc_path};
use crate::lab::runtime::launch::{Process, Root};
use crate::lab::runtime::spec::{Level, Tmpfs};

const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// What of `/proc` speaks to the whole machine: as root it must not be written …
const READ_ONLY: [&str; 5] = ["proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus", "proc/fs"];
/// … or not even be read.
const HIDDEN: [&str; 3] = ["proc/kcore", "proc/keys", "proc/timer_list"];

/// Makes the container's mounts in this process's own mount namespace, and its root the only one.
pub fn enter(level: Level, process: &Process) -> Result<(), String> {
    attach(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    let root_path = root(level, &process.root)?;
    let root = InRoot::open(&root_path).map_err(|error| format!("{}: {error}", root_path.display()))?;

    let no_programs = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let proc = directory(&root, "proc")?;
    attach(Some("proc"), &proc, Some("proc"), no_programs, None)
        // refused in a user namespace where the outer one is partly hidden
        .or_else(|_| attach(Some("/proc"), &proc, None, MsFlags::MS_BIND | MsFlags::MS_REC, None))?;
    // nice to have, and not everywhere permitted
    let _ = directory(&root, "sys")
        .and_then(|sys| attach(Some("sysfs"), &sys, Some("sysfs"), no_programs | MsFlags::MS_RDONLY, None));
    devices(&root)?;
    if level == Level::Namespaces {
        protect(&root);
    }
    // before the volumes, so that one of the user's covers these files and its own are never written
    network_files(&root, process)?;
    for wanted in &process.mounts {
        let target = target(&root, &wanted.source, &wanted.target)?;
        let source = wanted.source.to_str().ok_or("a volume's path is not UTF-8")?;
        attach(Some(source), &target, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)?;
        if wanted.read_only {
            let target = proc_path_of(&root, &wanted.target)?;
            remount_read_only(&target)?;
        }
    }
    for wanted in &process.tmpfs {
        tmpfs(&root, wanted)?;
    }

    fchdir(&root).map_err(|error| error.to_string())?;
    pivot_root(".", ".").map_err(|error| format!("pivot_root: {error}"))?;
    // the old root lies on top of the new one
    umount2(".", MntFlags::MNT_DETACH).map_err(|error| format!("the old root: {error}"))?;
    chdir("/").map_err(|error| error.to_string())?;
    sethostname(&process.hostname).map_err(|error| format!("hostname: {error}"))
}

/// Level 3: no mounts, only another root.
pub fn change_root(process: &Process) -> Result<(), String> {
    let Root::Directory(path) = &process.root else { return Err("chroot needs a directory".to_owned()) };
    let root = InRoot::open(path).map_err(|error| error.to_string())?;
    if let Ok(dev) = root.make_directory(Path::new("dev")) {
        for (name, major, minor) in DEVICES {
            // without CAP_MKNOD the container goes without
            let mode = Mode::from_bits_truncate(0o666);
            if mknodat(&dev, name, SFlag::S_IFCHR, mode, makedev(major, minor)).is_ok() {
                let _ = rustix::fs::chmodat(&dev, name, rustix::fs::Mode::from_raw_mode(0o666), AtFlags::empty());
            }
        }
    }
    network_files(&root, process)?;
    join_root(process)
}

/// Level 3, when the root is there already.
pub fn join_root(process: &Process) -> Result<(), String> {
    let Root::Directory(path) = &process.root else { return Err("chroot needs a directory".to_owned()) };
    chroot(path).map_err(|error| format!("chroot: {error}"))?;
    chdir("/").map_err(|error| error.to_string())
}

/// The root itself; volumes and `/dev` keep their own rules.
pub fn make_read_only() -> Result<(), String> {
    remount_read_only(Path::new("/"))
}

fn root(level: Level, root: &Root) -> Result<PathBuf, String> {
    match root {
        Root::Directory(path) => {
            let text = path.to_str().ok_or("a path that is not UTF-8")?;
            attach(Some(text), path, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)?;
            Ok(path.clone())
        }
        Root::Overlay { lower, directory } => {
            let merged = directory.join("merged");
            let mut options = format!(
                "lowerdir={},upperdir={},workdir={}",
                lower.display(),
                directory.join("upper").display(),
                directory.join("work").display()
            );
            if level == Level::UserNamespaces {
                options.push_str(",userxattr");
            }
            attach(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(&options))?;
            Ok(merged)
        }
    }
}

/// With Docker's options unless others are given.
fn tmpfs(root: &InRoot, wanted: &Tmpfs) -> Result<(), String> {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mut data = vec![format!("mode=1777,size={}m", wanted.size_mib)];
    for option in &wanted.options {
        match option.as_str() {
            "exec" => flags.remove(MsFlags::MS_NOEXEC),
            "suid" => flags.remove(MsFlags::MS_NOSUID),
            "dev" => flags.remove(MsFlags::MS_NODEV),
            "ro" => flags.insert(MsFlags::MS_RDONLY),
            "noatime" => flags.insert(MsFlags::MS_NOATIME),
            "sync" => flags.insert(MsFlags::MS_SYNCHRONOUS),
            _ if option.contains('=') => data.push(option.clone()),
            _ => {}
        }
    }
    let target = directory(root, wanted.container_path.trim_start_matches('/'))?;
    attach(Some("tmpfs"), &target, Some("tmpfs"), flags, Some(&data.join(",")))
}

fn devices(root: &InRoot) -> Result<(), String> {
    let dev = directory(root, "dev")?;
    attach(Some("tmpfs"), &dev, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some("mode=755,size=64k"))?;
    for (name, ..) in DEVICES {
        let source = format!("/dev/{name}");
        if Path::new(&source).exists() {
            let node = root.make_file(&Path::new("dev").join(name)).map_err(|error| format!("/dev/{name}: {error}"))?;
            attach(Some(&source), &proc_path(&node), None, MsFlags::MS_BIND, None)?;
        }
    }
    let dev = proc_path_of(root, Path::new("dev"))?;
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name)).map_err(|error| format!("/dev/{name}: {error}"))?;
    }
    let shm = directory(root, "dev/shm")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    attach(Some("tmpfs"), &shm, Some("tmpfs"), flags, Some("mode=1777,size=64m"))
}

// Best effort: which of these exist depends on the kernel.
fn protect(root: &InRoot) {
    for path in READ_ONLY {
        if let Ok(found) = proc_path_of(root, Path::new(path))
            && let Some(text) = found.to_str()
            && attach(Some(text), &found, None, MsFlags::MS_BIND | MsFlags::MS_REC, None).is_ok()
            && let Ok(found) = proc_path_of(root, Path::new(path))
        {
            let _ = remount_read_only(&found);
        }
    }
    for path in HIDDEN {
        if let Ok(found) = proc_path_of(root, Path::new(path)) {
            let _ = attach(Some("/dev/null"), &found, None, MsFlags::MS_BIND, None);
        }
    }
}

fn remount_read_only(target: &Path) -> Result<(), String> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    // flags that the mount already has are locked in a user namespace and must be given again
    attach(None, target, None, flags, None)
        .or_else(|_| attach(None, target, None, flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV, None))
        .or_else(|_| {
            let locked = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            attach(None, target, None, flags | locked, None)
        })
}

// What the image has in their place, be it a link or a fifo, is removed and not opened.
fn network_files(root: &InRoot, process: &Process) -> Result<(), String> {
    let hostname = format!("{}\n", process.hostname);
    let files = [("hosts", &process.hosts), ("resolv.conf", &process.resolv_conf), ("hostname", &hostname)];
    let etc = root.make_directory(Path::new("etc")).map_err(|error| format!("/etc: {error}"))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    for (name, text) in files {
        match unlinkat(&etc, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(format!("/etc/{name}: {error}")),
        }
        openat(&etc, name, flags, rustix::fs::Mode::from_raw_mode(0o644))
            .map_err(io::Error::from)
            .and_then(|file| File::from(file).write_all(text.as_bytes()))
            .map_err(|error| format!("/etc/{name}: {error}"))?;
    }
    Ok(())
}

fn directory(root: &InRoot, path: &str) -> Result<PathBuf, String> {
    root.make_directory(Path::new(path)).map_err(|error| format!("/{path}: {error}"))?;
    proc_path_of(root, Path::new(path))
}

fn target(root: &InRoot, source: &Path, target: &Path) -> Result<PathBuf, String> {
    let text = |error: std::io::Error| format!("mount point {}: {error}", target.display());
    let is_file = fs::metadata(source).map_err(text)?.is_file();
    let target = target.strip_prefix("/").unwrap_or(target);
    if is_file { root.make_file(target).map(drop) } else { root.make_directory(target).map(drop) }.map_err(text)?;
    proc_path_of(root, target)
}

/// A path that leads to `path` inside the root, through whatever is mounted there. The descriptor behind it stays
/// open until the program starts.
fn proc_path_of(root: &InRoot, path: &Path) -> Result<PathBuf, String> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let found = root.resolve(path, OFlags::PATH).map_err(|error| format!("/{}: {error}", path.display()))?;
    let through = proc_path(&found);
    std::mem::forget(found);
    Ok(through)
}

fn attach(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), String> {
    mount(source, target, kind, flags, options).map_err(|error| {
        let what = kind.or(source).unwrap_or("mount flags");
        let place = target.file_name().unwrap_or(OsStr::new("/"));
        format!("mount {what} at {}: {error}", place.display())
    })
}
