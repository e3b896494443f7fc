use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde_json::Value;

use super::context::Context;
use crate::config::{self, CreateRepository};
use crate::deploy::event::Events;
use crate::deploy::repository::access::{self, Ability};
use crate::deploy::repository::images::{self, Wanted};
use crate::deploy::repository::repositories::{self, NewRepository, Place};
use crate::error::{Error, Result, SourceText};

/// Look after ECR's repositories: list them and their images, try what one may do there, make and delete them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The repositories of the account in this region
    List,
    /// A repository's images, the one that was pushed last first: digests, tags, sizes, platforms and push times
    Images(Images),
    /// Whether the caller may list, pull and push, and which IAM actions it lacks; changes nothing
    Test {
        /// A repository's name, or its address, of any account and region
        name: String,
        /// Fail (exit code 3) without this; may be given more than once
        #[arg(long, value_name = "ABILITY")]
        require: Vec<Require>,
    },
    /// Create a repository, or bring these settings to it
    Create(Create),
    /// Delete images, or tags of images that have others
    DeleteImages {
        /// A repository's name, or its address, of any account and region
        name: String,
        /// Tags, or digests
        #[arg(required_unless_present = "untagged", value_name = "TAG|DIGEST")]
        images: Vec<String>,
        /// All images without a tag; those that an index refers to stay
        #[arg(long, conflicts_with = "images")]
        untagged: bool,
        /// Really do it; without this it is only said what would go
        #[arg(long)]
        yes: bool,
    },
    /// Delete a repository
    Delete {
        name: String,
        /// With all images in it, whoever runs them
        #[arg(long)]
        images: bool,
        /// Really do it
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Images {
    /// A repository's name, or its address, of any account and region
    name: String,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only those with such a tag, `*` in it for anything; may be given more than once
    #[arg(long = "tag", value_name = "PATTERN")]
    tags: Vec<String>,
    /// Only those without a tag
    #[arg(long, conflicts_with = "tags")]
    untagged: bool,
    /// Do not read manifests, which ECR counts as pulls: no platforms, and the parts of an index are images like others
    #[arg(long)]
    no_platforms: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Require {
    List,
    Pull,
    Push,
}

#[derive(Debug, clap::Args)]
struct Create {
    name: String,
    /// A repository policy, a JSON file; merged into the one that is there, statement by statement
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A lifecycle policy, a JSON file
    #[arg(long, value_name = "FILE")]
    lifecycle: Option<PathBuf>,
    /// Scan each image when it is pushed, or no more
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    scan_on_push: Option<bool>,
    /// A tag stays where it was put
    #[arg(long)]
    immutable: bool,
    /// Tags may be moved
    #[arg(long, conflicts_with = "immutable")]
    mutable: bool,
    /// Tags for which the contrary holds, `*` in them for anything, such as latest with --immutable; up to five
    #[arg(long, value_name = "PATTERN")]
    except: Vec<String>,
    /// How images are encrypted; fixed when the repository is made
    #[arg(long, value_name = "AES256|KMS|KEY-ARN", value_parser = encryption)]
    encryption: Option<String>,
    /// A resource tag of a repository that is made; may be given more than once
    #[arg(long = "resource-tag", value_name = "KEY=VALUE", value_parser = resource_tag)]
    tags: Vec<(String, String)>,
}

fn resource_tag(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is KEY=VALUE".to_owned()),
    }
}

fn encryption(text: &str) -> std::result::Result<String, String> {
    match text {
        "AES256" | "KMS" => Ok(text.to_owned()),
        key if key.starts_with("arn:") && key.contains(":kms:") => Ok(key.to_owned()),
        _ => Err("it is AES256, KMS (with the key of AWS), or the ARN of a key of KMS".to_owned()),
    }
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        if let Verb::Delete { name, images, yes: false } = &self.verb {
            let all = if *images { " with all its images" } else { "" };
            return Err(Error::input(format!("this deletes the repository `{name}`{all}")).hint("say --yes to do it"));
        }
        let new = match &self.verb {
            Verb::Create(create) => create.read(&context.global.directory.clone().unwrap_or_default())?,
            _ => NewRepository::default(),
        };
        // like a login, it needs no project and takes the region of one that is there
        let options = config::Options { without_rendering: true, ..context.options()? };
        let project = if config::is_there(&options) { Some(config::load(&options)?) } else { None };
        let clients = context.clients(project.as_ref(), events).await?;
        let place = |name: &str| Place::of(name, &clients);
        Ok(Some(match self.verb {
            Verb::List => repositories::all(&clients).await?.into(),
            Verb::Images(asked) => images::shown(&place(&asked.name)?, &asked.wanted()?).await?.into(),
            Verb::Test { name, require } => {
                let require: Vec<Ability> = require.into_iter().map(Ability::from).collect();
                access::access(&place(&name)?, &require).await?
            }
            Verb::Create(create) => repositories::create(&place(&create.name)?, &new, events).await?,
            Verb::DeleteImages { name, images, untagged, yes } => {
                let place = place(&name)?;
                let chosen = images::chosen(&place, &images, untagged).await?;
                if !yes && !chosen.is_empty() {
                    return Err(not_yet(&place.name, &chosen));
                }
                images::delete(&place, &chosen).await?
            }
            Verb::Delete { name, images, .. } => repositories::delete(&place(&name)?, images).await?,
        }))
    }
}

