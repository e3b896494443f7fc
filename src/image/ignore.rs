//! `.dockerignore`: what stays out of the folders that are copied, by the rules that `docker build` goes by.

use std::path::{Component, Path, PathBuf};

use regex::Regex;

use crate::error::{Error, Result, SourceText};

/// Nothing that a person wrote comes near it.
const MAX_BYTES: u64 = 1 << 20;

/// The rules that a folder of images' sources has for what stays out of them.
pub const IGNORE_FILE: &str = ".dockerignore";

/// What stays out of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ignore {
    /// What `.dockerignore` says in the project's folder, or in the copied one when that is not in the project.
    #[default]
    Usual,
    /// What this file says instead.
    File(PathBuf),
    Nothing,
}

/// The rules of one file. The last that matches a path, or a folder above it, decides.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    /// It began with `!`: what it matches is taken after all.
    exception: bool,
    pattern: Pattern,
    /// The pattern up to its first wildcard's component, for what may lie below a folder; `None` is anywhere.
    begins: Option<String>,
}

#[derive(Debug, Clone)]
enum Pattern {
    Exact(String),
    Prefix(String),
    /// What comes after a leading `**`.
    Suffix(String),
    Expression(Regex),
}

/// What the rules say of a path; its folder's is needed for what lies in it.
#[derive(Debug, Clone)]
struct Verdict {
    excluded: bool,
    /// Of each rule, whether it matched the path or a folder above.
    matched: Vec<bool>,
}

impl Rules {
    /// Reads a file; one that does not exist is no rules.
    ///
    /// # Errors
    /// `Input` for a pattern that is malformed, with its place.
    pub fn read(file: &Path) -> Result<Option<Rules>> {
        let cannot = |why: &str| Error::input(format!("cannot read `{}`: {why}", file.display()));
        let bytes = match std::fs::metadata(file) {
            Ok(found) if !found.is_file() => return Err(cannot("it is not a file")),
            Ok(found) if found.len() > MAX_BYTES => return Err(cannot("it is larger than 1 MiB")),
            Ok(_) => std::fs::read(file),
            Err(error) => Err(error),
        };
        match bytes.map(String::from_utf8) {
            Ok(Ok(text)) => Rules::parse(&SourceText::new(file.display().to_string(), text)).map(Some),
            Ok(Err(error)) => Err(cannot(&format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot("it cannot be opened").cause(error)),
        }
    }

    /// The rules in a text.
    ///
    /// # Errors
    /// `Input` for patterns that are malformed, each with its place.
    pub fn parse(source: &SourceText) -> Result<Rules> {
        let (mut rules, mut findings, mut offset) = (Vec::new(), Vec::new(), 0);
        for whole in source.text.split_inclusive('\n') {
            let line = if offset == 0 { whole.trim_start_matches('\u{feff}') } else { whole };
            let begin = offset + whole.len() - line.len();
            offset += whole.len();
            // Only at the very beginning of a line: ` #a` is a pattern.
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            match rule(line.trim()) {
                Ok(rule) => rules.push(rule),
                Err(why) => {
                    let begin = begin + line.len() - line.trim_start().len();
                    let error = Error::input(format!("`{}` is not a pattern: {why}", line.trim().escape_debug()));
                    let error =
                        error.hint("a backslash before `*`, `?`, `[`, `]`, `!` or `#` makes it an ordinary letter");
                    findings.push(error.at(source, begin..begin + line.trim().len(), None));
                }
            }
        }
        Error::all(findings).map_or(Ok(Rules { rules }), Err)
    }

    /// `path` is relative to the folder that the rules are for; `folder` is the verdict on what it lies in.
    fn judge(&self, path: &str, folder: Option<&Verdict>) -> Verdict {
        let mut verdict = Verdict { excluded: false, matched: vec![false; self.rules.len()] };
        for (index, rule) in self.rules.iter().enumerate() {
            let from_above = folder.is_some_and(|folder| folder.matched[index]);
            // One that would change nothing is not asked, which counts for what lies below: docker does so.
            if from_above || (rule.exception == verdict.excluded && rule.pattern.matches(path)) {
                verdict.matched[index] = true;
                verdict.excluded = !rule.exception;
            }
        }
        verdict
    }

    fn fate(&self, path: &str, verdict: &Verdict, is_folder: bool) -> Fate {
        match verdict.excluded {
            false => Fate::Taken,
            true if is_folder && self.may_except_below(path) => Fate::LeftButForExceptions,
            true => Fate::Left,
        }
    }

    /// Whether something below an excluded folder may be taken after all.
    fn may_except_below(&self, folder: &str) -> bool {
        let below = format!("{folder}/");
        self.rules.iter().filter(|rule| rule.exception).any(|rule| match &rule.begins {
            Some(begins) => begins.starts_with(&below) || below.starts_with(begins),
            None => true,
        })
    }
}

/// What becomes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Taken,
    /// With all that is in it.
    Left,
    /// A folder in which something may be taken.
    LeftButForExceptions,
}

