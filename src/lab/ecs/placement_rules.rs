//! What ECS refuses of placement constraints and strategies. Where its words are not known they are inferred.

use serde_json::{Map, Value};

use super::{expression, request::invalid};
use crate::lab::api::ApiError;

const MOST_CONSTRAINTS: usize = 10;
const MOST_STRATEGIES: usize = 5;

fn items<'v>(settings: &'v Map<String, Value>, member: &str) -> &'v [Value] {
    settings.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Of RunTask, or of a service.
pub fn check(settings: &Map<String, Value>, launch_type: &str) -> Result<(), ApiError> {
    let (constraints, strategy) = (items(settings, "placementConstraints"), items(settings, "placementStrategy"));
    if launch_type == "FARGATE" {
        let what = if !constraints.is_empty() { "constraints" } else { "strategies" };
        if !constraints.is_empty() || !strategy.is_empty() {
            return Err(invalid(format!("Placement {what} are not supported with FARGATE launch type.")));
        }
    }
    if !strategy.is_empty() && settings.get("schedulingStrategy").is_some_and(|of| of == "DAEMON") {
        return Err(invalid("The daemon scheduling strategy does not support placement strategies."));
    }
    if constraints.len() > MOST_CONSTRAINTS {
        return Err(invalid(format!("Only up to {MOST_CONSTRAINTS} placement constraints can be specified.")));
    }
    if strategy.len() > MOST_STRATEGIES {
        return Err(invalid(format!("Only up to {MOST_STRATEGIES} placement strategies can be specified.")));
    }
    constraints.iter().try_for_each(constraint)?;
    strategy.iter().try_for_each(rule)
}

/// One of a service, of RunTask or of a task definition.
pub fn constraint(constraint: &Value) -> Result<(), ApiError> {
    let expression = constraint["expression"].as_str().filter(|text| !text.is_empty());
    match (constraint["type"].as_str(), expression) {
        (Some("distinctInstance"), None) => Ok(()),
        (Some("distinctInstance"), Some(_)) => {
            Err(invalid("An expression cannot be specified for the placement constraint distinctInstance."))
        }
        (Some("memberOf"), Some(text)) if expression::parse(text).is_some() => Ok(()),
        (Some("memberOf"), Some(text)) => Err(invalid(format!("Invalid expression in a placement constraint: {text}"))),
        (Some("memberOf"), None) => Err(invalid("The placement constraint memberOf needs an expression.")),
        _ => Err(invalid("A placement constraint's type must be distinctInstance or memberOf.")),
    }
}

fn rule(rule: &Value) -> Result<(), ApiError> {
    let field = rule["field"].as_str().unwrap_or_default();
    let lower = field.to_ascii_lowercase();
    let fits = match rule["type"].as_str() {
        Some("random") => field.is_empty(),
        Some("binpack") => ["cpu", "memory"].contains(&lower.as_str()),
        Some("spread") => {
            ["instanceid", "host"].contains(&lower.as_str())
                || lower.strip_prefix("attribute:").is_some_and(|name| !name.is_empty())
        }
        _ => return Err(invalid("A placement strategy's type must be random, spread or binpack.")),
    };
    let kind = rule["type"].as_str().unwrap_or_default();
    if fits { Ok(()) } else { Err(invalid(format!("Invalid field '{field}' for the placement strategy {kind}."))) }
}
