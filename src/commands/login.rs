use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::context::Context;
use super::{credential_helper, docker_config};
use crate::aws::{Clients, PUBLIC_REGION};
use crate::deploy;
use crate::deploy::event::{Event, Events};
use crate::deploy::login::Login;
use crate::error::{Error, Result};
use crate::image::ecr_host::{EcrHost, is_public};
use crate::image::reference::registry_host;
use crate::{config, report};

/// Hand ECR's password to docker, podman, buildah, skopeo or helm, or have them ask for it by themselves
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Registries to log in to, of any account and region, and public.ecr.aws, if not the account's own
    #[arg(value_name = "REGISTRY")]
    registries: Vec<String>,
    /// Print the password on stdout instead, for a pipe into another client's `login --password-stdin`
    #[arg(long)]
    password_stdout: bool,
    /// The client to log in, such as docker, podman, buildah, skopeo, helm, finch or nerdctl; may be given more than once
    #[arg(long = "client", value_name = "PROGRAM", default_value = "docker", conflicts_with = "password_stdout")]
    clients: Vec<String>,
    /// Have clients ask steady for the password whenever they need one: it becomes their credential helper for these
    /// registries (`docker-credential-steady`; with --profile one that uses this profile), and nobody logs in every twelve
    /// hours
    #[arg(long, conflicts_with_all = ["password_stdout", "clients", "uninstall"])]
    install: bool,
    /// Take that back, for these registries or for all
    #[arg(long, conflicts_with_all = ["password_stdout", "clients"])]
    uninstall: bool,
    /// Where --install puts the program, a folder on PATH [default: that of steady itself]
    #[arg(long, value_name = "FOLDER", requires = "install")]
    bin_dir: Option<PathBuf>,
}

/// The arguments with which `client` logs in: all but helm take docker's. The password is none of them.
pub fn login_arguments(client: &str, username: &str, registry: &str) -> Vec<String> {
    let name = Path::new(client).file_name().and_then(|name| name.to_str()).unwrap_or(client);
    let verb: &[&str] = if name == "helm" { &["registry", "login"] } else { &["login"] };
    // The others take it by themselves that this machine's registries, such as the lab's, speak http.
    let plain: &[&str] = match name {
        "podman" | "buildah" | "skopeo" if registry.starts_with("http://") => &["--tls-verify=false"],
        "helm" if registry.starts_with("http://") => &["--plain-http"],
        _ => &[],
    };
    // clients know a registry by its host; a scheme would be stored as another one
    let rest = ["--username", username, "--password-stdin", host_of(registry)];
    verb.iter().chain(plain).chain(&rest).map(|argument| (*argument).to_owned()).collect()
}

fn host_of(registry: &str) -> &str {
    registry.split_once("://").map_or(registry, |(_, host)| host).trim_end_matches('/')
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let registries = self.registries.iter().map(|text| registry_host(text)).collect::<Result<Vec<String>>>()?;
        if self.uninstall {
            let file = docker_config::file(context)?;
            let registries = docker_config::withdraw(&file, &registries)?;
            return Ok(Some(json!({ "status": "uninstalled", "registries": registries, "config": file })));
        }
        // a login needs no project, but takes the region of one that is there
        let options = config::Options { without_rendering: true, ..context.options()? };
        let project = if config::is_there(&options) { Some(config::load(&options)?) } else { None };
        let named = registries.first().and_then(|registry| region_of(registry));
        let clients = match named.filter(|_| context.global.region.is_none()) {
            // the registries say it themselves, and none need be set
            Some(region) => context.in_region(region).clients(project.as_ref(), events).await?,
            None => context.clients(project.as_ref(), events).await?,
        };
        let logins = logins(&registries, &clients).await?;
        if self.install {
            let own = logins.iter().map(|login| host_of(&login.registry).to_owned());
            let registries = if registries.is_empty() { own.collect() } else { registries };
            let profile = context.global.profile.clone().or_else(|| project.and_then(|project| project.profile));
            return self.install(&registries, profile.filter(|_| !context.global.lab), context, events);
        }
        if self.password_stdout {
            let [login, others @ ..] = &logins[..] else { return Ok(None) };
            if others.iter().any(|other| other.password.expose_secret() != login.password.expose_secret()) {
                return Err(Error::input("--password-stdout prints one password, and these registries have several")
                    .hint("a password is good for the registries of one region: ask for one region at a time"));
            }
            print_password(login, &registries, context, events);
            return Ok(None);
        }
        let mut shown = Vec::new();
        for client in &self.clients {
            for login in &logins {
                hand_over(client, login, events).await?;
                shown.push(json!({
                    "registry": login.registry,
                    "username": login.username,
                    "client": client,
                    "expiresAt": login.expires_at,
                }));
            }
        }
        Ok(Some(if shown.len() == 1 { shown.remove(0) } else { shown.into() }))
    }

    fn install(
        &self,
        registries: &[String],
        profile: Option<String>,
        context: &Context,
        events: &Events,
    ) -> Result<Option<Value>> {
        let helper = credential_helper::name_for(profile.as_deref())?;
        let executable = std::env::current_exe()
            .map_err(|error| Error::other("cannot find this executable, which is to be the helper").cause(error))?;
        let folder = match &self.bin_dir {
            Some(folder) => std::path::absolute(folder)
                .map_err(|error| Error::input(format!("--bin-dir is no path: {}", folder.display())).cause(error))?,
            None => executable.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        let program = docker_config::link(&executable, &folder, &helper)?;
        let path = context.variable("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|on_path| on_path == folder) {
            let message =
                format!("{} is not on PATH: clients will not find {} there", folder.display(), program.display());
            events.warn(message, Some("--bin-dir names a folder that is".to_owned()));
        }
        let file = docker_config::file(context)?;
        docker_config::assign(&file, registries, &helper)?;
        Ok(Some(json!({ "status": "installed", "registries": registries, "config": file, "program": program })))
    }
}

