//! CONTRACT (helper L3): the shapes of PLAN.md that the scheduler is written against.
use std::{io, path::PathBuf, time::Duration};

use tokio::{net::TcpStream, sync::mpsc};

#[derive(Clone, Default)]
pub struct TaskSpec {
    pub task_id: String,
    pub containers: Vec<ContainerSpec>,
    pub volumes: Vec<Volume>,
}
#[derive(Clone, Default)]
pub struct ContainerSpec {
    pub name: String,
    pub image: ImageSource,
    pub command: Vec<String>,
    pub entry_point: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub working_directory: Option<String>,
    pub user: Option<String>,
    pub ports: Vec<u16>,
    pub memory_bytes: Option<u64>,
    pub readonly_root_filesystem: bool,
    pub stop_signal: Option<String>,
    pub hostname: Option<String>,
    pub mount_points: Vec<MountPoint>,
}
#[derive(Debug, Clone, Default)]
pub struct Volume {
    pub name: String,
    pub source_path: Option<PathBuf>,
}
#[derive(Debug, Clone, Default)]
pub struct MountPoint {
    pub source_volume: String,
    pub container_path: String,
    pub read_only: bool,
}
#[derive(Debug, Clone, Default)]
pub struct ImageSource {
    pub digest: String,
    pub config: PathBuf,
    pub layers: Vec<LayerBlob>,
}
#[derive(Debug, Clone, Default)]
pub struct LayerBlob {
    pub path: PathBuf,
    pub media_type: String,
    pub digest: String,
}
#[derive(Debug, Clone)]
pub enum RuntimeEvent {
    Exited { task_id: String, container: String, exit_code: i32, signal: Option<i32>, oom_killed: bool },
    Output { task_id: String, container: String, line: String, stderr: bool, at: i64 },
}
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct StartError {
    pub container: String,
    pub reason: String,
}
pub struct Runtime;
impl Runtime {
    pub fn disabled() -> Self {
        Runtime
    }
    pub async fn start(&self, _task: TaskSpec) -> Result<(), StartError> {
        Ok(())
    }
    pub async fn stop(&self, _task_id: &str, _timeout: Duration) {}
    pub async fn connect(&self, _task_id: &str, _port: u16) -> io::Result<TcpStream> {
        Err(io::ErrorKind::NotConnected.into())
    }
    pub fn take_events(&self) -> Option<mpsc::UnboundedReceiver<RuntimeEvent>> {
        None
    }
}
