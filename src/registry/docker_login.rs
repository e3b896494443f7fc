//! The logins that docker and podman keep, for every registry that is not ECR's. They are read, and never written.
//!
//! Who is asked, as docker's client does it: `DOCKER_AUTH_CONFIG`, then of `config.json` the registry's helper
//! (`credHelpers`), else the store of all (`credsStore`), else the file's own passwords (`auths`). What docker does not
//! know, podman, buildah and skopeo may: their `auth.json` comes after.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::auth::{Auth, Realms};
use super::{Client, Credential, CredentialSource, IDENTITY_TOKEN, Patience};
use crate::error::{Error, Result};
use crate::image::Reference;

/// Docker Hub's name in docker's files. The others are those of its hosts, by which podman and people call it.
const HUB: &str = "https://index.docker.io/v1/";
const HUB_HOSTS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What a helper says when it has nothing; docker goes on without a login then.
const NOT_FOUND: [&str; 3] =
    ["credentials not found in native keychain", "no credentials server URL", "no credentials username"];

/// A helper may have to ask its service for a token, but not for ever.
const HELPER_PATIENCE: Duration = Duration::from_secs(60);

/// Where docker and podman keep their logins. Nothing is read before a registry is asked for.
#[derive(Debug, Clone, Default)]
pub struct DockerLogins {
    /// The text of `DOCKER_AUTH_CONFIG`: its `auths` come first.
    inline: Option<SecretString>,
    files: Vec<LoginFile>,
    /// `PATH`, on which the helpers are.
    path: Option<String>,
}

#[derive(Debug, Clone)]
struct LoginFile {
    path: PathBuf,
    /// Podman's: a key may name a repository or a namespace, and not only a registry.
    namespaces: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    #[serde(deserialize_with = "or_nothing")]
    auths: HashMap<String, Option<Entry>>,
    #[serde(deserialize_with = "or_nothing")]
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    #[serde(deserialize_with = "or_nothing")]
    auth: String,
    #[serde(deserialize_with = "or_nothing")]
    username: String,
    #[serde(deserialize_with = "or_nothing")]
    password: String,
    #[serde(deserialize_with = "or_nothing")]
    identitytoken: String,
}

/// Docker takes a null for nothing.
fn or_nothing<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Docker's `config.json`: in `DOCKER_CONFIG`, else in `~/.docker`.
pub fn docker_config_file(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")));
    folder.map(|folder| folder.join("config.json"))
}

impl DockerLogins {
    /// Where these variables of an environment say that the logins are.
    pub fn new(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let podman = |folder: PathBuf| folder.join("containers/auth.json");
        let config =
            set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(set("HOME")?).join(".config")));
        let root = || rustix::process::getuid().is_root().then(|| PathBuf::from("/run/containers/0/auth.json"));
        let runtime = set("REGISTRY_AUTH_FILE").map(PathBuf::from);
        let runtime = runtime.or_else(|| set("XDG_RUNTIME_DIR").map(|folder| podman(folder.into()))).or_else(root);
        let docker = docker_config_file(variable).map(|path| LoginFile { path, namespaces: false });
        let podman = runtime.into_iter().chain(config.map(podman)).map(|path| LoginFile { path, namespaces: true });
        DockerLogins {
            inline: set("DOCKER_AUTH_CONFIG").map(SecretString::from),
            files: docker.into_iter().chain(podman).collect(),
            path: set("PATH"),
        }
    }

    /// Where this process's environment says that they are.
    pub fn of_environment() -> Self {
        DockerLogins::new(&|name| std::env::var(name).ok())
    }

    /// What docker or podman would log in with to push or pull this; `None` when neither has a login.
    ///
    /// # Errors
    /// `Input` when a file is none of theirs; `BuildOrPush` when a helper fails.
    pub async fn find(&self, reference: &Reference) -> Result<Option<Credential>> {
        if let Some(text) = &self.inline {
            let found: Config = from_text(text.expose_secret().as_bytes(), "DOCKER_AUTH_CONFIG")?;
            let credential = found.in_auths(&names(reference, false), false, "DOCKER_AUTH_CONFIG")?;
            if credential.is_some() {
                return Ok(credential);
            }
        }
        for file in &self.files {
            let name = file.path.display().to_string();
            let text = match tokio::fs::read(&file.path).await {
                Ok(text) if text.iter().all(u8::is_ascii_whitespace) => continue,
                Ok(text) => text,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
                Err(error) => {
                    return Err(Error::input(format!("cannot read the logins in {name}"))
                        .cause(error)
                        .hint("DOCKER_CONFIG names another folder of docker's"));
                }
            };
            let config: Config = from_text(&text, &name)?;
            let names = names(reference, file.namespaces);
            let found = match config.helper(&names) {
                Some((helper, server)) => self.ask(helper, server, &file.path).await?,
                None => config.in_auths(&names, file.namespaces, &name)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn ask(&self, helper: &str, server: &str, file: &Path) -> Result<Option<Credential>> {
        let program = format!("docker-credential-{helper}");
        let failed = |why: String| {
            Error::build_or_push(format!("{program} gave no login for {server}: {why}"))
                .hint(format!("{} names this credential helper: does `docker login {server}` work?", file.display()))
        };
        if helper.contains('/') {
            return Err(failed("this is no name of a program".to_owned()));
        }
        let output = match tokio::time::timeout(HELPER_PATIENCE, self.run(&program, server)).await {
            Ok(Ok(output)) => output,
            // The latter is said, too, where one of PATH's folders is closed to us.
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                return Err(failed("there is no such program on PATH that could be run".to_owned()));
            }
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(format!("no answer within {} s", HELPER_PATIENCE.as_secs()))),
        };
        if !output.status.success() {
            // By the protocol an error's words are on stdout.
            let said = String::from_utf8_lossy(&output.stdout);
            let said = said.trim();
            if NOT_FOUND.contains(&said) {
                return Ok(None);
            }
            let said = if said.is_empty() { output.status.to_string() } else { said.chars().take(300).collect() };
            return Err(failed(said));
        }
        // Not what it said, which is a secret.
        let answer: Answer =
            serde_json::from_slice(&output.stdout).map_err(|_| failed("it answered no credential".to_owned()))?;
        if answer.username.is_empty() && answer.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(Credential { username: answer.username, password: answer.secret.into() }))
    }

    async fn run(&self, program: &str, server: &str) -> std::io::Result<Output> {
        let mut command = Command::new(program);
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let command = command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read says why.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        child.wait_with_output().await
    }
}

