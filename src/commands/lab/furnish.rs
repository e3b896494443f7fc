//! What a project takes to be in its account, in a lab that has none of it: its roles and its log groups. They are made
//! elsewhere, by Terraform say, and a rehearsal is not about them.

use serde_json::json;

use crate::aws::reply::{list, text};
use crate::aws::{Clients, Failure};
use crate::config::Plan;
use crate::deploy::event::{Event, Events};
use crate::deploy::preflight::{log_groups, roles};
use crate::deploy::render;

/// Makes what is missing and says so. What cannot be made the preflight misses then.
pub async fn furnish(plan: &Plan, clients: &Clients, events: &Events) {
    let (quiet, _) = Events::channel();
    // A mistake in a document is the command's to say.
    let Ok(rendered) = render(plan, clients, None, &quiet) else { return };
    let task_definition = &rendered.task_definition;
    let mut made: Vec<String> = Vec::new();
    for role in roles::named(task_definition).into_keys().filter_map(roles::parse) {
        match self::role(&role, clients).await {
            Ok(true) => made.push(format!("the role `{}`", role.name)),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "no role in the lab"),
        }
    }
    for (_, group) in log_groups::needed(task_definition, &clients.region).into_keys() {
        match log_group(&group, clients).await {
            Ok(true) => made.push(format!("the log group `{group}`")),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "no log group in the lab"),
        }
    }
    if !made.is_empty() {
        let message = format!("the lab has {} now, as your account is taken to", made.join(", "));
        events.emit(Event::Notice { message });
    }
}

/// A role that tasks may take and that may do everything, as one that the lab does not know may.
async fn role(role: &roles::Role<'_>, clients: &Clients) -> Result<bool, Failure> {
    match clients.iam.get_role(role.name).await {
        Err(failure) if failure.is("NoSuchEntity") => {}
        found => return found.map(|_| false),
    }
    let principal = json!({ "Service": "ecs-tasks.amazonaws.com" });
    let statement = json!({ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" });
    let trust = json!({ "Version": "2012-10-17", "Statement": [statement] });
    clients.iam.create_role(role.name, &role.path, &trust.to_string()).await?;
    clients.iam.attach_role_policy(role.name, "arn:aws:iam::aws:policy/AdministratorAccess").await?;
    Ok(true)
}

async fn log_group(group: &str, clients: &Clients) -> Result<bool, Failure> {
    let reply = clients.describe_log_groups(json!({ "logGroupNamePrefix": group })).await?;
    if list(&reply, "logGroups").iter().any(|found| text(found, "logGroupName") == group) {
        return Ok(false);
    }
    clients.create_log_group(json!({ "logGroupName": group })).await?;
    Ok(true)
}
