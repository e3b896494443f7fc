//! What a rollout waits for by itself: targets that get healthy and drain, tasks that nobody checks.

use std::time::Duration;

use serde_json::Value;

use super::deadline::Group;
use super::poller::Poller;
use super::targets;
use crate::aws::Clients;
use crate::aws::reply::list;
use crate::deploy::load_balancer::target_group;
use crate::deploy::register;

/// A rollout is not kept from being followed for longer.
const LONGEST: Duration = Duration::from_secs(3);

/// Tasks without a load balancer and without a health check count as healthy after so long.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>
const SETTLES: Duration = Duration::from_secs(40);

/// What a rollout waits for by itself, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    pub groups: Vec<Group>,
    /// How long new tasks run before they count as healthy.
    pub settles: Option<Duration>,
}

/// What may not be read, or takes too long, is not known: nothing depends on it but how long to wait.
pub async fn of(service: &Value, task_definition: &str, poller: &Poller, clients: &Clients) -> Waits {
    let mut arns: Vec<String> = targets::groups(service).concat();
    arns.sort();
    arns.dedup();
    let groups = futures_util::future::join_all(arns.iter().map(|arn| group(arn, poller, clients)));
    let settles = async {
        if !arns.is_empty() {
            return None;
        }
        poller.spend(1);
        let revision = register::describe(task_definition, clients).await.ok().flatten()?;
        let containers = list(&revision["taskDefinition"], "containerDefinitions");
        let checked = containers.iter().any(|container| container["healthCheck"].is_object());
        (!checked && !containers.is_empty()).then_some(SETTLES)
    };
    let asked = tokio::time::timeout(LONGEST, async { tokio::join!(groups, settles) }).await;
    let (groups, settles) = asked.unwrap_or_else(|_| (vec![Group::default(); arns.len()], None));
    Waits { groups, settles }
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
