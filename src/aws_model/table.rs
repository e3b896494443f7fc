//! The generated tables, read once per service.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Service;

/// How a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// awsJson1.1: members keep their names, numbers are numbers, timestamps are epoch seconds.
    Json,
    /// A form in, XML out; every leaf is text.
    Query,
    /// The same with EC2's own rules for names.
    Ec2,
}

/// One service's operations and the shapes they reach.
#[derive(Debug)]
pub struct Model {
    pub protocol: Protocol,
    /// As in `?Version=2016-11-15`.
    pub api_version: String,
    /// What stands before the dot in `X-Amz-Target`; empty for the form protocols.
    pub target_prefix: String,
    /// The botocore that the table was made from.
    pub botocore: String,
    pub operations: BTreeMap<String, Operation>,
    shapes: HashMap<String, Shape>,
}

impl Model {
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.shapes.get(name)
    }

    pub fn shapes(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.shapes.iter().map(|(name, shape)| (name.as_str(), shape))
    }
}

/// The names of an operation's shapes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "(String, String, Vec<String>)")]
pub struct Operation {
    /// `None` when the operation takes nothing.
    pub input: Option<String>,
    /// `None` when the operation answers nothing.
    pub output: Option<String>,
    pub errors: Vec<String>,
}

impl From<(String, String, Vec<String>)> for Operation {
    fn from((input, output, errors): (String, String, Vec<String>)) -> Self {
        let named = |name: String| (!name.is_empty()).then_some(name);
        Operation { input: named(input), output: named(output), errors }
    }
}

/// What a value may look like. Bounds are inclusive: lengths for lists, maps, strings and blobs,
/// values for numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Structure(Structure),
    List {
        element: String,
        /// The XML element's name where the protocol sets one.
        item: Option<String>,
        min: Option<f64>,
        max: Option<f64>,
    },
    Map {
        key: String,
        value: String,
        min: Option<f64>,
        max: Option<f64>,
    },
    Enum(Vec<String>),
    String {
        min: Option<f64>,
        max: Option<f64>,
    },
    Integer {
        min: Option<f64>,
        max: Option<f64>,
    },
    Long {
        min: Option<f64>,
        max: Option<f64>,
    },
    Double {
        min: Option<f64>,
        max: Option<f64>,
    },
    Boolean,
    Timestamp,
    Blob,
    /// Any JSON.
    Document,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Structure {
    pub members: Vec<Member>,
    pub required: Vec<String>,
    /// Code and HTTP status, when this is an error. An empty code means the shape's own name.
    pub error: Option<(String, u16)>,
}

impl Structure {
    /// The member that has this name in the model or on the wire.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members
            .iter()
            .find(|member| member.name == name)
            .or_else(|| self.members.iter().find(|member| member.is_called(name)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub shape: String,
    /// Names on the wire where they differ from `name` (form protocols only).
    pub wire: Vec<String>,
}

impl Member {
    fn is_called(&self, name: &str) -> bool {
        self.wire.iter().any(|wire| {
            // EC2 writes a request's names with a capital, a reply's without.
            let mut letters = wire.chars();
            let capital: Option<String> = letters.next().map(|first| first.to_uppercase().chain(letters).collect());
            wire == name || capital.as_deref() == Some(name)
        })
    }
}

#[derive(Deserialize)]
struct Table {
    head: Head,
    operations: BTreeMap<String, Operation>,
    shapes: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Head {
    api_version: String,
    botocore: String,
    protocol: Protocol,
    target_prefix: String,
}

/// A line of a table; which fields are there says what it is.
#[derive(Deserialize)]
struct Entry {
    members: Option<Map<String, Value>>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    wire: HashMap<String, Vec<String>>,
    error: Option<(String, u16)>,
    list: Option<String>,
    item: Option<String>,
    map: Option<(String, String)>,
    #[serde(rename = "enum")]
    values: Option<Vec<String>>,
    #[serde(rename = "type", default)]
    kind: String,
    min: Option<f64>,
    max: Option<f64>,
}

impl Entry {
    fn into_shape(mut self) -> Shape {
        let (min, max) = (self.min, self.max);
        if let Some(members) = self.members {
            let members = members
                .into_iter()
                .map(|(name, shape)| Member {
                    wire: self.wire.remove(&name).unwrap_or_default(),
                    shape: shape.as_str().unwrap_or_default().to_owned(),
                    name,
                })
                .collect();
            return Shape::Structure(Structure { members, required: self.required, error: self.error });
        }
        if let Some(element) = self.list {
            return Shape::List { element, item: self.item, min, max };
        }
        if let Some((key, value)) = self.map {
            return Shape::Map { key, value, min, max };
        }
        if let Some(values) = self.values {
            return Shape::Enum(values);
        }
        match self.kind.as_str() {
            "string" => Shape::String { min, max },
            "integer" => Shape::Integer { min, max },
            "long" => Shape::Long { min, max },
            "double" => Shape::Double { min, max },
            "boolean" => Shape::Boolean,
            "timestamp" => Shape::Timestamp,
            "blob" => Shape::Blob,
            _ => Shape::Document,
        }
    }
}

macro_rules! tables {
    ($($service:ident => $file:literal),* $(,)?) => {
        pub(super) fn model(service: Service) -> &'static Model {
            match service {
                $(Service::$service => {
                    static MODEL: LazyLock<Model> = LazyLock::new(|| read(include_str!(concat!("tables/", $file))));
                    &MODEL
                })*
            }
        }
    };
}

tables! {
    Ecs => "ecs.json",
    Ecr => "ecr.json",
    EcrPublic => "ecr-public.json",
    Elbv2 => "elbv2.json",
    ServiceDiscovery => "servicediscovery.json",
    Logs => "logs.json",
    Sts => "sts.json",
    Ec2 => "ec2.json",
    Ssm => "ssm.json",
    SecretsManager => "secretsmanager.json",
    Iam => "iam.json",
    CloudWatch => "cloudwatch.json",
}

fn read(text: &str) -> Model {
    let table: Table = serde_json::from_str(text).expect("a generated table is well formed");
    let Head { api_version, botocore, protocol, target_prefix } = table.head;
    let shapes = table.shapes.into_iter().map(|(name, entry)| (name, entry.into_shape())).collect();
    Model { protocol, api_version, target_prefix, botocore, operations: table.operations, shapes }
}
