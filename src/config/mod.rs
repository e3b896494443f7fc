//! `steady.yaml`, the environment and flags become one [`Plan`]; nothing downstream reads raw flags.

pub mod around;
pub mod decode;
mod deployment;
pub mod files;
pub mod git;
mod image;
mod network;
pub mod node;
mod pasted;
pub mod plan;
mod service;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use around::{AfterFailure, Around, TaskPlan, Work};
pub use decode::parse_duration;
pub use network::is_check_url;
pub use plan::*;
pub use service::is_service_name;
pub use variables::parse_argument as parse_variable;

use crate::error::{Error, Result, SourceText, nearest};
use crate::image::engine::{Builder, Secret};
use decode::{Fields, Reader};
use node::{Entry, Node, Value};

/// The names a project file goes by, in the order they are looked for.
pub const FILE_NAMES: [&str; 2] = ["steady.yaml", "steady.yml"];

/// What the command line says about the project. `None` leaves it to the project file.
#[derive(Default, Clone)]
pub struct Options {
    /// `-C`: where `file` and [`FILE_NAMES`] are looked for.
    pub directory: PathBuf,
    /// `-f`
    pub file: Option<PathBuf>,
    pub environment: Option<String>,
    pub service: Option<String>,
    pub cluster: Option<String>,
    pub region: Option<String>,
    pub profile: Option<String>,
    /// `--var`, see [`parse_variable`].
    pub variables: Vec<(String, serde_json::Value)>,
    /// The environment of this process.
    pub env: BTreeMap<String, String>,
    /// Replace the image's tags; the first names the release.
    pub tags: Vec<String>,
    pub check_url: Option<String>,
    pub timeout: Option<Duration>,
    pub on_interrupt: Option<OnInterrupt>,
    pub desired_count: Option<i64>,
    /// Who builds a Dockerfile.
    pub builder: Option<Builder>,
    /// Replaces the image's `build`: a reference, a path, an engine's image, or `-`.
    pub image: Option<String>,
    /// As `create: true` of the image.
    pub create_repository: bool,
    /// Nothing will be rendered: variables may stay without a value.
    pub without_rendering: bool,
}

/// A project, read for one service and one environment.
#[derive(Debug, Clone)]
pub struct Project {
    pub plan: Plan,
    pub region: Option<String>,
    pub profile: Option<String>,
    pub endpoint_url: Option<String>,
}

/// Reads the project file and all that it names. All that is wrong with it is reported together.
pub fn load(options: &Options) -> Result<Project> {
    let (shown, file) = find(options)?;
    let text = files::content(&file).map_err(|why| Error::input(format!("cannot read {}: {why}", file.display())))?;
    let source = SourceText::new(shown.display().to_string(), text);
    let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
    let root = node::parse(&source)?;
    let reader = Reader::new(source, folder);
    pasted::check(&reader, &root);
    let project = read(&reader, &root, options);
    reader.finish()?;
    project.ok_or_else(|| Error::other("the project file could not be read, and no finding says why"))
}

/// Whether there is a project file, or one was named.
pub fn is_there(options: &Options) -> bool {
    options.file.is_some() || find(options).is_ok()
}

fn find(options: &Options) -> Result<(PathBuf, PathBuf)> {
    let absolute = |path: &Path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        std::path::absolute(path).map_err(|error| Error::input(format!("cannot find {}", path.display())).cause(error))
    };
    if let Some(file) = &options.file {
        let shown = options.directory.join(file);
        if !shown.exists() {
            return Err(Error::input(format!("there is no {}", shown.display()))
                .hint("-f names the project file, relative to -C; `steady init` writes a first one"));
        }
        return Ok((shown.clone(), absolute(&shown)?));
    }
    for name in FILE_NAMES {
        let shown = options.directory.join(name);
        if shown.exists() {
            return Ok((shown.clone(), absolute(&shown)?));
        }
    }
    Err(Error::input(format!("there is no {} in {}", FILE_NAMES[0], absolute(&options.directory)?.display()))
        .hint("`steady init` writes a first one")
        .hint("-C names the folder of a project, -f another project file"))
}

/// The variables that hold secrets of a build and are not set.
fn unset(build: &DockerfileBuild, env: &BTreeMap<String, String>) -> Vec<String> {
    let variables = build.secrets.values().filter_map(|secret| match secret {
        Secret::Environment(variable) => Some(variable),
        Secret::File(_) => None,
    });
    variables.filter(|variable| !env.contains_key(*variable)).cloned().collect()
}

