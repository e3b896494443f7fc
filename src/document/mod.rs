//! Task definitions, dockerruns and service documents, as lossless JSON.
//!
//! In the data's order: [`template`] fills a document in, [`parse`] reads it with the place of every
//! value, [`task_definition`] and [`service`] bring it into the form of a request and hold it against
//! AWS's own shapes, [`fingerprint`] and [`diff`] compare two of them by what they mean.
//!
//! Values stay `serde_json` values all the way, so that what the user's file says is what ECS
//! receives. What cannot be meant is an error with a place before anything is called.

mod checks;
mod diff;
mod dockerrun;
mod dockerrun_v1;
mod draft;
mod fingerprint;
mod image_name;
mod mistake;
mod normal;
mod parse;
mod placeholder;
mod policy;
mod redact;
mod requests;
pub mod template;

pub use diff::{Change, ChangeKind, Values, diff, uncovered};
pub use fingerprint::fingerprint;
pub use image_name::{Pasted, pasted, pasted_image};
pub use parse::{Document, MAX_DEPTH, parse};
pub use requests::{Checked, ImageForContainer, READ_ONLY, TaskDefinitionOptions, service, task_definition};

use serde_json::Value;

use crate::error::{Result, SourceText};

/// A task definition from its template: [`template::render`] and [`task_definition`] in one, with the
/// places of errors in the template instead of the rendered text. A file that is no template
/// (see [`template::is_template`]) is taken as it is.
pub fn render_task_definition(
    file: &SourceText,
    context: &Value,
    options: TaskDefinitionOptions<'_>,
) -> Result<Checked> {
    rendered(file, context, |text| task_definition(text, options))
}

/// A service document from its template, as [`render_task_definition`].
pub fn render_service(file: &SourceText, context: &Value, allow_unknown_fields: bool) -> Result<Checked> {
    rendered(file, context, |text| service(text, allow_unknown_fields))
}

/// A repository's policy from its template, as [`render_task_definition`].
pub fn render_repository_policy(file: &SourceText, context: &Value) -> Result<Value> {
    rendered(file, context, policy::repository_policy)
}

fn rendered<T>(file: &SourceText, context: &Value, check: impl FnOnce(&SourceText) -> Result<T>) -> Result<T> {
    if !template::is_template(file) {
        return check(file);
    }
    let rendered = template::render_mapped(file, context)?;
    check(&rendered.text).map_err(|error| rendered.blame(error))
}

/// A value as a file shows it: two spaces a level, a line break at the end, members in their order.
pub fn to_json(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("a JSON value has string keys");
    text.push('\n');
    text
}
