//! The deployment strategy: what the project file says of `deploymentConfiguration`, put into the service document.

use serde_json::{Map, Value};

use super::decide::{covers, live_member};
use crate::aws::reply::{list, optional};
use crate::config::{DeploymentPlan, LoadBalancerPlan};
use crate::error::{Error, Result};

/// Adds what the plan says; two places that say different things of one member are an error.
pub fn put(service: &mut Value, plan: &DeploymentPlan) -> Result<()> {
    if plan.members.is_empty() {
        return Ok(());
    }
    if !service["deploymentConfiguration"].is_object() {
        service["deploymentConfiguration"] = Value::Object(Map::new());
    }
    let Some(configuration) = service["deploymentConfiguration"].as_object_mut() else { return Ok(()) };
    let mut findings = Vec::new();
    for (member, value) in &plan.members {
        match configuration.get(member) {
            Some(other) if !(covers(other, value) && covers(value, other)) => {
                let error = Error::input(format!(
                    "the service document's `deploymentConfiguration.{member}` says otherwise: {other}"
                ))
                .hint("say it in one of the two places");
                findings.push(match plan.places.get(member) {
                    Some(place) => error.at(&place.source, place.span.clone(), None),
                    None => error,
                });
            }
            _ => {
                configuration.insert(member.clone(), value.clone());
            }
        }
    }
    Error::all(findings).map_or(Ok(()), Err)
}

/// The strategy that a service's `deploymentConfiguration` names, as ECS spells it.
pub fn of(service: &Value) -> Option<&str> {
    optional(&service["deploymentConfiguration"], "strategy")
}

/// Why ECS would refuse the strategy: it shifts traffic between two target groups, and only one is named.
pub fn refusal(service: &Value, live: Option<&Value>, balancer: Option<&LoadBalancerPlan>) -> Option<Error> {
    let live = live.unwrap_or(&Value::Null);
    let strategy = of(service).or(of(live))?;
    let attached = [service, live].map(|one| list(one, "loadBalancers")).into_iter().find(|found| !found.is_empty());
    let attached = attached.unwrap_or_default();
    if !matches!(strategy, "BLUE_GREEN" | "CANARY" | "LINEAR") {
        return None;
    }
    let alone = match balancer {
        Some(balancer) => balancer.advanced.is_none(),
        None => attached.iter().any(|one| !one["advancedConfiguration"].is_object()),
    };
    let connected = [service, live].iter().any(|one| {
        let connect = live_member(one, "serviceConnectConfiguration");
        connect["enabled"] == true
    });
    if balancer.is_none() && attached.is_empty() && !connected && strategy != "BLUE_GREEN" {
        return Some(
            Error::preflight(format!("the strategy {strategy} needs a load balancer whose traffic it shifts"))
                .hint("name one below `load_balancer:`, or in the service document's `loadBalancers`"),
        );
    }
    alone.then(|| {
        Error::preflight(format!("the strategy {strategy} shifts traffic between two target groups, and one is named"))
            .hint(match balancer {
                Some(_) => "add `advanced_configuration: { role: arn:aws:iam::…:role/… }` below `load_balancer:`: steady makes the other",
                None => "add `advancedConfiguration` to the service document's `loadBalancers`",
            })
    })
}
