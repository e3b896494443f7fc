//! The log groups that containers write to: without them, and without the right to create them, no task starts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::checked::Checked;
use crate::aws::Clients;
use crate::aws::reply::{list, optional, text};
use crate::error::Error;

/// Log groups that have to be there, by region and name, and the containers that write to them. What
/// `awslogs-create-group` creates may be missing.
pub fn needed(task_definition: &Value, region: &str) -> BTreeMap<(String, String), Vec<String>> {
    let mut needed: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for container in list(task_definition, "containerDefinitions") {
        let logs = &container["logConfiguration"];
        let options = &logs["options"];
        let Some(group) = optional(options, "awslogs-group").filter(|_| text(logs, "logDriver") == "awslogs") else {
            continue;
        };
        if text(options, "awslogs-create-group").eq_ignore_ascii_case("true") {
            continue;
        }
        let region = optional(options, "awslogs-region").unwrap_or(region);
        let users = needed.entry((region.to_owned(), group.to_owned())).or_default();
        users.push(text(container, "name").to_owned());
    }
    needed
}

pub async fn check(task_definition: &Value, clients: &Clients) -> Checked {
    let mut checked = Checked::new("logGroups");
    let needed = needed(task_definition, &clients.region);
    let looks = needed.iter().map(|((region, group), users)| one(region, group, users, clients));
    for looked in futures_util::future::join_all(looks).await {
        checked.add(looked);
    }
    checked
}

async fn one(region: &str, group: &str, users: &[String], clients: &Clients) -> Checked {
    let mut checked = Checked::new("logGroups");
    // Sorted by name: the one of this very name comes first.
    let input = json!({ "logGroupNamePrefix": group });
    let asked = match region == clients.region {
        true => clients.describe_log_groups(input).await,
        false => clients.with_stores_in(region).describe_log_groups(input).await,
    };
    match asked {
        Ok(reply) if list(&reply, "logGroups").iter().any(|found| text(found, "logGroupName") == group) => {
            checked.looked_at(group);
        }
        Ok(_) => {
            let users = super::checked::listed(users.iter().map(String::as_str));
            let message = format!("the log group `{group}` of the container {users} does not exist in {region}");
            let error = Error::preflight(message)
                .hint(format!("create it: `aws logs create-log-group --region {region} --log-group-name {group}`"))
                .hint("or have ECS create it: `\"awslogs-create-group\": \"true\"` in the log options, and logs:CreateLogGroup for the execution role");
            checked.find(error);
        }
        Err(failure) => checked.unread(&format!("the log group `{group}`"), &failure),
    }
    checked
}
