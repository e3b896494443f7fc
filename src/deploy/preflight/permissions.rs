//! What the caller has to be allowed to do for this deploy, asked of IAM's simulator before anything is done.
//!
//! The simulator sees the policies of the caller and of its organization; it does not see those of resources, nor what a
//! condition looks at that only a real request has. What it refuses for such a reason is a warning.

use serde_json::Value;

use super::checked::Checked;
use crate::aws::reply::{list, optional, text, texts};
use crate::aws::{Clients, Failure, Identity};
use crate::error::Error;

/// Actions on resources, simulated together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    pub resources: Vec<String>,
    pub actions: Vec<String>,
    pub context: Vec<(&'static str, String)>,
    /// Nothing but the caller's own policies allows it, and without it no deploy comes to its end.
    pub certain: bool,
}

impl Need {
    pub fn new(resource: impl Into<String>, certain: bool, actions: &[&str]) -> Self {
        Need::on(vec![resource.into()], certain, actions)
    }

    pub fn on(resources: Vec<String>, certain: bool, actions: &[&str]) -> Self {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        Need { resources, actions, context: Vec::new(), certain }
    }

    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.context.push((key, value.into()));
        self
    }
}

/// Whose policies IAM is to look at: a user or a role. `None` is who may do everything.
pub async fn principal(caller: &str, clients: &Clients) -> Option<String> {
    let (partition, account) = place(caller);
    let resource = caller.splitn(6, ':').nth(5).unwrap_or_default();
    if resource == "root" {
        return None;
    }
    let Some(session) = resource.strip_prefix("assumed-role/") else { return Some(caller.to_owned()) };
    let name = session.split('/').next().unwrap_or_default();
    // A session does not say the path of its role.
    let found = clients.iam.get_role(name).await.unwrap_or_default();
    let arn = optional(&found, "Arn").map(str::to_owned);
    Some(arn.unwrap_or_else(|| format!("arn:{partition}:iam::{account}:role/{name}")))
}

/// Partition and account of an ARN.
pub fn place(arn: &str) -> (&str, &str) {
    let part = |at: usize| arn.split(':').nth(at).unwrap_or_default();
    (part(1), part(4))
}

/// Who is to do what, and who may mend it.
struct Who<'a> {
    /// At the beginning of a sentence's verb.
    name: String,
    arn: &'a str,
    fix: &'a str,
    /// Its role may be another than the one that was made of the session's name.
    guessed: bool,
}

/// What the caller has to do, and what the task's execution role has to.
pub async fn check(
    needs: &[Need],
    execution: Option<&(String, Vec<Need>)>,
    identity: &Identity,
    clients: &Clients,
) -> Checked {
    let caller = async {
        let mut checked = Checked::new("permissions");
        let Some(principal) = principal(&identity.arn, clients).await else {
            checked.looked_at("the account's root user may do everything");
            return checked;
        };
        let guessed = identity.arn.contains(":assumed-role/");
        let fix = ", or use another --profile";
        let who = Who { name: "the caller".to_owned(), arn: &identity.arn, fix, guessed };
        simulate(&principal, needs, &who, clients).await
    };
    let role = async {
        let Some((arn, needs)) = execution else { return Checked::new("permissions") };
        let name = format!("the execution role `{}`", crate::aws::reply::id(arn));
        simulate(arn, needs, &Who { name, arn, fix: "", guessed: false }, clients).await
    };
    let (mut checked, role) = tokio::join!(caller, role);
    checked.add(role);
    checked
}

async fn simulate(principal: &str, needs: &[Need], who: &Who<'_>, clients: &Clients) -> Checked {
    let mut checked = Checked::new("permissions");
    let looks = needs.iter().map(|need| simulated(need, principal, clients));
    let mut count = 0;
    for (need, simulated) in needs.iter().zip(futures_util::future::join_all(looks).await) {
        match simulated {
            Ok(refused) => {
                count += need.actions.len();
                tell(need, &refused, who, &mut checked);
            }
            // Of a role that a task names, the roles tell.
            Err(failure) if failure.is("NoSuchEntity") && !who.guessed => return Checked::new("permissions"),
            Err(failure) if failure.is("NoSuchEntity") => {
                let role = crate::aws::reply::id(principal);
                let message =
                    format!("what the caller may do is not checked: IAM finds no role `{role}` without a path");
                checked.warn(
                    message,
                    Some("a session does not tell its role's path: allow the caller iam:GetRole".to_owned()),
                );
                return checked;
            }
            Err(failure) => checked.unread(&format!("what {} may do", who.name), &failure),
        }
    }
    if count > 0 {
        let plural = if count == 1 { "" } else { "s" };
        checked.looked_at(&format!("{count} IAM action{plural} of {}", who.name.replace('`', "")));
    }
    checked
}

