//! Elastic Load Balancing v2: its API over the lab's state, and what the scheduler and the balancer ask of it.

mod actions;
mod attributes;
mod conditions;
mod limits;
mod listeners;
mod load_balancers;
mod model;
mod rules;
mod tags;
mod target_groups;
mod targets;

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::api::{ApiError, ApiResult};
use super::balancer::Sockets;
use super::conformance;
use super::input::Input;
use super::state::State;
use super::{Lab, Settings};
use crate::aws_model::Service;

pub use model::*;
pub use rules::{forwards, set_weights};
pub use targets::{
    TargetHealth, deregister_target, is_attached, register_target, target_groups_of_load_balancer, target_health,
    target_is_gone,
};

/// How long a new load balancer is `provisioning` at AWS's pace.
const PROVISIONING: Duration = Duration::from_secs(20);

/// What an operation needs beside the state.
struct Scope<'a> {
    settings: &'a Settings,
    now: i64,
    provisioning_ms: i64,
}

impl Scope<'_> {
    fn arn(&self, resource: &str) -> String {
        format!("arn:aws:elasticloadbalancing:{}:{}:{resource}", self.settings.region, self.settings.account_id)
    }
}

/// One ELBv2 operation, with members and replies named as the API spells them.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let known = self::operation(operation).ok_or_else(|| {
        ApiError::new(
            "UnknownOperationException",
            format!("The lab does not know the operation {operation} of Elastic Load Balancing."),
        )
    });
    let answer = known.map(|known| |input: Value| answer(lab, known, Input::new(&input, "ValidationError")));
    conformance::answered(Service::Elbv2, operation, input, answer)
}

enum Operation {
    Read(fn(&State, &Scope, Input) -> ApiResult),
    Write(fn(&mut State, &Scope, Input) -> ApiResult),
    /// With the ports that are taken.
    Listen(fn(&mut State, &Scope, Input, &Sockets) -> ApiResult),
}

fn operation(name: &str) -> Option<Operation> {
    use Operation::{Listen, Read, Write};
    Some(match name {
        "DescribeLoadBalancers" => Read(load_balancers::describe),
        "DescribeLoadBalancerAttributes" => Read(attributes::describe_of_load_balancer),
        "DescribeTargetGroups" => Read(target_groups::describe),
        "DescribeTargetGroupAttributes" => Read(attributes::describe_of_target_group),
        "DescribeTargetHealth" => Read(targets::describe_health),
        "DescribeListeners" => Read(listeners::describe),
        "DescribeRules" => Read(rules::describe),
        "DescribeAccountLimits" => Read(limits::describe),
        "DescribeListenerAttributes" => Read(attributes::describe_of_listener),
        "DescribeTags" => Read(tags::describe),
        "CreateListener" => Listen(listeners::create),
        "ModifyListener" => Listen(listeners::modify),
        "CreateLoadBalancer" => Write(load_balancers::create),
        "DeleteLoadBalancer" => Write(load_balancers::delete),
        "ModifyLoadBalancerAttributes" => Write(attributes::modify_of_load_balancer),
        "SetSubnets" => Write(load_balancers::set_subnets),
        "SetSecurityGroups" => Write(load_balancers::set_security_groups),
        "CreateTargetGroup" => Write(target_groups::create),
        "ModifyTargetGroup" => Write(target_groups::modify),
        "DeleteTargetGroup" => Write(target_groups::delete),
        "ModifyTargetGroupAttributes" => Write(attributes::modify_of_target_group),
        "RegisterTargets" => Write(targets::register),
        "DeregisterTargets" => Write(targets::deregister),
        "DeleteListener" => Write(listeners::delete),
        "CreateRule" => Write(rules::create),
        "ModifyRule" => Write(rules::modify),
        "DeleteRule" => Write(rules::delete),
        "SetRulePriorities" => Write(rules::set_priorities),
        "ModifyListenerAttributes" => Write(attributes::modify_of_listener),
        "SetIpAddressType" => Write(load_balancers::set_ip_address_type),
        "AddTags" => Write(tags::add),
        "RemoveTags" => Write(tags::remove),
        _ => return None,
    })
}

