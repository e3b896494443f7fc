//! The part of Handlebars that a document may use, with the place of every name.

use std::ops::Range;

use serde_json::Value;

use super::scan::{Piece, Tag, TagKind, cut};
use super::suggest;
use super::words::Words;
use crate::error::{Error, Result, SourceText};

/// Blocks, or subexpressions, within each other.
pub const MAX_DEPTH: usize = 64;

#[derive(Debug)]
pub(super) enum Node {
    Text(Range<usize>),
    Value { expression: Expression, tag: Range<usize> },
    Block(Box<Block>),
}

#[derive(Debug)]
pub(super) struct Block {
    pub helper: BlockHelper,
    pub subject: Expression,
    /// `as |item index|`
    pub parameters: Vec<String>,
    pub body: Vec<Node>,
    pub otherwise: Vec<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockHelper {
    If,
    Unless,
    Each,
    With,
}

impl BlockHelper {
    const NAMES: [(&str, BlockHelper); 4] = [
        ("if", BlockHelper::If),
        ("unless", BlockHelper::Unless),
        ("each", BlockHelper::Each),
        ("with", BlockHelper::With),
    ];
}

#[derive(Debug)]
pub(super) struct Expression {
    pub span: Range<usize>,
    pub kind: ExpressionKind,
}

#[derive(Debug)]
pub(super) enum ExpressionKind {
    Literal(Value),
    Path(Path),
    Call { helper: String, arguments: Vec<Expression> },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub base: Base,
    pub names: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// `name`, this many `../` up; `this.name` is never a block's parameter.
    Scope { up: usize, this: bool },
    /// `@root.name`
    Root,
    /// `@index`, `@key`, `@first`, `@last`
    Local { up: usize },
}

pub(super) fn parse(source: &SourceText) -> Result<Vec<Node>> {
    let mut parser = Parser { source, pieces: cut(source)?.into_iter(), depth: 0 };
    match parser.nodes()? {
        (nodes, None) => Ok(nodes),
        (_, Some(tag)) => {
            let text = &source.text[tag.span.clone()];
            Err(Error::input(format!("no block is open that {text} could end")).at(source, tag.span, None))
        }
    }
}

struct Parser<'a> {
    source: &'a SourceText,
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
}

impl Parser<'_> {
    /// Nodes up to the end, or to the tag that ends or continues the block around them.
    fn nodes(&mut self) -> Result<(Vec<Node>, Option<Tag>)> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tag = match piece {
                Piece::Text(span) => {
                    nodes.push(Node::Text(span));
                    continue;
                }
                Piece::Tag(tag) => tag,
            };
            match tag.kind {
                TagKind::End | TagKind::Else => return Ok((nodes, Some(tag))),
                TagKind::Open => nodes.push(self.block(tag, None)?),
                TagKind::Value => {
                    let mut words = Words::new(self.source, tag.inner.clone(), &tag.span);
                    let expression = words.call()?;
                    words.end()?;
                    nodes.push(Node::Value { expression, tag: tag.span });
                }
            }
        }
        Ok((nodes, None))
    }

    /// `closed_by` is the name at the end of a chain that an `else if` is part of.
    fn block(&mut self, open: Tag, closed_by: Option<&str>) -> Result<Node> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::input(format!("blocks are nested deeper than {MAX_DEPTH} levels")).at(
                self.source,
                open.span,
                None,
            ));
        }
        let mut words = Words::new(self.source, open.inner.clone(), &open.span);
        let (name, name_span) = words.word()?;
        let Some((name, helper)) = BlockHelper::NAMES.into_iter().find(|(known, _)| *known == name) else {
            let error = Error::input(format!("there is no block {name:?}")).at(self.source, name_span, None);
            return Err(suggest(error, &name, BlockHelper::NAMES.map(|(name, _)| name)));
        };
        let subject = words.value()?;
        let parameters = words.block_parameters()?;
        words.end()?;
        let closed_by = closed_by.unwrap_or(name);

        let (body, next) = self.nodes()?;
        let mut otherwise = Vec::new();
        match next {
            Some(tag) if tag.kind == TagKind::Else && tag.inner.is_empty() => {
                let (nodes, end) = self.nodes()?;
                otherwise = nodes;
                self.end(end, closed_by, &open)?;
            }
            Some(tag) if tag.kind == TagKind::Else => otherwise.push(self.block(tag, Some(closed_by))?),
            end => self.end(end, closed_by, &open)?,
        }
        self.depth -= 1;
        Ok(Node::Block(Box::new(Block { helper, subject, parameters, body, otherwise })))
    }

    fn end(&self, tag: Option<Tag>, name: &str, open: &Tag) -> Result<()> {
        let Some(tag) = tag else {
            return Err(Error::input(format!("the block {name:?} is not closed"))
                .at(self.source, open.span.clone(), Some("opened here"))
                .hint(format!("add {{{{/{name}}}}}")));
        };
        let text = &self.source.text[tag.inner.clone()];
        if tag.kind == TagKind::Else {
            return Err(Error::input("a second {{else}} in one block").at(self.source, tag.span, None));
        }
        if text != name {
            return Err(Error::input(format!("{{{{/{text}}}}} ends the block {name:?}"))
                .at(self.source, tag.span, None)
                .hint(format!("write {{{{/{name}}}}}")));
        }
        Ok(())
    }
}