/// The rules for one folder, on a walk through it.
pub(super) struct Filter {
    rules: Rules,
    /// What the rules know the folder by, with a slash; empty for the one that they are for.
    prefix: String,
    /// Of the folder itself.
    pub(super) top: Fate,
    /// Of the folders on the way to where the walk is.
    folders: Vec<Option<Verdict>>,
}

impl Filter {
    pub(super) fn new(project: &Path, from: &Path, ignore: &Ignore) -> Result<Filter> {
        let (rules, names) = rules_for(project, from, ignore)?;
        let mut filter = Filter { rules, prefix: String::new(), top: Fate::Taken, folders: vec![None] };
        for name in names {
            let path = format!("{}{name}", filter.prefix);
            let verdict = filter.rules.judge(&path, filter.folders[0].as_ref());
            filter.top = filter.rules.fate(&path, &verdict, true);
            (filter.prefix, filter.folders[0]) = (path + "/", Some(verdict));
        }
        Ok(filter)
    }

    /// What becomes of the path that is `inside` the folder, so deep; its folders have to be asked for before.
    pub(super) fn fate(&mut self, inside: &Path, depth: usize, is_folder: bool) -> Fate {
        let path = format!("{}{}", self.prefix, inside.to_string_lossy());
        self.folders.truncate(depth);
        let verdict = self.rules.judge(&path, self.folders.last().and_then(Option::as_ref));
        let fate = self.rules.fate(&path, &verdict, is_folder);
        if is_folder {
            self.folders.push(Some(verdict));
        }
        fate
    }
}

/// The error that a layer of this folder will be, if its rules leave all of it out. `shown` is what a person calls it.
pub fn refusal(project: &Path, from: &Path, ignore: &Ignore, shown: &Path) -> Option<Error> {
    let filter = Filter::new(project, from, ignore).ok()?;
    (filter.top == Fate::Left && from.is_dir()).then(|| left_out(shown, ignore))
}

/// The rules for a folder, and its path by components in the folder that they are for.
fn rules_for(project: &Path, from: &Path, ignore: &Ignore) -> Result<(Rules, Vec<String>)> {
    let (project, from) = (lexical(project), lexical(from));
    let inside = from.strip_prefix(&project).ok();
    let file = match ignore {
        Ignore::Nothing => return Ok((Rules::default(), Vec::new())),
        Ignore::File(file) => project.join(file),
        Ignore::Usual => inside.map_or(&from, |_| &project).join(IGNORE_FILE),
    };
    let rules = match Rules::read(&file)? {
        None if matches!(ignore, Ignore::File(_)) => {
            let error = Error::input(format!("there is no `{}`", file.display()));
            return Err(error.hint("`dockerignore` names a file of patterns, or is `false`"));
        }
        rules => rules.unwrap_or_default(),
    };
    let names = inside.into_iter().flat_map(Path::components).map(|part| part.as_os_str().to_string_lossy().into());
    Ok((rules, names.collect()))
}

/// The path without `.` and `..`, its links not followed.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if clean.file_name().is_some() => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    clean
}

