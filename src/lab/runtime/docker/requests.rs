//! What the engine is asked to make, as data. Environments hold secrets: they travel in these bodies and nowhere else.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::lab::runtime::spec::{ContainerSpec, HealthCheck, TaskSpec, Tmpfs, VolumeSource};

pub const LAB: &str = "steady.lab";
pub const TASK: &str = "steady.task";
/// Docker refuses shorter times.
const LEAST_NANOSECONDS: u128 = 1_000_000;

/// How a lab names what is its own.
#[derive(Debug, Clone)]
pub struct Names {
    /// Of the data folder, so that no lab clears another one's containers away.
    pub lab: String,
}

impl Names {
    pub fn network(&self) -> String {
        format!("steady-{}", self.lab)
    }

    pub fn image(&self, digest: &str) -> String {
        format!("steady-lab-{}:{}", self.lab, digest.trim_start_matches("sha256:"))
    }

    pub fn pause_image(&self) -> String {
        format!("steady-lab-{}:pause", self.lab)
    }

    pub fn container(&self, task_id: &str, container: &str) -> String {
        format!("steady-{}-{task_id}-{container}", self.lab)
    }

    /// The one volume that all tasks share, or a task's own.
    fn volume(&self, task_id: &str, at: usize, source: &VolumeSource) -> String {
        match source {
            VolumeSource::Shared(name) => format!("steady-{}-shared-{name}", self.lab),
            _ => format!("steady-{}-{task_id}-volume-{at}", self.lab),
        }
    }

    fn labels(&self, task_id: Option<&str>) -> Value {
        let mut labels = Map::from_iter([(LAB.to_owned(), json!(self.lab))]);
        labels.extend(task_id.map(|id| (TASK.to_owned(), json!(id))));
        Value::Object(labels)
    }

    /// A query for what is this lab's, or one of its tasks'.
    pub fn filter(&self, task_id: Option<&str>) -> String {
        let mut labels = vec![format!("{LAB}={}", self.lab)];
        labels.extend(task_id.map(|id| format!("{TASK}={id}")));
        query(&[("filters", &json!({ "label": labels }).to_string())])
    }
}

pub fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded(pairs)
}

fn form_urlencoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub fn network(names: &Names) -> Value {
    json!({ "Name": names.network(), "Driver": "bridge", "Labels": names.labels(None) })
}

pub fn volumes(names: &Names, task: &TaskSpec) -> Vec<Value> {
    let made = task.volumes.iter().enumerate().filter(|(_, volume)| !matches!(volume.source, VolumeSource::Host(_)));
    made.map(|(at, volume)| {
        let shared = matches!(volume.source, VolumeSource::Shared(_));
        let name = names.volume(&task.task_id, at, &volume.source);
        json!({ "Name": name, "Labels": names.labels((!shared).then_some(&task.task_id)) })
    })
    .collect()
}

/// What holds a task's network, as its containers come and go. `publish`: where the engine's addresses cannot be
/// reached, ports are bound to this machine's loopback.
pub fn pause(names: &Names, task: &TaskSpec, publish: bool) -> Value {
    let hostname = task.containers.iter().find_map(|container| container.hostname.clone()).unwrap_or_default();
    let ports = task.containers.iter().flat_map(|container| &container.ports);
    let ports: Vec<String> = ports.map(|port| format!("{port}/tcp")).filter(|_| publish).collect();
    let exposed = ports.iter().map(|port| (port.clone(), json!({})));
    let bound = ports.iter().map(|port| (port.clone(), json!([{ "HostIp": "127.0.0.1", "HostPort": "" }])));
    json!({
        "Image": names.pause_image(),
        "Hostname": hostname,
        "Labels": names.labels(Some(&task.task_id)),
        "ExposedPorts": Map::from_iter(exposed),
        "HostConfig": {
            "NetworkMode": names.network(),
            "PortBindings": Map::from_iter(bound),
            "Sysctls": { "net.ipv4.ip_unprivileged_port_start": "0" },
            "LogConfig": { "Type": "none" },
        },
    })
}

