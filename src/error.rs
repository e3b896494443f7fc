//! One error for the whole product: what, where, why, and what to do next.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, SourceCode};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of end a run came to. [`Kind::exit_code`] is the only place that knows the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Other,
    /// The input cannot be meant; nothing was called.
    Input,
    /// Something that the deploy needs is missing; nothing was touched.
    Preflight,
    /// Build or push failed; the service is untouched.
    BuildOrPush,
    /// The rollout failed; the previous release is back and verified.
    RolledBack,
    /// The rollout failed, and what runs is not a known good release.
    RolloutFailed,
    Superseded,
    InProgress,
    DeadlinePassed,
    Paused,
    /// No failure: there are differences, and `--exit-code` asked for them.
    Different,
    /// What was to run before the release failed; the service is untouched.
    BeforeFailed,
    /// A one-off task ended with this code, which is not 0.
    TaskFailed(u8),
    /// Ended by this signal.
    Interrupted(u8),
}

/// What `steady run` ends with when it is steady that failed and not the task: below it all codes are the task's own, as
/// docker has it.
pub const OWN_FAILURE: u8 = 125;

impl Kind {
    pub const fn exit_code(self) -> u8 {
        match self {
            Kind::Other => 1,
            Kind::Input => 2,
            Kind::Preflight => 3,
            Kind::BuildOrPush | Kind::BeforeFailed => 4,
            Kind::RolledBack => 5,
            Kind::RolloutFailed => 6,
            Kind::Superseded => 7,
            Kind::InProgress => 8,
            Kind::DeadlinePassed => 9,
            Kind::Paused => 10,
            Kind::Different => 11,
            Kind::TaskFailed(code) => code,
            Kind::Interrupted(signal) => 128 + signal,
        }
    }

    /// The name of this kind in `--output json`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Other => "other",
            Kind::Input => "input",
            Kind::Preflight => "preflight",
            Kind::BuildOrPush => "buildOrPush",
            Kind::RolledBack => "rolledBack",
            Kind::RolloutFailed => "rolloutFailed",
            Kind::Superseded => "superseded",
            Kind::InProgress => "inProgress",
            Kind::DeadlinePassed => "deadlinePassed",
            Kind::Paused => "paused",
            Kind::Different => "different",
            Kind::BeforeFailed => "beforeFailed",
            Kind::TaskFailed(_) => "taskFailed",
            Kind::Interrupted(_) => "interrupted",
        }
    }
}

/// A text and the name that a person knows it by, usually a path as it was given.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceText {
    pub name: Arc<str>,
    pub text: Arc<str>,
}

impl SourceText {
    pub fn new(name: impl AsRef<str>, text: impl AsRef<str>) -> Self {
        SourceText { name: name.as_ref().into(), text: text.as_ref().into() }
    }

    /// Line and column of a byte offset, both from 1; columns count characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// Byte offset of a line and column as [`SourceText::line_column`] counts them.
    pub fn offset(&self, line: usize, column: usize) -> usize {
        let line_start: usize = self.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let rest = &self.text[line_start.min(self.text.len())..];
        line_start + rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum::<usize>()
    }
}

impl fmt::Debug for SourceText {
    // The text may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceText({:?}, {} bytes)", self.name, self.text.len())
    }
}

/// Where in a file an error is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub source: SourceText,
    pub span: Range<usize>,
    pub label: Option<String>,
}

impl Place {
    pub fn line_column(&self) -> (usize, usize) {
        self.source.line_column(self.span.start)
    }
}

