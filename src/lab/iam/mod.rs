//! IAM, as far as the roles go that tasks run in: who may take one, and what it may do.
//!
//! AWS takes any role's ARN in a task definition, and so does the lab: a role that it does not know is taken to be as it
//! has to be. A role that was created here is held to its trust policy and to its permissions.

mod assume;
mod attached;
mod permissions;
mod policy;
mod roles;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Lab;
use super::api::{ApiError, ApiResult};
use super::conformance;
use super::input::Input;
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
    conformance::answered(Service::Iam, operation, input, |input| answer(lab, operation, input))
}

fn answer(lab: &Lab, operation: &str, input: Value) -> ApiResult {
    let input = Input::new(&input, "ValidationError");
    match operation {
        "CreateRole" => lab.write(|state| roles::create(state, &lab.settings, input, lab.clock.now())),
        "GetRole" => lab.read(|state| roles::get(state, input)),
        "ListRoles" => lab.read(|state| roles::list(state, input)),
        "DeleteRole" => lab.write(|state| roles::delete(state, input)),
        "UpdateAssumeRolePolicy" => lab.write(|state| roles::update_trust(state, input)),
        "TagRole" => lab.write(|state| roles::tag(state, input)),
        "UntagRole" => lab.write(|state| roles::untag(state, input)),
        "ListRoleTags" => lab.read(|state| roles::list_tags(state, input)),
        "PutRolePolicy" => lab.write(|state| attached::put(state, input)),
        "GetRolePolicy" => lab.read(|state| attached::get(state, input)),
        "ListRolePolicies" => lab.read(|state| attached::list_inline(state, input)),
        "DeleteRolePolicy" => lab.write(|state| attached::delete(state, input)),
        "AttachRolePolicy" => lab.write(|state| attached::attach(state, input)),
        "ListAttachedRolePolicies" => lab.read(|state| attached::list(state, input)),
        "DetachRolePolicy" => lab.write(|state| attached::detach(state, input)),
        _ => Err(ApiError { code: "InvalidAction".into(), ..ApiError::unknown_operation(operation) }),
    }
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
