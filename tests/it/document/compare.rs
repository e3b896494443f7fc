use proptest::prelude::*;
use serde_json::{Value, json};
use steadystate::document::{Values, diff, fingerprint};

use super::{checked, fixture};
use crate::diff::lines;

fn base() -> Value {
    json!({
        "family": "web",
        "requiresCompatibilities": ["EC2", "FARGATE"],
        "containerDefinitions": [
            {
                "name": "web", "image": "a", "memory": 128, "command": ["x", "y"],
                "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "secrets": [{"name": "S", "valueFrom": "arn:s"}, {"name": "T", "valueFrom": "arn:t"}],
                "portMappings": [{"containerPort": 80}, {"containerPort": 443}],
                "dockerLabels": {"a": "1", "b": "2"}
            },
            {"name": "side", "image": "b", "memory": 64}
        ]
    })
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut document = base();
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

#[test]
fn a_fingerprint_is_short_stable_text() {
    let text = fingerprint(&base());
    assert_eq!((text.len(), text.chars().all(|c| c.is_ascii_hexdigit())), (64, true));
    // Written into AWS as a tag: a change of the function must be a decision.
    insta::assert_snapshot!(fingerprint(&json!({"a": [1, {"b": null}], "c": 1.5})), @r#"618a64fa83409178cf822cfcb14a27481b1c3b4f9155d4d2ca92d954d69b9f2c"#);
}

#[test]
fn order_counts_only_where_ecs_has_one() {
    let container = "/containerDefinitions/0";
    let same = [
        ("/requiresCompatibilities", json!(["FARGATE", "EC2"])),
        (&format!("{container}/environment"), json!([{"value": "2", "name": "B"}, {"name": "A", "value": "1"}])),
        (
            &format!("{container}/secrets"),
            json!([{"name": "T", "valueFrom": "arn:t"}, {"name": "S", "valueFrom": "arn:s"}]),
        ),
        (&format!("{container}/portMappings"), json!([{"containerPort": 443}, {"containerPort": 80}])),
        (&format!("{container}/dockerLabels"), json!({"b": "2", "a": "1"})),
    ];
    for (pointer, value) in same {
        let other = changed(pointer, value);
        assert_eq!(fingerprint(&base()), fingerprint(&other), "{pointer}");
        assert_eq!(diff(&base(), &other, Values::Shown), [], "{pointer}");
    }
    let different = [
        (&format!("{container}/command"), json!(["y", "x"])),
        (&format!("{container}/environment/0/value"), json!("01")),
        (&format!("{container}/memory"), json!(129)),
        (&format!("{container}/memory"), json!("128")),
        (&format!("{container}/dockerLabels"), json!({"a": "1"})),
        (&format!("{container}/image"), json!("A")),
    ];
    for (pointer, value) in different {
        let other = changed(pointer, value);
        assert_ne!(fingerprint(&base()), fingerprint(&other), "{pointer}");
        assert_eq!(diff(&base(), &other, Values::Shown).len(), 1, "{pointer}");
    }
}

#[test]
fn the_unit_of_a_task_s_size_makes_no_difference() {
    let sized = |cpu: &str, memory: &str| {
        let mut document = base();
        document["cpu"] = json!(cpu);
        document["memory"] = json!(memory);
        document
    };
    let plain = sized("256", "1024");
    for (cpu, memory) in [(".25 vCPU", "1 GB"), ("0.25vcpu", "1GB"), ("256", "1.0 gb")] {
        let other = sized(cpu, memory);
        assert_eq!(fingerprint(&plain), fingerprint(&other), "{cpu} {memory}");
        assert_eq!(diff(&plain, &other, Values::Shown), [], "{cpu} {memory}");
    }
    let mut number = plain.clone();
    number["cpu"] = json!(256);
    assert_eq!((fingerprint(&plain), diff(&number, &plain, Values::Shown)), (fingerprint(&number), vec![]));
    for (cpu, memory) in [(".5 vCPU", "1024"), ("256", "2 GB"), ("256", "1 TB"), ("256", "GB"), ("256", "0.0001 GB")] {
        let other = sized(cpu, memory);
        assert_ne!(fingerprint(&plain), fingerprint(&other), "{cpu} {memory}");
        assert_eq!(diff(&plain, &other, Values::Shown).len(), 1, "{cpu} {memory}");
    }
    let label = |memory: &str| changed("/containerDefinitions/0/dockerLabels", json!({ "memory": memory }));
    assert_ne!(fingerprint(&label("1 GB")), fingerprint(&label("1024")), "a label is not a size");
}

#[test]
fn the_later_of_two_variables_counts() {
    let twice = |first: &str, second: &str| {
        changed(
            "/containerDefinitions/0/environment",
            json!([{"name": "A", "value": first}, {"name": "A", "value": second}]),
        )
    };
    assert_ne!(fingerprint(&twice("1", "2")), fingerprint(&twice("2", "1")));
}

#[test]
fn our_own_tags_are_not_part_of_it() {
    let mut tagged = base();
    tagged["tags"] = json!([{"key": "steady:fingerprint", "value": "x"}]);
    assert_eq!(fingerprint(&tagged), fingerprint(&base()));
    tagged["tags"].as_array_mut().unwrap().push(json!({"key": "team", "value": "x"}));
    assert_ne!(fingerprint(&tagged), fingerprint(&base()));
}

#[test]
fn changes_are_named_by_what_they_are_in() {
    let mut after = base();
    after["cpu"] = json!("256");
    after.as_object_mut().unwrap().remove("requiresCompatibilities");
    let web = &mut after["containerDefinitions"][0];
    web["image"] = json!("c");
    web["environment"] = json!([{"name": "B", "value": "3"}, {"name": "C", "value": "new"}]);
    web["portMappings"][1]["hostPort"] = json!(443);
    web["command"] = json!(["x"]);
    web["logConfiguration"] =
        json!({"logDriver": "splunk", "options": {"splunk-token": "t0p", "splunk-url": "https://x"}});
    after["containerDefinitions"][1] =
        json!({"name": "other", "image": "b", "environment": [{"name": "P", "value": "s3cret"}]});

    let redacted = lines(&base(), &after, Values::Redacted);
    insta::assert_snapshot!(redacted, @r#"
- requiresCompatibilities: ["EC2","FARGATE"]
~ containerDefinitions[web].image: "a" -> "c"
~ containerDefinitions[web].command: ["x","y"] -> ["x"]
- containerDefinitions[web].environment[A]: (redacted)
~ containerDefinitions[web].environment[B]: changed (redacted)
+ containerDefinitions[web].environment[C]: (redacted)
+ containerDefinitions[web].portMappings[443].hostPort: 443
+ containerDefinitions[web].logConfiguration
+   {
+     "logDriver": "splunk",
+     "options": {
+       "splunk-token": "(redacted)",
+       "splunk-url": "https://x"
+     }
+   }
- containerDefinitions[side]: {"name":"side","image":"b","memory":64}
+ containerDefinitions[other]: {"name":"other","image":"b","environment":[{"name":"P","value":"(redacted)"}]}
+ cpu: "256"
"#);
    let shown = lines(&base(), &after, Values::Shown);
    insta::assert_snapshot!(shown.lines().filter(|line| !redacted.contains(line)).collect::<Vec<_>>().join("\n"), @r#"
- containerDefinitions[web].environment[A]: "1"
~ containerDefinitions[web].environment[B]: "2" -> "3"
+ containerDefinitions[web].environment[C]: "new"
+       "splunk-token": "t0p",
+ containerDefinitions[other]: {"name":"other","image":"b","environment":[{"name":"P","value":"s3cret"}]}
"#);
}

#[test]
fn no_value_of_a_variable_is_shown_wherever_it_stands() {
    let environment = |list: Value| json!({"containerDefinitions": [{"name": "web", "environment": list}]});
    let twice = || json!([{"name": "A", "value": "s3cret-1"}, {"name": "A", "value": "s3cret-2"}]);
    let nameless = || json!([{"value": "s3cret-1"}, {"name": "B", "value": "s3cret-2"}]);
    let once = || json!([{"name": "A", "value": "s3cret-3"}]);
    let same_container = json!({"containerDefinitions": [
        {"name": "web", "environment": once()}, {"name": "web", "environment": twice()}
    ]});
    let table = [
        (environment(once()), environment(twice())),
        (environment(twice()), environment(once())),
        (environment(twice()), environment(nameless())),
        (environment(nameless()), environment(json!([{"value": "s3cret-4"}]))),
        (environment(json!([])), environment(twice())),
        (environment(nameless()), json!({"containerDefinitions": [{"name": "web"}]})),
        (json!({}), environment(twice())),
        (environment(once()), same_container),
        (json!({}), json!({"containerDefinitions": [{"environment": nameless()}]})),
        (environment(once()), json!({"overrides": {"containerOverrides": [{"environment": twice()}]}})),
    ];
    for (before, after) in table {
        let changes = diff(&before, &after, Values::Redacted);
        let lines = lines(&before, &after, Values::Redacted);
        assert!(!changes.is_empty() && !lines.contains("s3cret"), "{before} -> {after}: {lines}");
        assert!(!serde_json::to_string(&changes).unwrap().contains("s3cret"), "{lines}");
    }
}

#[test]
fn what_ecs_fills_in_is_no_change() {
    let described: Value = serde_json::from_str(&fixture("describe-task-definition.json").text).unwrap();
    let request = json!({
        "family": "web",
        "taskRoleArn": "arn:aws:iam::012345678901:role/web",
        "containerDefinitions": [{
            "name": "web",
            "image": "012345678901.dkr.ecr.us-west-2.amazonaws.com/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "memory": 128,
            "portMappings": [{"containerPort": 80}],
            "environment": [{"name": "LOG", "value": "warn"}],
            "privileged": null
        }]
    });
    assert_eq!(diff(&described["taskDefinition"], &request, Values::Shown), []);
    assert_eq!(diff(&request, &described["taskDefinition"], Values::Shown), []);
    assert_eq!(
        diff(&checked(&fixture("describe-task-definition.json")).unwrap().value, &request, Values::Shown).len(),
        1
    );

    let ports = |network: &str, port: Value| json!({"networkMode": network, "containerDefinitions": [{"name": "a", "portMappings": [port]}]});
    let (given, plain) =
        (json!({"containerPort": 80, "hostPort": 80, "protocol": "tcp"}), json!({"containerPort": 80}));
    assert_eq!(diff(&ports("awsvpc", given.clone()), &ports("awsvpc", plain.clone()), Values::Shown), []);
    assert_eq!(diff(&ports("bridge", given), &ports("bridge", plain), Values::Shown).len(), 1);
}

#[test]
fn a_change_is_an_object_in_json() {
    let changes = diff(&json!({"cpu": "1"}), &json!({"cpu": "2", "memory": "3"}), Values::Redacted);
    let wanted = json!([
        {"path": "cpu", "kind": "changed", "before": "1", "after": "2"},
        {"path": "memory", "kind": "added", "after": "3"}
    ]);
    assert_eq!(serde_json::to_value(changes).unwrap(), wanted);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shuffled_members_and_sets_are_the_same(seed in any::<u64>()) {
        let mut other = base();
        shuffle(&mut other, &mut seed.max(1));
        prop_assert_eq!(fingerprint(&base()), fingerprint(&other));
        prop_assert_eq!(diff(&base(), &other, Values::Shown), []);
    }
}

fn shuffle(value: &mut Value, seed: &mut u64) {
    let mut next = |below: usize| {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        (*seed % below as u64) as usize
    };
    if let Value::Object(members) = value {
        let mut entries: Vec<_> = std::mem::take(members).into_iter().collect();
        for index in (1..entries.len()).rev() {
            entries.swap(index, next(index + 1));
        }
        for (key, value) in &mut entries {
            let is_set = ["environment", "secrets", "portMappings", "requiresCompatibilities"].contains(&key.as_str());
            if let (true, Value::Array(values)) = (is_set, &mut *value) {
                for index in (1..values.len()).rev() {
                    values.swap(index, next(index + 1));
                }
            }
        }
        members.extend(entries);
    }
    match value {
        Value::Object(members) => members.values_mut().for_each(|value| shuffle(value, seed)),
        Value::Array(values) => values.iter_mut().for_each(|value| shuffle(value, seed)),
        _ => {}
    }
}