/// An error as a person meets it. `Display` is one sentence without its place, cause or hints;
/// `report` shows those.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    place: Option<Place>,
    hints: Vec<String>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
    others: Vec<Error>,
    results: Option<serde_json::Value>,
    exit_code: Option<u8>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            place: None,
            hints: Vec::new(),
            cause: None,
            others: Vec::new(),
            results: None,
            exit_code: None,
        }))
    }

    pub fn input(message: impl Into<String>) -> Self {
        Error::new(Kind::Input, message)
    }

    pub fn other(message: impl Into<String>) -> Self {
        Error::new(Kind::Other, message)
    }

    pub fn preflight(message: impl Into<String>) -> Self {
        Error::new(Kind::Preflight, message)
    }

    pub fn build_or_push(message: impl Into<String>) -> Self {
        Error::new(Kind::BuildOrPush, message)
    }

    /// Ended by a signal of this number.
    pub fn interrupted(signal: u8) -> Self {
        Error::new(Kind::Interrupted(signal), format!("stopped by {}", signal_name(signal)))
    }

    /// The place that is at fault, with an optional word under the caret.
    pub fn at(mut self, source: &SourceText, span: Range<usize>, label: Option<&str>) -> Self {
        self.0.place = Some(Place { source: source.clone(), span, label: label.map(str::to_owned) });
        self
    }

    /// What to do next. May be given more than once.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    pub fn cause(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Another exit code than the kind's, where that would be mistaken for a task's.
    pub fn with_exit_code(mut self, code: u8) -> Self {
        self.0.exit_code = Some(code);
        self
    }

    pub fn exit_code(&self) -> u8 {
        self.0.exit_code.unwrap_or(self.kind().exit_code())
    }

    /// What was done all the same, as the command's result would say it.
    pub fn with_results(mut self, results: serde_json::Value) -> Self {
        self.0.results = Some(results);
        self
    }

    pub fn without_results(mut self) -> Self {
        self.0.results = None;
        self
    }

    pub fn results(&self) -> Option<&serde_json::Value> {
        self.0.results.as_ref()
    }

    /// Several findings as one error: the first one leads and gives the kind.
    /// `None` when there are none.
    pub fn all(findings: Vec<Error>) -> Option<Self> {
        let mut findings = findings.into_iter();
        let mut first = findings.next()?;
        first.0.others.extend(findings);
        Some(first)
    }

    /// Gives every place, here and in [`Error::others`], to `place`, which says where it is instead:
    /// for a text that was made from another one.
    pub fn map_places(mut self, place: &dyn Fn(Error, Place) -> Error) -> Self {
        let others = std::mem::take(&mut self.0.others);
        self.0.others = others.into_iter().map(|other| other.map_places(place)).collect();
        match self.0.place.take() {
            Some(old) => place(self, old),
            None => self,
        }
    }

    /// Gives every hint, here and in [`Error::others`], to `hint`, which says it better.
    pub fn map_hints(mut self, hint: &dyn Fn(String) -> String) -> Self {
        self.0.hints = std::mem::take(&mut self.0.hints).into_iter().map(hint).collect();
        let others = std::mem::take(&mut self.0.others);
        self.0.others = others.into_iter().map(|other| other.map_hints(hint)).collect();
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// All hints as one line, for what is no error in the end.
    pub fn hints_joined(&self) -> Option<String> {
        (!self.0.hints.is_empty()).then(|| self.0.hints.join("; "))
    }

    /// The findings beyond this one, see [`Error::all`].
    pub fn others(&self) -> &[Error] {
        &self.0.others
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(place) = &self.0.place {
            let (line, column) = place.line_column();
            debug.field("place", &format_args!("{}:{line}:{column}", place.source.name));
        }
        debug.field("hints", &self.0.hints).field("cause", &self.0.cause.as_ref().map(ToString::to_string));
        debug.field("others", &self.0.others).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

impl Diagnostic for Error {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.0.hints.is_empty()).then(|| Box::new(self.0.hints.join("\n")) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.place.as_ref().map(|place| place as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.0.place.as_ref()?;
        let label = LabeledSpan::new_with_span(place.label.clone(), place.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

impl SourceCode for Place {
    fn read_span<'a>(
        &'a self,
        span: &miette::SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> std::result::Result<Box<dyn miette::SpanContents<'a> + 'a>, miette::MietteError> {
        let text: &str = &self.source.text;
        let contents = text.read_span(span, context_lines_before, context_lines_after)?;
        Ok(Box::new(miette::MietteSpanContents::new_named(
            self.source.name.to_string(),
            contents.data(),
            *contents.span(),
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

/// Of those that end a run in order.
pub fn signal_name(signal: u8) -> &'static str {
    if signal == 2 { "SIGINT" } else { "SIGTERM" }
}

/// The candidate nearest to `word`, near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.chars().count().max(word.chars().count()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
