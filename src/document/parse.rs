//! JSON (RFC 8259) to [`Value`], losing nothing that was meant, and where each thing stood.
//!
//! serde_json keeps the last of two equal keys, rounds integers beyond 64 bits and knows no places;
//! all three must be errors that point at the text.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Number, Value};

use super::mistake;
use crate::error::{Error, Result, SourceText};

/// Lists and objects within each other, as serde_json and AWS's own parsers limit them.
pub const MAX_DEPTH: usize = 128;

/// A parsed text: its value, and the place of every value and key by JSON pointer.
pub struct Document {
    pub source: SourceText,
    pub value: Value,
    spans: HashMap<String, Spans>,
}

struct Spans {
    key: Option<Range<usize>>,
    value: Range<usize>,
}

impl Document {
    /// Bytes of the value at a JSON pointer.
    pub fn span_of(&self, pointer: &str) -> Option<Range<usize>> {
        self.spans.get(pointer).map(|spans| spans.value.clone())
    }

    /// Bytes of the key, with its quotes, of the object's member at a JSON pointer.
    pub fn key_span_of(&self, pointer: &str) -> Option<Range<usize>> {
        self.spans.get(pointer).and_then(|spans| spans.key.clone())
    }

    /// An error at the value of a pointer, or of the nearest value around it.
    pub(super) fn error_at(&self, pointer: &str, message: impl Into<String>, label: Option<&str>) -> Error {
        Error::input(message).at(&self.source, self.nearest_span(pointer), label)
    }

    /// An error at the key of a pointer.
    pub(super) fn error_at_key(&self, pointer: &str, message: impl Into<String>, label: Option<&str>) -> Error {
        let span = self.key_span_of(pointer).unwrap_or_else(|| self.nearest_span(pointer));
        Error::input(message).at(&self.source, span, label)
    }

    fn nearest_span(&self, pointer: &str) -> Range<usize> {
        let mut pointer = pointer;
        loop {
            if let Some(spans) = self.spans.get(pointer) {
                // A whole object under a caret hides the rest of the message: its first character will do.
                let long = self.source.text[spans.value.clone()].contains('\n');
                return if long { spans.value.start..spans.value.start + 1 } else { spans.value.clone() };
            }
            match pointer.rfind('/') {
                Some(parent) => pointer = &pointer[..parent],
                None => return 0..0,
            }
        }
    }
}

impl std::fmt::Debug for Document {
    // The value may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document").field("source", &self.source).field("spans", &self.spans.len()).finish()
    }
}

/// Parses a whole text. Duplicate keys are all reported together with the first syntax error.
pub fn parse(source: &SourceText) -> Result<Document> {
    let mut parser = Parser {
        source,
        text: &source.text,
        at: 0,
        depth: 0,
        path: String::new(),
        spans: HashMap::new(),
        findings: Vec::new(),
    };
    if parser.text.starts_with('\u{feff}') {
        parser.findings.push(mistake::byte_order_mark(source));
        parser.at = '\u{feff}'.len_utf8();
    }
    let parsed = parser.document();
    let Parser { spans, mut findings, .. } = parser;
    match parsed {
        Ok(value) if findings.is_empty() => Ok(Document { source: source.clone(), value, spans }),
        Ok(_) => Err(Error::all(findings).expect("there are findings")),
        Err(error) => {
            findings.push(error);
            Err(Error::all(findings).expect("there are findings"))
        }
    }
}

