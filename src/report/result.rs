//! The result of a command as text: the same value that `--output json` prints.

use std::fmt::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use super::choose::Style;
use super::escape;
use super::words::{self, Tone, toned};
use super::{changes, checks};

/// An object as a headline and its members, a list of objects as a table, differences as lines, a text as it is.
pub fn text(result: &Value, style: Style) -> String {
    match result {
        Value::Object(members) if members.contains_key("checks") => checks::text(result, style),
        Value::Object(members) => object(members, style),
        Value::Array(rows) if rows.is_empty() => String::new(),
        Value::Array(rows) if changes::are(rows) => changes::text(rows, style),
        Value::Array(rows) if rows.iter().all(Value::is_object) => table(rows, style),
        Value::Array(items) => items.iter().map(|item| cell("", item) + "\n").collect(),
        Value::String(text) => escape::block(text).into_owned() + "\n",
        other => cell("", other) + "\n",
    }
}

fn object(members: &Map<String, Value>, style: Style) -> String {
    let mut text = String::new();
    let mut shown: Vec<&str> = Vec::new();
    if let (Some(status), Some(service)) = (said(members, "status"), said(members, "service")) {
        let cluster = said(members, "cluster").map(|cluster| format!(" on {}", escape::line(cluster)));
        let took = members.get("durationMs").and_then(Value::as_u64);
        let took = took.map(|took| format!(" after {}", words::duration(std::time::Duration::from_millis(took))));
        let tone = match status {
            "steady" | "ACTIVE" | "deleted" => Tone::Good,
            "failed" => Tone::Bad,
            _ => Tone::Warning,
        };
        let verdict = match status {
            "changes" if said(members, "serviceAction") == Some("create") => "would be created".to_owned(),
            "changes" => "would change".to_owned(),
            other => format!("is {}", words::status(&escape::line(other))),
        };
        let _ = writeln!(
            text,
            "{}{} {}{}",
            toned(&escape::line(service), Tone::Strong, style),
            cluster.unwrap_or_default(),
            toned(&verdict, tone, style),
            took.unwrap_or_default(),
        );
        shown.extend(["status", "service", "cluster", "durationMs"]);
    }
    let rest: Vec<(&String, &Value)> =
        members.iter().filter(|(name, value)| !shown.contains(&name.as_str()) && !is_nothing(value)).collect();
    let (lists, plain): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|(_, value)| value.as_array().is_some_and(|rows| rows.iter().any(Value::is_object)));
    let width = plain.iter().map(|(name, _)| words::camel(name).len()).max().unwrap_or(0);
    for (name, value) in plain {
        if let Some(lines) = long_list(value) {
            let _ = writeln!(text, "  {}", toned(&words::camel(name), Tone::Quiet, style));
            lines.iter().for_each(|line| text.push_str(&format!("    {}\n", escape::line(line))));
            continue;
        }
        let label = format!("{:<width$}", words::camel(name));
        let _ = match value.as_str().filter(|value| value.contains('\n')) {
            Some(block) => {
                writeln!(text, "\n{}\n{}", toned(label.trim_end(), Tone::Quiet, style), escape::block(block).trim_end())
            }
            None => writeln!(text, "  {}  {}", toned(&label, Tone::Quiet, style), cell(name, value)),
        };
    }
    for (name, rows) in lists {
        let _ = write!(text, "\n{}\n{}", toned(&words::camel(name), Tone::Strong, style), self::text(rows, style));
    }
    text
}

/// Texts that are too many for one line.
fn long_list(value: &Value) -> Option<Vec<String>> {
    let texts: Vec<String> = value.as_array()?.iter().filter_map(Value::as_str).map(words::shorter).collect();
    (texts.len() > 1 && texts.iter().map(String::len).sum::<usize>() > 72).then_some(texts)
}

fn table(rows: &[Value], style: Style) -> String {
    let mut columns: Vec<&str> = Vec::new();
    for name in rows.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        let used = rows.iter().any(|row| !is_nothing(&row[name.as_str()]));
        if used && !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| words::camel(column).to_uppercase()));
    for row in rows {
        table.add_row(columns.iter().map(|column| compact(column, &row[*column])));
    }
    let text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    // the header's line only: cells hold no colours, so that columns stay aligned
    match text.split_once('\n') {
        Some((header, rest)) => format!("{}\n{rest}", toned(header, Tone::Quiet, style)),
        None => text,
    }
}

fn said<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// A cell of a table, where ids and digests are as short as they can be told apart.
fn compact(name: &str, value: &Value) -> String {
    let short = match value {
        Value::String(text) if text.starts_with("sha256:") => words::digest(text).to_owned(),
        Value::String(text) if text.starts_with("arn:") => words::short_arn(text).to_owned(),
        Value::String(text) => match text.split_once("@sha256:") {
            Some((repository, digest)) => format!("{repository}@{}", words::digest(digest)),
            None => text.clone(),
        },
        Value::Array(items) => items.iter().map(|item| compact("", item)).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !is_nothing(value));
            let members = members.map(|(name, value)| match name.as_str() {
                "name" => compact(name, value),
                _ => format!("{}={}", words::camel(name), compact(name, value)),
            });
            members.collect::<Vec<_>>().join(" ")
        }
        other => return cell(name, other),
    };
    escape::line(&short).into_owned()
}

fn cell(name: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if name.to_lowercase().ends_with("taskdefinition") => {
            escape::line(words::short_arn(text)).into_owned()
        }
        Value::String(text) => escape::line(text).into_owned(),
        Value::Bool(value) => if *value { "yes" } else { "no" }.to_owned(),
        Value::Number(number) if name.ends_with("At") => match number.as_i64().and_then(|at| moment(at).ok()) {
            Some(moment) => moment,
            None => number.to_string(),
        },
        Value::Number(number) if name.ends_with("Ms") => match number.as_u64() {
            Some(milliseconds) => words::duration(std::time::Duration::from_millis(milliseconds)),
            None => number.to_string(),
        },
        Value::Number(number) if name == "size" => number.as_u64().map_or_else(|| number.to_string(), words::bytes),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().map(|item| cell("", item)).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{}={}", escape::line(name), cell(name, value))).collect();
            members.join(" ")
        }
    }
}

/// Epoch milliseconds as a UTC time to the second.
fn moment(milliseconds: i64) -> Result<String, jiff::Error> {
    Ok(jiff::Timestamp::from_millisecond(milliseconds)?.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}
