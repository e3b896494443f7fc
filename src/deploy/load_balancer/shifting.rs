//! What a load balancer needs for deployments that shift traffic: a second target group, a listener or rule that knows
//! both, and a test listener where one is wanted.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, ForwardActionConfig, Listener, LoadBalancer, TargetGroup, TargetGroupTuple,
};
use serde_json::{Value, json};

use super::{failed, listener, target_group};
use crate::aws::Clients;
use crate::config::{AdvancedPlan, LoadBalancerPlan, Plan};
use crate::deploy::event::{Event, Events, ResourceAction};
use crate::error::{Error, Kind, Result};

/// What there is of it.
pub struct Looked {
    group_name: String,
    group: Option<TargetGroup>,
    /// The production listener, or its rule, by ARN.
    production: Option<String>,
    /// The test listener, and how ECS names it or its rule.
    test: Option<(Listener, Option<String>)>,
}

/// ELB allows 32 characters.
fn alternate_name(group: &str) -> String {
    let end = group.char_indices().nth(30).map_or(group.len(), |(at, _)| at);
    format!("{}-2", group[..end].trim_end_matches('-'))
}

/// Looks and changes nothing. `listener` is the production listener and `group` the first target group, if they are
/// there.
pub async fn look(
    plan: &Plan,
    balancer: &LoadBalancerPlan,
    advanced: &AdvancedPlan,
    (load_balancer, listener): (Option<&LoadBalancer>, Option<&Listener>),
    (group_name, group): (&str, Option<&TargetGroup>),
    network_mode: &str,
    clients: &Clients,
) -> Result<Looked, Vec<Error>> {
    let mut findings = Vec::new();
    let name = advanced.alternate_name.clone().unwrap_or_else(|| alternate_name(group_name));
    let named = advanced.alternate_name.is_some() || advanced.alternate_arn.is_some();
    let alternate = match target_group::find(advanced.alternate_arn.as_deref(), Some(&name), clients).await {
        Ok(found) => found,
        Err(failure) => return Err(vec![failure.error(Kind::Preflight)]),
    };
    match &alternate {
        Some(found) => {
            if !named {
                findings.extend(target_group::owned_by_another(found, plan, clients).await);
            }
            findings.extend(target_group::check(found, balancer, network_mode).err());
        }
        None if !balancer.create || advanced.alternate_arn.is_some() => {
            findings.push(target_group::missing(advanced.alternate_arn.as_deref().unwrap_or(&name)));
        }
        None => {}
    }
    let arns =
        (group.and_then(TargetGroup::target_group_arn), alternate.as_ref().and_then(TargetGroup::target_group_arn));
    let mut production = None;
    if let (Some(listener), (Some(first), alternate)) = (listener, arns) {
        match rule(listener, first, clients).await {
            Ok(found) => {
                let knows = alternate.is_some_and(|alternate| listener::leads(&found.1, alternate));
                if !knows && !balancer.create {
                    findings.push(unknown(listener, &name));
                }
                production = Some(found.0);
            }
            Err(error) => findings.push(error),
        }
    }
    let mut test = None;
    if let (Some(wanted), Some(found)) = (&advanced.test_listener, load_balancer) {
        match listener::of_plan(found, wanted, clients).await {
            Ok(Some(found)) => match rule_of(&found, arns.0, clients).await {
                Ok(name) => test = Some((found, name)),
                Err(error) => findings.push(error),
            },
            Ok(None) => {
                let name = found.load_balancer_name().unwrap_or_default();
                findings.extend(listener::missing(wanted, balancer.create, name));
            }
            Err(error) => findings.push(error),
        }
    }
    match findings.is_empty() {
        true => Ok(Looked { group_name: name, group: alternate, production, test }),
        false => Err(findings),
    }
}

fn unknown(listener: &Listener, group: &str) -> Error {
    let port = listener.port().unwrap_or_default();
    Error::preflight(format!("the listener on port {port} does not know the second target group `{group}`"))
        .hint("add it to the listener's forward action with the weight 0, or let steady do so: `create: true`")
}

/// The ARN that ECS calls a listener rule, and its actions: of a network load balancer the listener's own.
async fn rule(listener: &Listener, group: &str, clients: &Clients) -> Result<(String, Vec<Action>)> {
    if !listener::has_rules(listener) {
        return Ok((listener.listener_arn().unwrap_or_default().to_owned(), listener.default_actions().to_vec()));
    }
    let found = listener::rule_to(listener, group, clients).await?;
    let found = found.ok_or_else(|| {
        let port = listener.port().unwrap_or_default();
        Error::preflight(format!("no rule of the listener on port {port} leads to this service's target group"))
    })?;
    Ok((found.rule_arn.unwrap_or_default(), found.actions.unwrap_or_default()))
}

/// How ECS names a listener that leads to the first target group, if that is there.
async fn rule_of(listener: &Listener, group: Option<&str>, clients: &Clients) -> Result<Option<String>> {
    match group {
        Some(group) => rule(listener, group, clients).await.map(|(arn, _)| Some(arn)),
        None => Ok(None),
    }
}

