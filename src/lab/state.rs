//! Everything that a lab remembers, and where it keeps that. Each service owns its part; this puts the parts together.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::changes::{self, Recorder};
use super::{Lab, cloudwatch, discovery, disk, ec2, ecr, ecs, elbv2, faults, iam, logs, secretsmanager, ssm};
use crate::error::{Error, Result};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub ecr: ecr::EcrState,
    pub ecs: ecs::EcsState,
    pub elbv2: elbv2::ElbState,
    pub ec2: ec2::Ec2State,
    /// In files of its own: it is large, and only replies about logs have to wait for it.
    #[serde(skip)]
    pub logs: logs::LogsState,
    pub discovery: discovery::DiscoveryState,
    pub ssm: ssm::SsmState,
    pub secrets: secretsmanager::SecretsState,
    pub iam: iam::IamState,
    pub cloudwatch: cloudwatch::CloudWatchState,
    /// What is to go wrong where tasks are placed; ends with the lab.
    #[serde(skip)]
    pub faults: faults::Faults,
}

/// The journal may grow to this, or to the snapshot's size where that is more.
const LONGEST_JOURNAL: u64 = 8 * 1024 * 1024;

const SNAPSHOT: &str = "state.json";
const JOURNAL: &str = "changes.jsonl";
/// On its way into the snapshot.
const FOLDED: &str = "changes.old.jsonl";

/// A lab's state on disk: a snapshot (`state.json`), what changed since (`changes.jsonl`, after `changes.old.jsonl`
/// where that is), `logs.json` and `logs.jsonl` in its data folder.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    saved: Mutex<Saved>,
    /// Held while log events are written.
    journal: Mutex<logs::Journal>,
    /// Held while the journal is folded into the snapshot, which may take longer.
    folding: Mutex<()>,
}

#[derive(Debug, Default)]
struct Saved {
    /// `None` until it was saved for the first time.
    generation: Option<u64>,
    closed: bool,
    recorder: Recorder,
    /// Open for appending, and its length.
    changes: Option<File>,
    length: u64,
    /// The snapshot's length, and how many of them there were.
    snapshot: u64,
    snapshots: u64,
    /// A line was lost: only a snapshot helps.
    broken: bool,
    logs: Option<Vec<u8>>,
}

impl Store {
    /// Reads what an earlier lab kept in `folder`; a new folder gives an empty state.
    pub fn open(folder: &Path) -> Result<(Store, State)> {
        let mut state = read(folder, &[FOLDED, JOURNAL])?;
        state.logs = load(&folder.join("logs.json"))?;
        let journal = logs::Journal::open(folder, &mut state.logs).map_err(|error| {
            Error::other(format!("cannot read {}", folder.join("logs.jsonl").display())).cause(error)
        })?;
        let journal = Mutex::new(journal);
        Ok((Store { folder: folder.to_owned(), saved: Mutex::default(), journal, folding: Mutex::default() }, state))
    }

    /// Saves all but the log events, unless nothing was written since the last time.
    pub fn save(&self, lab: &Lab) -> io::Result<()> {
        let mut saved = self.saved();
        let generation = *lab.changes().borrow();
        saved.check_open()?;
        if saved.generation == Some(generation) {
            return Ok(());
        }
        let unused = lab.read(|state| state.ecr.unused());
        if saved.generation.is_none() || saved.broken {
            self.write_snapshot(lab, &mut saved)?;
        } else {
            let appended = self.append(lab, &mut saved);
            saved.broken = appended.is_err();
            appended?;
        }
        saved.generation = Some(generation);
        if !unused.is_empty() {
            lab.update(|state| (state.ecr.sweep(&self.folder, &unused), false));
        }
        Ok(())
    }

    /// Saves the state and the log events.
    pub fn save_all(&self, lab: &Lab) -> io::Result<()> {
        self.save(lab)?;
        self.save_logs(lab)?;
        self.fold()
    }

