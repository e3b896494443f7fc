//! One task in the engine, from its containers' creation to their removal.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hyper::Method;
use serde_json::Value;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::engine::{Answer, Engine};
use super::requests::{self, Names};
use super::{Network, Shared, Slot, end, ids, logs};
use crate::lab::runtime::lines::Writer;
use crate::lab::runtime::order::{Order, Step};
use crate::lab::runtime::spec::{ContainerSpec, RuntimeEvent, StartError, TaskSpec};
use crate::lab::runtime::stopping::{Blow, Stopping};

/// How often a container's health is asked for.
const HEALTH_POLL: Duration = Duration::from_millis(200);
/// How long the last lines of a container that ended may take.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(60);
const SIGKILL: &str = "SIGKILL";

enum News {
    Ended { at: usize, exit_code: i32, oom_killed: bool },
    Health { at: usize, healthy: bool },
}

struct Task {
    shared: Arc<Shared>,
    spec: TaskSpec,
    order: Order,
    places: Vec<Place>,
    news: (UnboundedSender<News>, UnboundedReceiver<News>),
}

/// A container that was created.
#[derive(Default)]
struct Place {
    id: String,
    stop_signal: String,
    /// By the lab.
    killed: Arc<AtomicBool>,
    began: Option<Instant>,
    reader: Option<tokio::task::JoinHandle<()>>,
    checks: Option<AbortHandle>,
    restarted: bool,
    /// Not told yet.
    end: Option<RuntimeEvent>,
}

pub(super) async fn supervise(
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    spec: TaskSpec,
    started: oneshot::Sender<Result<(), StartError>>,
) {
    let task_id = spec.task_id.clone();
    match Task::prepare(shared.clone(), &slot, spec).await {
        Ok(task) => task.run(&slot, started).await,
        Err(error) => {
            clear_away(&shared, &slot, &task_id).await;
            let _ = started.send(Err(error));
        }
    }
}

async fn clear_away(shared: &Shared, slot: &Slot, task_id: &str) {
    slot.network.send_replace(None);
    if let Err(failure) = clear(&shared.engine, &shared.names, task_id).await {
        tracing::warn!(%failure, task_id, "something of this task is left in the Docker engine");
    }
    shared.running().remove(task_id);
    slot.gone.send_replace(true);
}

/// Removes what has this task's label.
pub(super) async fn clear(engine: &Engine, names: &Names, task_id: &str) -> Answer<()> {
    let filter = names.filter(Some(task_id));
    let containers = engine.get(&format!("/containers/json?all=1&{filter}")).await?;
    let remove = |id: String| async move { engine.delete(&format!("/containers/{id}?force=1&v=1")).await };
    let containers: Vec<String> = ids(&containers, "Id").into_iter().map(str::to_owned).collect();
    join_all(containers.into_iter().map(remove)).await.into_iter().collect::<Answer<()>>()?;
    let volumes = engine.get(&format!("/volumes?{filter}")).await?;
    for name in ids(&volumes["Volumes"], "Name") {
        engine.delete(&format!("/volumes/{name}?force=1")).await?;
    }
    Ok(())
}

/// The id of a new container.
pub(super) async fn create(engine: &Engine, name: &str, body: Value) -> Answer<String> {
    let query = requests::query(&[("name", name)]);
    let made = engine.post(&format!("/containers/create?{query}"), Some(body)).await?;
    Ok(made["Id"].as_str().unwrap_or_default().to_owned())
}

/// How a task is reached whose network this container holds.
pub(super) async fn network(engine: &Engine, names: &Names, pause: &str) -> Answer<Network> {
    let settings = &engine.get(&format!("/containers/{pause}/json")).await?["NetworkSettings"];
    let address = settings["Networks"][names.network()]["IPAddress"].as_str().and_then(|address| address.parse().ok());
    let published = settings["Ports"].as_object().into_iter().flatten().filter_map(|(port, places)| {
        let at = places[0]["HostPort"].as_str()?.parse().ok()?;
        Some((port.split('/').next()?.parse().ok()?, SocketAddr::from(([127, 0, 0, 1], at))))
    });
    Ok(Network { address, published: published.collect() })
}

