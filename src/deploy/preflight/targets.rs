//! The target groups of a service: there, of the type that its tasks need, behind a load balancer, with a health check
//! that can pass.

use aws_sdk_elasticloadbalancingv2::types::{
    ProtocolEnum, TargetGroup, TargetHealthDescription, TargetHealthReasonEnum, TargetHealthStateEnum, TargetTypeEnum,
};
use serde_json::Value;

use super::checked::Checked;
use crate::aws::reply::{list, optional, text};
use crate::aws::{Clients, Failure};
use crate::config::{LoadBalancerPlan, LoadBalancerType, Plan};
use crate::deploy::load_balancer;
use crate::deploy::load_balancer::target_group;
use crate::deploy::render::Rendered;
use crate::error::Error;

/// `attached` are the service's `loadBalancers` as the project file leads to them, else the service document's own.
pub async fn check(
    plan: &Plan,
    rendered: &Rendered,
    attached: Option<&Value>,
    live: Option<&Value>,
    clients: &Clients,
) -> Checked {
    let mut checked = Checked::new("targetGroups");
    let attached = attached.unwrap_or(&rendered.service["loadBalancers"]).as_array().map_or(&[][..], Vec::as_slice);
    let looks = attached.iter().map(|one| attachment(plan, rendered, one, live, clients));
    for looked in futures_util::future::join_all(looks).await {
        checked.add(looked);
    }
    // None is there yet that keeps what the plan does not speak of.
    if let (Some(balancer), true) = (&plan.load_balancer, checked.detail.is_empty()) {
        health_check(balancer, None).into_iter().for_each(|error| checked.find(error));
    }
    checked
}

async fn attachment(
    plan: &Plan,
    rendered: &Rendered,
    attached: &Value,
    live: Option<&Value>,
    clients: &Clients,
) -> Checked {
    let mut checked = Checked::new("targetGroups");
    let container = optional(attached, "containerName");
    let port = attached.get("containerPort").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    if container.is_some()
        && let Err(error) = load_balancer::container(container, port, plan, &rendered.task_definition)
    {
        checked.find(error);
    }
    let own = optional(attached, "targetGroupArn").map(|arn| (arn, true));
    // Its traffic comes by a listener's rule, which the shift turns to it.
    let other = optional(&attached["advancedConfiguration"], "alternateTargetGroupArn").map(|arn| (arn, false));
    // Others are named here before they are created.
    let named = own.into_iter().chain(other).filter(|(arn, _)| arn.starts_with("arn:"));
    let looks = named.map(|(arn, takes_traffic)| group(plan, rendered, arn, takes_traffic, live, clients));
    for looked in futures_util::future::join_all(looks).await {
        checked.add(looked);
    }
    checked
}

async fn group(
    plan: &Plan,
    rendered: &Rendered,
    arn: &str,
    takes_traffic: bool,
    live: Option<&Value>,
    clients: &Clients,
) -> Checked {
    let mut checked = Checked::new("targetGroups");
    let (found, health) = tokio::join!(target_group::find(Some(arn), None, clients), health(arn, live, clients));
    let found = match found {
        Ok(Some(found)) => found,
        Ok(None) => {
            let error = Error::preflight(format!("the target group {arn} does not exist"));
            checked.find(error.hint("`aws elbv2 describe-target-groups` lists those that do; or have steady find or create it: `load_balancer:`"));
            return checked;
        }
        Err(failure) => {
            checked.unread(&format!("the target group {arn}"), &failure);
            return checked;
        }
    };
    let name = found.target_group_name().unwrap_or_default();
    checked.looked_at(name);
    if plan.load_balancer.is_none() {
        let mode = text(&rendered.task_definition, "networkMode");
        checked.findings.extend(wrong_type(&found, mode));
        if takes_traffic && found.load_balancer_arns().is_empty() {
            let error = Error::preflight(format!("no listener of a load balancer leads to the target group `{name}`"));
            checked.find(error.hint("ECS refuses it: have a listener, or one of its rules, forward to it first"));
        }
    }
    if let Some(balancer) = &plan.load_balancer {
        health_check(balancer, Some(&found)).into_iter().for_each(|error| checked.find(error));
    }
    match health {
        Ok(targets) => {
            failing(&found, &targets, plan).into_iter().for_each(|(message, hint)| checked.warn(message, Some(hint)))
        }
        Err(failure) => checked.unread(&format!("the health of the targets of `{name}`"), &failure),
    }
    checked
}