/// One of the task's containers. `ids` are those of the containers that exist already.
pub fn container(
    names: &Names,
    task: &TaskSpec,
    container: &ContainerSpec,
    pause: &str,
    ids: &HashMap<String, String>,
    start_interval: bool,
) -> Result<Value, String> {
    let environment: Vec<String> =
        container.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut volumes_from = Vec::new();
    for from in &container.volumes_from {
        let id = ids.get(&from.container).ok_or_else(|| format!("the task has no container {:?}", from.container))?;
        volumes_from.push(if from.read_only { format!("{id}:ro") } else { id.clone() });
    }
    let ulimits = container.ulimits.iter().map(|of| {
        let number = |limit: Option<u64>| limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1);
        json!({ "Name": of.name, "Soft": number(of.soft), "Hard": number(of.hard) })
    });
    let mut body = json!({
        "Image": names.image(&container.image.digest),
        "Env": environment,
        "Labels": names.labels(Some(&task.task_id)),
        "Healthcheck": health_check(container.health_check.as_ref(), start_interval),
        "HostConfig": {
            "NetworkMode": format!("container:{pause}"),
            "IpcMode": "private",
            "Binds": binds(names, task, container)?,
            "VolumesFrom": volumes_from,
            "ReadonlyRootfs": container.readonly_root_filesystem,
            "Ulimits": ulimits.collect::<Vec<_>>(),
            "LogConfig": { "Type": "json-file", "Config": { "max-size": "64m", "max-file": "2" } },
        },
    });
    let mut set = |member: &str, value: Value| {
        body[member] = value;
    };
    if !container.command.is_empty() {
        set("Cmd", json!(container.command));
    }
    if !container.entry_point.is_empty() {
        set("Entrypoint", json!(container.entry_point));
    }
    for (member, value) in [
        ("WorkingDir", &container.working_directory),
        ("User", &container.user),
        ("StopSignal", &container.stop_signal),
    ] {
        if let Some(value) = value {
            set(member, json!(value));
        }
    }
    if let Some(bytes) = container.memory_bytes {
        // the same for memory and swap: there is no swap to go to
        body["HostConfig"]["Memory"] = json!(bytes);
        body["HostConfig"]["MemorySwap"] = json!(bytes);
    }
    if !container.tmpfs.is_empty() {
        body["HostConfig"]["Tmpfs"] = tmpfs(container);
    }
    Ok(body)
}

