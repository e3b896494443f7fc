//! A memory limit, where the cgroup tree can be written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Pid;

const MOUNTED: &str = "/sys/fs/cgroup";
/// Where processes of a cgroup namespace's root go, as a cgroup with controllers for its children may have none.
const LEAF: &str = "steady-lab";

/// A cgroup of its own for each container, version 1 or 2.
pub struct Cgroup {
    path: PathBuf,
    unified: bool,
}

/// Where memory cgroups may be made, and whether as version 2: at the root, or where the lab's own one is, which
/// systemd hands over to an ordinary user.
fn trees() -> Vec<(PathBuf, bool)> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    trees_in(Path::new(MOUNTED), &own)
}

fn trees_in(mounted: &Path, own: &str) -> Vec<(PathBuf, bool)> {
    let mut trees = vec![(mounted.join("memory"), false)];
    // the hybrid layout has version 2 in a folder of its own, mostly without the memory controller
    for unified in [mounted.to_owned(), mounted.join("unified")] {
        let controllers = fs::read_to_string(unified.join("cgroup.controllers")).unwrap_or_default();
        if !controllers.split_ascii_whitespace().any(|controller| controller == "memory") {
            continue;
        }
        let beside = own.lines().find_map(|line| line.strip_prefix("0::/")).map(Path::new).and_then(Path::parent);
        trees.push((unified.clone(), true));
        trees.extend(beside.filter(|path| path.components().next().is_some()).map(|path| (unified.join(path), true)));
    }
    trees
}

/// Removes what is left of cgroups whose names begin like this. One that still holds a process stays.
pub fn remove_all(prefix: &str) {
    for (tree, _) in trees() {
        for entry in fs::read_dir(tree).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Has the children of a cgroup of version 2 count their memory.
fn enable(tree: &Path) -> io::Result<()> {
    let control = tree.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control)?;
    if enabled.split_ascii_whitespace().any(|controller| controller == "memory") {
        return Ok(());
    }
    match fs::write(&control, "+memory") {
        // a container's root is no root of the tree, and its processes are in the way
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy && tree == Path::new(MOUNTED) => {
            make_room(tree)?;
            fs::write(&control, "+memory")
        }
        written => written,
    }
}

fn make_room(tree: &Path) -> io::Result<()> {
    let leaf = tree.join(LEAF);
    fs::create_dir(&leaf).or_else(|error| if leaf.is_dir() { Ok(()) } else { Err(error) })?;
    for pid in fs::read_to_string(tree.join("cgroup.procs"))?.lines() {
        // some may have ended meanwhile
        let _ = fs::write(leaf.join("cgroup.procs"), pid);
    }
    Ok(())
}

impl Cgroup {
    /// `None` where it cannot be made: the container then runs without a limit.
    pub fn create(name: &str, bytes: u64) -> Option<Cgroup> {
        trees().into_iter().find_map(|(tree, unified)| Cgroup::create_in(&tree, unified, name, bytes))
    }

    fn create_in(tree: &Path, unified: bool, name: &str, bytes: u64) -> Option<Cgroup> {
        if unified {
            enable(tree).ok()?;
        } else if !tree.join("memory.limit_in_bytes").exists() {
            return None;
        }
        let cgroup = Cgroup { path: tree.join(name), unified };
        fs::create_dir(&cgroup.path).ok()?;
        match cgroup.limit(bytes) {
            Ok(()) => Some(cgroup),
            Err(_) => {
                cgroup.remove();
                None
            }
        }
    }

    fn limit(&self, bytes: u64) -> io::Result<()> {
        let set = |file: &str, value: &str| {
            fs::OpenOptions::new()
                .write(true)
                .open(self.path.join(file))
                .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
        };
        if self.unified {
            set("memory.max", &bytes.to_string())?;
            let _ = set("memory.swap.max", "0");
            // one container, one fate
            let _ = set("memory.oom.group", "1");
        } else {
            set("memory.limit_in_bytes", &bytes.to_string())?;
            let _ = set("memory.memsw.limit_in_bytes", &bytes.to_string());
        }
        Ok(())
    }

    /// Its first process; nothing is left of the cgroup when that fails.
    pub fn add(self, pid: Pid) -> Option<Cgroup> {
        if self.join(pid) {
            return Some(self);
        }
        self.remove();
        None
    }

    pub fn join(&self, pid: Pid) -> bool {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).is_ok()
    }

    /// How many of its processes the kernel killed for their memory.
    pub fn oom_kills(&self) -> u64 {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.path.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    }

    pub fn remove(self) {
        remove(&self.path);
    }
}

/// Removes a cgroup whose processes are ending.
fn remove(path: &Path) {
    for _ in 0..50 {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_those_that_count_memory_and_the_lab_is_near() {
        let mounted = tempfile::tempdir().unwrap();
        let at = mounted.path();
        let v1 = (at.join("memory"), false);
        let old = vec![v1.clone()];
        assert_eq!(trees_in(at, ""), old);
        fs::create_dir(at.join("unified")).unwrap();
        fs::write(at.join("unified/cgroup.controllers"), "cpu pids\n").unwrap();
        assert_eq!(trees_in(at, "0::/a/b\n"), old, "a hybrid tree without the controller");
        fs::write(at.join("cgroup.controllers"), "cpu memory\n").unwrap();
        let root = (at.to_owned(), true);
        assert_eq!(trees_in(at, "0::/\n"), [v1.clone(), root.clone()], "in a cgroup namespace");
        assert_eq!(trees_in(at, "1:name=x:/y\n0::/a/b.scope\n"), [v1.clone(), root.clone(), (at.join("a"), true)]);
        assert_eq!(trees_in(at, "0::/b.scope\n"), [v1, root], "beside it is the root");
    }
}
