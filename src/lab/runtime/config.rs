//! What runs, and as whom: an image's config and a container definition merged by Docker's rules.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::inroot::InRoot;
use super::launch::User;
use super::spec::{ContainerSpec, StartError};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// `/etc/passwd` and `/etc/group` are not read beyond this many bytes.
const DATABASE_LIMIT: u64 = 1 << 20;
const CONFIG_LIMIT: u64 = 8 << 20;

/// An OCI image config, as far as running it needs.
#[derive(Debug, Default, Deserialize)]
pub struct ImageConfig {
    #[serde(default, deserialize_with = "or_default")]
    config: Defaults,
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Defaults {
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    working_dir: String,
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    stop_signal: String,
    #[serde(deserialize_with = "or_default")]
    volumes: BTreeMap<String, IgnoredAny>,
}

// Docker writes `null` for what is empty.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl ImageConfig {
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::metadata(path)
            .and_then(|found| match found.len() {
                0..=CONFIG_LIMIT => std::fs::read(path),
                _ => Err(std::io::Error::other("it is too large")),
            })
            .map_err(|error| format!("the image's config cannot be read: {error}"))?;
        serde_json::from_slice(&text).map_err(|error| format!("the image's config is not valid: {error}"))
    }

    /// Where volumes are to be.
    pub fn volumes(&self) -> Vec<String> {
        self.config.volumes.keys().cloned().collect()
    }

    pub fn diff_ids(&self) -> &[String] {
        &self.rootfs.diff_ids
    }
}

/// The process of a container.
pub struct Command {
    pub arguments: Vec<String>,
    /// `NAME=value`, each name once.
    pub environment: Vec<String>,
    pub working_directory: String,
    pub user: User,
    pub stop_signal: i32,
}

/// Merges both; `root` is the unpacked image, `hostname` what the container gets to see.
pub fn command(
    image: &ImageConfig,
    container: &ContainerSpec,
    root: &Path,
    hostname: &str,
) -> Result<Command, StartError> {
    let arguments = arguments(&image.config, container);
    if arguments.first().is_none_or(String::is_empty) {
        return Err(StartError::new(&container.name, "CannotCreateContainerError", "no command specified"));
    }
    let user = given(&container.user).unwrap_or(&image.config.user);
    let (user, home) = find_user(user, root).map_err(|problem| StartError::cannot_start(&container.name, problem))?;
    let stop_signal = given(&container.stop_signal).unwrap_or(&image.config.stop_signal);
    let stop_signal = signal_number(stop_signal).ok_or_else(|| {
        StartError::cannot_start(&container.name, format_args!("invalid stop signal: {stop_signal:?}"))
    })?;
    let working_directory = given(&container.working_directory).unwrap_or(&image.config.working_dir);
    let command = Command {
        arguments,
        environment: environment(&image.config, container, hostname, &home),
        // relative ones count from the root
        working_directory: format!("/{}", working_directory.trim_start_matches('/')),
        user,
        stop_signal,
    };
    let texts = [&command.arguments, &command.environment];
    if texts.into_iter().flatten().chain([&command.working_directory]).any(|text| text.contains('\0')) {
        return Err(StartError::cannot_start(&container.name, "a NUL character in its command or environment"));
    }
    Ok(command)
}

fn given(text: &Option<String>) -> Option<&String> {
    text.as_ref().filter(|text| !text.is_empty())
}

// An entry point of the container definition also switches the image's CMD off.
fn arguments(image: &Defaults, container: &ContainerSpec) -> Vec<String> {
    let (entry_point, command) = match (container.entry_point.as_slice(), container.command.as_slice()) {
        ([], []) => (image.entrypoint.as_slice(), image.cmd.as_slice()),
        ([], command) => (image.entrypoint.as_slice(), command),
        (entry_point, command) => (entry_point, command),
    };
    [entry_point, command].concat()
}

fn environment(image: &Defaults, container: &ContainerSpec, hostname: &str, home: &str) -> Vec<String> {
    let mut environment: Vec<(&str, &str)> = Vec::new();
    let mut set = |name, value| match environment.iter_mut().find(|(known, _)| *known == name) {
        Some(known) => known.1 = value,
        None => environment.push((name, value)),
    };
    set("PATH", PATH);
    set("HOSTNAME", hostname);
    set("HOME", home);
    for variable in &image.env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        set(name, value);
    }
    for (name, value) in &container.environment {
        set(name, value);
    }
    environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// A user as Docker writes it, and its home directory.
