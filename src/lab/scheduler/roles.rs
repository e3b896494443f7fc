//! The roles that a task runs in and that it is started with, which ECS takes before there is a task.

use serde_json::Value;

use crate::lab::{ecs::model::TaskDefinition, iam, state::State};

/// What ECS says when it may not take one of them; `overrides` are those of RunTask.
pub fn refusal(state: &State, definition: &TaskDefinition, overrides: Option<&Value>) -> Option<String> {
    let role = |member: &str| {
        let given = overrides.and_then(|overrides| overrides[member].as_str());
        given.or_else(|| definition.document.get(member).and_then(Value::as_str)).filter(|arn| !arn.is_empty())
    };
    let roles = ["taskRoleArn", "executionRoleArn"].into_iter().filter_map(role);
    let arn = iam::unassumable(state, roles, iam::TASKS)?;
    Some(format!(
        "ECS was unable to assume the role '{arn}' that was provided for this task. Please verify that the role being \
         passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this \
         role."
    ))
}
