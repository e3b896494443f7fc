use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::config;
use crate::deploy::event::Events;
use crate::deploy::mirror::{MirrorOptions, Wanted, mirror};
use crate::error::{Error, Result, SourceText};
use crate::image::reference::check_tag;
use crate::image::{Platform, Reference};

/// Docker Hub's own images have it before their name, and nobody says it.
const HUB_LIBRARY: &str = "library/";

/// Longer than any list that a person keeps.
const MOST_LIST: u64 = 4 << 20;

/// Bring images from other registries to ECR as they are: all platforms, the same digests
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Images to bring, such as `nginx:1.27` or `quay.io/prometheus/prometheus:v3.0.0`
    #[arg(value_name = "SOURCE", required_unless_present = "from_file")]
    sources: Vec<String>,
    /// More of them, one a line, each with its repository (and tag) behind it if that is not the default; `-` is stdin
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// The repository they go to [default: each source's own path, without `library/`]
    #[arg(long, value_name = "NAME", conflicts_with = "prefix")]
    repository: Option<String>,
    /// What the names of the repositories begin with
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Tag them with this instead of their own tag; may be given more than once
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only this platform; several make a new index. May be given more than once
    #[arg(long = "platform", value_name = "OS/ARCHITECTURE", value_parser = platform)]
    platforms: Vec<Platform>,
    /// Create repositories that are missing
    #[arg(long)]
    create_repository: bool,
    /// Say what would be brought, and bring nothing
    #[arg(long)]
    dry_run: bool,
}

fn platform(text: &str) -> std::result::Result<Platform, String> {
    text.parse().map_err(|error: Error| {
        let hints = error.hints().iter().map(|hint| format!(": {hint}"));
        error.to_string() + &hints.collect::<String>()
    })
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let images = self.wanted(&context.global.directory.clone().unwrap_or_default())?;
        let mut platforms = self.platforms;
        platforms.sort();
        platforms.dedup();
        let options = MirrorOptions { platforms, create_repository: self.create_repository, dry_run: self.dry_run };
        // it needs no project, but takes the region of one that is there
        let project = config::Options { without_rendering: true, ..context.options()? };
        let project = if config::is_there(&project) { Some(config::load(&project)?) } else { None };
        let clients = context.clients(project.as_ref(), events).await?;
        shown(&mirror(&images, &options, &clients, events).await?)
    }

    fn wanted(&self, directory: &Path) -> Result<Vec<Wanted>> {
        let mut images = Vec::new();
        for source in &self.sources {
            images.push(self.one(source, None)?);
        }
        if let Some(file) = &self.from_file {
            let list = read(file, directory)?;
            let mut at = 0;
            for line in list.text.split_inclusive('\n') {
                let span = at..at + line.trim_end().len();
                at += line.len();
                let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
                let image = match words[..] {
                    [] => continue,
                    [source] => self.one(source, None),
                    [source, target] => self.one(source, Some(target)),
                    _ => Err(Error::input("a line has a source, and its repository if that is not the default")),
                };
                images.push(image.map_err(|error| error.at(&list, span, None))?);
            }
        }
        if images.is_empty() {
            return Err(Error::input("there is nothing to mirror: the list is empty"));
        }
        // Two that have the same name there would take it from each other.
        let mut seen: HashMap<(&str, &str), &Reference> = HashMap::new();
        for image in &images {
            for tag in &image.tags {
                let before = seen.insert((&image.repository, tag), &image.source);
                if let Some(before) = before.filter(|before| **before != image.source) {
                    let (one, name) = (&image.source, format!("{}:{tag}", image.repository));
                    return Err(Error::input(format!("{before} and {one} would both be {name}")).hint(
                        "bring them one by one, with --repository or --tag, or name their repositories in a list",
                    ));
                }
            }
        }
        let mut known: Vec<Wanted> = Vec::new();
        images.into_iter().for_each(|image| {
            if !known.contains(&image) {
                known.push(image);
            }
        });
        Ok(known)
    }

    /// `target` is `repository[:tag]`.
    fn one(&self, source: &str, target: Option<&str>) -> Result<Wanted> {
        let source: Reference = source.parse()?;
        // A colon after the last slash begins the tag; one before it, a port.
        let (repository, tag) = match target.map(|target| (target, target.rfind(':'))) {
            Some((target, Some(colon))) if !target[colon..].contains('/') => {
                (Some(target[..colon].to_owned()), Some(target[colon + 1..].to_owned()))
            }
            Some((target, _)) => (Some(target.to_owned()), None),
            None => (self.repository.clone(), None),
        };
        let own = source.repository.strip_prefix(HUB_LIBRARY).filter(|_| source.registry == "docker.io");
        let own = own.unwrap_or(&source.repository);
        let repository =
            repository.unwrap_or_else(|| match self.prefix.as_deref().map(|prefix| prefix.trim_matches('/')) {
                Some(prefix) if !prefix.is_empty() => format!("{prefix}/{own}"),
                _ => own.to_owned(),
            });
        let own_tag = match (&source.tag, &source.digest) {
            (Some(tag), _) => Some(tag.clone()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        let mut tags = match tag {
            Some(tag) => vec![tag],
            None if self.tags.is_empty() => own_tag.into_iter().collect(),
            None => self.tags.clone(),
        };
        tags.iter().try_for_each(|tag| check_tag(tag))?;
        tags.dedup();
        // As a reference it is checked whole: its registry too, if it names one.
        let whole = if crate::deploy::repository::names_registry(&repository) {
            repository.clone()
        } else {
            format!("registry.invalid/{repository}")
        };
        let checked: Reference = whole.parse().map_err(|error: Error| {
            error.hint(format!("`{repository}` is where {source} would go: --repository names another place"))
        })?;
        if checked.tag.is_some() || checked.digest.is_some() {
            return Err(Error::input(format!("`{repository}` names more than a repository"))
                .hint("--tag is for the tag; a digest is what it is"));
        }
        Ok(Wanted { source, repository, tags })
    }
}

fn read(file: &Path, directory: &Path) -> Result<SourceText> {
    let name = file.display().to_string();
    let cannot = |error: std::io::Error| Error::input(format!("cannot read {name}")).cause(error);
    let mut text = String::new();
    match file == Path::new("-") {
        true => std::io::stdin().lock().take(MOST_LIST + 1).read_to_string(&mut text),
        false => std::fs::File::open(directory.join(file))
            .and_then(|file| file.take(MOST_LIST + 1).read_to_string(&mut text)),
    }
    .map_err(cannot)?;
    if text.len() as u64 > MOST_LIST {
        return Err(Error::input(format!("{name} is larger than {MOST_LIST} bytes: is it a list of images?")));
    }
    let text = text.trim_start_matches('\u{feff}');
    Ok(SourceText::new(if name == "-" { "stdin" } else { &name }, text))
}