fn find_user(text: &str, root: &Path) -> Result<(User, String), String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let root = InRoot::open(root).map_err(|error| error.to_string())?;
    let database = |path: &str| root.read(Path::new(path), DATABASE_LIMIT).unwrap_or_default();
    let (passwd, groups) = (database("etc/passwd"), database("etc/group"));
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id < u32::MAX);

    let uid = if user.is_empty() { Some(0) } else { number(user) };
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6 && if let Some(uid) = uid { number(fields[2]) == Some(uid) } else { fields[0] == user }
    });
    let entry_number = |field: usize| entry.as_ref().and_then(|fields| number(fields[field]));
    let uid = uid
        .or_else(|| entry_number(2))
        .ok_or_else(|| format!("unable to find user {user}: no matching entries in passwd file"))?;

    let lines = || groups.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| fields.len() >= 3);
    let gid = match group {
        None | Some("") => entry_number(3).unwrap_or(0),
        Some(group) => number(group)
            .or_else(|| lines().find(|fields| fields[0] == group).and_then(|fields| number(fields[2])))
            .ok_or_else(|| format!("unable to find group {group}: no matching entries in group file"))?,
    };
    let mut supplementary = vec![gid];
    if let (Some(entry), None) = (&entry, group) {
        let member =
            |fields: &Vec<&str>| fields.get(3).is_some_and(|names| names.split(',').any(|name| name == entry[0]));
        supplementary.extend(lines().filter(member).filter_map(|fields| number(fields[2])));
    }
    let home = entry.as_ref().map_or("", |fields| fields[5]);
    let home = if !home.is_empty() {
        home
    } else if uid == 0 {
        "/root"
    } else {
        "/"
    };
    Ok((User { uid, gid, groups: supplementary }, home.to_owned()))
}

/// Number of a signal by its name or number; SIGTERM when not given.
fn signal_number(text: &str) -> Option<i32> {
    use nix::sys::signal::Signal;
    if text.is_empty() {
        return Some(Signal::SIGTERM as i32);
    }
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    name.parse::<Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_point_and_command_merge_as_docker_does() {
        let image = |entrypoint: &[&str], cmd: &[&str]| Defaults {
            entrypoint: entrypoint.iter().map(ToString::to_string).collect(),
            cmd: cmd.iter().map(ToString::to_string).collect(),
            ..Defaults::default()
        };
        // image's ENTRYPOINT, image's CMD, definition's entryPoint, its command -> what runs
        let table: [[&[&str]; 5]; 6] = [
            [&["/e"], &["c"], &[], &[], &["/e", "c"]],
            [&["/e"], &["c"], &[], &["x"], &["/e", "x"]],
            [&["/e"], &["c"], &["/y"], &[], &["/y"]],
            [&["/e"], &["c"], &["/y"], &["x"], &["/y", "x"]],
            [&[], &["/c", "1"], &[], &[], &["/c", "1"]],
            [&[], &[], &[], &[], &[]],
        ];
        for [entrypoint, cmd, entry_point, command, expected] in table {
            let container = ContainerSpec {
                entry_point: entry_point.iter().map(ToString::to_string).collect(),
                command: command.iter().map(ToString::to_string).collect(),
                ..ContainerSpec::default()
            };
            assert_eq!(arguments(&image(entrypoint, cmd), &container), *expected, "{entrypoint:?} {entry_point:?}");
        }
    }

    #[test]
    fn environment_has_each_name_once_and_the_definition_wins() {
        let image =
            Defaults { env: vec!["A=image".into(), "B=image=1".into(), "HOME=/h".into()], ..Default::default() };
        let container = ContainerSpec {
            environment: vec![("A".into(), "task".into()), ("C".into(), String::new())],
            ..ContainerSpec::default()
        };
        let path = format!("PATH={PATH}");
        assert_eq!(
            environment(&image, &container, "host", "/root"),
            [path.as_str(), "HOSTNAME=host", "HOME=/h", "A=task", "B=image=1", "C="]
        );
    }

    #[test]
    fn users_are_numbers_or_names_of_the_image() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/srv:/bin/sh\n")
            .unwrap();
        std::fs::write(root.path().join("etc/group"), "root:x:0:\nweb:x:33:app,other\n").unwrap();
        type Found = (u32, u32, &'static [u32], &'static str);
        let table: &[(&str, Result<Found, &str>)] = &[
            ("", Ok((0, 0, &[0], "/root"))),
            ("app", Ok((1000, 1001, &[1001, 33], "/srv"))),
            ("1000", Ok((1000, 1001, &[1001, 33], "/srv"))),
            ("app:web", Ok((1000, 33, &[33], "/srv"))),
            ("7:8", Ok((7, 8, &[8], "/"))),
            ("7", Ok((7, 0, &[0], "/"))),
            ("nobody", Err("unable to find user nobody: no matching entries in passwd file")),
            ("app:staff", Err("unable to find group staff: no matching entries in group file")),
        ];
        for (text, expected) in table {
            let found = find_user(text, root.path());
            match (found, expected) {
                (Ok((user, home)), Ok((uid, gid, groups, expected_home))) => {
                    assert_eq!(
                        (user.uid, user.gid, user.groups.as_slice(), home.as_str()),
                        (*uid, *gid, *groups, *expected_home),
                        "{text}"
                    );
                }
                (Err(found), Err(expected)) => assert_eq!(found, *expected),
                (found, expected) => panic!("{text}: {:?} instead of {expected:?}", found.err()),
            }
        }
    }

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in
            [("", Some(15)), ("SIGQUIT", Some(3)), ("int", Some(2)), ("9", Some(9)), ("99", None), ("SIGX", None)]
        {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }
}
