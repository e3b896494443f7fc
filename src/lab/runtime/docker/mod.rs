//! Tasks as containers of a Docker engine: for machines that are not Linux, or where tasks are to reach the network.
//!
//! A container that does nothing holds a task's network; the task's own share it. All that is made has the lab's label,
//! by which it is found and removed when the lab stops, or starts again after it was killed.

mod archive;
mod end;
mod engine;
mod logs;
mod requests;
mod task;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::lines::Reports;
use super::spec::{ContainerSpec, StartError, TaskSpec};
pub use engine::{Address, addresses};
use engine::{Answer, Engine};
use requests::Names;

/// The first version of the API that knows a health check's interval while a container starts.
const START_INTERVAL: (u32, u32) = (1, 44);
/// How long a connection to a container may take, where the engine's addresses lead to this very machine.
const REACH: Duration = Duration::from_secs(1);
const PROBE: &str = "probe";

pub struct Docker {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    names: Names,
    start_interval: bool,
    /// Containers cannot be reached by their addresses, as behind Docker Desktop: ports are published.
    publish: bool,
    /// Held while an image is loaded.
    loading: tokio::sync::Mutex<()>,
    reports: Reports,
    running: Mutex<HashMap<String, Arc<Slot>>>,
}

/// A task from the first moment of its start to its last.
struct Slot {
    /// How long its containers have, once they are to stop.
    stop: watch::Sender<Option<Duration>>,
    network: watch::Sender<Option<Network>>,
    gone: watch::Sender<bool>,
}

/// How a task is reached.
#[derive(Debug, Clone)]
struct Network {
    address: Option<IpAddr>,
    /// Container ports and where they are on this machine.
    published: HashMap<u16, SocketAddr>,
}

impl Docker {
    /// Finds an engine, clears away what this lab left there, and tries a container. Blocks.
    pub fn open(data: &Path, addresses: Vec<Address>, reports: Reports) -> Result<Docker, Vec<String>> {
        let data = std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
        let digest = ring::digest::digest(&ring::digest::SHA256, data.as_os_str().as_encoded_bytes());
        // it goes when the lab is emptied, and what tasks share with it
        let mark = data.join("runtime/docker");
        let emptied = !mark.exists();
        let names = Names { lab: hex::encode(&digest.as_ref()[..6]) };
        // the caller may be on a runtime's thread, which must not wait for itself
        let opened = std::thread::scope(|scope| {
            let opening = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|error| vec![error.to_string()])?;
                runtime.block_on(first(addresses, &names, emptied))
            });
            opening.join().unwrap_or_else(|_| Err(vec!["the lab failed to try it".to_owned()]))
        });
        let (engine, start_interval, publish) = opened?;
        std::fs::create_dir_all(&mark).map_err(|error| vec![format!("{}: {error}", mark.display())])?;
        let (loading, running) = (tokio::sync::Mutex::default(), Mutex::default());
        Ok(Docker { shared: Arc::new(Shared { engine, names, start_interval, publish, loading, reports, running }) })
    }

    pub async fn start(&self, task: TaskSpec) -> Result<(), StartError> {
        let first = task.containers.first().map(|container| container.name.clone()).unwrap_or_default();
        let refuse = |detail: &str| Err(StartError::cannot_start(&first, detail));
        if !task.has_an_id() {
            return refuse("the task's id is not one");
        }
        let slot = Arc::new(Slot {
            stop: watch::Sender::new(None),
            network: watch::Sender::new(None),
            gone: watch::Sender::new(false),
        });
        match self.shared.running().entry(task.task_id.clone()) {
            std::collections::hash_map::Entry::Occupied(_) => return refuse("the task runs already"),
            std::collections::hash_map::Entry::Vacant(vacant) => vacant.insert(slot.clone()),
        };
        let (started, outcome) = oneshot::channel();
        tokio::spawn(task::supervise(self.shared.clone(), slot.clone(), task, started));
        match outcome.await {
            Ok(Err(error)) => {
                slot.wait().await;
                Err(error)
            }
            Ok(Ok(())) => Ok(()),
            Err(_) => refuse("the lab is ending"),
        }
    }

    pub async fn stop(&self, task_id: &str, timeout: Duration) {
        let Some(slot) = self.shared.running().get(task_id).cloned() else { return };
        slot.stop.send_modify(|known| *known = Some(known.map_or(timeout, |known| known.min(timeout))));
        slot.wait().await;
    }

    pub async fn connect(&self, task_id: &str, port: u16) -> io::Result<TcpStream> {
        let network = self.shared.running().get(task_id).and_then(|slot| slot.network.borrow().clone());
        let network =
            network.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("task {task_id} does not run")))?;
        let refused = || {
            io::Error::new(io::ErrorKind::ConnectionRefused, format!("port {port} is not in the task's portMappings"))
        };
        let address = match network.address.filter(|_| !self.shared.publish) {
            Some(address) => SocketAddr::new(address, port),
            None => *network.published.get(&port).ok_or_else(refused)?,
        };
        TcpStream::connect(address).await
    }

    /// Stops all tasks and removes all that the lab made, but the volumes that tasks share.
    pub async fn shutdown(&self, patience: Duration) {
        let ids: Vec<String> = self.shared.running().keys().cloned().collect();
        let all = |timeout| join_all(ids.iter().map(move |id| self.stop(id, timeout)));
        // in chains of containers each has its time
        if timeout(2 * patience, all(patience)).await.is_err() {
            all(Duration::ZERO).await;
        }
        if let Err(failure) = clear(&self.shared.engine, &self.shared.names, false).await {
            tracing::warn!(%failure, "something of this lab is left in the Docker engine");
        }
    }
}

