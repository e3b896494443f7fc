//! IAM, as far as the roles go that tasks run in: who may take one, and what it may do; and what a caller may do, as
//! far as the policy simulator says it. The lab's own user may do everything.
//!
//! AWS takes any role's ARN in a task definition, and so does the lab: a role that it does not know is taken to be as it
//! has to be. A role that was created here is held to its trust policy and to its permissions.

mod assume;
mod attached;
mod permissions;
mod policy;
mod roles;
mod simulate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Lab;
use super::api::{ApiError, ApiResult};
use super::conformance;
use super::input::{Answer, Input};
use super::paging;
use crate::aws_model::Service;

pub use assume::{TASKS, unassumable};
pub use permissions::denial;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IamState {
    /// By name.
    pub roles: BTreeMap<String, Role>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Role {
    pub id: String,
    pub arn: String,
    /// `/` or `/a/b/`.
    pub path: String,
    /// As it was given.
    pub trust: String,
    pub description: Option<String>,
    pub max_session: i64,
    /// Epoch milliseconds.
    pub created_at: i64,
    pub tags: BTreeMap<String, String>,
    /// Inline policies by name, as they were given.
    pub policies: BTreeMap<String, String>,
    /// ARNs of managed policies.
    pub attached: Vec<String>,
}

/// IAM, `Version` 2010-05-08.
pub fn handle(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let answer = self::operation(operation)
        .ok_or_else(|| ApiError { code: "InvalidAction".into(), ..ApiError::unknown_operation(operation) });
    let answer = answer.map(|answer| move |input: Value| answer(lab, Input::new(&input, "ValidationError")));
    conformance::answered(Service::Iam, operation, input, answer)
}

fn operation(name: &str) -> Option<Answer> {
    let answer: Answer = match name {
        "CreateRole" => |lab, input| lab.write(|state| roles::create(state, &lab.settings, input, lab.clock.now())),
        "GetRole" => |lab, input| lab.read(|state| roles::get(state, input)),
        "ListRoles" => |lab, input| lab.read(|state| roles::list(state, input)),
        "DeleteRole" => |lab, input| lab.write(|state| roles::delete(state, input)),
        "UpdateAssumeRolePolicy" => |lab, input| lab.write(|state| roles::update_trust(state, input)),
        "TagRole" => |lab, input| lab.write(|state| roles::tag(state, input)),
        "UntagRole" => |lab, input| lab.write(|state| roles::untag(state, input)),
        "ListRoleTags" => |lab, input| lab.read(|state| roles::list_tags(state, input)),
        "PutRolePolicy" => |lab, input| lab.write(|state| attached::put(state, input)),
        "GetRolePolicy" => |lab, input| lab.read(|state| attached::get(state, input)),
        "ListRolePolicies" => |lab, input| lab.read(|state| attached::list_inline(state, input)),
        "DeleteRolePolicy" => |lab, input| lab.write(|state| attached::delete(state, input)),
        "AttachRolePolicy" => |lab, input| lab.write(|state| attached::attach(state, input)),
        "ListAttachedRolePolicies" => |lab, input| lab.read(|state| attached::list(state, input)),
        "SimulatePrincipalPolicy" => |lab, input| lab.read(|state| simulate::principal(state, &lab.settings, input)),
        "DetachRolePolicy" => |lab, input| lab.write(|state| attached::detach(state, input)),
        _ => return None,
    };
    Some(answer)
}

fn no_such(message: String) -> ApiError {
    ApiError { status: 404, ..ApiError::new("NoSuchEntity", message) }
}

fn exists(message: String) -> ApiError {
    ApiError { status: 409, ..ApiError::new("EntityAlreadyExists", message) }
}

/// Some of the items, and IAM's way to say whether there are more.
fn listing(input: Input, name: &str, items: Vec<Value>) -> ApiResult {
    let most = input.number_in("MaxItems", 1..=1000)?.unwrap_or(100) as usize;
    let page = paging::page(items, input.text("Marker"), most);
    let (page, next) = page.ok_or_else(|| ApiError::new("ValidationError", "Invalid Marker."))?;
    Ok(json!({ name: page, "IsTruncated": next.is_some(), "Marker": next }))
}
