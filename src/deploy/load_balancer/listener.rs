//! Listeners and their rules: which of them lead to a target group, and where the service answers by them.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, Certificate, Listener, LoadBalancer, ProtocolEnum, Rule, RuleCondition,
};
use serde_json::Value;

use super::{failed, find, ownership, shifting, target_group};
use crate::aws::reply::{list, text};
use crate::aws::{Clients, Failure};
use crate::config::{ListenerPlan, Plan};
use crate::deploy::event::{Event, Events, ResourceAction};
use crate::error::{Error, Kind, Result};

/// The listener that the plan names by its ARN, else the one on its port.
pub async fn of_plan(found: &LoadBalancer, wanted: &ListenerPlan, clients: &Clients) -> Result<Option<Listener>> {
    let arn = found.load_balancer_arn().unwrap_or_default();
    let listeners = of(arn, clients).await.map_err(|failure| failure.error(Kind::Preflight))?;
    let is = |listener: &Listener| match &wanted.arn {
        Some(arn) => listener.listener_arn() == Some(arn),
        None => listener.port() == Some(wanted.port.into()),
    };
    Ok(listeners.into_iter().find(is))
}

async fn of(load_balancer: &str, clients: &Clients) -> Result<Vec<Listener>, Failure> {
    let mut all = Vec::new();
    let mut marker = None;
    loop {
        let call = clients.elbv2.describe_listeners().load_balancer_arn(load_balancer).set_marker(marker);
        let reply = call.send().await.map_err(|error| Failure::from_sdk("ELBv2", "DescribeListeners", error))?;
        marker = reply.next_marker;
        all.extend(reply.listeners.unwrap_or_default());
        if marker.is_none() {
            return Ok(all);
        }
    }
}

/// Why a listener that is not there cannot be created either.
pub fn missing(wanted: &ListenerPlan, create: bool, load_balancer: &str) -> Option<Error> {
    let port = wanted.port;
    match &wanted.arn {
        Some(arn) => Some(
            Error::preflight(format!("the load balancer `{load_balancer}` has no listener {arn}"))
                .hint("leave the listener's `arn` out: it is found by its port, or created"),
        ),
        None if create => None,
        None => Some(
            Error::preflight(format!("the load balancer `{load_balancer}` has no listener on port {port}"))
                .hint("let steady create what is missing: `create: true` below `load_balancer:`"),
        ),
    }
}

/// A listener that forwards to the first of these target groups.
pub async fn create(
    plan: &Plan,
    wanted: &ListenerPlan,
    load_balancer: &str,
    target_groups: &[&str],
    clients: &Clients,
    events: &Events,
) -> Result<Listener> {
    let certificate = wanted.certificate_arn.as_ref().map(|arn| Certificate::builder().certificate_arn(arn).build());
    let call = clients
        .elbv2
        .create_listener()
        .load_balancer_arn(load_balancer)
        .port(wanted.port.into())
        .protocol(ProtocolEnum::from(wanted.protocol.as_str()))
        .set_certificates(certificate.map(|certificate| vec![certificate]))
        .default_actions(shifting::forward(target_groups))
        .set_tags(Some(ownership(plan)));
    let reply = call.send().await.map_err(|error| failed("CreateListener", error))?;
    let created = reply.listeners().first().cloned();
    let created = created.ok_or_else(|| Error::other("ELBv2.CreateListener: the reply holds no listener"))?;
    let id = format!("{}:{}", wanted.protocol, wanted.port);
    events.emit(Event::Resource { action: ResourceAction::Created, kind: "listener".into(), id });
    Ok(created)
}

/// Another's listener is never turned to our target group: it has to lead there, by itself or by one of its rules.
/// `target_group` is `None` when it has yet to be created.
pub async fn check(
    listener: &Listener,
    target_group: Option<&str>,
    load_balancer: &str,
    clients: &Clients,
) -> Result<()> {
    if let Some(arn) = target_group
        && (leads(listener.default_actions(), arn) || rule_to(listener, arn, clients).await?.is_some())
    {
        return Ok(());
    }
    let port = listener.port().unwrap_or_default();
    let leads = forwards_to(listener).map_or("does not forward".to_owned(), |arn| format!("forwards to {arn}"));
    let error = Error::preflight(format!(
        "the listener on port {port} of `{load_balancer}` {leads}, not to this service's target group"
    ))
    .hint("choose another `listener: { port: … }`, or name that target group below `target_group:`");
    Err(match has_rules(listener) {
        true => error.hint("or add a rule to it that forwards to this service's, and name that below `target_group:`"),
        false => error,
    })
}

pub(in crate::deploy) fn has_rules(listener: &Listener) -> bool {
    matches!(listener.protocol(), Some(ProtocolEnum::Http | ProtocolEnum::Https))
}

