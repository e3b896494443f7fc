//! The target group that a service's tasks register with: found, or created and set up as the plan says.

use aws_sdk_elasticloadbalancingv2::types::{Matcher, ProtocolEnum, TargetGroup, TargetGroupAttribute, TargetTypeEnum};

use super::{SERVICE_TAG, failed, ownership};
use crate::aws::{Clients, Failure};
use crate::config::{LoadBalancerPlan, LoadBalancerType, Plan};
use crate::deploy::event::{Event, Events, ResourceAction};
use crate::error::{Error, Kind, Result};

pub(in crate::deploy) const DELAY: &str = "deregistration_delay.timeout_seconds";

/// `None` when there is none of this name.
pub async fn find(arn: Option<&str>, name: Option<&str>, clients: &Clients) -> Result<Option<TargetGroup>, Failure> {
    if arn.is_none() && name.is_none() {
        return Ok(None);
    }
    let call = clients.elbv2.describe_target_groups();
    let call = match (arn, name) {
        (Some(arn), _) => call.target_group_arns(arn),
        (None, name) => call.set_names(name.map(|name| vec![name.to_owned()])),
    };
    match call.send().await.map_err(|error| Failure::from_sdk("ELBv2", "DescribeTargetGroups", error)) {
        Ok(reply) => Ok(reply.target_groups().first().cloned()),
        Err(failure) if failure.is("TargetGroupNotFound") => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Two services of one name in two clusters must not serve each other's requests.
pub async fn owned_by_another(group: &TargetGroup, plan: &Plan, clients: &Clients) -> Option<Error> {
    let arn = group.target_group_arn().unwrap_or_default();
    let reply = match clients.elbv2.describe_tags().resource_arns(arn).send().await {
        Ok(reply) => reply,
        Err(error) => return Some(failed("DescribeTags", error).with_kind(Kind::Preflight)),
    };
    let tags = reply.tag_descriptions().iter().flat_map(|described| described.tags());
    let owner = tags.filter(|tag| tag.key() == Some(SERVICE_TAG)).find_map(|tag| tag.value())?;
    let name = group.target_group_name().unwrap_or_default();
    (owner != format!("{}/{}", plan.cluster, plan.service)).then(|| {
        Error::preflight(format!("the target group `{name}` belongs to the service {owner}"))
            .hint("name others for this one: `name:` below `load_balancer:` and below `target_group:`")
    })
}

/// `ip` for awsvpc, where each task has its own address, else `instance`.
pub fn target_type<'a>(plan: &'a LoadBalancerPlan, network_mode: &str) -> &'a str {
    let by_mode = if network_mode == "awsvpc" { "ip" } else { "instance" };
    plan.target_group.target_type.as_deref().unwrap_or(by_mode)
}

/// What is found must fit; `instance` targets for awsvpc tasks would never become healthy.
pub fn check(found: &TargetGroup, plan: &LoadBalancerPlan, network_mode: &str) -> Result<()> {
    let name = found.target_group_name().unwrap_or_default();
    let has = found.target_type().map_or("instance", TargetTypeEnum::as_str);
    let wanted = target_type(plan, network_mode);
    if has != wanted {
        return Err(Error::preflight(format!(
            "the target group `{name}` has targets of type `{has}`; tasks in network mode {network_mode} need `{wanted}`"
        ))
        .hint("a target group's type cannot be changed: name another one, or delete it and let steady create it"));
    }
    if let Some(protocol) = &plan.target_group.protocol
        && found.protocol().is_some_and(|has| has.as_str() != protocol)
    {
        let has = found.protocol().map_or("", ProtocolEnum::as_str);
        return Err(Error::preflight(format!("the target group `{name}` speaks {has}, not {protocol}"))
            .hint("a target group's protocol cannot be changed: name another one"));
    }
    Ok(())
}

pub async fn create(
    plan: &Plan,
    balancer: &LoadBalancerPlan,
    name: &str,
    vpc_id: &str,
    (network_mode, container_port): (&str, u16),
    clients: &Clients,
    events: &Events,
) -> Result<TargetGroup> {
    let check = &balancer.target_group.health_check;
    let protocol = protocol(balancer);
    let seconds = |duration: Option<std::time::Duration>| duration.map(|duration| duration.as_secs() as i32);
    let call = clients
        .elbv2
        .create_target_group()
        .name(name)
        .protocol(ProtocolEnum::from(protocol.as_str()))
        .port(balancer.target_group.port.unwrap_or(container_port).into())
        .vpc_id(vpc_id)
        .target_type(TargetTypeEnum::from(target_type(balancer, network_mode)))
        .set_health_check_protocol(check.protocol.as_deref().map(ProtocolEnum::from))
        .set_health_check_port(check.port.clone())
        .set_health_check_path(check.path.clone())
        .set_health_check_interval_seconds(seconds(check.interval))
        .set_health_check_timeout_seconds(seconds(check.timeout))
        .set_healthy_threshold_count(check.healthy_threshold.map(|count| count as i32))
        .set_unhealthy_threshold_count(check.unhealthy_threshold.map(|count| count as i32))
        .set_matcher(matcher(balancer))
        .set_tags(Some(ownership(plan)));
    let reply = call.send().await.map_err(|error| failed("CreateTargetGroup", error))?;
    let created = reply.target_groups().first().cloned();
    let created = created.ok_or_else(|| Error::other("ELBv2.CreateTargetGroup: the reply holds no target group"))?;
    let id = name.to_owned();
    events.emit(Event::Resource { action: ResourceAction::Created, kind: "target group".into(), id });
    Ok(created)
}

