//! The two documents that a user writes, as the requests that they become.

use serde_json::{Map, Value};

use super::draft::{Draft, drop_nulls};
use super::parse::{Document, parse};
use super::{checks, dockerrun, dockerrun_v1};
use crate::aws_model::{self, Finding, Problem, Service};
use crate::error::{Error, Result, SourceText, nearest};

#[derive(Debug, Clone, Copy)]
pub struct TaskDefinitionOptions<'a> {
    /// Members and enum values that the shapes do not know pass with a warning.
    pub allow_unknown_fields: bool,
    /// For documents without a family, as Layer0's dockerruns and Elastic Beanstalk's are.
    pub default_family: &'a str,
    /// Replaces a container's image.
    pub image: Option<ImageForContainer<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub struct ImageForContainer<'a> {
    /// `None` means the only container there is, or the only one whose image is a placeholder or of
    /// the same repository.
    pub container: Option<&'a str>,
    pub uri: &'a str,
}

/// A document that may be sent.
#[derive(Clone, PartialEq)]
pub struct Checked {
    pub value: Value,
    /// One sentence each, with the place in front.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for Checked {
    // Environment values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

/// What `describe-task-definition` says and `register-task-definition` does not take.
pub const READ_ONLY: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "deregisteredAt",
    "deleteRequestedAt",
    "registeredBy",
];

/// The input of RegisterTaskDefinition from a task definition, the output of
/// describe-task-definition, or a dockerrun (Elastic Beanstalk's version 2 and 1, Layer0's).
///
/// Everything that is wrong is reported at once.
pub fn task_definition(rendered: &SourceText, options: TaskDefinitionOptions<'_>) -> Result<Checked> {
    let document = parse(rendered)?;
    let mut draft = recognise(&document, options.default_family)?;
    drop_nulls(&mut draft.value);
    let members = draft.value.as_object_mut().expect("a draft is an object");
    if !members.contains_key("family") {
        let mut named = Map::from_iter([("family".to_owned(), Value::from(options.default_family))]);
        named.append(members);
        *members = named;
    }
    if let Some(image) = options.image {
        replace_image(&mut draft, image);
    }
    let findings = aws_model::check(Service::Ecs, "RegisterTaskDefinitionRequest", &draft.value);
    draft.take(findings, options.allow_unknown_fields);
    checks::containers(&mut draft);
    checks::strings(&mut draft);
    finish(draft)
}

/// The members of CreateService and UpdateService in one document. Which of them go into which
/// call, and what a deploy sets itself, is not decided here; nothing is required.
pub fn service(rendered: &SourceText, allow_unknown_fields: bool) -> Result<Checked> {
    let document = parse(rendered)?;
    let members = object(&document)?;
    if members.contains_key("containerDefinitions") {
        return Err(document
            .error_at_key("/containerDefinitions", "this is a task definition, not a service document", None)
            .hint("name it under task_definition: and give the members of CreateService here"));
    }
    let mut draft = Draft::new(&document, members.clone());
    drop_nulls(&mut draft.value);
    let findings = service_findings(&draft.value);
    draft.take(findings, allow_unknown_fields);
    checks::strings(&mut draft);
    finish(draft)
}

/// What neither CreateService nor UpdateService takes.
fn service_findings(value: &Value) -> Vec<Finding> {
    let update = aws_model::check(Service::Ecs, "UpdateServiceRequest", value);
    let mut findings = Vec::new();
    for finding in aws_model::check(Service::Ecs, "CreateServiceRequest", value) {
        let top = finding.pointer.matches('/').count() < 2;
        match &finding.problem {
            Problem::Missing { .. } if finding.pointer.is_empty() => {}
            Problem::Unknown { .. } if top => {
                let below = format!("{}/", finding.pointer);
                let of_update: Vec<&Finding> = update
                    .iter()
                    .filter(|other| other.pointer == finding.pointer || other.pointer.starts_with(&below))
                    .collect();
                if of_update
                    .iter()
                    .any(|other| matches!(other.problem, Problem::Unknown { .. }) && other.pointer == finding.pointer)
                {
                    findings.push(finding);
                } else {
                    findings.extend(of_update.into_iter().cloned());
                }
            }
            _ => findings.push(finding),
        }
    }
    findings
}

