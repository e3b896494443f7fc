//! The targets of a service in its load balancers' target groups, and how they are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::poller::Poller;
use super::steady::{Deployment, Target};
use crate::aws::reply::{list, text};
use crate::aws::{Clients, Failure};

/// The targets' health, where there can be news of it.
pub(in crate::deploy) async fn health(
    service: &Value,
    own: Option<&Deployment>,
    denied: Option<&Failure>,
    poller: &Poller,
    clients: &Clients,
) -> Result<Vec<Target>, Failure> {
    let nothing_runs = own.is_some_and(|own| own.goes_on() && own.running == 0 && own.failed == 0);
    if denied.is_some() || nothing_runs {
        return Ok(Vec::new());
    }
    poller.spend(groups(service).iter().flatten().count());
    targets(service, clients).await
}

/// The target groups of each of the service's load balancers.
pub(in crate::deploy) fn groups(service: &Value) -> Vec<Vec<String>> {
    let of = |balancer: &Value| {
        let arns =
            [text(balancer, "targetGroupArn"), text(&balancer["advancedConfiguration"], "alternateTargetGroupArn")];
        arns.iter().filter(|arn| !arn.is_empty()).map(|arn| (*arn).to_owned()).collect::<Vec<_>>()
    };
    list(service, "loadBalancers").iter().map(of).filter(|groups| !groups.is_empty()).collect()
}

/// The health of all targets in the service's target groups.
pub async fn targets(service: &Value, clients: &Clients) -> Result<Vec<Target>, Failure> {
    let groups: BTreeSet<String> = groups(service).into_iter().flatten().collect();
    let calls = groups.into_iter().map(|arn| async move {
        let asked = clients.elbv2.describe_target_health().target_group_arn(&arn).send().await;
        let reply = match asked.map_err(|error| Failure::from_sdk("ELBv2", "DescribeTargetHealth", error)) {
            Ok(reply) => reply,
            // A service that was deleted still names what it was attached to.
            Err(failure) if failure.is("TargetGroupNotFound") => return Ok(Vec::new()),
            Err(failure) => return Err(failure),
        };
        let seen = reply.target_health_descriptions().iter().map(|one| {
            let target = one.target();
            let id = target.and_then(|target| target.id()).unwrap_or_default();
            let port = target.and_then(|target| target.port()).unwrap_or_default();
            let health = one.target_health();
            Target {
                group: arn.clone(),
                id: format!("{id}:{port}"),
                state: health.and_then(|health| health.state()).map_or("", |state| state.as_str()).to_owned(),
                reason: health.and_then(|health| health.reason()).map(|reason| reason.as_str().to_owned()),
                description: health.and_then(|health| health.description()).map(str::to_owned),
            }
        });
        Ok(seen.collect::<Vec<_>>())
    });
    Ok(futures_util::future::try_join_all(calls).await?.concat())
}
