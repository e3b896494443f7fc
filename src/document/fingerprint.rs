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
/// of lists that ECS takes as sets; everything else does. Tags of our own (`steady:…`) are left out.
pub fn fingerprint(value: &Value) -> String {
    hex::encode(digest(&SHA256, canonical(value, "").as_bytes()))
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
