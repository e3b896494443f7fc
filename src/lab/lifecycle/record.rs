//! The files by which processes agree on who runs a data folder's lab.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs4::{FileExt, TryLockError};
use serde::{Deserialize, Serialize};

use super::Endpoint;
use crate::error::{Error, Result};
use crate::lab::disk;

/// `lab.json`: how to reach the lab that holds the lock.
#[derive(Clone, Serialize, Deserialize)]
pub struct Record {
    pub pid: u32,
    #[serde(flatten)]
    pub endpoint: Endpoint,
    pub token: String,
}

/// `settings.json`: what stays from one run to the next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// The addresses of images hold it, so it must not drift.
    pub port: Option<u16>,
}

/// The right to run a lab on a data folder; ends with its process at the latest.
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    /// A child between fork and exec has the file open, too, and would hold on to the lock.
    fn drop(&mut self) {
        let _ = FileExt::unlock(&self.file);
    }
}

const PATIENCE: u32 = 100;

pub fn log_path(data: &Path) -> PathBuf {
    data.join("lab.log")
}

/// Makes the data folder.
pub fn prepare(data: &Path) -> Result<()> {
    disk::private_folder(data).map_err(|error| disk_error("make", data, error))
}

impl Lock {
    /// `None` if another process, or another lab of this one, has it.
    pub async fn acquire(data: &Path) -> Result<Option<Lock>> {
        prepare(data)?;
        let path = data.join("lock");
        let file = disk::append_private(&path).map_err(|error| disk_error("open", &path, error))?;
        for _ in 0..PATIENCE {
            match FileExt::try_lock(&file) {
                Ok(()) => return Ok(Some(Lock { file })),
                Err(TryLockError::WouldBlock) if !is_exclusive(&file) => {
                    // Someone who asks `is_held` has the lock for an instant, and is no lab.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(disk_error("lock", &path, error)),
            }
        }
        Ok(None)
    }

    /// Whether a lab runs on this folder. Leaves no trace where there is none.
    pub fn is_held(data: &Path) -> Result<bool> {
        let path = data.join("lock");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(disk_error("open", &path, error)),
        };
        // Shared, so that two who ask at the same time do not take each other for a lab.
        match FileExt::try_lock_shared(&file) {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(disk_error("lock", &path, error)),
        }
    }
}

impl Record {
    /// `None` if there is none, or none that can be read.
    pub fn read(data: &Path) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(data.join("lab.json")).ok()?).ok()
    }

    pub fn write(&self, data: &Path) -> Result<()> {
        write_json(&data.join("lab.json"), self)
    }

    pub fn remove(data: &Path) {
        let _ = std::fs::remove_file(data.join("lab.json"));
    }

    /// Sends SIGTERM to the lab's process.
    pub fn terminate(&self) {
        #[cfg(unix)]
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

impl Kept {
    pub fn read(data: &Path) -> Kept {
        let content = std::fs::read(data.join("settings.json")).unwrap_or_default();
        serde_json::from_slice(&content).unwrap_or_default()
    }

    pub fn write(&self, data: &Path) -> Result<()> {
        write_json(&data.join("settings.json"), self)
    }
}

/// Whether a lab has the lock; those who only ask for it have it shared.
fn is_exclusive(file: &File) -> bool {
    let shared = FileExt::try_lock_shared(file).is_ok();
    if shared {
        let _ = FileExt::unlock(file);
    }
    !shared
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let content = serde_json::to_vec(value).map_err(|error| Error::other("cannot write JSON").cause(error))?;
    disk::replace(path, &content).map_err(|error| disk_error("write", path, error))
}

fn disk_error(what: &str, path: &Path, error: io::Error) -> Error {
    Error::other(format!("cannot {what} {}: {error}", path.display()))
        .hint("the lab keeps its files there; STEADY_LAB_DIR names another folder")
}
