//! One life of a lab's state: its loops, its saving, its end. A reset ends one and begins the next.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Options;
use super::loops::Loops;
use super::resume::Earlier;
use crate::aws_model::Service;
use crate::error::{Error, Result};
use crate::lab::budgets::Budgets;
use crate::lab::clock::Clock;
use crate::lab::runtime::{Level, Runtime};
use crate::lab::state::Store;
use crate::lab::{self, Lab, Settings, balancer, discovery::dns, disk, ecr, ecs, scheduler};

/// What is in a data folder besides `lock`, `lab.json`, `settings.json` and the log, and goes with a reset, in this order:
/// a lab can begin with what comes after [`EMPTYING`].
const CONTENTS: [&str; 9] = [
    SNAPSHOT,
    "changes.old.jsonl",
    "changes.jsonl",
    "logs.json",
    "logs.jsonl",
    EMPTYING,
    "blobs",
    "uploads",
    "runtime",
];
const SNAPSHOT: &str = "state.json";
/// The snapshot while the state is being deleted: the next lab goes on with that where this one is killed.
const EMPTYING: &str = "state.gone.json";

/// The shortest pause between two saves of what the loops wrote.
const SAVE_PAUSE: Duration = Duration::from_millis(50);
/// And after one that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long the loops may take to end.
const END: Duration = Duration::from_secs(10);
/// How long containers may take after their stop signal.
const STOP_CONTAINERS: Duration = Duration::from_secs(5);

/// The place of the current [`Instance`].
pub struct House {
    settings: Settings,
    options: Options,
    current: RwLock<Arc<Instance>>,
    resetting: tokio::sync::Mutex<()>,
    ended: CancellationToken,
}

pub struct Instance {
    pub lab: Arc<Lab>,
    store: Store,
    earlier: Earlier,
    stop: CancellationToken,
    loops: Loops,
}

impl House {
    /// `ended` is cancelled when there is no lab any more.
    pub fn open(settings: Settings, options: Options, ended: CancellationToken) -> Result<House> {
        let current = RwLock::new(Instance::open(&settings, &options)?);
        Ok(House { settings, options, current, resetting: tokio::sync::Mutex::new(()), ended })
    }

    pub fn current(&self) -> Arc<Instance> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the current life, empties the data folder and begins a new one. Where none can begin, the lab is to end.
    pub async fn reset(&self) -> Result<()> {
        let _one_at_a_time = self.resetting.lock().await;
        let old = self.current();
        old.close().await;
        let wiped = wipe(&self.settings.data);
        let new = Instance::open(&self.settings, &self.options).inspect_err(|error| {
            tracing::error!(%error, "the lab was emptied and cannot begin anew");
            self.ended.cancel();
        })?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        wiped.map_err(|error| Error::other(format!("cannot empty {}", self.settings.data.display())).cause(error))
    }

    /// Ends the loops and saves.
    pub async fn close(&self) {
        let _not_while_resetting = self.resetting.lock().await;
        self.current().close().await;
    }
}

impl Instance {
    fn open(settings: &Settings, options: &Options) -> Result<Arc<Instance>> {
        if settings.data.join(EMPTYING).exists() {
            wipe(&settings.data)
                .map_err(|error| Error::other(format!("cannot empty {}", settings.data.display())).cause(error))?;
        }
        let (store, mut state) = Store::open(&settings.data)?;
        let clock = Clock::turned_by(options.hand, options.pace.unwrap_or_default());
        ecs::prepare(&mut state, clock.now());
        state.ecr.collect_all(&settings.data);
        let _ = std::fs::remove_dir_all(settings.data.join("uploads"));
        // its own containers need Linux
        let level = options.runtime_level.or((!cfg!(target_os = "linux")).then_some(Level::Docker));
        let runtime = match &options.executable {
            _ if options.runtime_level == Some(Level::Simulated) => Runtime::simulated(),
            Some(_) if level == Some(Level::Docker) => Runtime::docker(&settings.data, options.docker.clone())?,
            Some(helper) => Runtime::new(settings.data.clone(), options.runtime_level, helper.clone())?,
            None => Runtime::disabled(),
        };
        let earlier = Earlier::of(&state);
        let mut lab = Lab::new(settings.clone(), clock, runtime, state);
        lab.budgets = Budgets::new(options.unlimited_requests);
        options.faults.iter().for_each(|fault| drop(lab.faults.add(fault.clone())));
        let lab = Arc::new(lab);
        // The ids of a new lab's VPC, subnets and instance are told from here on.
        store.save(&lab).map_err(|error| {
            Error::other(format!("cannot write {}", settings.data.join("state.json").display())).cause(error)
        })?;
        let instance = Arc::new(Instance {
            lab: lab.clone(),
            store,
            earlier,
            stop: CancellationToken::new(),
            loops: Loops::default(),
        });
        let (loops, stop) = (&instance.loops, &instance.stop);
        // It takes the runtime's reports, which are given out once, and keeps defects to a step.
        loops.once("scheduler", scheduler::run(lab.clone(), stop.clone()));
        let of = (lab.clone(), stop.clone());
        loops.keep("balancer", stop, move || balancer::run(of.0.clone(), of.1.clone()));
        let of = (lab.clone(), stop.clone());
        loops.keep("dns", stop, move || dns::run(of.0.clone(), of.1.clone()));
        let of = (lab, stop.clone());
        loops.keep("image expiry", stop, move || ecr::keep_expiring(of.0.clone(), of.1.clone()));
        let saver = instance.clone();
        loops.keep("saving", stop, move || keep_saving(saver.clone()));
        Ok(instance)
    }

