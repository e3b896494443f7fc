use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::Value;

use super::context::Context;
use crate::config::{self, CreateRepository};
use crate::deploy::event::Events;
use crate::deploy::repositories::{self, NewRepository};
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
    Images {
        name: String,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Whether the caller may list, pull and push, and which IAM actions it lacks; changes nothing
    Test { name: String },
    /// Create a repository, or bring these settings to it
    Create(Create),
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
struct Create {
    name: String,
    /// A repository policy, a JSON file; merged into the one that is there, statement by statement
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A lifecycle policy, a JSON file
    #[arg(long, value_name = "FILE")]
    lifecycle: Option<PathBuf>,
    /// Scan each image when it is pushed
    #[arg(long)]
    scan_on_push: bool,
    /// A tag stays where it was put
    #[arg(long)]
    immutable: bool,
    /// How images are encrypted; fixed when the repository is made
    #[arg(long, value_name = "AES256|KMS|KEY-ARN", value_parser = encryption)]
    encryption: Option<String>,
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
            Verb::Create(create) => create.read()?,
            _ => NewRepository::default(),
        };
        // like a login, it needs no project and takes the region of one that is there
        let options = config::Options { without_rendering: true, ..context.options()? };
        let project = if config::is_there(&options) { Some(config::load(&options)?) } else { None };
        let clients = context.clients(project.as_ref(), events).await?;
        Ok(Some(match self.verb {
            Verb::List => repositories::all(&clients).await?.into(),
            Verb::Images { name, limit } => repositories::images(&name, limit.into(), &clients).await?.into(),
            Verb::Test { name } => repositories::access(&name, &clients).await?,
            Verb::Create(create) => repositories::create(&create.name, &new, &clients, events).await?,
            Verb::Delete { name, images, .. } => repositories::delete(&name, images, &clients).await?,
        }))
    }
}

impl Create {
    fn read(&self) -> Result<NewRepository> {
        Ok(NewRepository {
            settings: CreateRepository {
                policy: None,
                tag_mutability: self.immutable.then(|| "IMMUTABLE".to_owned()),
                scan_on_push: self.scan_on_push.then_some(true),
            },
            policy: self.policy.as_deref().map(document).transpose()?,
            lifecycle: self.lifecycle.as_deref().map(document).transpose()?,
            encryption: self.encryption.clone(),
        })
    }
}

fn document(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::input(format!("cannot read {}", path.display())).cause(error))?;
    let source = SourceText::new(path.display().to_string(), text.as_str());
    Ok(crate::document::parse(&source)?.value)
}
