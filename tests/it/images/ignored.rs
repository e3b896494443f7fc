//! `.dockerignore` for the folders that layers copy.

use std::fs;

use proptest::prelude::*;
use serde_json::Value;
use steadystate::error::{Kind, SourceText};
use steadystate::image::ignore::Rules;
use steadystate::image::layers::{Ignore, LayerEntry, assemble};

use super::{Workshop, entry, listing};

/// What docker's own filter left of a folder, under 400 files of rules (see `generate.go` beside the cases).
const CASES: &str = include_str!("../../fixtures/dockerignore/cases.json");

/// The paths of the layer that `entry` becomes.
fn paths(workshop: &Workshop, entry: LayerEntry) -> Vec<String> {
    let image = assemble(workshop.spec(vec![vec![entry]]), None).unwrap();
    listing(&image.layers()[0]).iter().map(|line| line.splitn(3, ' ').nth(2).unwrap().to_owned()).collect()
}

#[test]
fn folders_are_filtered_as_docker_filters_a_context() {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let whole: Vec<&str> = cases["whole"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    let workshop = Workshop::new();
    for path in whole.iter().filter(|path| !path.ends_with('/')) {
        workshop.file(&format!("context/{path}"), path);
    }
    let mut wrong = Vec::new();
    let cases = cases["cases"].as_array().unwrap();
    for case in cases {
        let rules = case["rules"].as_str().unwrap();
        workshop.file("context/.dockerignore", rules);
        let spec = steadystate::image::layers::LayersSpec {
            project: workshop.path("project/context"),
            ..workshop.spec(vec![vec![entry(".", "/")]])
        };
        let result = assemble(spec, None);
        if case["error"] == true {
            if result.map_or_else(|error| error.kind(), |_| Kind::Other) != Kind::Input {
                wrong.push(format!("{rules:?} is no error"));
            }
            continue;
        }
        let image = result.unwrap_or_else(|error| panic!("{rules:?}: {error:?}"));
        let lines = listing(&image.layers()[0]);
        let found: Vec<&str> = lines.iter().map(|line| line.splitn(3, ' ').nth(2).unwrap()).collect();
        let gone = |path: &str| {
            let number = whole.iter().position(|known| *known == path).unwrap();
            case["gone"].as_array().unwrap().contains(&number.into())
        };
        for path in &whole {
            if found.contains(path) == gone(path) {
                wrong.push(format!("{rules:?}: {path} was to be {}", if gone(path) { "gone" } else { "there" }));
            }
        }
    }
    assert!(cases.len() > 300 && wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_malformed_pattern_is_named_with_its_place() {
    let text = "\u{feff}*.md\r\n# [\n  a[b  \n\n!\n! /\nx[]\nd\\\n[z-a]\nc[a-\n*.log\n";
    let error = Rules::parse(&SourceText::new(".dockerignore", text)).unwrap_err();
    let said = std::iter::once(&error).chain(error.others()).map(|error| {
        let place = error.place().unwrap();
        let (line, column) = place.line_column();
        format!("{line}:{column} [{}] {error}", &text[place.span.clone()])
    });
    insta::assert_snapshot!(said.collect::<Vec<_>>().join("\n"), @"
    3:3 [a[b] `a[b` is not a pattern: its `[` has no `]`
    5:1 [!] `!` is not a pattern: there is nothing after the `!`
    6:1 [! /] `! /` is not a pattern: there is nothing after the `!`
    7:1 [x[]] `x[]` is not a pattern: a `]` or `-` within `[…]` needs a backslash, and `[…]` at least one letter
    8:1 [d\\] `d\\\\` is not a pattern: it ends in a backslash
    9:1 [[z-a]] `[z-a]` is not a pattern: a range within its `[…]` ends before it begins
    10:1 [c[a-] `c[a-` is not a pattern: its `[` has no `]`
    ");
    assert!(error.kind() == Kind::Input && error.hints()[0].contains("backslash"), "{error:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in the file, it is rules or an error with a place in it.
    #[test]
    fn any_text_is_rules_or_an_error(text in r"([!#*?/.\\\[\]^ab\-\n\r \u{feff}]|\PC){0,60}") {
        if let Err(error) = Rules::parse(&SourceText::new(".dockerignore", &text)) {
            for error in std::iter::once(&error).chain(error.others()) {
                let place = error.place().unwrap();
                prop_assert!(!text[place.span.clone()].trim().is_empty(), "{error:?}");
            }
        }
    }
}

/// What is left out is not even looked at.
#[test]
fn a_folder_that_nobody_may_read_can_be_left_out() {
    let workshop = Workshop::new();
    workshop.file("data/file", "x");
    let locked = workshop.path("project/data/locked");
    fs::create_dir(&locked).unwrap();
    super::set_mode(&locked, 0);
    workshop.file(".dockerignore", "data/locked");
    let found = paths(&workshop, entry("data", "/"));
    workshop.file(".dockerignore", "");
    let read = assemble(workshop.spec(vec![vec![entry("data", "/")]]), None);
    super::set_mode(&locked, 0o700);
    assert_eq!(found, ["file"]);
    if !nix::unistd::geteuid().is_root() {
        let error = read.unwrap_err();
        assert!(error.kind() == Kind::BuildOrPush && error.to_string().contains("data/locked"), "{error:?}");
    }
}

/// The rules are for paths from the project's folder; a folder from elsewhere has rules of its own.
#[test]
fn rules_are_looked_for_where_docker_looks() {
    let workshop = Workshop::new();
    for name in
        ["web/index.html", "web/index.html.map", "web/.env", "web/src/a.map", "dist/a", "dist/keep/b", "dist/c.map"]
    {
        workshop.file(name, "x");
        workshop.file(&format!("../shared/{name}"), "x");
    }
    workshop.file(".dockerignore", "web/*.map\n**/.env\ndist\n!dist/keep\n");
    workshop.file("web/.dockerignore", "*");
    workshop.file("../shared/.dockerignore", "/web\n.dockerignore\n");
    workshop.file("other.ignore", "web/src\n");
    let with = |ignore: Ignore, entry: LayerEntry| LayerEntry { ignore, ..entry };
    let named = || Ignore::File("other.ignore".into());
    let table: [(LayerEntry, &[&str]); 8] = [
        (entry("web", "/"), &[".dockerignore", "index.html", "src/", "src/a.map"]),
        (entry("./dist/../web/src/..", "/"), &[".dockerignore", "index.html", "src/", "src/a.map"]),
        // Left out itself, it is there for its exception.
        (entry("dist", "/d"), &["d/", "d/keep/", "d/keep/b"]),
        (with(Ignore::Nothing, entry("dist", "/")), &["a", "c.map", "keep/", "keep/b"]),
        (with(named(), entry("web", "/")), &[".dockerignore", ".env", "index.html", "index.html.map"]),
        // What an entry names itself is meant.
        (entry("dist/a", "/a"), &["a"]),
        (entry("../shared", "/"), &["dist/", "dist/a", "dist/c.map", "dist/keep/", "dist/keep/b"]),
        (entry("../shared/dist", "/"), &["a", "c.map", "keep/", "keep/b"]),
    ];
    for (entry, expected) in table {
        let shown = format!("{entry:?}");
        assert_eq!(paths(&workshop, entry), expected, "{shown}");
    }
    workshop.file(".dockerignore", "dist\nweb/*\n!web/none\n");
    let refusals = [
        (entry("dist", "/"), "`dist` is left out by `.dockerignore`", "`dockerignore: false`"),
        (entry("dist/keep", "/"), "`dist/keep` is left out by `.dockerignore`", "begins with `!`"),
        (entry("web/src", "/"), "`web/src` is left out", "`dockerignore: false`"),
        (entry("dist/keep", "/k"), "`dist/keep` is left out", "`dockerignore: false`"),
        (with(Ignore::File("none.ignore".into()), entry("web", "/")), "there is no `", "`dockerignore` names a file"),
    ];
    for (entry, message, hint) in refusals {
        let error = assemble(workshop.spec(vec![vec![entry]]), None).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.to_string().contains(message) && error.hints()[0].contains(hint), "{error:?}");
    }
    // An exception that nothing meets excepts nothing.
    workshop.file(".dockerignore", "dist\n!dist/**/none\nweb/*\n");
    for to in ["/", "/d"] {
        assert!(assemble(workshop.spec(vec![vec![entry("dist", to)]]), None).is_err());
    }
    // All that is in it may be left out, though.
    assert_eq!(paths(&workshop, entry("web", "/w")), ["w/"]);
    fs::remove_file(workshop.path("project/.dockerignore")).unwrap();
    fs::create_dir(workshop.path("project/.dockerignore")).unwrap();
    let error = assemble(workshop.spec(vec![vec![entry("web", "/")]]), None).unwrap_err();
    assert!(error.to_string().contains(".dockerignore`: it is not a file"), "{error:?}");
}
