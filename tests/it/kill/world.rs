//! A lab in this process, projects that deploy to it through proxies, and what is there afterwards.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use serde_json::{Value, json};
use steadystate::aws::reply::{id, list, text, texts};
use steadystate::aws::{self, Clients, Settings};
use steadystate::lab::lifecycle::{self, Options};
use steadystate::lab::runtime::Level;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::proxy::{Point, Proxy, Strike};
use crate::lab_runtime::image::tool_path;

/// Longer than any run takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub folder: TempDir,
    pub clients: Clients,
    lab: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<steadystate::error::Result<()>>,
}

impl World {
    pub async fn start() -> World {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let lab = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let options = Options {
            executable: Some(env!("CARGO_BIN_EXE_steady").into()),
            // hundreds of deploys in one account: a retry would move the points that are struck
            unlimited_requests: true,
            // what is asked of AWS does not depend on what the containers do
            runtime_level: Some(Level::Simulated),
            ..Options::new(folder.path().join("lab"))
        };
        let told = stop.clone();
        let served = tokio::spawn(lifecycle::serve_on(listener, options, async move { told.cancelled().await }));
        let settings = Settings {
            region: Some("us-east-1".into()),
            profile: None,
            endpoint_url: Some(format!("http://{lab}")),
            static_credentials: Some((
                lifecycle::ACCESS_KEY_ID.into(),
                SecretString::from(lifecycle::SECRET_ACCESS_KEY),
            )),
            ..Settings::default()
        };
        let clients = aws::connect(&settings).await.unwrap();
        World { folder, clients, lab, stop, served }
    }

    /// Something goes wrong from here on.
    pub async fn fault(&self, fault: Value) {
        let options = Options::new(self.folder.path().join("lab"));
        lifecycle::add_fault(&options, &serde_json::from_value(fault).unwrap()).await.unwrap();
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
    }

    /// A project of its own: all that it has at AWS is named `name`.
    pub async fn site(&self, name: &str) -> Site<'_> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::hard_link(tool_path(), folder.join("tool"))
            .or_else(|_| std::fs::copy(tool_path(), folder.join("tool")).map(drop))
            .unwrap();
        let site = Site { world: self, name: name.to_owned(), folder, proxy: Proxy::start(self.lab).await };
        site.write("steady.yaml", &PROJECT.replace("NAME", name));
        site.write("task-definition.json.hbs", TASK_DEFINITION);
        site.write("policy.json", POLICY);
        site.page(1);
        site
    }
}

const PROJECT: &str = r#"
services:
  NAME:
    image:
      repository: NAME
      create: { policy: policy.json, scan_on_push: true }
      tags: [latest, "{{var.tag}}"]
      build:
        layers:
          - { from: tool, to: /tool, mode: "0755" }
          - { from: page, to: /page }
        entrypoint: [/tool]
        stop_signal: SIGKILL
    task_definition: task-definition.json.hbs
    desired_count: 1
    launch_type: EC2
    load_balancer:
      type: network
      listener: { port: 8097 }
      container: web
      container_port: 80
      target_group:
        deregistration_delay: 1s
        health_check: { interval: 5s, healthy_threshold: 2, unhealthy_threshold: 2 }
    service_discovery: { namespace: NAME.local, name: NAME, type: SRV, container: web, container_port: 80 }
    rollout: { timeout: 5m }
variables: { tag: "1" }
"#;

const TASK_DEFINITION: &str = r#"{
  "family": "{{service}}",
  "networkMode": "bridge",
  "containerDefinitions": [{
    "name": "web", "image": "{{image}}", "memory": 16, "command": ["serve", "0.0.0.0:80", "ok"],
    "portMappings": [{ "containerPort": 80, "hostPort": 0 }]
  }]
}"#;

const POLICY: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [{
    "Sid": "pull", "Effect": "Allow", "Principal": { "AWS": "111122223333" }, "Action": ["ecr:BatchGetImage"]
  }]
}"#;

pub struct Site<'a> {
    world: &'a World,
    pub name: String,
    pub folder: PathBuf,
    pub proxy: Proxy,
}

/// How a run of `steady` ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub result: Value,
    pub stderr: String,
    pub seen: Vec<Point>,
    pub struck: bool,
}

impl Ended {
    pub fn well(self) -> Result<Ended, String> {
        match self.code {
            Some(0) => Ok(self),
            code => Err(format!("it ended with {code:?}: {}", self.stderr)),
        }
    }

