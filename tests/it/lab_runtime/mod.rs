//! The container runtime: each level forced, and layers that mean harm.

mod docker;
mod ends;
mod health;
pub(crate) mod image;
mod levels;
pub(crate) mod limits;
mod output;
mod volumes;
mod walls;

use std::path::Path;
use std::time::Duration;

use steadystate::lab::runtime::{ContainerSpec, Level, Line, Output, Runtime, RuntimeEvent, TaskSpec};
use tokio::sync::mpsc::{self, Receiver, UnboundedReceiver};

pub(crate) const HELPER: &str = env!("CARGO_BIN_EXE_steady");
const PATIENCE: Duration = Duration::from_secs(20);

/// A runtime at one level in a folder of its own.
struct Bench {
    data: tempfile::TempDir,
    runtime: Runtime,
    events: UnboundedReceiver<RuntimeEvent>,
    /// What containers wrote; of one that ended all is here when its end is.
    lines: UnboundedReceiver<Line>,
    level: Level,
}

/// How a container ended, and what it said on both streams.
#[derive(Debug, Default)]
struct End {
    exit_code: i32,
    signal: Option<i32>,
    oom_killed: bool,
    lines: Vec<String>,
    errors: Vec<String>,
}

/// Every level of this machine. Where it permits one not, `probe` has to say so.
fn benches() -> Vec<Bench> {
    let permitted = tempfile::tempdir().unwrap();
    let probes = Runtime::probe(permitted.path(), Path::new(HELPER));
    assert_eq!(probes.iter().map(|probe| probe.level).collect::<Vec<_>>(), Level::ALL);
    assert_eq!(std::fs::read_dir(permitted.path()).unwrap().count(), 0, "a probe left something behind");
    let benches: Vec<Bench> = probes.iter().filter_map(|probe| bench(probe.level, probe.outcome.is_ok())).collect();
    assert!(!benches.is_empty(), "no level works here: {probes:?}");
    benches
}

fn bench(level: Level, permitted: bool) -> Option<Bench> {
    let data = tempfile::tempdir().unwrap();
    match Runtime::new(data.path().to_owned(), Some(level), HELPER.into()) {
        Ok(runtime) => {
            assert!(permitted, "{level} works, but probe() says it does not");
            assert_eq!(runtime.level(), Some(level));
            let events = runtime.take_events().unwrap();
            assert!(runtime.take_events().is_none());
            let lines = taken(runtime.take_output().unwrap());
            assert!(runtime.take_output().is_none());
            Some(Bench { data, runtime, events, lines, level })
        }
        Err(error) => {
            assert!(!permitted, "probe() says that {level} works, but: {error:?}");
            assert!(error.hints().iter().any(|hint| hint.starts_with(level.name())), "{error:?}");
            None
        }
    }
}

/// Takes what containers write at once.
fn taken(mut output: Receiver<Output>) -> UnboundedReceiver<Line> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Some(one) = output.blocking_recv() {
            match one {
                Output::Line(line) => drop(sender.send(line)),
                Output::End(taken) => drop(taken.send(())),
            }
        }
    });
    lines
}

impl Bench {
    fn task(&self, id: &str, arguments: &[&str]) -> TaskSpec {
        let image = image::tool(&self.data.path().join("blobs"));
        let container = ContainerSpec {
            name: "main".to_owned(),
            image,
            command: arguments.iter().map(ToString::to_string).collect(),
            ..ContainerSpec::default()
        };
        TaskSpec { task_id: id.to_owned(), containers: vec![container], volumes: Vec::new() }
    }

    async fn run(&mut self, id: &str, arguments: &[&str]) -> End {
        self.run_task(self.task(id, arguments)).await
    }

    /// Runs a task of one container to its end.
    async fn run_task(&mut self, task: TaskSpec) -> End {
        let (id, name) = (task.task_id.clone(), task.containers[0].name.clone());
        self.runtime.start(task).await.unwrap_or_else(|error| panic!("{}: {error}", self.level));
        self.end(&id, &name).await
    }

    /// Waits for a container's end and collects what it said until then.
    async fn end(&mut self, id: &str, name: &str) -> End {
        loop {
            let RuntimeEvent::Exited { task_id, container, exit_code, signal, oom_killed } = self.event().await else {
                continue;
            };
            if task_id != id || container != name {
                continue;
            }
            let mut end = End { exit_code, signal, oom_killed, ..End::default() };
            while let Ok(line) = self.lines.try_recv() {
                assert!(line.at > 1_600_000_000_000);
                if *line.task_id == *id && *line.container == *name {
                    if line.stderr { &mut end.errors } else { &mut end.lines }.push(line.text);
                }
            }
            return end;
        }
    }

    /// Waits until a container has said `wanted`.
    async fn said(&mut self, id: &str, wanted: &str) {
        loop {
            let said = async {
                tokio::select! {
                    biased;
                    line = self.lines.recv() => line,
                    Some(RuntimeEvent::Exited { task_id, .. }) = self.events.recv() => {
                        assert_ne!(task_id, id, "it ended without saying {wanted}");
                        None
                    }
                }
            };
            let line = tokio::time::timeout(PATIENCE, said).await.expect("a line");
            if line.is_some_and(|line| *line.task_id == *id && line.text == wanted) {
                return;
            }
        }
    }

    /// Waits for what happens next.
    async fn event(&mut self) -> RuntimeEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event").expect("a runtime")
    }

    /// Nothing of any task is left: no folder, no mount, no cgroup, no event.
    fn assert_clean(&mut self) {
        let tasks = std::fs::read_dir(self.data.path().join("runtime/tasks")).unwrap().count();
        assert_eq!(tasks, 0, "{}: folders are left", self.level);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.data.path().to_str().unwrap()), "{}: mounts are left", self.level);
        while let Ok(event) = self.events.try_recv() {
            assert!(!matches!(event, RuntimeEvent::Exited { .. }), "{}: one event too many: {event:?}", self.level);
        }
    }
}

/// `NAME=value` lines of the tool's `show`.
fn value<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}
