//! All tasks of a runtime: their folders, their start and their end.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::Roots;
use super::config;
use super::helper::cgroup;
use super::images::{Images, Lease};
use super::launch::{Launch, Limit, Process, Root};
use super::lines::Reports;
use super::link::Helper;
use super::spec::{Level, StartError, TaskSpec, Ulimit};
use super::task;
use super::unpack::remove_tree;
use super::volumes::{self, Volumes};

/// More would not fit into one message to the helper; ECS allows ten.
const MOST_CONTAINERS: usize = 30;

/// What a container finds that looks for a name server.
const NO_NAMES: &str = "# A task of the lab has a network of its own, and nothing in it but its localhost.\n";

pub struct Tasks {
    shared: Arc<Shared>,
    helper: PathBuf,
    reports: Reports,
}

struct Shared {
    base: PathBuf,
    level: Level,
    roots: Roots,
    images: Images,
    running: Mutex<HashMap<String, Arc<Slot>>>,
}

/// A task from the first moment of its start to its last.
struct Slot {
    stopped: AtomicBool,
    helper: OnceLock<Arc<Helper>>,
    gone: watch::Sender<bool>,
}

/// Makes the runtime's folder and clears away what an earlier runtime left in it. Returns it as an absolute path.
pub fn prepare(base: &Path) -> io::Result<PathBuf> {
    for folder in ["images", "tasks", "shared"] {
        fs::create_dir_all(base.join(folder))?;
    }
    let base = fs::canonicalize(base)?;
    for (folder, prefix) in [("tasks", ""), ("images", "new-"), ("", "probe-")] {
        for entry in fs::read_dir(base.join(folder))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                remove_tree(&entry.path())?;
            }
        }
    }
    cgroup::remove_all(&cgroup_prefix(&base));
    Ok(base)
}

/// Of the container at this position.
pub fn cgroup_name(base: &Path, task_id: &str, at: usize) -> String {
    format!("{}{task_id}-{at}", cgroup_prefix(base))
}

fn cgroup_prefix(base: &Path) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, base.as_os_str().as_encoded_bytes());
    format!("steady-{}-", hex::encode(&digest.as_ref()[..6]))
}

impl Tasks {
    pub fn new(base: PathBuf, level: Level, roots: Roots, helper: PathBuf, reports: Reports) -> Self {
        let images = Images::new(base.clone());
        Tasks { shared: Arc::new(Shared { base, level, roots, images, running: Mutex::default() }), helper, reports }
    }

    pub async fn start(&self, task: TaskSpec) -> Result<(), StartError> {
        let first = task.containers.first().map(|container| container.name.clone()).unwrap_or_default();
        let refuse = |detail: &str| Err(StartError::cannot_start(&first, detail));
        if !task.has_an_id() {
            return refuse("the task's id is not one");
        }
        if task.containers.is_empty() || task.containers.len() > MOST_CONTAINERS {
            return refuse("a task has between 1 and 30 containers");
        }
        let slot = Arc::new(Slot {
            stopped: AtomicBool::new(false),
            helper: OnceLock::new(),
            gone: watch::Sender::new(false),
        });
        match self.shared.running().entry(task.task_id.clone()) {
            std::collections::hash_map::Entry::Occupied(_) => return refuse("the task runs already"),
            std::collections::hash_map::Entry::Vacant(vacant) => vacant.insert(slot.clone()),
        };
        // From here on the task is cleared away by whoever drops this last.
        let task_id = task.task_id.clone();
        let containers = task.containers.clone();
        let clearing =
            Clearing { shared: self.shared.clone(), slot: slot.clone(), task_id: task_id.clone(), leases: Vec::new() };
        let shared = self.shared.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let mut clearing = clearing;
            let launch = shared.prepare(&task, &mut clearing.leases)?;
            Ok((launch, clearing))
        });
        let (launch, clearing) = match prepared.await {
            Ok(prepared) => prepared?,
            Err(_) => return refuse("the lab failed to prepare it"),
        };
        let (helper, watch) = task::launch(&self.helper, &launch, &task_id, containers, self.reports.clone())
            .map_err(|error| StartError::cannot_start(&first, format_args!("the lab's helper process: {error}")))?;
        drop(launch);
        let _ = slot.helper.set(helper.clone());
        let (started, outcome) = oneshot::channel();
        tokio::spawn(async move {
            watch.run(started).await;
            let _ = tokio::task::spawn_blocking(move || drop(clearing)).await;
        });
        if slot.stopped.load(Ordering::SeqCst) {
            helper.stop(Duration::ZERO);
        }
        match outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                slot.wait().await;
                Err(error)
            }
            Err(_) => refuse("the lab is ending"),
        }
    }

    pub async fn stop(&self, task_id: &str, timeout: Duration) {
        let Some(slot) = self.shared.running().get(task_id).cloned() else { return };
        slot.stopped.store(true, Ordering::SeqCst);
        if let Some(helper) = slot.helper.get() {
            helper.stop(timeout);
        }
        slot.wait().await;
    }

    pub async fn connect(&self, task_id: &str, port: u16) -> io::Result<TcpStream> {
        let helper = self.shared.running().get(task_id).and_then(|slot| slot.helper.get().cloned());
        match helper {
            Some(helper) => helper.connect(port).await,
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("task {task_id} does not run"))),
        }
    }

    pub async fn shutdown(&self, patience: Duration) {
        let ids: Vec<String> = self.shared.running().keys().cloned().collect();
        let all = |timeout| join_all(ids.iter().map(move |id| self.stop(id, timeout)));
        // in chains of containers each has its time
        if timeout(2 * patience, all(patience)).await.is_err() {
            all(Duration::ZERO).await;
        }
    }
}

