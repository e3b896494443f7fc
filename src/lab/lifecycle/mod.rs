//! CONTRACT: shaped after the lab front's branch, which replaces it at the merge.

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::Value;

use super::clock::Pace;
use super::runtime::Level;
use crate::error::{Error, Result};

// CONTRACT
#[derive(Debug, Clone)]
pub struct Options {
    pub data: PathBuf,
    pub port: Option<u16>,
    pub pace: Pace,
    pub runtime_level: Option<Level>,
    pub executable: Option<PathBuf>,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub url: String,
    pub region: String,
    pub account_id: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct Running {
    pub endpoint: Endpoint,
    pub pid: u32,
    pub started: bool,
}

// CONTRACT
#[derive(Debug, Clone)]
pub enum Status {
    Stopped,
    Unresponsive { pid: Option<u32> },
    Running { running: Running, report: Value },
}

// CONTRACT
pub const UNSET: [&str; 1] = ["AWS_PROFILE"];

// CONTRACT
pub fn environment(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    vec![("AWS_ENDPOINT_URL", endpoint.url.clone())]
}

// CONTRACT
pub fn data_dir(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    variable("STEADY_LAB_DIR").map(PathBuf::from).ok_or_else(|| Error::input("no data folder"))
}

macro_rules! contract {
    ($($name:ident -> $reply:ty;)*) => {$(
        // CONTRACT
        pub async fn $name(options: &Options) -> Result<$reply> {
            let _ = options;
            Err(Error::other(concat!("lab::lifecycle::", stringify!($name), " comes with the lab's branch")))
        }
    )*};
}

contract! {
    start -> Running;
    ensure_running -> Running;
    stop -> bool;
    status -> Status;
    reset -> ();
}

// CONTRACT
pub async fn serve(options: Options, shutdown: impl Future<Output = ()>) -> Result<()> {
    let _ = options;
    shutdown.await;
    Ok(())
}

// CONTRACT
pub async fn asked_to_end() {
    let _ = tokio::signal::ctrl_c().await;
}
