use std::process::Stdio;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::context::Context;
use crate::deploy;
use crate::deploy::event::Events;
use crate::deploy::login::Login;
use crate::error::{Error, Result};
use crate::image::ecr_host::EcrHost;
use crate::image::reference::registry_host;
use crate::{config, report};

/// Hand ECR's password to docker, on its stdin
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The registry to log in to, if it is not the account's own
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
    /// Print the password on stdout instead, for a pipe into another client's `login --password-stdin`
    #[arg(long)]
    password_stdout: bool,
    /// The client to log in
    #[arg(long, value_name = "PROGRAM", default_value = "docker", conflicts_with = "password_stdout")]
    client: String,
}

/// The arguments of `docker login`; podman, buildah, skopeo and nerdctl take the same. The password is none of them.
pub fn docker_arguments(username: &str, registry: &str) -> [String; 5] {
    // clients know a registry by its host; a scheme would be stored as another one
    let host = registry.split_once("://").map_or(registry, |(_, host)| host).trim_end_matches('/');
    ["login", "--username", username, "--password-stdin", host].map(str::to_owned)
}

impl Args {
    pub async fn run(self, context: &Context, events: &Events) -> Result<Option<Value>> {
        let registry = self.registry.as_deref().map(registry_host).transpose()?;
        // a login needs no project, but takes the region of one that is there
        let options = config::Options { without_rendering: true, ..context.options()? };
        let project = if config::is_there(&options) { Some(config::load(&options)?) } else { None };
        let clients = context.clients(project.as_ref(), events).await?;
        let mut login = deploy::login(&clients).await?;
        if let Some(registry) = registry {
            check(&registry, &login.registry, &clients.region)?;
            login.registry = registry;
        }
        if self.password_stdout {
            report::to_stdout(&format!("{}\n", login.password.expose_secret()));
            return Ok(None);
        }
        hand_over(&self.client, &login, events).await?;
        Ok(Some(json!({
            "registry": login.registry,
            "username": login.username,
            "client": self.client,
            "expiresAt": login.expires_at,
        })))
    }
}

/// ECR's password opens ECR's registries of one region, and is nobody else's business.
fn check(registry: &str, own: &str, region: &str) -> Result<()> {
    let own = own.split_once("://").map_or(own, |(_, host)| host);
    match EcrHost::parse(registry) {
        _ if registry == own => Ok(()),
        None => Err(Error::input(format!("{registry} is not a registry of ECR, and its password is not for others"))
            .hint(format!("leave it out to log in to {own}"))),
        Some(host) if host.region != region => {
            Err(Error::input(format!("{registry} is in {}, and this would be a login for {region}", host.region))
                .hint(format!("say --region {}", host.region)))
        }
        Some(_) => Ok(()),
    }
}

/// Runs `client login` and writes the password to its stdin.
pub async fn hand_over(client: &str, login: &Login, events: &Events) -> Result<()> {
    let failed = |why: String| {
        Error::build_or_push(format!("{client} login failed: {why}"))
            .hint("`steady login --password-stdout` prints the password for another client")
    };
    let mut child = Command::new(client)
        .args(docker_arguments(&login.username, &login.registry))
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
        events.emit(crate::deploy::event::Event::Notice { message: line.to_owned() });
    }
    Ok(())
}
