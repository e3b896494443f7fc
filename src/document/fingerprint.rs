//! One number for what a document says.

use ring::digest::{SHA256, digest};
use serde_json::Value;

/// Lists whose order ECS does not look at. `command`, `entryPoint`, `dnsServers`, `environmentFiles`
/// and `containerDefinitions` are not among them.
const SETS: [&str; 24] = [
    "add",
    "capacityProviderStrategy",
    "dependsOn",
    "devices",
    "dockerSecurityOptions",
    "drop",
    "environment",
    "extraHosts",
    "inferenceAccelerators",
    "links",
    "loadBalancers",
    "mountPoints",
    "placementConstraints",
    "portMappings",
    "properties",
    "requiresCompatibilities",
    "resourceRequirements",
    "secretOptions",
    "secrets",
    "systemControls",
    "tags",
    "ulimits",
    "volumes",
    "volumesFrom",
];

/// The hexadecimal SHA-256 of a document's meaning: the order of members does not count, nor that
/// of lists that ECS takes as sets, nor the unit of a task's size; everything else does. Tags of our own (`steady:…`)
/// are left out.
pub fn fingerprint(value: &Value) -> String {
    let sized = with_plain_sizes(value);
    hex::encode(digest(&SHA256, canonical(sized.as_ref().unwrap_or(value), "").as_bytes()))
}

/// The document with a task's `cpu` and `memory` as ECS gives them back: `.25 vCPU` is `256`, `1 GB` is `1024`. `None`
/// where they are written so already.
pub(super) fn with_plain_sizes(document: &Value) -> Option<Value> {
    let mut plain = None;
    for (member, unit) in [("cpu", "vcpu"), ("memory", "gb")] {
        let Some(units) = document.get(member).and_then(Value::as_str).and_then(|text| units(text, unit)) else {
            continue;
        };
        plain.get_or_insert_with(|| document.clone())[member] = units.into();
    }
    plain
}

fn units(text: &str, unit: &str) -> Option<String> {
    let lower = text.trim().to_ascii_lowercase();
    let number: f64 = lower.strip_suffix(unit)?.trim().parse().ok()?;
    let units = number * 1024.0;
    (units.fract() == 0.0 && (0.0..1e9).contains(&units)).then(|| format!("{units:.0}"))
}

pub(super) fn is_set(member: &str) -> bool {
    SETS.contains(&member)
}

/// Text that two values share when they mean the same.
pub(super) fn canonical(value: &Value, member: &str) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> =
                members.iter().filter(|(key, value)| !only_ours(key, value)).collect();
            members.sort_by_key(|(key, _)| *key);
            let members: Vec<String> = members
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value, key)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(values) => {
            let mut texts: Vec<(&str, String)> = values
                .iter()
                .filter(|value| member != "tags" || !is_our_tag(value))
                .map(|value| (value.get("name").and_then(Value::as_str).unwrap_or_default(), canonical(value, "")))
                .collect();
            if matches!(member, "environment" | "secrets") {
                // Of two with one name the later counts: those keep their order.
                texts.sort_by(|first, second| first.0.cmp(second.0));
            } else if is_set(member) {
                texts.sort();
            }
            let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
            format!("[{}]", texts.join(","))
        }
        scalar => scalar.to_string(),
    }
}

fn is_our_tag(tag: &Value) -> bool {
    tag.get("key").and_then(Value::as_str).unwrap_or_default().starts_with("steady:")
}

/// A list of tags that would not be there but for ours.
fn only_ours(member: &str, value: &Value) -> bool {
    member == "tags" && value.as_array().is_some_and(|tags| !tags.is_empty() && tags.iter().all(is_our_tag))
}
