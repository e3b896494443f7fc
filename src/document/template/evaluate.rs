//! Templates filled in: every name must exist, every value must be what it is used as.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

use super::syntax::{Base, Block, BlockHelper, Expression, ExpressionKind, Node, Path};
use super::{Segment, helpers, suggest};
use crate::error::{Error, Result, SourceText};

/// Bytes of a rendered text. ECS accepts 64 KiB of task definition.
pub const MAX_OUTPUT: usize = 4 << 20;
/// Nodes visited, so that loops within loops end even when they write nothing.
const MAX_STEPS: usize = 1_000_000;

type Found<'a> = Cow<'a, Value>;

pub(super) struct Evaluator<'a> {
    source: &'a SourceText,
    root: &'a Value,
    scopes: Vec<Scope<'a>>,
    steps: usize,
    /// The rendered text so far stands within a JSON string.
    in_string: bool,
    escaped: bool,
    pub output: String,
    pub segments: Vec<Segment>,
}

struct Scope<'a> {
    this: Found<'a>,
    parameters: Vec<(&'a str, Found<'a>)>,
    locals: Vec<(&'static str, Value)>,
}

impl<'a> Evaluator<'a> {
    pub fn new(source: &'a SourceText, root: &'a Value) -> Self {
        let scope = Scope { this: Cow::Borrowed(root), parameters: Vec::new(), locals: Vec::new() };
        Evaluator {
            source,
            root,
            scopes: vec![scope],
            steps: 0,
            in_string: false,
            escaped: false,
            output: String::new(),
            segments: Vec::new(),
        }
    }

    pub fn nodes(&mut self, nodes: &'a [Node]) -> Result<()> {
        for node in nodes {
            self.steps += 1;
            match node {
                Node::Text(span) => self.text(span)?,
                Node::Value { expression, tag } => self.value(expression, tag)?,
                Node::Block(block) => self.block(block)?,
            }
        }
        Ok(())
    }

