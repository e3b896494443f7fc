//! The files of the page, in the binary.

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name after `/console/`, media type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("", HTML, include_str!("page/index.html")),
    ("console.css", CSS, include_str!("page/console.css")),
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("main.js", SCRIPT, include_str!("page/main.js")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
    ("words.js", SCRIPT, include_str!("page/words.js")),
    ("parts.js", SCRIPT, include_str!("page/parts.js")),
    ("clusters.js", SCRIPT, include_str!("page/clusters.js")),
    ("service.js", SCRIPT, include_str!("page/service.js")),
    ("details.js", SCRIPT, include_str!("page/details.js")),
    ("tasks.js", SCRIPT, include_str!("page/tasks.js")),
    ("timeline.js", SCRIPT, include_str!("page/timeline.js")),
    ("targets.js", SCRIPT, include_str!("page/targets.js")),
    ("repositories.js", SCRIPT, include_str!("page/repositories.js")),
    ("logs.js", SCRIPT, include_str!("page/logs.js")),
];

pub fn find(name: &str) -> Option<(&'static str, &'static str)> {
    FILES.iter().find(|(of, ..)| *of == name).map(|(_, kind, content)| (*kind, *content))
}
