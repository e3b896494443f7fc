//! From observations to verdicts: all of a rollout's ends.

use steadystate::deploy::failure::causes;
use steadystate::deploy::steady::{
    Container, Deployment, Observation, Ours, ServiceDeployment, Target, Task, Verdict, has_failed, verdict,
};

const NEW: &str = "ecs-svc/2";
const OLD: &str = "ecs-svc/1";
const DIGEST: &str = "sha256:aaaa";

fn deployment(
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
        task_definition: if id == NEW { "arn:td/a:2".into() } else { "arn:td/a:1".into() },
        desired,
        running,
        pending,
        failed,
    }
}

fn task(id: &str, by: &str, digest: Option<&str>) -> Task {
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

fn stopped(id: &str, code: &str, reason: &str) -> Task {
    let mut task = task(id, NEW, None);
    task.last_status = "STOPPED".into();
    task.desired_status = "STOPPED".into();
    task.stop_code = Some(code.into());
    task.stopped_reason = Some(reason.into());
    task
}

fn target(state: &str) -> Target {
    Target { group: "tg".into(), id: "i-1:80".into(), state: state.into(), ..Target::default() }
}

fn ours<'a>() -> Ours<'a> {
    Ours {
        deployment_id: NEW,
        task_definition: "arn:td/a:2",
        digest: Some(DIGEST),
        fail_fast: 3,
        expects_targets: true,
    }
}

/// One task, healthy, ours, done.
fn good() -> Observation {
    Observation {
        service_status: "ACTIVE".into(),
        desired: 1,
        running: 1,
        pending: 0,
        deployments: vec![deployment(NEW, "PRIMARY", "COMPLETED", (1, 1, 0, 0))],
        service_deployment: None,
        tasks: vec![task("t1", NEW, Some(DIGEST))],
        targets: vec![target("healthy")],
    }
}

fn with(change: impl FnOnce(&mut Observation)) -> Observation {
    let mut seen = good();
    change(&mut seen);
    seen
}

fn ended(status: &str) -> Option<ServiceDeployment> {
    Some(ServiceDeployment { arn: "sd".into(), status: status.into(), reason: String::new() })
}

fn name(verdict: &Verdict) -> &'static str {
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

#[test]
fn the_table_of_verdicts() {
    let old_back = |state: &str| {
        let mut back = deployment(OLD, "PRIMARY", state, (1, 1, 0, 0));
        back.reason = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1.".into();
        vec![back, deployment(NEW, "ACTIVE", "FAILED", (0, 0, 0, 3))]
    };
    let third = || {
        vec![
            deployment("ecs-svc/3", "PRIMARY", "IN_PROGRESS", (1, 0, 1, 0)),
            deployment(NEW, "ACTIVE", "IN_PROGRESS", (1, 1, 0, 0)),
        ]
    };
    let rolling = |s: &mut Observation| {
        s.deployments = vec![
            deployment(NEW, "PRIMARY", "IN_PROGRESS", (1, 0, 1, 0)),
            deployment(OLD, "ACTIVE", "COMPLETED", (1, 1, 0, 0)),
        ]
    };
    let rows: Vec<(&str, Observation, &str)> = vec![
        ("done, digest and target proved", good(), "steady"),
        ("the service is gone", with(|s| s.service_status = String::new()), "failed"),
        ("the service was deleted", with(|s| s.service_status = "INACTIVE".into()), "failed"),
        ("the service is being deleted", with(|s| s.service_status = "DRAINING".into()), "failed"),
        (
            "right after the update, all is 0",
            with(|s| {
                s.deployments = vec![
                    deployment(NEW, "PRIMARY", "IN_PROGRESS", (0, 0, 0, 0)),
                    deployment(OLD, "ACTIVE", "COMPLETED", (1, 1, 0, 0)),
                ]
            }),
            "pending",
        ),
        ("rolling", with(rolling), "pending"),
        (
            "running, but ECS has not said so",
            with(|s| s.deployments[0].rollout_state = Some("IN_PROGRESS".into())),
            "pending",
        ),
        (
            "a rollout state from the future",
            with(|s| s.deployments[0].rollout_state = Some("PONDERING".into())),
            "pending",
        ),
        ("our deployment is not listed yet", with(|s| s.deployments = Vec::new()), "pending"),
        ("completed, a task still pending", with(|s| s.pending = 1), "pending"),
        ("completed, scaled up meanwhile", with(|s| s.desired = 2), "pending"),
        ("completed, the task is not listed yet", with(|s| s.tasks = Vec::new()), "pending"),
        ("completed, the task is being stopped", with(|s| s.tasks[0].desired_status = "STOPPED".into()), "pending"),
        ("completed, only an old task", with(|s| s.tasks = vec![task("t0", OLD, Some(DIGEST))]), "pending"),
        ("completed, the tasks of the same revision stayed", with(|s| s.tasks[0].started_by = OLD.into()), "steady"),
        ("another digest runs", with(|s| s.tasks[0].containers[0].digest = Some("sha256:bbbb".into())), "failed"),
        ("AWS does not say the digest", with(|s| s.tasks[0].containers[0].digest = None), "steady, with a note"),
        (
            "a sidecar has a digest of its own",
            with(|s| {
                s.tasks[0].containers.push(Container {
                    name: "side".into(),
                    image: "other:1".into(),
                    digest: Some("sha256:cccc".into()),
                    ..Container::default()
                })
            }),
            "steady",
        ),
        ("the target is still initial", with(|s| s.targets = vec![target("initial")]), "pending"),
        ("no target yet", with(|s| s.targets = Vec::new()), "pending"),
        ("the old target is draining", with(|s| s.targets.push(target("draining"))), "steady"),
        (
            "nothing desired",
            with(|s| {
                s.desired = 0;
                s.running = 0;
                s.tasks.clear();
                s.targets.clear();
            }),
            "steady, with a note",
        ),
        (
            "the circuit breaker gave up, nothing to go back to",
            with(|s| s.deployments[0].rollout_state = Some("FAILED".into())),
            "failed",
        ),
        ("the circuit breaker rolls back", with(|s| s.deployments = old_back("IN_PROGRESS")), "rolling back"),
        ("the circuit breaker rolled back", with(|s| s.deployments = old_back("COMPLETED")), "rolled back"),
        (
            "rolled back, ours is not listed any more",
            with(|s| {
                s.deployments = old_back("COMPLETED");
                s.deployments.truncate(1);
            }),
            "rolled back",
        ),
        ("the rollback failed", with(|s| s.deployments = old_back("FAILED")), "rollback failed"),
        ("somebody deployed after us", with(|s| s.deployments = third()), "superseded"),
        (
            "somebody deployed after us, and is done",
            with(|s| {
                s.deployments = third();
                s.deployments.truncate(1);
            }),
            "superseded",
        ),
        ("no rollout states, counts fit", with(|s| s.deployments[0].rollout_state = None), "steady"),
        (
            "no rollout states, the old one is still there",
            with(|s| {
                s.deployments[0].rollout_state = None;
                s.deployments.push(deployment(OLD, "ACTIVE", "", (1, 1, 0, 0)));
            }),
            "pending",
        ),
        (
            "no rollout states, not all running",
            with(|s| {
                s.deployments[0].rollout_state = None;
                s.deployments[0].running = 0;
            }),
            "pending",
        ),
        // Service deployments.
        (
            "service deployment: pending",
            with(|s| {
                rolling(s);
                s.service_deployment = ended("PENDING");
            }),
            "pending",
        ),
        (
            "service deployment: in progress",
            with(|s| {
                rolling(s);
                s.service_deployment = ended("IN_PROGRESS");
            }),
            "pending",
        ),
        (
            "service deployment: a status from the future",
            with(|s| {
                rolling(s);
                s.service_deployment = ended("BAKING_BREAD");
            }),
            "pending",
        ),
        ("service deployment: successful", with(|s| s.service_deployment = ended("SUCCESSFUL")), "steady"),
        (
            "service deployment: successful, digest wrong",
            with(|s| {
                s.service_deployment = ended("SUCCESSFUL");
                s.tasks[0].containers[0].digest = Some("sha256:b".into());
            }),
            "failed",
        ),
        (
            "service deployment: successful, then superseded",
            with(|s| {
                s.service_deployment = ended("SUCCESSFUL");
                s.deployments = third();
            }),
            "superseded",
        ),
        (
            "service deployment: rollback requested",
            with(|s| {
                s.deployments = old_back("IN_PROGRESS");
                s.service_deployment = ended("ROLLBACK_REQUESTED");
            }),
            "rolling back",
        ),
        (
            "service deployment: rollback in progress",
            with(|s| {
                s.deployments = old_back("COMPLETED");
                s.service_deployment = ended("ROLLBACK_IN_PROGRESS");
            }),
            "rolling back",
        ),
        (
            "service deployment: rolled back",
            with(|s| {
                s.deployments = old_back("COMPLETED");
                s.service_deployment = ended("ROLLBACK_SUCCESSFUL");
            }),
            "rolled back",
        ),
        (
            "service deployment: rolled back is never steady",
            with(|s| {
                s.deployments = old_back("COMPLETED");
                s.service_deployment = ended("ROLLBACK_SUCCESSFUL");
                s.running = 1;
            }),
            "rolled back",
        ),
        (
            "service deployment: rollback failed",
            with(|s| s.service_deployment = ended("ROLLBACK_FAILED")),
            "rollback failed",
        ),
        ("service deployment: stopped by hand", with(|s| s.service_deployment = ended("STOPPED")), "failed"),
        ("service deployment: stop requested", with(|s| s.service_deployment = ended("STOP_REQUESTED")), "pending"),
        (
            "service deployment: stopped for another",
            with(|s| {
                s.deployments = third();
                s.service_deployment = ended("STOPPED");
            }),
            "superseded",
        ),
        (
            "a rollback to our very deployment, under way",
            with(|s| {
                s.service_deployment = ended("ROLLBACK_IN_PROGRESS");
                s.deployments[0].rollout_state = Some("IN_PROGRESS".into());
            }),
            "pending",
        ),
        (
            "a rollback to our very deployment, done",
            with(|s| s.service_deployment = ended("ROLLBACK_SUCCESSFUL")),
            "steady",
        ),
        // Failing fast.
        (
            "three crashed",
            with(|s| {
                rolling(s);
                s.tasks = (0..3)
                    .map(|n| stopped(&n.to_string(), "EssentialContainerExited", "Essential container in task exited"))
                    .collect();
            }),
            "failed",
        ),
        (
            "two crashed",
            with(|s| {
                rolling(s);
                s.tasks = (0..2).map(|n| stopped(&n.to_string(), "EssentialContainerExited", "x")).collect();
            }),
            "pending",
        ),
        (
            "three by ECS's own count",
            with(|s| {
                rolling(s);
                s.deployments[0].failed = 3;
            }),
            "failed",
        ),
        (
            "three scaled in",
            with(|s| {
                rolling(s);
                s.tasks = (0..3)
                    .map(|n| {
                        stopped(
                            &n.to_string(),
                            "ServiceSchedulerInitiated",
                            "Scaling activity initiated by (deployment ecs-svc/2)",
                        )
                    })
                    .collect();
            }),
            "pending",
        ),
        (
            "three stopped by hand",
            with(|s| {
                rolling(s);
                s.tasks = (0..3).map(|n| stopped(&n.to_string(), "UserInitiated", "x")).collect();
            }),
            "pending",
        ),
        (
            "three of another deployment crashed",
            with(|s| {
                rolling(s);
                s.tasks = (0..3)
                    .map(|n| {
                        let mut t = stopped(&n.to_string(), "EssentialContainerExited", "x");
                        t.started_by = OLD.into();
                        t
                    })
                    .collect();
            }),
            "pending",
        ),
        (
            "three failed their health checks",
            with(|s| {
                rolling(s);
                s.tasks = (0..3)
                    .map(|n| {
                        stopped(
                            &n.to_string(),
                            "ServiceSchedulerInitiated",
                            "Task failed ELB health checks in (target-group arn)",
                        )
                    })
                    .collect();
            }),
            "failed",
        ),
        ("done after failures", with(|s| s.deployments[0].failed = 9), "steady"),
    ];
    for (row, seen, expected) in &rows {
        let found = verdict(seen, &ours());
        assert_eq!(name(&found), *expected, "{row}: {found:?}");
    }
    assert!(rows.len() >= 50);
}

#[test]
fn what_is_not_expected_is_not_asked_for() {
    let no_targets = Ours { expects_targets: false, ..ours() };
    assert_eq!(name(&verdict(&with(|s| s.targets.clear()), &no_targets)), "steady");
    let no_digest = Ours { digest: None, ..ours() };
    assert_eq!(name(&verdict(&with(|s| s.tasks[0].containers[0].digest = None), &no_digest)), "steady");
    let patient = Ours { fail_fast: 0, ..ours() };
    let failing = with(|s| {
        s.deployments = vec![deployment(NEW, "PRIMARY", "IN_PROGRESS", (1, 0, 1, 9))];
    });
    assert_eq!(name(&verdict(&failing, &patient)), "pending", "fail_fast 0 leaves it to ECS");
}

#[test]
fn which_ends_of_a_task_are_failures() {
    for (code, reason, expected) in [
        ("TaskFailedToStart", "Task failed to start", true),
        ("TaskFailedToStart", "ResourceInitializationError: x", true),
        ("EssentialContainerExited", "Essential container in task exited", true),
        ("ServiceSchedulerInitiated", "Task failed container health checks", true),
        ("ServiceSchedulerInitiated", "Scaling activity initiated by (deployment ecs-svc/2)", false),
        ("UserInitiated", "Task stopped by user, it failed", false),
        ("SpotInterruption", "x", false),
    ] {
        assert_eq!(has_failed(&stopped("t", code, reason)), expected, "{code} {reason}");
    }
    assert!(!has_failed(&task("t", NEW, None)), "a running task has not failed");
}

#[test]
fn a_failure_says_reason_exit_code_and_target() {
    let mut crashed = stopped("t9", "EssentialContainerExited", "Essential container in task exited");
    crashed.containers[0].exit_code = Some(137);
    crashed.containers[0].reason = Some("OutOfMemoryError: Container killed due to memory usage".into());
    let mut sick = target("unhealthy");
    sick.reason = Some("Target.ResponseCodeMismatch".into());
    sick.description = Some("Health checks failed with these codes: [500]".into());
    let seen = with(|s| {
        s.tasks = vec![crashed];
        s.targets = vec![sick];
    });
    assert_eq!(
        causes(&seen, &ours()),
        [
            "a task stopped (t9): Essential container in task exited",
            "the container `web` exited with code 137: OutOfMemoryError: Container killed due to memory usage",
            "the target i-1:80 is unhealthy (Target.ResponseCodeMismatch: Health checks failed with these codes: [500])",
        ]
    );
}