impl Looked {
    /// `advancedConfiguration`, as far as it is there.
    pub fn attached(&self, advanced: &AdvancedPlan) -> Value {
        let arn = self.group.as_ref().and_then(TargetGroup::target_group_arn).map(str::to_owned);
        let mut attached = json!({
            "alternateTargetGroupArn": arn.unwrap_or_else(|| format!("{} (new)", self.group_name)),
            "productionListenerRule": self.production.as_deref().unwrap_or("(new)"),
            "roleArn": advanced.role,
        });
        if advanced.test_listener.is_some() {
            let arn = self.test.as_ref().and_then(|(_, arn)| arn.as_deref());
            attached["testListenerRule"] = arn.unwrap_or("(new)").into();
        }
        attached
    }

    pub fn creates(&self, advanced: &AdvancedPlan) -> Vec<String> {
        let group = self.group.is_none().then(|| format!("target group {}", self.group_name));
        let test = advanced.test_listener.as_ref().filter(|_| self.test.is_none());
        let test = test.map(|listener| format!("listener {}:{}", listener.protocol, listener.port));
        group.into_iter().chain(test).collect()
    }

    /// The second target group, created when it is missing.
    pub async fn group(
        &self,
        plan: &Plan,
        balancer: &LoadBalancerPlan,
        vpc: &str,
        ports: (&str, u16),
        clients: &Clients,
        events: &Events,
    ) -> Result<String> {
        let group = match &self.group {
            Some(group) => group.clone(),
            None => target_group::create(plan, balancer, &self.group_name, vpc, ports, clients, events).await?,
        };
        target_group::settle(&group, balancer, clients, events).await?;
        Ok(group.target_group_arn().unwrap_or_default().to_owned())
    }
}

/// `advancedConfiguration` with all that it names in place; `groups` are the first target group and the second.
pub async fn ensure(
    plan: &Plan,
    advanced: &AdvancedPlan,
    looked: &Looked,
    (load_balancer, production): (&str, &Listener),
    groups: [&str; 2],
    clients: &Clients,
    events: &Events,
) -> Result<Value> {
    let mut attached = json!({ "alternateTargetGroupArn": groups[1], "roleArn": advanced.role });
    attached["productionListenerRule"] = acquaint(production, groups, clients, events).await?.into();
    if let Some(wanted) = &advanced.test_listener {
        let listener = match &looked.test {
            Some((found, _)) => found.clone(),
            None => listener::create(plan, wanted, load_balancer, &groups, clients, events).await?,
        };
        attached["testListenerRule"] = acquaint(&listener, groups, clients, events).await?.into();
    }
    Ok(attached)
}

/// Has a listener know the second target group beside the first: ECS shifts only weights that are there.
async fn acquaint(listener: &Listener, groups: [&str; 2], clients: &Clients, events: &Events) -> Result<String> {
    let (arn, actions) = rule(listener, groups[0], clients).await?;
    if listener::leads(&actions, groups[1]) {
        return Ok(arn);
    }
    let updated = |kind: &str| {
        let id = format!("{}", listener.port().unwrap_or_default());
        events.emit(Event::Resource { action: ResourceAction::Updated, kind: kind.into(), id });
    };
    // What an action before it does, such as to authenticate, stays.
    let mut kept: Vec<Action> =
        actions.into_iter().filter(|one| one.r#type() != Some(&ActionTypeEnum::Forward)).collect();
    let mut action = forward(&groups);
    action.order = (!kept.is_empty()).then_some(kept.len() as i32 + 1);
    kept.push(action);
    let is_default = listener::leads(listener.default_actions(), groups[0]);
    if is_default || !listener::has_rules(listener) {
        let of = listener.listener_arn().unwrap_or_default();
        let call = clients.elbv2.modify_listener().listener_arn(of).set_default_actions(Some(kept));
        call.send().await.map_err(|error| failed("ModifyListener", error))?;
        updated("listener");
    } else {
        let call = clients.elbv2.modify_rule().rule_arn(&arn).set_actions(Some(kept));
        call.send().await.map_err(|error| failed("ModifyRule", error))?;
        updated("listener rule");
    }
    Ok(arn)
}

/// Forwards everything to the first group; others are known, and get nothing yet.
pub fn forward(groups: &[&str]) -> Action {
    let action = Action::builder().r#type(ActionTypeEnum::Forward);
    if let [only] = groups {
        return action.target_group_arn(*only).build();
    }
    let tuple = |(at, arn): (usize, &&str)| {
        TargetGroupTuple::builder().target_group_arn(*arn).weight(if at == 0 { 1 } else { 0 }).build()
    };
    let config = ForwardActionConfig::builder().set_target_groups(Some(groups.iter().enumerate().map(tuple).collect()));
    action.forward_config(config.build()).build()
}
