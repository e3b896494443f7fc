//! Handlebars in strict mode, for JSON.
//!
//! `{{v}}` writes a value escaped for the inside of a JSON string, `{{json v}}` inserts a whole
//! value; `{{{v}}}`, `{{&v}}`, partials and decorators are refused. A name that does not exist is an
//! error wherever it stands, in `{{#if v}}` too; so are null, lists and objects in `{{v}}`.
//!
//! Blocks: `if`, `unless`, `each`, `with`, with `else` and `else if`. Helpers: `has`, `lookup`, `len`,
//! `eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `and`, `or`, `not`.
//!
//! The handlebars crate's strict mode lets a missing name through in `{{#if v}}`, writes null as
//! nothing and objects as `[object]`, overflows its stack on nested blocks, and keeps no place for a
//! name; so this small part of the language is read and filled in here.

mod evaluate;
mod helpers;
mod scan;
mod syntax;
mod words;

use std::ops::Range;

use serde_json::Value;

pub use evaluate::MAX_OUTPUT;
pub use syntax::MAX_DEPTH;

use super::parse as parse_json;
use crate::error::{Error, Place, Result, SourceText, nearest};
use syntax::{Base, Expression, ExpressionKind, Node};

/// Bytes of a template.
const MAX_TEMPLATE: usize = 4 << 20;

/// The names that a deploy gives every template.
const CONTEXT: [&str; 11] = [
    "image",
    "repository_uri",
    "tag",
    "digest",
    "region",
    "account_id",
    "cluster",
    "service",
    "environment",
    "var",
    "env",
];

/// The rendered text under the template's name.
pub fn render(template: &SourceText, context: &Value) -> Result<SourceText> {
    render_mapped(template, context).map(|rendered| rendered.text)
}

/// [`render`] that remembers where each part came from.
pub fn render_mapped(template: &SourceText, context: &Value) -> Result<Rendered> {
    let nodes = parse_template(template)?;
    let mut evaluator = evaluate::Evaluator::new(template, context);
    evaluator.nodes(&nodes)?;
    let text = SourceText::new(&template.name, &evaluator.output);
    Ok(Rendered { text, template: template.clone(), segments: evaluator.segments })
}

/// Whether the tags of a template are well formed, as far as that can be told without a context.
pub fn check_syntax(template: &SourceText) -> Result<()> {
    parse_template(template).map(drop)
}

/// Whether the template uses what only a pushed image can give: `image`, `repository_uri`,
/// `digest` or `tag`. False for a text that is no template.
pub fn references_image(template: &SourceText) -> bool {
    references(template, &|name| matches!(name, "image" | "repository_uri" | "digest" | "tag"))
}

/// Whether a file is a template: by its name (`.hbs`, `.handlebars`), or because it uses a name of
/// the deploy's context. Docker's own `{{.Name}}` in a log tag makes no template.
pub fn is_template(source: &SourceText) -> bool {
    source.name.ends_with(".hbs")
        || source.name.ends_with(".handlebars")
        || references(source, &|name| name == "git" || CONTEXT.contains(&name))
}

/// A rendered text and its way back to the template.
#[derive(Debug)]
pub struct Rendered {
    pub text: SourceText,
    template: SourceText,
    segments: Vec<Segment>,
}

/// A part of the output: copied from the template, or what a tag gave.
#[derive(Debug)]
struct Segment {
    output: Range<usize>,
    template: Range<usize>,
    copied: bool,
    quoted: bool,
}

impl Rendered {
    /// The error with its places in the rendered text moved to where the template has them. What a
    /// tag gave is not repeated where it broke the JSON around it: it may be a secret.
    pub fn blame(&self, error: Error) -> Error {
        let broken = parse_json(&self.text).is_err();
        error.map_places(&|error, place| {
            if place.source != self.text {
                return error.at(&place.source, place.span, place.label.as_deref());
            }
            let (span, segment) = self.origin(&place);
            let Some(segment) = segment.filter(|segment| !segment.copied) else {
                return error.at(&self.template, span, place.label.as_deref());
            };
            let tag = &self.template.text[segment.template.clone()];
            if !broken {
                return error.at(&self.template, span, Some(place.label.as_deref().unwrap_or("filled in here")));
            }
            let error = Error::input(format!("what {tag} gives does not fit into the JSON around it"));
            let error = error.at(&self.template, span, Some("filled in here"));
            if segment.quoted || tag.starts_with("{{json") {
                return error.hint("check the commas and brackets around it");
            }
            let name = tag.trim_matches(['{', '}', '~']).trim();
            error.hint(format!("text needs quotes around its tag, \"{tag}\", or {{{{json {name}}}}}"))
        })
    }

    fn origin(&self, place: &Place) -> (Range<usize>, Option<&Segment>) {
        let at = |offset: usize| {
            let index = self.segments.partition_point(|segment| segment.output.end <= offset);
            self.segments.get(index).filter(|segment| segment.output.contains(&offset))
        };
        let start = at(place.span.start);
        let map = |segment: &Segment, offset: usize| {
            if segment.copied {
                segment.template.start + (offset - segment.output.start)
            } else {
                segment.template.start
            }
        };
        let Some(segment) = start else {
            let end = self.segments.last().map_or(0, |segment| segment.template.end);
            return (end..end, None);
        };
        let from = map(segment, place.span.start);
        let last = place.span.end.saturating_sub(1).max(place.span.start);
        let to =
            at(last).map_or(from, |segment| if segment.copied { map(segment, last) + 1 } else { segment.template.end });
        (from..to.max(from), Some(segment))
    }
}

fn parse_template(template: &SourceText) -> Result<Vec<Node>> {
    if template.text.len() > MAX_TEMPLATE {
        return Err(Error::input(format!("{} is larger than {} MiB", template.name, MAX_TEMPLATE >> 20)).at(
            template,
            0..0,
            None,
        ));
    }
    syntax::parse(template)
}

fn references(template: &SourceText, wanted: &dyn Fn(&str) -> bool) -> bool {
    parse_template(template).is_ok_and(|nodes| nodes.iter().any(|node| node_references(node, wanted)))
}

fn node_references(node: &Node, wanted: &dyn Fn(&str) -> bool) -> bool {
    match node {
        Node::Text(_) => false,
        Node::Value { expression, .. } => expression_references(expression, wanted),
        Node::Block(block) => {
            expression_references(&block.subject, wanted)
                || block.body.iter().chain(&block.otherwise).any(|node| node_references(node, wanted))
        }
    }
}

fn expression_references(expression: &Expression, wanted: &dyn Fn(&str) -> bool) -> bool {
    match &expression.kind {
        ExpressionKind::Literal(_) => false,
        ExpressionKind::Path(path) => {
            !matches!(path.base, Base::Local { .. }) && path.names.first().is_some_and(|name| wanted(name))
        }
        ExpressionKind::Call { arguments, .. } => {
            arguments.iter().any(|argument| expression_references(argument, wanted))
        }
    }
}

/// The nearest of what is known, or all of it when it is little.
fn suggest<'k>(error: Error, word: &str, known: impl IntoIterator<Item = &'k str>) -> Error {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean {near:?}?")),
        None if known.is_empty() => error,
        None => error.hint(format!("there are: {}", known[..known.len().min(20)].join(", "))),
    }
}
