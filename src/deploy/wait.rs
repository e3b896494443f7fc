//! The command `wait`: follow the service's current deployment to its end.

use std::time::Instant;

use serde::Serialize;

use super::event::{Events, Step};
use super::follow::Steady;
use super::rollback::{follow_or_roll_back, history};
use super::service::{Action, Placed, controller, decide};
use super::{outcome, service};
use crate::aws::Clients;
use crate::aws::reply::{id as named, optional, text};
use crate::config::{OnFailure, RolloutPlan};
use crate::error::{Error, Kind, Result};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitOutcome {
    pub status: &'static str,
    pub service: String,
    pub cluster: String,
    pub deployment_id: String,
    pub task_definition: String,
    pub desired_count: i64,
    pub running_count: i64,
    pub url: Option<String>,
    pub duration_ms: u64,
}

pub async fn wait(
    cluster: &str,
    service_name: &str,
    rollout: &RolloutPlan,
    clients: &Clients,
    events: &Events,
) -> Result<WaitOutcome> {
    let started = Instant::now();
    let live = service::active(cluster, service_name, clients).await?;
    if let Some(refused) = controller::refusal(&live) {
        return Err(refused);
    }
    let primary = decide::primary(&live).cloned().unwrap_or_default();
    let (id, task_definition) = (text(&primary, "id"), text(&primary, "taskDefinition"));
    // Whose deployment it is is not known: it is watched, and never rolled back from here.
    let watched = RolloutPlan { on_failure: OnFailure::Stop, ..rollout.clone() };
    let placed = Placed::new((cluster, service_name), Some(&live), &live, Action::Adopted, (id, task_definition));
    let placed = Placed { seen_events: service::event_ids(&live), ..placed };
    let work = follow_or_roll_back(&watched, &placed, None, clients, events);
    let steady = super::step(events, Step::Steady, work, Steady::detail).await?;
    // The release that was to be deployed may have failed before anybody waited for it.
    let latest = history::latest(cluster, service_name, clients).await?;
    if let Some(failed) = latest.as_ref().filter(|latest| text(latest, "status") == "ROLLBACK_FAILED") {
        let why = optional(failed, "statusReason").unwrap_or("ECS could not bring the release before back");
        let message = format!("the last deployment failed, and so did its rollback: {}", why.trim_end_matches('.'));
        return Err(Error::new(Kind::RolloutFailed, message).hint("look closer: `steady status`"));
    }
    if let Some(failed) = latest.filter(|latest| text(latest, "status") == "ROLLBACK_SUCCESSFUL") {
        let why = optional(&failed, "statusReason").unwrap_or("it was rolled back").trim_end_matches('.');
        let back = named(task_definition);
        let message = format!("the last deployment failed: {why}; the release before it, {back}, is back and steady");
        return Err(Error::new(Kind::RolledBack, message).hint("see what happened: `steady status`"));
    }
    Ok(WaitOutcome {
        status: "steady",
        service: service_name.to_owned(),
        cluster: cluster.to_owned(),
        deployment_id: id.to_owned(),
        task_definition: task_definition.to_owned(),
        desired_count: steady.desired,
        running_count: steady.running,
        url: outcome::url(&steady.service, clients, events).await,
        duration_ms: started.elapsed().as_millis() as u64,
    })
}
