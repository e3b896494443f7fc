//! What every command starts from: the global flags, the environment, the display, and the project and clients they
//! lead to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::lab;
use crate::aws::{self, Clients};
use crate::config::{self, Project, RolloutPlan};
use crate::deploy::Interrupt;
use crate::deploy::event::Events;
use crate::error::{Error, Result};
use crate::report::{Display, Output, Progress, Terminal};

#[derive(Debug, Default, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The folder of the project
    #[arg(short = 'C', long, global = true, value_name = "FOLDER")]
    pub directory: Option<PathBuf>,
    /// The project file, relative to --directory [default: steady.yaml]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// One of the project's environments
    #[arg(short, long, global = true, value_name = "NAME")]
    pub environment: Option<String>,
    /// One of the project's services; may be left out when there is only one
    #[arg(short, long, global = true, value_name = "NAME")]
    pub service: Option<String>,
    /// A variable of the templates: NAME=TEXT, or NAME:=JSON
    #[arg(long = "var", global = true, value_name = "NAME=TEXT")]
    pub variables: Vec<String>,
    /// The ECS cluster, instead of the project's
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The AWS region, instead of the project's
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
    /// The profile of AWS's configuration files
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Rehearse in the lab on this machine, started if none runs; nothing reaches AWS
    #[arg(long, global = true)]
    pub lab: bool,
    /// What stdout gets
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Output,
    /// What stderr gets meanwhile
    #[arg(long, global = true, value_enum, default_value_t, value_name = "STYLE")]
    pub progress: Progress,
}

impl Global {
    /// The flag that leads another command to the same folder, for hints: begins with a space unless empty.
    pub fn folder(&self) -> String {
        let folder = self.directory.as_deref().and_then(|folder| folder.to_str()).filter(|folder| !folder.is_empty());
        folder.map_or_else(String::new, |folder| format!(" -C {}", quoted(folder)))
    }

    /// The flags that lead another command to the same service, for hints: begins with a space unless empty.
    pub fn again(&self) -> String {
        let mut flags = self.folder();
        let mut add = |flag: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                flags.push_str(&format!(" {flag} {}", quoted(value)));
            }
        };
        add("-f", self.file.as_deref().and_then(|file| file.to_str()));
        add("--environment", self.environment.as_deref());
        add("--service", self.service.as_deref());
        add("--cluster", self.cluster.as_deref());
        add("--region", self.region.as_deref());
        add("--profile", self.profile.as_deref());
        if self.lab {
            flags.push_str(" --lab");
        }
        flags
    }
}

/// A word as a POSIX shell reads it back.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[derive(Clone)]
pub struct Context {
    pub global: Global,
    pub env: BTreeMap<String, String>,
    pub display: Display,
    pub interrupt: Interrupt,
}

/// A service by its name alone, and how to reach it.
pub struct Named {
    pub cluster: String,
    pub service: String,
    pub rollout: RolloutPlan,
    pub project: Option<Project>,
}

impl Context {
    pub fn new(
        global: Global,
        env: BTreeMap<String, String>,
        terminal: impl FnOnce(&BTreeMap<String, String>) -> Terminal,
    ) -> Self {
        let display = Display::new(global.output, global.progress, &terminal(&env));
        Context { global, env, display, interrupt: Interrupt::default() }
    }

    pub fn variable(&self, name: &str) -> Option<String> {
        self.env.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// The same, in another region.
    pub fn in_region(&self, region: String) -> Self {
        Context { global: Global { region: Some(region), ..self.global.clone() }, ..self.clone() }
    }

    /// The project as the global flags choose it; commands with flags of their own change the options.
    pub fn options(&self) -> Result<config::Options> {
        let global = &self.global;
        let variables = global.variables.iter().map(|argument| config::parse_variable(argument));
        Ok(config::Options {
            directory: global.directory.clone().unwrap_or_default(),
            file: global.file.clone(),
            environment: global.environment.clone(),
            service: global.service.clone(),
            cluster: global.cluster.clone(),
            region: global.region.clone(),
            profile: global.profile.clone(),
            variables: variables.collect::<Result<_>>()?,
            env: self.env.clone(),
            ..config::Options::default()
        })
    }

    /// The service that is meant, for commands that need to know nothing else of it. Where there is no project file
    /// --service and --cluster name it.
    pub fn named(&self, timeout: Option<Duration>) -> Result<Named> {
        // nothing is rendered, so that variables need no values
        let options = config::Options { without_rendering: true, timeout, ..self.options()? };
        if let (false, Some(service)) = (config::is_there(&options), &options.service) {
            let cluster = options.cluster.clone().unwrap_or_else(|| "default".to_owned());
            let default = RolloutPlan::default();
            let timeout_is_least = timeout.is_none();
            let rollout = RolloutPlan { timeout: timeout.unwrap_or(default.timeout), timeout_is_least, ..default };
            return Ok(Named { cluster, service: service.clone(), rollout, project: None });
        }
        let project = config::load(&options)?;
        let plan = &project.plan;
        let (cluster, service, rollout) = (plan.cluster.clone(), plan.service.clone(), plan.rollout.clone());
        Ok(Named { cluster, service, rollout, project: Some(project) })
    }

    /// The service that is meant, and the clients that reach it.
    pub async fn reach(&self, timeout: Option<Duration>, events: &Events) -> Result<(Named, Clients)> {
        let named = self.named(timeout)?;
        let clients = self.clients(named.project.as_ref(), events).await?;
        Ok((named, clients))
    }

    pub async fn load(&self, options: config::Options, events: &Events) -> Result<(Project, Clients)> {
        let project = config::load(&options)?;
        let clients = self.clients(Some(&project), events).await?;
        Ok((project, clients))
    }

    /// The same for what goes as far as the service. The lab has then what the project takes to be in its account.
    pub async fn load_to_deploy(&self, options: config::Options, events: &Events) -> Result<(Project, Clients)> {
        let (project, clients) = self.load(options, events).await?;
        if self.global.lab {
            lab::furnish(&project.plan, &clients, events).await;
        }
        Ok((project, clients))
    }

    /// Clients of the lab, or of AWS as flags, the project and AWS's own configuration say, in this order.
    pub async fn clients(&self, project: Option<&Project>, events: &Events) -> Result<Clients> {
        let given =
            |flag: &Option<String>, of: fn(&Project) -> Option<String>| flag.clone().or_else(|| project.and_then(of));
        let profile = given(&self.global.profile, |project| project.profile.clone());
        let settings = if self.global.lab {
            if self.global.profile.is_some() {
                return Err(Error::input("--lab and --profile exclude each other")
                    .hint("the lab has credentials of its own; nothing of yours is used there"));
            }
            let endpoint = lab::endpoint(self, events).await?;
            aws::Settings {
                region: Some(endpoint.region.clone()),
                profile: None,
                endpoint_url: Some(endpoint.url.clone()),
                variables: lab::variables(&endpoint, self),
                static_credentials: Some((endpoint.access_key_id, SecretString::from(endpoint.secret_access_key))),
            }
        } else {
            aws::Settings {
                region: given(&self.global.region, |project| project.region.clone()),
                profile,
                endpoint_url: project.and_then(|project| project.endpoint_url.clone()),
                static_credentials: None,
                variables: aws::Variables::default(),
            }
        };
        let clients = aws::connect(&settings).await?;
        let told = events.clone();
        clients.on_trouble(move |message| told.warn(message, None));
        Ok(clients)
    }
}
