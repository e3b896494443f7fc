//! What people paste into a project file that its keys and types cannot tell: placeholders, names that no registry and
//! no account can have, JSON's commas, a word processor's quotes.

use std::ops::Range;

use super::decode::Reader;
use super::files;
use super::node::{Node, Value};
use crate::document::{self, Pasted};
use crate::error::Error;
use crate::image::reference::check_tag;

/// Below these the text is a program's own business.
const FREE: [&str; 7] = ["run", "env", "labels", "args", "variables", "entrypoint", "command"];

pub fn check(reader: &Reader, root: &Node) {
    walk(reader, root, &mut Vec::new());
}

fn walk<'n>(reader: &Reader, node: &'n Node, path: &mut Vec<&'n str>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                path.push(&entry.key);
                walk(reader, &entry.node, path);
                path.pop();
            }
        }
        Value::List(items) => items.iter().for_each(|item| walk(reader, item, path)),
        Value::Text(text) if !quoting(reader, node, text) && !path.iter().any(|key| FREE.contains(key)) => {
            scalar(reader, node, text, path);
        }
        _ => {}
    }
}

/// Quotes that quote nothing in YAML, and commas that JSON would have: both become part of the value.
fn quoting(reader: &Reader, node: &Node, text: &str) -> bool {
    const TYPOGRAPHIC: [char; 9] = ['“', '”', '„', '‟', '«', '»', '‘', '’', '‚'];
    let is_plain = reader.source.text.get(node.span.clone()) == Some(text);
    if !is_plain {
        return false;
    }
    let bare = text.trim_end_matches(',').trim_matches(TYPOGRAPHIC);
    if let Some(quote) = text.chars().next().filter(|first| TYPOGRAPHIC.contains(first)) {
        let error = Error::input(format!("{quote} is a typographic quote, which does not quote in YAML"))
            .hint(format!("write straight double quotes: \"{bare}\""));
        reader.note(&(node.span.start..node.span.start + quote.len_utf8()), None, error);
        return true;
    }
    if text.ends_with(',') && text.len() > 1 {
        let error = Error::input("a comma at the end of a value, which would be part of it")
            .hint(format!("remove it: YAML has none between lines; if it is meant, write \"{text}\" in quotes"));
        reader.note(&(node.span.end - 1..node.span.end), Some("trailing comma"), error);
        return true;
    }
    false
}

fn scalar(reader: &Reader, node: &Node, text: &str, path: &[&str]) {
    let key = path.last().copied().unwrap_or_default();
    let is_image = match key {
        "repository" => true,
        "image" | "base" => files::is_reference(&reader.folder, text),
        _ => false,
    };
    let is_template = key == "tags" && path.iter().rev().nth(1) == Some(&"image");
    let found = match () {
        () if is_template && text.contains("{{") => None,
        () if is_template => {
            if let Err(error) = check_tag(text) {
                reader.note(&node.span, None, error);
            }
            None
        }
        () if key == "repository" => document::pasted_image(text).or_else(|| tagged(text)),
        () if is_image && text != "scratch" => document::pasted_image(text),
        () => document::pasted(text),
    };
    if let Some(Pasted { part, message, hint }) = found {
        let hint = match &text[part.clone()] {
            template if template.starts_with("{{") => "in the project file only an image's `tags` are templates".into(),
            _ => hint,
        };
        reader.note(&within(reader, node, text, part), None, Error::input(format!("`{key}`: {message}")).hint(hint));
    }
}

fn tagged(repository: &str) -> Option<Pasted> {
    let path = repository.rfind('/').map_or(0, |slash| slash + 1);
    let at = path + repository[path..].find([':', '@'])?;
    let (message, hint) = match &repository[at..=at] {
        "@" => ("a digest in a repository's name", format!("write {}: the push tells the digest", &repository[..at])),
        _ => (
            "a tag in a repository's name",
            format!("write {}, and tags: [{}] beside it", &repository[..at], &repository[at + 1..]),
        ),
    };
    Some(Pasted { part: at..repository.len(), message: message.to_owned(), hint })
}

/// Where in the file a part of a value stands; the whole value where escapes keep it from being known.
fn within(reader: &Reader, node: &Node, text: &str, part: Range<usize>) -> Range<usize> {
    let written = reader.source.text.get(node.span.clone()).unwrap_or_default();
    match written.find(text) {
        Some(at) => node.span.start + at + part.start..node.span.start + at + part.end,
        None => node.span.clone(),
    }
}