/// An action that IAM refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub action: String,
    /// None where it is any.
    pub resource: Option<String>,
    /// By a statement, and not for want of one.
    pub explicit: bool,
    /// What conditions look at that the simulator was not told.
    pub unknown: Vec<String>,
}

async fn simulated(need: &Need, principal: &str, clients: &Clients) -> Result<Vec<Refused>, Failure> {
    let mut context: Vec<(&str, &str)> = need.context.iter().map(|(key, value)| (*key, value.as_str())).collect();
    context.push(("aws:RequestedRegion", &clients.region));
    context.push(("aws:SecureTransport", "true"));
    let results = clients.iam.simulate_principal_policy(principal, &need.actions, &need.resources, &context).await?;
    let mut refused: Vec<Refused> = results.iter().flat_map(refused).collect();
    // Where the answer does not repeat it.
    if let [only] = &need.resources[..] {
        let asked = Some(only).filter(|only| *only != "*");
        refused.iter_mut().for_each(|refused| refused.resource = asked.cloned());
    }
    Ok(refused)
}

/// What an evaluation result refuses. Of resources each has a decision of its own below it.
pub fn refused(result: &Value) -> Vec<Refused> {
    let specific = list(result, "ResourceSpecificResults");
    let decisions: Vec<(&str, Option<&str>, &Value)> = match specific {
        [] => vec![(text(result, "EvalDecision"), optional(result, "EvalResourceName"), result)],
        _ => {
            specific.iter().map(|of| (text(of, "EvalResourceDecision"), optional(of, "EvalResourceName"), of)).collect()
        }
    };
    let denied = decisions.into_iter().filter(|(decision, ..)| matches!(*decision, "implicitDeny" | "explicitDeny"));
    let refused = denied.map(|(decision, resource, of)| Refused {
        action: text(result, "EvalActionName").to_owned(),
        resource: resource.filter(|resource| *resource != "*").map(str::to_owned),
        explicit: decision == "explicitDeny",
        unknown: texts(of, "MissingContextValues"),
    });
    refused.collect()
}

fn tell(need: &Need, refused: &[Refused], who: &Who<'_>, checked: &mut Checked) {
    let is_sure = |refused: &&Refused| refused.unknown.is_empty() && need.certain;
    let sure: Vec<&Refused> = refused.iter().filter(is_sure).collect();
    let unsure: Vec<&Refused> = refused.iter().filter(|refused| !is_sure(refused)).collect();
    if !sure.is_empty() {
        let explicit = if sure.iter().any(|refused| refused.explicit) { ", a policy denies it" } else { "" };
        let message = format!("{} may not do {}{explicit}", who.name, said(&sure));
        checked.find(Error::preflight(message).hint(format!("allow that to {}{}", who.arn, who.fix)));
    }
    if !unsure.is_empty() {
        let mut unknown: Vec<&str> = unsure.iter().flat_map(|refused| &refused.unknown).map(String::as_str).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let why = match unknown[..] {
            [] => {
                "no policy of its own allows it; one of the resource may, which IAM's simulator does not see".to_owned()
            }
            _ => format!("it depends on {}, which IAM's simulator does not know", unknown.join(", ")),
        };
        checked.warn(format!("{} may not be allowed to do {}", who.name, said(&unsure)), Some(why));
    }
}

/// Actions, and what they are on.
fn said(refused: &[&Refused]) -> String {
    let unique = |of: &mut dyn Iterator<Item = &str>| {
        let mut all: Vec<String> = Vec::new();
        of.for_each(|one| {
            if !all.iter().any(|known| known == one) {
                all.push(one.to_owned());
            }
        });
        match all.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
            None => String::new(),
        }
    };
    let actions = unique(&mut refused.iter().map(|refused| refused.action.as_str()));
    let resources = unique(&mut refused.iter().filter_map(|refused| refused.resource.as_deref()));
    if resources.is_empty() { actions } else { format!("{actions} on {resources}") }
}
