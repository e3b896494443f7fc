//! Everything that a lab remembers, and where it keeps that. Each service owns its part; this puts the parts together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Lab, discovery, disk, ec2, ecr, ecs, elbv2, faults, iam, logs, secretsmanager, ssm};
use crate::error::{Error, Result};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub ecr: ecr::EcrState,
    pub ecs: ecs::EcsState,
    pub elbv2: elbv2::ElbState,
    pub ec2: ec2::Ec2State,
    /// In files of its own: it is large, and no reply has to wait for it.
    #[serde(skip)]
    pub logs: logs::LogsState,
    pub discovery: discovery::DiscoveryState,
    pub ssm: ssm::SsmState,
    pub secrets: secretsmanager::SecretsState,
    pub iam: iam::IamState,
    /// What is to go wrong where tasks are placed; ends with the lab.
    #[serde(skip)]
    pub faults: faults::Faults,
}

/// A lab's state on disk: `state.json`, `logs.json` and `logs.jsonl` in its data folder.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    saved: Mutex<Saved>,
    /// Held while log events are written, which may take longer.
    journal: Mutex<logs::Journal>,
}

#[derive(Debug, Default)]
struct Saved {
    /// `None` until it was saved for the first time.
    generation: Option<u64>,
    closed: bool,
    state: Option<Vec<u8>>,
    logs: Option<Vec<u8>>,
}

impl Store {
    /// Reads what an earlier lab kept in `folder`; a new folder gives an empty state.
    pub fn open(folder: &Path) -> Result<(Store, State)> {
        let mut state: State = load(&folder.join("state.json"))?;
        state.logs = load(&folder.join("logs.json"))?;
        let journal = logs::Journal::open(folder, &mut state.logs).map_err(|error| {
            Error::other(format!("cannot read {}", folder.join("logs.jsonl").display())).cause(error)
        })?;
        Ok((Store { folder: folder.to_owned(), saved: Mutex::default(), journal: Mutex::new(journal) }, state))
    }

    /// Saves all but the log events, unless nothing was written since the last time.
    pub fn save(&self, lab: &Lab) -> io::Result<()> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = *lab.changes().borrow();
        saved.check_open()?;
        if saved.generation == Some(generation) {
            return Ok(());
        }
        let state = lab.read(serde_json::to_vec)?;
        replace_if_new(&self.folder.join("state.json"), &state, &mut saved.state)?;
        saved.generation = Some(generation);
        Ok(())
    }

    /// Saves the state and the log events.
    pub fn save_all(&self, lab: &Lab) -> io::Result<()> {
        self.save(lab)?;
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
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
    pub fn close(&self) {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }
}

impl Saved {
    /// Whoever was to have something saved must not believe that it is.
    fn check_open(&self) -> io::Result<()> {
        if self.closed { Err(io::Error::other("the lab was emptied or is ending")) } else { Ok(()) }
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
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(Error::other(format!("cannot read {}", path.display())).cause(error)),
    };
    serde_json::from_slice(&content).map_err(|error| {
        Error::other(format!("{} is not a lab's state that this version can read", path.display()))
            .cause(error)
            .hint("`steady lab reset` empties the lab")
    })
}
