//! What the section `rollout:` says of ECS's `deploymentConfiguration`: strategy, bake times, hooks, alarms, circuit breaker.

use serde_json::{Map, Value, json};

use super::decode::{Fields, Reader};
use super::node::{self, Node};
use super::plan::DeploymentPlan;
use crate::error::{Error, Place};

const STRATEGIES: [(&str, &str); 4] =
    [("ROLLING", "ROLLING"), ("BLUE_GREEN", "BLUE_GREEN"), ("CANARY", "CANARY"), ("LINEAR", "LINEAR")];

/// Stages that a lifecycle hook can have, as ECS spells them; what a pause cannot is marked.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/pause-lifecycle-hooks.html>
const STAGES: [(&str, bool); 8] = [
    ("RECONCILE_SERVICE", true),
    ("PRE_SCALE_UP", true),
    ("POST_SCALE_UP", true),
    ("TEST_TRAFFIC_SHIFT", false),
    ("POST_TEST_TRAFFIC_SHIFT", true),
    ("PRE_PRODUCTION_TRAFFIC_SHIFT", true),
    ("PRODUCTION_TRAFFIC_SHIFT", false),
    ("POST_PRODUCTION_TRAFFIC_SHIFT", true),
];

/// ECS's bounds: a bake time, and how long a hook may take.
const BAKE_MINUTES: (u64, u64) = (0, 1440);
const HOOK_MINUTES: (u64, u64) = (1, 20_160);

/// `rolls_back` is what circuit breaker and alarms do unless they are told otherwise.
pub fn read(fields: &mut Fields<'_>, rolls_back: bool) -> DeploymentPlan {
    let mut plan = DeploymentPlan::default();
    let mut put = |fields: &mut Fields<'_>, key: &'static str, member: &str, value: Option<Value>| {
        if let (Some(value), Some(entry)) = (value, fields.entry(key)) {
            let place = Place { source: fields.reader.source.clone(), span: entry.span.clone(), label: None };
            plan.places.insert(member.to_owned(), place);
            plan.members.insert(member.to_owned(), value);
        }
    };
    let strategy = fields.word("strategy", &STRATEGIES);
    put(fields, "strategy", "strategy", strategy.map(Value::from));
    for (key, member) in [("minimum_healthy_percent", "minimumHealthyPercent"), ("maximum_percent", "maximumPercent")] {
        let percent = fields.integer(key, 0..=100_000).map(Value::from);
        put(fields, key, member, percent);
    }
    let bake = minutes(fields, "bake_time", BAKE_MINUTES).map(Value::from);
    put(fields, "bake_time", "bakeTimeInMinutes", bake);
    let steps = steps(fields, strategy);
    if let Some((key, member, value)) = steps {
        put(fields, key, member, Some(value));
    }
    let breaker = circuit_breaker(fields, rolls_back);
    put(fields, "circuit_breaker", "deploymentCircuitBreaker", breaker);
    let alarms = alarms(fields, rolls_back);
    put(fields, "alarms", "alarms", alarms);
    let hooks = fields.list("hooks").map(|hooks| {
        let hooks = hooks.iter().filter_map(|node| hook(fields.reader, &fields.path("hooks"), node));
        Value::Array(hooks.collect())
    });
    put(fields, "hooks", "lifecycleHooks", hooks);
    plan
}

/// `percent` and `step_bake_time` are of the strategy that shifts traffic in steps.
fn steps(fields: &mut Fields<'_>, strategy: Option<&str>) -> Option<(&'static str, &'static str, Value)> {
    let (member, percent, bake, least) = match strategy {
        Some("LINEAR") => ("linearConfiguration", "stepPercent", "stepBakeTimeInMinutes", 3.0),
        _ => ("canaryConfiguration", "canaryPercent", "canaryBakeTimeInMinutes", 0.1),
    };
    let given = [
        (percent, tenths(fields, "percent", least).map(Value::from)),
        (bake, minutes(fields, "step_bake_time", BAKE_MINUTES).map(Value::from)),
    ];
    let wanted: Map<String, Value> =
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let key = ["percent", "step_bake_time"].into_iter().find(|key| fields.entry(key).is_some())?;
    if strategy.is_none() && fields.node("strategy").is_some() {
        return None;
    }
    if !matches!(strategy, Some("CANARY" | "LINEAR")) {
        let entry = fields.entry(key)?;
        let error = Error::input(format!("`{}` is of the strategies CANARY and LINEAR", fields.path(key)));
        fields.reader.note(
            &entry.span,
            None,
            error.hint(match strategy {
                Some(other) => {
                    format!("{other} shifts no traffic in steps: leave it out, or choose another `strategy:`")
                }
                None => "say which: `strategy: CANARY` or `strategy: LINEAR`".to_owned(),
            }),
        );
        return None;
    }
    (!wanted.is_empty()).then_some((key, member, Value::Object(wanted)))
}

