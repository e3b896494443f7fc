//! Every member of every fixture: a change of it is seen, and what is no change has the same fingerprint.

use serde_json::{Value, json};
use steadystate::document::{Values, diff, fingerprint};

use super::{input, shapes};

/// The pointers of everything in a document that is not the whole.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut below = |token: String, value: &Value| {
        let pointer = format!("{at}/{token}");
        pointers(value, &pointer, found);
        found.push(pointer);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| below(key.replace('/', "~1"), value)),
        Value::Array(values) => values.iter().enumerate().for_each(|(index, value)| below(index.to_string(), value)),
        _ => {}
    }
}

fn without(document: &Value, pointer: &str) -> Value {
    let (parent, token) = pointer.rsplit_once('/').unwrap();
    let mut document = document.clone();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.shift_remove(&token.replace("~1", "/"))),
        Value::Array(values) => drop(values.remove(token.parse().unwrap())),
        _ => unreachable!(),
    }
    document
}

#[test]
fn each_changed_member_is_a_difference() {
    let mut changed = 0;
    for name in shapes() {
        let before = input(&name);
        assert_eq!(diff(&before, &before, Values::Shown), [], "{name}");
        let mut found = Vec::new();
        pointers(&before, "", &mut found);
        for pointer in found {
            let mut after = before.clone();
            let value = after.pointer_mut(&pointer).unwrap();
            *value = match &*value {
                Value::String(text) => json!(format!("{text}x")),
                Value::Number(number) => json!(number.as_i64().unwrap() + 1),
                Value::Bool(truth) => json!(!truth),
                _ => continue,
            };
            let changes = diff(&before, &after, Values::Shown);
            assert!(!changes.is_empty(), "{name}{pointer} is changed, and nobody sees it");
            assert_ne!(fingerprint(&before), fingerprint(&after), "{name}{pointer}");
            assert_eq!(changes.len(), diff(&after, &before, Values::Shown).len(), "{name}{pointer}");
            changed += 1;
        }
    }
    assert!(changed > 500, "{changed}");
}

#[test]
fn what_is_left_out_is_a_difference_unless_ecs_fills_it_in() {
    let mut defaults = Vec::new();
    for name in shapes() {
        let before = input(&name);
        let mut found = Vec::new();
        pointers(&before, "", &mut found);
        for pointer in found {
            let after = without(&before, &pointer);
            let same = diff(&before, &after, Values::Shown).is_empty();
            assert_eq!(same, fingerprint(&before) == fingerprint(&after), "{name}{pointer}");
            if same {
                defaults.push(pointer.rsplit('/').find(|token| token.parse::<usize>().is_err()).unwrap().to_owned());
            }
        }
    }
    defaults.sort();
    defaults.dedup();
    let filled_in = "autoprovision command cpu disableNetworking dockerLabels driver entryPoint essential host hostPort \
                     interval links networkMode permissions placementConstraints privileged protocol readOnly \
                     readonlyRootFilesystem retries scope systemControls timeout type ulimits versionConsistency \
                     volumesFrom";
    assert_eq!(defaults.join(" "), filled_in);
}
