//! An error on the screen, and in `--output json`.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode, ThemeCharacters, ThemeStyles,
};
use serde_json::{Value, json};

use super::choose::Style;
use super::escape;
use crate::error::{Error, SourceText};

/// All of an error: each finding with its place, its causes and what to do next.
pub fn text(error: &Error, style: Style) -> String {
    let theme = GraphicalTheme {
        characters: if style.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() },
        styles: if style.color { ThemeStyles::ansi() } else { ThemeStyles::none() },
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_context_lines(1);
    let handler = match style.width {
        Some(width) => handler.with_width(width),
        None => handler.with_wrap_lines(false),
    };
    let mut text = String::new();
    for finding in std::iter::once(error).chain(error.others()) {
        if !text.is_empty() {
            text.push('\n');
        }
        // writing to a String cannot fail, and a place beyond its source only loses its snippet
        if handler.render_report(&mut text, &Shown::new(finding)).is_err() {
            text.push_str(&escape::line(&finding.to_string()));
            text.push('\n');
        }
    }
    text
}

/// `{ kind, message, file, line, column, causes, hints, others }`; what there is not is left out.
pub fn json(error: &Error) -> Value {
    let mut value = json!({
        "kind": error.kind().name(),
        "exitCode": error.exit_code(),
        "message": error.to_string(),
    });
    if let Some(place) = error.place() {
        let (line, column) = place.line_column();
        value["file"] = json!(&*place.source.name);
        value["line"] = json!(line);
        value["column"] = json!(column);
    }
    let causes = causes(error);
    if !causes.is_empty() {
        value["causes"] = json!(causes);
    }
    if !error.hints().is_empty() {
        value["hints"] = json!(error.hints());
    }
    if !error.others().is_empty() {
        value["others"] = error.others().iter().map(json).collect();
    }
    value
}

// Layered libraries repeat themselves: a cause that the one above it already quotes says nothing.
fn causes(error: &Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut above = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !above.contains(&said) {
            causes.push(said.clone());
            above = said;
        }
        next = cause.source();
    }
    causes
}

/// An error with everything from outside escaped.
struct Shown {
    message: String,
    help: Option<String>,
    causes: Option<Box<Cause>>,
    place: Option<(SourceText, Range<usize>, Option<String>)>,
}

impl Shown {
    fn new(error: &Error) -> Self {
        let hints: Vec<String> = error.hints().iter().map(|hint| escape::block(hint).into_owned()).collect();
        let place = error.place().map(|place| {
            let (text, span) = (&place.source.text, &place.span);
            let before = text.get(..span.start).map_or(0, |before| escape::source(before).len());
            let marked = text.get(span.clone()).map_or(0, |marked| escape::source(marked).len());
            let source = SourceText::new(escape::line(&place.source.name), escape::source(text));
            (source, before..before + marked, place.label.as_deref().map(|label| escape::line(label).into_owned()))
        });
        Shown {
            message: escape::block(&error.to_string()).into_owned(),
            help: (!hints.is_empty()).then(|| hints.join("\n")),
            causes: Cause::chain(&causes(error)),
            place,
        }
    }
}

#[derive(Debug)]
struct Cause {
    message: String,
    below: Option<Box<Cause>>,
}

impl Cause {
    fn chain(causes: &[String]) -> Option<Box<Cause>> {
        let (first, rest) = causes.split_first()?;
        Some(Box::new(Cause { message: escape::block(first).into_owned(), below: Cause::chain(rest) }))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.below.as_deref().map(|below| below as _)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Shown {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.causes.as_deref().map(|cause| cause as _)
    }
}

impl Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|_| self as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, span, label) = self.place.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(label.clone(), span.clone()))))
    }
}

impl SourceCode for Shown {
    fn read_span<'a>(
        &'a self,
        span: &miette::SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, miette::MietteError> {
        let (source, ..) = self.place.as_ref().ok_or(miette::MietteError::OutOfBounds)?;
        let contents = (*source.text).read_span(span, before, after)?;
        // lines and columns are counted as `Place` counts them, so that screen and JSON agree
        let start = contents.span().offset();
        let (line, column) = source.line_column(start);
        Ok(Box::new(miette::MietteSpanContents::new_named(
            source.name.to_string(),
            contents.data(),
            *contents.span(),
            line - 1,
            column - 1,
            contents.line_count(),
        )))
    }
}
