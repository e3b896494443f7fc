//! A JSON value held against a shape.

use std::fmt;

use serde_json::{Map, Number, Value};

use super::{Model, Protocol, Service, Shape, Structure};
use crate::error::nearest;

/// One thing that does not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// JSON pointer (RFC 6901). For [`Problem::Unknown`] the member itself, for
    /// [`Problem::Missing`] the object that lacks it.
    pub pointer: String,
    pub problem: Problem,
    /// What to write instead: a member's name, or a value as JSON.
    pub suggestion: Option<String>,
}

/// `Display` is a clause without its place: `unknown member "mage"`.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// The shape has no member of this name.
    Unknown { member: String, shape: String },
    /// A value of another type than the shape's.
    Type { expected: &'static str, found: &'static str },
    /// `null`, which means "not set" in a request and never comes in a reply.
    Null,
    /// A required member is absent.
    Missing { member: String },
    /// Not one of the enum's values.
    Value { value: String, allowed: Vec<String> },
    /// Beyond the bounds; `what` is `value` or `length`.
    Range { what: &'static str, found: String, min: Option<f64>, max: Option<f64> },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unknown { member, shape } => write!(f, "unknown member {member:?} in {shape}"),
            Problem::Type { expected, found } => write!(f, "expected {expected}, found {found}"),
            Problem::Null => f.write_str("null is not a value here"),
            Problem::Missing { member } => write!(f, "{member:?} is missing"),
            Problem::Value { value, allowed } => write!(f, "{value:?} is not one of {}", allowed.join(", ")),
            Problem::Range { what, found, min: Some(min), max: Some(max) } => {
                write!(f, "{what} {found} is not between {min} and {max}")
            }
            Problem::Range { what, found, min: Some(min), max: None } => {
                write!(f, "{what} {found} is less than {min}")
            }
            Problem::Range { what, found, max, .. } => {
                write!(f, "{what} {found} is more than {}", max.unwrap_or_default())
            }
        }
    }
}

/// Everything in `value` that does not fit the shape, in document order. An unknown shape name is a
/// mistake of the caller's and fits nothing but itself: it gives one finding.
///
/// In the form protocols numbers, booleans and timestamps may be text, and members may have their
/// names on the wire.
pub fn check(service: Service, shape: &str, value: &Value) -> Vec<Finding> {
    let mut checker = Checker { model: service.model(), pointer: String::new(), findings: Vec::new() };
    checker.value(shape, value);
    checker.findings
}

struct Checker {
    model: &'static Model,
    pointer: String,
    findings: Vec<Finding>,
}

impl Checker {
    fn found(&mut self, problem: Problem, suggestion: Option<String>) {
        self.findings.push(Finding { pointer: self.pointer.clone(), problem, suggestion });
    }

    fn below(&mut self, token: &str, visit: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
        visit(self);
        self.pointer.truncate(length);
    }

    fn value(&mut self, name: &str, value: &Value) {
        let Some(shape) = self.model.shape(name) else {
            return self.found(Problem::Unknown { member: name.to_owned(), shape: "the model".to_owned() }, None);
        };
        if value.is_null() && *shape != Shape::Document {
            return self.found(Problem::Null, None);
        }
        match (shape, value) {
            (Shape::Document, _) => {}
            (Shape::Structure(structure), Value::Object(members)) => self.structure(name, structure, members),
            (Shape::List { element, min, max, .. }, Value::Array(values)) => {
                self.bounds("length", values.len() as f64, &values.len().to_string(), *min, *max);
                for (index, value) in values.iter().enumerate() {
                    self.below(&index.to_string(), |below| below.value(element, value));
                }
            }
            (Shape::Map { value: element, min, max, .. }, Value::Object(members)) => {
                self.bounds("length", members.len() as f64, &members.len().to_string(), *min, *max);
                for (key, value) in members {
                    self.below(key, |below| below.value(element, value));
                }
            }
            (Shape::Enum(allowed), Value::String(text)) => {
                if !allowed.contains(text) {
                    let suggestion = nearest(text, allowed.iter().map(String::as_str)).map(quoted);
                    self.found(Problem::Value { value: text.clone(), allowed: allowed.clone() }, suggestion);
                }
            }
            (Shape::String { min, max }, Value::String(text)) => {
                let length = text.chars().count();
                self.bounds("length", length as f64, &length.to_string(), *min, *max);
            }
            (Shape::Integer { min, max }, Value::Number(number)) => {
                self.integer(number, min.unwrap_or(i32::MIN.into()), max.unwrap_or(i32::MAX.into()));
            }
            // Numbers beyond 2^53 are not told apart from i64's own bounds; nothing in the models needs it.
            (Shape::Long { min, max }, Value::Number(number)) => {
                self.integer(number, min.unwrap_or(i64::MIN as f64), max.unwrap_or(i64::MAX as f64));
            }
            (Shape::Double { min, max }, Value::Number(number)) => {
                self.bounds("value", number.as_f64().unwrap_or_default(), &number.to_string(), *min, *max);
            }
            (Shape::Boolean, Value::Bool(_))
            | (Shape::Timestamp, Value::Number(_))
            | (Shape::Blob, Value::String(_)) => {}
            (Shape::Timestamp, Value::String(_)) if self.model.protocol != Protocol::Json => {}
            (_, Value::String(text)) if self.model.protocol != Protocol::Json && scalar(shape, text).is_some() => {
                self.value(name, &scalar(shape, text).unwrap_or_default());
            }
            _ => {
                let suggestion = meant(shape, value);
                self.found(Problem::Type { expected: expected(shape), found: found(value) }, suggestion);
            }
        }
    }

