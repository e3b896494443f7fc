//! What differs between two documents, as ECS would see it.

use serde::Serialize;
use serde_json::{Map, Value};

use super::fingerprint::{canonical, is_set};
use super::normal::{is_default, plain, same_role};
use super::redact::redact;

/// Whether a difference shows values that may be secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Values of environment variables, and others that look like secrets, are not shown.
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

/// One difference.
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

impl Change {
    pub fn new(path: impl Into<String>, before: Option<Value>, after: Option<Value>) -> Self {
        let kind = match (&before, &after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        Change { path: path.into(), kind, before, after }
    }
}

/// What is different in `after`. Either side may be a request or a description: read-only members, explicit nulls, and
/// what ECS fills in by itself (`cpu` 0, `essential` true, empty lists, …) make no difference, nor does order where ECS
/// has none, nor the unit of a task's size. Members that nobody here knows are compared like any other.
pub fn diff(before: &Value, after: &Value, values: Values) -> Vec<Change> {
    let mut differ = Differ { values, asked: false, changes: Vec::new() };
    differ.compare("", "", "", Some(&plain(before)), Some(&plain(after)));
    differ.changes
}

/// What of `wanted` is not so in `live`, a member of a service. AWS fills in defaults, and an update leaves alone what it
/// does not speak of: members that are not in `wanted` make no difference. `member` is its name.
pub fn uncovered(member: &str, live: &Value, wanted: &Value, values: Values) -> Vec<Change> {
    let mut differ = Differ { values, asked: true, changes: Vec::new() };
    differ.compare(member, "", member, Some(live), Some(wanted));
    differ.changes
}

struct Differ {
    values: Values,
    /// Only what `after` speaks of counts.
    asked: bool,
    changes: Vec<Change>,
}

impl Differ {
    /// `member` is the name that the values have in `parent`.
    fn compare(&mut self, path: &str, parent: &str, member: &str, before: Option<&Value>, after: Option<&Value>) {
        let [before, after] = [before, after].map(|value| value.filter(|value| !value.is_null()));
        if self.asked && after.is_none() {
            return;
        }
        let absent = |value: Option<&Value>| value.is_none_or(|value| self.is_nothing(parent, member, value));
        if absent(before) && absent(after) {
            return;
        }
        match (before, after) {
            (Some(before), Some(after)) if canonical(before, member) == canonical(after, member) => {}
            (Some(before), Some(after)) if same_role(member, before, after) => {}
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

    /// Whether it is as if the member was not there.
    fn is_nothing(&self, parent: &str, member: &str, value: &Value) -> bool {
        match value {
            Value::Number(number) if self.asked => number.as_f64() == Some(0.0),
            Value::Object(members) if self.asked => {
                members.iter().all(|(key, value)| self.is_nothing(member, key, value))
            }
            value => is_default(parent, member, value),
        }
    }

    fn push(&mut self, path: &str, parent: &str, member: &str, before: Option<&Value>, after: Option<&Value>) {
        let shown = |value: Option<&Value>| {
            let mut value = value?.clone();
            if self.values == Values::Redacted {
                redact(parent, member, &mut value);
            }
            Some(value)
        };
        let change = Change::new(path, shown(before), shown(after));
        self.changes.push(change);
    }

    fn objects(&mut self, path: &str, member: &str, before: &Map<String, Value>, after: &Map<String, Value>) {
        let added = after.keys().filter(|key| !before.contains_key(*key));
        for key in before.keys().chain(added) {
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
                    let what = if member == "tags" { name } else { "value" };
                    self.push(&below, member, what, before.as_ref(), after.as_ref());
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
        let ordered = match member {
            // Of two with one name the later counts.
            "environment" | "secrets" | "placementStrategy" => true,
            _ => !self.asked && !is_set(member),
        };
        if ordered {
            let as_wanted = |(before, after)| self.same(member, before, after);
            if !(self.asked && before.len() == after.len() && before.iter().zip(after).all(as_wanted)) {
                let (before, after) = (Value::from(before), Value::from(after));
                self.push(path, "", member, Some(&before), Some(&after));
            }
            return;
        }
        let mut added: Vec<&Value> = after.iter().collect();
        for value in before {
            match added.iter().position(|other| self.same(member, value, other)) {
                Some(index) => drop(added.remove(index)),
                None => self.push(path, "", member, Some(value), None),
            }
        }
        added.into_iter().for_each(|value| self.push(path, "", member, None, Some(value)));
    }

    /// Whether an element of one list is as good as one of the other.
    fn same(&self, member: &str, before: &Value, after: &Value) -> bool {
        let mut within = Differ { values: self.values, asked: self.asked, changes: Vec::new() };
        match (before, after) {
            (Value::Object(before), Value::Object(after)) => within.objects("", member, before, after),
            _ => return canonical(before, member) == canonical(after, member),
        }
        within.changes.is_empty()
    }
}

/// What tells an element of a list from the others.
fn identity(member: &str, element: &Value) -> Option<String> {
    let keys: &[&str] = match member {
        "containerDefinitions"
        | "environment"
        | "secrets"
        | "volumes"
        | "ulimits"
        | "secretOptions"
        | "properties"
        | "volumeConfigurations" => &["name"],
        "portMappings" => &["containerPort", "containerPortRange", "protocol"],
        "mountPoints" | "tmpfs" => &["containerPath"],
        "volumesFrom" => &["sourceContainer"],
        "dependsOn" => &["containerName"],
        "systemControls" => &["namespace"],
        "extraHosts" => &["hostname"],
        "devices" => &["hostPath"],
        "resourceRequirements" => &["type"],
        "inferenceAccelerators" => &["deviceName"],
        "tags" => &["key"],
        "capacityProviderStrategy" => &["capacityProvider"],
        "loadBalancers" => &["containerName", "containerPort"],
        "serviceRegistries" => &["registryArn"],
        "services" => &["portName"],
        "lifecycleHooks" => &["hookTargetArn"],
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
