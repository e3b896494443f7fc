//! Listeners. Creating one takes its port at once, so that a busy port is an answer and not a surprise later.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{
    Listener, LoadBalancer, Rule, Scope, actions, limits, listing, load_balancers, malformed, page, protocol, tags,
};
use crate::lab::api::{ApiError, ApiResult, random_hex};
use crate::lab::balancer::Sockets;
use crate::lab::input::Input;
use crate::lab::state::State;

pub(super) fn create(state: &mut State, scope: &Scope, input: Input, sockets: &Sockets) -> ApiResult {
    let load_balancer = load_balancers::find(state, input.required("LoadBalancerArn")?)?;
    let protocol =
        listener_protocol(input, load_balancer)?.ok_or_else(|| input.error("A listener protocol must be specified"))?;
    let port = input.port("Port")?.ok_or_else(|| input.error("A listener port must be specified"))?;
    let action = actions::action(state, load_balancer, input, "DefaultActions")?;
    let load_balancer_arn = load_balancer.arn.clone();

    let taken = |listener: &&Listener| listener.load_balancer_arn == load_balancer_arn && listener.port == port;
    if let Some(existing) = state.elbv2.listeners.iter().find(taken) {
        // The same listener again is the same listener.
        if existing.default_action() == Some(&action) {
            return Ok(json!({ "Listeners": [describe_one(existing)] }));
        }
        return Err(duplicate(&load_balancer_arn));
    }
    let own = state.elbv2.listeners.iter().filter(|of| of.load_balancer_arn == load_balancer_arn);
    if own.count() >= limits::LISTENERS {
        let message = "You've reached the limit on the number of listeners per load balancer";
        return Err(ApiError::new("TooManyListeners", message));
    }
    take_port(state, sockets, load_balancer, port)?;

    let path = format!("{}/{}", load_balancer_path(&load_balancer_arn), random_hex(16));
    let default_rule = Rule {
        arn: scope.arn(&format!("listener-rule/{path}/{}", random_hex(16))),
        priority: None,
        conditions: Vec::new(),
        action,
        tags: Default::default(),
    };
    let listener = Listener {
        arn: scope.arn(&format!("listener/{path}")),
        load_balancer_arn,
        port,
        protocol,
        rules: vec![default_rule],
        attributes: Default::default(),
        tags: tags::given(input, "ValidationError")?,
    };
    let reply = json!({ "Listeners": [describe_one(&listener)] });
    state.elbv2.listeners.push(listener);
    Ok(reply)
}

pub(super) fn modify(state: &mut State, _: &Scope, input: Input, sockets: &Sockets) -> ApiResult {
    let listener = find(state, input.required("ListenerArn")?)?;
    let load_balancer = load_balancers::find(state, &listener.load_balancer_arn)?;
    listener_protocol(input, load_balancer)?;
    let port = input.port("Port")?.unwrap_or(listener.port);
    let action = match input.list("DefaultActions").is_empty() {
        true => None,
        false => Some(actions::action(state, load_balancer, input, "DefaultActions")?),
    };
    if port != listener.port {
        let mut others = state.elbv2.listeners.iter();
        if others.any(|other| other.load_balancer_arn == load_balancer.arn && other.port == port) {
            return Err(duplicate(&load_balancer.arn));
        }
        take_port(state, sockets, load_balancer, port)?;
    }
    let arn = listener.arn.clone();
    let listener = find_mut(state, &arn)?;
    listener.port = port;
    if let (Some(action), Some(default)) = (action, listener.rules.last_mut()) {
        default.action = action;
    }
    Ok(json!({ "Listeners": [describe_one(listener)] }))
}

