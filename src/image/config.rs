//! The config of an assembled image: what its base says, changed where the build says otherwise.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Platform;
use crate::error::{Error, Result};

/// What containers of the image run, unless their task definition says otherwise. `None` and empty leave the base's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Execution {
    /// Setting it drops the base's command, which was meant for the base's entry point.
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    /// Added to the base's; one of the same name replaces it.
    pub env: BTreeMap<String, String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    /// `8080`, `8080/tcp` or `53/udp`; added to the base's.
    pub exposed_ports: Vec<String>,
    /// Added to the base's.
    pub labels: BTreeMap<String, String>,
    pub stop_signal: Option<String>,
}

/// One layer, as the config tells of it.
pub(super) struct LayerRecord {
    pub diff_id: String,
    pub created_by: String,
}

/// The config of an image with `layers` over `base`. Everything in the base's config stays that nothing here replaces,
/// whether this program knows it or not.
pub(super) fn build(
    base: Option<&[u8]>,
    platform: &Platform,
    execution: &Execution,
    layers: &[LayerRecord],
    created: Option<i64>,
) -> Result<Bytes> {
    let mut config = match base {
        Some(base) => serde_json::from_slice::<Map<String, Value>>(base)
            .map_err(|error| Error::build_or_push("the base image's config is not JSON").cause(error))?,
        None => Map::new(),
    };
    config.insert("architecture".into(), platform.architecture.clone().into());
    config.insert("os".into(), platform.os.clone().into());
    if let Some(variant) = &platform.variant {
        config.insert("variant".into(), variant.clone().into());
    }
    // The base's own time would claim that this image is as old.
    config.shift_remove("created");
    let created = match created {
        Some(seconds) => Some(
            jiff::Timestamp::from_second(seconds)
                .map_err(|error| Error::input(format!("SOURCE_DATE_EPOCH={seconds} is no time")).cause(error))?
                .to_string(),
        ),
        None => None,
    };
    if let Some(created) = &created {
        config.insert("created".into(), created.clone().into());
    }
    let run = object(&mut config, "config")?;
    apply(run, execution)?;
    if run.is_empty() {
        config.shift_remove("config");
    }

    let rootfs = object(&mut config, "rootfs")?;
    rootfs.insert("type".into(), "layers".into());
    let diff_ids = rootfs.entry("diff_ids").or_insert_with(|| json!([]));
    let diff_ids = diff_ids.as_array_mut().ok_or_else(|| malformed("rootfs.diff_ids"))?;
    let below = diff_ids.len();
    diff_ids.extend(layers.iter().map(|layer| Value::from(layer.diff_id.clone())));

    let history = config.entry("history").or_insert_with(|| json!([]));
    let history = history.as_array_mut().ok_or_else(|| malformed("history"))?;
    // A base whose history tells of fewer layers than it has cannot be continued.
    let told = history.iter().filter(|entry| entry.get("empty_layer") != Some(&Value::Bool(true))).count();
    if told < below {
        history.extend((told..below).map(|_| json!({ "comment": "base image" })));
    }
    history.extend(layers.iter().map(|layer| match &created {
        Some(created) => json!({ "created": created, "created_by": layer.created_by }),
        None => json!({ "created_by": layer.created_by }),
    }));
    Ok(Bytes::from(Value::Object(config).to_string()))
}

fn apply(config: &mut Map<String, Value>, execution: &Execution) -> Result<()> {
    if let Some(entrypoint) = &execution.entrypoint {
        config.insert("Entrypoint".into(), json!(entrypoint));
        config.shift_remove("Cmd");
    }
    if let Some(command) = &execution.command {
        config.insert("Cmd".into(), json!(command));
    }
    if !execution.env.is_empty() {
        let env = config.entry("Env").or_insert_with(|| json!([]));
        // Docker writes null for none.
        if env.is_null() {
            *env = json!([]);
        }
        let env = env.as_array_mut().ok_or_else(|| malformed("config.Env"))?;
        for (name, value) in &execution.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(Error::input(format!("`{}` cannot name an environment variable", name.escape_debug())));
            }
            let line = Value::from(format!("{name}={value}"));
            let of_name = |known: &&mut Value| {
                known.as_str().and_then(|known| known.split_once('=')).is_some_and(|(known, _)| known == name)
            };
            match env.iter_mut().find(of_name) {
                Some(known) => *known = line,
                None => env.push(line),
            }
        }
    }
    for (key, value) in
        [("WorkingDir", &execution.working_dir), ("User", &execution.user), ("StopSignal", &execution.stop_signal)]
    {
        if let Some(value) = value {
            config.insert(key.into(), value.clone().into());
        }
    }
    if !execution.exposed_ports.is_empty() {
        let mut ports: Vec<String> =
            execution.exposed_ports.iter().map(|port| exposed_port(port)).collect::<Result<_>>()?;
        ports.sort();
        let known = object(config, "ExposedPorts")?;
        for port in ports {
            known.insert(port, json!({}));
        }
    }
    if !execution.labels.is_empty() {
        let known = object(config, "Labels")?;
        for (name, value) in &execution.labels {
            known.insert(name.clone(), value.clone().into());
        }
    }
    Ok(())
}

fn exposed_port(text: &str) -> Result<String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match port.parse::<u16>() {
        Ok(number) if number > 0 && matches!(protocol, "tcp" | "udp" | "sctp") => Ok(format!("{number}/{protocol}")),
        _ => Err(Error::input(format!("`{text}` is not a port to expose")).hint("write it as `8080` or `53/udp`")),
    }
}

/// The object under `key`, made if there is none (or null, as Docker writes it).
fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> Result<&'a mut Map<String, Value>> {
    let value = map.entry(key).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().ok_or_else(|| malformed(key))
}

fn malformed(key: &str) -> Error {
    Error::build_or_push(format!("`{key}` in the base image's config is malformed"))
}

/// The diffIDs that a config lists, lowest layer first.
///
/// # Errors
/// `BuildOrPush` when it has none.
pub fn diff_ids(config: &[u8]) -> Result<Vec<String>> {
    let config: Value = serde_json::from_slice(config)
        .map_err(|error| Error::build_or_push("the image's config is not JSON").cause(error))?;
    let listed = config.pointer("/rootfs/diff_ids").and_then(Value::as_array);
    let texts =
        listed.and_then(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
    texts.ok_or_else(|| Error::build_or_push("the image's config lists no layers"))
}