/// The first rule of an application load balancer's listener that leads to a target group.
pub(in crate::deploy) async fn rule_to(
    listener: &Listener,
    target_group: &str,
    clients: &Clients,
) -> Result<Option<Rule>> {
    if !has_rules(listener) {
        return Ok(None);
    }
    let mut marker = None;
    loop {
        let call = clients.elbv2.describe_rules().set_listener_arn(listener.listener_arn.clone()).set_marker(marker);
        let reply = call.send().await.map_err(|error| failed("DescribeRules", error).with_kind(Kind::Preflight))?;
        let mut rules = reply.rules.unwrap_or_default().into_iter();
        if let Some(rule) = rules.find(|rule| leads(rule.actions(), target_group)) {
            return Ok(Some(rule));
        }
        marker = reply.next_marker;
        if marker.is_none() {
            return Ok(None);
        }
    }
}

pub(in crate::deploy) fn leads(actions: &[Action], target_group: &str) -> bool {
    actions.iter().flat_map(groups_of).any(|group| group == target_group)
}

fn groups_of(action: &Action) -> Vec<&str> {
    let weighted = action.forward_config().map_or(&[][..], |forward| forward.target_groups());
    action.target_group_arn().into_iter().chain(weighted.iter().filter_map(|group| group.target_group_arn())).collect()
}

pub fn forwards_to(listener: &Listener) -> Option<&str> {
    listener.default_actions().iter().flat_map(groups_of).next()
}

/// Where the service answers: the listener that leads to its first target group, and host and path of the rule where it
/// is one.
pub async fn service_url(service: &Value, clients: &Clients) -> Result<Option<String>, Failure> {
    let mut attached = list(service, "loadBalancers").iter();
    let Some(attached) = attached.find(|one| !text(one, "targetGroupArn").is_empty()) else { return Ok(None) };
    let group_arn = text(attached, "targetGroupArn");
    let Some(group) = target_group::find(Some(group_arn), None, clients).await? else { return Ok(None) };
    let Some(balancer) = group.load_balancer_arns().first() else { return Ok(None) };
    let (found, listeners) = tokio::join!(find(Some(balancer), None, clients), of(balancer, clients));
    let (Some(found), mut listeners) = (found?, listeners?) else { return Ok(None) };
    // What answers there is for tests.
    let test = text(&attached["advancedConfiguration"], "testListenerRule").replace(":listener-rule/", ":listener/");
    let is_test = |listener: &Listener| listener.listener_arn().is_some_and(|arn| test.starts_with(arn));
    listeners.retain(|listener| !is_test(listener));
    let mut leading = listeners.iter().find(|listener| leads(listener.default_actions(), group_arn));
    let mut rule = None;
    for listener in &listeners {
        if leading.is_some() {
            break;
        }
        // Not to be allowed to read rules is no reason to fail after the service is steady.
        if let Ok(Some(found)) = rule_to(listener, group_arn, clients).await {
            (leading, rule) = (Some(listener), Some(found));
        }
    }
    let Some(listener) = leading.or(listeners.first()) else { return Ok(None) };
    let (host, path) = rule.as_ref().map_or((None, None), |rule| plain(rule.conditions()));
    Ok(url(listener, host.unwrap_or(found.dns_name().unwrap_or_default()), path.unwrap_or_default()))
}

fn url(listener: &Listener, host: &str, path: &str) -> Option<String> {
    let scheme = match listener.protocol() {
        Some(ProtocolEnum::Https | ProtocolEnum::Tls) => "https",
        Some(ProtocolEnum::Http | ProtocolEnum::Tcp) => "http",
        _ => return None,
    };
    Some(match (scheme, listener.port().unwrap_or_default()) {
        ("http", 80) | ("https", 443) => format!("{scheme}://{host}{path}"),
        (_, port) => format!("{scheme}://{host}:{port}{path}"),
    })
}

/// The host and the path that a rule's conditions name, where they can be written into a URL: the first without a
/// wildcard, or for a path what stands before one at its end.
pub fn plain(conditions: &[RuleCondition]) -> (Option<&str>, Option<&str>) {
    let values = |field: &str| {
        let of = conditions.iter().filter(move |condition| condition.field() == Some(field)).flat_map(|condition| {
            let own = match field {
                "host-header" => condition.host_header_config().map(|config| config.values()),
                _ => condition.path_pattern_config().map(|config| config.values()),
            };
            own.filter(|own| !own.is_empty()).unwrap_or(condition.values())
        });
        of.map(String::as_str).collect::<Vec<&str>>()
    };
    let is_plain = |value: &&str| !value.contains(['*', '?']);
    let host = values("host-header").into_iter().find(is_plain);
    let path = values("path-pattern").into_iter().map(|path| path.strip_suffix('*').unwrap_or(path)).find(is_plain);
    (host, path.filter(|path| path.starts_with('/') && *path != "/"))
}