    /// Of the image that was deployed.
    pub fn digest(&self) -> &str {
        self.result["digest"].as_str().unwrap_or_default()
    }
}

impl Site<'_> {
    pub fn write(&self, file: &str, content: &str) {
        std::fs::write(self.folder.join(file), content).unwrap();
    }

    /// The content of release `n`.
    pub fn page(&self, n: usize) {
        self.write("page", &format!("release {n}\n"));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steady"));
        let home = self.world.folder.path().join("home");
        command
            .args(arguments)
            .args(["--output", "json"])
            .current_dir(&self.folder)
            .env_clear()
            .envs(crate::replies::counted());
        command.env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("AWS_ENDPOINT_URL", format!("http://{}", self.proxy.address)).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub async fn run(&self, arguments: &[&str], strike: Option<Strike>) -> Ended {
        let (killer, mut wanted) = mpsc::unbounded_channel::<(Signal, oneshot::Sender<()>)>();
        self.proxy.arm(strike.map(|strike| (strike, killer)));
        let mut child = self.command(arguments).spawn().unwrap();
        let output = Output::of(&mut child);
        let mut killed = None;
        let mut too_long = std::pin::pin!(tokio::time::sleep(PATIENCE));
        let status = loop {
            tokio::select! {
                status = child.wait() => break status.unwrap(),
                Some((wanted, dead)) = wanted.recv() => {
                    signal(&child, wanted);
                    killed = Some(dead);
                }
                () = &mut too_long => panic!("{}: {arguments:?} takes too long", self.name),
            }
        };
        if let Some(dead) = killed {
            let _ = dead.send(());
        }
        output.ended(status.code(), &self.proxy).await
    }

    pub async fn deploy(&self) -> Ended {
        self.run(&["deploy"], None).await
    }

    /// Compares what there is at AWS under this site's name.
    pub async fn has(&self, wanted: State) -> Result<(), String> {
        let state = State::read(&self.name, &self.world.clients).await;
        if state == wanted { Ok(()) } else { Err(format!("there is {state:#?} in place of {wanted:#?}")) }
    }

    /// Takes the tasks away, so that they burden no other test.
    pub async fn retire(self) {
        let input = json!({ "service": self.name, "force": true });
        self.world.clients.delete_service(input).await.unwrap();
    }
}

/// To a child that has not been waited for.
pub fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Both pipes of a child, read as it writes.
pub struct Output {
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

impl Output {
    pub fn of(child: &mut Child) -> Output {
        Output { stdout: all_of(child.stdout.take().unwrap()), stderr: all_of(child.stderr.take().unwrap()) }
    }

    pub async fn ended(self, code: Option<i32>, proxy: &Proxy) -> Ended {
        let (stdout, stderr) = (self.stdout.await.unwrap(), self.stderr.await.unwrap());
        let (seen, struck) = proxy.seen();
        Ended { code, result: serde_json::from_str(&stdout).unwrap_or_default(), stderr, seen, struck }
    }
}

fn all_of(mut pipe: impl tokio::io::AsyncRead + Unpin + Send + 'static) -> JoinHandle<String> {
    tokio::spawn(async move {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).await.unwrap();
        String::from_utf8_lossy(&all).into_owned()
    })
}

/// All that matters of what a run leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub services: usize,
    /// Status, rollout state and revision of each of the service's deployments.
    pub deployments: Vec<(String, String, String)>,
    pub task_definition: String,
    /// Of the tasks that run.
    pub digests: Vec<String>,
    /// Of the service's family, in their order.
    pub revisions: Vec<String>,
    pub repositories: usize,
    pub tags: Vec<String>,
    pub load_balancers: usize,
    pub target_groups: usize,
    pub listeners: usize,
    pub namespaces: usize,
    pub discovery_services: usize,
    pub healthy_targets: usize,
}

