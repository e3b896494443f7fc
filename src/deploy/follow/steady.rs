//! From what was observed to a verdict. Pure: all of a rollout's ends are rows of a table in the tests.

use super::running::Known;
use super::stage::Stage;
use crate::aws::Failure;
use crate::config::OnPause;
use crate::deploy::failure::cause;

/// One look at a service. Enums stay the texts that AWS sent: what a newer API adds is shown and taken as not terminal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// Empty when there is no such service.
    pub service_status: String,
    pub desired: i64,
    pub running: i64,
    pub pending: i64,
    pub deployments: Vec<Deployment>,
    /// Our deployment is listed, or was at an earlier look.
    pub appeared: bool,
    /// The texts of the service's events.
    pub events: Vec<String>,
    /// Ours, where the endpoint has service deployments.
    pub service_deployment: Option<ServiceDeployment>,
    /// Running tasks, and stopped ones as far as ECS still lists them.
    pub tasks: Vec<Task>,
    /// This role may not ask for tasks: `tasks` says nothing.
    pub tasks_denied: Option<Failure>,
    pub targets: Vec<Target>,
    /// This role may not ask for the targets' health: `targets` says nothing.
    pub targets_denied: Option<Failure>,
    /// The target groups of each load balancer that the service is attached to: one, or with blue/green deployments the
    /// two that take turns.
    pub groups: Vec<Vec<String>>,
    /// What the indexes name that were deployed.
    pub images: Known,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deployment {
    pub id: String,
    /// PRIMARY, ACTIVE or INACTIVE.
    pub status: String,
    /// `None` where the server has no rollout states.
    pub rollout_state: Option<String>,
    pub reason: String,
    pub task_definition: String,
    pub desired: i64,
    pub running: i64,
    pub pending: i64,
    pub failed: i64,
}

