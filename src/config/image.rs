//! The `image:` section.

use std::collections::BTreeMap;

use super::decode::Fields;
use super::files;
use super::node::{Node, Value};
use super::plan::{CreateRepository, DockerfileBuild, ExistingImage, ImagePlan, ImageSource, LayerEntry, LayersBuild};
use crate::error::{Error, SourceText};
use crate::image::engine::{Builder, Secret};
use crate::image::ignore::{self, Rules};
use crate::image::layers::{IGNORE_FILE, Ignore};
use crate::image::owners::Owner;
use crate::image::{Compression, Platform};

pub fn read(mut fields: Fields<'_>) -> Option<ImagePlan> {
    let repository = fields.text("repository");
    if repository.is_none() && fields.node("repository").is_none() {
        fields.missing("repository", "name the ECR repository that the image is pushed to");
    }
    let tags = fields.texts("tags").unwrap_or_default();
    let container = fields.text("container");
    let compression = fields.word("compression", &[("gzip", Compression::Gzip), ("zstd", Compression::Zstd)]);
    let compression = compression.unwrap_or_default();
    let create = create(&mut fields);
    let source = match fields.fields("build") {
        Some(build) => source(build),
        None => {
            if fields.node("build").is_none() {
                fields.missing("build", "give one of `build.layers`, `build.dockerfile` and `build.image`");
            }
            None
        }
    };
    fields.finish();
    Some(ImagePlan { repository: repository?, tags, source: source?, compression, container, create })
}

/// `create: true`, or a map of what the repository is to be like.
fn create(fields: &mut Fields<'_>) -> Option<CreateRepository> {
    let node = fields.node("create")?;
    match node.value {
        Value::Bool(create) => create.then(CreateRepository::default),
        _ => {
            let mut create = fields.fields("create")?;
            let policy = create.node("policy").and_then(|node| {
                let name = create.reader.text(&create.path("policy"), node)?;
                files::read(create.reader, node, &name)
            });
            let tag_mutability =
                create.word("tag_mutability", &[("MUTABLE", "MUTABLE"), ("IMMUTABLE", "IMMUTABLE")]).map(str::to_owned);
            let exclusions = create.node("tag_mutability_exclusions");
            let tag_mutability_exclusions = create.texts("tag_mutability_exclusions").unwrap_or_default();
            if let Some(node) = exclusions.filter(|_| tag_mutability.is_none() || tag_mutability_exclusions.len() > 5) {
                let error = Error::input("`tag_mutability_exclusions` are at most five exceptions to `tag_mutability`");
                create.reader.note(&node.span, None, error.hint("say which it is: `tag_mutability: IMMUTABLE`"));
            }
            let scan_on_push = create.boolean("scan_on_push");
            create.finish();
            Some(CreateRepository { policy, tag_mutability, tag_mutability_exclusions, scan_on_push })
        }
    }
}

fn source(mut fields: Fields<'_>) -> Option<ImageSource> {
    let run = fields.text("run");
    let ways = ["layers", "dockerfile", "image"];
    let given: Vec<&str> = ways.into_iter().filter(|way| fields.node(way).is_some()).collect();
    match *given.as_slice() {
        ["layers"] => layers(fields, run).map(ImageSource::Layers),
        ["dockerfile"] => dockerfile(fields, run).map(ImageSource::Dockerfile),
        [_] => {
            let folder = fields.reader.folder.clone();
            let image = fields.text("image").map(|image| files::path_or_reference(&folder, &image));
            let platforms = platforms(&mut fields);
            fields.finish();
            Some(ImageSource::Existing(ExistingImage { run, image: image?, platforms }))
        }
        [] => {
            fields.missing("layers", "give one of `layers`, `dockerfile` and `image`");
            layers(fields, run);
            None
        }
        [first, second, ..] => {
            let node = fields.node(second)?;
            let error = Error::input(format!("`{first}` and `{second}` exclude each other in `image.build`"))
                .hint("an image is made in one of these ways: keep one of them");
            fields.reader.note(&node.span, None, error);
            None
        }
    }
}

