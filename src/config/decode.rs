//! Reading typed values from a [`Node`], collecting every finding with its place instead of stopping at the first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::node::{Entry, Node, Value};
use crate::error::{Error, Result, SourceText, nearest};

pub struct Reader {
    pub source: SourceText,
    /// Absolute folder that paths in the source are relative to.
    pub folder: PathBuf,
    findings: RefCell<Vec<Error>>,
}

impl Reader {
    pub fn new(source: SourceText, folder: PathBuf) -> Self {
        Reader { source, folder, findings: RefCell::default() }
    }

    /// Notes a finding at `span`. The same finding at the same place is noted once, because a service
    /// is read again for every environment.
    pub fn note(&self, span: &Range<usize>, label: Option<&str>, error: Error) {
        let mut findings = self.findings.borrow_mut();
        let known = findings.iter().any(|finding| {
            finding.place().is_some_and(|place| place.span == *span) && finding.to_string() == error.to_string()
        });
        if !known {
            findings.push(error.at(&self.source, span.clone(), label));
        }
    }

    /// Notes a finding that has a place of its own, in another file; once, as [`Reader::note`] does.
    pub fn found(&self, error: Error) {
        let mut findings = self.findings.borrow_mut();
        if !findings.iter().any(|known| known.place() == error.place() && known.to_string() == error.to_string()) {
            findings.push(error);
        }
    }

    pub fn is_clean(&self) -> bool {
        self.findings.borrow().is_empty()
    }

    pub fn wrong_type(&self, name: &str, node: &Node, expected: &str) {
        let found = node.value.kind();
        let name = if name.is_empty() { "the project file".to_owned() } else { format!("`{name}`") };
        let error = Error::input(format!("{name} has to be {expected}, not {found}"));
        let error = match &node.value {
            Value::Number(_) | Value::Bool(_) if expected == "a string" => {
                error.hint(format!("put it in quotes: \"{}\"", self.written(node)))
            }
            Value::Text(text) if expected == "true or false" && matches!(&*text.to_lowercase(), "yes" | "on" | "y") => {
                error.hint("YAML 1.2 spells it `true`")
            }
            Value::Text(text) if expected == "true or false" && matches!(&*text.to_lowercase(), "no" | "off" | "n") => {
                error.hint("YAML 1.2 spells it `false`")
            }
            Value::Text(text) if expected.starts_with("a number") && text.parse::<i64>().is_ok() => {
                error.hint(format!("leave the quotes out: {text}"))
            }
            Value::Text(text) if expected.starts_with("a list") => error.hint(format!("write [{text}]")),
            _ => error,
        };
        self.note(&node.span, None, error);
    }

    /// All findings in the order of the file, as one error.
    pub fn finish(&self) -> Result<()> {
        let mut findings = self.findings.take();
        findings.sort_by_key(|finding| finding.place().map(|place| place.span.start));
        Error::all(findings).map_or(Ok(()), Err)
    }

    /// The members of a map; `span` is what stands for the whole of it, usually its key.
    pub fn fields<'a>(&'a self, name: &str, node: &'a Node, span: &'a Range<usize>) -> Option<Fields<'a>> {
        match &node.value {
            Value::Map(entries) => Some(Fields {
                reader: self,
                name: name.to_owned(),
                span,
                entries,
                known: Vec::new(),
                missing: Vec::new(),
            }),
            _ => {
                self.wrong_type(name, node, "a map");
                None
            }
        }
    }

    /// A scalar as it is written in the file, so that `0755` and `1.10` stay what they look like.
    pub fn scalar(&self, name: &str, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(self.written(node).to_owned()),
            _ => {
                self.wrong_type(name, node, "a string");
                None
            }
        }
    }

    fn written(&self, node: &Node) -> &str {
        self.source.text.get(node.span.clone()).unwrap_or_default()
    }

    pub fn text(&self, name: &str, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => {
                self.wrong_type(name, node, "a string");
                None
            }
        }
    }
}

/// The members of one map. A key becomes known by being asked for; [`Fields::finish`] reports the others.
pub struct Fields<'a> {
    pub reader: &'a Reader,
    pub span: &'a Range<usize>,
    name: String,
    entries: &'a [Entry],
    known: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
}

