//! What a service ran before: ECS's own history of service deployments and revisions, else the revisions' tags.

use serde_json::{Value, json};

use crate::aws::reply::{self, list, millis, optional, text};
use crate::aws::{Clients, Failure};
use crate::deploy::register::RELEASE_TAG;
use crate::deploy::service::decide;

/// What a service deployment deploys: a task definition with the settings that it ran with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Release {
    pub task_definition: String,
    /// The service revision as ECS described it, with load balancers, network, capacity, …; null where it is not known.
    pub settings: Value,
}

impl Release {
    pub fn of(task_definition: &str) -> Release {
        Release { task_definition: task_definition.to_owned(), settings: Value::Null }
    }

    /// Whether it is the same release: a change of settings makes another one, a deployment that was forced does not.
    pub fn is(&self, other: &Release) -> bool {
        let known = !self.settings.is_null() && !other.settings.is_null();
        let same = |member: &&str| {
            let (one, two) = (&self.settings[*member], &other.settings[*member]);
            decide::covers(one, two) && decide::covers(two, one)
        };
        self.task_definition == other.task_definition && (!known || decide::RELEASED.iter().chain(&CAPACITY).all(same))
    }
}

/// Members of a service revision that say where its tasks run; only one of the two is there.
const CAPACITY: [&str; 2] = ["capacityProviderStrategy", "launchType"];

/// A service deployment that is over, or under way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    pub arn: String,
    /// As ECS spells it. What is none of its terminal ones is under way.
    pub status: String,
    pub reason: String,
    /// Epoch milliseconds.
    pub created_at: i64,
    pub finished_at: i64,
    pub release: Release,
}

impl Past {
    pub fn succeeded(&self) -> bool {
        self.status == "SUCCESSFUL"
    }

    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "SUCCESSFUL" | "STOPPED" | "ROLLBACK_SUCCESSFUL" | "ROLLBACK_FAILED")
    }
}

/// DescribeServiceDeployments and DescribeServiceRevisions take at most so many ARNs.
const ARNS_PER_CALL: usize = 20;

/// So many of the newest service deployments are looked at.
const LOOKED_AT: usize = 100;

/// The service's deployments, oldest first. Empty where the endpoint has no history.
pub async fn read(cluster: &str, service: &str, clients: &Clients) -> Result<Vec<Past>, Failure> {
    let mut briefs: Vec<Value> = Vec::new();
    let mut input = json!({ "cluster": cluster, "service": service, "maxResults": LOOKED_AT });
    loop {
        let reply = match clients.list_service_deployments(input.clone()).await {
            Ok(reply) => reply,
            Err(failure) if failure.is_unsupported() => return Ok(Vec::new()),
            Err(failure) => return Err(failure),
        };
        briefs.extend(list(&reply, "serviceDeployments").iter().cloned());
        match optional(&reply, "nextToken") {
            Some(token) if briefs.len() < LOOKED_AT => input["nextToken"] = token.into(),
            _ => break,
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
            Some(Past {
                arn: text(brief, "serviceDeploymentArn").to_owned(),
                status: text(brief, "status").to_owned(),
                reason: text(brief, "statusReason").to_owned(),
                created_at: millis(brief, "createdAt"),
                finished_at: millis(brief, "finishedAt"),
                release: released(revision)?,
            })
        })
        .collect())
}

fn released(revision: &Value) -> Option<Release> {
    let task_definition = optional(revision, "taskDefinition")?.to_owned();
    Some(Release { task_definition, settings: revision.clone() })
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

pub(in crate::deploy) async fn service_revisions(arns: &[String], clients: &Clients) -> Result<Vec<Value>, Failure> {
    let calls = arns
        .chunks(ARNS_PER_CALL)
        .map(|arns| clients.describe_service_revisions(json!({ "serviceRevisionArns": arns })));
    let replies = futures_util::future::try_join_all(calls).await?;
    Ok(replies.iter().flat_map(|reply| list(reply, "serviceRevisions").iter().cloned()).collect())
}

/// A service deployment with all that it was; null where it is not to be had.
pub async fn described(arn: &str, clients: &Clients) -> Value {
    let asked = clients.describe_service_deployments(json!({ "serviceDeploymentArns": [arn] })).await;
    asked.ok().and_then(|reply| list(&reply, "serviceDeployments").first().cloned()).unwrap_or_default()
}

/// What ran when this deployment began, where that is one release. ECS forgets deployments after 90 days; what the
/// oldest one replaced is known all the same.
pub async fn before(oldest: &Past, clients: &Clients) -> Result<Option<Past>, Failure> {
    let described = described(&oldest.arn, clients).await;
    let [source] = list(&described, "sourceServiceRevisions") else { return Ok(None) };
    let revisions = service_revisions(&[text(source, "arn").to_owned()], clients).await?;
    let Some(release) = revisions.first().and_then(released) else { return Ok(None) };
    Ok(Some(Past { status: "SUCCESSFUL".to_owned(), release, ..Past::default() }))
}

/// The revisions next to what runs that steady registered for a release.
#[derive(Debug, Default)]
pub struct Around {
    pub newer: Option<String>,
    pub older: Option<String>,
}

/// Without history: what the tags of the family's revisions tell.
pub async fn around_by_tags(current: &str, clients: &Clients) -> Result<Around, Failure> {
    let (family, revision) = family_and_revision(current);
    let listed = clients
        .list_task_definitions(json!({ "familyPrefix": family, "status": "ACTIVE", "sort": "DESC", "maxResults": 100 }))
        .await?;
    let arns = reply::texts(&listed, "taskDefinitionArns");
    let number = |arn: &&String| family_and_revision(arn).1;
    let newer = arns.iter().filter(|arn| number(arn) > revision);
    let older = arns.iter().filter(|arn| number(arn) < revision);
    Ok(Around { newer: released_first(newer, clients).await?, older: released_first(older, clients).await? })
}

async fn released_first<'a>(
    arns: impl Iterator<Item = &'a String>,
    clients: &Clients,
) -> Result<Option<String>, Failure> {
    for arn in arns.take(ARNS_PER_CALL) {
        let Some(reply) = crate::deploy::register::describe(arn, clients).await? else { continue };
        if reply::tag(list(&reply, "tags"), RELEASE_TAG).is_some() {
            return Ok(Some(arn.clone()));
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