    fn text(&mut self, span: &Range<usize>) -> Result<()> {
        let text = &self.source.text[span.clone()];
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ => {}
            }
        }
        self.write(text, span, true)
    }

    fn write(&mut self, text: &str, span: &Range<usize>, copied: bool) -> Result<()> {
        if self.output.len() + text.len() > MAX_OUTPUT || self.steps > MAX_STEPS {
            return Err(Error::input(format!("the template renders more than {} MiB", MAX_OUTPUT >> 20))
                .at(self.source, span.clone(), Some("stopped here"))
                .hint("look for an {{#each}} within another"));
        }
        let start = self.output.len();
        self.output.push_str(text);
        let quoted = self.in_string;
        self.segments.push(Segment { output: start..self.output.len(), template: span.clone(), copied, quoted });
        Ok(())
    }

    fn value(&mut self, expression: &'a Expression, tag: &Range<usize>) -> Result<()> {
        if let ExpressionKind::Call { helper, arguments } = &expression.kind
            && helper == "json"
            && let [argument] = arguments.as_slice()
        {
            let value = self.evaluate(argument)?;
            if self.in_string {
                return Err(Error::input("{{json …}} brings its own quotes, and stands within a string")
                    .at(self.source, tag.clone(), None)
                    .hint("remove the quotes around it, or write {{…}} without json"));
            }
            return self.write(&value.to_string(), tag, false);
        }
        let name = &self.source.text[expression.span.clone()];
        let refuse = |what: &str| {
            Error::input(format!("{name:?} is {what}, which {{{{…}}}} cannot write into a text")).at(
                self.source,
                expression.span.clone(),
                None,
            )
        };
        let text = match &*self.evaluate(expression)? {
            Value::String(text) => escape(text),
            Value::Null => {
                return Err(refuse("null").hint(format!("give it a value, or write {{{{json {name}}}}} for a null")));
            }
            value @ (Value::Array(_) | Value::Object(_)) => {
                let what = if value.is_array() { "a list" } else { "an object" };
                return Err(refuse(what).hint(format!("write {{{{json {name}}}}} without quotes around it")));
            }
            scalar => scalar.to_string(),
        };
        self.write(&text, tag, false)
    }

    fn block(&mut self, block: &'a Block) -> Result<()> {
        let subject = self.evaluate(&block.subject)?;
        let chosen = helpers::truthy(&subject) != (block.helper == BlockHelper::Unless);
        match block.helper {
            _ if !chosen => self.nodes(&block.otherwise),
            BlockHelper::If | BlockHelper::Unless => self.nodes(&block.body),
            BlockHelper::With => {
                let parameters = block.parameters.iter().map(|name| (name.as_str(), subject.clone())).take(1).collect();
                self.within(Scope { this: subject, parameters, locals: Vec::new() }, &block.body)
            }
            BlockHelper::Each => self.each(block, subject),
        }
    }

    fn each(&mut self, block: &'a Block, subject: Found<'a>) -> Result<()> {
        let items: Vec<(Value, Found<'a>)> = match subject {
            Cow::Borrowed(Value::Array(items)) => {
                items.iter().enumerate().map(|(index, item)| (index.into(), Cow::Borrowed(item))).collect()
            }
            Cow::Owned(Value::Array(items)) => {
                items.into_iter().enumerate().map(|(index, item)| (index.into(), Cow::Owned(item))).collect()
            }
            Cow::Borrowed(Value::Object(members)) => {
                members.iter().map(|(key, item)| (key.as_str().into(), Cow::Borrowed(item))).collect()
            }
            Cow::Owned(Value::Object(members)) => {
                members.into_iter().map(|(key, item)| (key.into(), Cow::Owned(item))).collect()
            }
            _ => {
                return Err(Error::input("{{#each}} goes through a list or an object").at(
                    self.source,
                    block.subject.span.clone(),
                    Some("neither"),
                ));
            }
        };
        let last = items.len().saturating_sub(1);
        for (index, (key, item)) in items.into_iter().enumerate() {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return self.write("", &block.subject.span, false);
            }
            let values = [item.clone(), Cow::Owned(key.clone())];
            let parameters = block.parameters.iter().map(String::as_str).zip(values).collect();
            let locals = vec![
                ("index", index.into()),
                ("key", key),
                ("first", (index == 0).into()),
                ("last", (index == last).into()),
            ];
            self.within(Scope { this: item, parameters, locals }, &block.body)?;
        }
        Ok(())
    }

    fn within(&mut self, scope: Scope<'a>, nodes: &'a [Node]) -> Result<()> {
        self.scopes.push(scope);
        let result = self.nodes(nodes);
        self.scopes.pop();
        result
    }

    fn evaluate(&self, expression: &'a Expression) -> Result<Found<'a>> {
        match &expression.kind {
            ExpressionKind::Literal(value) => Ok(Cow::Borrowed(value)),
            ExpressionKind::Path(path) => self.look_up(path, &expression.span),
            ExpressionKind::Call { helper, arguments } => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(self.evaluate(argument)?);
                }
                helpers::call(helper, &values)
                    .map(Cow::Owned)
                    .map_err(|problem| problem.into_error(self.source, &expression.span, helper))
            }
        }
    }

    fn look_up(&self, path: &'a Path, span: &Range<usize>) -> Result<Found<'a>> {
        let scope = |up: usize| {
            let index = self.scopes.len().checked_sub(1 + up);
            index.map(|index| &self.scopes[index]).ok_or_else(|| {
                Error::input("../ leads out of the template").at(
                    self.source,
                    span.clone(),
                    Some("no block around this"),
                )
            })
        };
        let (start, names) = match &path.base {
            Base::Root => (Cow::Borrowed(self.root), path.names.as_slice()),
            Base::Local { up } => {
                let local = scope(*up)?.locals.iter().find(|(name, _)| *name == path.names[0]);
                let value = local.map(|(_, value)| Cow::Owned(value.clone()));
                return value.ok_or_else(|| {
                    Error::input(format!("@{} has no value here", path.names[0]))
                        .at(self.source, span.clone(), None)
                        .hint("@index, @key, @first and @last exist within {{#each}}")
                });
            }
            Base::Scope { up, this } => {
                let parameter = (!this && *up == 0).then(|| self.parameter(path.names.first()?)).flatten();
                match parameter {
                    Some(value) => (value, &path.names[1..]),
                    None => (scope(*up)?.this.clone(), path.names.as_slice()),
                }
            }
        };
        let mut value = start;
        for (depth, name) in names.iter().enumerate() {
            let next = match &value {
                Cow::Borrowed(value) => helpers::member(value, name).map(Cow::Borrowed),
                Cow::Owned(value) => helpers::member(value, name).cloned().map(Cow::Owned),
            };
            value = next.ok_or_else(|| self.missing(&value, names, depth, span))?;
        }
        Ok(value)
    }

    fn parameter(&self, name: &str) -> Option<Found<'a>> {
        let mut parameters = self.scopes.iter().rev().flat_map(|scope| &scope.parameters);
        parameters.find(|(parameter, _)| *parameter == name).map(|(_, value)| value.clone())
    }

    fn missing(&self, container: &Value, names: &[String], depth: usize, span: &Range<usize>) -> Error {
        let written = &self.source.text[span.clone()];
        let error = Error::input(format!("the template variable {written:?} is not defined")).at(
            self.source,
            span.clone(),
            Some("not defined"),
        );
        let name = &names[depth];
        // A bare name that is one of the user's own: `LOG` for `var.LOG`.
        if depth == 0 {
            for group in ["var", "env", "git"] {
                if helpers::member(self.root, group).and_then(|group| helpers::member(group, name)).is_some() {
                    return error.hint(format!("did you mean {:?}?", format!("{group}.{name}")));
                }
            }
        }
        let prefix: String = names[..depth].iter().map(|name| format!("{name}.")).collect();
        let known: Vec<String> = match container {
            Value::Object(members) => members.keys().map(|key| format!("{prefix}{key}")).collect(),
            _ => Vec::new(),
        };
        let error = suggest(error, &format!("{prefix}{name}"), known.iter().map(String::as_str));
        match names[..depth].first().map(String::as_str) {
            Some("var") => error.hint(format!("give it with --var {name}=…, or under variables: in steady.yaml")),
            Some("env") => error.hint(format!("set the environment variable {name}")),
            Some("git") => error.hint(format!("where it may be absent, guard it: {{{{#if (has git {name:?})}}}}")),
            _ => error,
        }
    }
}

/// Text as it stands between the quotes of a JSON string.
fn escape(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