/// What would be deleted, if somebody said so.
fn not_yet(repository: &str, chosen: &[Value]) -> Error {
    const SHOWN: usize = 10;
    let tags = |image: &Value| {
        let tags = image["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        tags.collect::<Vec<_>>().join(", ")
    };
    let said = |image: &Value| {
        let digest = image["digest"].as_str().unwrap_or_default();
        match (image["tagOnly"] == true, tags(image)) {
            (true, tags) => format!("the tag {tags}, but not the image {digest}, which has others"),
            (false, tags) if tags.is_empty() => digest.to_owned(),
            (false, tags) => format!("{digest} ({tags})"),
        }
    };
    let more = chosen.len().saturating_sub(SHOWN);
    let images = if chosen.len() == 1 { "an image".to_owned() } else { format!("{} images", chosen.len()) };
    let mut error = Error::input(format!("this deletes {images} of `{repository}`"));
    for image in chosen.iter().take(SHOWN) {
        error = error.hint(said(image));
    }
    if more > 0 {
        error = error.hint(format!("and {more} more"));
    }
    error.hint("say --yes to do it; whoever runs them cannot pull them again")
}

impl From<Require> for Ability {
    fn from(required: Require) -> Self {
        match required {
            Require::List => Ability::List,
            Require::Pull => Ability::Pull,
            Require::Push => Ability::Push,
        }
    }
}

impl Images {
    fn wanted(&self) -> Result<Wanted> {
        let mut set = GlobSetBuilder::new();
        for pattern in &self.tags {
            let wrong =
                |error: globset::Error| Error::input(format!("`{pattern}` is no pattern for tags")).cause(error);
            set.add(Glob::new(pattern).map_err(wrong)?);
        }
        let set: GlobSet = set.build().map_err(|error| Error::input("the patterns are too many").cause(error))?;
        let tags = (!self.tags.is_empty()).then_some(set);
        Ok(Wanted { limit: self.limit.into(), tags, untagged: self.untagged, platforms: !self.no_platforms })
    }
}

impl Create {
    fn read(&self, directory: &Path) -> Result<NewRepository> {
        let document = |file: &PathBuf| document(&directory.join(file));
        let mutability = match (self.immutable, self.mutable) {
            (true, _) => Some("IMMUTABLE".to_owned()),
            (_, true) => Some("MUTABLE".to_owned()),
            _ => None,
        };
        if !self.except.is_empty() && (mutability.is_none() || self.except.len() > 5) {
            return Err(Error::input("--except names at most five exceptions to --immutable or --mutable")
                .hint("`--immutable --except latest`, for example"));
        }
        Ok(NewRepository {
            settings: CreateRepository {
                policy: None,
                tag_mutability: mutability,
                tag_mutability_exclusions: self.except.clone(),
                scan_on_push: self.scan_on_push,
            },
            policy: self.policy.as_ref().map(document).transpose()?,
            lifecycle: self.lifecycle.as_ref().map(document).transpose()?,
            encryption: self.encryption.clone(),
            tags: self.tags.clone(),
        })
    }
}

fn document(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let error = Error::input(format!("cannot read {}", path.display())).cause(error);
        error.hint("give a file with the policy's JSON")
    })?;
    let source = SourceText::new(path.display().to_string(), text.as_str());
    Ok(crate::document::parse(&source)?.value)
}