    /// Saves what is new in the logs.
    pub fn save_logs(&self, lab: &Lab) -> io::Result<()> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut saved = self.saved();
            saved.check_open()?;
            // streams before their events: those of a stream that is not known are lost
            let logs = lab.read(|state| serde_json::to_vec(&state.logs))?;
            replace_if_new(&self.folder.join("logs.json"), &logs, &mut saved.logs)?;
        }
        let lines = lab.update(|state| {
            let State { logs, ecs, .. } = state;
            logs::trim(logs, |id| ecs.tasks.contains_key(id));
            (journal.collect(&state.logs), false)
        });
        if !lines.is_empty() {
            journal.write(&lines)?;
            lab.update(|state| (lines.written(&mut state.logs), false));
        }
        Ok(())
    }

    /// From here on nothing is saved any more: the folder belongs to another lab.
    pub fn close(&self, lab: &Lab) {
        // Whoever writes log events is done with it, or finds the store closed.
        let _journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let mut saved = self.saved();
        // What is left to the next lab is one file, which any version reads.
        if saved.length > 0
            && let Err(error) = self.write_snapshot(lab, &mut saved)
        {
            tracing::warn!(%error, "the lab's state stays in two files");
        }
        saved.closed = true;
    }

    fn write_snapshot(&self, lab: &Lab, saved: &mut Saved) -> io::Result<()> {
        let state = lab.update(|state| (saved.recorder.everything(state), false))?;
        // Until it is written, what changed is nowhere.
        saved.broken = true;
        disk::replace(&self.folder.join(SNAPSHOT), &state)?;
        for journal in [FOLDED, JOURNAL] {
            remove(&self.folder.join(journal))?;
        }
        (saved.changes, saved.length, saved.broken) = (None, 0, false);
        (saved.snapshot, saved.snapshots) = (state.len() as u64, saved.snapshots + 1);
        Ok(())
    }

    fn append(&self, lab: &Lab, saved: &mut Saved) -> io::Result<()> {
        let line = lab.update(|state| (saved.recorder.line(state), false))?;
        if line.is_empty() {
            return Ok(());
        }
        let file = match saved.changes.take() {
            Some(file) => file,
            None => disk::append_private(&self.folder.join(JOURNAL))?,
        };
        (&file).write_all(&line)?;
        saved.length += line.len() as u64;
        saved.changes = Some(file);
        Ok(())
    }

    /// Puts a long journal into the snapshot. Made from the files, so that nobody waits for it.
    fn fold(&self) -> io::Result<()> {
        let _one_at_a_time = self.folding.lock().unwrap_or_else(PoisonError::into_inner);
        let folded = self.folder.join(FOLDED);
        let before = {
            let mut saved = self.saved();
            saved.check_open()?;
            let long = saved.length > LONGEST_JOURNAL.max(saved.snapshot);
            if long && !folded.exists() {
                std::fs::rename(self.folder.join(JOURNAL), &folded)?;
                (saved.changes, saved.length) = (None, 0);
            }
            saved.snapshots
        };
        if !folded.exists() {
            return Ok(());
        }
        let state = read(&self.folder, &[FOLDED]).map_err(io::Error::other)?;
        let content = serde_json::to_vec(&state)?;
        drop(state);
        let mut saved = self.saved();
        saved.check_open()?;
        if saved.snapshots == before {
            disk::replace(&self.folder.join(SNAPSHOT), &content)?;
            remove(&folded)?;
            (saved.snapshot, saved.snapshots) = (content.len() as u64, before + 1);
        }
        Ok(())
    }

    fn saved(&self) -> MutexGuard<'_, Saved> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Saved {
    /// Whoever was to have something saved must not believe that it is.
    fn check_open(&self) -> io::Result<()> {
        if self.closed { Err(io::Error::other("the lab was emptied or is ending")) } else { Ok(()) }
    }
}

/// The snapshot with the changes of these journals.
fn read(folder: &Path, journals: &[&str]) -> Result<State> {
    let mut state: State = load(&folder.join(SNAPSHOT))?;
    for name in journals {
        let path = folder.join(name);
        if let Some(journal) = content(&path)? {
            changes::apply(&mut state, &journal).map_err(|error| unreadable(&path, error))?;
        }
    }
    Ok(state)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn replace_if_new(path: &Path, content: &[u8], saved: &mut Option<Vec<u8>>) -> io::Result<()> {
    let sum = digest(&SHA256, content).as_ref().to_vec();
    if saved.as_ref() != Some(&sum) {
        disk::replace(path, content)?;
        *saved = Some(sum);
    }
    Ok(())
}

fn load<T: Default + DeserializeOwned>(path: &Path) -> Result<T> {
    let Some(content) = content(path)? else { return Ok(T::default()) };
    serde_json::from_slice(&content).map_err(|error| unreadable(path, error))
}

fn content(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::other(format!("cannot read {}", path.display())).cause(error)),
    }
}

fn unreadable(path: &Path, error: serde_json::Error) -> Error {
    Error::other(format!("{} is not a lab's state that this version can read", path.display()))
        .cause(error)
        .hint("`steady lab reset` empties the lab")
}
