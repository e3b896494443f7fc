//! Releases from end to end: the real binary against a real lab, which runs real containers.

mod afresh;
mod alarms;
pub(crate) mod bad_releases;
pub(crate) mod others;
mod rolling;
mod said;
mod shifts;
mod strategies;
pub(crate) mod trouble;

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use steadystate::aws::{self, Clients, Settings};
use steadystate::lab::clock::Hand;
use steadystate::lab::lifecycle::{self, Options};
use steadystate::lab::runtime::Level;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::program;

const STEADY: &str = env!("CARGO_BIN_EXE_steady");
/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A project and the lab that it is deployed to. Both go with their folder.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    port: u16,
    level: Option<Level>,
    /// Puts the lab's clock forward.
    hand: Hand,
    stop: CancellationToken,
    served: JoinHandle<steadystate::error::Result<()>>,
}

/// How one run of the binary ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    /// A service `web` of one task behind a network load balancer.
    pub(crate) async fn start() -> Bench {
        Bench::start_at(None).await
    }

    /// The same with containers at this level.
    pub(crate) async fn start_at(level: Option<Level>) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let hand = Hand::new();
        let (port, stop, served) = serve(folder.path(), 0, level, hand).await;
        let bench = Bench { folder, port, level, hand, stop, served };
        fs::create_dir(bench.project()).unwrap();
        fs::copy(program::compiled("release/web.rs"), bench.project().join("web")).unwrap();
        bench.page("one");
        bench.configure("timeout: 60s", "");
        bench.write("service.json", "{}");
        bench.task_definition(0);
        bench
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.served).await.expect("the lab ends").unwrap().unwrap();
    }

    /// `lab stop` and `lab start`: the same folder and port.
    pub(crate) async fn restart(&mut self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, &mut self.served).await.expect("the lab ends").unwrap().unwrap();
        (self.port, self.stop, self.served) = serve(self.folder.path(), self.port, self.level, self.hand).await;
    }

    pub(crate) fn project(&self) -> std::path::PathBuf {
        self.folder.path().join("project")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.project().join(name), text).unwrap();
    }

    /// What the next release answers.
    pub(crate) fn page(&self, text: &str) {
        self.write("page", text);
    }

    /// `rollout` is a member of `rollout:`; `more` are members of the service.
    pub(crate) fn configure(&self, rollout: &str, more: &str) {
        let text = format!(
            r#"
cluster: default
services:
  web:
    image:
      repository: web
      create: true
      tags: [latest]
      build:
        layers:
          - {{ from: web, to: /web, mode: "0755" }}
          - {{ from: page, to: /page }}
        entrypoint: [/web]
    task_definition: task-definition.json.hbs
    service: service.json
    launch_type: EC2
    load_balancer:
      type: network
      listener: {{ port: 8080 }}
      container: web
      container_port: 8080
      target_group:
        health_check: {{ protocol: HTTP, path: /healthz, interval: 10s, healthy_threshold: 2, unhealthy_threshold: 2 }}
    rollout: {{ {rollout} }}
    {more}
variables: {{ fail: "" }}
"#
        );
        self.write("steady.yaml", &text);
    }

    pub(crate) fn task_definition(&self, host_port: u16) {
        let port = json!({ "containerPort": 8080, "hostPort": host_port });
        let logs = json!({
            "awslogs-create-group": "true", "awslogs-group": "/it/web", "awslogs-region": "us-east-1",
            "awslogs-stream-prefix": "web",
        });
        let container = json!({
            "name": "web", "image": "{{image}}", "memory": 32, "portMappings": [port],
            "environment": [{ "name": "FAIL", "value": "{{var.fail}}" }],
            "logConfiguration": { "logDriver": "awslogs", "options": logs },
        });
        self.write("task-definition.json.hbs", &json!({ "containerDefinitions": [container] }).to_string());
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(STEADY);
        command
            .args(arguments)
            .current_dir(self.project())
            .env_clear()
            .envs(crate::replies::counted())
            .env("HOME", self.folder.path())
            .env("AWS_ENDPOINT_URL", self.url())
            .env("AWS_REGION", lifecycle::REGION)
            .env("AWS_ACCESS_KEY_ID", lifecycle::ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", lifecycle::SECRET_ACCESS_KEY)
            .kill_on_drop(true);
        command
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs `steady` to its end.
    pub(crate) async fn steady(&self, arguments: &[&str]) -> Run {
        let output = tokio::time::timeout(PATIENCE, self.command(arguments).output()).await;
        Run::of(output.unwrap_or_else(|_| panic!("steady {arguments:?} does not end")).unwrap())
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    }

    /// A deploy that is expected to end with 0: what `--output json` says.
    pub(crate) async fn deploy(&self) -> Value {
        self.good(&["deploy"]).await
    }

    pub(crate) async fn good(&self, arguments: &[&str]) -> Value {
        let run = self.steady(&[arguments, &["--output", "json"]].concat()).await;
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        serde_json::from_str(&run.stdout).unwrap()
    }

    pub(crate) async fn clients(&self) -> Clients {
        let secret = SecretString::from(lifecycle::SECRET_ACCESS_KEY.to_owned());
        let settings = Settings {
            region: Some(lifecycle::REGION.into()),
            endpoint_url: Some(self.url()),
            static_credentials: Some((lifecycle::ACCESS_KEY_ID.into(), secret)),
            ..Settings::default()
        };
        aws::connect(&settings).await.unwrap()
    }

    pub(crate) async fn service(&self) -> Value {
        let asked = self.clients().await.describe_services(json!({ "services": ["web"] })).await;
        asked.unwrap()["services"][0].clone()
    }

    /// All revisions of the family, ever.
    pub(crate) async fn revisions(&self) -> usize {
        let asked = self.clients().await.list_task_definitions(json!({ "familyPrefix": "web" })).await;
        asked.unwrap()["taskDefinitionArns"].as_array().unwrap().len()
    }

    /// Names of the blobs that the lab's registry has.
    fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("lab/blobs/sha256")).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Waits until the service's PRIMARY deployment is of this revision, in progress or not.
    pub(crate) async fn until_primary(&self, revision: u32) {
        let suffix = format!(":{revision}");
        let is = |service: &Value| {
            service["deployments"][0]["taskDefinition"].as_str().is_some_and(|arn| arn.ends_with(&suffix))
        };
        tokio::time::timeout(PATIENCE, async {
            while !is(&self.service().await) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("the revision becomes PRIMARY");
    }
}

async fn serve(
    folder: &Path,
    port: u16,
    runtime_level: Option<Level>,
    hand: Hand,
) -> (u16, CancellationToken, JoinHandle<steadystate::error::Result<()>>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let told = stop.clone();
    let options = Options {
        executable: Some(STEADY.into()),
        runtime_level,
        hand: Some(hand),
        ..Options::new(folder.join("lab"))
    };
    let served = tokio::spawn(lifecycle::serve_on(listener, options, async move { told.cancelled().await }));
    (port, stop, served)
}

impl Run {
    pub(crate) fn of(output: Output) -> Run {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Ended with this code, and said all of these.
    pub(crate) fn assert(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        for text in said {
            assert!(self.stderr.contains(text), "`{text}` is missing in: {}", self.stderr);
        }
    }
}

/// GETs a page: its text, if the status is 200.
pub(crate) async fn get(url: &str) -> Result<String, String> {
    steadystate::registry::use_ring();
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let answer = client.get(url).timeout(Duration::from_secs(10)).send().await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
    if status.as_u16() == 200 { Ok(text) } else { Err(format!("{status}: {text}")) }
}

pub(crate) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no `{member}` in {value}"))
}
