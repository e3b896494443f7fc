//! What an application load balancer does with a request, by its listener's rules.

use std::net::IpAddr;

use hyper::{HeaderMap, Method};

use crate::lab::elbv2::{self, Action, Condition, Rule};
use crate::lab::pattern;

/// A request, as far as rules look at it.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    /// Host header, with or without a port.
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) peer: IpAddr,
}

/// The action of the first rule that matches; rules are in the order of their priority, the default one last.
pub(super) fn choose<'a>(rules: &'a [Rule], asked: &Asked) -> Option<&'a Action> {
    let matches = |rule: &&Rule| rule.conditions.iter().all(|condition| holds(condition, asked));
    rules.iter().find(matches).map(|rule| &rule.action)
}

fn holds(condition: &Condition, asked: &Asked) -> bool {
    match condition {
        Condition::PathPattern(patterns) => patterns.iter().any(|pattern| pattern::matches(pattern, asked.path)),
        Condition::HostHeader(patterns) => {
            let host = host_name(asked.host).to_lowercase();
            patterns.iter().any(|pattern| pattern::matches(&pattern.to_lowercase(), &host))
        }
        Condition::QueryString(wanted) => {
            let pairs: Vec<(String, String)> = url::form_urlencoded::parse(asked.query.as_bytes())
                .map(|(key, value)| (key.to_lowercase(), value.to_lowercase()))
                .collect();
            wanted.iter().any(|(key, value)| {
                let is = |pattern: &str, text: &str| pattern::matches(&pattern.to_lowercase(), text);
                pairs.iter().any(|(k, v)| key.as_ref().is_none_or(|key| is(key, k)) && is(value, v))
            })
        }
        Condition::HttpHeader { name, values } => {
            let all = asked.headers.get_all(name.as_str()).into_iter().filter_map(|value| value.to_str().ok());
            let mut all = all.map(str::to_lowercase);
            all.any(|text| values.iter().any(|pattern| pattern::matches(&pattern.to_lowercase(), &text)))
        }
        Condition::SourceIp(networks) => networks.iter().any(|network| contains(network, asked.peer)),
        Condition::Method(methods) => methods.iter().any(|method| method == asked.method.as_str()),
    }
}

fn contains(network: &str, address: IpAddr) -> bool {
    match (elbv2::network(network), address) {
        (Some((IpAddr::V4(of), length)), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            u32::from(of) & mask == u32::from(address) & mask
        }
        (Some((IpAddr::V6(of), length)), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            u128::from(of) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}

fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The group whose turn it is; `turn` counts up.
pub(super) fn weighted(groups: &[(String, u32)], turn: impl FnOnce() -> usize) -> Option<&str> {
    if let [(only, weight)] = groups {
        return (*weight > 0).then_some(only.as_str());
    }
    let total: usize = groups.iter().map(|(_, weight)| *weight as usize).sum();
    if total == 0 {
        return None;
    }
    let mut at = turn() % total;
    for (group, weight) in groups {
        match at.checked_sub(*weight as usize) {
            None => return Some(group),
            Some(rest) => at = rest,
        }
    }
    None
}

/// Where a redirect leads: its parts with the request's put in.
pub(super) fn location(action: &Action, asked: &Asked, listener_port: u16) -> Option<String> {
    let Action::Redirect { protocol, host, port, path, query, .. } = action else { return None };
    let expand = |part: &str| {
        part.replace("#{protocol}", "http")
            .replace("#{host}", host_name(asked.host))
            .replace("#{port}", &listener_port.to_string())
            .replace("#{path}", asked.path.trim_start_matches('/'))
            .replace("#{query}", asked.query)
    };
    let (protocol, query) = (expand(protocol).to_lowercase(), expand(query));
    let separator = if query.is_empty() { "" } else { "?" };
    Some(format!("{protocol}://{}:{}{}{separator}{query}", expand(host), expand(port), expand(path)))
}
