//! The command `wait`: follow the service's current deployment to its end.

use std::time::Instant;

use serde::Serialize;

use super::event::{Events, Step};
use super::follow::{Steady, Teller};
use super::rollback::{event_ids, settle};
use super::{decide, load_balancer, service};
use crate::aws::Clients;
use crate::aws::reply::text;
use crate::config::RolloutPlan;
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
    let live = service::describe(cluster, service_name, clients).await?;
    let live = live.filter(|live| text(live, "status") == "ACTIVE").ok_or_else(|| {
        Error::new(Kind::Preflight, format!("there is no active service `{service_name}` in the cluster `{cluster}`"))
            .hint("`steady deploy` makes it; --cluster and --service name another")
    })?;
    let primary = decide::primary(&live).cloned().unwrap_or_default();
    let (id, task_definition) = (text(&primary, "id"), text(&primary, "taskDefinition"));
    let mut teller = Teller::new(events, event_ids(&live));
    let work = settle(&live, id, task_definition, started + rollout.timeout, &mut teller, clients);
    let steady = super::step(events, Step::Steady, work, Steady::detail).await?;
    Ok(WaitOutcome {
        status: "steady",
        service: service_name.to_owned(),
        cluster: cluster.to_owned(),
        deployment_id: id.to_owned(),
        task_definition: task_definition.to_owned(),
        desired_count: steady.desired,
        running_count: steady.running,
        url: load_balancer::service_url(&steady.service, clients).await?,
        duration_ms: started.elapsed().as_millis() as u64,
    })
}