impl Deployment {
    /// ECS has not called it done or failed; a state that is not known is not terminal.
    pub fn goes_on(&self) -> bool {
        !matches!(self.rollout_state.as_deref(), Some("COMPLETED" | "FAILED"))
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceDeployment {
    pub arn: String,
    pub status: String,
    pub reason: String,
    pub stage: Stage,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Task {
    pub id: String,
    pub started_by: String,
    pub task_definition: String,
    pub last_status: String,
    pub desired_status: String,
    pub health: Option<String>,
    pub stop_code: Option<String>,
    pub stopped_reason: Option<String>,
    /// When it stopped or began to, in epoch milliseconds; 0 while it runs.
    pub stopped_at: i64,
    pub containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Container {
    pub name: String,
    /// The reference that the task definition names.
    pub image: String,
    /// What AWS says runs; `None` where it does not say.
    pub digest: Option<String>,
    /// Docker's id of it.
    pub runtime_id: Option<String>,
    pub exit_code: Option<i64>,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    pub group: String,
    /// `id:port`.
    pub id: String,
    pub state: String,
    pub reason: Option<String>,
    pub description: Option<String>,
}

/// What is followed.
#[derive(Debug, Clone, Default)]
pub struct Ours<'a> {
    pub deployment_id: &'a str,
    pub task_definition: &'a str,
    /// What the containers that run our image have to carry.
    pub digest: Option<&'a str>,
    /// Give up after so many tasks that failed for the same cause; 0 leaves it to ECS.
    pub fail_fast: u32,
    /// The service has target groups.
    pub expects_targets: bool,
    pub on_pause: OnPause,
    /// The deployments that there were when ours began. One of these as PRIMARY is never a newer one.
    pub before: &'a [Previous],
}

/// A deployment by its id, and what it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    pub task_definition: String,
    pub deployment_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet, and on what it waits.
    Pending(String),
    /// `note` says what could not be proved.
    Steady { note: Option<String> },
    /// It failed, and nobody brings the old release back yet.
    Failed(String),
    /// ECS is bringing the old release back.
    RollingBack(String),
    /// ECS brought the old release back.
    RolledBack(String),
    /// The rollback failed too.
    RollbackFailed(String),
    /// Another deployment took the place of ours.
    Superseded(String),
}

pub fn verdict(seen: &Observation, ours: &Ours<'_>) -> Verdict {
    match seen.service_status.as_str() {
        // Right after CreateService, a read may not show it yet.
        "" if !seen.appeared => return Verdict::Pending("waiting for the service to appear".into()),
        "" | "INACTIVE" => return Verdict::Failed("the service is gone: somebody deleted it".into()),
        "DRAINING" => return Verdict::Failed("the service is being deleted".into()),
        _ => {}
    }
    let own = seen.deployments.iter().find(|deployment| deployment.id == ours.deployment_id);
    let primary = seen.deployments.iter().find(|deployment| deployment.status == "PRIMARY");
    if let Some(ended) = by_service_deployment(seen, own, primary, ours) {
        return ended;
    }
    let Some(own) = own.filter(|own| own.status == "PRIMARY") else {
        return displaced(seen, own, primary, ours);
    };
    let record = seen.service_deployment.as_ref().map_or("", |record| &record.status);
    match own.rollout_state.as_deref() {
        Some("FAILED") => return Verdict::Failed(or(&own.reason, "ECS gave the deployment up")),
        // It bakes: alarms may still bring the old release back.
        Some("COMPLETED") if matches!(record, "PENDING" | "IN_PROGRESS") => {
            return Verdict::Pending("ECS watches the completed deployment".into());
        }
        // Away from ours, which is about to show, or back to ours.
        Some("COMPLETED") if matches!(record, "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS") => {
            return Verdict::Pending("ECS rolls a deployment back".into());
        }
        Some("COMPLETED") => return proved(seen, ours),
        // Counts alone prove nothing of targets that cannot be seen.
        None if ours.expects_targets && seen.targets_denied.is_some() => {
            return Verdict::Pending("the targets' health is not known".into());
        }
        None if own.running == own.desired && own.pending == 0 && seen.deployments.len() == 1 => {
            return proved(seen, ours);
        }
        _ => {}
    }
    if let Some(failed) = failed_alike(seen, own, ours) {
        return Verdict::Failed(failed);
    }
    Verdict::Pending(format!("{} of {} tasks running", own.running, own.desired))
}

fn by_service_deployment(
    seen: &Observation,
    own: Option<&Deployment>,
    primary: Option<&Deployment>,
    ours: &Ours<'_>,
) -> Option<Verdict> {
    let deployment = seen.service_deployment.as_ref()?;
    let reason = |otherwise: &str| or(&deployment.reason, otherwise);
    // Ours is what the rollback of another deployment leads to.
    if deployment.status.starts_with("ROLLBACK_")
        && deployment.status != "ROLLBACK_FAILED"
        && own.is_some_and(|own| own.status == "PRIMARY")
    {
        return None;
    }
    Some(match deployment.status.as_str() {
        "SUCCESSFUL" => match own {
            // The word that counts is our deployment's own: DescribeServices may lag behind.
            Some(own) if own.status == "PRIMARY" => return None,
            // It ended well, and then the next one came.
            _ => displaced(seen, own, primary, ours),
        },
        "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS" => Verdict::RollingBack(reason("the deployment failed")),
        "ROLLBACK_SUCCESSFUL" => Verdict::RolledBack(reason("the deployment failed")),
        "ROLLBACK_FAILED" => Verdict::RollbackFailed(reason("the rollback failed")),
        "STOPPED" | "STOP_REQUESTED" => match primary {
            Some(primary) if primary.id != ours.deployment_id => displaced(seen, own, Some(primary), ours),
            _ if deployment.status == "STOPPED" => Verdict::Failed(reason("the deployment was stopped")),
            _ => Verdict::Pending("the deployment is being stopped".into()),
        },
        // PENDING, IN_PROGRESS, and whatever a newer API says.
        _ => return None,
    })
}

/// Ours is not the PRIMARY deployment: rolled back by ECS, replaced by somebody, or not shown yet.
fn displaced(seen: &Observation, own: Option<&Deployment>, primary: Option<&Deployment>, ours: &Ours<'_>) -> Verdict {
    let waiting = || Verdict::Pending("waiting for the deployment to appear".into());
    let Some(primary) = primary else { return waiting() };
    let failed = own.is_some_and(|own| own.rollout_state.as_deref() == Some("FAILED")) || failed_by_events(seen, ours);
    let was_there = ours.before.iter().any(|before| before.deployment_id == primary.id);
    let runs_old =
        ours.before.is_empty() || ours.before.iter().any(|before| before.task_definition == primary.task_definition);
    let back = primary.reason.contains("rolling back") || (was_there && seen.appeared) || (failed && runs_old);
    if back {
        let said = if primary.reason.contains("rolling back") { &primary.reason } else { "the deployment failed" };
        let why = own.map_or(said.to_owned(), |own| or(&own.reason, said));
        return match primary.rollout_state.as_deref() {
            Some("COMPLETED") | None => Verdict::RolledBack(why),
            Some("FAILED") => Verdict::RollbackFailed(why),
            _ => Verdict::RollingBack(why),
        };
    }
    if was_there {
        return waiting();
    }
    let revision = primary.task_definition.rsplit('/').next().unwrap_or_default();
    Verdict::Superseded(format!("deployment {} of {revision} took the place of ours", primary.id))
}

/// `(service X) (deployment ecs-svc/N) deployment failed: tasks failed to start.` stays when the deployment is gone from
/// the list.
fn failed_by_events(seen: &Observation, ours: &Ours<'_>) -> bool {
    let told = format!("(deployment {}) deployment failed", ours.deployment_id);
    seen.events.iter().any(|event| event.contains(&told))
}

/// ECS calls it done; what runs has to prove it.
fn proved(seen: &Observation, ours: &Ours<'_>) -> Verdict {
    if seen.running != seen.desired || seen.pending > 0 {
        return Verdict::Pending(format!("{} of {} tasks running", seen.running, seen.desired));
    }
    if seen.desired == 0 {
        return Verdict::Steady { note: Some("the desired count is 0: no task proved healthy".into()) };
    }
    let runs = |task: &&Task| task.last_status == "RUNNING" && task.desired_status != "STOPPED" && fits(task, ours);
    let running: Vec<&Task> = seen.tasks.iter().filter(runs).collect();
    if (running.len() as i64) < seen.desired && seen.tasks_denied.is_none() {
        return Verdict::Pending(format!(
            "{} of {} tasks of this deployment seen running",
            running.len(),
            seen.desired
        ));
    }
    let mut note = None;
    if let Some(digest) = ours.digest {
        let carries = |container: &&Container| container.image.ends_with(digest);
        let containers = running.iter().flat_map(|task| task.containers.iter().filter(carries));
        let mut proofs = 0;
        for container in containers {
            match seen.images.proves(container) {
                Some(false) => {
                    let (name, runs) = (&container.name, container.digest.as_deref().unwrap_or_default());
                    return Verdict::Failed(format!("the container `{name}` runs {runs} where {digest} was deployed"));
                }
                Some(true) => proofs += 1,
                None => {}
            }
        }
        if seen.tasks_denied.is_some() {
            note = Some("ECS's own word counts: this role may not look at the tasks".into());
        } else if proofs == 0 {
            note = Some("the tasks do not say which digest they run".into());
        }
    }
    // ECS itself calls a deployment completed only when its targets are healthy.
    let expects_targets = ours.expects_targets && seen.targets_denied.is_none();
    if expects_targets && seen.groups.is_empty() {
        return Verdict::Pending("waiting for the service's target groups".into());
    }
    for groups in seen.groups.iter().filter(|_| expects_targets) {
        let healthy = |target: &&Target| target.state == "healthy" && groups.contains(&target.group);
        let healthy = seen.targets.iter().filter(healthy).count() as i64;
        if healthy < seen.desired {
            return Verdict::Pending(format!("{healthy} of {} targets healthy", seen.desired));
        }
    }
    Verdict::Steady { note }
}

/// After a rollback the tasks of the old deployment stay, under the id that started them.
pub fn fits(task: &Task, ours: &Ours<'_>) -> bool {
    is_ours(task, ours) || task.task_definition == ours.task_definition
}

pub fn is_ours(task: &Task, ours: &Ours<'_>) -> bool {
    task.started_by == ours.deployment_id
        || (!task.started_by.starts_with("ecs-svc/") && task.task_definition == ours.task_definition)
}

/// Tasks that stopped for different causes may be bad luck, which ECS's own circuit breaker judges; enough that stopped for
/// the same one are not. Those that ECS counts and nobody sees are taken for more of the same.
fn failed_alike(seen: &Observation, own: &Deployment, ours: &Ours<'_>) -> Option<String> {
    let failed: Vec<&Task> = failures(seen, ours).collect();
    let alike = cause::groups(failed.iter().copied()).first().map_or(0, |group| group.tasks.len()) as i64;
    let unseen = (own.failed - failed.len() as i64).max(0);
    let count = alike + unseen;
    if ours.fail_fast == 0 || count < i64::from(ours.fail_fast) {
        return None;
    }
    Some(match alike {
        0 | 1 => format!("{count} tasks of this deployment failed"),
        _ => format!("{count} tasks of this deployment stopped for the same cause"),
    })
}

/// Tasks of our deployment that ended by themselves or were found unhealthy; scaling and stopping by hand are no failures.
pub fn failures<'a>(seen: &'a Observation, ours: &Ours<'_>) -> impl Iterator<Item = &'a Task> {
    seen.tasks.iter().filter(|task| is_ours(task, ours) && has_failed(task))
}

pub fn has_failed(task: &Task) -> bool {
    if !matches!(task.last_status.as_str(), "STOPPED" | "DEPROVISIONING" | "STOPPING" | "DEACTIVATING") {
        return false;
    }
    let reason = task.stopped_reason.as_deref().unwrap_or_default();
    match task.stop_code.as_deref() {
        Some("TaskFailedToStart" | "EssentialContainerExited") => true,
        Some("UserInitiated" | "SpotInterruption" | "TerminationNotice") => false,
        _ => reason.contains("failed") || reason.contains("Essential container") || reason.contains("Error"),
    }
}

fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
}
