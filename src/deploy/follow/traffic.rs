//! Who gets the traffic of a service whose deployment is under way: what was asked for each revision, and what the
//! listener does.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::Action;
use serde::Serialize;
use serde_json::{Value, json};

use super::stage::Stage;
use crate::aws::Clients;
use crate::aws::reply::{list, optional, text};
use crate::deploy::rollback::history;
use crate::error::Result;

/// The service deployment that is under way.
#[derive(Debug, Clone, Default)]
pub struct UnderWay {
    pub stage: Stage,
    /// The new revision first.
    pub traffic: Vec<TrafficStatus>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficStatus {
    /// The revision's task definition.
    pub task_definition: String,
    /// In percent, as the deployment asks for it.
    pub production: Option<f64>,
    pub test: Option<f64>,
    /// In percent, as the production listener has it now.
    pub listener: Option<f64>,
    pub running: i64,
    pub pending: i64,
}

/// `None` when no service deployment is under way, or AWS does not let us look.
pub async fn under_way(live: &Value, clients: &Clients) -> Result<Option<UnderWay>> {
    let Some(arn) = optional(live, "currentServiceDeployment") else { return Ok(None) };
    let asked = clients.describe_service_deployments(json!({ "serviceDeploymentArns": [arn] })).await;
    let reply = match asked {
        Ok(reply) => reply,
        Err(failure) if failure.is_unsupported() || failure.is_denied() => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    let Some(deployment) = list(&reply, "serviceDeployments").first() else { return Ok(None) };
    let stage = Stage::of(deployment);
    let shifts = stage.new.production.is_some() || stage.new.test.is_some();
    let traffic = if shifts { traffic(live, deployment, clients).await } else { Vec::new() };
    Ok(Some(UnderWay { stage, traffic }))
}

async fn traffic(live: &Value, deployment: &Value, clients: &Clients) -> Vec<TrafficStatus> {
    let of = |revision: &Value| (text(revision, "arn").to_owned(), super::stage::share(revision));
    let shares: Vec<_> = std::iter::once(&deployment["targetServiceRevision"])
        .chain(list(deployment, "sourceServiceRevisions"))
        .map(of)
        .collect();
    let arns: Vec<String> = shares.iter().map(|(arn, _)| arn.clone()).collect();
    // Not to be allowed to read them leaves a part of the answer out.
    let (revisions, weights) = tokio::join!(history::service_revisions(&arns, clients), weights(live, clients));
    let revisions = revisions.unwrap_or_default();
    let row = |(arn, share): (String, super::stage::Share)| {
        let revision = revisions.iter().find(|revision| text(revision, "serviceRevisionArn") == arn);
        let revision = revision.unwrap_or(&Value::Null);
        let group = list(&revision["resolvedConfiguration"], "loadBalancers").first();
        let group = group.map_or("", |balancer| text(balancer, "targetGroupArn"));
        TrafficStatus {
            task_definition: optional(revision, "taskDefinition").unwrap_or(&arn).to_owned(),
            production: share.production,
            test: share.test,
            listener: weights.get(group).copied(),
            running: share.running,
            pending: share.pending,
        }
    };
    shares.into_iter().map(row).collect()
}

/// What the first load balancer's production listener gives each target group, in percent. Empty where it cannot be read.
async fn weights(live: &Value, clients: &Clients) -> BTreeMap<String, f64> {
    let advanced = list(live, "loadBalancers").iter().map(|one| &one["advancedConfiguration"]);
    let Some(rule) = { advanced }.find_map(|one| optional(one, "productionListenerRule")) else {
        return BTreeMap::new();
    };
    let actions: Vec<Action> = if rule.contains(":listener-rule/") {
        let reply = clients.elbv2.describe_rules().rule_arns(rule).send().await;
        reply.ok().and_then(|reply| reply.rules?.pop()).and_then(|rule| rule.actions).unwrap_or_default()
    } else {
        let reply = clients.elbv2.describe_listeners().listener_arns(rule).send().await;
        reply.ok().and_then(|reply| reply.listeners?.pop()).and_then(|of| of.default_actions).unwrap_or_default()
    };
    let groups = actions.iter().flat_map(|action| action.forward_config().map_or(&[][..], |of| of.target_groups()));
    let groups: Vec<(&str, f64)> =
        groups.filter_map(|group| Some((group.target_group_arn()?, f64::from(group.weight().unwrap_or(1))))).collect();
    let all: f64 = groups.iter().map(|(_, weight)| weight).sum();
    let percent = |weight: f64| (weight * 1000.0 / all).round() / 10.0;
    groups.into_iter().filter(|_| all > 0.0).map(|(arn, weight)| (arn.to_owned(), percent(weight))).collect()
}
