//! What a role may do.

use super::{Role, policy};
use crate::lab::Settings;
use crate::lab::state::State;

/// What AWS's own policies allow of what the lab asks for. What others allow, it does not know.
const MANAGED: &[(&str, &[&str])] = &[
    ("AdministratorAccess", &["*"]),
    ("PowerUserAccess", &["*"]),
    ("ReadOnlyAccess", &["ssm:GetParameters"]),
    ("AmazonSSMFullAccess", &["ssm:*"]),
    ("AmazonSSMReadOnlyAccess", &["ssm:Describe*", "ssm:Get*", "ssm:List*"]),
    ("SecretsManagerReadWrite", &["secretsmanager:*"]),
    ("AmazonECSTaskExecutionRolePolicy", &[]),
];

/// Why AWS refuses `action` on `resource` to a task in this role; `None` when it does not, or the lab does not know the
/// role.
pub fn denial(
    state: &State,
    settings: &Settings,
    arn: &str,
    task_id: &str,
    action: &str,
    resource: &str,
) -> Option<String> {
    let (name, role) = state.iam.roles.iter().find(|(name, role)| role.arn == arn || *name == arn)?;
    let because = match verdict(role, action, resource) {
        Verdict::Allowed => return None,
        Verdict::Unsaid => format!("because no identity-based policy allows the {action} action"),
        Verdict::Denied => "with an explicit deny in an identity-based policy".to_owned(),
    };
    let who = format!("arn:aws:sts::{}:assumed-role/{name}/{task_id}", settings.account_id);
    Some(format!(
        "AccessDeniedException: User: {who} is not authorized to perform: {action} on resource: {resource} {because}"
    ))
}

/// Whether one of the managed policies that a role has allows this.
pub(super) fn managed_allow(role: &Role, action: &str) -> bool {
    role.attached.iter().any(|arn| {
        let name = arn.rsplit('/').next().unwrap_or_default();
        let allows = MANAGED.iter().find(|(known, _)| *known == name).map(|(_, allows)| *allows);
        allows.is_none_or(|allows| allows.iter().any(|wanted| crate::lab::pattern::matches(wanted, action)))
    })
}

enum Verdict {
    Allowed,
    Unsaid,
    Denied,
}

fn verdict(role: &Role, action: &str, resource: &str) -> Verdict {
    let mut verdict = if managed_allow(role, action) { Verdict::Allowed } else { Verdict::Unsaid };
    for statement in role.policies.values().flat_map(|document| policy::statements(document)) {
        let fits =
            policy::takes(&statement, "Action", action, true) && policy::takes(&statement, "Resource", resource, false);
        match statement["Effect"].as_str() {
            // A condition is taken as met where it allows, and as not met where it denies.
            Some("Allow") if fits => verdict = Verdict::Allowed,
            Some("Deny") if fits && statement.get("Condition").is_none() => return Verdict::Denied,
            _ => {}
        }
    }
    verdict
}
