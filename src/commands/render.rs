use serde_json::Value;

use super::context::Context;
use super::shown;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::{Error, Result};
use crate::report::Output;

/// Print the task definition as it would be registered; changes nothing
///
/// As text it is the document alone, fit for `aws ecs register-task-definition --cli-input-json`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which document to print as text
    #[arg(long, value_enum, default_value_t, value_name = "DOCUMENT")]
    document: Document,
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
        let Some(rendered) = shown(&deploy::render(&project.plan, &clients, events).await?)? else { return Ok(None) };
        if context.global.output == Output::Json {
            return Ok(Some(rendered));
        }
        let (name, hint) = match self.document {
            Document::TaskDefinition => ("taskDefinition", "name one with `task_definition:`"),
            Document::Service => ("service", "name one with `service:` in the project file"),
        };
        let document = rendered.get(name).filter(|document| document.is_object());
        let document = document.ok_or_else(|| Error::input("the project has no such document").hint(hint))?;
        Ok(Some(Value::String(format!("{document:#}"))))
    }
}
