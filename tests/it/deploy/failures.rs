//! Which ends are failures, and what a failure says.

use steadystate::deploy::failure::causes;
use steadystate::deploy::steady::{Ours, has_failed, verdict};

use super::observations::{NEW, deployment, name, ours, stopped, target, task, with};

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

#[test]
fn a_task_that_is_still_stopping_hides_no_exit_code() {
    let mut crashed = stopped("t1", "EssentialContainerExited", "Essential container in task exited");
    crashed.containers[0].exit_code = Some(3);
    let mut stopping = stopped("t2", "EssentialContainerExited", "Essential container in task exited");
    stopping.last_status = "DEPROVISIONING".into();
    let found = causes(&with(|s| s.tasks = vec![crashed, stopping]), &ours());
    assert_eq!(
        found[..2],
        [
            "2 tasks stopped, one of them (t1): Essential container in task exited",
            "the container `web` exited with code 3"
        ]
    );
}
