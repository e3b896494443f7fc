//! Attributes of load balancers and target groups, with AWS's defaults.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Listener, LoadBalancerType, Protocol, Scope, listeners, load_balancers, target_groups};
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::state::State;

type Defaults = &'static [(&'static str, &'static str)];

const LOAD_BALANCER: Defaults = &[
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.prefix", ""),
    ("deletion_protection.enabled", "false"),
    ("ipv6.deny_all_igw_traffic", "false"),
    ("zonal_shift.config.enabled", "false"),
];

const NETWORK: Defaults =
    &[("dns_record.client_routing_policy", "any_availability_zone"), ("load_balancing.cross_zone.enabled", "false")];

const APPLICATION: Defaults = &[
    ("client_keep_alive.seconds", "3600"),
    ("connection_logs.s3.bucket", ""),
    ("connection_logs.s3.enabled", "false"),
    ("connection_logs.s3.prefix", ""),
    ("idle_timeout.timeout_seconds", "60"),
    ("load_balancing.cross_zone.enabled", "true"),
    ("routing.http.desync_mitigation_mode", "defensive"),
    ("routing.http.drop_invalid_header_fields.enabled", "false"),
    ("routing.http.preserve_host_header.enabled", "false"),
    ("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false"),
    ("routing.http.xff_client_port.enabled", "false"),
    ("routing.http.xff_header_processing.mode", "append"),
    ("routing.http2.enabled", "true"),
    ("waf.fail_open.enabled", "false"),
];

const TARGET_GROUP: Defaults = &[
    ("deregistration_delay.timeout_seconds", "300"),
    ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
    ("stickiness.enabled", "false"),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off"),
];

const TCP_GROUP: Defaults = &[
    ("deregistration_delay.connection_termination.enabled", "false"),
    ("preserve_client_ip.enabled", "true"),
    ("proxy_protocol_v2.enabled", "false"),
    ("stickiness.type", "source_ip"),
    ("target_health_state.unhealthy.connection_termination.enabled", "true"),
    ("target_health_state.unhealthy.draining_interval_seconds", "0"),
];

const HTTP_GROUP: Defaults = &[
    ("load_balancing.algorithm.anomaly_mitigation", "off"),
    ("load_balancing.algorithm.type", "round_robin"),
    ("slow_start.duration_seconds", "0"),
    ("stickiness.app_cookie.cookie_name", ""),
    ("stickiness.app_cookie.duration_seconds", "86400"),
    ("stickiness.lb_cookie.duration_seconds", "86400"),
    ("stickiness.type", "lb_cookie"),
];

pub(super) fn of_load_balancer(kind: LoadBalancerType) -> BTreeMap<String, String> {
    let of_kind = match kind {
        LoadBalancerType::Network => NETWORK,
        LoadBalancerType::Application => APPLICATION,
    };
    join(LOAD_BALANCER, of_kind)
}

pub(super) fn of_target_group(protocol: Protocol) -> BTreeMap<String, String> {
    let of_protocol = match protocol {
        Protocol::Tcp => TCP_GROUP,
        Protocol::Http => HTTP_GROUP,
    };
    join(TARGET_GROUP, of_protocol)
}