pub(super) fn describe(state: &State, _: &Scope, input: Input) -> ApiResult {
    let mut found = Vec::new();
    for arn in input.texts("ListenerArns") {
        found.push(find(state, arn)?);
    }
    if let Some(arn) = input.text("LoadBalancerArn") {
        load_balancers::find(state, arn)?;
        found.extend(state.elbv2.listeners.iter().filter(|listener| listener.load_balancer_arn == arn));
    } else if found.is_empty() {
        return Err(input.error("You must specify either listener ARNs or a load balancer ARN"));
    }
    let (found, next) = page(input, found)?;
    Ok(listing("Listeners", found.into_iter().map(describe_one).collect(), next))
}

pub(super) fn delete(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let arn = find(state, input.required("ListenerArn")?)?.arn.clone();
    state.elbv2.listeners.retain(|listener| listener.arn != arn);
    Ok(json!({}))
}

pub(super) fn find<'a>(state: &'a State, arn: &str) -> Result<&'a Listener, ApiError> {
    state.elbv2.listener(arn).ok_or_else(|| not_found(arn))
}

pub(super) fn find_mut<'a>(state: &'a mut State, arn: &str) -> Result<&'a mut Listener, ApiError> {
    state.elbv2.listeners.iter_mut().find(|listener| listener.arn == arn).ok_or_else(|| not_found(arn))
}

fn not_found(arn: &str) -> ApiError {
    malformed(arn, "listener", "listener")
        .unwrap_or_else(|| ApiError::new("ListenerNotFound", format!("Listener '{arn}' not found")))
}

/// What follows `loadbalancer/` in a load balancer's ARN, and begins its listeners' and rules'.
pub(super) fn load_balancer_path(arn: &str) -> &str {
    arn.split_once("loadbalancer/").map_or(arn, |(_, path)| path)
}

fn duplicate(load_balancer_arn: &str) -> ApiError {
    ApiError::new(
        "DuplicateListener",
        format!("A listener already exists on this port for this load balancer '{load_balancer_arn}'"),
    )
}

fn listener_protocol(input: Input, load_balancer: &LoadBalancer) -> Result<Option<super::Protocol>, ApiError> {
    let Some(name) = input.text("Protocol") else { return Ok(None) };
    let speaks = load_balancer.kind.protocol();
    match protocol(name, "UnsupportedProtocol")? {
        protocol if protocol == speaks => Ok(Some(protocol)),
        _ => Err(input.error(format!(
            "Listener protocol '{name}' is not supported by {} load balancers; in the lab they speak {}",
            load_balancer.kind.name(),
            speaks.name()
        ))),
    }
}

fn take_port(state: &State, sockets: &Sockets, load_balancer: &LoadBalancer, port: u16) -> Result<(), ApiError> {
    let address = SocketAddr::new(load_balancer.address, port);
    // Where loopback has one address only, load balancers share it.
    let taken = state.elbv2.listeners.iter().filter(|listener| listener.port == port).find_map(|listener| {
        state.elbv2.load_balancer(&listener.load_balancer_arn).filter(|other| other.address == load_balancer.address)
    });
    if let Some(other) = taken {
        return Err(ApiError::new(
            "InvalidConfigurationRequest",
            format!(
                "The lab cannot listen on {address}: its load balancer '{}' listens there. Choose another listener port",
                other.name
            ),
        ));
    }
    sockets.take(address).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there. Choose another listener port".to_owned(),
            std::io::ErrorKind::PermissionDenied => format!(
                "ports below 1024 need privileges on this machine. Choose a listener port such as {}, or lower \
                 net.ipv4.ip_unprivileged_port_start",
                8000 + port % 1000
            ),
            _ => error.to_string(),
        };
        ApiError::new("InvalidConfigurationRequest", format!("The lab cannot listen on {address}: {why}"))
    })
}

fn describe_one(listener: &Listener) -> Value {
    let actions: Vec<Value> = listener.default_action().map(actions::describe_action).into_iter().collect();
    json!({
        "ListenerArn": listener.arn,
        "LoadBalancerArn": listener.load_balancer_arn,
        "Port": listener.port,
        "Protocol": listener.protocol.name(),
        "DefaultActions": actions,
    })
}
