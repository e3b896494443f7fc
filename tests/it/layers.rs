//! Holds the tree to its layers: main -> commands -> {deploy, report, lab, config} -> {image, registry, document, aws}
//! -> {aws_model, error}.

use std::fs;
use std::path::{Path, PathBuf};

/// Module, and what of this crate it may import beside itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("aws_model", &["error"]),
    ("transport", &["error"]),
    ("image", &["aws_model", "error"]),
    ("registry", &["aws_model", "error", "image", "transport"]),
    ("document", &["aws_model", "error"]),
    ("aws", &["aws_model", "error", "transport"]),
    ("config", &["aws", "aws_model", "document", "error", "image", "registry"]),
    ("deploy", &["aws", "aws_model", "config", "document", "error", "image", "registry"]),
    ("report", &["deploy::event", "error"]),
    ("lab", &["aws_model", "error"]),
    ("commands", &["aws", "aws_model", "config", "deploy", "document", "error", "image", "lab", "registry", "report"]),
    ("main", &["commands", "lab", "error"]),
    ("lib", &[]),
];

/// Crate, and the only modules that may use it.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("clap", &["commands", "report"]),
    ("clap_complete", &["commands"]),
    ("indicatif", &["report"]),
    ("axum", &["lab"]),
    ("nix", &["lab", "commands"]),
    ("libc", &["lab"]),
    ("reqwest", &["registry", "deploy", "aws"]),
    ("serde_saphyr", &["config"]),
];

const LINES: usize = 400;

#[test]
fn every_file_keeps_to_its_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources(&root.join("src"));
    assert!(sources.len() > 10, "found only {} sources", sources.len());
    let found: Vec<String> = sources.iter().flat_map(|path| violations(&relative(root, path), &read(path))).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn tests_and_scripts_stay_small_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found: Vec<String> =
        sources(&root.join("tests")).iter().filter_map(|path| too_long(&relative(root, path), &read(path))).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_checker_sees_what_it_forbids() {
    let long = "//\n".repeat(LINES + 1);
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("src/deploy/a.rs", "use crate::report::lines;", Some("deploy imports report")),
        ("src/deploy/a.rs", "fn f() { crate::lab::lifecycle::stop() }", Some("deploy imports lab")),
        ("src/deploy/a.rs", "use crate::{config::Plan, lab::Lab};", Some("deploy imports lab")),
        ("src/deploy/a.rs", "use crate::{config::Plan, error::Error};", None),
        ("src/deploy/a.rs", "use clap::Parser;", Some("clap belongs to commands")),
        ("src/report/a.rs", "use crate::deploy::event::Event;", None),
        ("src/report/a.rs", "use crate::deploy::Outcome;", Some("report imports deploy")),
        ("src/report/a.rs", "use crate::deploy::{event::Event, Outcome};", Some("report imports deploy")),
        ("src/lab/a.rs", "use crate::aws_model::check;", None),
        ("src/lab/a.rs", "use crate::aws::Clients;", Some("lab imports aws")),
        ("src/lab/ecs/a.rs", "use crate::lab::state::State;", None),
        ("src/image/a.rs", "use crate::registry::push;", Some("image imports registry")),
        ("src/registry/a.rs", "use crate::image::Image;", None),
        ("src/aws/a.rs", "#![allow(unsafe_code)]", Some("unsafe")),
        ("src/lab/runtime/a.rs", "#![allow(unsafe_code)]", None),
        ("src/deploy/a.rs", "#[allow(clippy::print_stdout)]", Some("print")),
        ("src/report/a.rs", "#![allow(clippy::print_stderr)]", None),
        ("src/deploy/a.rs", "use super::super::lab::Lab;", Some("deploy imports lab")),
        ("src/deploy/mod.rs", "use super::report::lines;", Some("deploy imports report")),
        ("src/lab/ecs/mod.rs", "use super::super::{error, deploy::Outcome};", Some("lab imports deploy")),
        ("src/lab/ecs/a.rs", "use super::super::ecr; use super::state;", None),
        ("src/deploy/a.rs", "let url = \"http://x\"; crate::lab::start();", Some("deploy imports lab")),
        ("src/deploy/utils.rs", "", Some("utils")),
        ("src/deploy/a.rs", &long, Some("401 lines")),
        ("src/deploy/a.rs", "// like crate::lab, but not\n/// See [`crate::lab`].", None),
    ];
    for (path, text, expected) in cases {
        let found = violations(path, text).join("\n");
        match expected {
            Some(expected) => assert!(found.contains(expected), "{path}: {text:.60}: found {found:?}"),
            None => assert_eq!(found, "", "{path}: {text}"),
        }
    }
}

