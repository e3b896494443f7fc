use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::{Error, Result};
use crate::report::Output;

/// Print the task definition as it would be registered; changes nothing
///
/// As text it is the document alone, fit for `aws ecs register-task-definition --cli-input-json`. What only a push tells,
/// such as the digest, is a stand-in unless it is given.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which document to print as text
    #[arg(long, value_enum, default_value_t, value_name = "DOCUMENT")]
    document: Document,
    /// Render for this image
    #[arg(long, value_name = "SHA256:…", value_parser = digest)]
    digest: Option<String>,
}

fn digest(text: &str) -> std::result::Result<String, String> {
    match text.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
            Ok(text.to_owned())
        }
        _ => Err("a digest is sha256: and 64 lower-case hexadecimal digits".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Document {
    #[default]
    TaskDefinition,
    Service,
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let (project, clients) = context.load(context.options()?, events).await?;
        let Some(rendered) = shown(&deploy::render(&project.plan, &clients, self.digest.as_deref(), events)?)? else {
            return Ok(None);
        };
        if context.global.output == Output::Json {
            return Ok(Some(rendered));
        }
        let (name, hint) = match self.document {
            Document::TaskDefinition => ("taskDefinition", "name one with `task_definition:`"),
            Document::Service => ("service", "name one with `service:` in the project file"),
        };
        let is_there = name == "taskDefinition" || project.plan.service_document.is_some();
        let document = rendered.get(name).filter(|document| is_there && document.is_object());
        let document = document.ok_or_else(|| Error::input("the project has no such document").hint(hint))?;
        Ok(Some(Value::String(format!("{document:#}"))))
    }
}
