//! Differences as lines: what there was with a minus, what there will be with a plus.

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::choose::Style;
use super::escape;
use super::words::{Tone, toned};

/// As differences say it of what they do not show.
const REDACTED: &str = "(redacted)";
/// A difference that fits is on one line.
const ONE_LINE: usize = 110;
/// Lines around those that differ, of a value that has many.
const AROUND: usize = 3;

/// Whether a list is one of differences.
pub fn are(rows: &[Value]) -> bool {
    rows.iter()
        .all(|row| row["path"].is_string() && ["added", "removed", "changed"].iter().any(|kind| row["kind"] == *kind))
}

pub fn text(rows: &[Value], style: Style) -> String {
    rows.iter().flat_map(|row| lines(row, style)).map(|line| format!("  {line}\n")).collect()
}

fn lines(row: &Value, style: Style) -> Vec<String> {
    let path = escape::line(row["path"].as_str().unwrap_or_default());
    let (sign, tone) = match row["kind"].as_str() {
        Some("added") => ('+', Tone::Good),
        Some("removed") => ('-', Tone::Bad),
        _ => ('~', Tone::Warning),
    };
    let head = format!("{sign} {path}");
    match (row.get("before"), row.get("after")) {
        (Some(before), Some(after)) => changed(&head, before, after, style),
        (value, other) => {
            let value = value.or(other).unwrap_or(&Value::Null);
            let line = format!("{head}: {}", compact(value));
            if fits(&line) && !has_lines(value) {
                return vec![toned(&line, tone, style)];
            }
            let all = expanded(value);
            let all = all.lines().map(|line| format!("{sign}   {}", escape::block(line)));
            std::iter::once(head).chain(all).map(|line| toned(&line, tone, style)).collect()
        }
    }
}

fn changed(head: &str, before: &Value, after: &Value, style: Style) -> Vec<String> {
    if before == after {
        let what = if before == REDACTED { String::new() } else { format!(" in {}", compact(before)) };
        return vec![toned(&format!("{head}: changed {REDACTED}{what}"), Tone::Warning, style)];
    }
    let (was, will) = (compact(before), compact(after));
    if fits(&format!("{head}: {was} -> {will}")) && !has_lines(before) && !has_lines(after) {
        let (was, will) = (toned(&was, Tone::Bad, style), toned(&will, Tone::Good, style));
        return vec![format!("{}: {was} -> {will}", toned(head, Tone::Warning, style))];
    }
    let (before, after) = (expanded(before), expanded(after));
    let diff = TextDiff::from_lines(&before, &after);
    let mut lines = vec![toned(head, Tone::Warning, style)];
    for (at, group) in diff.grouped_ops(AROUND).iter().enumerate() {
        if at > 0 {
            lines.push(toned(if style.unicode { "    …" } else { "    ..." }, Tone::Quiet, style));
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = escape::block(change.value().trim_end_matches('\n'));
            lines.push(match change.tag() {
                ChangeTag::Delete => toned(&format!("  - {line}"), Tone::Bad, style),
                ChangeTag::Insert => toned(&format!("  + {line}"), Tone::Good, style),
                ChangeTag::Equal => format!("    {line}"),
            });
        }
    }
    lines
}

fn fits(line: &str) -> bool {
    line.chars().count() <= ONE_LINE
}

fn has_lines(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains('\n'))
}

fn compact(value: &Value) -> String {
    match value {
        Value::String(text) if text == REDACTED => text.clone(),
        value => escape::line(&value.to_string()).into_owned(),
    }
}

/// A value on lines of its own, each ended; texts go on in a new line where they have one.
fn expanded(value: &Value) -> String {
    let mut text = match value {
        Value::String(text) if text.contains('\n') => text.clone(),
        value => format!("{value:#}").lines().map(|line| broken(line) + "\n").collect(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// A line of JSON, broken after each `\n` in a string.
fn broken(line: &str) -> String {
    let indent = line.len() - line.trim_start().len() + 1;
    let mut broken = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        broken.push(c);
        if c != '\\' {
            continue;
        }
        let escaped = chars.next();
        broken.extend(escaped);
        if escaped == Some('n') && chars.peek().is_some_and(|next| *next != '"') {
            broken.push('\n');
            broken.push_str(&" ".repeat(indent));
        }
    }
    broken
}
