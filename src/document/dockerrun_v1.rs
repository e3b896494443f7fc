//! Elastic Beanstalk's dockerrun, version 1: one image, said in words of its own.

use serde_json::{Map, Value, json};

use super::dockerrun::authentication;
use super::draft::Draft;
use super::parse::Document;
use crate::error::{Error, Result, nearest};

const MEMBERS: [&str; 8] =
    ["AWSEBDockerrunVersion", "Authentication", "Image", "Ports", "Volumes", "Logging", "Entrypoint", "Command"];

/// MiB that a container is sure of, where the document cannot say it and ECS on EC2 must know.
const MEMORY_RESERVATION: u64 = 128;

pub(super) fn read<'d>(document: &'d Document, members: &Map<String, Value>, family: &str) -> Result<Draft<'d>> {
    let mut reader = Reader { document, errors: Vec::new() };
    reader.known("", members, &MEMBERS);
    let name: String = family.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let mut container = Map::from_iter([
        ("name".to_owned(), Value::from(name.as_str())),
        ("essential".to_owned(), true.into()),
        ("memoryReservation".to_owned(), MEMORY_RESERVATION.into()),
    ]);
    let mut volumes = Vec::new();
    let mut mounts = Vec::new();
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        let pointer = format!("/{key}");
        match key.as_str() {
            "Image" => {
                if let Some(image) = reader.image(value) {
                    container.insert("image".to_owned(), image);
                }
            }
            "Ports" => {
                container.insert("portMappings".to_owned(), reader.ports(value));
            }
            "Volumes" => reader.volumes(value, &mut volumes, &mut mounts),
            "Logging" => {
                if let Some(path) = reader.text(&pointer, value) {
                    let host = format!("/var/log/containers/{name}");
                    volumes.push(json!({ "name": "logging", "host": { "sourcePath": host } }));
                    mounts.push(json!({ "sourceVolume": "logging", "containerPath": path }));
                }
            }
            "Entrypoint" => {
                container.insert("entryPoint".to_owned(), reader.words(&pointer, value));
            }
            "Command" => {
                container.insert("command".to_owned(), reader.words(&pointer, value));
            }
            _ => {}
        }
    }
    if !mounts.is_empty() {
        container.insert("mountPoints".to_owned(), Value::Array(mounts));
    }
    if let Some(error) = Error::all(reader.errors) {
        return Err(error);
    }
    let mut draft = Draft::new(document, Map::new());
    draft.value = json!({ "family": family, "containerDefinitions": [container], "volumes": volumes });
    draft.origins = vec![
        ("/containerDefinitions/0/image", "/Image/Name"),
        ("/containerDefinitions/0/portMappings", "/Ports"),
        ("/containerDefinitions/0/mountPoints", "/Volumes"),
        ("/containerDefinitions/0/entryPoint", "/Entrypoint"),
        ("/containerDefinitions/0/command", "/Command"),
        ("/containerDefinitions", "/Image"),
        ("/volumes", "/Volumes"),
    ];
    if members.contains_key("Authentication") {
        draft.warn_at("/Authentication", authentication("Authentication"));
    }
    draft.warn_at(
        "",
        format!("a version 1 dockerrun says no memory: memoryReservation {MEMORY_RESERVATION} is set for {name:?}"),
    );
    Ok(draft)
}

struct Reader<'d> {
    document: &'d Document,
    errors: Vec<Error>,
}