fn read(reader: &Reader, root: &Node, options: &Options) -> Option<Project> {
    let environments = environments(reader, root)?;
    if !reader.is_clean() {
        return settings(reader, root, options, true);
    }
    // every environment is checked, so that a mistake in production is found before production
    for (_, over) in &environments {
        let _ = settings(reader, &root.merged(over), options, true);
    }
    let merged = match &options.environment {
        None => root.clone(),
        Some(wanted) => match environments.iter().find(|(name, _)| name == wanted) {
            Some((_, over)) => root.merged(over),
            None => {
                let names: Vec<&str> = environments.iter().map(|(name, _)| name.as_str()).collect();
                let span = key_span(root, "environments");
                let error = Error::input(format!("there is no environment `{wanted}`"));
                reader.note(&span, None, error.hint(choice(wanted, &names)));
                return None;
            }
        },
    };
    settings(reader, &merged, options, false)
}

/// The overrides of each environment, checked for their keys.
fn environments(reader: &Reader, root: &Node) -> Option<Vec<(String, Node)>> {
    reader.fields("", root, &root.span)?;
    let Some(node) = root.get("environments").filter(|node| node.value != Value::Null) else { return Some(Vec::new()) };
    let Value::Map(entries) = &node.value else {
        reader.wrong_type("environments", node, "a map");
        return None;
    };
    let services = root.get("services");
    for entry in entries.iter().filter(|entry| entry.node.value != Value::Null) {
        let Some(mut fields) = reader.fields(&format!("environments.{}", entry.key), &entry.node, &entry.span) else {
            continue;
        };
        common(&mut fields);
        for over in fields.map("services").unwrap_or_default() {
            if services.is_some_and(|services| services.get(&over.key).is_none()) {
                let names = keys(services);
                let error = Error::input(format!("there is no service `{}` to override", over.key));
                reader.note(&over.span, None, error.hint(choice(&over.key, &names)));
            }
        }
        fields.finish();
    }
    Some(
        entries
            .iter()
            .filter(|entry| matches!(entry.node.value, Value::Map(_) | Value::Null))
            .map(|entry| {
                let over = match entry.node.value {
                    Value::Null => Node { span: entry.node.span.clone(), value: Value::Map(Vec::new()) },
                    _ => entry.node.clone(),
                };
                (entry.key.clone(), over)
            })
            .collect(),
    )
}

struct Common<'a> {
    region: Option<String>,
    profile: Option<String>,
    endpoint_url: Option<String>,
    cluster: Option<String>,
    variables: &'a [Entry],
}

fn common<'a>(fields: &mut Fields<'a>) -> Common<'a> {
    Common {
        region: fields.text("region"),
        profile: fields.text("profile"),
        endpoint_url: fields.text("endpoint_url"),
        cluster: fields.text("cluster"),
        variables: fields.map("variables").unwrap_or_default(),
    }
}