/// Brings the plan's health check and deregistration delay to a group, in as few calls as differ.
pub async fn settle(
    group: &TargetGroup,
    balancer: &LoadBalancerPlan,
    clients: &Clients,
    events: &Events,
) -> Result<()> {
    let arn = group.target_group_arn().unwrap_or_default();
    let name = group.target_group_name().unwrap_or_default();
    if differs(group, balancer) {
        let check = &balancer.target_group.health_check;
        let seconds = |duration: Option<std::time::Duration>| duration.map(|duration| duration.as_secs() as i32);
        let call = clients
            .elbv2
            .modify_target_group()
            .target_group_arn(arn)
            .set_health_check_protocol(check.protocol.as_deref().map(ProtocolEnum::from))
            .set_health_check_port(check.port.clone())
            .set_health_check_path(check.path.clone())
            .set_health_check_interval_seconds(seconds(check.interval))
            .set_health_check_timeout_seconds(seconds(check.timeout))
            .set_healthy_threshold_count(check.healthy_threshold.map(|count| count as i32))
            .set_unhealthy_threshold_count(check.unhealthy_threshold.map(|count| count as i32))
            .set_matcher(matcher(balancer));
        call.send().await.map_err(|error| failed("ModifyTargetGroup", error))?;
        updated(events, "health check", name);
    }
    let Some(delay) = balancer.target_group.deregistration_delay else { return Ok(()) };
    let delay = delay.as_secs().to_string();
    let call = clients.elbv2.describe_target_group_attributes().target_group_arn(arn);
    let live = call.send().await.map_err(|error| failed("DescribeTargetGroupAttributes", error))?;
    let now = live.attributes().iter().find(|attribute| attribute.key() == Some(DELAY));
    if now.and_then(TargetGroupAttribute::value) != Some(&delay) {
        let attribute = TargetGroupAttribute::builder().key(DELAY).value(delay).build();
        let call = clients.elbv2.modify_target_group_attributes().target_group_arn(arn).attributes(attribute);
        call.send().await.map_err(|error| failed("ModifyTargetGroupAttributes", error))?;
        updated(events, "deregistration delay", name);
    }
    Ok(())
}

fn differs(group: &TargetGroup, balancer: &LoadBalancerPlan) -> bool {
    let check = &balancer.target_group.health_check;
    let other = |wanted: Option<&str>, has: Option<&str>| wanted.is_some() && wanted != has;
    let other_number = |wanted: Option<i64>, has: Option<i32>| wanted.is_some() && wanted != has.map(i64::from);
    other(check.protocol.as_deref(), group.health_check_protocol().map(ProtocolEnum::as_str))
        || other(check.port.as_deref(), group.health_check_port())
        || other(check.path.as_deref(), group.health_check_path())
        || other_number(check.interval.map(|interval| interval.as_secs() as i64), group.health_check_interval_seconds())
        || other_number(check.timeout.map(|timeout| timeout.as_secs() as i64), group.health_check_timeout_seconds())
        || other_number(check.healthy_threshold, group.healthy_threshold_count())
        || other_number(check.unhealthy_threshold, group.unhealthy_threshold_count())
        || other(check.matcher.as_deref(), group.matcher().and_then(Matcher::http_code))
}

fn matcher(balancer: &LoadBalancerPlan) -> Option<Matcher> {
    let codes = balancer.target_group.health_check.matcher.as_deref()?;
    Some(Matcher::builder().http_code(codes).build())
}

/// What the group speaks to its targets: TLS and HTTPS end at the listener.
fn protocol(balancer: &LoadBalancerPlan) -> String {
    balancer.target_group.protocol.clone().unwrap_or_else(|| {
        match (balancer.kind, balancer.listener.protocol.as_str()) {
            (LoadBalancerType::Application, _) => "HTTP",
            (LoadBalancerType::Network, "UDP") => "UDP",
            (LoadBalancerType::Network, "TCP_UDP") => "TCP_UDP",
            (LoadBalancerType::Network, _) => "TCP",
        }
        .to_owned()
    })
}

fn updated(events: &Events, kind: &str, id: &str) {
    events.emit(Event::Resource { action: ResourceAction::Updated, kind: kind.into(), id: id.into() });
}

/// For reading its name out of a preflight error.
pub fn missing(name: &str) -> Error {
    Error::new(Kind::Preflight, format!("the target group `{name}` does not exist"))
        .hint("let steady create what is missing: `create: true` below `load_balancer:`")
}