fn violations(path: &str, text: &str) -> Vec<String> {
    let module = path.trim_start_matches("src/").split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let code: String = text.lines().map(without_comment).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{path}: module {module} is not in the house's plan")];
    };
    for import in imports(&code).into_iter().chain(imports_by_super(path, &code)) {
        let top = import.split("::").next().unwrap_or_default();
        let permitted = module == "lib"
            || top == module
            || allowed.iter().any(|allowed| import == *allowed || import.starts_with(&format!("{allowed}::")));
        if !permitted {
            found.push(format!("{path}: {module} imports {top} (as {import})"));
        }
    }
    for (name, modules) in ONLY_IN {
        if !modules.contains(&module) && uses_crate(&code, name) {
            found.push(format!("{path}: {name} belongs to {}", modules.join(", ")));
        }
    }
    if code.contains("allow(unsafe_code)") && !path.starts_with("src/lab/runtime") {
        found.push(format!("{path}: unsafe outside the lab's runtime"));
    }
    if code.contains("clippy::print_std") && module != "report" && module != "main" {
        found.push(format!("{path}: print outside report and main"));
    }
    if path.ends_with("/utils.rs") || path.contains("/utils/") {
        found.push(format!("{path}: utils is no name"));
    }
    found.extend(too_long(path, text));
    found
}

fn too_long(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > LINES).then(|| format!("{path}: {lines} lines, {LINES} at most"))
}

/// Paths below `crate::`, with groups flattened: `crate::{a::B, c}` gives `a::B` and `c`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for marker in ["crate::", "steadystate::"] {
        for (at, _) in code.match_indices(marker) {
            let boundary =
                code[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && before != '_');
            if boundary {
                flatten("", &code[at + marker.len()..], &mut found);
            }
        }
    }
    found
}

/// As [`imports`], of what reaches the crate's root by `super::super::`.
fn imports_by_super(path: &str, code: &str) -> Vec<String> {
    const UP: &str = "super::";
    let module = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = module.split('/').count();
    let mut found = Vec::new();
    for (at, _) in code.match_indices(UP) {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':') {
            continue;
        }
        let rest = code[at..].trim_start_matches(UP);
        if (code.len() - at - rest.len()) / UP.len() == depth {
            flatten("", rest, &mut found);
        }
    }
    // In a module inside the file, `super` is the file: its own names are none of the house's.
    found.retain(|import| MAY_IMPORT.iter().any(|(name, _)| import.split("::").next() == Some(name)));
    found
}

/// A line up to its comment; `//` in a string is none.
fn without_comment(line: &str) -> &str {
    let starts = |at: &usize| line[..*at].matches('"').count().is_multiple_of(2);
    line.match_indices("//").map(|(at, _)| at).find(starts).map_or(line, |at| &line[..at])
}

fn flatten(prefix: &str, text: &str, found: &mut Vec<String>) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    let path = format!("{prefix}{}", &text[..end]);
    if !text[end..].starts_with('{') {
        found.push(path.trim_end_matches("::").to_owned());
        return;
    }
    let mut depth = 0;
    let mut start = end + 1;
    for (at, character) in text[end..].char_indices().map(|(at, character)| (at + end, character)) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if (character == ',' && depth == 1) || depth == 0 {
            let item = text[start..at].trim();
            if !item.is_empty() {
                flatten(&path, item, found);
            }
            start = at + 1;
        }
        if depth == 0 {
            return;
        }
    }
}

fn uses_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':')
    })
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
