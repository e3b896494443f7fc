//! One number for what a document says.

use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::normal::{is_default, plain};

/// Lists whose order ECS does not look at. `command`, `entryPoint`, `dnsServers` and `environmentFiles` are not among
/// them.
const SETS: [&str; 29] = [
    "add",
    "capacityProviderStrategy",
    "containerDefinitions",
    "credentialSpecs",
    "dependsOn",
    "devices",
    "dockerSecurityOptions",
    "drop",
    "environment",
    "extraHosts",
    "ignoredExitCodes",
    "inferenceAccelerators",
    "links",
    "loadBalancers",
    "mountPoints",
    "permissions",
    "placementConstraints",
    "portMappings",
    "properties",
    "requiresCompatibilities",
    "resourceRequirements",
    "secretOptions",
    "secrets",
    "systemControls",
    "tags",
    "tmpfs",
    "ulimits",
    "volumes",
    "volumesFrom",
];

/// The hexadecimal SHA-256 of a document's meaning: the order of members does not count, nor that of lists that ECS
/// takes as sets, nor the unit of a task's size, nor what ECS fills in by itself, said or not; everything else does. Tags
/// of our own (`steady:…`) and of AWS's are left out.
pub fn fingerprint(value: &Value) -> String {
    hex::encode(digest(&SHA256, canonical(&plain(value), "").as_bytes()))
}

pub(super) fn is_set(member: &str) -> bool {
    SETS.contains(&member)
}

/// Text that two values share when they mean the same. `member` is the name of the value, or of the list that it is in.
pub(super) fn canonical(value: &Value, member: &str) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> =
                members.iter().filter(|(key, value)| !is_default(member, key, value)).collect();
            members.sort_by_key(|(key, _)| *key);
            let members: Vec<String> = members
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value, key)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(values) => {
            let name = |value: &Value| value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let mut texts: Vec<(String, String)> =
                values.iter().map(|value| (name(value), canonical(value, member))).collect();
            if matches!(member, "environment" | "secrets") {
                // Of two with one name the later counts: those keep their order.
                texts.sort_by(|first, second| first.0.cmp(&second.0));
            } else if is_set(member) {
                texts.sort();
            }
            let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
            format!("[{}]", texts.join(","))
        }
        // AWS answers 5.0 to 5 where a number may have a fraction.
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_i64() && float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        scalar => scalar.to_string(),
    }
}
