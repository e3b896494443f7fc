//! From observations to verdicts: all of a rollout's ends.

use steadystate::deploy::follow::steady::{Container, Observation, verdict};

use super::observations::{DIGEST, NEW, OLD, deployment, ended, good, name, ours, stopped, target, task, unseen, with};

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
        (
            "the service is not shown yet",
            with(|s| {
                s.service_status = String::new();
                s.appeared = false;
            }),
            "pending",
        ),
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
        (
            "one of two target groups has no healthy target",
            with(|s| {
                s.groups.push(vec!["other".into()]);
                s.targets.push(target("healthy"));
            }),
            "pending",
        ),
        (
            "blue and green: the traffic moved to the other group",
            with(|s| {
                s.groups = vec![vec!["tg".into(), "green".into()]];
                s.targets[0].group = "green".into();
            }),
            "steady",
        ),
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
        (
            "rolled back, and only an event tells it of ours",
            with(|s| {
                s.deployments = vec![deployment("ecs-svc/9", "PRIMARY", "COMPLETED", (1, 1, 0, 0))];
                s.deployments[0].task_definition = "arn:td/a:1".into();
                s.events = vec![format!("(service web) (deployment {NEW}) deployment failed: tasks failed to start.")];
            }),
            "rolled back",
        ),
        (
            "the old one is PRIMARY again, and nothing says why",
            with(|s| s.deployments = vec![deployment(OLD, "PRIMARY", "COMPLETED", (1, 1, 0, 0))]),
            "rolled back",
        ),
        (
            "a read that does not show ours yet",
            with(|s| {
                s.deployments = vec![deployment(OLD, "PRIMARY", "COMPLETED", (1, 1, 0, 0))];
                s.appeared = false;
            }),
            "pending",
        ),
        (
            "ours failed, and then somebody deployed another release",
            with(|s| {
                s.deployments = vec![deployment("ecs-svc/3", "PRIMARY", "IN_PROGRESS", (1, 0, 1, 0))];
                s.events = vec![format!("(service web) (deployment {NEW}) deployment failed: tasks failed to start.")];
            }),
            "superseded",
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
        (
            "service deployment: completed, but ECS still watches it",
            with(|s| s.service_deployment = ended("IN_PROGRESS")),
            "pending",
        ),
        (
            "service deployment: another's success, or ours before the deployment shows it",
            with(|s| {
                s.service_deployment = ended("SUCCESSFUL");
                s.deployments[0].rollout_state = Some("IN_PROGRESS".into());
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
        ("an alarm in its bake", with(|s| s.service_deployment = ended("ROLLBACK_REQUESTED")), "pending"),
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
        ("targets that may not be seen, done", with(unseen), "steady"),
        (
            "targets that may not be seen, with counts alone",
            with(|s| {
                unseen(s);
                s.deployments[0].rollout_state = None;
            }),
            "pending",
        ),
    ];
    for (row, seen, expected) in &rows {
        let found = verdict(seen, &ours());
        assert_eq!(name(&found), *expected, "{row}: {found:?}");
    }
    assert!(rows.len() >= 50);
}
