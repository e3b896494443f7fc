//! What git knows of the project: `git.*` of templates.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is asked of git. Tests read it too: none of these writes, fetches or asks a person.
pub const QUERIES: [&[&str]; 3] = [
    &["-c", "log.showSignature=false", "log", "-1", "--no-color", "--no-decorate", "--format=%H %h"],
    &["--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"],
    &["tag", "--points-at", "HEAD", "--sort=-version:refname"],
];

/// `sha`, `short_sha`, `branch`, `tag` and `dirty` (`true` or `false`), those that there are.
/// No git, no repository and no commit are the same: nothing found.
pub fn facts(project: &Path) -> BTreeMap<String, String> {
    let started = QUERIES.map(|arguments| {
        Command::new("git")
            .args(arguments)
            .current_dir(project)
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
    });
    let [log, status, tags] = started.map(|child| {
        let output = child.ok()?.wait_with_output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    read(log.as_deref(), status.as_deref(), tags.as_deref())
}

/// The facts in the answers to [`QUERIES`].
pub fn read(log: Option<&str>, status: Option<&str>, tags: Option<&str>) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let Some((sha, short)) = log.and_then(|log| log.trim().split_once(' ')) else { return facts };
    facts.insert("sha".to_owned(), sha.to_owned());
    facts.insert("short_sha".to_owned(), short.to_owned());
    if let Some(status) = status {
        let branch = status.lines().find_map(|line| line.strip_prefix("# branch.head "));
        if let Some(branch) = branch.filter(|branch| *branch != "(detached)") {
            facts.insert("branch".to_owned(), branch.to_owned());
        }
        let dirty = status.lines().any(|line| !line.starts_with('#'));
        facts.insert("dirty".to_owned(), dirty.to_string());
    }
    if let Some(tag) = tags.and_then(|tags| tags.lines().next()) {
        facts.insert("tag".to_owned(), tag.to_owned());
    }
    facts
}
