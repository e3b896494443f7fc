//! The two target groups of each load balancer, and how its listeners divide traffic between them.

use serde_json::{Map, Value};

use crate::lab::{elbv2, state::State};

/// All of a listener's traffic, in tenths of a percent.
pub(super) const ALL: u32 = 1000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    Production,
    Test,
}

/// A load balancer with `advancedConfiguration`.
struct Route<'s> {
    groups: [&'s str; 2],
    production: &'s str,
    test: Option<&'s str>,
}

impl<'s> Route<'s> {
    fn other(&self, group: &str) -> &'s str {
        if self.groups[0] == group { self.groups[1] } else { self.groups[0] }
    }
}

fn routes(settings: &Map<String, Value>) -> Vec<Route<'_>> {
    let balancers = settings.get("loadBalancers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let route = |balancer: &'_ Value| balancer["advancedConfiguration"].is_object();
    let with_two = balancers.iter().filter(|balancer| route(balancer));
    with_two
        .map(|balancer| {
            let advanced = &balancer["advancedConfiguration"];
            Route {
                groups: [
                    balancer["targetGroupArn"].as_str().unwrap_or_default(),
                    advanced["alternateTargetGroupArn"].as_str().unwrap_or_default(),
                ],
                production: advanced["productionListenerRule"].as_str().unwrap_or_default(),
                test: advanced["testListenerRule"].as_str(),
            }
        })
        .collect()
}

/// Whether there are such listeners.
pub(super) fn has(settings: &Map<String, Value>, listener: Listener) -> bool {
    routes(settings).iter().any(|route| listener == Listener::Production || route.test.is_some())
}

/// The target groups that `targetGroupArn` names, of those that have another.
pub(super) fn first_groups(settings: &Map<String, Value>) -> Vec<String> {
    routes(settings).iter().map(|route| route.groups[0].to_owned()).collect()
}

/// The target groups for a new revision: those that serve no production traffic now.
///
/// # Errors
///
/// Why the listeners do not allow for a shift, in ECS's words.
pub(super) fn idle_groups(state: &State, settings: &Map<String, Value>) -> Result<Vec<String>, String> {
    const WHY: &str = "Service deployment rolled back because of invalid networking configuration";
    let mut idle = Vec::new();
    for route in routes(settings) {
        let what = if route.production.contains(":listener-rule/") { "rules" } else { "listeners" };
        let production =
            elbv2::forwards(state, route.production).ok_or_else(|| format!("{WHY}. One or more {what} not found"))?;
        let test = route.test.and_then(|test| elbv2::forwards(state, test)).unwrap_or_default();
        let mut serving = production.iter().filter(|(_, weight)| *weight > 0).map(|(group, _)| group.as_str());
        let live = serving.next();
        let others = serving.count();
        if others > 0 {
            return Err(format!(
                "{WHY}. productionListenerRule {} should have exactly one target group serving traffic but found {} target groups which are serving traffic",
                route.production,
                others + 1
            ));
        }
        if let Some(live) = live.filter(|live| !route.groups.contains(live)) {
            return Err(format!(
                "{WHY}. Production listener rule is forwarding traffic to unexpected target group {live}. Expected traffic to be forwarded to either targetGroupArn: {} or alternateTargetGroupArn: {}",
                route.groups[0], route.groups[1]
            ));
        }
        let associated = |group: &&str| production.iter().chain(&test).any(|(known, _)| known == group);
        if let Some(group) = route.groups.iter().find(|group| !associated(group)) {
            return Err(format!(
                "{WHY}: Target group {group} is not associated with either productionListenerRule or testListenerRule."
            ));
        }
        idle.push(live.map_or(route.groups[0], |live| route.other(live)).to_owned());
    }
    Ok(idle)
}

/// Gives `groups`, one for each load balancer, this much of its traffic, and the rest to the others.
pub(super) fn divide(
    state: &mut State,
    settings: &Map<String, Value>,
    groups: &[String],
    listener: Listener,
    tenths: u32,
) {
    for (route, group) in routes(settings).iter().zip(groups) {
        let rule = match listener {
            Listener::Production => Some(route.production),
            Listener::Test => route.test,
        };
        let Some(rule) = rule else { continue };
        // A weight is at most 999.
        let (part, whole) = if tenths.is_multiple_of(10) { (tenths / 10, ALL / 10) } else { (tenths, ALL) };
        elbv2::set_weights(state, rule, &[(route.other(group), whole - part), (group, part)]);
    }
}
