//! What a document means: what nobody sends taken out, and what ECS fills in by itself known. Fingerprints and
//! differences go by this alone, so that a document that differs in neither is never registered twice.

use serde_json::{Map, Value};

use super::draft::drop_nulls;
use super::requests::READ_ONLY;

/// The document as it could have been sent: without what only AWS writes, explicit nulls, tags of AWS's own and of
/// ours; a task's size and its host ports as ECS gives them back.
pub(super) fn plain(document: &Value) -> Value {
    let mut plain = document.clone();
    drop_nulls(&mut plain);
    let Value::Object(members) = &mut plain else { return plain };
    members.retain(|key, _| !READ_ONLY.contains(&key.as_str()));
    for (member, unit) in [("cpu", "vcpu"), ("memory", "gb")] {
        if let Some(units) = members.get(member).and_then(|size| units(size, unit)) {
            members.insert(member.to_owned(), units.into());
        }
    }
    if let Some(Value::Array(tags)) = members.get_mut("tags") {
        tags.retain(|tag| {
            let key = tag.get("key").and_then(Value::as_str).unwrap_or_default();
            !key.starts_with("steady:") && !key.starts_with("aws:")
        });
    }
    if matches!(members.get("networkMode").and_then(Value::as_str), Some("awsvpc" | "host")) {
        members.get_mut("containerDefinitions").into_iter().for_each(without_own_ports);
    }
    plain
}

/// `.25 vCPU`, `256` and `"256"` are one size. `None` where it is written so already, or is no size.
fn units(size: &Value, unit: &str) -> Option<String> {
    let text = match size {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        Value::Number(number) => return Some(number.to_string()),
        _ => return None,
    };
    let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
    let units = number * 1024.0;
    (units.fract() == 0.0 && (0.0..1e9).contains(&units)).then(|| format!("{units:.0}"))
}

/// Tasks with an address of their own, or their host's: there `hostPort` is `containerPort`, said or not.
fn without_own_ports(containers: &mut Value) {
    let mappings = containers.as_array_mut().into_iter().flatten().filter_map(|one| one.get_mut("portMappings"));
    for mapping in mappings.filter_map(Value::as_array_mut).flatten().filter_map(Value::as_object_mut) {
        if follows(mapping) {
            mapping.shift_remove("hostPort");
        }
    }
}

/// A `hostPort` that is absent, 0 or the container's own.
fn follows(mapping: &Map<String, Value>) -> bool {
    let port = mapping.get("hostPort").unwrap_or(&Value::Null);
    port.is_null() || port.as_u64() == Some(0) || Some(port) == mapping.get("containerPort")
}

/// Member and value that ECS takes where nothing is said, by what they are in.
const TEXTS: [(&str, &str, &str); 10] = [
    ("", "networkMode", "bridge"),
    ("containerDefinitions", "versionConsistency", "enabled"),
    ("portMappings", "protocol", "tcp"),
    ("proxyConfiguration", "type", "APPMESH"),
    ("efsVolumeConfiguration", "rootDirectory", "/"),
    ("efsVolumeConfiguration", "transitEncryption", "DISABLED"),
    ("authorizationConfig", "iam", "DISABLED"),
    ("s3filesVolumeConfiguration", "rootDirectory", "/"),
    ("dockerVolumeConfiguration", "scope", "task"),
    ("dockerVolumeConfiguration", "driver", "local"),
];

const NUMBERS: [(&str, &str, u64); 8] = [
    ("containerDefinitions", "cpu", 0),
    ("portMappings", "hostPort", 0),
    ("healthCheck", "interval", 30),
    ("healthCheck", "timeout", 5),
    ("healthCheck", "retries", 3),
    ("healthCheck", "startPeriod", 0),
    ("linuxParameters", "swappiness", 60),
    ("restartPolicy", "restartAttemptPeriod", 300),
];

/// Whether a member says what ECS takes when it is not there. `parent` is the name of what it is in.
pub(super) fn is_default(parent: &str, member: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => *truth == (member == "essential"),
        Value::Number(number) => number.as_u64().is_some_and(|number| NUMBERS.contains(&(parent, member, number))),
        Value::String(text) => TEXTS.contains(&(parent, member, text.as_str())),
        Value::Array(values) if (parent, member) == ("devices", "permissions") => {
            ["read", "write", "mknod"].iter().all(|all| values.iter().any(|one| one == all))
        }
        Value::Array(values) => values.is_empty(),
        // What a volume is, it is by the member alone.
        Value::Object(members) if parent == "volumes" => members.is_empty(),
        Value::Object(members) => members.iter().all(|(key, value)| is_default(member, key, value)),
    }
}

/// ECS takes a role by its name and answers with its ARN.
pub(super) fn same_role(member: &str, one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (one.as_str(), other.as_str()) else { return false };
    let is = |arn: &str, name: &str| {
        let role = arn.strip_prefix("arn:").and_then(|arn| arn.split_once(":role/")).map(|(_, role)| role);
        !name.is_empty() && !name.starts_with("arn:") && role == Some(name.trim_start_matches('/'))
    };
    matches!(member, "taskRoleArn" | "executionRoleArn") && (is(one, other) || is(other, one))
}
