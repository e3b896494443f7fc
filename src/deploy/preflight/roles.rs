//! The roles that tasks run in and are started with: there, of this account, and for ECS's tasks to take.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::checked::{Checked, listed};
use super::permissions::place;
use crate::aws::reply::{list, optional, text};
use crate::aws::{Clients, Identity};
use crate::error::{Error, Result};
use crate::image::Reference;

/// What takes them; China's partition has a name of its own for it, too.
const TASKS: [&str; 2] = ["ecs-tasks.amazonaws.com", "ecs-tasks.amazonaws.com.cn"];

/// A role as documents name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role<'a> {
    /// As it was written.
    pub given: &'a str,
    /// None of a bare name.
    pub account_id: Option<&'a str>,
    /// `/` or `/a/b/`.
    pub path: String,
    pub name: &'a str,
}

impl Role<'_> {
    /// The ARN of the role that is meant: another endpoint, such as the lab's, has its own role of this name.
    pub fn arn(&self, identity: &Identity, clients: &Clients) -> String {
        let (partition, account) = place(&identity.arn);
        match self.account_id.is_none() || clients.endpoint_url.is_some() {
            true => format!("arn:{partition}:iam::{account}:role{}{}", self.path, self.name),
            false => self.given.to_owned(),
        }
    }
}

/// A role's ARN taken apart, or a bare name.
pub fn parse(given: &str) -> Option<Role<'_>> {
    if !given.starts_with("arn:") {
        let bare = !given.is_empty() && !given.contains([':', '/']);
        return bare.then(|| Role { given, account_id: None, path: "/".to_owned(), name: given });
    }
    let parts: Vec<&str> = given.splitn(6, ':').collect();
    let [_, _, "iam", _, account, resource] = parts[..] else { return None };
    let path_and_name = resource.strip_prefix("role/").filter(|rest| !rest.is_empty() && !rest.ends_with('/'))?;
    let (path, name) = path_and_name.rsplit_once('/').unwrap_or(("", path_and_name));
    let path = if path.is_empty() { "/".to_owned() } else { format!("/{path}/") };
    Some(Role { given, account_id: Some(account), path, name })
}

/// The roles of a task definition, with what each is for.
pub fn named(task_definition: &Value) -> BTreeMap<&str, Vec<&'static str>> {
    let mut roles: BTreeMap<&str, Vec<&'static str>> = BTreeMap::new();
    for (member, what) in [("executionRoleArn", "execution role"), ("taskRoleArn", "task role")] {
        if let Some(given) = optional(task_definition, member) {
            roles.entry(given).or_default().push(what);
        }
    }
    roles
}

pub async fn check(task_definition: &Value, fargate: bool, identity: &Identity, clients: &Clients) -> Checked {
    let mut checked = Checked::new("roles");
    if let Err(error) = execution_role(task_definition, fargate) {
        checked.find(error);
    }
    let roles = named(task_definition);
    let looks = roles.iter().map(|(given, what)| one(given, what.join(" and "), identity, clients));
    for looked in futures_util::future::join_all(looks).await {
        checked.add(looked);
    }
    checked
}

