//! What git knows of the project: `git.*` of templates.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is asked of git. Tests read it too: none of these writes, fetches or asks a person.
pub const QUERIES: [&[&str]; 4] = [
    &["-c", "log.showSignature=false", "log", "-1", "--no-color", "--no-decorate", "--format=%H %h %ct"],
    &["--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"],
    &["tag", "--points-at", "HEAD", "--sort=-version:refname"],
    &["config", "--get", "remote.origin.url"],
];

/// `sha`, `short_sha`, `commit_time` (seconds since 1970), `branch`, `tag`, `dirty` (`true` or `false`) and `source`
/// (where a browser finds the repository), those that there are.
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
    let [log, status, tags, remote] = started.map(|child| {
        let output = child.ok()?.wait_with_output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    read([log.as_deref(), status.as_deref(), tags.as_deref(), remote.as_deref()])
}

/// The facts in the answers to [`QUERIES`].
pub fn read([log, status, tags, remote]: [Option<&str>; 4]) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut words = log.unwrap_or_default().split_whitespace();
    let (Some(sha), Some(short)) = (words.next(), words.next()) else { return facts };
    facts.insert("sha".to_owned(), sha.to_owned());
    facts.insert("short_sha".to_owned(), short.to_owned());
    facts.extend(words.next().map(|time| ("commit_time".to_owned(), time.to_owned())));
    facts.extend(remote.and_then(public_url).map(|source| ("source".to_owned(), source)));
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

/// A remote as a browser takes it, without the credentials that CI systems write into it. `None` for what only this
/// machine knows, such as a path or a host of its ssh configuration.
pub fn public_url(remote: &str) -> Option<String> {
    let remote = remote.trim();
    let (scheme, rest) = match remote.split_once("://") {
        Some((scheme, rest)) => (scheme, rest.to_owned()),
        // `git@host:path`; with a slash before the colon it is a path
        None => {
            let (host, path) = remote.split_once(':').filter(|(host, _)| !host.contains('/'))?;
            ("ssh", format!("{host}/{}", path.trim_start_matches('/')))
        }
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/')?;
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (scheme, host) = match scheme.to_ascii_lowercase().as_str() {
        "http" => ("http", host),
        "https" => ("https", host),
        // The port is not one that a browser could use.
        "ssh" | "git+ssh" | "ssh+git" | "git" => ("https", host.split(':').next().unwrap_or_default()),
        _ => return None,
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/');
    let known = host.contains('.') && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.:".contains(c));
    let plain = !path.is_empty() && path.chars().all(|c| c.is_ascii_graphic() && !"@:\\\"<>".contains(c));
    (known && plain).then(|| format!("{scheme}://{host}/{path}"))
}
