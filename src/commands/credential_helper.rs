//! `docker-credential-steady`: this executable under that name lends docker, podman, buildah, skopeo and helm ECR's
//! password whenever they ask, so that nobody logs in every twelve hours.
//!
//! <https://github.com/docker/docker-credential-helpers>: the verb is the one argument, what it is about comes on stdin,
//! and an error's words go to stdout.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::{Context, Global};
use super::{docker_config, lab};
use crate::aws::PUBLIC_REGION;
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::{Error, Result};
use crate::image::EcrHost;
use crate::image::ecr_host::is_public;
use crate::image::reference::{is_loopback, registry_host};
use crate::report::{self, Terminal};

/// What the name of the program ends in is what `credHelpers` calls it; with a profile of AWS's after it, that one's
/// credentials are used: docker hands no arguments on.
pub const NAME: &str = "steady";
pub const PROGRAM: &str = "docker-credential-steady";

/// Docker takes these very words for "ask nobody else, there is none", and goes on without a login.
const NOT_FOUND: &str = "credentials not found in native keychain";
const NO_SERVER: &str = "no credentials server URL";

/// Longer than any address or credential.
const MOST_INPUT: u64 = 64 << 10;

/// What `credHelpers` calls the helper that uses this profile.
///
/// # Errors
/// `Input` when the profile's name cannot be in that of a program.
pub fn name_for(profile: Option<&str>) -> Result<String> {
    let Some(profile) = profile else { return Ok(NAME.to_owned()) };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@+=".contains(c);
    if profile.is_empty() || !profile.chars().all(fits) {
        return Err(Error::input(format!("the profile `{profile}` cannot be in the name of a credential helper"))
            .hint("leave it out, and set AWS_PROFILE where docker runs"));
    }
    Ok(format!("{NAME}-{profile}"))
}

/// Whether this is what `credHelpers` calls the helper, with whichever profile.
pub fn is_name(helper: &str) -> bool {
    helper.strip_prefix(NAME).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whether this process was called by the helper's name, and for which profile.
pub fn called(arguments: &[OsString]) -> Option<Option<String>> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name)?.to_str()?;
    let profile = name.strip_prefix(PROGRAM)?;
    if profile.is_empty() { Some(None) } else { Some(Some(profile.strip_prefix('-')?.to_owned())) }
}

pub fn main(arguments: &[OsString], profile: Option<String>, env: BTreeMap<String, String>) -> ExitCode {
    let verb = arguments.get(1).and_then(|verb| verb.to_str()).unwrap_or_default().to_owned();
    let context = Context::new(Global { profile, ..Global::default() }, env, |_| Terminal::default());
    let mut input = String::new();
    let answered = match verb.as_str() {
        "get" | "store" | "erase" => std::io::stdin()
            .lock()
            .take(MOST_INPUT)
            .read_to_string(&mut input)
            .map_err(|error| Error::input("cannot read what the credential is for").cause(error))
            .and_then(|_| block_on(answer(&verb, &input, &context))),
        _ => block_on(answer(&verb, &input, &context)),
    };
    match answered {
        Ok(answer) => {
            report::to_stdout(&answer);
            ExitCode::SUCCESS
        }
        Err(error) => {
            report::to_stdout(&format!("{}\n", in_a_line(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Clients print it as it is, and know two sentences.
fn in_a_line(error: &Error) -> String {
    if let Some(known) = [NOT_FOUND, NO_SERVER].into_iter().find(|known| error.to_string() == *known) {
        return known.to_owned();
    }
    let mut line = format!("steady: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(of) = cause {
        line.push_str(&format!(": {of}"));
        cause = of.source();
    }
    for hint in error.hints() {
        line.push_str(&format!("; {hint}"));
    }
    line.replace('\n', " ")
}

fn block_on(answer: impl Future<Output = Result<String>>) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::other("cannot start the runtime").cause(error))?;
    runtime.block_on(answer)
}

/// What stdout gets for a verb and what came on stdin.
async fn answer(verb: &str, input: &str, context: &Context) -> Result<String> {
    match verb {
        "get" => get(input.trim(), context).await.map(|credential| credential.to_string()),
        "store" => store(input).map(|()| String::new()),
        // There is nothing to forget, and a logout is no mistake.
        "erase" => Ok(String::new()),
        "list" => docker_config::assigned(&docker_config::file(context)?)
            .map(|hosts| hosts.into_iter().map(|host| (host, json!("AWS"))).collect::<Value>().to_string()),
        "version" | "--version" | "-v" => Ok(format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION"))),
        _ => Err(Error::input(format!("{PROGRAM} get, store, erase, list or version, and not `{verb}`"))
            .hint("clients call it by themselves: `steady login --install` tells them to")),
    }
}

async fn get(server: &str, context: &Context) -> Result<Value> {
    if server.is_empty() {
        return Err(Error::input(NO_SERVER));
    }
    let host = host_of(server)?;
    let public = is_public(&host);
    let context = match EcrHost::parse(&host) {
        Some(ecr) => context.in_region(ecr.region),
        None if public => context.in_region(PUBLIC_REGION.to_owned()),
        None if is_loopback(&host) && lab::is_at(&host, context).await? => {
            let global = Global { lab: true, ..Global::default() };
            Context { global, ..context.clone() }
        }
        None => return Err(Error::input(NOT_FOUND)),
    };
    let (sink, _) = Events::channel();
    let clients = context.clients(None, &sink).await?;
    let login = if public { deploy::public_login(&clients).await? } else { deploy::login(&clients).await? };
    Ok(json!({ "ServerURL": server, "Username": login.username, "Secret": login.password.expose_secret() }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stored {
    #[serde(rename = "ServerURL")]
    server_url: String,
}

/// A login to ECR has nothing to store, as every `get` lends a password of its own; any other password would be lost.
fn store(input: &str) -> Result<()> {
    let stored: Stored = serde_json::from_str(input)
        // not the input, which holds a password
        .map_err(|_| Error::input("what is to be stored is no credential"))?;
    let host = host_of(&stored.server_url)?;
    if EcrHost::parse(&host).is_some() || is_public(&host) || is_loopback(&host) {
        return Ok(());
    }
    Err(Error::input(format!("steady lends ECR's passwords and keeps none: {host} needs another credential helper"))
        .hint("name steady in `credHelpers` for ECR's hosts only: `steady login --install` does"))
}

/// `https://host/v1/` and `host` mean the same.
fn host_of(server: &str) -> Result<String> {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    registry_host(rest.split('/').next().unwrap_or_default())
}
