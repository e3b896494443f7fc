//! The service as it is: whether a deployment can begin now.

use serde_json::Value;

use super::Purpose;
use super::checked::Checked;
use crate::aws::reply::{id, text};
use crate::deploy::service::decide::{Decision, decide, primary};
use crate::error::Kind;

/// `live` is the service as DescribeServices has it; `wanted` is taken for another release than runs.
pub fn check(service: &str, live: Option<&Value>, wanted: &Value, fail_fast: u32, purpose: Purpose) -> Checked {
    let mut checked = Checked::new("service");
    let mut warnings = Vec::new();
    match decide(live, wanted, fail_fast, &mut warnings) {
        // Whether it is this very release, whose deployment is followed then, only a build tells.
        Decision::Refuse(error) if error.kind() == Kind::InProgress => {
            let hint = "the same release goes on from there; another one ends with exit code 8 while that lasts: `steady wait` waits for it, `steady rollback` ends it";
            checked.warn(error.to_string(), Some(hint.to_owned()));
        }
        Decision::Refuse(error) => checked.find(error),
        Decision::WaitDraining => {
            checked
                .warn(format!("the old service `{service}` is still draining: a deploy waits until it is gone"), None);
        }
        _ => {}
    }
    // A deploy decides again right before it acts, and says them then.
    for warning in warnings.into_iter().filter(|_| purpose == Purpose::Verify) {
        checked.warn(warning, None);
    }
    checked.detail = match live.filter(|live| text(live, "status") != "INACTIVE") {
        Some(live) => {
            let runs = primary(live).map_or(text(live, "taskDefinition"), |primary| text(primary, "taskDefinition"));
            format!("{service} runs {}", id(runs))
        }
        None => format!("{service} is to be created"),
    };
    checked
}
