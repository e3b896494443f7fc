//! The command `revisions`: what was registered for a service, newest first.

use serde::Serialize;
use serde_json::{Value, json};

use super::rollback::history;
use super::{register, service};
use crate::aws::Clients;
use crate::aws::reply::{self, list, millis, number, optional, tag, text};
use crate::error::{Error, Result};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    pub task_definition: String,
    pub family: String,
    pub revision: i64,
    /// ACTIVE or INACTIVE.
    pub status: String,
    pub release: Option<String>,
    pub image: Option<String>,
    pub digest: Option<String>,
    /// Epoch milliseconds; 0 where the endpoint does not say.
    pub registered_at: i64,
    /// It is what the service runs now.
    pub current: bool,
    /// A deployment of it ended well, as far as ECS remembers (90 days).
    pub succeeded: bool,
}

/// The newest `limit` revisions of the service's family; `family` is the one to look at while there is no service.
pub async fn revisions(
    cluster: &str,
    service_name: &str,
    family: Option<&str>,
    limit: usize,
    clients: &Clients,
) -> Result<Vec<Revision>> {
    let (live, history) =
        tokio::join!(service::describe(cluster, service_name, clients), history::read(cluster, service_name, clients),);
    let current = match live {
        Ok(live) => live.map(|live| text(&live, "taskDefinition").to_owned()).unwrap_or_default(),
        Err(failure) if failure.is("ClusterNotFoundException") => String::new(),
        Err(failure) => return Err(failure.into()),
    };
    let history = history.unwrap_or_default();
    let own = history::family_and_revision(&current).0;
    let family = if own.is_empty() { family.unwrap_or(service_name) } else { own };
    let (active, inactive) =
        tokio::try_join!(listed(family, "ACTIVE", limit, clients), listed(family, "INACTIVE", limit, clients),)?;
    let mut arns: Vec<String> = active.into_iter().chain(inactive).collect();
    if arns.is_empty() {
        return Err(Error::preflight(format!("nothing was registered for `{service_name}` (family `{family}`)"))
            .hint("`steady deploy` registers the first one"));
    }
    arns.sort_by_key(|arn| std::cmp::Reverse(history::family_and_revision(arn).1));
    arns.truncate(limit);
    let described = futures_util::future::try_join_all(arns.iter().map(|arn| register::describe(arn, clients))).await?;
    let of = |reply: Value| {
        let definition = &reply["taskDefinition"];
        let arn = text(definition, "taskDefinitionArn");
        let image = list(definition, "containerDefinitions")
            .iter()
            .filter_map(|container| optional(container, "image"))
            .max_by_key(|image| image.contains("@sha256:"));
        Revision {
            task_definition: arn.to_owned(),
            family: text(definition, "family").to_owned(),
            revision: number(definition, "revision"),
            status: text(definition, "status").to_owned(),
            release: tag(list(&reply, "tags"), register::RELEASE_TAG).map(str::to_owned),
            image: image.map(str::to_owned),
            digest: image.and_then(|image| image.split_once('@')).map(|(_, digest)| digest.to_owned()),
            registered_at: millis(definition, "registeredAt"),
            current: arn == current,
            succeeded: history.iter().any(|past| past.succeeded() && past.release.task_definition == arn),
        }
    };
    Ok(described.into_iter().flatten().map(of).collect())
}

async fn listed(family: &str, status: &str, limit: usize, clients: &Clients) -> Result<Vec<String>> {
    let mut arns = Vec::new();
    let mut input =
        json!({ "familyPrefix": family, "status": status, "sort": "DESC", "maxResults": limit.clamp(1, 100) });
    loop {
        let reply = clients.list_task_definitions(input.clone()).await?;
        arns.extend(reply::texts(&reply, "taskDefinitionArns"));
        match optional(&reply, "nextToken") {
            Some(token) if arns.len() < limit => input["nextToken"] = token.into(),
            _ => return Ok(arns),
        }
    }
}
