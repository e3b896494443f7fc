//! What has to be there before anything is touched: who we are, the cluster, the repository, what is attached to by
//! name. All that is missing is reported together.

use serde_json::{Value, json};

use super::event::Events;
use super::render::{self, Rendered};
use super::repository::Repository;
use super::surroundings::{self, Looked};
use super::{around, discovery, load_balancer, repository, service};
use crate::aws::reply::{self, text};
use crate::aws::{Clients, Failure, Identity};
use crate::config::Plan;
use crate::error::{Error, Kind, Result};

/// What a deploy stands on, as it was before it began.
#[derive(Debug, Clone)]
pub struct Ground {
    pub identity: Identity,
    /// `None` when the plan has no image.
    pub repository: Option<Repository>,
    /// The service as DescribeServices has it, unless it is missing or INACTIVE.
    pub live: Option<Value>,
    /// What the service would be attached to.
    pub looked: Looked,
    /// The documents with stand-ins for what only the build tells.
    pub rehearsed: Rendered,
}

impl Ground {
    pub fn detail(&self) -> String {
        self.identity.arn.clone()
    }
}

/// All that a deploy needs.
pub async fn check(plan: &Plan, clients: &Clients, events: &Events) -> Result<Ground> {
    let rehearsed = render::rehearse(plan, clients)?;
    fits(plan, &rehearsed.task_definition)?;
    let (identity, cluster, repository, looked, live) = tokio::join!(
        clients.identity(),
        cluster(&plan.cluster, clients),
        repository::find(plan.image.as_ref(), clients),
        surroundings::look(plan, &rehearsed, clients, events),
        service::describe(&plan.cluster, &plan.service, clients),
    );
    let identity = match identity {
        Ok(identity) => identity,
        // Every other call failed for the same reason.
        Err(failure) => return Err(failure.error(Kind::Preflight)),
    };
    let mut findings = Vec::new();
    if let Err(error) = cluster {
        findings.push(error);
    }
    let repository = repository.map_err(|error| findings.push(error)).ok().flatten();
    let looked = looked.unwrap_or_else(|errors| {
        for error in errors {
            // The default VPC, say, is missed by the network and by the load balancer.
            if !findings.iter().any(|known| known.to_string() == error.to_string()) {
                findings.push(error);
            }
        }
        Looked::default()
    });
    let live = match live {
        Ok(live) => live,
        Err(failure) if failure.is("ClusterNotFoundException") => None,
        Err(failure) => {
            findings.push(failure.error(Kind::Preflight));
            None
        }
    };
    if let Some(found) = Error::all(findings) {
        let who = format!("these are the credentials of {} in {}", identity.arn, clients.region);
        return Err(found.hint(who));
    }
    if let Some(Repository::Ecr { account_id: Some(account), uri, .. }) = &repository
        && *account != identity.account_id
    {
        let message = format!("the repository {uri} belongs to another account than {}", identity.arn);
        events.warn(message, Some("the task execution role has to be allowed to pull from there".to_owned()));
    }
    let live = live.filter(|live| text(live, "status") != "INACTIVE");
    Ok(Ground { identity, repository, live, looked, rehearsed })
}

/// Only what pushing an image needs: no cluster, no service.
pub async fn for_image(plan: &Plan, clients: &Clients) -> Result<Ground> {
    let rehearsed = render::rehearse(plan, clients)?;
    let (identity, repository) = tokio::join!(clients.identity(), repository::find(plan.image.as_ref(), clients));
    let identity = identity.map_err(|failure| failure.error(Kind::Preflight))?;
    let who = |error: Error| error.hint(format!("these are the credentials of {} in {}", identity.arn, clients.region));
    let repository = repository.map_err(who)?;
    Ok(Ground { identity, repository, live: None, looked: Looked::default(), rehearsed })
}

/// The containers and ports that the project names beside the task definition have to be in it.
fn fits(plan: &Plan, task_definition: &Value) -> Result<()> {
    around::fits(plan, task_definition)?;
    if let Some(balancer) = &plan.load_balancer {
        load_balancer::container(balancer.container.as_deref(), balancer.container_port, plan, task_definition)?;
    }
    if let Some(discovery) = &plan.service_discovery {
        let record = discovery::record_type(discovery.record_type.as_deref(), text(task_definition, "networkMode"))?;
        if record != "A" {
            load_balancer::container(discovery.container.as_deref(), discovery.container_port, plan, task_definition)?;
        }
    }
    Ok(())
}

async fn cluster(name: &str, clients: &Clients) -> Result<()> {
    let asked = clients.describe_clusters(json!({ "clusters": [name] })).await;
    let reply = asked.map_err(|failure: Failure| failure.error(Kind::Preflight))?;
    let found = reply::list(&reply, "clusters").iter().find(|cluster| text(cluster, "status") != "INACTIVE");
    match found {
        Some(_) => Ok(()),
        None => Err(Error::preflight(format!("the cluster `{name}` does not exist in {}", clients.region))
            .hint(format!("create it (`aws ecs create-cluster --cluster-name {name}`), or name another: --cluster"))),
    }
}
