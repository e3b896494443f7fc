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
use crate::deploy;
use crate::deploy::event::Events;
use crate::error::{Error, Result};
use crate::image::EcrHost;
use crate::image::reference::{is_loopback, registry_host};
use crate::report::{self, Terminal};

/// What the name of the program ends in is what `credHelpers` calls it.
pub const NAME: &str = "steady";
pub const PROGRAM: &str = "docker-credential-steady";

/// Docker takes these very words for "ask nobody else, there is none", and goes on without a login.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Longer than any address or credential.
const MOST_INPUT: u64 = 64 << 10;

/// Whether this process was called by the helper's name.
pub fn is_called(arguments: &[OsString]) -> bool {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    name.is_some_and(|name| name == PROGRAM)
}

pub fn main(arguments: &[OsString], env: BTreeMap<String, String>) -> ExitCode {
    let verb = arguments.get(1).and_then(|verb| verb.to_str()).unwrap_or_default().to_owned();
    let context = Context::new(Global::default(), env, |_| Terminal::default());
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

/// Clients print it as it is, and know one sentence.
fn in_a_line(error: &Error) -> String {
    if error.to_string() == NOT_FOUND {
        return NOT_FOUND.to_owned();
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
        "version" => Ok(format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION"))),
        _ => Err(Error::input(format!("{PROGRAM} get, store, erase, list or version, and not `{verb}`"))
            .hint("clients call it by themselves: `steady login --install` tells them to")),
    }
}

async fn get(server: &str, context: &Context) -> Result<Value> {
    let host = host_of(server)?;
    let (sink, _) = Events::channel();
    let clients = match EcrHost::parse(&host) {
        Some(ecr) => {
            let global = Global { region: Some(ecr.region), ..context.global.clone() };
            Context::new(global, context.env.clone(), |_| Terminal::default()).clients(None, &sink).await?
        }
        None if is_loopback(&host) && lab::is_at(&host, context).await? => {
            let global = Global { lab: true, ..context.global.clone() };
            Context::new(global, context.env.clone(), |_| Terminal::default()).clients(None, &sink).await?
        }
        None => return Err(Error::input(NOT_FOUND)),
    };
    let login = deploy::login(&clients).await?;
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
    if EcrHost::parse(&host).is_some() || is_loopback(&host) {
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