impl Slot {
    async fn wait(&self) {
        // the sender is ours, so this cannot fail
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The engine has the image afterwards.
    async fn load(&self, container: &ContainerSpec) -> Result<(), StartError> {
        let pull = |detail: String| StartError::new(&container.name, "CannotPullContainerError", detail);
        let name = self.names.image(&container.image.digest);
        let _one_at_a_time = self.loading.lock().await;
        match self.engine.get(&format!("/images/{name}/json")).await {
            Ok(_) => return Ok(()),
            Err(failure) if failure.is_missing() => {}
            Err(failure) => return Err(pull(failure.message)),
        }
        let body = http_body_util::StreamBody::new(archive::stream(container.image.clone(), name));
        loaded(self.engine.upload("/images/load?quiet=1", body).await).map_err(pull)
    }
}

/// An answer to a load that is good may still tell of an error.
fn loaded(answer: Answer<Vec<u8>>) -> Result<(), String> {
    let said = answer.map_err(|failure| failure.message)?;
    for line in said.split(|byte| *byte == b'\n') {
        let said: Value = serde_json::from_slice(line).unwrap_or_default();
        if let Some(error) = said["error"].as_str().or(said["errorDetail"]["message"].as_str()) {
            return Err(error.to_owned());
        }
    }
    Ok(())
}

/// The first engine that really runs a container; whether it knows start intervals, and whether ports must be published.
async fn first(addresses: Vec<Address>, names: &Names, emptied: bool) -> Result<(Engine, bool, bool), Vec<String>> {
    let mut refused = Vec::new();
    for address in addresses {
        let engine = Engine::new(address.clone());
        match attempt(&engine, names, emptied).await {
            Ok((start_interval, publish)) => return Ok((engine, start_interval, publish)),
            Err(failure) if failure.status.is_none() => refused.push(failure.message),
            Err(failure) => {
                refused.push(format!("{address}: {failure}"));
                let _ = clear(&engine, names, emptied).await;
            }
        }
    }
    Err(refused)
}

async fn attempt(engine: &Engine, names: &Names, emptied: bool) -> Answer<(bool, bool)> {
    let version = engine.get("/version").await?;
    clear(engine, names, emptied).await?;
    let architecture = version["Arch"].as_str().unwrap_or_default().to_owned();
    let body = http_body_util::StreamBody::new(archive::pause_stream(architecture, names.pause_image()));
    let answer = engine.upload("/images/load?quiet=1", body).await;
    loaded(answer).map_err(|message| engine::Failure { status: Some(hyper::StatusCode::BAD_REQUEST), message })?;
    engine.post("/networks/create", Some(requests::network(names))).await?;
    let task = TaskSpec { task_id: PROBE.to_owned(), ..TaskSpec::default() };
    let tried = async {
        let pause =
            task::create(engine, &names.container(PROBE, "network"), requests::pause(names, &task, false)).await?;
        engine.post(&format!("/containers/{pause}/start"), None).await?;
        let network = task::network(engine, names, &pause).await?;
        Ok(match network.address {
            // nothing listens there: who refuses is who would answer
            Some(address) => {
                let reached = timeout(REACH, TcpStream::connect((address, 9))).await;
                !matches!(reached, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
            }
            None => true,
        })
    };
    let publish = tried.await;
    task::clear(engine, names, PROBE).await?;
    Ok((version["ApiVersion"].as_str().is_some_and(|version| is_at_least(version, START_INTERVAL)), publish?))
}

fn is_at_least(version: &str, wanted: (u32, u32)) -> bool {
    let parsed = version.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.is_some_and(|version: (u32, u32)| version >= wanted)
}

/// Removes what has this lab's label or name; with `everything` also the volumes that its tasks share.
async fn clear(engine: &Engine, names: &Names, everything: bool) -> Answer<()> {
    let filter = names.filter(None);
    let containers = engine.get(&format!("/containers/json?all=1&{filter}")).await?;
    let containers = ids(&containers, "Id");
    let removed =
        containers.iter().map(|id| async move { engine.delete(&format!("/containers/{id}?force=1&v=1")).await });
    join_all(removed).await.into_iter().collect::<Answer<()>>()?;
    let volumes = engine.get(&format!("/volumes?{filter}")).await?;
    for volume in volumes["Volumes"].as_array().into_iter().flatten() {
        let own = volume["Labels"].get(requests::TASK).is_some();
        if let Some(name) = volume["Name"].as_str().filter(|_| own || everything) {
            engine.delete(&format!("/volumes/{name}?force=1")).await?;
        }
    }
    for id in ids(&engine.get(&format!("/networks?{filter}")).await?, "Id") {
        engine.delete(&format!("/networks/{id}")).await?;
    }
    let images = requests::query(&[("filters", &serde_json::json!({ "reference": [names.image("*")] }).to_string())]);
    let images = engine.get(&format!("/images/json?{images}")).await?;
    for image in images.as_array().into_iter().flatten() {
        // by name: under another one it may be somebody else's, too
        let tags = image["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for tag in tags.filter(|tag| tag.trim_start_matches("localhost/").starts_with(&names.image(""))) {
            engine.delete(&format!("/images/{tag}")).await?;
        }
    }
    Ok(())
}

fn ids<'a>(list: &'a Value, member: &str) -> Vec<&'a str> {
    list.as_array().into_iter().flatten().filter_map(|one| one[member].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, is) in
            [("1.44", true), ("1.9", false), ("1.100", true), ("2.0", true), ("1.41", false), ("", false)]
        {
            assert_eq!(is_at_least(version, START_INTERVAL), is, "{version}");
        }
    }
}