fn layers(mut fields: Fields<'_>, run: Option<String>) -> Option<LayersBuild> {
    let base = fields.text("base").filter(|base| base != "scratch");
    let ignore = patterns(&mut fields);
    let items = fields.list("layers").unwrap_or_default();
    let layers = items
        .iter()
        .map(|item| match &item.value {
            Value::List(entries) => entries.iter().filter_map(|entry| layer_entry(&fields, entry, &ignore)).collect(),
            _ => layer_entry(&fields, item, &ignore).into_iter().collect(),
        })
        .collect();
    if ignore.is_none()
        && let Ok(text) = files::content(&fields.reader.folder.join(IGNORE_FILE))
        && let Err(error) = Rules::parse(&SourceText::new(files::shown(&fields.reader.source.name, IGNORE_FILE), text))
    {
        fields.reader.found(error);
    }
    let build = LayersBuild {
        run,
        base: base.map(|base| files::path_or_reference(&fields.reader.folder, &base)),
        layers,
        entrypoint: fields.texts("entrypoint"),
        command: fields.texts("command"),
        env: fields.text_map("env"),
        working_dir: fields.text("working_dir"),
        user: fields.scalar("user"),
        exposed_ports: fields.texts("exposed_ports").unwrap_or_default(),
        labels: fields.text_map("labels"),
        stop_signal: fields.text("stop_signal"),
        annotations: fields.boolean("annotations").unwrap_or(true),
        platforms: platforms(&mut fields),
    };
    check_entries(&fields, items, &build.layers, &build.platforms);
    fields.finish();
    Some(build)
}

fn layer_entry(build: &Fields<'_>, node: &Node, ignore: &Option<Ignore>) -> Option<LayerEntry> {
    let mut fields = build.reader.fields(&build.path("layers"), node, &node.span)?;
    let from = fields.text("from");
    let to = fields.text("to");
    let file_mode = mode(&mut fields, "mode");
    let folder_mode = mode(&mut fields, "folder_mode");
    let owner = owner(&mut fields);
    let platform = platform(&mut fields);
    let ignore = patterns(&mut fields).or_else(|| ignore.clone()).unwrap_or_default();
    for (key, value) in [("from", &from), ("to", &to)] {
        if value.is_none() && fields.node(key).is_none() {
            fields.missing(key, "a layer is made of entries such as { from: target/release/hello, to: /hello }");
        }
    }
    if let (Some(to), Some(node)) = (&to, fields.node("to"))
        && (!to.starts_with('/') || to.split('/').any(|part| part == ".."))
    {
        let error = Error::input(format!("`{}` has to be an absolute path without `..`", fields.path("to")))
            .hint(format!("did you mean `/{}`?", to.trim_start_matches(['.', '/'])));
        fields.reader.note(&node.span, None, error);
    }
    let folder = &build.reader.folder;
    if let (Some(from), Some(node)) = (&from, fields.node("from"))
        && let Some(error) = ignore::refusal(folder, &folder.join(from), &ignore, from.as_ref())
    {
        fields.reader.note(&node.span, None, error);
    }
    fields.finish();
    Some(LayerEntry { from: folder.join(from?), to: to?, mode: file_mode, folder_mode, owner, ignore, platform })
}

/// A file of patterns, or `false` for none. The usual one is checked, too: no build should begin that cannot end.
fn patterns(fields: &mut Fields<'_>) -> Option<Ignore> {
    let node = fields.node("dockerignore")?;
    match &node.value {
        Value::Bool(false) => Some(Ignore::Nothing),
        Value::Text(name) => {
            let found = files::read(fields.reader, node, name)?;
            if let Err(error) = Rules::parse(&found) {
                fields.reader.found(error);
            }
            Some(Ignore::File(fields.reader.folder.join(name)))
        }
        _ => {
            fields.reader.wrong_type(&fields.path("dockerignore"), node, "a file's name or false");
            None
        }
    }
}

fn mode(fields: &mut Fields<'_>, key: &'static str) -> Option<u32> {
    let text = fields.scalar(key)?;
    let mode = u32::from_str_radix(text.trim_start_matches("0o"), 8).ok().filter(|mode| *mode <= 0o7777);
    if mode.is_none() {
        let node = fields.node(key)?;
        let error = Error::input(format!("`{}` has to be permission bits in octal, not `{text}`", fields.path(key)))
            .hint("write it as \"0755\" or \"0644\"");
        fields.reader.note(&node.span, None, error);
    }
    mode
}

/// User, or user and group; ids or names.
fn owner(fields: &mut Fields<'_>) -> Option<Owner> {
    let text = fields.scalar("owner")?;
    let owner = text.parse().ok();
    if owner.is_none() {
        let node = fields.node("owner")?;
        let error = Error::input(format!("`{}` has to be a user, or user:group, not `{text}`", fields.path("owner")))
            .hint("write it as \"1000:1000\", or with names that the image's `/etc/passwd` and `/etc/group` have");
        fields.reader.note(&node.span, None, error);
    }
    owner
}