impl Task {
    /// Everything up to the containers' start.
    async fn prepare(shared: Arc<Shared>, slot: &Slot, spec: TaskSpec) -> Result<Task, StartError> {
        let first = spec.containers.first().map_or("", |container| container.name.as_str());
        let order = Order::new(&spec.containers).map_err(|problem| StartError::cannot_start(first, problem))?;
        for container in &spec.containers {
            shared.load(container).await?;
        }
        let (engine, names) = (&shared.engine, &shared.names);
        let refuse = |failure: super::engine::Failure| StartError::new(first, "CannotCreateContainerError", failure);
        for volume in requests::volumes(names, &spec) {
            engine.post("/volumes/create", Some(volume)).await.map_err(refuse)?;
        }
        let body = requests::pause(names, &spec, shared.publish);
        // no container of a definition has this name, as it begins with a hyphen
        let pause = create(engine, &names.container(&spec.task_id, "-network"), body).await.map_err(refuse)?;
        engine.post(&format!("/containers/{pause}/start"), None).await.map_err(refuse)?;
        slot.network.send_replace(Some(network(engine, names, &pause).await.map_err(refuse)?));

        let mut created: HashMap<String, String> = HashMap::new();
        for container in in_order(&spec.containers) {
            let refuse = |detail: String| StartError::new(&container.name, "CannotCreateContainerError", detail);
            let body = requests::container(names, &spec, container, &pause, &created, shared.start_interval);
            let name = names.container(&spec.task_id, &container.name);
            let id = create(engine, &name, body.map_err(refuse)?).await.map_err(|failure| refuse(failure.message))?;
            created.insert(container.name.clone(), id);
        }
        let mut places = Vec::new();
        for container in &spec.containers {
            let id = created.remove(&container.name).unwrap_or_default();
            let found = engine.get(&format!("/containers/{id}/json")).await.map_err(refuse)?;
            let stop_signal = found["Config"]["StopSignal"].as_str().filter(|signal| !signal.is_empty());
            let stop_signal = stop_signal.unwrap_or("SIGTERM").to_owned();
            places.push(Place { id, stop_signal, ..Place::default() });
        }
        Ok(Task { shared: shared.clone(), spec, order, places, news: mpsc::unbounded_channel() })
    }

    async fn run(mut self, slot: &Slot, started: oneshot::Sender<Result<(), StartError>>) {
        let mut started = Some(started);
        let mut failed = None;
        let mut stopping: Option<Stopping> = None;
        let mut asked = slot.stop.subscribe();
        let mut reported = JoinSet::new();
        loop {
            if let Some(timeout) = *asked.borrow_and_update() {
                self.order.skip_waiting();
                stopping.get_or_insert_with(|| Stopping::new(self.places.len(), timeout)).hurry(timeout);
            }
            if failed.is_none() && stopping.is_none() {
                failed = self.start_what_is_due().await.err();
            }
            if let Some(stopping) = &mut stopping
                && self.stop_what_is_due(stopping).await
            {
                break;
            }
            if failed.is_some() {
                break;
            }
            let complete = self.order.is_complete();
            if complete
                && stopping.is_none()
                && let Some(started) = started.take()
            {
                let _ = started.send(Ok(()));
            }
            if started.is_none() || self.order.is_staged() {
                self.report_ends(&mut reported);
            }
            if self.order.is_over() {
                break;
            }
            let now = Instant::now();
            let deadline = match &stopping {
                Some(stopping) => stopping.deadline(&self.order),
                None => self.order.deadline(now),
            };
            tokio::select! {
                Some(news) = self.news.1.recv() => self.hear(news, stopping.is_some()).await,
                _ = asked.changed() => {}
                () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => {}
            }
        }
        self.end(slot, started, failed, reported).await;
    }

