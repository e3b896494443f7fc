//! A repository's policy, as `ecr:SetRepositoryPolicy` takes it: a JSON document of IAM's, whose words no shape knows.

use serde_json::{Map, Value};

use super::checks;
use super::draft::Draft;
use super::parse::{escape, parse};
use crate::error::{Error, Result, SourceText, nearest};

const DOCUMENT: [&str; 3] = ["Version", "Id", "Statement"];
const STATEMENT: [&str; 9] =
    ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];

/// The policy document from its template or file. Everything that is wrong is reported at once.
pub(super) fn repository_policy(rendered: &SourceText) -> Result<Value> {
    let document = parse(rendered)?;
    let Some(members) = document.value.as_object() else {
        let error = document.error_at("", "a repository policy is one JSON object", None);
        return Err(error.hint("write { \"Version\": \"2012-10-17\", \"Statement\": [ … ] }"));
    };
    let mut draft = Draft::new(&document, members.clone());
    let mut errors = Vec::new();
    known(&draft, "", members, &DOCUMENT, &mut errors);
    match members.get("Statement") {
        Some(Value::Array(statements)) => {
            for (at, one) in statements.iter().enumerate() {
                statement(&draft, &format!("/Statement/{at}"), one, &mut errors);
            }
        }
        Some(one) => statement(&draft, "/Statement", one, &mut errors),
        None if errors.is_empty() => {
            errors.push(draft.error_at("", "the policy has no \"Statement\"", None).hint("add \"Statement\": [ … ]"));
        }
        None => {}
    }
    draft.errors.append(&mut errors);
    checks::strings(&mut draft);
    match Error::all(draft.errors) {
        Some(error) => Err(error),
        None => Ok(draft.value),
    }
}

fn statement(draft: &Draft<'_>, pointer: &str, statement: &Value, errors: &mut Vec<Error>) {
    let Some(members) = statement.as_object() else {
        let error = draft.error_at(pointer, "a statement of a policy is an object", None);
        errors.push(error.hint("write { \"Sid\": …, \"Effect\": \"Allow\", \"Principal\": …, \"Action\": … }"));
        return;
    };
    let before = errors.len();
    known(draft, pointer, members, &STATEMENT, errors);
    if let Some(effect) = members.get("Effect").filter(|effect| !matches!(effect.as_str(), Some("Allow" | "Deny"))) {
        let error = draft.error_at(&format!("{pointer}/Effect"), format!("{effect} is not an effect"), None);
        let meant = nearest(effect.as_str().unwrap_or_default(), ["Allow", "Deny"]);
        errors.push(match meant {
            Some(meant) => error.hint(format!("did you mean {meant:?}?")),
            None => error.hint("it is \"Allow\" or \"Deny\""),
        });
    }
    for action in ["Action", "NotAction"] {
        match members.get(action) {
            Some(Value::Array(actions)) => {
                for (at, one) in actions.iter().enumerate() {
                    action_of(draft, &format!("{pointer}/{action}/{at}"), one, errors);
                }
            }
            Some(one) => action_of(draft, &format!("{pointer}/{action}"), one, errors),
            None => {}
        }
    }
    if errors.len() > before {
        return;
    }
    for (needed, or) in [("Effect", "Effect"), ("Principal", "NotPrincipal"), ("Action", "NotAction")] {
        if !members.contains_key(needed) && !members.contains_key(or) {
            let error = draft.error_at(pointer, format!("this statement has no {needed:?}"), None);
            errors.push(error.hint(format!("add {needed:?}: a repository's policy needs it in each statement")));
        }
    }
}

fn action_of(draft: &Draft<'_>, pointer: &str, action: &Value, errors: &mut Vec<Error>) {
    let Some(name) = action.as_str() else {
        let error = draft.error_at(pointer, format!("{action} is not an action"), None);
        errors.push(error.hint("write a string such as \"ecr:BatchGetImage\""));
        return;
    };
    if name != "*" && !name.to_lowercase().starts_with("ecr:") {
        let error = draft.error_at(pointer, format!("{name:?} is not an action of ECR"), None);
        let last = name.rsplit(':').next().unwrap_or(name);
        errors.push(error.hint(format!("write \"ecr:{last}\", if that is what the statement is about")));
    }
}

fn known(draft: &Draft<'_>, pointer: &str, members: &Map<String, Value>, names: &[&str], errors: &mut Vec<Error>) {
    for key in members.keys().filter(|key| !names.contains(&key.as_str())) {
        let message = format!("unknown member {key:?} in a repository policy");
        let error = draft.document.error_at_key(&format!("{pointer}/{}", escape(key)), message, Some("unknown"));
        errors.push(match nearest(key, names.iter().copied()) {
            Some(meant) => error.hint(format!("did you mean {meant:?}?")),
            None => error.hint(format!("there are {}", names.join(", "))),
        });
    }
}