fn limit(ulimit: &Ulimit) -> Limit {
    Limit { name: ulimit.name.clone(), soft: ulimit.soft, hard: ulimit.hard }
}

impl Slot {
    async fn wait(&self) {
        // the sender is ours, so this cannot fail
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }
}

/// Removes a task's folder, then its name.
struct Clearing {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    task_id: String,
    leases: Vec<Lease>,
}

impl Drop for Clearing {
    fn drop(&mut self) {
        // what cannot be removed now is removed by the next runtime
        let _ = remove_tree(&self.shared.base.join("tasks").join(&self.task_id));
        self.leases.clear();
        self.shared.running().remove(&self.task_id);
        self.slot.gone.send_replace(true);
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Unpacks images, makes roots and merges configurations.
    fn prepare(&self, task: &TaskSpec, leases: &mut Vec<Lease>) -> Result<Launch, StartError> {
        let folder = Path::new("tasks").join(&task.task_id);
        let resolv_conf = match self.level.has_network() {
            true => NO_NAMES.to_owned(),
            false => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        };
        for container in &task.containers {
            let pull = |detail| StartError::new(&container.name, "CannotPullContainerError", detail);
            leases.push(self.images.lease(&container.image).map_err(pull)?);
        }
        let declared: Vec<Vec<String>> = leases.iter().map(|lease| lease.config.volumes()).collect();
        let plan = volumes::plan(task, &declared)
            .map_err(|(at, detail)| StartError::new(&task.containers[at].name, "CannotCreateContainerError", detail))?;
        let volumes = Volumes { level: self.level, base: &self.base, folder: &folder, task, plan: &plan };
        let mut containers = Vec::new();
        for (at, (container, lease)) in task.containers.iter().zip(leases.iter()).enumerate() {
            let name = &container.name;
            let hostname = container.hostname.clone().filter(|name| !name.is_empty()).unwrap_or(task.task_id.clone());
            // the kernel's limit
            let hostname: String = hostname.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
            let command = config::command(&lease.config, container, &self.base.join(&lease.root), &hostname)?;
            let create = |error: io::Error| StartError::new(name, "CannotCreateContainerError", error);
            let directory = folder.join(at.to_string());
            fs::create_dir_all(self.base.join(&directory)).map_err(create)?;
            let root = self.images.root(lease, self.roots, &directory).map_err(create)?;
            let mut mounts = volumes
                .prepare(at, &self.base.join(&lease.root), &root)
                .map_err(|detail| StartError::new(name, "CannotCreateContainerError", detail))?;
            if let (false, Root::Directory(root)) = (self.level.has_network(), &root) {
                let folders = volumes::instead_of_tmpfs(&self.base.join(root), &container.tmpfs).map_err(create)?;
                mounts.extend(folders);
            }
            containers.push(Process {
                root,
                arguments: command.arguments,
                environment: command.environment,
                working_directory: command.working_directory,
                user: command.user,
                hosts: format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n127.0.0.1\t{hostname}\n"),
                hostname,
                resolv_conf: resolv_conf.clone(),
                stop_signal: command.stop_signal,
                memory_bytes: container.memory_bytes,
                cgroup: cgroup_name(&self.base, &task.task_id, at),
                read_only: container.readonly_root_filesystem,
                mounts,
                tmpfs: container.tmpfs.clone(),
                limits: container.ulimits.iter().map(limit).collect(),
                restarts: container.restart.is_some(),
            });
        }
        Ok(Launch { level: self.level, base: self.base.clone(), check: false, containers })
    }
}
