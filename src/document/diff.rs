//! What differs between two documents, as ECS would see it.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::draft::drop_nulls;
use super::fingerprint::{canonical, is_set, with_plain_sizes};
use super::requests::READ_ONLY;

/// Whether a difference shows values that may be secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Values of environment variables, and of log options that name a token, are not shown.
    Redacted,
    Shown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangeKind {
    Added,
    Removed,
    Changed,
}

/// One difference. `Display` is one line: `~ containerDefinitions[web].cpu: 0 -> 128`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `containerDefinitions[web].environment[LOG]`
    pub path: String,
    pub kind: ChangeKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| match value {
            Some(Value::String(text)) if text == REDACTED => REDACTED.to_owned(),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        match self.kind {
            ChangeKind::Added => write!(f, "+ {}: {}", self.path, shown(&self.after)),
            ChangeKind::Removed => write!(f, "- {}: {}", self.path, shown(&self.before)),
            ChangeKind::Changed if shown(&self.before) == REDACTED => write!(f, "~ {}: changed {REDACTED}", self.path),
            ChangeKind::Changed => write!(f, "~ {}: {} -> {}", self.path, shown(&self.before), shown(&self.after)),
        }
    }
}

/// One line for each change.
pub fn render_changes(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{change}\n")).collect()
}

/// What is different in `after`. Either side may be a request or a description: read-only members,
/// explicit nulls, and what ECS fills in by itself (`cpu` 0, `essential` true, empty lists, …) make no
/// difference, nor does order where ECS has none, nor the unit of a task's size. Our own tags are left out.
pub fn diff(before: &Value, after: &Value, values: Values) -> Vec<Change> {
    let plain = |value: &Value| {
        let mut value = with_plain_sizes(value).unwrap_or_else(|| value.clone());
        drop_nulls(&mut value);
        if let Value::Object(members) = &mut value {
            members.retain(|key, _| !READ_ONLY.contains(&key.as_str()));
            if let Some(Value::Array(tags)) = members.get_mut("tags") {
                tags.retain(|tag| !identity("tags", tag).is_some_and(|key| key.starts_with("steady:")));
            }
        }
        value
    };
    let (before, after) = (plain(before), plain(after));
    let own_address = matches!(after.get("networkMode").and_then(Value::as_str), Some("awsvpc" | "host"));
    let mut differ = Differ { values, own_address, changes: Vec::new() };
    differ.compare("", "", "", Some(&before), Some(&after));
    differ.changes
}

const REDACTED: &str = "(redacted)";

struct Differ {
    values: Values,
    /// Tasks have an address of their own, so that `hostPort` is `containerPort` by default.
    own_address: bool,
    changes: Vec<Change>,
}

impl Differ {
    /// `member` is the name that the values have in `parent`.
    fn compare(&mut self, path: &str, parent: &str, member: &str, before: Option<&Value>, after: Option<&Value>) {
        let absent = |value: Option<&Value>| value.is_none_or(|value| is_default(parent, member, value));
        if absent(before) && absent(after) {
            return;
        }
        match (before, after) {
            (Some(before), Some(after)) if canonical(before, member) == canonical(after, member) => {}
            (Some(Value::Object(before)), Some(Value::Object(after))) => self.objects(path, member, before, after),
            (Some(Value::Array(before)), Some(Value::Array(after))) => self.lists(path, member, before, after),
            (Some(Value::Array(list)), None) if identities(member, list).is_some() => {
                self.lists(path, member, list, &[])
            }
            (None, Some(Value::Array(list))) if identities(member, list).is_some() => {
                self.lists(path, member, &[], list)
            }
            (before, after) => self.push(path, parent, member, before, after),
        }
    }