fn print_password(login: &Login, registries: &[String], context: &Context, events: &Events) {
    let password = login.password.expose_secret();
    if context.variable("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        // What the runner is told to hide it hides from here on, wherever a later step shows it.
        report::to_stderr(&format!("::add-mask::{password}\n"));
    }
    report::to_stdout(&format!("{password}\n"));
    if context.display.stdout_tty {
        let named: String = registries.iter().map(|registry| format!(" {registry}")).collect();
        let into = login_arguments("", &login.username, &login.registry).join(" ");
        let hint = format!("pipe it: `steady login --password-stdout{named} | docker {into}`");
        events.warn("the password now stands on this terminal", Some(hint));
    }
}

/// The region whose token a registry takes; none where the host does not say it.
fn region_of(registry: &str) -> Option<String> {
    if is_public(registry) {
        return Some(PUBLIC_REGION.to_owned());
    }
    EcrHost::parse(registry).map(|host| host.region)
}

/// A login for each of these registries, or for the account's own. Each region is asked once: its token is good for all
/// registries there that the caller may use.
async fn logins(registries: &[String], clients: &Clients) -> Result<Vec<Login>> {
    if registries.is_empty() {
        return Ok(vec![deploy::login(clients).await?]);
    }
    // no region is that of the clients themselves
    let lender = |registry: &String| (is_public(registry), region_of(registry));
    let lenders: BTreeSet<(bool, Option<String>)> = registries.iter().map(lender).collect();
    let asked = lenders.into_iter().map(|(public, region)| async move {
        let login = match (public, &region) {
            (true, _) => deploy::public_login(clients).await?,
            (false, Some(region)) if *region != clients.region => deploy::login(&clients.with_ecr_in(region)).await?,
            (false, _) => deploy::login(clients).await?,
        };
        Ok::<_, Error>(((public, region), login))
    });
    let lent: BTreeMap<_, Login> = futures_util::future::try_join_all(asked).await?.into_iter().collect();
    let login = |registry: &String| {
        let login = lent[&lender(registry)].clone();
        let own = host_of(&login.registry);
        if region_of(registry).is_some() {
            return Ok(Login { registry: registry.clone(), ..login });
        }
        if registry == own {
            return Ok(login);
        }
        let error = format!("{registry} is not a registry of ECR, and its password is not for others");
        Err(Error::input(error).hint(format!("leave it out to log in to {own}")))
    };
    registries.iter().map(login).collect()
}

/// Runs `client login` and writes the password to its stdin.
pub async fn hand_over(client: &str, login: &Login, events: &Events) -> Result<()> {
    let failed = |why: String| {
        Error::build_or_push(format!("{client} login failed: {why}"))
            .hint("`steady login --password-stdout` prints the password for another client")
    };
    let mut child = Command::new(client)
        .args(login_arguments(client, &login.username, &login.registry))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed(format!("there is no program `{client}` on PATH")),
            _ => failed(error.to_string()),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // a client that refuses before it reads says why on stderr
        let _ = stdin.write_all(login.password.expose_secret().as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    for line in String::from_utf8_lossy(&output.stderr).lines().filter(|line| !line.trim().is_empty()) {
        events.emit(Event::Notice { message: line.to_owned() });
    }
    Ok(())
}
