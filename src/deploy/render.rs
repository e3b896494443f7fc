//! From templates to documents: the context that templates see, and what comes out of them.

use serde_json::{Map, Value, json};

use super::event::Events;
use super::preflight::Ground;
use super::service::strategy;
use crate::aws::Clients;
use crate::config::Plan;
use crate::document::{self, ImageForContainer, TaskDefinitionOptions, template};
use crate::error::{Result, SourceText};
use crate::image::reference::check_tag;

/// An image in its repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedImage {
    /// `host/path`.
    pub repository_uri: String,
    pub digest: String,
    pub tags: Vec<String>,
}

impl PushedImage {
    /// `repository@digest`: what a task definition names.
    pub fn uri(&self) -> String {
        format!("{}@{}", self.repository_uri, self.digest)
    }
}

/// What templates can know.
#[derive(Debug, Clone)]
pub struct Facts {
    pub region: String,
    pub account_id: String,
    pub image: Option<PushedImage>,
    /// The release's name, for people.
    pub release: String,
}

impl Facts {
    pub fn new(plan: &Plan, clients: &Clients, ground: &Ground, image: Option<&PushedImage>) -> Self {
        Facts {
            region: clients.region.clone(),
            account_id: ground.identity.account_id.clone(),
            image: image.cloned(),
            release: release(plan, image.map(|image| image.digest.as_str()), &clients.region),
        }
    }

    pub fn digest(&self) -> Option<&str> {
        self.image.as_ref().map(|image| image.digest.as_str())
    }
}

/// The plan's, else the digest's first digits.
pub fn release(plan: &Plan, digest: Option<&str>, region: &str) -> String {
    let digits = digest.map(|digest| digest.trim_start_matches("sha256:").chars().take(12).collect::<String>());
    let given = named_release(plan, region).ok().flatten().filter(|name| !name.is_empty());
    given.or(digits).unwrap_or_else(|| "unversioned".to_owned())
}

/// The name that was given: that of a tag, which may be a template.
fn named_release(plan: &Plan, region: &str) -> Result<Option<String>> {
    match &plan.release {
        Some(tag) if is_template(tag) => Ok(tags(plan, std::slice::from_ref(tag), region)?.pop()),
        given => Ok(given.clone()),
    }
}

fn is_template(tag: &str) -> bool {
    tag.contains("{{")
}

/// What a template sees: `image`, `repository_uri`, `tag`, `digest`, `release`, `region`, `account_id`, `cluster`,
/// `service`, `environment`, `var`, `env`, `git`. What is not known is absent, so that strict mode refuses it.
pub fn context(plan: &Plan, facts: &Facts) -> Value {
    let mut context = Map::new();
    let mut put = |key: &str, value: Value| context.insert(key.to_owned(), value);
    if let Some(image) = &facts.image {
        put("image", image.uri().into());
        put("repository_uri", image.repository_uri.as_str().into());
        put("digest", image.digest.as_str().into());
        if let Some(tag) = image.tags.first() {
            put("tag", tag.as_str().into());
        }
    }
    put("release", facts.release.as_str().into());
    put("region", facts.region.as_str().into());
    put("account_id", facts.account_id.as_str().into());
    put("cluster", plan.cluster.as_str().into());
    put("service", plan.service.as_str().into());
    if let Some(environment) = &plan.environment {
        put("environment", environment.as_str().into());
    }
    put("var", plan.variables.iter().map(|(key, value)| (key.clone(), value.clone())).collect());
    put("env", json!(plan.env));
    put("git", json!(plan.git));
    Value::Object(context)
}

/// The documents that ECS gets.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// RegisterTaskDefinition's input.
    pub task_definition: Value,
    /// Members of CreateService and UpdateService; an empty object when the plan has no service document.
    pub service: Value,
}

impl Rendered {
    pub fn detail(&self) -> String {
        let containers = self.task_definition["containerDefinitions"].as_array().map_or(0, Vec::len);
        let family = self.task_definition["family"].as_str().unwrap_or_default();
        format!("{family}, {containers} container{}", if containers == 1 { "" } else { "s" })
    }
}

pub fn documents(plan: &Plan, facts: &Facts, events: &Events) -> Result<Rendered> {
    let (rendered, warnings) = compose(plan, facts)?;
    for warning in warnings {
        events.warn(warning, None);
    }
    Ok(rendered)
}