    fn push(&mut self, path: &str, parent: &str, member: &str, before: Option<&Value>, after: Option<&Value>) {
        let kind = match (before, after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        let shown = |value: Option<&Value>| {
            let mut value = value?.clone();
            if self.values == Values::Redacted {
                redact(parent, member, &mut value);
            }
            Some(value)
        };
        let change = Change { path: path.to_owned(), kind, before: shown(before), after: shown(after) };
        self.changes.push(change);
    }

    fn objects(&mut self, path: &str, member: &str, before: &Map<String, Value>, after: &Map<String, Value>) {
        let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
        for key in keys {
            if member == "portMappings" && key == "hostPort" && self.own_address && follows(before) && follows(after) {
                continue;
            }
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.compare(&below, member, key, before.get(key), after.get(key));
        }
    }

    fn lists(&mut self, path: &str, member: &str, before: &[Value], after: &[Value]) {
        let (Some(befores), Some(afters)) = (identities(member, before), identities(member, after)) else {
            return self.unnamed(path, member, before, after);
        };
        let at = |names: &[String], list: &[Value], name: &String| {
            names.iter().position(|other| other == name).map(|index| list[index].clone())
        };
        let names = befores.iter().chain(afters.iter().filter(|name| !befores.contains(name)));
        for name in names {
            let (before, after) = (at(&befores, before, name), at(&afters, after, name));
            let below = format!("{path}[{name}]");
            if matches!(member, "environment" | "tags") {
                // The name is in the path; what is left is one value.
                let value = |entry: &Option<Value>| entry.as_ref().and_then(|entry| entry.get("value")).cloned();
                let (before, after) = (value(&before), value(&after));
                if before != after {
                    self.push(&below, member, "value", before.as_ref(), after.as_ref());
                }
                continue;
            }
            match (&before, &after) {
                (Some(Value::Object(before)), Some(Value::Object(after))) => {
                    self.objects(&below, member, before, after)
                }
                _ => self.push(&below, member, member, before.as_ref(), after.as_ref()),
            }
        }
    }

    fn unnamed(&mut self, path: &str, member: &str, before: &[Value], after: &[Value]) {
        if !is_set(member) {
            let (before, after) = (Value::from(before), Value::from(after));
            return self.push(path, "", member, Some(&before), Some(&after));
        }
        let text = |value: &Value| canonical(value, "");
        let mut added: Vec<&Value> = after.iter().collect();
        for value in before {
            match added.iter().position(|other| text(other) == text(value)) {
                Some(index) => drop(added.remove(index)),
                None => self.push(path, "", member, Some(value), None),
            }
        }
        added.into_iter().for_each(|value| self.push(path, "", member, None, Some(value)));
    }
}

/// A `hostPort` that is absent, 0 or the container's own.
fn follows(mapping: &Map<String, Value>) -> bool {
    let port = mapping.get("hostPort").unwrap_or(&Value::Null);
    port.is_null() || port.as_u64() == Some(0) || Some(port) == mapping.get("containerPort")
}

/// What ECS takes when a member is not given.
fn is_default(parent: &str, member: &str, value: &Value) -> bool {
    match value {
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(truth) => *truth == (member == "essential"),
        Value::String(text) => {
            matches!((member, text.as_str()), ("protocol", "tcp") | ("versionConsistency", "enabled"))
        }
        Value::Number(number) => matches!(
            (parent, member, number.as_u64()),
            ("containerDefinitions", "cpu", Some(0))
                | ("portMappings", "hostPort", Some(0))
                | ("healthCheck", "interval", Some(30))
                | ("healthCheck", "timeout", Some(5))
                | ("healthCheck", "retries", Some(3))
                | ("healthCheck", "startPeriod", Some(0))
        ),
        Value::Null => true,
    }
}

/// What tells an element of a list from the others.
fn identity(member: &str, element: &Value) -> Option<String> {
    let keys: &[&str] = match member {
        "containerDefinitions" | "environment" | "secrets" | "volumes" | "ulimits" | "secretOptions" | "properties" => {
            &["name"]
        }
        "portMappings" => &["containerPort", "containerPortRange", "protocol"],
        "mountPoints" => &["containerPath"],
        "volumesFrom" => &["sourceContainer"],
        "dependsOn" => &["containerName"],
        "systemControls" => &["namespace"],
        "tags" => &["key"],
        _ => return None,
    };
    let text = |key: &&str| match element.get(key)? {
        Value::String(text) if *key == "protocol" && text == "tcp" => None,
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    };
    let parts: Vec<String> = keys.iter().filter_map(text).collect();
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Of every element, or `None` when they cannot be told apart.
fn identities(member: &str, list: &[Value]) -> Option<Vec<String>> {
    let names: Vec<String> = list.iter().map(|element| identity(member, element)).collect::<Option<_>>()?;
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    (sorted.len() == names.len()).then_some(names)
}

fn redact(parent: &str, member: &str, value: &mut Value) {
    let secret_option = || {
        let name = member.to_lowercase();
        parent == "options"
            && ["token", "secret", "password", "apikey", "api_key"].iter().any(|word| name.contains(word))
    };
    if parent == "environment" && member == "value" || secret_option() {
        *value = Value::from(REDACTED);
        return;
    }
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(key, value)| redact(member, key, value)),
        Value::Array(values) => values.iter_mut().for_each(|value| redact("", member, value)),
        _ => {}
    }
}
