//! Which release a rollback leads to.

use serde_json::{Value, json};
use steadystate::deploy::rollback::course::{Course, course, good_before};
use steadystate::deploy::rollback::history::{Past, Release, family_and_revision};
use steadystate::deploy::rollback::inactive::registrable;
use steadystate::deploy::rollback::target::{is_digest, revision_name};

/// `1` ended well, `1!` was rolled back, `1x` was stopped, `1?` failed to go back, `1~` is in progress, `1<` is being rolled
/// back; a letter after the number stands for other settings.
fn history(told: &str) -> Vec<Past> {
    let past = |(at, told): (usize, &str)| {
        let digits = told.trim_end_matches(|c: char| !c.is_ascii_digit());
        let rest = &told[digits.len()..];
        let letters = rest.trim_end_matches(|c: char| !c.is_alphabetic() || c == 'x');
        let status = match &rest[letters.len()..] {
            "" => "SUCCESSFUL",
            "!" => "ROLLBACK_SUCCESSFUL",
            "x" => "STOPPED",
            "?" => "ROLLBACK_FAILED",
            "~" => "IN_PROGRESS",
            "<" => "ROLLBACK_IN_PROGRESS",
            other => panic!("{other}"),
        };
        let settings = json!({ "networkConfiguration": { "awsvpcConfiguration": { "subnets": [letters] } } });
        Past {
            arn: format!("sd/{at}"),
            status: status.into(),
            release: Release { task_definition: format!("a:{digits}"), settings },
            ..Past::default()
        }
    };
    told.split_whitespace().enumerate().map(past).collect()
}

fn told(past: &Past) -> String {
    let subnet = past.release.settings["networkConfiguration"]["awsvpcConfiguration"]["subnets"][0].as_str();
    format!("{}{}", family_and_revision(&past.release.task_definition).1, subnet.unwrap_or_default())
}

#[test]
fn where_a_rollback_leads() {
    for (row, told_history, current, expected) in [
        ("one before", "1 2", 2, "to 1"),
        ("the first has none before", "1", 1, "nowhere"),
        ("no history", "", 1, "nowhere"),
        ("what runs never ended well", "1 2 3x", 3, "to 2"),
        ("a revision between failed: it is not among these", "1 2x 3", 3, "to 1"),
        ("never the revision before", "1 2! 3! 4", 4, "to 1"),
        ("after a rollback it stays", "1 2 3 2", 2, "back from 3"),
        ("also after two, which were named", "1 2 3 2 1", 1, "back from 2"),
        ("after ECS's own rollback it stays", "1 2 3!", 2, "back from 3"),
        ("also when that was forced again", "1 2 3! 2", 2, "back from 3"),
        ("after a failed one was replaced by hand", "1 2 3x 2", 2, "back from 3"),
        ("deployed again after a rollback", "1 2 1 2", 2, "to 1"),
        ("rolled back, then a new one", "1 2 1 3", 3, "to 1"),
        ("ECS rolled back, then the fix", "1 2 3! 4", 4, "to 2"),
        ("forced deployments of the same", "1 2 2 2", 2, "to 1"),
        ("other settings are another release", "1 2a 2b", 2, "to 2a"),
        ("and they come back once", "1 2a 2b 2a", 2, "back from 2b"),
        ("going back failed: the same again", "1 2 3 2!", 3, "to 2"),
        ("a rollback that failed leaves what failed", "1 2 3?", 3, "to 2"),
        ("in progress: ECS takes it back", "1 2 3~", 3, "stop 3"),
        ("the first one in progress", "1~", 1, "stop 1"),
        ("in progress after a failed one", "1 2! 3~", 3, "stop 3"),
        ("a rollback in progress is followed", "1 2 3 2~", 2, "going back"),
        ("ECS's too", "1 2 3<", 2, "going back"),
        ("and one from a failed release", "1 2 3x 2~", 2, "going back"),
        ("an older one by hand", "1 2 3 1~", 1, "going back"),
        ("the last one, forced", "1 2 3 3~", 3, "to 2"),
        ("what was brought back, forced", "1 2 3! 2~", 2, "going back"),
        ("a newer one, forward again", "1 2 1 2~", 2, "stop 2"),
    ] {
        let history = history(told_history);
        let primary = json!({ "taskDefinition": format!("a:{current}") });
        let found = match course(&history, &primary) {
            Course::Back { from } => format!("back from {}", told(from)),
            Course::GoingBack => "going back".to_owned(),
            Course::Stop { deployment } => format!("stop {}", told(deployment)),
            Course::To { past } => format!("to {}", told(past)),
            Course::Nowhere => "nowhere".to_owned(),
        };
        assert_eq!(found, expected, "{row}");
    }
}

/// Lists are eventually consistent: an update of a moment ago is not in them yet, and never leads forward again.
#[test]
fn a_history_that_lags_behind_leads_no_other_way() {
    let history = history("1 2 3");
    for (state, expected) in [("IN_PROGRESS", Course::GoingBack), ("COMPLETED", Course::Back { from: &history[2] })] {
        let primary = json!({ "taskDefinition": "a:2", "rolloutState": state });
        assert_eq!(course(&history, &primary), expected, "{state}");
    }
}

#[test]
fn a_failed_deploy_goes_back_to_what_was_good() {
    for (told_history, ours, expected) in [
        ("1 2 3x", 3, Some("2")),
        ("1 2! 3x", 3, Some("1")),
        ("1 2x", 2, Some("1")),
        ("1x", 1, None),
        ("1 2", 2, Some("1")),
    ] {
        let history = history(told_history);
        let ours = Release { task_definition: format!("a:{ours}"), settings: Value::Null };
        assert_eq!(good_before(&history, &ours).map(told).as_deref(), expected, "{told_history}");
    }
}

#[test]
fn revisions_by_their_names() {
    let current = "arn:aws:ecs:us-west-2:123456789012:task-definition/hello:9";
    for (to, expected) in [("7", "hello:7"), ("hello:7", "hello:7"), ("other:12", "other:12"), (current, current)] {
        assert_eq!(revision_name(to, current).expect("a revision"), expected);
    }
    for to in ["0", "-1", "hello", "hello:", "hello:x", ":7", "", "v1.2.3", "sha256:12345678"] {
        assert_eq!(revision_name(to, current), None, "{to}");
    }
    assert_eq!(family_and_revision(current), ("hello", 9));
    assert_eq!(family_and_revision("hello"), ("hello", 0));
}

#[test]
fn digests_may_be_cut_short() {
    let digest = format!("sha256:abcdef0{}", "1".repeat(57));
    for to in [&*digest, "sha256:abcdef0", "abcdef0", "ABCDEF0", "abcdef011"] {
        assert!(is_digest(to, &digest), "{to}");
    }
    for to in ["abcdef", "sha256:", "", "abcdef2", "v1.2.3", "abcdef0x"] {
        assert!(!is_digest(to, &digest), "{to}");
    }
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
