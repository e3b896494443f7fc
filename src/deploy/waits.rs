//! What a service's target groups make a rollout wait for.

use std::time::Duration;

use serde_json::Value;

use super::deadline::Group;
use super::poller::Poller;
use super::{observe, target_group};
use crate::aws::Clients;

/// A rollout is not kept from being followed for longer.
const LONGEST: Duration = Duration::from_secs(3);

/// What may not be read, or takes too long, is taken to be as ELB makes it: nothing depends on it but how long to wait.
pub async fn of(service: &Value, poller: &Poller, clients: &Clients) -> Vec<Group> {
    let mut arns: Vec<String> = observe::groups(service).concat();
    arns.sort();
    arns.dedup();
    let asked = futures_util::future::join_all(arns.iter().map(|arn| group(arn, poller, clients)));
    let asked = tokio::time::timeout(LONGEST, asked).await;
    asked.unwrap_or_else(|_| vec![Group::default(); arns.len()])
}

async fn group(arn: &str, poller: &Poller, clients: &Clients) -> Group {
    poller.spend(2);
    let (found, attributes) = tokio::join!(
        target_group::find(Some(arn), None, clients),
        clients.elbv2.describe_target_group_attributes().target_group_arn(arn).send(),
    );
    let mut waits = Group::default();
    if let Ok(Some(group)) = found
        && let (Some(interval), Some(threshold)) =
            (group.health_check_interval_seconds(), group.healthy_threshold_count())
    {
        let seconds = interval.max(0).saturating_mul(threshold.max(0));
        waits.becomes_healthy = Duration::from_secs(seconds.cast_unsigned().into());
    }
    if let Ok(reply) = attributes {
        let delay = reply.attributes().iter().find(|one| one.key() == Some(target_group::DELAY));
        waits.drains = delay.and_then(|delay| Some(Duration::from_secs(delay.value()?.parse().ok()?)));
    }
    waits
}
