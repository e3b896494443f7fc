//! A memory limit, where the cgroup tree can be written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Pid;

/// A cgroup of its own for each container, version 1 or 2.
pub struct Cgroup {
    path: PathBuf,
    unified: bool,
}

/// Where memory cgroups are, and whether as version 2.
fn trees() -> [(&'static Path, bool); 2] {
    [(Path::new("/sys/fs/cgroup/memory"), false), (Path::new("/sys/fs/cgroup"), true)]
}

impl Cgroup {
    /// `None` where it cannot be made: the container then runs without a limit.
    pub fn create(name: &str, bytes: u64) -> Option<Cgroup> {
        trees().into_iter().find_map(|(tree, unified)| {
            if unified {
                let controllers = fs::read_to_string(tree.join("cgroup.controllers")).ok()?;
                controllers.split_ascii_whitespace().find(|controller| *controller == "memory")?;
                let _ = fs::write(tree.join("cgroup.subtree_control"), "+memory");
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
        })
    }

    fn limit(&self, bytes: u64) -> std::io::Result<()> {
        let set = |file: &str, value: &str| fs::write(self.path.join(file), value);
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
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => return,
        }
    }
}