    async fn end(
        mut self,
        slot: &Slot,
        started: Option<oneshot::Sender<Result<(), StartError>>>,
        failed: Option<StartError>,
        mut reported: JoinSet<()>,
    ) {
        for checks in self.places.iter_mut().filter_map(|place| place.checks.take()) {
            checks.abort();
        }
        if let Some(started) = started {
            let name = self.spec.containers.first().map_or("", |container| container.name.as_str());
            let stopped = || StartError::cannot_start(name, "the task was stopped before it ran");
            reported.join_all().await;
            clear_away(&self.shared, slot, &self.spec.task_id).await;
            let _ = started.send(Err(failed.unwrap_or_else(stopped)));
            return;
        }
        // those that not even SIGKILL ended go with their removal
        for at in (0..self.places.len()).filter(|at| self.order.runs(*at)).collect::<Vec<_>>() {
            self.places[at].end = Some(self.exited(at, 137, false));
        }
        self.report_ends(&mut reported);
        // what a container wrote goes with it
        reported.join_all().await;
        clear_away(&self.shared, slot, &self.spec.task_id).await;
    }

    async fn start_what_is_due(&mut self) -> Result<(), StartError> {
        for step in self.order.due(Instant::now()) {
            match step {
                Step::Start(at) => self.start(at).await?,
                Step::Skip(at, reason) => {
                    let (task_id, container) = self.named(at);
                    let _ = self.shared.reports.events.send(RuntimeEvent::Skipped { task_id, container, reason });
                }
            }
        }
        Ok(())
    }

    async fn start(&mut self, at: usize) -> Result<(), StartError> {
        // before it starts: of one that ends at once the engine's log may come too late
        self.read(at).await;
        let started = self.shared.engine.post(&format!("/containers/{}/start", self.places[at].id), None).await;
        started.map_err(|failure| StartError::cannot_start(&self.spec.containers[at].name, failure))?;
        self.order.started(at, Instant::now());
        let (task_id, container) = self.named(at);
        let event = match self.places[at].restarted {
            true => RuntimeEvent::Restarted { task_id, container },
            false => RuntimeEvent::Started { task_id, container },
        };
        let _ = self.shared.reports.events.send(event);
        self.places[at].began = Some(Instant::now());
        self.watch(at);
        Ok(())
    }

    async fn read(&mut self, at: usize) {
        let path = format!("/containers/{}/attach?stream=1&stdout=1&stderr=1", self.places[at].id);
        match self.shared.engine.follow(Method::POST, &path).await {
            Ok(body) => {
                let (task_id, container) = self.named(at);
                let writer = Writer { task_id: task_id.into(), container: container.into() };
                let output = self.shared.reports.output.clone();
                self.places[at].reader = Some(tokio::spawn(logs::follow(body, writer, output)));
            }
            Err(failure) => tracing::warn!(%failure, "a container's output is lost"),
        }
    }

    /// Tells of its end, and of its health.
    fn watch(&mut self, at: usize) {
        let (shared, id, news) = (self.shared.clone(), self.places[at].id.clone(), self.news.0.clone());
        let killed = self.places[at].killed.clone();
        tokio::spawn(async move {
            let (exit_code, oom_killed) = end::of(&shared.engine, &id, || killed.load(Ordering::SeqCst)).await;
            let _ = news.send(News::Ended { at, exit_code, oom_killed });
        });
        if self.spec.containers[at].health_check.is_some() {
            let (shared, id, news) = (self.shared.clone(), self.places[at].id.clone(), self.news.0.clone());
            let polling = tokio::spawn(async move {
                let mut known = None;
                loop {
                    sleep(HEALTH_POLL).await;
                    let Ok(found) = shared.engine.get(&format!("/containers/{id}/json")).await else { continue };
                    let healthy = match found["State"]["Health"]["Status"].as_str() {
                        Some("healthy") => true,
                        Some("unhealthy") => false,
                        _ => continue,
                    };
                    if known.replace(healthy) != Some(healthy) && news.send(News::Health { at, healthy }).is_err() {
                        return;
                    }
                }
            });
            self.places[at].checks = Some(polling.abort_handle());
        }
    }