    fn structure(&mut self, name: &str, structure: &Structure, members: &Map<String, Value>) {
        for (key, value) in members {
            self.below(key, |below| match structure.member(key) {
                Some(member) => below.value(&member.shape, value),
                None => {
                    let known = structure.members.iter().map(|member| member.name.as_str());
                    let suggestion = nearest(key, known).map(str::to_owned);
                    below.found(Problem::Unknown { member: key.clone(), shape: name.to_owned() }, suggestion);
                }
            });
        }
        for required in &structure.required {
            let there = members.keys().any(|key| structure.member(key).is_some_and(|member| member.name == *required));
            if !there {
                self.found(Problem::Missing { member: required.clone() }, None);
            }
        }
    }

    fn integer(&mut self, number: &Number, min: f64, max: f64) {
        let whole = number.is_i64() || number.is_u64();
        let value = number.as_f64().unwrap_or_default();
        if !whole {
            let suggestion = (value.fract() == 0.0 && value.abs() < 9e15).then(|| format!("{value:.0}"));
            return self.found(Problem::Type { expected: "an integer", found: "a number with a fraction" }, suggestion);
        }
        self.bounds("value", value, &number.to_string(), Some(min), Some(max));
    }

    fn bounds(&mut self, what: &'static str, value: f64, found: &str, min: Option<f64>, max: Option<f64>) {
        if min.is_some_and(|min| value < min) || max.is_some_and(|max| value > max) {
            self.found(Problem::Range { what, found: found.to_owned(), min, max }, None);
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Text of a form as the scalar that the shape asks for.
fn scalar(shape: &Shape, text: &str) -> Option<Value> {
    match shape {
        Shape::Integer { .. } | Shape::Long { .. } => text.parse::<i64>().ok().map(Value::from),
        Shape::Double { .. } => text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
        Shape::Boolean => text.parse::<bool>().ok().map(Value::Bool),
        _ => None,
    }
}

fn meant(shape: &Shape, value: &Value) -> Option<String> {
    match (shape, value) {
        (_, Value::String(text)) if scalar(shape, text.trim()).is_some() => {
            scalar(shape, text.trim()).map(|scalar| scalar.to_string())
        }
        (Shape::Boolean, Value::String(text)) => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" => Some("true".to_owned()),
            "false" | "no" | "off" => Some("false".to_owned()),
            _ => None,
        },
        (Shape::Boolean, Value::Number(number)) => match number.as_i64() {
            Some(0) => Some("false".to_owned()),
            Some(1) => Some("true".to_owned()),
            _ => None,
        },
        (Shape::String { .. } | Shape::Enum(_), Value::Number(number)) => Some(quoted(&number.to_string())),
        (Shape::String { .. } | Shape::Enum(_), Value::Bool(truth)) => Some(quoted(&truth.to_string())),
        (Shape::List { .. }, Value::String(text)) if text.len() <= 60 => Some(format!("[{}]", quoted(text))),
        _ => None,
    }
}

fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Structure(_) | Shape::Map { .. } => "an object",
        Shape::List { .. } => "a list",
        Shape::Enum(_) | Shape::String { .. } | Shape::Blob => "a string",
        Shape::Integer { .. } | Shape::Long { .. } => "an integer",
        Shape::Double { .. } => "a number",
        Shape::Timestamp => "a timestamp",
        Shape::Boolean => "true or false",
        Shape::Document => "any value",
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