fn join(one: Defaults, other: Defaults) -> BTreeMap<String, String> {
    one.iter().chain(other).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn describe_of_load_balancer(state: &State, _: &Scope, input: Input) -> ApiResult {
    Ok(reply(&load_balancers::find(state, input.required("LoadBalancerArn")?)?.attributes))
}

pub(super) fn describe_of_target_group(state: &State, _: &Scope, input: Input) -> ApiResult {
    Ok(reply(&target_groups::find(state, input.required("TargetGroupArn")?)?.attributes))
}

const TCP_LISTENER: Defaults = &[("tcp.idle_timeout.seconds", "350")];
const HTTP_LISTENER: Defaults = &[("routing.http.response.server.enabled", "true")];

/// A listener's, with what it was not given.
fn of_listener(listener: &Listener) -> BTreeMap<String, String> {
    let defaults = if listener.protocol == Protocol::Tcp { TCP_LISTENER } else { HTTP_LISTENER };
    let mut all = join(defaults, &[]);
    all.extend(listener.attributes.clone());
    all
}

pub(super) fn describe_of_listener(state: &State, _: &Scope, input: Input) -> ApiResult {
    Ok(reply(&of_listener(listeners::find(state, input.required("ListenerArn")?)?)))
}

pub(super) fn modify_of_listener(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let listener = listeners::find_mut(state, input.required("ListenerArn")?)?;
    let mut attributes = of_listener(listener);
    let reply = change(&mut attributes, input, "Listener")?;
    listener.attributes = attributes;
    Ok(reply)
}

pub(super) fn modify_of_load_balancer(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let load_balancer = load_balancers::find_mut(state, input.required("LoadBalancerArn")?)?;
    change(&mut load_balancer.attributes, input, "Load balancer")
}

pub(super) fn modify_of_target_group(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let group = target_groups::find_mut(state, input.required("TargetGroupArn")?)?;
    let mut attributes = group.attributes.clone();
    let reply = change(&mut attributes, input, "Target group")?;
    let is = |key: &str, value: &str| attributes.get(key).is_some_and(|has| has == value);
    if is("stickiness.enabled", "true") && is("stickiness.type", "app_cookie") {
        let name = attributes.get("stickiness.app_cookie.cookie_name").map_or("", String::as_str);
        if name.is_empty() || ["AWSALB", "AWSALBAPP", "AWSALBTG"].contains(&name) {
            return Err(invalid(format!("'{name}' is not a valid name for the application's cookie")));
        }
    }
    if !is("slow_start.duration_seconds", "0") && is("load_balancing.algorithm.type", "least_outstanding_requests") {
        return Err(invalid("Slow start cannot be used with least outstanding requests".to_owned()));
    }
    group.attributes = attributes;
    Ok(reply)
}

fn change(attributes: &mut BTreeMap<String, String>, input: Input, what: &str) -> ApiResult {
    let changes = input.pairs("Attributes")?;
    for (key, value) in &changes {
        let Some(current) = attributes.get(key) else {
            return Err(input.error(format!("{what} attribute key '{key}' is not recognized")));
        };
        if !is_like(current, key, value) {
            return Err(invalid(format!("{what} attribute '{key}' cannot have the value '{value}'")));
        }
    }
    attributes.extend(changes);
    Ok(reply(attributes))
}

fn invalid(message: String) -> ApiError {
    ApiError::new("InvalidConfigurationRequest", message)
}

/// Whether a new value has the kind that the present one has: a flag, seconds, or a word.
fn is_like(current: &str, key: &str, value: &str) -> bool {
    let between = |least: u32, most: u32| value.parse().is_ok_and(|number: u32| (least..=most).contains(&number));
    match key {
        "deregistration_delay.timeout_seconds" => return between(0, 3600),
        "slow_start.duration_seconds" => return value == "0" || between(30, 900),
        "stickiness.lb_cookie.duration_seconds" | "stickiness.app_cookie.duration_seconds" => {
            return between(1, 604_800);
        }
        "idle_timeout.timeout_seconds" => return between(1, 4000),
        "tcp.idle_timeout.seconds" => return between(60, 6000),
        "client_keep_alive.seconds" => return between(60, 604_800),
        "stickiness.type" if current == "source_ip" => return value == "source_ip",
        "stickiness.type" => return ["lb_cookie", "app_cookie"].contains(&value),
        "load_balancing.algorithm.type" => {
            return ["round_robin", "least_outstanding_requests", "weighted_random"].contains(&value);
        }
        _ => {}
    }
    match current {
        "true" | "false" => ["true", "false"].contains(&value),
        _ if key.ends_with("_seconds") => value.parse::<u32>().is_ok(),
        _ => true,
    }
}

fn reply(attributes: &BTreeMap<String, String>) -> Value {
    let list: Vec<Value> = attributes.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    json!({ "Attributes": list })
}
