//! Policy documents: whether they are any, and what their statements say.

use serde_json::Value;

use crate::lab::api::ApiError;
use crate::lab::pattern;

fn malformed(message: &str) -> ApiError {
    ApiError::new("MalformedPolicyDocument", message)
}

/// Whether it is a policy that says what may be done.
pub fn check(document: &str) -> Result<(), ApiError> {
    for statement in parse(document)? {
        statement_is_one(&statement)?;
        if statement.get("Principal").is_some() || statement.get("NotPrincipal").is_some() {
            return Err(malformed("Policy document should not specify a principal."));
        }
        if statement.get("Resource").is_none() && statement.get("NotResource").is_none() {
            return Err(malformed("Policy statement must contain resources."));
        }
    }
    Ok(())
}

/// Whether it is a policy that says who may take a role.
pub fn check_trust(document: &str) -> Result<(), ApiError> {
    for statement in parse(document)? {
        statement_is_one(&statement)?;
        if statement.get("Principal").is_none() && statement.get("NotPrincipal").is_none() {
            return Err(malformed("AssumeRole policy must contain a principal."));
        }
        if statement.get("Resource").is_some() {
            return Err(malformed("Has prohibited field Resource"));
        }
    }
    Ok(())
}

fn statement_is_one(statement: &Value) -> Result<(), ApiError> {
    if !matches!(statement["Effect"].as_str(), Some("Allow" | "Deny")) {
        return Err(malformed("Syntax errors in policy."));
    }
    if statement.get("Action").is_none() && statement.get("NotAction").is_none() {
        return Err(malformed("Policy statement must contain actions."));
    }
    Ok(())
}

fn parse(document: &str) -> Result<Vec<Value>, ApiError> {
    let document: Value = serde_json::from_str(document).map_err(|_| malformed("This policy contains invalid Json"))?;
    if let Some(version) = document.get("Version")
        && version != "2012-10-17"
        && version != "2008-10-17"
    {
        return Err(malformed("Syntax errors in policy."));
    }
    match &document["Statement"] {
        Value::Array(statements) if !statements.is_empty() => Ok(statements.clone()),
        statement @ Value::Object(_) => Ok(vec![statement.clone()]),
        _ => Err(malformed("Syntax errors in policy.")),
    }
}

/// The statements of a document that was checked when it came.
pub fn statements(document: &str) -> Vec<Value> {
    parse(document).unwrap_or_default()
}

/// Whether a member such as `Action`, a pattern or a list of them, or else its contrary, takes this.
pub fn takes(statement: &Value, member: &str, what: &str, any_case: bool) -> bool {
    let is_of = |patterns: &Value| {
        texts(patterns).into_iter().any(|wanted| match any_case {
            true => pattern::matches(&wanted.to_lowercase(), &what.to_lowercase()),
            false => pattern::matches(wanted, what),
        })
    };
    match (statement.get(member), statement.get(format!("Not{member}"))) {
        (Some(patterns), _) => is_of(patterns),
        (None, Some(patterns)) => !is_of(patterns),
        (None, None) => false,
    }
}

/// A text, or the texts of a list.
pub fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}
