//! The preflight by itself: whether a release could be made now. Builds nothing and changes nothing.

use std::time::Instant;

use serde::Serialize;

use super::event::{Events, Step};
use super::preflight::checked::{Checked, State, Warning};
use super::preflight::{self, Purpose, Survey};
use crate::aws::Clients;
use crate::config::Plan;
use crate::error::{Error, Kind, Result};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// `ready`, or `notReady` when something was found.
    pub status: &'static str,
    pub service: String,
    pub cluster: String,
    pub region: String,
    pub account_id: String,
    /// The caller's ARN.
    pub caller: String,
    pub checks: Vec<Check>,
    pub duration_ms: u64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub check: &'static str,
    pub state: State,
    pub detail: String,
    pub findings: Vec<Finding>,
    pub warnings: Vec<Warning>,
}

/// What would stop a deploy, and what to do about it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub message: String,
    pub hints: Vec<String>,
}

/// # Errors
/// All findings together, with the checks as results.
pub async fn verify(plan: &Plan, clients: &Clients, events: &Events) -> Result<Verified> {
    let started = Instant::now();
    let work = preflight::survey(plan, clients, events, Purpose::Verify);
    let survey = super::step(events, Step::Preflight, work, detail).await?;
    let Survey { ground, checks } = survey;
    for warning in checks.iter().flat_map(|checked| &checked.warnings) {
        events.warn(warning.message.clone(), warning.hint.clone());
    }
    let verified = Verified {
        status: if checks.iter().all(|checked| checked.findings.is_empty()) { "ready" } else { "notReady" },
        service: plan.service.clone(),
        cluster: plan.cluster.clone(),
        region: clients.region.clone(),
        account_id: ground.identity.account_id.clone(),
        caller: ground.identity.arn.clone(),
        checks: checks.iter().map(Check::of).collect(),
        duration_ms: started.elapsed().as_millis() as u64,
    };
    let findings = checks.into_iter().flat_map(|checked| checked.findings).collect();
    let Some(found) = Error::all(findings) else { return Ok(verified) };
    let results =
        serde_json::to_value(&verified).map_err(|error| Error::other("the result is no JSON").cause(error))?;
    // A document that cannot be meant is found where it meets what there is, too.
    let found = found.with_kind(Kind::Preflight).hint(preflight::who(&ground.identity, clients));
    Err(found.with_results(results))
}

fn detail(survey: &Survey) -> String {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let findings = survey.checks.iter().map(|checked| checked.findings.len()).sum();
    let warnings = survey.checks.iter().map(|checked| checked.warnings.len()).sum();
    format!("{}, {}", counted(findings, "finding"), counted(warnings, "warning"))
}

impl Check {
    fn of(checked: &Checked) -> Self {
        let findings = checked.findings.iter();
        Check {
            check: checked.check,
            state: checked.state(),
            detail: checked.detail.clone(),
            findings: findings
                .map(|error| Finding { message: error.to_string(), hints: error.hints().to_vec() })
                .collect(),
            warnings: checked.warnings.clone(),
        }
    }
}
