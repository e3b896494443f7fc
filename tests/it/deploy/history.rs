//! Which release a rollback leads to.

use serde_json::json;
use steadystate::deploy::history::{Release, family_and_revision, previous, rollback_under_way};
use steadystate::deploy::rollback_command::{registrable, revision_name};

#[test]
fn the_release_before() {
    for (row, successes, current, expected) in [
        ("one before", vec![1, 2], 2, Some(1)),
        ("the first has none before", vec![1], 1, None),
        ("no history", vec![], 1, None),
        ("what runs never ended well", vec![1, 2], 3, Some(2)),
        ("a revision between failed: it is not among these", vec![1, 3], 3, Some(1)),
        ("after a rollback, once more goes back further", vec![1, 2, 3, 2], 2, Some(1)),
        ("after two rollbacks nothing is left", vec![1, 2, 1], 1, None),
        ("deployed again after a rollback", vec![1, 2, 1, 2], 2, Some(1)),
        ("rolled back, then a new one", vec![1, 2, 1, 3], 3, Some(1)),
        ("forced deployments of the same", vec![1, 2, 2, 2], 2, Some(1)),
    ] {
        let successes = releases(&successes);
        let found = previous(&successes, &format!("a:{current}"));
        assert_eq!(found.map(number), expected, "{row}");
    }
}

fn releases(numbers: &[i64]) -> Vec<Release> {
    let release = |n: &i64| Release { task_definition: format!("a:{n}"), service_revision: None, created_at: *n };
    numbers.iter().map(release).collect()
}

fn number(release: &Release) -> i64 {
    family_and_revision(&release.task_definition).1
}

#[test]
fn a_rollback_that_is_under_way_is_followed_and_not_gone_beyond() {
    let (rolling, done, failed) = ("IN_PROGRESS", "COMPLETED", "ECS deployment circuit breaker: rolling back to a:2.");
    for (row, successes, leads_to, state, reason, expected) in [
        ("a stopped run's rollback", vec![1, 2, 3], 2, rolling, "ECS deployment in progress.", Some(2)),
        ("it has ended: once more goes back further", vec![1, 2, 3], 2, done, "", None),
        ("a new release", vec![1, 2, 3], 4, rolling, "", None),
        ("the last one, forced", vec![1, 2, 3], 3, rolling, "", None),
        ("an older one by hand", vec![1, 2, 3], 1, rolling, "", None),
        ("ECS's own rollback", vec![1, 2], 2, rolling, failed, Some(2)),
        ("no history", vec![], 1, rolling, "", None),
    ] {
        let primary =
            json!({ "taskDefinition": format!("a:{leads_to}"), "rolloutState": state, "rolloutStateReason": reason });
        let successes = releases(&successes);
        assert_eq!(rollback_under_way(&successes, &primary).map(number), expected, "{row}");
    }
}

#[test]
fn revisions_by_their_names() {
    let current = "arn:aws:ecs:us-west-2:123456789012:task-definition/hello:9";
    for (to, expected) in [("7", "hello:7"), ("hello:7", "hello:7"), ("other:12", "other:12"), (current, current)] {
        assert_eq!(revision_name(to, current).expect("a revision"), expected);
    }
    for to in ["0", "-1", "hello", "hello:", "hello:x", ":7", ""] {
        let error = revision_name(to, current).expect_err(to);
        assert_eq!(error.kind().exit_code(), 2, "{to}");
    }
    assert_eq!(family_and_revision(current), ("hello", 9));
    assert_eq!(family_and_revision("hello"), ("hello", 0));
}

#[test]
fn a_described_revision_can_be_registered_again() {
    let described = serde_json::json!({
        "taskDefinition": {
            "taskDefinitionArn": "arn", "family": "a", "revision": 3, "status": "INACTIVE", "registeredAt": 1.5, "registeredBy": "x",
            "deregisteredAt": 2.5, "compatibilities": ["EC2"], "requiresAttributes": [], "containerDefinitions": [], "volumes": [],
            "pidMode": null,
        },
        "tags": [{ "key": "steady:fingerprint", "value": "f" }, { "key": "team", "value": "t" }],
    });
    assert_eq!(
        registrable(&described),
        serde_json::json!({ "family": "a", "containerDefinitions": [], "volumes": [], "tags": [{ "key": "team", "value": "t" }] })
    );
}