impl State {
    async fn read(name: &str, clients: &Clients) -> State {
        let services = clients.describe_services(json!({ "services": [name] })).await.unwrap();
        let services: Vec<&Value> =
            list(&services, "services").iter().filter(|one| text(one, "status") == "ACTIVE").collect();
        let service = services.first().copied().cloned().unwrap_or_default();
        let deployments = list(&service, "deployments").iter().map(|one| {
            let revision = id(text(one, "taskDefinition")).to_owned();
            (text(one, "status").to_owned(), text(one, "rolloutState").to_owned(), revision)
        });
        let tasks = clients.list_tasks(json!({ "serviceName": name, "desiredStatus": "RUNNING" })).await.unwrap();
        let tasks = texts(&tasks, "taskArns");
        let mut digests = Vec::new();
        if !tasks.is_empty() {
            let tasks = clients.describe_tasks(json!({ "tasks": tasks })).await.unwrap();
            let containers = list(&tasks, "tasks").iter().flat_map(|task| list(task, "containers"));
            digests = containers.map(|container| text(container, "imageDigest").to_owned()).collect();
        }
        let revisions =
            clients.list_task_definitions(json!({ "familyPrefix": name, "maxResults": 100 })).await.unwrap();
        let revisions = texts(&revisions, "taskDefinitionArns").iter().map(|arn| id(arn).to_owned()).collect();
        let repositories =
            clients.describe_repositories(json!({ "repositoryNames": [name] })).await.unwrap_or_default();
        let repositories = list(&repositories, "repositories");
        let images = clients.describe_images(json!({ "repositoryName": name })).await.unwrap_or_default();
        let mut tags: Vec<String> =
            list(&images, "imageDetails").iter().flat_map(|image| texts(image, "imageTags")).collect();
        tags.sort();
        let elb = &clients.elbv2;
        let balancers = elb.describe_load_balancers().send().await.unwrap();
        let balancers: Vec<&str> = balancers
            .load_balancers()
            .iter()
            .filter(|one| one.load_balancer_name() == Some(name))
            .filter_map(|one| one.load_balancer_arn())
            .collect();
        let mut listeners = 0;
        for arn in &balancers {
            listeners += elb.describe_listeners().load_balancer_arn(*arn).send().await.unwrap().listeners().len();
        }
        let groups = elb.describe_target_groups().send().await.unwrap();
        let groups: Vec<&str> = groups
            .target_groups()
            .iter()
            .filter(|one| one.target_group_name() == Some(name))
            .filter_map(|one| one.target_group_arn())
            .collect();
        let mut healthy_targets = 0;
        for arn in &groups {
            let health = elb.describe_target_health().target_group_arn(*arn).send().await.unwrap();
            let states = health.target_health_descriptions().iter().filter_map(|one| one.target_health()?.state());
            healthy_targets += states.filter(|state| state.as_str() == "healthy").count();
        }
        let by =
            |name: &str, value: &str| json!({ "Filters": [{ "Name": name, "Values": [value], "Condition": "EQ" }] });
        let namespaces = clients.list_namespaces(by("NAME", &format!("{name}.local"))).await.unwrap();
        let namespaces = list(&namespaces, "Namespaces");
        let mut discovery_services = 0;
        for namespace in namespaces {
            let inside = by("NAMESPACE_ID", text(namespace, "Id"));
            discovery_services += list(&clients.list_discovery_services(inside).await.unwrap(), "Services").len();
        }
        State {
            services: services.len(),
            deployments: deployments.collect(),
            task_definition: id(text(&service, "taskDefinition")).to_owned(),
            digests,
            revisions,
            repositories: repositories.len(),
            tags,
            load_balancers: balancers.len(),
            target_groups: groups.len(),
            listeners,
            namespaces: namespaces.len(),
            discovery_services,
            healthy_targets,
        }
    }

    /// As a run that nothing disturbed leaves it: `revision` of `revisions` runs with `digest`.
    pub fn undisturbed(name: &str, revision: usize, revisions: usize, digest: &str, tags: &[&str]) -> State {
        let revisions = (1..=revisions).map(|n| format!("{name}:{n}")).collect();
        State::running(format!("{name}:{revision}"), revisions, digest, tags)
    }

    /// The service runs one of its family's revisions, and that is all there is.
    pub fn running(running: String, revisions: Vec<String>, digest: &str, tags: &[&str]) -> State {
        State {
            services: 1,
            deployments: vec![("PRIMARY".into(), "COMPLETED".into(), running.clone())],
            task_definition: running,
            digests: vec![digest.to_owned()],
            revisions,
            repositories: 1,
            tags: tags.iter().map(ToString::to_string).collect(),
            load_balancers: 1,
            target_groups: 1,
            listeners: 1,
            namespaces: 1,
            discovery_services: 1,
            healthy_targets: 1,
        }
    }
}
