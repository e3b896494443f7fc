//! What a check came to: what stops a deploy, and what a person should know.

use serde::Serialize;

use crate::aws::Failure;
use crate::error::Error;

/// A check, and all that it found.
#[derive(Debug)]
pub struct Checked {
    /// Its name, as `--output json` has it.
    pub check: &'static str,
    /// What was looked at and found to be there; empty when there was nothing to look at.
    pub detail: String,
    pub findings: Vec<Error>,
    pub warnings: Vec<Warning>,
}

/// What stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    pub message: String,
    pub hint: Option<String>,
    /// The IAM action that the caller lacks to look.
    pub action: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    Ok,
    Warning,
    Finding,
    /// There is nothing of this kind to look at.
    None,
}

impl Checked {
    pub fn new(check: &'static str) -> Self {
        Checked { check, detail: String::new(), findings: Vec::new(), warnings: Vec::new() }
    }

    pub fn state(&self) -> State {
        match (self.findings.is_empty(), self.warnings.is_empty(), self.detail.is_empty()) {
            (false, ..) => State::Finding,
            (_, false, _) => State::Warning,
            (.., true) => State::None,
            _ => State::Ok,
        }
    }

    pub fn find(&mut self, error: Error) {
        // The default VPC, say, is missed by the network and by the load balancer.
        if !self.findings.iter().any(|known| known.to_string() == error.to_string()) {
            self.findings.push(error);
        }
    }

    pub fn warn(&mut self, message: impl Into<String>, hint: Option<String>) {
        self.warnings.push(Warning { message: message.into(), hint, action: None });
    }

    /// What could not be looked at: a warning that names the action where it was refused, never a stop.
    pub fn unread(&mut self, what: &str, failure: &Failure) {
        // A smaller server than AWS has nothing to say about it.
        if failure.is_unsupported() {
            return;
        }
        let denied = failure.is_denied();
        let warning = Warning {
            message: match denied {
                true => format!("{what} is not checked: the caller lacks {}", failure.action()),
                false => format!("{what} is not checked: {failure}"),
            },
            hint: failure.hint(),
            action: denied.then(|| failure.action()),
        };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Takes the findings and warnings of another in, and what it looked at.
    pub fn add(&mut self, other: Checked) {
        for detail in [other.detail].into_iter().filter(|detail| !detail.is_empty()) {
            self.looked_at(&detail);
        }
        other.findings.into_iter().for_each(|finding| self.find(finding));
        self.warnings.extend(other.warnings);
    }

    pub fn looked_at(&mut self, what: &str) {
        if !self.detail.is_empty() {
            self.detail.push_str(", ");
        }
        self.detail.push_str(what);
    }
}

/// `web and side` of names, each in backticks.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
