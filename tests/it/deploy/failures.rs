//! Which ends are failures, and what a failure says.

use steadystate::deploy::failure::{cause, causes};
use steadystate::deploy::follow::steady::{Ours, has_failed, verdict};

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
            "2 tasks stopped for the same cause, one of them t1: Essential container in task exited",
            "the container `web` exited with code 3"
        ]
    );
}

/// How many tasks with these reasons stopped for the same cause, by cause.
fn alike(reasons: &[&str]) -> Vec<usize> {
    let tasks: Vec<_> = reasons.iter().map(|reason| stopped("t", "TaskFailedToStart", reason)).collect();
    cause::groups(&tasks).iter().map(|group| group.tasks.len()).collect()
}

#[test]
fn ids_and_addresses_make_no_other_cause() {
    for same in [
        ["(instance i-0abc123def) (port 32768)", "(instance i-0fff999eee) (port 49153)"],
        ["request id: 1f2e3d4c-aaaa-bbbb-cccc-0123456789ab", "request id: 9f8e7d6c-dddd-eeee-ffff-ba9876543210"],
        ["Task failed ELB health checks in (target-group x)", "Task failed ELB health checks in (target-group x)"],
    ] {
        assert_eq!(alike(&same), [2], "{same:?}");
    }
    for other in [
        ["unexpected status code 403 Forbidden", "unexpected status code 404 Not Found"],
        ["Task failed to start", "Task failed container health checks"],
    ] {
        assert_eq!(alike(&other), [1, 1], "{other:?}");
    }
    assert_eq!(alike(&["a", "b", "a", "c", "a"]), [3, 1, 1], "the most frequent first");
}

#[test]
fn only_the_same_cause_fails_fast() {
    let rolling = |tasks: &[(&str, &str)], failed| {
        with(|seen| {
            seen.deployments = vec![deployment(NEW, "PRIMARY", "IN_PROGRESS", (1, 0, 1, failed))];
            seen.tasks = tasks.iter().map(|(id, reason)| stopped(id, "TaskFailedToStart", reason)).collect();
        })
    };
    let same = [("1", "pull failed"), ("2", "pull failed"), ("3", "pull failed")];
    let others = [("1", "pull failed"), ("2", "no secret"), ("3", "no volume")];
    assert_eq!(name(&verdict(&rolling(&same, 3), &ours())), "failed");
    assert_eq!(name(&verdict(&rolling(&others, 3), &ours())), "pending", "ECS's own breaker judges these");
    assert_eq!(name(&verdict(&rolling(&same[..2], 3), &ours())), "failed", "the one that nobody sees is the same");
    assert_eq!(name(&verdict(&rolling(&same[..2], 2), &ours())), "pending");
    assert_eq!(name(&verdict(&rolling(&[], 3), &ours())), "failed");
}

#[test]
fn what_several_have_in_common_is_said_once() {
    let reasons = ["CannotPullContainerError: not found", "CannotPullContainerError: not found", "no capacity, Error"];
    let seen = with(|seen| {
        seen.tasks = (1..)
            .zip(reasons)
            .map(|(at, reason)| {
                let mut task = stopped(&format!("t{at}"), "TaskFailedToStart", reason);
                task.stopped_at = at;
                task
            })
            .collect();
        seen.targets = ["a:80", "b:80"]
            .map(|id| {
                let mut sick = target("unhealthy");
                (sick.id, sick.reason) = (id.to_owned(), Some("Target.Timeout".to_owned()));
                sick
            })
            .to_vec();
    });
    assert_eq!(
        causes(&seen, &ours()),
        [
            "2 tasks stopped for the same cause, one of them t2: CannotPullContainerError: not found",
            "1 stopped for another cause: no capacity, Error",
            "2 targets are unhealthy (Target.Timeout), a:80 among them",
        ]
    );
}
