//! What a service ran before: ECS's own history of service deployments and revisions, else the revisions' tags.

use serde_json::{Value, json};

use super::register::RELEASE_TAG;
use crate::aws::reply::{self, list, millis, optional, text};
use crate::aws::{Clients, Failure};

/// One deployment that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub task_definition: String,
    /// The service revision, which also holds load balancers, network and registries.
    pub service_revision: Option<String>,
    pub created_at: i64,
}

/// DescribeServiceDeployments and DescribeServiceRevisions take at most so many ARNs.
const ARNS_PER_CALL: usize = 20;

/// The service's deployments that ended well, oldest first. Empty where the endpoint has no history.
pub async fn successes(cluster: &str, service: &str, clients: &Clients) -> Result<Vec<Release>, Failure> {
    let mut briefs: Vec<Value> = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let mut input = json!({ "cluster": cluster, "service": service, "status": ["SUCCESSFUL"], "maxResults": 100 });
        if let Some(token) = &next {
            input["nextToken"] = token.as_str().into();
        }
        let reply = match clients.list_service_deployments(input).await {
            Ok(reply) => reply,
            Err(failure) if failure.is_unsupported() => return Ok(Vec::new()),
            Err(failure) => return Err(failure),
        };
        briefs.extend(list(&reply, "serviceDeployments").iter().cloned());
        next = optional(&reply, "nextToken").map(str::to_owned);
        if next.is_none() || briefs.len() >= 200 {
            break;
        }
    }
    briefs.sort_by_key(|brief| millis(brief, "createdAt"));
    let mut arns: Vec<String> =
        briefs.iter().filter_map(|brief| optional(brief, "targetServiceRevisionArn")).map(str::to_owned).collect();
    arns.sort();
    arns.dedup();
    let revisions = service_revisions(&arns, clients).await?;
    Ok(briefs
        .iter()
        .filter_map(|brief| {
            let arn = optional(brief, "targetServiceRevisionArn")?;
            let revision = revisions.iter().find(|revision| text(revision, "serviceRevisionArn") == arn)?;
            Some(Release {
                task_definition: optional(revision, "taskDefinition")?.to_owned(),
                service_revision: Some(arn.to_owned()),
                created_at: millis(brief, "createdAt"),
            })
        })
        .collect())
}

/// The newest service deployment in brief. `None` where the endpoint has no history.
pub async fn latest(cluster: &str, service: &str, clients: &Clients) -> Result<Option<Value>, Failure> {
    let input = json!({ "cluster": cluster, "service": service, "maxResults": 100 });
    match clients.list_service_deployments(input).await {
        Ok(reply) => {
            let newest = list(&reply, "serviceDeployments").iter().max_by_key(|brief| millis(brief, "createdAt"));
            Ok(newest.cloned())
        }
        Err(failure) if failure.is_unsupported() || failure.is_denied() => Ok(None),
        Err(failure) => Err(failure),
    }
}

pub async fn service_revisions(arns: &[String], clients: &Clients) -> Result<Vec<Value>, Failure> {
    let calls = arns
        .chunks(ARNS_PER_CALL)
        .map(|arns| clients.describe_service_revisions(json!({ "serviceRevisionArns": arns })));
    let replies = futures_util::future::try_join_all(calls).await?;
    Ok(replies.iter().flat_map(|reply| list(reply, "serviceRevisions").iter().cloned()).collect())
}

/// The release to go back to from `current`. Going back twice goes back further: a deployment of an earlier release
/// takes those after it off the path.
pub fn previous<'a>(successes: &'a [Release], current: &str) -> Option<&'a Release> {
    let mut path: Vec<&Release> = Vec::new();
    for release in successes {
        match path.iter().position(|earlier| earlier.task_definition == release.task_definition) {
            Some(at) => {
                path.truncate(at);
                path.push(release);
            }
            None => path.push(release),
        }
    }
    match path.iter().position(|release| release.task_definition == current) {
        Some(at) => at.checked_sub(1).map(|before| path[before]),
        // What runs now never ended well: the last that did is the one.
        None => path.last().copied(),
    }
}

/// The release that the PRIMARY deployment is going back to right now: a rollback that was asked for again, after its
/// first run was stopped, must not go back further.
pub fn rollback_under_way<'a>(successes: &'a [Release], primary: &Value) -> Option<&'a Release> {
    let (leads_to, reason) = (text(primary, "taskDefinition"), text(primary, "rolloutStateReason"));
    let last = successes.last().filter(|_| text(primary, "rolloutState") == "IN_PROGRESS")?;
    let back = previous(successes, &last.task_definition).is_some_and(|before| before.task_definition == leads_to);
    if !back && !reason.contains("rolling back") {
        return None;
    }
    successes.iter().rev().find(|release| release.task_definition == leads_to)
}

/// Without history: the family's newest revision before the current one that steady registered.
pub async fn previous_by_tags(current: &str, clients: &Clients) -> Result<Option<Release>, Failure> {
    let (family, revision) = family_and_revision(current);
    let listed = clients
        .list_task_definitions(json!({ "familyPrefix": family, "status": "ACTIVE", "sort": "DESC", "maxResults": 100 }))
        .await?;
    let older = reply::texts(&listed, "taskDefinitionArns");
    for arn in older.iter().filter(|arn| family_and_revision(arn).1 < revision).take(ARNS_PER_CALL) {
        let Some(reply) = super::register::describe(arn, clients).await? else { continue };
        if reply::tag(list(&reply, "tags"), RELEASE_TAG).is_some() {
            return Ok(Some(Release { task_definition: arn.clone(), service_revision: None, created_at: 0 }));
        }
    }
    Ok(None)
}

/// `family` and revision number of `family:7` or an ARN; 0 when there is no number.
pub fn family_and_revision(task_definition: &str) -> (&str, i64) {
    let name = reply::id(task_definition);
    match name.rsplit_once(':') {
        Some((family, revision)) => (family, revision.parse().unwrap_or_default()),
        None => (name, 0),
    }
}
