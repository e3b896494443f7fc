//! Targets: registering, draining, and the health that the balancer found.

use serde_json::{Value, json};

use super::{Protocol, Scope, Target, TargetGroup, TargetStatus, target_groups};
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::ec2;
use crate::lab::input::Input;
use crate::lab::state::State;

/// A target's health in the API's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetHealth {
    /// `initial`, `healthy`, `unhealthy`, `draining` or `unused`.
    pub state: String,
    pub reason: Option<String>,
    /// Such as `Health checks failed with these codes: [503]`.
    pub description: Option<String>,
}

impl TargetHealth {
    fn new(state: &str, reason: Option<(&str, &str)>) -> Self {
        TargetHealth {
            state: state.to_owned(),
            reason: reason.map(|(reason, _)| reason.to_owned()),
            description: reason.map(|(_, description)| description.to_owned()),
        }
    }
}

/// Registers a target, or brings a draining one back. `false` when there is no such group.
pub fn register_target(state: &mut State, target_group_arn: &str, target_id: &str, port: u16, _now_ms: i64) -> bool {
    let Some(group) = state.elbv2.target_group_mut(target_group_arn) else { return false };
    match group.targets.iter_mut().find(|target| target.id == target_id && target.port == port) {
        Some(target) if target.status.is_draining() => target.status = TargetStatus::Initial { checking: false },
        Some(_) => {}
        None => group.targets.push(Target {
            id: target_id.to_owned(),
            port,
            status: TargetStatus::Initial { checking: false },
        }),
    }
    true
}

/// Starts to drain a target: no new connection goes there from now on.
pub fn deregister_target(state: &mut State, target_group_arn: &str, target_id: &str, port: u16, now_ms: i64) {
    let attached = is_attached(state, target_group_arn);
    let Some(group) = state.elbv2.target_group_mut(target_group_arn) else { return };
    if !attached {
        group.targets.retain(|target| target.id != target_id || target.port != port);
    }
    for target in &mut group.targets {
        if target.id == target_id && target.port == port && !target.status.is_draining() {
            target.status = TargetStatus::Draining { since: now_ms, drained: false };
        }
    }
}

/// The health of one registered target; `None` when it is not registered, or no longer.
pub fn target_health(state: &State, target_group_arn: &str, target_id: &str, port: u16) -> Option<TargetHealth> {
    let group = state.elbv2.target_group(target_group_arn)?;
    let target = group.targets.iter().find(|target| target.id == target_id && target.port == port)?;
    Some(health(target, is_attached(state, target_group_arn)))
}

/// Whether nothing is left that uses this target: it was never registered, or its deregistration is complete because
/// its delay is over or its last connection is closed. Its task can stop now.
pub fn target_is_gone(state: &State, target_group_arn: &str, target_id: &str, port: u16) -> bool {
    let Some(group) = state.elbv2.target_group(target_group_arn) else { return true };
    let target = group.targets.iter().find(|target| target.id == target_id && target.port == port);
    target.is_none_or(|target| matches!(target.status, TargetStatus::Draining { drained: true, .. }))
}

/// Whether any listener or rule of a load balancer forwards to this group.
pub fn is_attached(state: &State, target_group_arn: &str) -> bool {
    !state.elbv2.load_balancers_of(target_group_arn).is_empty()
}

/// The ARNs of the groups that a load balancer forwards to.
pub fn target_groups_of_load_balancer(state: &State, load_balancer_arn: &str) -> Vec<String> {
    state.elbv2.target_groups_of(load_balancer_arn).into_iter().map(|group| group.arn.clone()).collect()
}

fn health(target: &Target, attached: bool) -> TargetHealth {
    match &target.status {
        TargetStatus::Draining { .. } => TargetHealth::new(
            "draining",
            Some(("Target.DeregistrationInProgress", "Target deregistration is in progress")),
        ),
        _ if !attached => TargetHealth::new(
            "unused",
            Some(("Target.NotInUse", "Target group is not configured to receive traffic from the load balancer")),
        ),
        TargetStatus::Initial { checking: false } => {
            TargetHealth::new("initial", Some(("Elb.RegistrationInProgress", "Target registration is in progress")))
        }
        TargetStatus::Initial { checking: true } => {
            TargetHealth::new("initial", Some(("Elb.InitialHealthChecking", "Initial health checks in progress")))
        }
        TargetStatus::Healthy => TargetHealth::new("healthy", None),
        TargetStatus::Unhealthy { reason, description } => TargetHealth::new("unhealthy", Some((reason, description))),
    }
}

