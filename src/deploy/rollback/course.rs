//! Where a rollback leads, from what a service ran before. Pure: table-tested.
//!
//! The releases that ended well make a path: a new one is put at its end, and going back to an earlier one takes those
//! after it off. A service that was brought back stays where it is until somebody names another release: asked twice,
//! whoever asks at night means the same place both times.

use serde_json::Value;

use super::history::{Past, Release};
use crate::aws::reply::text;

/// What a rollback has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Course<'a> {
    /// The service is back already, from this deployment.
    Back { from: &'a Past },
    /// Something leads back already: a rollback of ECS's, or a deployment of an earlier release.
    GoingBack,
    /// This deployment is in progress, and ECS can take it back.
    Stop { deployment: &'a Past },
    /// To this release, by an update.
    To { past: &'a Past },
    /// No release before this one is known to have been good.
    Nowhere,
}

/// The releases that ended well and lead to what runs now, oldest first.
#[derive(Debug, Default)]
pub struct Path<'a> {
    pub good: Vec<&'a Past>,
    /// From what the service was brought back to the end of the path, if it was.
    pub left: Option<&'a Past>,
    /// What failed since, with nobody bringing the old release back.
    failed: Option<&'a Past>,
}

/// `history` has the oldest first.
pub fn path(history: &[Past]) -> Path<'_> {
    let mut path = Path::default();
    for past in history.iter().filter(|past| past.is_over()) {
        let known = path.good.iter().position(|good| good.release.is(&past.release));
        match (past.status.as_str(), known) {
            ("SUCCESSFUL", Some(at)) => {
                let popped = path.good.get(at + 1..).and_then(|after| after.last().copied());
                path.left = path.failed.take().or(popped).or(path.left);
                path.good.truncate(at);
                path.good.push(past);
            }
            ("SUCCESSFUL", None) => {
                path.good.push(past);
                (path.left, path.failed) = (None, None);
            }
            // Another try at what had been good once: the service is where it was before that.
            ("ROLLBACK_SUCCESSFUL", Some(_)) => path.failed = None,
            ("ROLLBACK_SUCCESSFUL", None) => (path.left, path.failed) = (Some(past), None),
            (_, Some(_)) => {}
            (_, None) => path.failed = Some(past),
        }
    }
    path
}

/// `primary` is the service's PRIMARY deployment as DescribeServices has it.
pub fn course<'a>(history: &'a [Past], primary: &Value) -> Course<'a> {
    let path = path(history);
    let newest = history.last();
    if let Some(deployment) = newest.filter(|newest| !newest.is_over()) {
        let known = path.good.iter().position(|good| good.release.is(&deployment.release));
        match (deployment.status.as_str(), known) {
            ("ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS", _) => return Course::GoingBack,
            // It is being ended as it is, and does not come back by itself.
            ("STOP_REQUESTED", _) => return path.good.last().map_or(Course::Nowhere, |past| Course::To { past }),
            (_, None) => return Course::Stop { deployment },
            (_, Some(at)) if at + 1 < path.good.len() || path.failed.is_some() || path.left.is_some() => {
                return Course::GoingBack;
            }
            // The same release once more: the one before it is meant.
            _ => {}
        }
    }
    let current = text(primary, "taskDefinition");
    let Some(top) = path.good.last() else { return Course::Nowhere };
    let failed = path.failed.is_some_and(|failed| failed.release.task_definition == current);
    let runs = path.good.iter().rposition(|good| good.release.task_definition == current);
    if runs.is_some_and(|at| at + 1 < path.good.len()) && !failed {
        // An earlier one runs, and the history does not show yet how it came there.
        return match text(primary, "rolloutState") {
            "IN_PROGRESS" => Course::GoingBack,
            _ => Course::Back { from: top },
        };
    }
    if failed || top.release.task_definition != current {
        return Course::To { past: top };
    }
    match (path.left, path.good.len().checked_sub(2)) {
        (Some(from), _) => Course::Back { from },
        (None, Some(before)) => Course::To { past: path.good[before] },
        (None, None) => Course::Nowhere,
    }
}

/// The release that was good before `ours`, as far as this history goes.
pub fn good_before<'a>(history: &'a [Past], ours: &Release) -> Option<&'a Past> {
    path(history).good.into_iter().rev().find(|past| !past.release.is(ours))
}
