use std::path::{Path, PathBuf};
use std::process::Stdio;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::context::Context;
use super::credential_helper::PROGRAM;
use super::docker_config;
use crate::aws::Clients;
use crate::deploy;
use crate::deploy::event::{Event, Events};
use crate::deploy::login::Login;
use crate::error::{Error, Result};
use crate::image::ecr_host::EcrHost;
use crate::image::reference::registry_host;
use crate::{config, report};

/// Hand ECR's password to docker, podman, buildah, skopeo or helm, or have them ask for it by themselves
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Registries to log in to, of any account and region, if not the account's own
    #[arg(value_name = "REGISTRY")]
    registries: Vec<String>,
    /// Print the password on stdout instead, for a pipe into another client's `login --password-stdin`
    #[arg(long)]
    password_stdout: bool,
    /// The client to log in
    #[arg(long, value_name = "PROGRAM", default_value = "docker", conflicts_with = "password_stdout")]
    client: String,
    /// Have clients ask steady for the password whenever they need one: it becomes their credential helper for these
    /// registries (`docker-credential-steady`), and nobody logs in every twelve hours
    #[arg(long, conflicts_with_all = ["password_stdout", "client", "uninstall"])]
    install: bool,
    /// Take that back, for these registries or for all
    #[arg(long, conflicts_with_all = ["password_stdout", "client"])]
    uninstall: bool,
    /// Where --install puts the program, a folder on PATH [default: that of steady itself]
    #[arg(long, value_name = "FOLDER", requires = "install")]
    bin_dir: Option<PathBuf>,
}

/// The arguments with which `client` logs in: all but helm take docker's. The password is none of them.
pub fn login_arguments(client: &str, username: &str, registry: &str) -> Vec<String> {
    let name = Path::new(client).file_name().and_then(|name| name.to_str()).unwrap_or(client);
    let verb: &[&str] = if name == "helm" { &["registry", "login"] } else { &["login"] };
    // clients know a registry by its host; a scheme would be stored as another one
    let rest = ["--username", username, "--password-stdin", host_of(registry)];
    verb.iter().chain(&rest).map(|argument| (*argument).to_owned()).collect()
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
        let clients = context.clients(project.as_ref(), events).await?;
        if self.install {
            return self.install(registries, &clients, context, events).await;
        }
        let logins = logins(registries, &clients).await?;
        if self.password_stdout {
            let [login] = &logins[..] else {
                return Err(Error::input("--password-stdout prints one password, and there are several registries")
                    .hint("log in to one region at a time"));
            };
            if context.variable("GITHUB_ACTIONS").as_deref() == Some("true") {
                // Before the password can be in any log. The runner heeds stderr, too, and stdout is for a pipe.
                report::to_stderr(&format!("::add-mask::{}\n", login.password.expose_secret()));
            }
            report::to_stdout(&format!("{}\n", login.password.expose_secret()));
            return Ok(None);
        }
        for login in &logins {
            hand_over(&self.client, login, events).await?;
        }
        let shown = |login: &Login| {
            json!({
                "registry": login.registry,
                "username": login.username,
                "client": self.client,
                "expiresAt": login.expires_at,
            })
        };
        Ok(Some(match &logins[..] {
            [login] => shown(login),
            logins => logins.iter().map(shown).collect(),
        }))
    }

    async fn install(
        &self,
        mut registries: Vec<String>,
        clients: &Clients,
        context: &Context,
        events: &Events,
    ) -> Result<Option<Value>> {
        // What cannot be lent now will not be later: it is said here, and not by a `docker pull` some day.
        let own = logins(registries.clone(), clients).await?;
        if registries.is_empty() {
            registries = own.iter().map(|login| host_of(&login.registry).to_owned()).collect();
        }
        let executable = std::env::current_exe()
            .map_err(|error| Error::other("cannot find this executable, which is to be the helper").cause(error))?;
        let folder = match &self.bin_dir {
            Some(folder) => std::path::absolute(folder)
                .map_err(|error| Error::input(format!("--bin-dir is no path: {}", folder.display())).cause(error))?,
            None => executable.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        let program = docker_config::link(&executable, &folder)?;
        let path = context.variable("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|on_path| on_path == folder) {
            let message = format!("{} is not on PATH: clients will not find {PROGRAM} there", folder.display());
            events.warn(message, Some("--bin-dir names a folder that is".to_owned()));
        }
        let file = docker_config::file(context)?;
        docker_config::assign(&file, &registries)?;
        Ok(Some(json!({ "status": "installed", "registries": registries, "config": file, "program": program })))
    }
}

/// A login for each of these registries, or for the account's own.
async fn logins(registries: Vec<String>, clients: &Clients) -> Result<Vec<Login>> {
    if registries.is_empty() {
        return Ok(vec![deploy::login(clients).await?]);
    }
    let asked = registries.iter().map(|registry| async move {
        let (lender, ecr) = match EcrHost::parse(registry) {
            // a region's password is good for its own registries only
            Some(host) if host.region != clients.region => (clients.with_ecr_in(&host.region), true),
            host => (clients.clone(), host.is_some()),
        };
        let login = deploy::login(&lender).await?;
        let own = host_of(&login.registry).to_owned();
        if !ecr && *registry != own {
            let error = format!("{registry} is not a registry of ECR, and its password is not for others");
            return Err(Error::input(error).hint(format!("leave it out to log in to {own}")));
        }
        Ok(Login { registry: registry.clone(), ..login })
    });
    futures_util::future::try_join_all(asked).await
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