fn finish(draft: Draft<'_>) -> Result<Checked> {
    match Error::all(draft.errors) {
        Some(error) => Err(error),
        None => Ok(Checked { value: draft.value, warnings: draft.warnings }),
    }
}

fn object(document: &Document) -> Result<&Map<String, Value>> {
    let error = || document.error_at("", "a document is one JSON object", None).hint("write { \"family\": … }");
    document.value.as_object().ok_or_else(error)
}

fn recognise<'d>(document: &'d Document, default_family: &str) -> Result<Draft<'d>> {
    let members = object(document)?;
    if let Some(key) = members.keys().find(|key| key.eq_ignore_ascii_case("AWSEBDockerrunVersion")) {
        return match &members[key] {
            Value::Number(number) if number.as_u64() == Some(2) => Ok(dockerrun::version_2(document, members, key)),
            Value::String(text) if text == "2" => Ok(dockerrun::version_2(document, members, key)),
            Value::Number(number) if number.as_u64() == Some(1) => {
                dockerrun_v1::read(document, members, default_family)
            }
            Value::String(text) if text == "1" => dockerrun_v1::read(document, members, default_family),
            other => Err(document
                .error_at(
                    &format!("/{key}"),
                    format!("there is no dockerrun version {other} with containers in it"),
                    None,
                )
                .hint("versions 1 and 2 are accepted; version 3 is a Docker Compose file")),
        };
    }
    if let Some(Value::Object(described)) = members.get("taskDefinition") {
        return Ok(described_task_definition(document, members, described));
    }
    let shape = aws_model::shape(Service::Ecs, "RegisterTaskDefinitionRequest");
    let Some(aws_model::Shape::Structure(structure)) = shape else { unreachable!("the model has this structure") };
    let near = |key: &String| nearest(key, structure.members.iter().map(|member| member.name.as_str())).is_some();
    if !members.keys().any(near) {
        let error = document.error_at("", "this is neither a task definition nor a dockerrun", None);
        return Err(if members.contains_key("serviceName") || members.contains_key("desiredCount") {
            error.hint("it looks like a service document: name it under service: in steady.yaml")
        } else {
            error.hint("a task definition has \"family\" and \"containerDefinitions\"")
        });
    }
    let mut draft = Draft::new(document, members.clone());
    drop_read_only(&mut draft.value);
    Ok(draft)
}

fn described_task_definition<'d>(
    document: &'d Document,
    members: &Map<String, Value>,
    described: &Map<String, Value>,
) -> Draft<'d> {
    let mut draft = Draft::new(document, described.clone());
    drop_read_only(&mut draft.value);
    draft.origins.push(("/tags", "/tags"));
    draft.origins.push(("", "/taskDefinition"));
    // Tags of AWS's and of an earlier deploy's are not the user's to set.
    let own = |tag: &&Value| {
        let key = tag.get("key").and_then(Value::as_str).unwrap_or_default();
        !key.starts_with("aws:") && !key.starts_with("steady:")
    };
    if let Some(Value::Array(tags)) = members.get("tags") {
        let tags: Vec<Value> = tags.iter().filter(own).cloned().collect();
        if !tags.is_empty() {
            draft.value["tags"] = Value::Array(tags);
        }
    }
    for key in members.keys().filter(|key| !matches!(key.as_str(), "taskDefinition" | "tags" | "ResponseMetadata")) {
        let pointer = format!("/{}", super::parse::escape(key));
        let message = format!("unknown member {key:?} beside \"taskDefinition\"");
        draft.errors.push(document.error_at_key(&pointer, message, Some("unknown")).hint("remove it"));
    }
    draft
}

fn drop_read_only(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|key, _| !READ_ONLY.contains(&key.as_str()));
    }
}

fn replace_image(draft: &mut Draft<'_>, image: ImageForContainer<'_>) {
    match checks::container_for_image(draft, image) {
        Ok(Some(index)) => {
            if let Some(Value::Object(container)) = draft.value.pointer_mut(&format!("/containerDefinitions/{index}")) {
                container.insert("image".to_owned(), Value::from(image.uri));
            }
        }
        Ok(None) => {}
        Err(error) => draft.errors.push(error),
    }
}
