//! CONTRACT: replaced by the lab front's branch at the merge.

use std::path::PathBuf;

use serde_json::Value;

use super::clock::Pace;
use super::runtime::Level;
use crate::error::{Error, Result};

// CONTRACT
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub data: PathBuf,
    /// `None` takes the one it had, else any that is free.
    pub port: Option<u16>,
    pub pace: Pace,
    pub runtime_level: Option<Level>,
    /// The steady executable that is run again for the lab and for containers.
    pub executable: Option<PathBuf>,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub url: String,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl Endpoint {
    // CONTRACT
    pub fn environment(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// The folder of the lab that is meant when none is named.
// CONTRACT
pub fn default_data(variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf> {
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
    start -> Endpoint;
    ensure_running -> Endpoint;
    stop -> Value;
    status -> Value;
    reset -> Value;
}

/// Serves until `shutdown` is ready; the port is bound by the caller's options.
// CONTRACT
pub async fn serve(options: &Options, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let _ = options;
    shutdown.await;
    Ok(())
}
