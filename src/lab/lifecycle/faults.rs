//! Trouble in a lab that runs.

use serde_json::{Value, json};

use super::record::{Lock, Record};
use super::{Options, client};
use crate::error::{Error, Result};
use crate::lab::faults::Fault;

/// Begins with a fault; the fault with its id.
pub async fn add_fault(options: &Options, fault: &Fault) -> Result<Value> {
    client::post_json(&running(options)?, "/_lab/faults", &json!(fault)).await
}

/// The faults of the lab, and how often each struck.
pub async fn list_faults(options: &Options) -> Result<Value> {
    Ok(client::get(&running(options)?, "/_lab/faults").await?["faults"].take())
}

/// Ends the faults of these ids, or all of them; how many that were.
pub async fn clear_faults(options: &Options, ids: &[u64]) -> Result<u64> {
    let record = running(options)?;
    let all = ["/_lab/faults".to_owned()];
    let some: Vec<String> = ids.iter().map(|id| format!("/_lab/faults/{id}")).collect();
    let mut cleared = 0;
    for path in if ids.is_empty() { &all[..] } else { &some } {
        cleared += client::delete(&record, path).await?["cleared"].as_u64().unwrap_or(0);
    }
    Ok(cleared)
}

fn running(options: &Options) -> Result<Record> {
    let held = Lock::is_held(&options.data)?;
    held.then(|| Record::read(&options.data)).flatten().ok_or_else(|| {
        Error::other(format!("no lab runs on {}", options.data.display())).hint("`steady lab start` starts it")
    })
}