struct Parser<'a> {
    source: &'a SourceText,
    text: &'a str,
    at: usize,
    depth: usize,
    path: String,
    spans: HashMap<String, Spans>,
    findings: Vec<Error>,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<Value> {
        self.blank();
        if self.peek().is_none() {
            return Err(self.error(self.at..self.at, "the document is empty"));
        }
        let value = self.value(None)?;
        self.blank();
        if self.peek().is_some() {
            return Err(self.unexpected("the end of the document"));
        }
        Ok(value)
    }

    fn value(&mut self, key: Option<Range<usize>>) -> Result<Value> {
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            _ => self.literal()?,
        };
        self.spans.insert(self.path.clone(), Spans { key, value: start..self.at });
        Ok(value)
    }

    fn nested(&mut self, parse: fn(&mut Self) -> Result<Value>) -> Result<Value> {
        if self.depth == MAX_DEPTH {
            return Err(self
                .error(self.at..self.at + 1, format!("nested deeper than {MAX_DEPTH} levels"))
                .hint("no ECS document is nested this deep: look for a bracket that is not closed"));
        }
        self.depth += 1;
        let value = parse(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value> {
        let open = self.at;
        self.at += 1;
        let mut members = Map::new();
        self.blank();
        if self.eat(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let start = self.at;
            let key = self.string()?;
            let span = start..self.at;
            self.blank();
            if !self.eat(b':') {
                return Err(self.unexpected("a colon after the key"));
            }
            self.blank();
            let length = self.path.len();
            self.path.push('/');
            self.path.push_str(&escape(&key));
            if let Some(first) = self.spans.get(&self.path).and_then(|spans| spans.key.clone()) {
                self.findings.push(mistake::duplicate_key(self.source, &key, span.clone(), first));
            }
            let value = self.value(Some(span))?;
            self.path.truncate(length);
            members.insert(key, value);
            if self.separator(b'}', open)? {
                return Ok(Value::Object(members));
            }
        }
    }

    fn list(&mut self) -> Result<Value> {
        let open = self.at;
        self.at += 1;
        let mut values = Vec::new();
        self.blank();
        if self.eat(b']') {
            return Ok(Value::Array(values));
        }
        loop {
            let length = self.path.len();
            self.path.push('/');
            self.path.push_str(&values.len().to_string());
            let value = self.value(None)?;
            self.path.truncate(length);
            values.push(value);
            if self.separator(b']', open)? {
                return Ok(Value::Array(values));
            }
        }
    }

    /// After a member: true when `close` ended it, false when a comma leads to the next.
    fn separator(&mut self, close: u8, open: usize) -> Result<bool> {
        self.blank();
        if self.eat(close) {
            return Ok(true);
        }
        let comma = self.at;
        if !self.eat(b',') {
            return Err(if self.peek().is_none() {
                mistake::not_closed(self.source, open)
            } else {
                self.unexpected(if close == b'}' { "a comma or }" } else { "a comma or ]" })
            });
        }
        self.blank();
        if let Some(b'}' | b']') = self.peek() {
            return Err(mistake::trailing_comma(self.source, comma));
        }
        Ok(false)
    }

    fn string(&mut self) -> Result<String> {
        let open = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ').unwrap_or(rest.len());
            text.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape_sequence()?),
                Some(b'\n' | b'\r') | None => return Err(mistake::not_closed(self.source, open)),
                Some(control) => return Err(mistake::control_character(self.source, self.at, control)),
            }
        }
    }

    fn escape_sequence(&mut self) -> Result<char> {
        let start = self.at;
        self.at += 1;
        let Some(letter) = self.peek() else { return Err(mistake::not_closed(self.source, start)) };
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex(start)?;
                let code = match unit {
                    0xd800..=0xdbff if self.text[self.at..].starts_with("\\u") => {
                        self.at += 2;
                        let low = self.hex(start)?;
                        if !(0xdc00..=0xdfff).contains(&low) {
                            return Err(mistake::lone_surrogate(self.source, start..self.at));
                        }
                        0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => unit,
                };
                char::from_u32(code).ok_or_else(|| mistake::lone_surrogate(self.source, start..self.at))?
            }
            _ => {
                let end = start + 1 + self.text[start + 1..].chars().next().map_or(0, char::len_utf8);
                return Err(self
                    .error(start..end, format!("{} is not an escape that JSON knows", &self.text[start..end]))
                    .hint("write a backslash as \\\\"));
            }
        })
    }

    fn hex(&mut self, start: usize) -> Result<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(unit) = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) else {
            return Err(self.error(start..self.at, "\\u needs four hexadecimal digits"));
        };
        self.at += 4;
        Ok(unit)
    }

    fn number(&mut self) -> Result<Number> {
        let start = self.at;
        let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
        let rest = &self.text[start..];
        self.at += rest.find(|c| !token(c)).unwrap_or(rest.len());
        let text = &self.text[start..self.at];
        let malformed = || mistake::number(self.source, start..start + text.len());

        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let whole = digits(unsigned);
        if whole == 0 || (whole > 1 && unsigned.starts_with('0')) {
            return Err(malformed());
        }
        let mut rest = &unsigned[whole..];
        let integer = rest.is_empty();
        if let Some(fraction) = rest.strip_prefix('.') {
            let length = digits(fraction);
            if length == 0 {
                return Err(malformed());
            }
            rest = &fraction[length..];
        }
        if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            let length = digits(exponent);
            if length == 0 {
                return Err(malformed());
            }
            rest = &exponent[length..];
        }
        if !rest.is_empty() {
            return Err(malformed());
        }

        let too_large = || mistake::number_too_large(self.source, start..start + text.len());
        if integer && text != "-0" {
            let number = text.parse::<u64>().map(Number::from).or_else(|_| text.parse::<i64>().map(Number::from));
            return number.map_err(|_| too_large());
        }
        let number = text.parse::<f64>().ok().and_then(Number::from_f64).ok_or_else(too_large)?;
        if decimal(&number.to_string()) != decimal(text) {
            return Err(mistake::number_too_fine(self.source, start..start + text.len(), &number));
        }
        Ok(number)
    }

    fn literal(&mut self) -> Result<Value> {
        for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)] {
            if let Some(rest) = self.text[self.at..].strip_prefix(word)
                && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.unexpected("a value"))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn error(&self, span: Range<usize>, message: impl Into<String>) -> Error {
        Error::input(message).at(self.source, span, None)
    }

    fn unexpected(&self, wanted: &str) -> Error {
        mistake::unexpected(self.source, self.at, wanted)
    }
}

/// What a well-formed number says, however it is spelt: its digits, and the power of ten of the first.
fn decimal(text: &str) -> Option<(String, i64)> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let zeros = digits.bytes().take_while(|digit| *digit == b'0').count();
    let digits = digits[zeros..].trim_end_matches('0');
    if digits.is_empty() {
        return Some((String::new(), 0));
    }
    // an exponent beyond this is far out of a float's range
    let exponent: i32 = exponent.parse().ok()?;
    Some((digits.to_owned(), whole.len() as i64 - zeros as i64 + i64::from(exponent)))
}

/// A key as a token of a JSON pointer.
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