/// A percentage with at most one digit after the point, as ECS takes it.
fn tenths(fields: &mut Fields<'_>, key: &'static str, least: f64) -> Option<f64> {
    let node = fields.node(key)?;
    let expected = format!("a number between {least} and 100");
    let node::Value::Number(number) = &node.value else {
        fields.reader.wrong_type(&fields.path(key), node, &expected);
        return None;
    };
    let given = number.as_f64().unwrap_or(f64::NAN);
    let rounded = (given * 10.0).round() / 10.0;
    if (rounded - given).abs() < 1e-9 && (least..=100.0).contains(&given) {
        return Some(rounded);
    }
    let error = Error::input(format!(
        "`{}` has to be {expected}, with at most one digit after the point, not {number}",
        fields.path(key)
    ));
    fields.reader.note(&node.span, None, error);
    None
}

/// A duration that ECS counts in whole minutes.
fn minutes(fields: &mut Fields<'_>, key: &'static str, (least, most): (u64, u64)) -> Option<u64> {
    let node = fields.node(key)?;
    let name = fields.path(key);
    let text = fields.reader.scalar(&name, node)?;
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => Some(seconds),
        Err(_) => humantime::parse_duration(&text).ok().map(|duration| duration.as_secs()),
    };
    let error = match seconds {
        Some(seconds) if seconds % 60 == 0 && (least..=most).contains(&(seconds / 60)) => return Some(seconds / 60),
        Some(seconds) if seconds % 60 != 0 => Error::input(format!("`{name}` has to be whole minutes, not {text}"))
            .hint(match text.parse::<u64>() {
                Ok(number) => format!("a number without a unit is seconds: did you mean `{number}m`?"),
                Err(_) => "write it as 5m or 1h 30m".to_owned(),
            }),
        Some(_) => Error::input(format!("`{name}` has to be between {least} and {most} minutes, not {text}")),
        None => Error::input(format!("`{name}` is not a duration: `{text}`")).hint("write it as 5m or 1h 30m"),
    };
    fields.reader.note(&node.span, None, error);
    None
}

/// `true`, `false`, or a map that says more.
fn circuit_breaker(fields: &mut Fields<'_>, rolls_back: bool) -> Option<Value> {
    let node = fields.node("circuit_breaker")?;
    if let node::Value::Map(_) = node.value {
        let mut given = fields.fields("circuit_breaker")?;
        let mut breaker = json!({ "enable": true, "rollback": given.boolean("rollback").unwrap_or(rolls_back) });
        if let Some(resets) = given.boolean("reset_on_healthy_task") {
            breaker["resetOnHealthyTask"] = resets.into();
        }
        if let Some(threshold) = given.fields("threshold").and_then(threshold) {
            breaker["thresholdConfiguration"] = threshold;
        }
        given.finish();
        return Some(breaker);
    }
    match fields.boolean("circuit_breaker")? {
        true => Some(json!({ "enable": true, "rollback": rolls_back })),
        false => Some(json!({ "enable": false, "rollback": false })),
    }
}

fn threshold(mut fields: Fields<'_>) -> Option<Value> {
    let kinds = ["COUNT", "BOUNDED_PERCENT", "UNBOUNDED_PERCENT"];
    let kind = fields.word("type", &kinds.map(|kind| (kind, kind)));
    let value = fields.integer("value", 1..=100_000);
    for key in ["type", "value"] {
        if fields.node(key).is_none() {
            fields.missing(key, "a threshold is a type and a value: { type: COUNT, value: 5 }");
        }
    }
    fields.finish();
    Some(json!({ "type": kind?, "value": value? }))
}

