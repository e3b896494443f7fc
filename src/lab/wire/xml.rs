//! Replies of the query protocols, as each service's clients expect their XML.

use serde_json::Value;

use crate::lab::api::ApiError;

/// Whose XML it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Elbv2,
    Sts,
    Ec2,
    Iam,
    CloudWatch,
}

impl Dialect {
    fn namespace(self) -> &'static str {
        match self {
            Dialect::Elbv2 => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
            Dialect::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Dialect::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Dialect::CloudWatch => "http://monitoring.amazonaws.com/doc/2010-08-01/",
            Dialect::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
        }
    }

    fn item(self) -> &'static str {
        match self {
            Dialect::Ec2 => "item",
            Dialect::Elbv2 | Dialect::Sts | Dialect::Iam | Dialect::CloudWatch => "member",
        }
    }
}

/// A reply: arrays become `<Key><member>…` (EC2: `<key><item>…`), other keys as they are spelt.
pub fn reply(dialect: Dialect, operation: &str, reply: &Value, request_id: &str) -> String {
    let mut xml = Writer::new(dialect);
    xml.open_with(&format!("{operation}Response"), &format!(" xmlns=\"{}\"", dialect.namespace()));
    if dialect == Dialect::Ec2 {
        xml.leaf("requestId", request_id);
        xml.content(reply);
    } else {
        xml.element(&format!("{operation}Result"), reply);
        xml.open("ResponseMetadata");
        xml.leaf("RequestId", request_id);
        xml.close("ResponseMetadata");
    }
    xml.close(&format!("{operation}Response"));
    xml.text
}

/// An error; `Type` says whose fault it is, by the status.
pub fn error(dialect: Dialect, error: &ApiError, request_id: &str) -> String {
    let mut xml = Writer::new(dialect);
    if dialect == Dialect::Ec2 {
        xml.open("Response");
        xml.open("Errors");
        xml.open("Error");
        xml.leaf("Code", &error.code);
        xml.leaf("Message", &error.message);
        xml.close("Error");
        xml.close("Errors");
        xml.leaf("RequestID", request_id);
        xml.close("Response");
    } else {
        xml.open_with("ErrorResponse", &format!(" xmlns=\"{}\"", dialect.namespace()));
        xml.open("Error");
        xml.leaf("Type", if error.status < 500 { "Sender" } else { "Receiver" });
        xml.leaf("Code", &error.code);
        xml.leaf("Message", &error.message);
        xml.close("Error");
        xml.leaf("RequestId", request_id);
        xml.close("ErrorResponse");
    }
    xml.text
}

struct Writer {
    text: String,
    item: &'static str,
}

impl Writer {
    fn new(dialect: Dialect) -> Self {
        let text = match dialect {
            Dialect::Ec2 => "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(),
            Dialect::Elbv2 | Dialect::Sts | Dialect::Iam | Dialect::CloudWatch => String::new(),
        };
        Writer { text, item: dialect.item() }
    }

    fn open(&mut self, name: &str) {
        self.open_with(name, "");
    }

    fn open_with(&mut self, name: &str, attributes: &str) {
        self.text.extend(["<", name, attributes, ">"]);
    }

    fn close(&mut self, name: &str) {
        self.text.extend(["</", name, ">"]);
    }

    fn leaf(&mut self, name: &str, text: &str) {
        self.open(name);
        self.characters(text);
        self.close(name);
    }

    fn element(&mut self, name: &str, value: &Value) {
        self.open(name);
        self.content(value);
        self.close(name);
    }

    fn content(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(yes) => self.text.push_str(if *yes { "true" } else { "false" }),
            Value::Number(number) => self.text.push_str(&number.to_string()),
            Value::String(text) => self.characters(text),
            Value::Array(items) => items.iter().for_each(|item| self.element(self.item, item)),
            Value::Object(members) => {
                for (key, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                    self.element(key, member);
                }
            }
        }
    }

    fn characters(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                // A parser would turn it into a line feed.
                '\r' => self.text.push_str("&#13;"),
                // XML 1.0 has no way to write these.
                '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {
                    self.text.push('\u{fffd}');
                }
                other => self.text.push(other),
            }
        }
    }
}