fn answer(lab: &Lab, operation: Operation, input: Input) -> ApiResult {
    let provisioning_ms = lab.clock.wait(PROVISIONING).as_millis() as i64;
    let scope = Scope { settings: &lab.settings, now: lab.clock.now(), provisioning_ms };
    match operation {
        Operation::Read(read) => lab.read(|state| read(state, &scope, input)),
        Operation::Write(write) => lab.write(|state| write(state, &scope, input)),
        Operation::Listen(listen) => lab.write(|state| listen(state, &scope, input, &lab.sockets)),
    }
}

/// `10.0.0.0/8` as its address and the length of its prefix.
pub fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

/// Epoch milliseconds as XML replies write them.
fn iso8601(epoch_ms: i64) -> String {
    Timestamp::from_millisecond(epoch_ms).unwrap_or_default().to_string()
}

/// Names of load balancers and target groups.
fn check_name(input: Input, what: &str, name: &str) -> Result<(), ApiError> {
    if name.chars().count() > 32 {
        return Err(input.error(format!("{what} name '{name}' cannot be longer than '32' characters")));
    }
    if !name.chars().all(|character| character.is_ascii_alphanumeric() || character == '-') {
        return Err(input.error(format!(
            "{what} name '{name}' can only contain characters that are alphanumeric characters or hyphens(-)"
        )));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(input.error(format!("{what} name '{name}' cannot begin or end with a hyphen(-)")));
    }
    Ok(())
}

/// The protocol of a listener, target group or health check, as far as the lab speaks it; `code` is what the operation
/// calls another.
fn protocol(name: &str, code: &str) -> Result<Protocol, ApiError> {
    match name {
        "TCP" => Ok(Protocol::Tcp),
        "HTTP" => Ok(Protocol::Http),
        "HTTPS" | "TLS" | "UDP" | "TCP_UDP" | "GENEVE" | "QUIC" | "TCP_QUIC" => Err(ApiError::new(
            code,
            format!("The lab's load balancers speak HTTP and TCP, not {name}. Rehearse with one of these."),
        )),
        other => Err(ApiError::new(
            "ValidationError",
            format!(
                "1 validation error detected: Value '{other}' at 'protocol' failed to satisfy constraint: \
                 Member must satisfy enum value set: [HTTP, HTTPS, TCP, TLS, UDP, TCP_UDP, GENEVE]"
            ),
        )),
    }
}

/// What is said of a name that is no ARN of this kind; `None` when it is one.
fn malformed(arn: &str, kind: &str, what: &str) -> Option<ApiError> {
    let resource = arn.strip_prefix("arn:aws:elasticloadbalancing:").and_then(|rest| rest.splitn(3, ':').nth(2));
    let is_one = resource.is_some_and(|of| of.split_once('/').is_some_and(|(of, _)| of == kind));
    (!is_one).then(|| ApiError::new("ValidationError", format!("'{arn}' is not a valid {what} ARN")))
}

/// One page of a listing: items beyond `Marker`, at most `PageSize` of them, with the next marker.
fn page<T>(input: Input, items: Vec<T>) -> Result<(Vec<T>, Option<String>), ApiError> {
    let start = match input.text("Marker") {
        None | Some("") => 0,
        Some(marker) => marker.parse().map_err(|_| input.error(format!("The marker '{marker}' is not valid")))?,
    };
    let size = input.number_in("PageSize", 1..=400)?.unwrap_or(400) as usize;
    let next = (start + size < items.len()).then(|| (start + size).to_string());
    Ok((items.into_iter().skip(start).take(size).collect(), next))
}

/// A listing's reply.
fn listing(name: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let mut reply = serde_json::Map::from_iter([(name.to_owned(), Value::Array(items))]);
    if let Some(next) = next {
        reply.insert("NextMarker".to_owned(), Value::String(next));
    }
    Value::Object(reply)
}