/// A list of names, or a map that says whether ECS rolls back, too. An empty list takes them away.
fn alarms(fields: &mut Fields<'_>, rolls_back: bool) -> Option<Value> {
    let node = fields.node("alarms")?;
    let (names, rolls_back) = match &node.value {
        node::Value::Map(_) => {
            let mut given = fields.fields("alarms")?;
            let names = given.texts("names");
            if names.is_none() && given.node("names").is_none() {
                given.missing("names", "name CloudWatch's alarms: names: [web-5xx]");
            }
            let rolls_back = given.boolean("rollback").unwrap_or(rolls_back);
            given.finish();
            (names?, rolls_back)
        }
        _ => (fields.texts("alarms")?, rolls_back),
    };
    let enabled = !names.is_empty();
    Some(json!({ "alarmNames": names, "enable": enabled, "rollback": enabled && rolls_back }))
}

fn hook(reader: &Reader, name: &str, node: &Node) -> Option<Value> {
    let mut fields = reader.fields(name, node, &node.span)?;
    let kind = fields.word("type", &[("PAUSE", "PAUSE"), ("AWS_LAMBDA", "AWS_LAMBDA")]);
    if kind.is_none() && fields.node("type").is_none() {
        fields.missing("type", "it is `PAUSE` or `AWS_LAMBDA`");
    }
    let stages = stages(&mut fields, kind == Some("PAUSE"));
    let function = fields.text("function");
    let role = fields.text("role");
    let details = fields.node("details").map(Node::to_json);
    let timeout = minutes(&mut fields, "timeout", HOOK_MINUTES);
    let on_timeout = fields.word("on_timeout", &[("rollback", "ROLLBACK"), ("continue", "CONTINUE")]);
    match kind {
        Some("AWS_LAMBDA") => {
            for (key, hint) in [
                ("function", "the function's ARN: ECS asks it whether the deployment may go on"),
                ("role", "the ARN of the role in which ECS calls the function"),
            ] {
                if fields.node(key).is_none() {
                    fields.missing(key, hint);
                }
            }
        }
        Some(_) => {
            for key in ["function", "role", "details"] {
                if let Some(entry) = fields.entry(key) {
                    let error = Error::input(format!("a hook of type PAUSE has no `{key}`"));
                    reader.note(&entry.span, None, error.hint("with a function its type is AWS_LAMBDA"));
                }
            }
        }
        None => {}
    }
    fields.finish();
    let mut hook = json!({ "targetType": kind?, "lifecycleStages": stages? });
    let given =
        [("hookTargetArn", function.map(Value::from)), ("roleArn", role.map(Value::from)), ("hookDetails", details)];
    for (member, value) in given {
        if let Some(value) = value {
            hook[member] = value;
        }
    }
    if timeout.is_some() || on_timeout.is_some() {
        let mut limit = Map::new();
        limit.extend(timeout.map(|minutes| ("timeoutInMinutes".to_owned(), minutes.into())));
        limit.extend(on_timeout.map(|action| ("action".to_owned(), action.into())));
        hook["timeoutConfiguration"] = Value::Object(limit);
    }
    Some(hook)
}

fn stages(fields: &mut Fields<'_>, pauses: bool) -> Option<Vec<String>> {
    let possible = || STAGES.into_iter().filter(|(_, may_pause)| !pauses || *may_pause).map(|(stage, _)| stage);
    let name = fields.path("stages");
    let Some(given) = fields.list("stages") else {
        if fields.node("stages").is_none() {
            fields.missing("stages", "name a stage at least, such as stages: [POST_TEST_TRAFFIC_SHIFT]");
        }
        return None;
    };
    if let (true, Some(node)) = (given.is_empty(), fields.node("stages")) {
        let error = Error::input(format!("`{name}` is an empty list"));
        fields.reader.note(&node.span, None, error.hint(format!("its stages can be {}", listed(possible()))));
        return None;
    }
    let mut stages = Vec::new();
    for node in given {
        let Some(stage) = fields.reader.text(&name, node) else { continue };
        if possible().any(|known| known == stage) {
            stages.push(stage);
            continue;
        }
        let error = match STAGES.iter().any(|(known, _)| *known == stage) {
            true => Error::input(format!("a deployment cannot pause at {stage}"))
                .hint(format!("it can at {}", listed(possible()))),
            false => Error::input(format!("`{stage}` is no lifecycle stage that a hook can have")).hint(
                match crate::error::nearest(&stage, possible()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("its stages can be {}", listed(possible())),
                },
            ),
        };
        fields.reader.note(&node.span, None, error);
    }
    Some(stages)
}

fn listed<'a>(stages: impl Iterator<Item = &'a str>) -> String {
    stages.collect::<Vec<_>>().join(", ")
}