    /// Does something to the lab for a service, and saves what that wrote. Who only reads does not wait for what others
    /// write, and who asks for no logs not for theirs.
    pub fn run<T>(&self, service: Service, work: impl FnOnce(&Lab) -> T) -> io::Result<T> {
        let before = lab::writes_here();
        let done = work(&self.lab);
        if lab::writes_here() != before {
            self.store.save(&self.lab)?;
            if service == Service::Logs {
                self.store.save_logs(&self.lab)?;
            }
        }
        Ok(done)
    }

    /// Saves the state, if it was written since the last time.
    pub fn save(&self) -> io::Result<()> {
        self.store.save(&self.lab)
    }

    /// How much of what ran when the lab ended does not run again yet.
    pub fn resuming(&self) -> usize {
        self.lab.read(|state| self.earlier.resuming(state))
    }

    /// The loops that do not run, and what a defect keeps the scheduler from.
    pub fn failed(&self) -> Vec<String> {
        let loops = self.loops.failed(&self.stop).into_iter().map(str::to_owned);
        loops.chain(self.lab.read(scheduler::failing)).collect()
    }

    /// Done when this life of the lab ends.
    pub async fn ended(&self) {
        self.stop.cancelled().await;
    }

    async fn close(&self) {
        if self.stop.is_cancelled() {
            return;
        }
        self.stop.cancel();
        // What stalls would do so for ever: who clears faults from here on clears those of the next life.
        self.lab.faults.clear(None);
        self.loops.end(END).await;
        if let Err(error) = self.store.save_all(&self.lab) {
            tracing::error!(%error, "the lab's state could not be saved");
        }
        self.store.close(&self.lab);
        // What ran is kept as running, so that the next lab starts it again.
        self.lab.runtime.shutdown(STOP_CONTAINERS).await;
    }
}

/// Saves what the loops write, not more often than a small share of the time allows.
async fn keep_saving(instance: Arc<Instance>) {
    let mut changes = instance.lab.changes();
    let stop = instance.stop.clone();
    let mut pause = SAVE_PAUSE;
    loop {
        let changed = stop.run_until_cancelled(changes.changed()).await;
        if !matches!(changed, Some(Ok(()))) {
            return;
        }
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        changes.mark_unchanged();
        let began = Instant::now();
        let saver = instance.clone();
        let saved = tokio::task::spawn_blocking(move || saver.store.save_all(&saver.lab)).await;
        pause = SAVE_PAUSE.max(began.elapsed() * 4);
        if let Ok(Err(error)) = saved {
            tracing::error!(%error, "the lab's state could not be saved");
            // Again when there may be room, though nothing else changes.
            pause = pause.max(RETRY_PAUSE);
            changes.mark_changed();
        }
    }
}

/// Deletes what a lab keeps in `data`. What is not a lab's stays.
pub fn wipe(data: &Path) -> io::Result<()> {
    // Needs no room on a full disk.
    match std::fs::rename(data.join(SNAPSHOT), data.join(EMPTYING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for name in CONTENTS {
        let path: PathBuf = data.join(name);
        let gone = match path.symlink_metadata() {
            Ok(found) if found.is_dir() => disk::remove_tree(&path),
            Ok(_) => std::fs::remove_file(&path),
            Err(error) => Err(error),
        };
        gone.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    }
    disk::private_folder(&ecr::blobs_folder(data))
}
