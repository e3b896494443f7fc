//! What a deploy came to: the one object that `--output json` prints.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::around::Ran;
use super::event::Events;
use super::follow::Steady;
use super::load_balancer;
use super::register::Registered;
use super::render::Facts;
use super::service::{Action, Placed};
use crate::aws::{Clients, Failure};
use crate::config::Plan;
use crate::error::{Error, Kind};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// `steady`: the only status that comes with exit code 0.
    pub status: &'static str,
    pub service: String,
    pub cluster: String,
    /// `created`, `updated`, `unchanged` or `adopted` (a deployment that an earlier run had started).
    pub action: &'static str,
    pub release: Option<String>,
    pub deployment_id: String,
    /// The ARN of ECS's service deployment, where the endpoint has them.
    pub service_deployment: Option<String>,
    /// The ARN of the revision that runs.
    pub task_definition: String,
    /// Whether this revision was there already.
    pub revision_reused: bool,
    /// `repository@digest`.
    pub image: Option<String>,
    pub digest: Option<String>,
    pub tags: Vec<String>,
    pub url: Option<String>,
    pub previous_task_definition: Option<String>,
    pub desired_count: i64,
    pub running_count: i64,
    #[serde(flatten)]
    pub around: RanAround,
    /// Wall time of the whole deploy, in milliseconds.
    pub duration_ms: u64,
}

/// What ran around the release.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RanAround {
    pub before: Vec<Ran>,
    pub after: Vec<Ran>,
}

/// Where the service answers. What is steady stays steady when this role may not ask for it.
pub(super) async fn url(service: &Value, clients: &Clients, events: &Events) -> Option<String> {
    load_balancer::service_url(service, clients).await.unwrap_or_else(|failure| {
        events.warn(unknown(&failure), failure.hint());
        None
    })
}

/// The same, for a check that needs it.
pub(super) async fn url_to_check(service: &Value, clients: &Clients) -> Result<Option<String>, Error> {
    load_balancer::service_url(service, clients).await.map_err(|failure| {
        let error = Error::new(Kind::Other, format!("the service is steady, but {}", unknown(&failure)));
        failure.hint().into_iter().fold(error, Error::hint)
    })
}

fn unknown(failure: &Failure) -> String {
    format!("its URL is not known: {failure}")
}

impl Outcome {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn steady(
        plan: &Plan,
        facts: &Facts,
        registered: &Registered,
        placed: &Placed,
        steady: &Steady,
        url: Option<String>,
        around: RanAround,
        took: Duration,
    ) -> Self {
        Outcome {
            status: "steady",
            service: plan.service.clone(),
            cluster: plan.cluster.clone(),
            action: match placed.action {
                Action::Created => "created",
                Action::Updated => "updated",
                Action::Unchanged => "unchanged",
                Action::Adopted => "adopted",
            },
            release: Some(facts.release.clone()),
            deployment_id: placed.deployment_id.clone(),
            service_deployment: steady.service_deployment.clone(),
            task_definition: registered.arn.clone(),
            revision_reused: registered.reused,
            image: facts.image.as_ref().map(|image| image.uri()),
            digest: facts.digest().map(str::to_owned),
            tags: facts.image.as_ref().map_or_else(Vec::new, |image| image.tags.clone()),
            url,
            previous_task_definition: placed.previous.as_ref().map(|previous| previous.task_definition.clone()),
            desired_count: steady.desired,
            running_count: steady.running,
            around,
            duration_ms: took.as_millis() as u64,
        }
    }
}