impl Reader<'_> {
    fn known(&mut self, parent: &str, members: &Map<String, Value>, names: &[&str]) {
        for key in members.keys().filter(|key| !names.contains(&key.as_str())) {
            let pointer = format!("{parent}/{}", super::parse::escape(key));
            let message = format!("unknown member {key:?} in a version 1 dockerrun");
            let error = self.document.error_at_key(&pointer, message, Some("unknown"));
            self.errors.push(match nearest(key, names.iter().copied()) {
                Some(near) => error.hint(format!("did you mean {near:?}?")),
                None => error.hint(format!("there are: {}", names.join(", "))),
            });
        }
    }

    fn wrong(&mut self, pointer: &str, expected: &str, hint: &str) {
        let error = self.document.error_at(pointer, format!("{}: expected {expected}", &pointer[1..]), None);
        self.errors.push(error.hint(hint));
    }

    fn text(&mut self, pointer: &str, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.wrong(pointer, "a string", "write it in double quotes");
                None
            }
        }
    }

    fn image(&mut self, value: &Value) -> Option<Value> {
        let Value::Object(image) = value else {
            self.wrong("/Image", "an object", "write { \"Name\": \"repository:tag\" }");
            return None;
        };
        self.known("/Image", image, &["Name", "Update"]);
        match image.get("Name") {
            Some(name) => self.text("/Image/Name", name).map(Value::from),
            None => {
                if !image.keys().any(|key| nearest(key, ["Name"]).is_some()) {
                    self.wrong("/Image", "a \"Name\" in it", "write { \"Name\": \"repository:tag\" }");
                }
                None
            }
        }
    }

    /// Objects of a list, with their pointers.
    fn objects<'v>(&mut self, pointer: &str, value: &'v Value) -> Vec<(String, &'v Map<String, Value>)> {
        let Value::Array(values) = value else {
            self.wrong(pointer, "a list", "write [ … ]");
            return Vec::new();
        };
        let mut objects = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let pointer = format!("{pointer}/{index}");
            match value {
                Value::Object(members) => objects.push((pointer, members)),
                _ => self.wrong(&pointer, "an object", "write { … }"),
            }
        }
        objects
    }

    fn ports(&mut self, value: &Value) -> Value {
        let mut mappings = Vec::new();
        for (pointer, port) in self.objects("/Ports", value) {
            self.known(&pointer, port, &["ContainerPort", "HostPort"]);
            let mut mapping = Map::new();
            for (theirs, ours) in [("ContainerPort", "containerPort"), ("HostPort", "hostPort")] {
                match port.get(theirs) {
                    None | Some(Value::Null) => {}
                    // The format has ports as text or as numbers.
                    Some(value) => match value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()) {
                        Some(number) if number <= u16::MAX.into() => {
                            mapping.insert(ours.to_owned(), number.into());
                        }
                        _ => self.wrong(&format!("{pointer}/{theirs}"), "a port", "write a number from 0 to 65535"),
                    },
                }
            }
            if port.get("ContainerPort").is_none() {
                self.wrong(&pointer, "a \"ContainerPort\" in it", "write { \"ContainerPort\": 8080 }");
            }
            mappings.push(Value::Object(mapping));
        }
        Value::Array(mappings)
    }

    fn volumes(&mut self, value: &Value, volumes: &mut Vec<Value>, mounts: &mut Vec<Value>) {
        for (index, (pointer, volume)) in self.objects("/Volumes", value).into_iter().enumerate() {
            self.known(&pointer, volume, &["HostDirectory", "ContainerDirectory"]);
            let name = format!("volume-{}", index + 1);
            let directory = |reader: &mut Self, key: &str| {
                let value = volume.get(key).filter(|value| !value.is_null())?;
                reader.text(&format!("{pointer}/{key}"), value)
            };
            let host = directory(self, "HostDirectory");
            match directory(self, "ContainerDirectory").or_else(|| host.clone()) {
                Some(path) => mounts.push(json!({ "sourceVolume": name, "containerPath": path })),
                None => self.wrong(&pointer, "a \"ContainerDirectory\" in it", "write the path within the container"),
            }
            volumes.push(match host {
                Some(path) => json!({ "name": name, "host": { "sourcePath": path } }),
                None => json!({ "name": name }),
            });
        }
    }

    /// A list as it is; a text as a shell would cut it.
    fn words(&mut self, pointer: &str, value: &Value) -> Value {
        match value {
            Value::Array(_) => value.clone(),
            Value::String(text) => match split(text) {
                Some(words) => words.into(),
                None => {
                    self.wrong(pointer, "its quotes closed", "close the quote, or write a list of strings");
                    Value::Null
                }
            },
            _ => {
                self.wrong(pointer, "a string or a list of strings", "write it in double quotes");
                Value::Null
            }
        }
    }
}

/// Words with quotes and backslashes as a POSIX shell reads them; `None` when a quote stays open.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().push(letters.next()?),
            (letter, Some(_)) => word.get_or_insert_default().push(letter),
            ('"' | '\'', None) => {
                word.get_or_insert_default();
                quote = Some(letter);
            }
            (blank, None) if blank.is_whitespace() => words.extend(word.take()),
            (letter, None) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}
