//! Documents: what is read, what is refused and where, what comes out.

mod compare;
mod mistakes;
mod parse;
mod requests;
mod template;

use steadystate::document::{Checked, ImageForContainer, TaskDefinitionOptions, task_definition};
use steadystate::error::{Error, Kind, Result, SourceText};

pub const URI: &str = "123456789012.dkr.ecr.us-west-2.amazonaws.com/hello@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub fn fixture(name: &str) -> SourceText {
    let path = format!("{}/tests/fixtures/documents/{name}", env!("CARGO_MANIFEST_DIR"));
    SourceText::new(name, std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")))
}

pub fn source(text: &str) -> SourceText {
    SourceText::new("task.json", text)
}

pub fn checked(source: &SourceText) -> Result<Checked> {
    with_image(source, None)
}

pub fn with_image(source: &SourceText, image: Option<ImageForContainer<'_>>) -> Result<Checked> {
    task_definition(source, TaskDefinitionOptions { allow_unknown_fields: false, default_family: "hello", image })
}

/// Every finding as `file:line:col: message | hint | …`, checked to be bad input.
pub fn findings(error: &Error) -> Vec<String> {
    let mut all = vec![error];
    all.extend(error.others());
    all.into_iter()
        .map(|error| {
            assert_eq!(error.kind(), Kind::Input, "{error:?}");
            let place = error.place().unwrap_or_else(|| panic!("no place: {error:?}"));
            let (line, column) = place.line_column();
            let mut text = format!("{}:{line}:{column}: {error}", place.source.name);
            for hint in error.hints() {
                text.push_str(" | ");
                text.push_str(hint);
            }
            text
        })
        .collect()
}