impl Client {
    /// A client of the registry that `reference` names, let in as docker and podman are there. As for them, its tokens may
    /// come from another host that it names: Docker Hub's and GitLab's do; and a login that cannot be had is missed only
    /// where the registry wants one.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub async fn as_docker(reference: &Reference, logins: &DockerLogins) -> Result<Client> {
        let first = match logins.find(reference).await {
            Ok(Some(first)) => first,
            Ok(None) => return Client::of(reference, None),
            Err(error) => {
                let auth = Auth::without([&[error.to_string()], error.hints()].concat().join("; "));
                return Client::with_auth(&reference.base_url(), auth, Patience::default());
            }
        };
        let (logins, reference, first) =
            (logins.clone(), reference.clone(), Arc::new(parking_lot::Mutex::new(Some(first))));
        let base_url = reference.base_url();
        let source: CredentialSource = Arc::new(move || {
            let (logins, reference, at_hand) = (logins.clone(), reference.clone(), first.lock().take());
            async move {
                // A helper's tokens end, too: it is asked anew.
                match at_hand {
                    Some(credential) => Ok(credential),
                    None => logins.find(&reference).await?.ok_or_else(|| {
                        Error::build_or_push(format!("the login to {} is gone", reference.registry))
                            .hint(format!("log in again: `docker login {}`", reference.registry))
                    }),
                }
            }
            .boxed()
        });
        Client::with_auth(&base_url, Auth::new(Some(source), Realms::AsNamed), Patience::default())
    }
}

impl Config {
    /// The helper to ask, and by which name of the registry.
    fn helper<'a>(&'a self, names: &'a [String]) -> Option<(&'a str, &'a str)> {
        let own = names.iter().find_map(|name| Some((self.cred_helpers.get(name)?.as_str(), name.as_str())));
        let own = own.filter(|(helper, _)| !helper.is_empty());
        let all = self.creds_store.as_deref().filter(|store| !store.is_empty());
        // The store knows registries only, and Docker Hub by docker's name for it.
        let registry = names.iter().find(|name| *name == HUB).or(names.last())?;
        own.or_else(|| Some((all?, registry)))
    }

    fn in_auths(&self, names: &[String], namespaces: bool, file: &str) -> Result<Option<Credential>> {
        let exact = names.iter().find_map(|name| self.auths.get_key_value(name));
        // Older files have whole URLs for keys.
        let by_host = || {
            let keys = self.auths.keys().filter(|key| !namespaces || key.contains("://"));
            let first = keys.filter(|key| names.iter().any(|name| name == host_of(key))).min()?;
            self.auths.get_key_value(first)
        };
        let Some((key, Some(entry))) = exact.or_else(by_host) else { return Ok(None) };
        let credential = |username: &str, password: &str| {
            Some(Credential { username: username.to_owned(), password: password.to_owned().into() })
        };
        if !entry.identitytoken.is_empty() {
            return Ok(credential(IDENTITY_TOKEN, &entry.identitytoken));
        }
        if entry.auth.is_empty() {
            return Ok(if entry.username.is_empty() { None } else { credential(&entry.username, &entry.password) });
        }
        let decoded = BASE64_STANDARD.decode(&entry.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair =
            decoded.as_deref().and_then(|text| text.split_once(':')).filter(|(username, _)| !username.is_empty());
        let (username, password) = pair.ok_or_else(|| malformed(file, &format!("the login of `{key}` is damaged")))?;
        Ok(credential(username, password.trim_matches('\0')))
    }
}

fn from_text<T: DeserializeOwned>(text: &[u8], name: &str) -> Result<T> {
    // The parser's own words may quote a password.
    serde_json::from_slice(text)
        .map_err(|error| malformed(name, &format!("line {}, column {}", error.line(), error.column())))
}

fn malformed(name: &str, why: &str) -> Error {
    Error::input(format!("{name} does not hold logins as docker writes them: {why}")).hint("mend it, or move it away")
}

/// What a registry is called in a file; where keys may name repositories, these first: `host/a/b`, `host/a`, `host`.
fn names(reference: &Reference, namespaces: bool) -> Vec<String> {
    let registry = reference.registry.as_str();
    let mut names = Vec::new();
    if namespaces {
        let name = reference.name();
        let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]).filter(|at| *at > registry.len());
        names = ends.map(|end| name[..end].to_owned()).collect();
        names.reverse();
    }
    match HUB_HOSTS.contains(&registry) {
        true => names.extend([HUB].into_iter().chain(HUB_HOSTS).map(str::to_owned)),
        false => names.push(registry.to_owned()),
    }
    names
}

/// `https://host/v1/` as `host`.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}
