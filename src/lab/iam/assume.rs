//! Who may take a role.

use serde_json::Value;

use super::policy;
use crate::lab::state::State;

/// What takes the roles of tasks.
pub const TASKS: &str = "ecs-tasks.amazonaws.com";

/// The first of these roles that the lab knows and whose trust policy leaves `service` out.
pub fn unassumable<'a>(state: &State, arns: impl IntoIterator<Item = &'a str>, service: &str) -> Option<&'a str> {
    arns.into_iter().find(|arn| {
        let role = state.iam.roles.iter().find(|(name, role)| role.arn == *arn || name == arn);
        role.is_some_and(|(_, role)| !trusts(&role.trust, service))
    })
}

/// Conditions are taken as met: the lab cannot know what AWS would find.
fn trusts(document: &str, service: &str) -> bool {
    let statements = policy::statements(document);
    let says = |effect: &str| {
        statements.iter().any(|statement| {
            statement["Effect"] == effect
                && policy::takes(statement, "Action", "sts:AssumeRole", true)
                && is_of(&statement["Principal"], service)
                && (effect == "Allow" || statement.get("Condition").is_none())
        })
    };
    says("Allow") && !says("Deny")
}

fn is_of(principal: &Value, service: &str) -> bool {
    principal == "*" || policy::texts(&principal["Service"]).iter().any(|of| *of == service || *of == "*")
}