impl<'a> Fields<'a> {
    /// The entry of a key; an explicit null is the same as no entry.
    pub fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.iter().find(|entry| entry.key == key && entry.node.value != Value::Null)
    }

    pub fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let node = self.node(key)?;
        self.reader.text(&self.path(key), node)
    }

    /// A string or a number or a boolean, as written.
    pub fn scalar(&mut self, key: &'static str) -> Option<String> {
        let node = self.node(key)?;
        self.reader.scalar(&self.path(key), node)
    }

    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let node = self.node(key)?;
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.reader.wrong_type(&self.path(key), node, "true or false");
                None
            }
        }
    }

    pub fn integer(&mut self, key: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let node = self.node(key)?;
        let (name, expected) = (self.path(key), format!("a number between {} and {}", range.start(), range.end()));
        match &node.value {
            Value::Number(number) => match number.as_i64().filter(|number| range.contains(number)) {
                Some(number) => return Some(number),
                None => {
                    let error = Error::input(format!("`{name}` has to be {expected}, not {number}"));
                    self.reader.note(&node.span, None, error);
                }
            },
            _ => self.reader.wrong_type(&name, node, &expected),
        }
        None
    }

    /// A number between 0 and 1.
    pub fn fraction(&mut self, key: &'static str) -> Option<f64> {
        let node = self.node(key)?;
        let name = self.path(key);
        match &node.value {
            Value::Number(number) => match number.as_f64().filter(|number| (0.0..=1.0).contains(number)) {
                Some(number) => return Some(number),
                None => {
                    let error = Error::input(format!("`{name}` has to be a number between 0 and 1, not {number}"));
                    self.reader.note(&node.span, None, error);
                }
            },
            _ => self.reader.wrong_type(&name, node, "a number between 0 and 1"),
        }
        None
    }

    pub fn port(&mut self, key: &'static str) -> Option<u16> {
        self.integer(key, 1..=65535).map(|port| port as u16)
    }

    /// `15m`, `90s`, `1h 30m`; a bare number is seconds.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let node = self.node(key)?;
        let text = self.reader.scalar(&self.path(key), node)?;
        match parse_duration(&text) {
            Ok(duration) => Some(duration),
            Err(why) => {
                let error = Error::input(format!("`{}` is not a duration: {why}", self.path(key)))
                    .hint("write it as 90s, 15m or 1h");
                self.reader.note(&node.span, None, error);
                None
            }
        }
    }

    /// One of a few words; what is not among them is reported with the nearest.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let node = self.node(key)?;
        let name = self.path(key);
        let text = self.reader.scalar(&name, node)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let error =
            Error::input(format!("`{name}` cannot be `{text}`")).hint(match nearest(&text, all.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("it is one of {}", all.join(", ")),
            });
        self.reader.note(&node.span, None, error);
        None
    }

    pub fn list(&mut self, key: &'static str) -> Option<&'a [Node]> {
        let node = self.node(key)?;
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                self.reader.wrong_type(&self.path(key), node, "a list");
                None
            }
        }
    }

    pub fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let name = self.path(key);
        let items = self.list(key)?;
        Some(items.iter().filter_map(|item| self.reader.scalar(&name, item)).collect())
    }

    pub fn map(&mut self, key: &'static str) -> Option<&'a [Entry]> {
        let node = self.node(key)?;
        match &node.value {
            Value::Map(entries) => Some(entries),
            _ => {
                self.reader.wrong_type(&self.path(key), node, "a map");
                None
            }
        }
    }

    /// A map of strings; numbers and booleans count as written.
    pub fn text_map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let name = self.path(key);
        let entries = self.map(key).unwrap_or_default();
        entries
            .iter()
            .filter_map(|entry| {
                let value = self.reader.scalar(&format!("{name}.{}", entry.key), &entry.node)?;
                Some((entry.key.clone(), value))
            })
            .collect()
    }

    pub fn fields(&mut self, key: &'static str) -> Option<Fields<'a>> {
        let entry = self.entry(key)?;
        self.reader.fields(&self.path(key), &entry.node, &entry.span)
    }

    /// Says that `key` has to be there.
    pub fn missing(&mut self, key: &'static str, hint: &str) {
        self.missing.push((key, hint.to_owned()));
    }

    /// Reports every key that was not asked for, and those that are missing unless one of them was meant.
    pub fn finish(mut self) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let place = if self.name.is_empty() { String::new() } else { format!(" in `{}`", self.name) };
            let error = Error::input(format!("unknown key `{}`{place}", entry.key));
            let error = match nearest(&entry.key, self.known.iter().copied()) {
                Some(meant) => {
                    self.missing.retain(|(key, _)| *key != meant);
                    error.hint(format!("did you mean `{meant}`?"))
                }
                None => error.hint(format!("known keys are {}", self.known.join(", "))),
            };
            self.reader.note(&entry.span, Some("not known here"), error);
        }
        for (key, hint) in &self.missing {
            self.reader.note(
                self.span,
                None,
                Error::input(format!("`{}` is missing", self.path(key))).hint(hint.as_str()),
            );
        }
    }
}

/// `15m`, `90s`, `1h 30m`; a bare number is seconds. At most 7 days.
pub fn parse_duration(text: &str) -> std::result::Result<Duration, String> {
    let duration = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| format!("`{text}` is no number with a unit, such as 90s, 15m or 1h 30m"))?,
    };
    if duration > Duration::from_secs(7 * 24 * 3600) {
        return Err("it is longer than 7 days".to_owned());
    }
    Ok(duration)
}
