//! A request in the making: its members, and where in the user's file each of them came from.

use std::ops::Range;

use serde_json::{Map, Value};

use super::parse::Document;
use crate::aws_model::{Finding, Problem};
use crate::error::Error;

pub(super) struct Draft<'d> {
    pub document: &'d Document,
    pub value: Value,
    /// Beginnings of pointers in `value`, and what they are in the document. The first that fits counts.
    pub origins: Vec<(&'static str, &'static str)>,
    pub warnings: Vec<String>,
    pub errors: Vec<Error>,
}

impl<'d> Draft<'d> {
    pub fn new(document: &'d Document, members: Map<String, Value>) -> Self {
        Draft { document, value: Value::Object(members), origins: Vec::new(), warnings: Vec::new(), errors: Vec::new() }
    }

    /// The pointer in the document that a pointer in `value` came from.
    pub fn origin(&self, pointer: &str) -> String {
        for (made, written) in &self.origins {
            if let Some(rest) = pointer.strip_prefix(made) {
                return format!("{written}{rest}");
            }
        }
        pointer.to_owned()
    }

    pub fn error_at(&self, pointer: &str, message: impl Into<String>, label: Option<&str>) -> Error {
        self.document.error_at(&self.origin(pointer), message, label)
    }

    /// An error at a part of a string value.
    pub fn error_within(&self, pointer: &str, part: Range<usize>, message: impl Into<String>) -> Error {
        let error = self.error_at(pointer, message, None);
        let text = self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        match self.document.span_of(&self.origin(pointer)) {
            // Only without escapes are the value's offsets the file's.
            Some(span) if self.document.source.text.get(span.start + 1..span.end - 1) == Some(text) => {
                error.at(&self.document.source, span.start + 1 + part.start..span.start + 1 + part.end, None)
            }
            _ => error,
        }
    }

    pub fn warn_at(&mut self, pointer: &str, message: impl AsRef<str>) {
        let pointer = self.origin(pointer);
        let source = &self.document.source;
        let span = self.document.key_span_of(&pointer).or_else(|| self.document.span_of(&pointer));
        let place = span.map_or_else(String::new, |span| {
            let (line, column) = source.line_column(span.start);
            format!(":{line}:{column}")
        });
        self.warnings.push(format!("{}{place}: {}", source.name, message.as_ref()));
    }

    /// Turns what the shapes say into errors, and into warnings where unknown fields may pass.
    pub fn take(&mut self, findings: Vec<Finding>, allow_unknown_fields: bool) {
        for finding in findings {
            let passes = matches!(finding.problem, Problem::Unknown { .. } | Problem::Value { .. });
            if passes && allow_unknown_fields {
                let said = describe(&finding);
                self.warn_at(&finding.pointer, format!("{said}; passed on as it is"));
            } else {
                let error = self.explain(&finding);
                self.errors.push(error);
            }
        }
    }

    fn explain(&self, finding: &Finding) -> Error {
        let message = describe(finding);
        let suggestion = finding.suggestion.as_deref();
        match &finding.problem {
            Problem::Unknown { .. } => {
                let error = self.document.error_at_key(&self.origin(&finding.pointer), message, Some("unknown"));
                let error = match suggestion {
                    Some(name) => error.hint(format!("did you mean {name:?}?")),
                    None => error,
                };
                error.hint("a member newer than this steady passes with allow_unknown_fields: true")
            }
            Problem::Value { .. } => {
                let error = self.error_at(&finding.pointer, message, None);
                let error = match suggestion {
                    Some(value) => error.hint(format!("did you mean {value}?")),
                    None => error,
                };
                error.hint("a value newer than this steady passes with allow_unknown_fields: true")
            }
            Problem::Type { .. } => {
                let error = self.error_at(&finding.pointer, message, None);
                match suggestion {
                    Some(value) => error.hint(format!("write {value}")),
                    None => error,
                }
            }
            Problem::Null => self.error_at(&finding.pointer, message, None).hint("remove it from the list"),
            Problem::Missing { member } => {
                self.error_at(&finding.pointer, message, None).hint(format!("add {member:?}"))
            }
            Problem::Range { .. } => {
                self.error_at(&finding.pointer, message, None).hint("write a value within these bounds")
            }
        }
    }
}

fn describe(finding: &Finding) -> String {
    match &finding.problem {
        Problem::Unknown { member, .. } => {
            let parent = finding.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
            match human(parent).as_str() {
                "" => format!("unknown member {member:?}"),
                parent => format!("unknown member {member:?} in {parent}"),
            }
        }
        problem => match human(&finding.pointer).as_str() {
            "" => problem.to_string(),
            place => format!("{place}: {problem}"),
        },
    }
}

/// `/containerDefinitions/0/image` as `containerDefinitions[0].image`.
pub(super) fn human(pointer: &str) -> String {
    let mut text = String::new();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if token.bytes().all(|byte| byte.is_ascii_digit()) && !token.is_empty() {
            text.push_str(&format!("[{token}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&token);
        }
    }
    text
}

/// An explicit null means "not set". Lists keep theirs, to be refused: nothing is not set there.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
