//! How a container ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::engine::{Answer, Engine};
use super::requests::query;

/// How much later than a container's end the engine may hear that it was for its memory.
const HEARSAY: Duration = Duration::from_secs(2);
const KILLED: i32 = 137;

/// Waits for it: the exit code, and whether the kernel killed it for its memory. `stopped` says whether the lab did.
pub async fn of(engine: &Engine, id: &str, stopped: impl Fn() -> bool) -> (i32, bool) {
    let ended = engine.wait(&format!("/containers/{id}/wait?condition=not-running")).await;
    let found = engine.get(&format!("/containers/{id}/json")).await.unwrap_or_default();
    let state = &found["State"];
    // one that was removed under us was killed
    let exit_code = ended.ok().and_then(|ended| ended["StatusCode"].as_i64()).or(state["ExitCode"].as_i64());
    let exit_code = exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(KILLED);
    let limited = found["HostConfig"]["Memory"].as_u64().is_some_and(|bytes| bytes > 0);
    let oom_killed = exit_code == KILLED
        && limited
        && (state["OOMKilled"] == true || !stopped() && told(engine, id, state).await.unwrap_or(false));
    (exit_code, oom_killed)
}

/// An engine that hears of the end first takes it for one like any other, and tells of the memory afterwards.
async fn told(engine: &Engine, id: &str, state: &Value) -> Answer<bool> {
    let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + HEARSAY;
    let until = format!("{}.{:09}", until.as_secs(), until.subsec_nanos());
    let filters = json!({ "container": [id], "event": ["oom"] }).to_string();
    let since = state["StartedAt"].as_str().unwrap_or("0");
    let query = query(&[("since", since), ("until", &until), ("filters", &filters)]);
    let mut events = engine.follow(Method::GET, &format!("/events?{query}")).await?;
    let first = async {
        loop {
            match events.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return true,
                    _ => {}
                },
                _ => return false,
            }
        }
    };
    Ok(timeout(HEARSAY + HEARSAY / 2, first).await.unwrap_or(false))
}
