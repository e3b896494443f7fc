//! `var.*` of templates, and what a tag's template may refer to.

use std::collections::BTreeMap;
use std::ops::Range;

use super::decode::Reader;
use super::node::{Entry, Node, Value};
use crate::document::template;
use crate::error::{Error, Result, SourceText, nearest};

/// `name=text`, or `name:=json` for a number, a list or a map.
pub fn parse_argument(argument: &str) -> Result<(String, serde_json::Value)> {
    let usage = "write --var NAME=TEXT, or --var NAME:=JSON for a number, a list or a map";
    let Some((name, text)) = argument.split_once('=') else {
        return Err(Error::input(format!("--var {argument}: there is no `=`")).hint(usage));
    };
    let (name, value) = match name.strip_suffix(':') {
        Some(name) => {
            let value = serde_json::from_str(text).map_err(|error| {
                Error::input(format!("--var {name}: its value is not JSON")).hint(usage).cause(error)
            })?;
            (name, value)
        }
        None => (name, text.into()),
    };
    if !is_name(name) {
        return Err(Error::input(format!("--var {name}: a name has letters, digits, `_` and `-`")).hint(usage));
    }
    Ok((name.to_owned(), value))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// Later maps go over earlier ones; `given` goes over all. A variable declared with no value
/// and given none is noted where it is declared, if they are `all_needed`.
pub fn collect(
    reader: &Reader,
    declared: &[&[Entry]],
    given: &[(String, serde_json::Value)],
    all_needed: bool,
) -> BTreeMap<String, serde_json::Value> {
    let mut variables = BTreeMap::new();
    let mut open: BTreeMap<&str, &Range<usize>> = BTreeMap::new();
    for entry in declared.iter().copied().flatten() {
        if !is_name(&entry.key) {
            let error = Error::input(format!("`{}` cannot be a variable's name", entry.key))
                .hint("a name has letters, digits, `_` and `-`");
            reader.note(&entry.span, None, error);
        }
        if entry.node.value == Value::Null {
            variables.remove(&entry.key);
            open.insert(&entry.key, &entry.span);
        } else {
            open.remove(entry.key.as_str());
            variables.insert(entry.key.clone(), entry.node.to_json());
        }
    }
    for (name, value) in given {
        open.remove(name.as_str());
        variables.insert(name.clone(), value.clone());
    }
    for (name, span) in open.into_iter().filter(|_| all_needed) {
        let error = Error::input(format!("variable `{name}` has no value"))
            .hint(format!("give it one with --var {name}=…, here, or in an environment"));
        reader.note(span, None, error);
    }
    variables
}

/// What templates in the project file can refer to.
pub struct Scope<'a> {
    pub variables: &'a BTreeMap<String, serde_json::Value>,
    pub env: &'a BTreeMap<String, String>,
    pub git: &'a BTreeMap<String, String>,
    /// Without one the release is named by the digest, which is known only after the push.
    pub release: Option<&'a str>,
}

const ROOTS: [&str; 9] = ["region", "account_id", "cluster", "service", "environment", "release", "var", "env", "git"];

/// Notes plain references such as `{{git.sha}}` in a tag that lead nowhere, at their place in the
/// file, and tags that are not well formed. Anything beyond that is left to the renderer.
pub fn check_tag(reader: &Reader, node: &Node, scope: &Scope<'_>) {
    if let Value::Text(text) = &node.value
        && let Err(error) = template::check_syntax(&SourceText::new("tag", text))
    {
        reader.note(&node.span, None, error.map_places(&|error, _| error));
    }
    let written = reader.source.text.get(node.span.clone()).unwrap_or_default();
    let mut from = 0;
    while let Some(open) = written[from..].find("{{").map(|at| from + at) {
        let Some(close) = written[open..].find("}}").map(|at| open + at) else { return };
        from = close + 2;
        let inner = &written[open + 2..close];
        let path = inner.trim();
        if !path.split('.').all(is_name) {
            continue;
        }
        let start = node.span.start + open + 2 + (inner.len() - inner.trim_start().len());
        if let Some(error) = dangling(path, scope) {
            reader.note(&(start..start + path.len()), None, error);
        }
    }
}

fn dangling(path: &str, scope: &Scope<'_>) -> Option<Error> {
    let (root, rest) = path.split_once('.').unwrap_or((path, ""));
    let name = rest.split('.').next().unwrap_or_default();
    let suggest = |names: Vec<&str>| nearest(name, names).map(|near| format!("did you mean `{root}.{near}`?"));
    let (found, hint) = match root {
        "var" => (
            scope.variables.contains_key(name),
            suggest(scope.variables.keys().map(String::as_str).collect())
                .unwrap_or_else(|| format!("give it with --var {name}=…, or under `variables:`")),
        ),
        "env" => (
            scope.env.contains_key(name),
            suggest(scope.env.keys().map(String::as_str).collect())
                .unwrap_or_else(|| format!("set the environment variable {name}")),
        ),
        "git" => (
            scope.git.contains_key(name),
            suggest(vec!["sha", "short_sha", "branch", "tag", "dirty"])
                .filter(|_| !["sha", "short_sha", "branch", "tag", "dirty"].contains(&name))
                .unwrap_or_else(|| match scope.git.is_empty() {
                    true => "this folder is in no git repository with a commit".to_owned(),
                    false => format!("git has no {name} here"),
                }),
        ),
        "release" => {
            (scope.release.is_some(), "give it with --var release=…; a commit of git names it, too".to_owned())
        }
        _ if ROOTS.contains(&root) => return None,
        "image" | "digest" | "tag" | "repository_uri" => {
            let error = Error::input(format!("a tag cannot refer to `{root}`, which is known only after the push"));
            return Some(error.hint("use `git.short_sha`, a variable, or a fixed tag"));
        }
        _ => (
            false,
            match nearest(root, ROOTS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a tag can refer to {}", ROOTS.join(", ")),
            },
        ),
    };
    (!found).then(|| Error::input(format!("`{path}` is not defined")).hint(hint))
}