fn dockerfile(mut fields: Fields<'_>, run: Option<String>) -> Option<DockerfileBuild> {
    let dockerfile = fields.text("dockerfile");
    let context = fields.text("context");
    let target = fields.text("target");
    let args = fields.text_map("args");
    let builder = builder(&mut fields);
    let secrets = secrets(&mut fields);
    let labels = fields.text_map("labels");
    let annotations = fields.boolean("annotations").unwrap_or(true);
    let cache_from = fields.texts("cache_from").unwrap_or_default();
    let cache_to = fields.texts("cache_to").unwrap_or_default();
    let platforms = platforms(&mut fields);
    let project = fields.reader.folder.clone();
    fields.finish();
    let dockerfile = project.join(dockerfile?);
    let context = context.map_or_else(|| project.clone(), |context| project.join(context));
    Some(DockerfileBuild {
        run,
        dockerfile,
        context,
        builder,
        target,
        args,
        secrets,
        unset: Vec::new(),
        labels,
        annotations,
        cache_from,
        cache_to,
        platforms,
    })
}

fn builder(fields: &mut Fields<'_>) -> Option<Builder> {
    fields.word("builder", &Builder::ALL.map(|builder| (builder.name(), builder)))
}

/// By id, each from a file or from a variable of the environment.
fn secrets(fields: &mut Fields<'_>) -> BTreeMap<String, Secret> {
    let mut secrets = BTreeMap::new();
    let path = fields.path("secrets");
    for entry in fields.map("secrets").unwrap_or_default() {
        let name = format!("{path}.{}", entry.key);
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if entry.key.is_empty() || !entry.key.chars().all(plain) {
            let error = Error::input(format!("`{}` cannot be a secret's id", entry.key));
            fields.reader.note(&entry.span, None, error.hint("letters, digits, `_`, `.` and `-`"));
        }
        let Some(mut from) = fields.reader.fields(&name, &entry.node, &entry.span) else { continue };
        let (file, variable) = (from.text("file"), from.text("env"));
        let (has_file, has_variable) = (from.node("file").is_some(), from.node("env").is_some());
        if has_file == has_variable {
            let error = Error::input(format!("`{name}` needs one of `file` and `env`"));
            fields.reader.note(
                &entry.span,
                None,
                error.hint("a path, or the name of a variable that holds the secret"),
            );
        }
        from.finish();
        let folder = &fields.reader.folder;
        let secret = file.map(|file| Secret::File(folder.join(file))).or(variable.map(Secret::Environment));
        secrets.extend(secret.map(|secret| (entry.key.clone(), secret)));
    }
    secrets
}

/// `platforms`, or `platform` for one.
fn platforms(fields: &mut Fields<'_>) -> Vec<Platform> {
    let one = platform(fields);
    let Some(nodes) = fields.list("platforms") else { return one.into_iter().collect() };
    if let (Some(_), Some(node)) = (&one, fields.node("platforms")) {
        let message =
            format!("`platform` and `platforms` exclude each other in `{}`", fields.path("").trim_end_matches('.'));
        fields.reader.note(&node.span, None, Error::input(message).hint("name all of them in `platforms`"));
    }
    let name = fields.path("platforms");
    let mut platforms = Vec::new();
    for node in nodes {
        let Some(text) = fields.reader.text(&name, node) else { continue };
        match text.parse::<Platform>() {
            Ok(platform) if platforms.contains(&platform) => {
                fields.reader.note(&node.span, None, Error::input(format!("`{name}` names {platform} twice")));
            }
            Ok(platform) => platforms.push(platform),
            Err(error) => fields.reader.note(&node.span, None, error),
        }
    }
    platforms
}

fn platform(fields: &mut Fields<'_>) -> Option<Platform> {
    let text = fields.text("platform")?;
    match text.parse() {
        Ok(platform) => Some(platform),
        Err(error) => {
            let node = fields.node("platform")?;
            fields.reader.note(&node.span, None, error);
            None
        }
    }
}

/// An entry for a platform that nothing is built for would be in no image.
fn check_entries(fields: &Fields<'_>, items: &[Node], layers: &[Vec<LayerEntry>], platforms: &[Platform]) {
    let entries = layers.iter().flatten().filter_map(|entry| entry.platform.as_ref());
    for named in entries {
        if platforms.iter().any(|platform| platform.matches(named)) {
            continue;
        }
        let span = items.first().map_or(0..0, |item| item.span.clone());
        let error = Error::input(format!("`{}` has an entry for {named}, which is not built", fields.path("layers")));
        fields.reader.note(&span, None, error.hint(format!("name it in `{}`", fields.path("platforms"))));
    }
}
