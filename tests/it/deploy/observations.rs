//! Observations to judge: a good one, and ways to spoil it.

use std::sync::LazyLock;

use steadystate::aws::Failure;
use steadystate::deploy::follow::running::Known;
use steadystate::deploy::follow::steady::{
    Container, Deployment, Observation, Ours, Previous, ServiceDeployment, Target, Task, Verdict,
};

pub const NEW: &str = "ecs-svc/2";
pub const OLD: &str = "ecs-svc/1";
pub const DIGEST: &str = "sha256:aaaa";

pub fn deployment(
    id: &str,
    status: &str,
    rollout: &str,
    (desired, running, pending, failed): (i64, i64, i64, i64),
) -> Deployment {
    Deployment {
        id: id.into(),
        status: status.into(),
        rollout_state: Some(rollout.to_owned()).filter(|state| !state.is_empty()),
        reason: String::new(),
        task_definition: match id {
            NEW => "arn:td/a:2".into(),
            OLD => "arn:td/a:1".into(),
            _ => "arn:td/a:3".into(),
        },
        desired,
        running,
        pending,
        failed,
    }
}

pub fn task(id: &str, by: &str, digest: Option<&str>) -> Task {
    Task {
        id: id.into(),
        started_by: by.into(),
        task_definition: if by == NEW { "arn:td/a:2".into() } else { "arn:td/a:1".into() },
        last_status: "RUNNING".into(),
        desired_status: "RUNNING".into(),
        containers: vec![Container {
            name: "web".into(),
            image: format!("repo@{DIGEST}"),
            digest: digest.map(str::to_owned),
            ..Container::default()
        }],
        ..Task::default()
    }
}

pub fn stopped(id: &str, code: &str, reason: &str) -> Task {
    let mut task = task(id, NEW, None);
    task.last_status = "STOPPED".into();
    task.desired_status = "STOPPED".into();
    task.stop_code = Some(code.into());
    task.stopped_reason = Some(reason.into());
    task
}

pub fn target(state: &str) -> Target {
    Target { group: "tg".into(), id: "i-1:80".into(), state: state.into(), ..Target::default() }
}

pub fn ours<'a>() -> Ours<'a> {
    static BEFORE: LazyLock<Vec<Previous>> =
        LazyLock::new(|| vec![Previous { task_definition: "arn:td/a:1".into(), deployment_id: OLD.into() }]);
    Ours {
        on_pause: Default::default(),
        deployment_id: NEW,
        task_definition: "arn:td/a:2",
        digest: Some(DIGEST),
        fail_fast: 3,
        expects_targets: true,
        before: &BEFORE,
    }
}

/// One task, healthy, ours, done.
pub fn good() -> Observation {
    Observation {
        service_status: "ACTIVE".into(),
        desired: 1,
        running: 1,
        pending: 0,
        deployments: vec![deployment(NEW, "PRIMARY", "COMPLETED", (1, 1, 0, 0))],
        appeared: true,
        events: Vec::new(),
        service_deployment: None,
        tasks: vec![task("t1", NEW, Some(DIGEST))],
        tasks_denied: None,
        targets: vec![target("healthy")],
        targets_denied: None,
        groups: vec![vec!["tg".into()]],
        images: Known::default(),
    }
}

pub fn with(change: impl FnOnce(&mut Observation)) -> Observation {
    let mut seen = good();
    change(&mut seen);
    seen
}

/// This role may not ask for the targets' health.
pub fn unseen(seen: &mut Observation) {
    seen.targets.clear();
    seen.targets_denied = Some(Failure::late("ELBv2", "DescribeTargetHealth"));
}

pub fn ended(status: &str) -> Option<ServiceDeployment> {
    Some(ServiceDeployment {
        arn: "sd".into(),
        status: status.into(),
        reason: String::new(),
        ..ServiceDeployment::default()
    })
}

pub fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pending(_) => "pending",
        Verdict::Steady { note: None } => "steady",
        Verdict::Steady { note: Some(_) } => "steady, with a note",
        Verdict::Failed(_) => "failed",
        Verdict::RollingBack(_) => "rolling back",
        Verdict::RolledBack(_) => "rolled back",
        Verdict::RollbackFailed(_) => "rollback failed",
        Verdict::Superseded(_) => "superseded",
    }
}
