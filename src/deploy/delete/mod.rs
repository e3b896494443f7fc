//! The command `delete`: the service goes down and away; on request also what steady created for it. What does not carry
//! our tag stays.

pub(super) mod created;

use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::event::{Event, Events, ResourceAction, Step};
use super::follow::poller::{Nearness, gap};
use super::repository::{OWNER, OWNER_TAG};
use super::service;
use crate::aws::Clients;
use crate::aws::reply::{number, optional, text};
use crate::config::Plan;
use crate::error::{Error, Kind, Result};

/// A service by its names.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    pub cluster: &'a str,
    pub service: &'a str,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct DeleteOptions {
    /// Also delete load balancer, target group, listener, Cloud Map service and empty repository that steady created.
    pub created: bool,
    /// The repository with all its images, too.
    pub images: bool,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteOutcome {
    /// `deleted`, or `absent` when there was no such service.
    pub status: &'static str,
    pub service: String,
    pub cluster: String,
    /// What was deleted beside the service, as `kind id`.
    pub deleted: Vec<String>,
    /// What was left: steady did not create it, or it is in use.
    pub kept: Vec<String>,
    pub duration_ms: u64,
}

pub async fn delete(plan: &Plan, options: DeleteOptions, clients: &Clients, events: &Events) -> Result<DeleteOutcome> {
    let started = Instant::now();
    let until = started + plan.rollout.timeout;
    let named = Named { cluster: &plan.cluster, service: &plan.service };
    let work = async {
        let live = service::describe(named.cluster, named.service, clients).await?;
        let there = live.as_ref().is_some_and(|live| text(live, "status") != "INACTIVE");
        if let Some(live) = live.as_ref().filter(|_| there) {
            bring_down(named, live, until, clients, events).await?;
        }
        let left = match options.created {
            true => created::delete_created(named, live.as_ref(), options, clients, events).await?,
            false => created::Left::default(),
        };
        Ok((there, left))
    };
    let (there, left) = super::step(events, Step::Delete, work, |_| plan.service.clone()).await?;
    Ok(DeleteOutcome {
        status: if there { "deleted" } else { "absent" },
        service: plan.service.clone(),
        cluster: plan.cluster.clone(),
        deleted: left.deleted,
        kept: left.kept,
        duration_ms: started.elapsed().as_millis() as u64,
    })
}

async fn bring_down(named: Named<'_>, live: &Value, until: Instant, clients: &Clients, events: &Events) -> Result<()> {
    let daemon = optional(live, "schedulingStrategy") == Some("DAEMON");
    if text(live, "status") == "ACTIVE" {
        if !daemon && number(live, "desiredCount") > 0 {
            let input = json!({ "cluster": named.cluster, "service": named.service, "desiredCount": 0 });
            super::service::update::update(input, Some(live), until, clients, events).await?;
        }
        if !daemon {
            wait_for(named, until, clients, "tasks are still running", |live| number(live, "runningCount") == 0)
                .await?;
        }
        // Forced: a task that is still pending must not keep the service alive.
        let input = json!({ "cluster": named.cluster, "service": named.service, "force": true });
        match clients.delete_service(input).await {
            Ok(_) => {}
            Err(failure) if failure.is("ServiceNotFoundException") || failure.is("ServiceNotActiveException") => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    wait_for(named, until, clients, "the service is still draining", |live| text(live, "status") == "INACTIVE").await?;
    let id = named.service.to_owned();
    events.emit(Event::Resource { action: ResourceAction::Deleted, kind: "service".into(), id });
    Ok(())
}

/// A service that is not there any more is what was waited for.
async fn wait_for(
    named: Named<'_>,
    until: Instant,
    clients: &Clients,
    otherwise: &str,
    done: impl Fn(&Value) -> bool,
) -> Result<()> {
    let started = Instant::now();
    loop {
        match service::describe(named.cluster, named.service, clients).await? {
            None => return Ok(()),
            Some(live) if text(&live, "status") == "INACTIVE" || done(&live) => return Ok(()),
            Some(_) => {}
        }
        if Instant::now() >= until {
            return Err(Error::new(Kind::DeadlinePassed, otherwise));
        }
        tokio::time::sleep(gap(started.elapsed(), Nearness::Near)).await;
    }
}

/// Whether a list of tags says that steady created it for this service.
pub fn is_ours(tags: &[Value], named: Named<'_>) -> bool {
    let tag = |key: &str| crate::aws::reply::tag(tags, key);
    let service = format!("{}/{}", named.cluster, named.service);
    tag(OWNER_TAG) == Some(OWNER) && tag(super::load_balancer::SERVICE_TAG) == Some(&service)
}