fn tmpfs(container: &ContainerSpec) -> Value {
    let options = |of: &Tmpfs| [vec![format!("size={}m", of.size_mib)], of.options.clone()].concat().join(",");
    container
        .tmpfs
        .iter()
        .map(|of| (of.container_path.clone(), json!(options(of))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn binds(names: &Names, task: &TaskSpec, container: &ContainerSpec) -> Result<Vec<String>, String> {
    let bind = |point: &crate::lab::runtime::spec::MountPoint| {
        let at = task.volumes.iter().position(|volume| volume.name == point.source_volume);
        let at = at.ok_or_else(|| format!("the task has no volume {:?}", point.source_volume))?;
        let source = match &task.volumes[at].source {
            VolumeSource::Host(path) => path.to_str().ok_or("a volume's path is not UTF-8")?.to_owned(),
            source => names.volume(&task.task_id, at, source),
        };
        if source.contains(':') || point.container_path.contains(':') {
            return Err(format!("volume {:?}: Docker takes no path with a colon", point.source_volume));
        }
        let mode = if point.read_only { ":ro" } else { "" };
        Ok(format!("{source}:{}{mode}", point.container_path))
    };
    container.mount_points.iter().map(bind).collect()
}

/// ECS heeds the task definition's health check only, so that an image's own is switched off.
fn health_check(check: Option<&HealthCheck>, start_interval: bool) -> Value {
    let Some(check) = check else { return json!({ "Test": ["NONE"] }) };
    let nanoseconds = |time: std::time::Duration| json!(time.as_nanos().max(LEAST_NANOSECONDS) as u64);
    let test: Vec<&str> = std::iter::once("CMD").chain(check.command.iter().map(String::as_str)).collect();
    let mut health = json!({
        "Test": test,
        "Interval": nanoseconds(if start_interval { check.settled_interval } else { check.interval }),
        "Timeout": nanoseconds(check.timeout),
        "Retries": check.retries,
        "StartPeriod": nanoseconds(check.start_period),
    });
    if start_interval {
        health["StartInterval"] = nanoseconds(check.interval);
    }
    health
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lab::runtime::spec::{ImageSource, MountPoint, Ulimit, Volume, VolumesFrom};

    fn names() -> Names {
        Names { lab: "abc".into() }
    }

    fn task() -> TaskSpec {
        let volume = |name: &str, source| Volume { name: name.into(), source };
        TaskSpec {
            task_id: "t1".into(),
            containers: vec![ContainerSpec {
                name: "web".into(),
                image: ImageSource { digest: "sha256:12ab".into(), ..ImageSource::default() },
                ports: vec![80],
                hostname: Some("box".into()),
                ..ContainerSpec::default()
            }],
            volumes: vec![
                volume("own", VolumeSource::Task),
                volume("host", VolumeSource::Host("/srv/x".into())),
                volume("all", VolumeSource::Shared("cache".into())),
            ],
        }
    }

    #[test]
    fn a_container_shares_its_tasks_network_and_says_only_what_the_definition_says() {
        let task = task();
        let body = container(&names(), &task, &task.containers[0], "p1", &HashMap::new(), true).unwrap();
        let expected = json!({
            "Image": "steady-lab-abc:12ab",
            "Env": [],
            "Labels": { "steady.lab": "abc", "steady.task": "t1" },
            "Healthcheck": { "Test": ["NONE"] },
            "HostConfig": {
                "NetworkMode": "container:p1",
                "IpcMode": "private",
                "Binds": [],
                "VolumesFrom": [],
                "ReadonlyRootfs": false,
                "Ulimits": [],
                "LogConfig": { "Type": "json-file", "Config": { "max-size": "64m", "max-file": "2" } },
            },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn every_setting_has_its_place() {
        let mut task = task();
        let point = |volume: &str, path: &str, read_only| MountPoint {
            source_volume: volume.into(),
            container_path: path.into(),
            read_only,
        };
        let spec = ContainerSpec {
            command: vec!["a".into()],
            entry_point: vec!["/e".into()],
            environment: vec![("SECRET".into(), "a=b c".into())],
            working_directory: Some("/w".into()),
            user: Some("1:2".into()),
            stop_signal: Some("SIGINT".into()),
            memory_bytes: Some(64 << 20),
            readonly_root_filesystem: true,
            mount_points: vec![point("own", "/o", false), point("host", "/h", true), point("all", "/a", false)],
            volumes_from: vec![VolumesFrom { container: "web".into(), read_only: true }],
            ulimits: vec![Ulimit { name: "nofile".into(), soft: Some(10), hard: None }],
            health_check: Some(HealthCheck {
                command: vec!["/bin/sh".into(), "-c".into(), "x".into()],
                interval: Duration::from_millis(100),
                settled_interval: Duration::from_secs(2),
                timeout: Duration::from_secs(5),
                retries: 3,
                start_period: Duration::ZERO,
            }),
            ..task.containers[0].clone()
        };
        let ids = HashMap::from([("web".to_owned(), "id9".to_owned())]);
        let body = container(&names(), &task, &spec, "p1", &ids, true).unwrap();
        for (pointer, expected) in [
            ("/Cmd", json!(["a"])),
            ("/Entrypoint", json!(["/e"])),
            ("/Env", json!(["SECRET=a=b c"])),
            ("/WorkingDir", json!("/w")),
            ("/User", json!("1:2")),
            ("/StopSignal", json!("SIGINT")),
            ("/HostConfig/Memory", json!(64 << 20)),
            ("/HostConfig/MemorySwap", json!(64 << 20)),
            ("/HostConfig/ReadonlyRootfs", json!(true)),
            ("/HostConfig/Binds", json!(["steady-abc-t1-volume-0:/o", "/srv/x:/h:ro", "steady-abc-shared-cache:/a"])),
            ("/HostConfig/VolumesFrom", json!(["id9:ro"])),
            ("/HostConfig/Ulimits", json!([{ "Name": "nofile", "Soft": 10, "Hard": -1 }])),
            (
                "/Healthcheck",
                json!({ "Test": ["CMD", "/bin/sh", "-c", "x"], "Interval": 2_000_000_000, "StartInterval": 100_000_000,
                    "Timeout": 5_000_000_000_u64, "Retries": 3, "StartPeriod": 1_000_000 }),
            ),
        ] {
            assert_eq!(body.pointer(pointer), Some(&expected), "{pointer}");
        }
        let older = container(&names(), &task, &spec, "p1", &ids, false).unwrap();
        assert_eq!(older["Healthcheck"]["Interval"], 100_000_000);
        assert!(older["Healthcheck"].get("StartInterval").is_none());

        let made = volumes(&names(), &task);
        assert_eq!(made[0]["Labels"], json!({ "steady.lab": "abc", "steady.task": "t1" }));
        assert_eq!(made[1], json!({ "Name": "steady-abc-shared-cache", "Labels": { "steady.lab": "abc" } }));
        assert_eq!(made.len(), 2, "a folder of the host is not made");
        task.volumes.clear();
        let refused = container(&names(), &task, &spec, "p1", &ids, true).unwrap_err();
        assert_eq!(refused, "the task has no volume \"own\"");
    }

    #[test]
    fn ports_are_published_on_loopback_and_only_where_they_must_be() {
        let body = pause(&names(), &task(), true);
        assert_eq!(body["HostConfig"]["PortBindings"]["80/tcp"], json!([{ "HostIp": "127.0.0.1", "HostPort": "" }]));
        assert_eq!((&body["Hostname"], &body["HostConfig"]["NetworkMode"]), (&json!("box"), &json!("steady-abc")));
        let body = pause(&names(), &task(), false);
        assert_eq!((&body["ExposedPorts"], &body["HostConfig"]["PortBindings"]), (&json!({}), &json!({})));
    }

    #[test]
    fn a_query_is_escaped() {
        let filter = names().filter(Some("t1"));
        assert_eq!(filter, "filters=%7B%22label%22%3A%5B%22steady.lab%3Dabc%22%2C%22steady.task%3Dt1%22%5D%7D");
    }
}
