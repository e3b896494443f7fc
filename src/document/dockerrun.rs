//! Elastic Beanstalk's dockerrun, version 2: containers and volumes in the words of ECS, with a few
//! members that only Elastic Beanstalk reads.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::parse::Document;

/// Elastic Beanstalk declares a volume of this name for each container, without being told.
const LOGS: &str = "awseb-logs-";

pub(super) fn version_2<'d>(document: &'d Document, members: &Map<String, Value>, version: &str) -> Draft<'d> {
    let mut draft = Draft::new(document, members.clone());
    let Value::Object(kept) = &mut draft.value else { unreachable!("made of an object") };
    kept.retain(|key, _| key != version && !key.eq_ignore_ascii_case("authentication"));
    if let Some(key) = members.keys().find(|key| key.eq_ignore_ascii_case("authentication")) {
        draft.warn_at(&format!("/{key}"), authentication(key));
    }
    declare_log_volumes(&mut draft);
    draft
}

pub(super) fn authentication(key: &str) -> String {
    format!(
        "{key:?} is Elastic Beanstalk's and left out: for a private registry give the container repositoryCredentials"
    )
}

fn declare_log_volumes(draft: &mut Draft<'_>) {
    let empty = Vec::new();
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let declared: BTreeSet<String> = list(&draft.value, "volumes").iter().map(|volume| text(volume, "name")).collect();
    let containers = draft.value.get("containerDefinitions").and_then(Value::as_array).unwrap_or(&empty);
    let mut missing = BTreeSet::new();
    for container in containers {
        for mount in list(container, "mountPoints") {
            let volume = text(&mount, "sourceVolume");
            if volume.starts_with(LOGS) && !declared.contains(&volume) {
                missing.insert(volume);
            }
        }
    }
    if missing.is_empty() {
        return;
    }
    let mut added = Vec::new();
    for volume in &missing {
        let host = format!("/var/log/containers/{}", &volume[LOGS.len()..]);
        draft.warn_at(
            "/containerDefinitions",
            format!("the volume {volume:?} is Elastic Beanstalk's own; declared as the host's {host}"),
        );
        added.push(json!({ "name": volume, "host": { "sourcePath": host } }));
    }
    if let Value::Object(members) = &mut draft.value {
        let volumes = members.entry("volumes").or_insert_with(|| json!([]));
        if volumes.is_null() {
            *volumes = json!([]);
        }
        if let Value::Array(volumes) = volumes {
            volumes.append(&mut added);
        }
    }
}