async fn health(arn: &str, live: Option<&Value>, clients: &Clients) -> Result<Vec<TargetHealthDescription>, Failure> {
    let ours = |live: &Value| list(live, "loadBalancers").iter().any(|one| text(one, "targetGroupArn") == arn);
    if !live.is_some_and(ours) {
        return Ok(Vec::new());
    }
    let asked = clients.elbv2.describe_target_health().target_group_arn(arn).send().await;
    let reply = asked.map_err(|error| Failure::from_sdk("ELBv2", "DescribeTargetHealth", error))?;
    Ok(reply.target_health_descriptions.unwrap_or_default())
}

fn wrong_type(found: &TargetGroup, network_mode: &str) -> Option<Error> {
    let has = found.target_type().map_or("instance", TargetTypeEnum::as_str);
    let wanted = if network_mode == "awsvpc" { "ip" } else { "instance" };
    let mode = if network_mode.is_empty() { "bridge" } else { network_mode };
    (has != wanted).then(|| {
        let name = found.target_group_name().unwrap_or_default();
        Error::preflight(format!(
            "the target group `{name}` has targets of type `{has}`; tasks in network mode {mode} need `{wanted}`"
        ))
        .hint("a target group's type cannot be changed: name another one")
    })
}

/// What of a planned health check cannot be meant: a path that nobody asks for, an answer that is waited for longer than
/// from one question to the next. `found` is the group as it is, which keeps what the plan does not speak of.
pub fn health_check(balancer: &LoadBalancerPlan, found: Option<&TargetGroup>) -> Vec<Error> {
    let planned = &balancer.target_group.health_check;
    let mut errors = Vec::new();
    let by_default = match balancer.kind {
        LoadBalancerType::Application => "HTTP",
        LoadBalancerType::Network => "TCP",
    };
    let has = found.and_then(TargetGroup::health_check_protocol).map(ProtocolEnum::as_str);
    let protocol = planned.protocol.as_deref().or(has).unwrap_or(by_default);
    if let Some(path) = planned.path.as_ref().filter(|_| !protocol.starts_with("HTTP")) {
        let message =
            format!("the health check asks for no path: it is by {protocol}, and `{path}` is never asked for");
        errors.push(
            Error::preflight(message)
                .hint("`health_check: { protocol: HTTP, … }` below `target_group:`, or leave `path` out"),
        );
    }
    // What ELB makes of its own defaults beside one of the two is its affair.
    if let (Some(timeout), Some(interval)) = (planned.timeout, planned.interval)
        && timeout > interval
    {
        let (timeout, interval) = (timeout.as_secs(), interval.as_secs());
        let message = format!("a health check is waited for {timeout} s, and the next one begins after {interval} s");
        let hint = "ELB takes no `timeout` that is longer than the `interval`, below `health_check:`";
        errors.push(Error::preflight(message).hint(hint));
    }
    errors
}

/// A warning where every target that is there now answers its health check with another code than is wanted: the path
/// is wrong, or what runs is not well.
fn failing(found: &TargetGroup, targets: &[TargetHealthDescription], plan: &Plan) -> Option<(String, String)> {
    let states = || targets.iter().filter_map(TargetHealthDescription::target_health);
    let unhealthy: Vec<_> =
        states().filter(|health| health.state() == Some(&TargetHealthStateEnum::Unhealthy)).collect();
    let healthy = states().any(|health| health.state() == Some(&TargetHealthStateEnum::Healthy));
    let mismatch = |reason: &TargetHealthReasonEnum| *reason == TargetHealthReasonEnum::ResponseCodeMismatch;
    let told = unhealthy.iter().find(|health| health.reason().is_some_and(mismatch))?;
    if healthy {
        return None;
    }
    let (name, path) = (found.target_group_name().unwrap_or_default(), found.health_check_path().unwrap_or("/"));
    let planned = plan.load_balancer.as_ref().and_then(|of| of.target_group.health_check.path.as_deref());
    if planned.is_some_and(|planned| planned != path) {
        // This release asks elsewhere.
        return None;
    }
    let said = told.description().unwrap_or("another code than is wanted");
    let count = unhealthy.len();
    let message = format!("no target of `{name}` is healthy now: GET {path} fails at {count} of them ({said})");
    Some((
        message,
        "is the health check's path one that the container answers? `health_check: { path: … }` below `target_group:`"
            .to_owned(),
    ))
}
