//! A template's text cut into plain text and tags.

use std::ops::Range;

use crate::error::{Error, Result, SourceText};

#[derive(Debug)]
pub(super) enum Piece {
    Text(Range<usize>),
    Tag(Tag),
}

#[derive(Debug, Clone)]
pub(super) struct Tag {
    pub kind: TagKind,
    /// With its braces.
    pub span: Range<usize>,
    /// Without braces, `~`, `#`, `/` and `else`.
    pub inner: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagKind {
    Value,
    Open,
    Else,
    End,
}

pub(super) fn cut(source: &SourceText) -> Result<Vec<Piece>> {
    let text = &*source.text;
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut from = 0;
    while let Some(open) = text[from..].find("{{").map(|found| from + found) {
        let backslashes = text[start..open].bytes().rev().take_while(|byte| *byte == b'\\').count();
        if backslashes % 2 == 1 {
            // `\{{` is two braces; an even number of backslashes is JSON's own business.
            push_text(&mut pieces, start..open - 1);
            start = open;
            from = open + 2;
            continue;
        }
        if text[open..].starts_with("{{!") {
            push_text(&mut pieces, start..open);
            start = comment_end(source, open)?;
            from = start;
            continue;
        }
        let Delimited { tag, end, trim_before, trim_after } = tag(source, open)?;
        let before = &text[start..open];
        push_text(&mut pieces, start..start + if trim_before { before.trim_end().len() } else { before.len() });
        pieces.push(Piece::Tag(tag));
        start = end;
        if trim_after {
            start += text[end..].len() - text[end..].trim_start().len();
        }
        from = start;
    }
    push_text(&mut pieces, start..text.len());
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, span: Range<usize>) {
    if !span.is_empty() {
        pieces.push(Piece::Text(span));
    }
}

fn comment_end(source: &SourceText, open: usize) -> Result<usize> {
    let rest = &source.text[open..];
    let close = if rest.starts_with("{{!--") { "--}}" } else { "}}" };
    match rest.find(close) {
        Some(found) => Ok(open + found + close.len()),
        None => Err(Error::input("this comment is not closed")
            .at(source, open..open + 3, Some("opened here"))
            .hint(format!("add {close}"))),
    }
}

struct Delimited {
    tag: Tag,
    end: usize,
    trim_before: bool,
    trim_after: bool,
}

fn tag(source: &SourceText, open: usize) -> Result<Delimited> {
    let text = &*source.text;
    let mut inner = open + 2;
    let trim_before = text[inner..].starts_with('~');
    inner += usize::from(trim_before);
    refuse(source, open, inner)?;

    let mut end = close(source, open, inner)?;
    let span = open..end + 2;
    let trim_after = text[inner..end].ends_with('~');
    end -= usize::from(trim_after);

    inner += text[inner..end].len() - text[inner..end].trim_start().len();
    let body = &text[inner..end];
    let after_else =
        body.strip_prefix("else").filter(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
    let (kind, skip) = match body.as_bytes().first() {
        Some(b'#') => (TagKind::Open, 1),
        Some(b'/') => (TagKind::End, 1),
        _ if body.trim() == "^" => (TagKind::Else, 1),
        _ if after_else.is_some() => (TagKind::Else, "else".len()),
        _ => (TagKind::Value, 0),
    };
    inner += skip;
    inner += text[inner..end].len() - text[inner..end].trim_start().len();
    let inner = inner..inner.max(inner + text[inner..end].trim_end().len());
    Ok(Delimited { end: span.end, tag: Tag { kind, span, inner }, trim_before, trim_after })
}

/// Byte offset of the `}}` that ends the tag; quoted braces do not.
fn close(source: &SourceText, open: usize, inner: usize) -> Result<usize> {
    let bytes = source.text.as_bytes();
    let mut quote = None;
    let mut at = inner;
    while at < bytes.len() {
        match (bytes[at], quote) {
            (byte, Some(opened)) if byte == opened => quote = None,
            (_, Some(_)) => {}
            (byte @ (b'"' | b'\''), None) => quote = Some(byte),
            (b'}', None) if bytes.get(at + 1) == Some(&b'}') => return Ok(at),
            (b'\n', None) if bytes[at..].starts_with(b"\n\n") => break,
            _ => {}
        }
        at += 1;
    }
    Err(Error::input("this tag is not closed")
        .at(source, open..open + 2, Some("opened here"))
        .hint("add }}; for two braces as text write \\{{"))
}

/// What Handlebars has and a document must not: unescaped values, and text from elsewhere.
fn refuse(source: &SourceText, open: usize, inner: usize) -> Result<()> {
    let rest = &source.text[inner..];
    let at = |length: usize| open..inner + length;
    if rest.starts_with("{{") {
        return Err(Error::input("raw blocks are not part of a document's template")
            .at(source, at(2), None)
            .hint("for two braces as text write \\{{"));
    }
    if rest.starts_with('{') || rest.starts_with('&') {
        let form = if rest.starts_with('&') { "{{&v}}" } else { "{{{v}}}" };
        return Err(Error::input(format!("{form} would insert a value without escaping it"))
            .at(source, at(1), Some("not escaped"))
            .hint("write {{v}} within a string, or {{json v}} for a whole value")
            .hint("a brace of JSON before a tag needs a space between: { {{json v}} }"));
    }
    let what = match rest.as_bytes() {
        [b'>', ..] | [b'#', b'>', ..] => "partials are",
        [b'*', ..] | [b'#', b'*', ..] => "decorators are",
        [b'^', next, ..] if *next != b'}' && *next != b'~' => {
            return Err(Error::input("inverse blocks ({{^v}}) are not part of a document's template")
                .at(source, at(1), None)
                .hint("write {{#unless v}} … {{/unless}}"));
        }
        _ => return Ok(()),
    };
    Err(Error::input(format!("{what} not part of a document's template"))
        .at(source, at(1), None)
        .hint("a document is one file: insert values with {{v}} or {{json v}}"))
}