/// The policy that the plan wants on its repository; it sees everything but the image.
pub fn repository_policy(plan: &Plan, facts: &Facts) -> Result<Option<Value>> {
    let create = plan.image.as_ref().and_then(|image| image.create.as_ref());
    let Some(source) = create.and_then(|create| create.policy.as_ref()) else { return Ok(None) };
    let facts = Facts { image: None, ..facts.clone() };
    document::render_repository_policy(source, &context(plan, &facts)).map(Some)
}

pub(super) fn compose(plan: &Plan, facts: &Facts) -> Result<(Rendered, Vec<String>)> {
    // first, because it is used first: before there is an image
    repository_policy(plan, facts)?;
    let context = context(plan, facts);
    let uri = facts.image.as_ref().map(PushedImage::uri);
    let replaces = !template::references_image(&plan.task_definition);
    let image = match (&plan.image, &uri) {
        (Some(image), Some(uri)) if replaces => {
            Some(ImageForContainer { container: image.container.as_deref(), uri: uri.as_str() })
        }
        _ => None,
    };
    let options =
        TaskDefinitionOptions { allow_unknown_fields: plan.allow_unknown_fields, default_family: &plan.service, image };
    let task_definition = document::render_task_definition(&plan.task_definition, &context, options)?;
    let mut warnings = task_definition.warnings;
    let mut service = match &plan.service_document {
        Some(source) => {
            let checked = document::render_service(source, &context, plan.allow_unknown_fields)?;
            warnings.extend(checked.warnings);
            checked.value
        }
        None => json!({}),
    };
    strategy::put(&mut service, &plan.rollout.deployment)?;
    Ok((Rendered { task_definition: task_definition.value, service }, warnings))
}

/// Renders with stand-ins for what only AWS and the build can tell, so that a mistake in a document is found before
/// anything is called or built.
pub fn rehearse(plan: &Plan, clients: &Clients) -> Result<Rendered> {
    compose(plan, &stand_ins(plan, clients)?).map(|(rendered, _)| rendered)
}

/// The same when the account is known: ARNs in it are what they will be.
pub fn rehearse_in(account_id: &str, plan: &Plan, clients: &Clients) -> Result<Rendered> {
    let mut facts = stand_ins(plan, clients)?;
    if let Some(image) = &mut facts.image {
        image.repository_uri = image.repository_uri.replacen(&facts.account_id, account_id, 1);
    }
    facts.account_id = account_id.to_owned();
    compose(plan, &facts).map(|(rendered, _)| rendered)
}

/// What [`rehearse`] renders with, for a look at documents without a build.
pub fn stand_ins(plan: &Plan, clients: &Clients) -> Result<Facts> {
    named_release(plan, &clients.region)?;
    let digest = no_digest();
    let image = match &plan.image {
        Some(image) => Some(PushedImage {
            repository_uri: match super::repository::names_registry(&image.repository) {
                true => image.repository.clone(),
                false => format!("123456789012.dkr.ecr.{}.amazonaws.com/{}", clients.region, image.repository),
            },
            digest: digest.clone(),
            tags: tags(plan, &image.tags, &clients.region)?,
        }),
        None => None,
    };
    Ok(Facts {
        region: clients.region.clone(),
        account_id: "123456789012".to_owned(),
        release: release(plan, image.as_ref().map(|_| digest.as_str()), &clients.region),
        image,
    })
}

/// What stands for the digest of an image that is not built yet.
pub fn no_digest() -> String {
    format!("sha256:{}", "0".repeat(64))
}

/// An image's tags: templates that see everything but the image.
pub fn tags(plan: &Plan, templates: &[String], region: &str) -> Result<Vec<String>> {
    let facts = Facts {
        region: region.to_owned(),
        account_id: String::new(),
        image: None,
        release: plan.release.clone().filter(|name| !is_template(name)).unwrap_or_default(),
    };
    let mut context = context(plan, &facts);
    if let Some(context) = context.as_object_mut() {
        context.shift_remove("account_id");
        if facts.release.is_empty() {
            context.shift_remove("release");
        }
    }
    let render = |(at, template): (usize, &String)| {
        let name = format!("image.tags[{at}]");
        let rendered = template::render(&SourceText::new(&name, template), &context)?;
        let tag = rendered.text.trim().to_owned();
        check_tag(&tag).map_err(|error| error.hint(format!("it comes from {name}: `{template}`")))?;
        Ok(tag)
    };
    let mut tags = templates.iter().enumerate().map(render).collect::<Result<Vec<_>>>()?;
    let mut seen = std::collections::HashSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    Ok(tags)
}
