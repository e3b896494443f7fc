//! Rules of an application load balancer's listeners, in the order of their priority.

use serde_json::{Value, json};

use super::{
    Action, LoadBalancerType, Rule, Scope, actions, conditions, limits, listeners, listing, load_balancers, page, tags,
};
use crate::lab::api::{ApiError, ApiResult, random_hex};
use crate::lab::input::Input;
use crate::lab::state::State;

pub(super) fn create(state: &mut State, scope: &Scope, input: Input) -> ApiResult {
    let listener = listeners::find(state, input.required("ListenerArn")?)?;
    let load_balancer = load_balancers::find(state, &listener.load_balancer_arn)?;
    if load_balancer.kind == LoadBalancerType::Network {
        return Err(ApiError::new(
            "InvalidConfigurationRequest",
            "Rules are unsupported for the listeners of a network load balancer",
        ));
    }
    let priority = input.number_in("Priority", 1..=50_000)?;
    let priority = priority.ok_or_else(|| input.error("A rule priority must be specified"))? as u32;
    if listener.rules.iter().any(|rule| rule.priority == Some(priority)) {
        return Err(ApiError::new("PriorityInUse", format!("Priority '{priority}' is currently in use")));
    }
    let own = state.elbv2.listeners.iter().filter(|of| of.load_balancer_arn == listener.load_balancer_arn);
    if own.map(|of| of.rules.len() - 1).sum::<usize>() >= limits::RULES {
        return Err(ApiError::new("TooManyRules", "You've reached the limit on the number of rules per load balancer"));
    }
    let path = listener.arn.split_once(":listener/").map_or("", |(_, path)| path);
    let rule = Rule {
        arn: scope.arn(&format!("listener-rule/{path}/{}", random_hex(16))),
        priority: Some(priority),
        conditions: conditions::conditions(input)?,
        action: actions::action(state, load_balancer, input, "Actions")?,
        tags: tags::given(input, "ValidationError")?,
    };
    let reply = json!({ "Rules": [describe_one(&rule)] });
    let arn = listener.arn.clone();
    let rules = &mut listeners::find_mut(state, &arn)?.rules;
    rules.push(rule);
    rules.sort_by_key(|rule| rule.priority.unwrap_or(u32::MAX));
    Ok(reply)
}

pub(super) fn modify(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let arn = input.required("RuleArn")?;
    let (listener_arn, _) = find(state, arn)?;
    let listener = listeners::find(state, &listener_arn)?;
    let load_balancer = load_balancers::find(state, &listener.load_balancer_arn)?;
    let action = match input.list("Actions").is_empty() {
        true => None,
        false => Some(actions::action(state, load_balancer, input, "Actions")?),
    };
    let conditions = match input.list("Conditions").is_empty() {
        true => None,
        false => Some(conditions::conditions(input)?),
    };
    let rules = &mut listeners::find_mut(state, &listener_arn)?.rules;
    let rule = rules.iter_mut().find(|rule| rule.arn == arn).ok_or_else(not_found)?;
    if conditions.is_some() && rule.priority.is_none() {
        return Err(ApiError::new("OperationNotPermitted", format!("Default rule '{arn}' cannot have conditions")));
    }
    rule.action = action.unwrap_or_else(|| rule.action.clone());
    rule.conditions = conditions.unwrap_or_else(|| rule.conditions.clone());
    Ok(json!({ "Rules": [describe_one(rule)] }))
}

pub(super) fn set_priorities(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let mut wanted: Vec<(String, &str, u32)> = Vec::new();
    for pair in input.list("RulePriorities") {
        let arn = pair.required("RuleArn")?;
        let (listener, rule) = find(state, arn)?;
        if rule.priority.is_none() {
            return Err(ApiError::new("OperationNotPermitted", format!("Default rule '{arn}' cannot have a priority")));
        }
        let priority = pair.number_in("Priority", 1..=50_000)?;
        wanted.push((listener, arn, priority.ok_or_else(|| input.error("A rule priority must be specified"))? as u32));
    }
    if wanted.is_empty() {
        return Err(input.error("At least one rule priority must be specified"));
    }
    // All of them at once, so that two rules can change places.
    let mut after = state.elbv2.listeners.clone();
    for (_, arn, priority) in &wanted {
        let mut rules = after.iter_mut().flat_map(|listener| &mut listener.rules);
        if let Some(rule) = rules.find(|rule| rule.arn == *arn) {
            rule.priority = Some(*priority);
        }
    }
    for listener in after.iter_mut().filter(|listener| wanted.iter().any(|(of, ..)| *of == listener.arn)) {
        listener.rules.sort_by_key(|rule| rule.priority.unwrap_or(u32::MAX));
        let twice = listener.rules.windows(2).find(|two| two[0].priority == two[1].priority);
        if let Some(priority) = twice.and_then(|two| two[0].priority) {
            return Err(ApiError::new("PriorityInUse", format!("Priority '{priority}' is currently in use")));
        }
    }
    state.elbv2.listeners = after;
    let rules: Vec<Value> = wanted
        .iter()
        .map(|(_, arn, _)| find(state, arn).map(|(_, rule)| describe_one(rule)))
        .collect::<Result<_, _>>()?;
    Ok(json!({ "Rules": rules }))
}