/// Reads a merged file; with `check` only for what is wrong in it.
fn settings(reader: &Reader, merged: &Node, options: &Options, check: bool) -> Option<Project> {
    let mut fields = reader.fields("", merged, &merged.span)?;
    let common = common(&mut fields);
    let services = fields.map("services");
    if services.is_none() && fields.node("services").is_none() {
        fields.missing("services", "a project has at least one service; `steady init` writes an example");
    }
    fields.node("environments");
    fields.finish();
    let services = services?;
    let read: Vec<_> = services.iter().map(|entry| (entry, service::read(reader, entry))).collect();
    for (entry, _) in read.iter().filter(|(entry, _)| !is_service_name(&entry.key)) {
        let error = Error::input(format!("`{}` cannot be a service's name at ECS", entry.key));
        reader.note(&entry.span, None, error.hint("at most 255 letters, digits, hyphens and underscores"));
    }
    if check {
        return None;
    }
    let name = chosen(reader, merged, services, options)?;
    let service = read.into_iter().find(|(entry, _)| entry.key == name)?.1?;
    let declared = [common.variables, service.variables];
    let variables = variables::collect(reader, &declared, &options.variables, !options.without_rendering);
    let git = git::facts(&reader.folder);
    let release = release(options, &variables, &git);
    let scope = variables::Scope { variables: &variables, env: &options.env, git: &git, release: release.as_deref() };
    for tag in service.tags.iter().filter(|_| options.tags.is_empty() && !options.without_rendering) {
        variables::check_tag(reader, tag, &scope);
    }
    let mut image = service.image;
    if let (Some(given), Some(image)) = (&options.image, &mut image) {
        let here = std::env::current_dir().unwrap_or_default();
        let given = files::path_or_reference(&here, given);
        let platforms = match &mut image.source {
            ImageSource::Existing(existing) => std::mem::take(&mut existing.platforms),
            _ => Vec::new(),
        };
        image.source = ImageSource::Existing(ExistingImage { run: None, image: given, platforms });
    }
    match (image.as_mut().map(|image| &mut image.source), options.builder) {
        (Some(ImageSource::Dockerfile(build)), builder) => {
            build.builder = builder.or(build.builder);
            build.unset = unset(build, &options.env);
        }
        (_, Some(builder)) => {
            let error = Error::input(format!("--builder {builder}: there is no Dockerfile to build for `{name}`"));
            reader.note(
                &key_span(merged, "services"),
                None,
                error.hint(match &options.image {
                    Some(_) => "--image replaces what would be built: leave one of them out",
                    None => "`image.build.dockerfile` names one; layers and existing images need no engine",
                }),
            );
        }
        _ => {}
    }
    if let Some(image) = image.as_mut().filter(|_| !options.tags.is_empty()) {
        image.tags = options.tags.clone();
    }
    if let Some(image) = image.as_mut().filter(|_| options.create_repository) {
        image.create.get_or_insert_default();
    }
    let mut rollout = service.rollout;
    rollout.timeout = options.timeout.unwrap_or(rollout.timeout);
    rollout.timeout_is_least &= options.timeout.is_none();
    rollout.on_interrupt = options.on_interrupt.unwrap_or(rollout.on_interrupt);
    let plan = Plan {
        project: reader.folder.clone(),
        environment: options.environment.clone(),
        service: name,
        cluster: options.cluster.clone().or(service.cluster).or(common.cluster).unwrap_or_else(|| "default".to_owned()),
        image,
        task_definition: service.task_definition?,
        service_document: service.document,
        allow_unknown_fields: service.allow_unknown_fields,
        load_balancer: service.load_balancer,
        network: service.network,
        service_discovery: service.service_discovery,
        rollout,
        before: service.before,
        after: service.after,
        variables,
        env: options.env.clone(),
        release,
        git,
        check_url: options.check_url.clone().or(service.check_url),
        desired_count: options.desired_count.or(service.desired_count),
        launch_type: service.launch_type,
    };
    Some(Project {
        plan,
        region: options.region.clone().or(common.region),
        profile: options.profile.clone().or(common.profile),
        endpoint_url: common.endpoint_url,
    })
}

/// The name given, else the variable `release`, else git's.
fn release(
    options: &Options,
    variables: &BTreeMap<String, serde_json::Value>,
    git: &BTreeMap<String, String>,
) -> Option<String> {
    let variable = variables.get("release").and_then(|value| match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    let given = options.tags.first().cloned().or(variable.filter(|name| !name.is_empty()));
    if given.is_some() {
        return given;
    }
    let name = git.get("tag").or_else(|| git.get("short_sha"))?;
    let dirty = git.get("dirty").is_some_and(|dirty| dirty == "true");
    Some(if dirty { format!("{name}-dirty") } else { name.clone() })
}

fn chosen(reader: &Reader, merged: &Node, services: &[Entry], options: &Options) -> Option<String> {
    let names: Vec<&str> = services.iter().map(|entry| entry.key.as_str()).collect();
    let span = key_span(merged, "services");
    match (&options.service, names.as_slice()) {
        (Some(wanted), _) if names.contains(&wanted.as_str()) => Some(wanted.clone()),
        (Some(wanted), _) => {
            let error = Error::input(format!("there is no service `{wanted}`"));
            reader.note(&span, None, error.hint(choice(wanted, &names)));
            None
        }
        (None, [only]) => Some((*only).to_owned()),
        (None, []) => {
            let error = Error::input("`services` is empty").hint("`steady init` writes an example");
            reader.note(&span, None, error);
            None
        }
        (None, several) => {
            let error = Error::input(format!("this project has {} services: which one?", several.len()))
                .hint(format!("say --service with one of {}", several.join(", ")));
            reader.note(&span, None, error);
            None
        }
    }
}

fn key_span(node: &Node, key: &str) -> std::ops::Range<usize> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map_or(0..0, |entry| entry.span.clone()),
        _ => node.span.clone(),
    }
}

fn keys(node: Option<&Node>) -> Vec<&str> {
    match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|entry| entry.key.as_str()).collect(),
        _ => Vec::new(),
    }
}

fn choice(wanted: &str, names: &[&str]) -> String {
    match nearest(wanted, names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if names.is_empty() => "the project file has none".to_owned(),
        None => format!("there is {}", names.join(", ")),
    }
}
