//! What stands within a tag: names, literals, subexpressions.

use std::ops::Range;

use serde_json::{Number, Value};

use super::syntax::{Base, Expression, ExpressionKind, MAX_DEPTH, Path};
use crate::error::{Error, Result, SourceText};

pub(super) struct Words<'a> {
    source: &'a SourceText,
    at: usize,
    end: usize,
    tag: &'a Range<usize>,
    depth: usize,
}

impl<'a> Words<'a> {
    pub fn new(source: &'a SourceText, inner: Range<usize>, tag: &'a Range<usize>) -> Self {
        Words { source, at: inner.start, end: inner.end, tag, depth: 0 }
    }

    /// A value, or a helper with its arguments.
    pub fn call(&mut self) -> Result<Expression> {
        let first = self.value()?;
        let mut arguments = Vec::new();
        while !matches!(self.peek(), None | Some(')')) {
            arguments.push(self.value()?);
        }
        if arguments.is_empty() {
            return Ok(first);
        }
        match first.kind {
            ExpressionKind::Path(Path { base: Base::Scope { up: 0, this: false }, mut names }) if names.len() == 1 => {
                let helper = names.remove(0);
                Ok(Expression { span: first.span, kind: ExpressionKind::Call { helper, arguments } })
            }
            _ => Err(Error::input("only a helper takes arguments").at(self.source, first.span, None)),
        }
    }

    pub fn value(&mut self) -> Result<Expression> {
        let start = self.skip();
        let text = &self.source.text[..self.end];
        let kind = match self.peek() {
            None => {
                return Err(Error::input("a value is missing in this tag").at(self.source, self.tag.clone(), None));
            }
            Some('(') => return self.subexpression(start),
            Some(quote @ ('"' | '\'')) => {
                let Some(length) = text[start + 1..].find(quote) else {
                    return Err(self.error(start..start + 1, "this text is not closed"));
                };
                self.at = start + 1 + length + 1;
                ExpressionKind::Literal(Value::from(&text[start + 1..self.at - 1]))
            }
            Some(_) => {
                let (word, span) = self.word()?;
                match literal(&word) {
                    Some(value) => ExpressionKind::Literal(value),
                    None => ExpressionKind::Path(
                        path(&word).ok_or_else(|| self.error(span, format!("{word:?} is not a name")))?,
                    ),
                }
            }
        };
        Ok(Expression { span: start..self.at, kind })
    }

    fn subexpression(&mut self, start: usize) -> Result<Expression> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(start..start + 1, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        self.at = start + 1;
        let inner = self.call()?;
        self.skip();
        if self.peek() != Some(')') {
            return Err(self.error(start..start + 1, "this parenthesis is not closed"));
        }
        self.at += 1;
        self.depth -= 1;
        Ok(inner)
    }

    /// The next run of characters that no blank or bracket ends.
    pub fn word(&mut self) -> Result<(String, Range<usize>)> {
        let start = self.skip();
        let rest = &self.source.text[start..self.end];
        let mut bracket = false;
        let length = rest
            .find(|c: char| {
                bracket = (bracket || c == '[') && c != ']';
                !bracket && (c.is_whitespace() || matches!(c, '(' | ')' | '"' | '\'' | '|' | '=' | '{' | '}'))
            })
            .unwrap_or(rest.len());
        if length == 0 {
            let width = rest.chars().next().map_or(0, char::len_utf8);
            let span = if width == 0 { self.tag.clone() } else { start..start + width };
            return Err(self.error(span, "a name is missing here"));
        }
        self.at = start + length;
        Ok((rest[..length].to_owned(), start..self.at))
    }

    /// `as |item index|`
    pub fn block_parameters(&mut self) -> Result<Vec<String>> {
        let start = self.skip();
        let rest = &self.source.text[start..self.end];
        let Some(list) = rest.strip_prefix("as").map(str::trim_start).and_then(|rest| rest.strip_prefix('|')) else {
            return Ok(Vec::new());
        };
        let Some(names) = list.strip_suffix('|') else {
            return Err(self.error(start..self.end, "block parameters are written: as |item index|"));
        };
        self.at = self.end;
        Ok(names.split_whitespace().map(str::to_owned).collect())
    }

    pub fn end(&mut self) -> Result<()> {
        let start = self.skip();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error(start..self.end, "this is too much for the tag")),
        }
    }

    fn skip(&mut self) -> usize {
        let rest = &self.source.text[self.at..self.end];
        self.at += rest.len() - rest.trim_start().len();
        self.at
    }

    fn peek(&mut self) -> Option<char> {
        self.skip();
        self.source.text[self.at..self.end].chars().next()
    }

    fn error(&self, span: Range<usize>, message: impl Into<String>) -> Error {
        Error::input(message).at(self.source, span, None)
    }
}

fn literal(word: &str) -> Option<Value> {
    match word {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        "null" => return Some(Value::Null),
        _ => {}
    }
    if !word.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    let number = word.parse::<i64>().map(Number::from).ok();
    number.or_else(|| word.parse::<f64>().ok().and_then(Number::from_f64)).map(Value::Number)
}

/// `a.b`, `a/b`, `a.[b c]`, `../a`, `./a`, `this.a`, `@root.a`, `@index`, `@../index`
fn path(word: &str) -> Option<Path> {
    let mut rest = word;
    let local = rest.starts_with('@') && !(rest == "@root" || rest.starts_with("@root.") || rest.starts_with("@root/"));
    let root = rest.starts_with('@') && !local;
    rest = if root { rest["@root".len()..].trim_start_matches(['.', '/']) } else { rest.trim_start_matches('@') };
    let mut up = 0;
    while let Some(above) = rest.strip_prefix("../").or_else(|| (rest == "..").then_some("")) {
        up += 1;
        rest = above;
    }
    let mut this = false;
    for current in ["this", "."] {
        let after = rest.strip_prefix(current).filter(|after| after.is_empty() || after.starts_with(['.', '/']));
        if let Some(after) = after {
            this = true;
            rest = after.get(1..).unwrap_or_default();
            break;
        }
    }
    let names = names(rest)?;
    let base = match (root, local) {
        (true, _) if up > 0 || this => return None,
        (true, _) => Base::Root,
        (_, true) if names.len() == 1 && !this => Base::Local { up },
        (_, true) => return None,
        _ if names.is_empty() && up == 0 && !this => return None,
        _ => Base::Scope { up, this },
    };
    Some(Path { base, names })
}

fn names(mut rest: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let (name, after) = bracket.split_once(']')?;
            names.push(name.to_owned());
            rest = after;
        } else {
            let length = rest.find(['.', '/']).unwrap_or(rest.len());
            let name = &rest[..length];
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | ':');
            if name.is_empty() || !name.chars().all(plain) {
                return None;
            }
            names.push(name.to_owned());
            rest = &rest[length..];
        }
        if let Some(after) = rest.strip_prefix(['.', '/']) {
            if after.is_empty() {
                return None;
            }
            rest = after;
        } else if !rest.is_empty() {
            return None;
        }
    }
    Some(names)
}
