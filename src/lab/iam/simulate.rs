//! SimulatePrincipalPolicy: what the policies of a role say of actions, with what their conditions look at as far as the
//! request tells it.
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Role, listing, no_such, permissions, policy};
use crate::lab::Settings;
use crate::lab::api::{ApiError, ApiResult};
use crate::lab::input::Input;
use crate::lab::pattern;
use crate::lab::state::State;

/// Keys of conditions in lower case, and their values.
type Context<'a> = BTreeMap<String, Vec<&'a str>>;

/// What is decided of one action on one resource.
struct Decision {
    said: &'static str,
    missing: BTreeSet<String>,
}

pub(super) fn principal(state: &State, settings: &Settings, input: Input) -> ApiResult {
    let source = input.required("PolicySourceArn")?;
    let role = match source == settings.caller() {
        // The lab's user, who may do everything.
        true => None,
        false => Some(find(state, source)?),
    };
    let resources = match input.texts("ResourceArns") {
        given if given.is_empty() => vec!["*"],
        given => given,
    };
    let context: Context = input
        .list("ContextEntries")
        .into_iter()
        .filter_map(|entry| Some((entry.text("ContextKeyName")?.to_lowercase(), entry.texts("ContextKeyValues"))))
        .collect();
    let results = input.texts("ActionNames").into_iter().map(|action| {
        let decisions: Vec<(&str, Decision)> =
            resources.iter().map(|resource| (*resource, decide(role, action, resource, &context))).collect();
        view(action, &decisions)
    });
    listing(input, "EvaluationResults", results.collect())
}

fn find<'s>(state: &'s State, arn: &str) -> Result<&'s Role, ApiError> {
    if !arn.starts_with("arn:") || !arn.contains(":iam::") {
        return Err(ApiError::new("InvalidInput", format!("Invalid Entity Arn: {arn}")));
    }
    let name = arn.rsplit('/').next().unwrap_or_default();
    let found = state.iam.roles.values().find(|role| role.arn == arn);
    found.ok_or_else(|| no_such(format!("The role with name {name} cannot be found.")))
}

/// The most restrictive decision is that of all resources together.
fn view(action: &str, decisions: &[(&str, Decision)]) -> Value {
    let rank = |said: &str| ["allowed", "implicitDeny", "explicitDeny"].iter().position(|of| *of == said);
    let worst = decisions.iter().map(|(_, decision)| decision.said).max_by_key(|said| rank(said));
    let mut view = json!({
        "EvalActionName": action,
        "EvalResourceName": "*",
        "EvalDecision": worst.unwrap_or("implicitDeny"),
        "MatchedStatements": [],
        "MissingContextValues": [],
    });
    if let [("*", decision)] = decisions {
        view["MissingContextValues"] = json!(decision.missing);
        return view;
    }
    if let [(resource, _)] = decisions {
        view["EvalResourceName"] = json!(resource);
    }
    let specific = decisions.iter().map(|(resource, decision)| {
        json!({
            "EvalResourceName": resource,
            "EvalResourceDecision": decision.said,
            "MatchedStatements": [],
            "MissingContextValues": decision.missing,
        })
    });
    view["ResourceSpecificResults"] = specific.collect();
    view
}

fn decide(role: Option<&Role>, action: &str, resource: &str, context: &Context) -> Decision {
    let mut decision = Decision { said: "allowed", missing: BTreeSet::new() };
    let Some(role) = role else { return decision };
    let mut allowed = permissions::managed_allow(role, action);
    for statement in role.policies.values().flat_map(|document| policy::statements(document)) {
        let about =
            policy::takes(&statement, "Action", action, true) && policy::takes(&statement, "Resource", resource, false);
        if !about || !conditions_hold(&statement["Condition"], context, &mut decision.missing) {
            continue;
        }
        if statement["Effect"] == "Deny" {
            decision.said = "explicitDeny";
            return decision;
        }
        allowed = true;
    }
    if !allowed {
        decision.said = "implicitDeny";
    }
    decision
}

/// Whether all conditions hold. A key that the request does not tell is missing, and holds only where it may be absent.
fn conditions_hold(conditions: &Value, context: &Context, missing: &mut BTreeSet<String>) -> bool {
    let mut all = true;
    for (operator, keys) in conditions.as_object().into_iter().flatten() {
        for (key, wanted) in keys.as_object().into_iter().flatten() {
            all &= match context.get(&key.to_lowercase()) {
                Some(values) => holds(operator, values, &policy::texts(wanted)),
                None => {
                    missing.insert(key.clone());
                    operator.ends_with("IfExists") || negates(operator)
                }
            };
        }
    }
    all
}

fn negates(operator: &str) -> bool {
    operator.contains("Not")
}

/// Texts, ARNs and booleans; what compares numbers, dates and addresses does not hold here.
fn holds(operator: &str, values: &[&str], wanted: &[&str]) -> bool {
    let plain = operator.trim_end_matches("IfExists");
    let plain = plain.split_once(':').map_or(plain, |(_, of_set)| of_set);
    let matches = |value: &str, wanted: &str| match plain.replace("Not", "").as_str() {
        "StringEquals" => value == wanted,
        "StringEqualsIgnoreCase" | "Bool" => value.eq_ignore_ascii_case(wanted),
        "StringLike" | "ArnLike" | "ArnEquals" => pattern::matches(wanted, value),
        _ => false,
    };
    let any = values.iter().any(|value| wanted.iter().any(|wanted| matches(value, wanted)));
    any != negates(plain)
}
