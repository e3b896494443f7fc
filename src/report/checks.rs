//! What `verify` looked at, as a list that is read at a glance.

use std::fmt::Write;

use serde_json::Value;

use super::choose::Style;
use super::escape;
use super::words::{self, Tone, toned};

/// A headline, and a line a check: its mark, its name, what was found there or what is wrong.
pub fn text(result: &Value, style: Style) -> String {
    let said = |member: &str| escape::line(result[member].as_str().unwrap_or_default()).into_owned();
    let ready = result["status"] == "ready";
    let verdict = match ready {
        true => toned("is ready to be deployed", Tone::Good, style),
        false => toned("is not ready to be deployed", Tone::Bad, style),
    };
    let mut text = format!("{} on {} {verdict}\n", toned(&said("service"), Tone::Strong, style), said("cluster"));
    let checks = || result["checks"].as_array().into_iter().flatten();
    let name = |check: &Value| escape::line(&words::camel(check["check"].as_str().unwrap_or_default())).into_owned();
    let width = checks().map(|check| name(check).len()).max().unwrap_or_default();
    for check in checks() {
        let (mark, tone) = match (check["state"].as_str().unwrap_or_default(), style.unicode) {
            ("ok", true) => ("✓", Tone::Good),
            ("ok", false) => ("+", Tone::Good),
            ("finding", true) => ("×", Tone::Bad),
            ("finding", false) => ("x", Tone::Bad),
            ("warning", _) => ("!", Tone::Warning),
            _ => ("-", Tone::Quiet),
        };
        let label = format!("{:<width$}", name(check));
        let messages = |member: &str| {
            let all = check[member].as_array().into_iter().flatten();
            all.filter_map(|one| Some(words::shorter(one["message"].as_str()?))).collect::<Vec<String>>()
        };
        let (findings, warnings) = (messages("findings"), messages("warnings"));
        let detail = check["detail"].as_str().unwrap_or_default();
        let lines: Vec<String> = match (findings.is_empty(), warnings.is_empty(), detail) {
            (true, true, "") => vec!["none".to_owned()],
            (true, true, detail) => vec![words::shorter(detail)],
            _ => findings.into_iter().chain(warnings).collect(),
        };
        for (at, line) in lines.iter().enumerate() {
            let line = escape::line(line);
            let _ = match at {
                0 => writeln!(text, "  {} {label}  {line}", toned(mark, tone, style)),
                _ => writeln!(text, "    {:width$}  {line}", ""),
            };
        }
    }
    text
}