pub(super) fn register(state: &mut State, scope: &Scope, input: Input) -> ApiResult {
    let arn = input.required("TargetGroupArn")?;
    let targets = named(input, target_groups::find(state, arn)?)?;
    if targets.is_empty() {
        return Err(input.error("At least one target must be specified"));
    }
    let by_ip = target_groups::find(state, arn)?.target_type == "ip";
    for (id, _) in &targets {
        if by_ip && id.parse::<std::net::IpAddr>().is_err() {
            return Err(input.error(format!("The IP address '{id}' is not a valid IPv4 address")));
        }
        if !by_ip && !ec2::has_instance(state, id) {
            return Err(ApiError::new(
                "InvalidTarget",
                format!("The following targets are not in a running state and cannot be registered: '{id}'"),
            ));
        }
    }
    for (id, port) in targets {
        register_target(state, arn, &id, port, scope.now);
    }
    Ok(json!({}))
}

pub(super) fn deregister(state: &mut State, scope: &Scope, input: Input) -> ApiResult {
    let arn = input.required("TargetGroupArn")?;
    let group = target_groups::find(state, arn)?;
    let mut leaving: Vec<(String, u16)> = Vec::new();
    for target in input.list("Targets") {
        let (id, port) = (target.required("Id")?, target.port("Port")?);
        // Without a port, every registration of the target.
        let matching: Vec<_> = group
            .targets
            .iter()
            .filter(|registered| registered.id == id && port.is_none_or(|port| port == registered.port))
            .map(|registered| (registered.id.clone(), registered.port))
            .collect();
        if matching.is_empty() {
            return Err(ApiError::new(
                "InvalidTarget",
                format!("The following targets are not registered to the target group: '{id}'"),
            ));
        }
        leaving.extend(matching);
    }
    for (id, port) in leaving {
        deregister_target(state, arn, &id, port, scope.now);
    }
    Ok(json!({}))
}

pub(super) fn describe_health(state: &State, _: &Scope, input: Input) -> ApiResult {
    let group = target_groups::find(state, input.required("TargetGroupArn")?)?;
    let attached = is_attached(state, &group.arn);
    let asked = named(input, group)?;
    let mut descriptions: Vec<Value> = Vec::new();
    if asked.is_empty() {
        descriptions.extend(
            group.targets.iter().map(|target| describe_one(group, &target.id, target.port, &health(target, attached))),
        );
    }
    for (id, port) in asked {
        let registered = group.targets.iter().find(|target| target.id == id && target.port == port);
        let health = registered.map_or_else(
            || {
                TargetHealth::new(
                    "unused",
                    Some(("Target.NotRegistered", "Target is not registered to the target group")),
                )
            },
            |target| health(target, attached),
        );
        descriptions.push(describe_one(group, &id, port, &health));
    }
    Ok(json!({ "TargetHealthDescriptions": descriptions }))
}

/// The targets that the input names; their port defaults to the group's.
fn named(input: Input, group: &TargetGroup) -> Result<Vec<(String, u16)>, ApiError> {
    input
        .list("Targets")
        .into_iter()
        .map(|target| Ok((target.required("Id")?.to_owned(), target.port("Port")?.unwrap_or(group.port))))
        .collect()
}

fn describe_one(group: &TargetGroup, id: &str, port: u16, health: &TargetHealth) -> Value {
    let mut target_health = json!({ "State": health.state });
    if let Some(reason) = &health.reason {
        target_health["Reason"] = json!(reason);
    }
    if let Some(description) = &health.description {
        target_health["Description"] = json!(description);
    }
    json!({
        "Target": { "Id": id, "Port": port },
        "HealthCheckPort": group.health_check.port.unwrap_or(port).to_string(),
        "TargetHealth": target_health,
    })
}

impl TargetGroup {
    /// Where a new connection can go, best first: the healthy targets, then (a balancer fails open) the others that
    /// are not draining.
    pub fn candidates(&self) -> impl Iterator<Item = &Target> {
        let healthy = self.targets.iter().filter(|target| target.status == TargetStatus::Healthy);
        let others =
            self.targets.iter().filter(|target| target.status != TargetStatus::Healthy && !target.status.is_draining());
        healthy.chain(others)
    }

    /// How long a deregistered target may finish its connections, in seconds of AWS's.
    pub fn deregistration_delay(&self) -> u64 {
        self.attributes.get("deregistration_delay.timeout_seconds").and_then(|text| text.parse().ok()).unwrap_or(300)
    }

    /// Whether connections that are still open when that time is over are cut.
    pub fn terminates_connections(&self) -> bool {
        let key = "deregistration_delay.connection_termination.enabled";
        self.protocol == Protocol::Http || self.attributes.get(key).is_some_and(|enabled| enabled == "true")
    }
}
