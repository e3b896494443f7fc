//! YAML as a tree that knows where each of its values stands.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::error::{Error, Result, SourceText};

/// No project file that a person wrote comes near these; a bomb does at once.
const MAX_BYTES: usize = 1 << 20;
const MAX_NODES: usize = 20_000;
const MAX_DEPTH: usize = 32;

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Bytes in the source; for a map or a list only where it begins.
    pub span: Range<usize>,
    pub value: Value,
}

#[derive(Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub span: Range<usize>,
    pub node: Node,
}

impl Value {
    /// What a person calls this kind of value.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

impl fmt::Debug for Value {
    // Values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::List(items) => f.debug_list().entries(items).finish(),
            Value::Map(entries) => f.debug_list().entries(entries).finish(),
            other => f.write_str(other.kind()),
        }
    }
}

impl Node {
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            _ => None,
        }
    }

    /// The same value as JSON; keys keep their order.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => value.clone().into(),
            Value::Text(value) => value.clone().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect(),
        }
    }

    /// `over` on top of this: maps are merged key by key, anything else replaces what was there.
    pub fn merged(&self, over: &Node) -> Node {
        let (Value::Map(base), Value::Map(top)) = (&self.value, &over.value) else { return over.clone() };
        let mut entries = base.clone();
        for entry in top {
            match entries.iter_mut().find(|existing| existing.key == entry.key) {
                Some(existing) => {
                    existing.node = existing.node.merged(&entry.node);
                    existing.span = entry.span.clone();
                }
                None => entries.push(entry.clone()),
            }
        }
        Node { span: self.span.clone(), value: Value::Map(entries) }
    }
}

/// Parses one YAML document. Duplicate keys, more than one document and a document that
/// unfolds beyond the budget are errors with their place.
pub fn parse(source: &SourceText) -> Result<Node> {
    if source.text.len() > MAX_BYTES {
        return Err(Error::input(format!(
            "{} is {} bytes long; a project file has at most {MAX_BYTES}",
            source.name,
            source.text.len()
        )));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 4,
            max_depth: MAX_DEPTH,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: MAX_NODES,
            max_documents: 1,
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    let raw: Raw =
        serde_saphyr::from_str_with_options(&source.text, options).map_err(|error| refusal(source, &error))?;
    Ok(raw.into_node(source))
}

fn refusal(source: &SourceText, error: &serde_saphyr::Error) -> Error {
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), location } = error.without_snippet() {
        let start = source.offset(location.line() as usize, location.column() as usize);
        return Error::input(format!("the key `{key}` is there twice"))
            .at(source, start..(start + key.len()).min(source.text.len()), None)
            .hint("keep one of them");
    }
    let message = error.without_snippet().to_string();
    let location = error.location();
    // the place is shown by whoever shows the error
    let message = match message.find(" at line ").or_else(|| message.find(" line ")) {
        Some(at) if location.is_some() && message[at..].contains("column") => message[..at].to_owned(),
        _ => message,
    };
    let refused = match message.strip_prefix("budget breached: ") {
        Some(limit) if limit.starts_with("Documents") => {
            Error::input("there is more than one YAML document").hint("a project file is one: leave out the `---`")
        }
        Some(limit) => Error::input(format!("this YAML unfolds beyond what a project file can hold ({limit})")),
        None => Error::input(format!("this is not valid YAML: {message}")),
    };
    match location {
        Some(location) => {
            let start = source.offset(location.line() as usize, location.column() as usize);
            let refused = match source.text[start..].chars().next() {
                _ if message.contains("tabs") => refused.hint("YAML is indented with spaces: replace the tab"),
                Some(',') => refused.hint("remove the comma: YAML has none after a value on a line of its own"),
                Some('@' | '`' | '%') => refused.hint("put this value in double quotes"),
                _ => refused,
            };
            let end = (start..=source.text.len()).skip(1).find(|end| source.text.is_char_boundary(*end));
            refused.at(source, start..end.unwrap_or(start), None)
        }
        None => refused,
    }
}

struct Raw(Spanned<RawValue>);

enum RawValue {
    Scalar(Value),
    List(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

impl Raw {
    fn into_node(self, source: &SourceText) -> Node {
        let span = bytes(&self.0.defined, source);
        let value = match self.0.value {
            RawValue::Scalar(value) => value,
            RawValue::List(items) => Value::List(items.into_iter().map(|item| item.into_node(source)).collect()),
            RawValue::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        span: bytes(&key.defined, source),
                        key: key.value,
                        node: value.into_node(source),
                    })
                    .collect(),
            ),
        };
        Node { span, value }
    }
}

fn bytes(location: &serde_saphyr::Location, source: &SourceText) -> Range<usize> {
    let span = location.span();
    let (start, length) = match (span.byte_offset(), span.byte_len()) {
        (Some(start), Some(length)) => (start as usize, length as usize),
        _ => (source.offset(location.line() as usize, location.column() as usize), 0),
    };
    let start = start.min(source.text.len());
    let end = (start + length).min(source.text.len());
    // a block map's or list's own span is of no use to a reader: its first line is
    let text = source.text.get(start..end).unwrap_or_default();
    let line = text.split('\n').next().unwrap_or_default().trim_end();
    start..start + line.len()
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Raw)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Number(value.into())))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<RawValue, E> {
        let number = serde_json::Number::from_f64(value).ok_or_else(|| E::custom("a number has to be finite"))?;
        Ok(RawValue::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Text(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(RawValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawValue, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(RawValue::Map(map))
    }
}