async fn one(given: &str, what: String, identity: &Identity, clients: &Clients) -> Checked {
    let mut checked = Checked::new("roles");
    let Some(role) = parse(given) else {
        let error = Error::preflight(format!("the {what} `{given}` is no role's ARN"));
        checked.find(error.hint(format!("such as arn:aws:iam::{}:role/NAME", identity.account_id)));
        return checked;
    };
    // Another endpoint, such as the lab's, stands for all of AWS: its own role of this name is meant.
    let at_aws = clients.endpoint_url.is_none();
    if let Some(account) = role.account_id.filter(|account| at_aws && *account != identity.account_id) {
        let message = format!("the {what} {given} is of the account {account}, and the caller is {}", identity.arn);
        let error = Error::preflight(message).hint("ECS takes no role of another account than the service's");
        checked.find(error.hint("name a role of this account, or use the credentials of that one: --profile"));
        return checked;
    }
    let found = match clients.iam.get_role(role.name).await {
        Ok(found) => found,
        Err(failure) if failure.is("NoSuchEntity") => {
            checked.find(missing(&role, &what, identity));
            return checked;
        }
        Err(failure) => {
            checked.unread(&format!("the {what} {}", listed([role.name])), &failure);
            return checked;
        }
    };
    let arn = text(&found, "Arn");
    if at_aws && role.account_id.is_some() && arn != given && !arn.is_empty() {
        let error = Error::preflight(format!("the {what} {given} does not exist: the role `{}` is {arn}", role.name));
        checked.find(error.hint(format!("write {arn}")));
    }
    if !trusts_tasks(text(&found, "AssumeRolePolicyDocument")) {
        let error = Error::preflight(format!("the {what} `{}` cannot be taken by tasks of ECS", role.name));
        checked.find(error.hint(format!(
            "its trust policy has to let {} do sts:AssumeRole: `aws iam update-assume-role-policy --role-name {}`",
            TASKS[0], role.name
        )));
    }
    checked.looked_at(&format!("{what} {}", role.name));
    checked
}

fn missing(role: &Role, what: &str, identity: &Identity) -> Error {
    let name = role.name;
    let error = Error::preflight(format!("the {what} `{name}` does not exist in the account {}", identity.account_id))
        .hint(format!("create it, for {} to take: `aws iam create-role --role-name {name} …`", TASKS[0]));
    match what.contains("execution") {
        true => error.hint("and attach AmazonECSTaskExecutionRolePolicy to it"),
        false => error,
    }
}

/// Whether a trust policy, percent-encoded as IAM has it, lets tasks take the role. Conditions are taken as met where
/// they allow, and as not met where they deny.
pub fn trusts_tasks(encoded: &str) -> bool {
    let document = percent_decode_str(encoded).decode_utf8_lossy();
    let Ok(document) = serde_json::from_str::<Value>(&document) else { return true };
    let statements = match &document["Statement"] {
        Value::Array(statements) => statements.as_slice(),
        statement => std::slice::from_ref(statement),
    };
    let says = |effect: &str| {
        statements.iter().any(|statement| {
            text(statement, "Effect") == effect
                && action_is_of(statement)
                && principal_is_of(&statement["Principal"])
                && (effect == "Allow" || statement.get("Condition").is_none())
        })
    };
    says("Allow") && !says("Deny")
}

fn action_is_of(statement: &Value) -> bool {
    let of = |action: &&str| ["*", "sts:*", "sts:assumerole", "sts:assume*"].contains(&action.to_lowercase().as_str());
    texts(&statement["Action"]).iter().any(of)
}

fn principal_is_of(principal: &Value) -> bool {
    let of = |service: &&str| *service == "*" || TASKS.contains(service);
    principal == "*" || texts(&principal["Service"]).iter().any(of)
}

/// A text, or the texts of a list.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Fargate pulls from ECR, writes logs and reads secrets in the execution role, and so does everything with secrets.
fn execution_role(task_definition: &Value, fargate: bool) -> Result<()> {
    if optional(task_definition, "executionRoleArn").is_some() {
        return Ok(());
    }
    let containers = list(task_definition, "containerDefinitions");
    let at_ecr = |container: &&Value| {
        text(container, "image").parse::<Reference>().is_ok_and(|reference| reference.ecr().is_some())
    };
    let logs = |container: &&Value| text(&container["logConfiguration"], "logDriver") == "awslogs";
    let secrets = |container: &&Value| !list(container, "secrets").is_empty();
    let needs = [
        (containers.iter().any(|container| secrets(&container)), "to read the secrets of its containers"),
        (fargate && containers.iter().any(|container| at_ecr(&container)), "to pull from ECR on Fargate"),
        (fargate && containers.iter().any(|container| logs(&container)), "to write logs with awslogs on Fargate"),
    ];
    match needs.iter().find(|(needs, _)| *needs) {
        Some((_, why)) => Err(Error::preflight(format!("the task definition has no execution role {why}"))
            .hint("add `executionRoleArn`: a role with AmazonECSTaskExecutionRolePolicy that ecs-tasks.amazonaws.com may take")),
        None => Ok(()),
    }
}