pub(super) fn describe(state: &State, _: &Scope, input: Input) -> ApiResult {
    let mut found = Vec::new();
    let arns = input.texts("RuleArns");
    for arn in &arns {
        found.push(find(state, arn)?.1);
    }
    if let Some(listener) = input.text("ListenerArn") {
        found.extend(&listeners::find(state, listener)?.rules);
    } else if arns.is_empty() {
        return Err(input.error("You must specify either rule ARNs or a listener ARN"));
    }
    let (found, next) = page(input, found)?;
    Ok(listing("Rules", found.into_iter().map(describe_one).collect(), next))
}

pub(super) fn delete(state: &mut State, _: &Scope, input: Input) -> ApiResult {
    let arn = input.required("RuleArn")?;
    let (listener, rule) = find(state, arn)?;
    if rule.priority.is_none() {
        return Err(ApiError::new("OperationNotPermitted", format!("Default rule '{arn}' cannot be deleted")));
    }
    listeners::find_mut(state, &listener)?.rules.retain(|rule| rule.arn != arn);
    Ok(json!({}))
}

/// A rule, and the ARN of the listener that it belongs to.
fn find<'a>(state: &'a State, arn: &str) -> Result<(String, &'a Rule), ApiError> {
    state
        .elbv2
        .listeners
        .iter()
        .find_map(|listener| {
            let rule = listener.rules.iter().find(|rule| rule.arn == arn)?;
            Some((listener.arn.clone(), rule))
        })
        .ok_or_else(not_found)
}

/// What a rule, or the default action of a listener, forwards to, with the weights; `None` when there is no such one.
pub fn forwards(state: &State, arn: &str) -> Option<Vec<(String, u32)>> {
    let mut listeners = state.elbv2.listeners.iter();
    let action = listeners.find_map(|listener| match listener.arn == arn {
        true => listener.default_action(),
        false => listener.rules.iter().find(|rule| rule.arn == arn).map(|rule| &rule.action),
    });
    action.map(|action| action.target_groups().to_vec())
}

/// Gives these target groups these weights in a rule, or in the default action of a listener. Others keep theirs.
pub fn set_weights(state: &mut State, arn: &str, weights: &[(&str, u32)]) {
    let mut listeners = state.elbv2.listeners.iter_mut();
    let rule = listeners.find_map(|listener| match listener.arn == arn {
        true => listener.rules.last_mut(),
        false => listener.rules.iter_mut().find(|rule| rule.arn == arn),
    });
    let Some(rule) = rule else { return };
    let mut groups = rule.action.target_groups().to_vec();
    let sticky = rule.action.sticky();
    for (group, weight) in weights {
        match groups.iter_mut().find(|(known, _)| known == group) {
            Some((_, known)) => *known = *weight,
            None => groups.push(((*group).to_owned(), *weight)),
        }
    }
    rule.action = Action::Forward { groups, sticky };
}

fn not_found() -> ApiError {
    ApiError::new("RuleNotFound", "One or more rules not found")
}

fn describe_one(rule: &Rule) -> Value {
    let conditions: Vec<Value> = rule.conditions.iter().map(conditions::describe).collect();
    json!({
        "RuleArn": rule.arn,
        "Priority": rule.priority.map_or_else(|| "default".to_owned(), |priority| priority.to_string()),
        "Conditions": conditions,
        "Actions": [actions::describe_action(&rule.action)],
        "IsDefault": rule.priority.is_none(),
    })
}
