//! The logins that a person made with docker (podman, skopeo and helm read the same file): its configuration says who has
//! them. Only read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Credential, CredentialSource};
use crate::error::{Error, Result};

/// What a helper calls a login that is an identity token; such a token stands in place of the password.
pub(super) const TOKEN_USER: &str = "<token>";

/// What Docker Hub's login is filed under.
const HUB: &str = "https://index.docker.io/v1/";

/// Helpers may ask a person, or a service far away.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub fn docker_config() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = folder("DOCKER_CONFIG").or_else(|| folder("HOME").map(|home| home.join(".docker")))?;
    Some(folder.join("config.json"))
}

/// The login for a registry, by `credHelpers`, `credsStore` and `auths` of docker's configuration, in this order. `None`
/// when there is none: then registries are asked as anyone may.
///
/// # Errors
/// `Input` when the file cannot be read as what it is to be; `BuildOrPush` when a helper fails.
pub async fn docker_login(config: &Path, host: &str) -> Result<Option<CredentialSource>> {
    let Some(entry) = Entry::find(config, host)? else { return Ok(None) };
    let Some(first) = entry.ask().await? else { return Ok(None) };
    let (entry, first) = (Arc::new(entry), Arc::new(Mutex::new(Some(first))));
    let host = host.to_owned();
    Ok(Some(Arc::new(move || {
        let (entry, host) = (Arc::clone(&entry), host.clone());
        let at_hand = first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        async move {
            match at_hand {
                Some(credential) => Ok(credential),
                None => entry.ask().await?.ok_or_else(|| {
                    Error::build_or_push(format!("the login for {host} is gone"))
                        .hint(format!("log in again: `docker login {host}`"))
                }),
            }
        }
        .boxed()
    })))
}

/// Who has a registry's login.
struct Entry {
    /// The program, and what it knows the registry by.
    helper: Option<(String, String)>,
    /// What stands in the file itself.
    stored: Option<Credential>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Entry {
    fn find(file: &Path, host: &str) -> Result<Option<Entry>> {
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(Error::input(format!("cannot read {}", file.display())).cause(error)),
        };
        let malformed = |why: &str| {
            Error::input(format!("{} is not a configuration of docker's: {why}", file.display()))
                .hint("mend it, or have DOCKER_CONFIG name another folder")
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        // The parser's own words would quote the line, which may hold a password.
        let config: Value = serde_json::from_slice(&text)
            .map_err(|error| malformed(&format!("line {}, column {}", error.line(), error.column())))?;
        let named = |section: &str| {
            let known = config.get(section).and_then(Value::as_object);
            known.into_iter().flatten().find(|(name, _)| is_of(name, host)).map(|(name, value)| (name.clone(), value))
        };
        let server = if is_hub(host) { HUB } else { host };
        let helper = match named("credHelpers") {
            Some((name, helper)) => helper.as_str().map(|helper| (helper.to_owned(), name)),
            None => config["credsStore"].as_str().map(|store| (store.to_owned(), server.to_owned())),
        };
        let helper = helper.filter(|(helper, _)| !helper.is_empty());
        if let Some((helper, _)) = helper.as_ref().filter(|(helper, _)| helper.contains('/')) {
            return Err(malformed(&format!("`{helper}` cannot be a credential helper")));
        }
        let stored = match named("auths") {
            Some((_, auth)) => stored(auth).map_err(|why| malformed(&format!("the login for {host} {why}")))?,
            None => None,
        };
        Ok(Some(Entry { helper, stored }))
    }

    async fn ask(&self) -> Result<Option<Credential>> {
        let asked = match &self.helper {
            Some((helper, server)) => ask_helper(helper, server).await?,
            None => None,
        };
        Ok(asked.or_else(|| self.stored.clone()))
    }
}

/// `auth` is `user:password` in base64; `identitytoken` takes the password's place.
fn stored(auth: &Value) -> Result<Option<Credential>, &'static str> {
    let text = |name: &str| auth[name].as_str().filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        let password = SecretString::from(token.to_owned());
        return Ok(Some(Credential { username: TOKEN_USER.to_owned(), password }));
    }
    let (username, password) = match text("auth") {
        Some(pair) => {
            let pair = BASE64_STANDARD.decode(pair.trim()).map_err(|_| "is no base64")?;
            let pair = String::from_utf8(pair).map_err(|_| "is no text")?;
            let (username, password) = pair.split_once(':').ok_or("is no `user:password`")?;
            (username.to_owned(), password.trim_end_matches('\0').to_owned())
        }
        None => match (text("username"), text("password")) {
            (Some(username), Some(password)) => (username.to_owned(), password.to_owned()),
            _ => return Ok(None),
        },
    };
    Ok(Some(Credential { username, password: SecretString::from(password) }))
}

/// Whether a name in the configuration, with or without scheme and path, is this registry's.
fn is_of(name: &str, host: &str) -> bool {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    let name = name.split('/').next().unwrap_or_default();
    name == host || (is_hub(name) && is_hub(host))
}

fn is_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// Docker's protocol: the registry on stdin, the login on stdout; an error's words are on stdout, too.
async fn ask_helper(helper: &str, server: &str) -> Result<Option<Credential>> {
    let program = format!("docker-credential-{helper}");
    let failed = |why: String| {
        Error::build_or_push(format!("{program}, which docker's configuration names for {server}, failed: {why}"))
            .hint(format!("try it: `echo {server} | {program} get`"))
    };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => failed("it is not on PATH".to_owned()),
            _ => failed(error.to_string()),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that answers without reading closes it early.
        let _ = stdin.write_all(format!("{server}\n").as_bytes()).await;
    }
    let answered = tokio::time::timeout(HELPER_TIMEOUT, child.wait_with_output()).await;
    let output = answered
        .map_err(|_| failed(format!("no answer in {} s", HELPER_TIMEOUT.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if said.to_lowercase().contains("credentials not found") {
            return Ok(None);
        }
        let said = if said.is_empty() { String::from_utf8_lossy(&output.stderr).trim().to_owned() } else { said };
        return Err(failed(said.chars().take(300).collect()));
    }
    // What it printed may hold the password: it is in no error.
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|_| failed("it printed no login".to_owned()))?;
    let Answer { username, secret } = answer;
    Ok((!username.is_empty()).then(|| Credential { username, password: SecretString::from(secret) }))
}
