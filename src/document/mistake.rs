//! What people type that is not JSON, said in their terms, with the fix.

use std::ops::Range;

use serde_json::Number;

use crate::error::{Error, SourceText};

pub(super) fn byte_order_mark(source: &SourceText) -> Error {
    Error::input("the file starts with a byte order mark (U+FEFF)")
        .at(source, 0..'\u{feff}'.len_utf8(), Some("invisible here"))
        .hint("save the file as \"UTF-8\", not \"UTF-8 with BOM\"")
}

pub(super) fn duplicate_key(source: &SourceText, key: &str, span: Range<usize>, first: Range<usize>) -> Error {
    let (line, column) = source.line_column(first.start);
    Error::input(format!("the key {key:?} is given twice in one object"))
        .at(source, span, Some("again here"))
        .hint(format!("remove one of the two; the first is at {}:{line}:{column}", source.name))
}

pub(super) fn trailing_comma(source: &SourceText, comma: usize) -> Error {
    Error::input("a comma with nothing after it")
        .at(source, comma..comma + 1, Some("trailing comma"))
        .hint("remove this comma: JSON has none after the last member")
}

pub(super) fn not_closed(source: &SourceText, open: usize) -> Error {
    let (what, fix) = match source.text.as_bytes().get(open) {
        Some(b'{') => ("this object is not closed", "add the missing }"),
        Some(b'[') => ("this list is not closed", "add the missing ]"),
        _ if source.text[open..].lines().next().is_some_and(|line| line.contains(['“', '”', '„'])) => {
            ("this string is not closed", "it ends in a typographic quote: write a straight double quote: \"")
        }
        _ => ("this string is not closed", "add the missing \" on the same line; a line break in a string is \\n"),
    };
    Error::input(what).at(source, open..open + 1, Some("opened here")).hint(fix)
}

pub(super) fn control_character(source: &SourceText, at: usize, byte: u8) -> Error {
    let escape = if byte == b'\t' { "\\t".to_owned() } else { format!("\\u{byte:04x}") };
    Error::input(format!("a control character (U+{byte:04X}) in a string"))
        .at(source, at..at + 1, None)
        .hint(format!("write it as {escape}"))
}

pub(super) fn lone_surrogate(source: &SourceText, span: Range<usize>) -> Error {
    let written = source.text[span.clone()].to_owned();
    Error::input(format!("{written} is half of a surrogate pair and no character by itself"))
        .at(source, span, None)
        .hint("write the character itself, or both halves (\\ud83d\\ude00)")
}

pub(super) fn number(source: &SourceText, span: Range<usize>) -> Error {
    let text = &source.text[span.clone()];
    let unsigned = text.trim_start_matches('-');
    let error = Error::input(format!("{text} is not a number that JSON knows")).at(source, span, None);
    if unsigned.len() > 1 && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        let plain = unsigned.trim_start_matches('0');
        let sign = if text.starts_with('-') { "-" } else { "" };
        error.hint(format!(
            "write {sign}{}, or \"{text}\" in quotes if it is text (an account id is)",
            if plain.is_empty() { "0" } else { plain }
        ))
    } else {
        error.hint(format!("write \"{text}\" in quotes if it is text"))
    }
}

pub(super) fn number_too_large(source: &SourceText, span: Range<usize>) -> Error {
    let text = source.text[span.clone()].to_owned();
    Error::input(format!("{text} does not fit a 64-bit number"))
        .at(source, span, None)
        .hint(format!("write \"{text}\" in quotes if it is text"))
}

pub(super) fn number_too_fine(source: &SourceText, span: Range<usize>, kept: &Number) -> Error {
    let text = source.text[span.clone()].to_owned();
    Error::input(format!("{text} has more digits than a 64-bit number keeps: {kept} is left of it"))
        .at(source, span, None)
        .hint(format!("write {kept}, or \"{text}\" in quotes if it is text"))
}

/// Something else than what had to come at `at`.
pub(super) fn unexpected(source: &SourceText, at: usize, wanted: &str) -> Error {
    let rest = &source.text[at..];
    let Some(found) = rest.chars().next() else {
        return Error::input(format!("the document ends where {wanted} should be"))
            .at(source, at..at, Some("ends here"))
            .hint("look for a bracket or quote that is not closed");
    };
    let word_end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
    let word = &rest[..word_end];
    let length = if word.is_empty() { found.len_utf8() } else { word.len() };
    let here = |message: String| Error::input(message).at(source, at..at + length, None);
    match found {
        '“' | '”' | '„' | '‟' | '«' | '»' | '″' => {
            here(format!("{found} is a typographic quote")).hint("write a straight double quote: \"")
        }
        '‘' | '’' | '‚' | '‛' | '\'' | '`' => {
            here(format!("{found} does not quote in JSON")).hint("write a straight double quote: \"")
        }
        '\u{feff}' => {
            here("a byte order mark (U+FEFF) within the text".to_owned()).hint("delete this invisible character")
        }
        '\u{a0}' | '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{3000}' => {
            here(format!("an invisible character (U+{:04X}) that is no blank in JSON", u32::from(found)))
                .hint("replace it with a plain space")
        }
        '#' => here("a comment, which JSON does not have".to_owned()).hint("remove the comment"),
        '/' if rest.starts_with("//") || rest.starts_with("/*") => {
            here("a comment, which JSON does not have".to_owned()).hint("remove the comment")
        }
        '{' if rest.starts_with("{{") => here(format!("a template tag where {wanted} should be"))
            .hint("name the file *.hbs if it is a template, and check the tag's own quotes"),
        ',' => here(format!("a comma where {wanted} should be")).hint("remove one comma"),
        '}' | ']' => here(format!("{found} where {wanted} should be"))
            .hint("look for a bracket that is closed twice, or closed by the other kind"),
        ':' | '"' | '{' | '[' if wanted.starts_with("a comma") => {
            here(format!("{found} where {wanted} should be")).hint("add the missing comma before this")
        }
        '+' | '.' => here(format!("{found} cannot start a number")).hint("write 5 for +5, and 0.5 for .5"),
        _ if word.is_empty() => here(format!("{found} where {wanted} should be")).hint(format!("write {wanted} here")),
        _ => match word.to_lowercase().as_str() {
            "none" | "nil" | "undefined" | "null" => here(format!("{word} is not a JSON value")).hint("write null"),
            "true" | "false" if wanted == "a value" => {
                here(format!("{word} is not a JSON value")).hint(format!("write {}", word.to_lowercase()))
            }
            "nan" | "infinity" => here(format!("{word} is not a JSON value")).hint("JSON has no such number"),
            _ if wanted == "the end of the document" => {
                here(format!("{word} after the end of the document")).hint("a file holds one document: remove the rest")
            }
            _ => here(format!("{word} where {wanted} should be")).hint(format!("write \"{word}\" in double quotes")),
        },
    }
}