    async fn hear(&mut self, news: News, stopping: bool) {
        match news {
            News::Health { at, healthy } => {
                if self.places[at].checks.is_some() {
                    self.order.health(at, healthy);
                    let (task_id, container) = self.named(at);
                    let _ = self.shared.reports.events.send(RuntimeEvent::Health { task_id, container, healthy });
                }
            }
            News::Ended { at, exit_code, oom_killed } => {
                if let Some(checks) = self.places[at].checks.take() {
                    checks.abort();
                }
                let ran = self.places[at].began.take().map(|began| began.elapsed());
                let restart = self.spec.containers[at].restart.as_ref();
                let restart = restart.zip(ran).is_some_and(|(policy, ran)| policy.applies(exit_code, ran));
                if restart && !stopping {
                    self.order.restarting(at);
                    self.places[at].restarted = true;
                    if let Some(reader) = self.places[at].reader.take() {
                        let _ = timeout(OUTPUT_PATIENCE, reader).await;
                    }
                    if self.start(at).await.is_ok() {
                        return;
                    }
                }
                self.order.ended(at, exit_code);
                self.places[at].end = Some(self.exited(at, exit_code, oom_killed));
            }
        }
    }

    /// True when the engine does not end what it was told to end.
    async fn stop_what_is_due(&self, stopping: &mut Stopping) -> bool {
        for blow in stopping.due(Instant::now(), &self.order) {
            let (at, signal) = match blow {
                Blow::Soft(at) => (at, self.places[at].stop_signal.as_str()),
                Blow::Hard(at) => {
                    self.places[at].killed.store(true, Ordering::SeqCst);
                    (at, SIGKILL)
                }
                Blow::GiveUp => return true,
            };
            // it fails for one that has just ended
            let _ = self
                .shared
                .engine
                .post(&format!("/containers/{}/kill?signal={signal}", self.places[at].id), None)
                .await;
        }
        false
    }

    fn report_ends(&mut self, reported: &mut JoinSet<()>) {
        for place in &mut self.places {
            if let Some(end) = place.end.take() {
                let (reader, reports) = (place.reader.take(), self.shared.reports.clone());
                reported.spawn(async move {
                    if let Some(mut reader) = reader
                        && timeout(OUTPUT_PATIENCE, &mut reader).await.is_err()
                    {
                        reader.abort();
                    }
                    reports.end(end).await;
                });
            }
        }
    }

    fn named(&self, at: usize) -> (String, String) {
        (self.spec.task_id.clone(), self.spec.containers[at].name.clone())
    }

    fn exited(&self, at: usize, exit_code: i32, oom_killed: bool) -> RuntimeEvent {
        let (task_id, container) = self.named(at);
        // the engine tells no signal, only the shell's number for it
        RuntimeEvent::Exited { task_id, container, exit_code, signal: None, oom_killed }
    }
}

/// Those whose volumes others take come before these; in a circle somebody has to be refused.
fn in_order(containers: &[ContainerSpec]) -> Vec<&ContainerSpec> {
    let mut rest: Vec<&ContainerSpec> = containers.iter().collect();
    let mut sorted: Vec<&ContainerSpec> = Vec::new();
    while !rest.is_empty() {
        let free = rest.iter().position(|container| {
            container.volumes_from.iter().all(|from| !rest.iter().any(|other| other.name == from.container))
        });
        sorted.push(rest.remove(free.unwrap_or(0)));
    }
    sorted
}