pub(super) fn left_out(from: &Path, ignore: &Ignore) -> Error {
    let file = match ignore {
        Ignore::File(file) => file.display().to_string(),
        _ => IGNORE_FILE.to_owned(),
    };
    let name = from.display();
    Error::input(format!("`{name}` is left out by `{file}`, and a layer is to be made of it"))
        .hint("give this entry `dockerignore: false`, or except the folder with a line that begins with `!`")
}

fn rule(line: &str) -> std::result::Result<Rule, &'static str> {
    let (exception, text) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    let path = clean(text);
    let path = path.strip_prefix('/').filter(|path| !path.is_empty()).unwrap_or(&path);
    if exception && (text.is_empty() || path == "/") {
        return Err("there is nothing after the `!`");
    }
    let literal = path.find(['*', '?', '[', '\\']).map_or(path, |wildcard| &path[..wildcard]);
    let begins = match literal.rfind('/') {
        _ if literal.len() == path.len() => Some(format!("{path}/")),
        Some(slash) => Some(literal[..=slash].to_owned()),
        None => None,
    };
    Ok(Rule { exception, pattern: Pattern::compile(path)?, begins })
}

/// The shortest path that means the same: no empty component, no `.`, and `..` only where it begins.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match parts.last() {
            Some(&last) if part == ".." && last != ".." => drop(parts.pop()),
            None if part == ".." && rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

impl Pattern {
    /// `*` and `?` stop at slashes, `**` does not, `[a-z]` is one of these and `[^a-z]` none, `\` takes the next as it is.
    fn compile(pattern: &str) -> std::result::Result<Pattern, &'static str> {
        let mut expression = String::from("^");
        let mut chars = pattern.chars().peekable();
        let (mut plain, mut at_begin, mut leading, mut trailing) = (true, true, false, false);
        while let Some(c) = chars.next() {
            let first = std::mem::take(&mut at_begin);
            match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    match (first, chars.peek().is_none()) {
                        (true, _) => leading = true,
                        (false, true) if plain && !leading => trailing = true,
                        _ => plain = false,
                    }
                    expression.push_str(if chars.peek().is_none() { ".*" } else { "(.*/)?" });
                    continue;
                }
                '*' => expression.push_str("[^/]*"),
                '?' => expression.push_str("[^/]"),
                '[' => class(&mut chars, &mut expression)?,
                '\\' => literal(chars.next().ok_or("it ends in a backslash")?, &mut expression),
                _ => {
                    literal(c, &mut expression);
                    continue;
                }
            }
            plain = false;
        }
        match (plain, leading, trailing) {
            (true, false, false) => Ok(Pattern::Exact(pattern.to_owned())),
            (true, false, true) => Ok(Pattern::Prefix(pattern[..pattern.len() - 2].to_owned())),
            (true, true, _) => Ok(Pattern::Suffix(pattern[2..].to_owned())),
            (false, _, _) => {
                expression.push('$');
                Regex::new(&expression).map(Pattern::Expression).map_err(|_| "it is too long or too deep")
            }
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Pattern::Exact(whole) => path == whole,
            Pattern::Prefix(prefix) => path.starts_with(prefix),
            // `**/a` is also `a` itself
            Pattern::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path),
            Pattern::Expression(expression) => expression.is_match(path),
        }
    }
}

fn literal(c: char, expression: &mut String) {
    expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// What comes after a `[`, to its `]`.
fn class(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    expression: &mut String,
) -> std::result::Result<(), &'static str> {
    const OPEN: &str = "its `[` has no `]`";
    let one = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next().ok_or(OPEN)? {
        '\\' => chars.next().ok_or(OPEN),
        ']' | '-' => Err("a `]` or `-` within `[…]` needs a backslash, and `[…]` at least one letter"),
        c => Ok(c),
    };
    expression.push('[');
    if chars.next_if_eq(&'^').is_some() {
        expression.push('^');
    }
    let mut empty = true;
    while empty || chars.next_if_eq(&']').is_none() {
        let low = one(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { one(chars)? } else { low };
        if high < low {
            return Err("a range within its `[…]` ends before it begins");
        }
        expression.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)));
        empty = false;
    }
    expression.push(']');
    Ok(())
}
