//! The lab that all causes share, and what was said in it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use steadystate::lab::lifecycle;
use tokio::time::{Instant, sleep};

use super::facts::{Where, facts, matches};
use crate::lab_front::{TestLab, options};
use crate::lab_runtime::image::{Layer, sha256, tool_path};
use crate::ports::free_port;
use crate::program;
use crate::rehearsal::texts;

const PATIENCE: Duration = Duration::from_secs(90);
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

type Texts = BTreeSet<(Where, String)>;

pub struct Stage {
    lab: TestLab,
    /// The release program, with the runtime's test program as `/tool`.
    pub image: String,
    subnets: Vec<String>,
    vpc: String,
    balancer: String,
    seen: Mutex<Texts>,
    caused: Mutex<Texts>,
}

/// What one cause led to.
pub struct Cause<'s> {
    pub stage: &'s Stage,
    seen: Texts,
}

impl Stage {
    pub async fn start() -> Stage {
        let lab = TestLab::start_real().await;
        let image = push(&lab).await;
        let mut stage = Stage {
            lab,
            image,
            subnets: Vec::new(),
            vpc: String::new(),
            balancer: String::new(),
            seen: Mutex::default(),
            caused: Mutex::default(),
        };
        let subnets = stage.query("2016-11-15", "DescribeSubnets", &[]).await;
        (stage.subnets, stage.vpc) = (texts(&subnets, "subnetId"), texts(&subnets, "vpcId").remove(0));
        let parameters =
            [("Name", "words"), ("Subnets.member.1", &stage.subnets[0]), ("Subnets.member.2", &stage.subnets[1])];
        stage.balancer = texts(&stage.elb("CreateLoadBalancer", &parameters).await, "LoadBalancerArn").remove(0);
        stage
    }

    pub async fn end(self) -> (Texts, Texts) {
        self.lab.end().await;
        (self.seen.into_inner().unwrap(), self.caused.into_inner().unwrap())
    }

    /// A JSON operation: its reply, or code and text of the error.
    pub async fn call(&self, target: &str, input: Value) -> Result<Value, String> {
        let answer = self.lab.json(target, &input).await;
        let reply = answer.json();
        let text = |member: &str| reply[member].as_str().unwrap_or_default().to_owned();
        if answer.status == 200 { Ok(reply) } else { Err(format!("{}: {}", text("__type"), text("message"))) }
    }

    pub async fn ecs(&self, operation: &str, input: Value) -> Value {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        self.call(&target, input).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// Makes trouble; its id.
    pub async fn fault(&self, fault: Value) -> u64 {
        let fault = serde_json::from_value(fault).unwrap();
        let added = lifecycle::add_fault(&options(self.lab.folder.path()), &fault).await.unwrap();
        added["id"].as_u64().unwrap()
    }

    pub async fn clear(&self, fault: u64) {
        lifecycle::clear_faults(&options(self.lab.folder.path()), &[fault]).await.unwrap();
    }

    pub async fn elb(&self, operation: &str, parameters: &[(&str, &str)]) -> String {
        self.query("2015-12-01", operation, parameters).await
    }

    async fn query(&self, version: &str, operation: &str, parameters: &[(&str, &str)]) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", operation).append_pair("Version", version).extend_pairs(parameters);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.lab.send("POST", "/", &headers, form.finish()).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text());
        answer.text()
    }

    /// A target group whose targets are asked for `/healthz`.
    pub async fn unattached(&self, name: &str, target_type: &str) -> String {
        let parameters = [
            ("Name", name),
            ("Protocol", "HTTP"),
            ("Port", "80"),
            ("VpcId", &self.vpc),
            ("TargetType", target_type),
            ("HealthCheckPath", "/healthz"),
            ("HealthCheckIntervalSeconds", "5"),
            ("HealthCheckTimeoutSeconds", "2"),
            ("HealthyThresholdCount", "2"),
            ("UnhealthyThresholdCount", "2"),
        ];
        texts(&self.elb("CreateTargetGroup", &parameters).await, "TargetGroupArn").remove(0)
    }

    /// One that a listener forwards to.
    pub async fn group(&self, name: &str, target_type: &str) -> String {
        self.served_group(name, target_type).await.0
    }

    /// The same, with host and port of the listener.
    pub async fn served_group(&self, name: &str, target_type: &str) -> (String, String) {
        let (group, port) = (self.unattached(name, target_type).await, free_port().to_string());
        let parameters = [
            ("LoadBalancerArn", self.balancer.as_str()),
            ("Protocol", "HTTP"),
            ("Port", &port),
            ("DefaultActions.member.1.Type", "forward"),
            ("DefaultActions.member.1.TargetGroupArn", &group),
        ];
        self.elb("CreateListener", &parameters).await;
        let described = self.elb("DescribeLoadBalancers", &[]).await;
        (group, format!("{}:{port}", texts(&described, "DNSName").remove(0)))
    }

    /// Members of a task definition for Fargate; it does for EC2, too.
    pub fn fargate() -> Value {
        json!({
            "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE", "EC2"], "cpu": "256", "memory": "512",
            "executionRoleArn": "arn:aws:iam::111122223333:role/any",
        })
    }

    pub fn network(&self) -> Value {
        json!({"awsvpcConfiguration": {"subnets": self.subnets}})
    }

    /// Registers a revision of one container, whose name is the family's, with `container` over its members; its ARN.
    pub async fn define(&self, family: &str, container: Value, more: Value) -> String {
        let mut whole = json!({
            "name": family, "image": self.image, "memory": 32, "portMappings": [{"containerPort": 8080}],
        });
        whole.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let mut input = json!({"family": family, "containerDefinitions": [whole]});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = self.ecs("RegisterTaskDefinition", input).await;
        reply["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    }

    pub fn cause(&self) -> Cause<'_> {
        Cause { stage: self, seen: Texts::new() }
    }
}

impl Cause<'_> {
    pub fn note(&mut self, place: Where, text: impl Into<String>) {
        let text = (place, text.into());
        self.stage.seen.lock().unwrap().insert(text.clone());
        self.seen.insert(text);
    }

    /// These came of it.
    #[track_caller]
    pub fn has(&self, texts: &[(Where, &str)]) {
        let facts = facts();
        for (place, part) in texts {
            // A part of a text that is on the list is enough to name it.
            let of = facts.iter().filter(|(of, pattern)| of == place && (pattern == part || pattern.contains(part)));
            let patterns: Vec<_> = of.collect();
            assert!(!patterns.is_empty(), "the list has no {place:?} {part}");
            let exact = patterns.iter().find(|(_, pattern)| pattern == part).or(patterns.first());
            let fact = exact.unwrap();
            let said = self.seen.iter().any(|(of, text)| of == place && matches(&fact.1, text));
            assert!(said, "{fact:?} did not come of it: {:#?}", self.seen);
            self.stage.caused.lock().unwrap().insert((*fact).clone());
        }
    }

    pub async fn create(&mut self, name: &str, definition: &str, desired: i64, more: Value) {
        let mut input = json!({"serviceName": name, "taskDefinition": definition, "desiredCount": desired});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.stage.ecs("CreateService", input).await;
    }

    pub async fn update(&mut self, name: &str, more: Value) {
        let mut input = json!({"service": name});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.stage.ecs("UpdateService", input).await;
    }

    /// The service as it is now; all that it says is noted.
    pub async fn service(&mut self, name: &str) -> Value {
        let reply = self.stage.ecs("DescribeServices", json!({"services": [name]})).await;
        let service = reply["services"][0].clone();
        for event in service["events"].as_array().unwrap() {
            self.note(Where::Event, event["message"].as_str().unwrap());
        }
        for deployment in service["deployments"].as_array().unwrap() {
            self.note(Where::Rollout, deployment["rolloutStateReason"].as_str().unwrap());
        }
        service
    }

    /// Its newest service deployment.
    pub async fn deployment(&mut self, name: &str) -> Value {
        let listed = self.stage.ecs("ListServiceDeployments", json!({"service": name})).await;
        let arn = listed["serviceDeployments"][0]["serviceDeploymentArn"].clone();
        let described = self.stage.ecs("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]})).await;
        let deployment = described["serviceDeployments"][0].clone();
        let reason = deployment["statusReason"].as_str().map_or(String::new(), |reason| format!(": {reason}"));
        self.note(Where::Deployment, format!("{}{reason}", deployment["status"].as_str().unwrap()));
        for monitor in ["deploymentCircuitBreaker", "alarms"] {
            self.note(Where::Monitor, format!("{monitor} {}", deployment[monitor]["status"].as_str().unwrap()));
        }
        deployment
    }

    pub async fn until(&mut self, name: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let service = self.service(name).await;
            self.deployment(name).await;
            if done(&service) {
                return service;
            }
            assert!(Instant::now() < until, "{name} is never {what}: {service:#}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until the service deployment is over: its status.
    pub async fn over(&mut self, name: &str) -> String {
        self.until(name, "over", |service| service["currentServiceDeployment"].is_null()).await;
        self.deployment(name).await["status"].as_str().unwrap().to_owned()
    }

    /// Until an event matches a pattern.
    pub async fn says(&mut self, name: &str, pattern: &str) -> Value {
        let is = |event: &Value| matches(pattern, event["message"].as_str().unwrap());
        self.until(name, pattern, |service| service["events"].as_array().unwrap().iter().any(is)).await
    }

    /// Until a task of the service's stopped for this reason, and what its containers say.
    pub async fn stops(&mut self, name: &str, reason: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let input = json!({"serviceName": name, "desiredStatus": "STOPPED"});
            let listed = self.stage.ecs("ListTasks", input).await["taskArns"].clone();
            let found = match listed.as_array().is_some_and(|arns| !arns.is_empty()) {
                true => self.stage.ecs("DescribeTasks", json!({"tasks": listed})).await["tasks"].clone(),
                false => json!([]),
            };
            let found = found.as_array().unwrap().clone();
            found.iter().for_each(|task| self.note_task(task));
            let is = |task: &&Value| {
                task["lastStatus"] == "STOPPED" && matches(reason, task["stoppedReason"].as_str().unwrap_or_default())
            };
            if let Some(task) = found.iter().find(is) {
                return task.clone();
            }
            assert!(Instant::now() < until, "no task stopped with {reason}: {found:#?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a task to its end.
    pub async fn run(&mut self, input: Value) -> Value {
        let reply = self.stage.ecs("RunTask", input).await;
        let arn = reply["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned();
        self.ended(&arn).await
    }

    pub async fn ended(&mut self, arn: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let task = self.stage.ecs("DescribeTasks", json!({"tasks": [arn]})).await["tasks"][0].clone();
            if task["lastStatus"] == "STOPPED" {
                self.note_task(&task);
                return task;
            }
            assert!(Instant::now() < until, "it does not stop: {task:#}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn note_task(&mut self, task: &Value) {
        if let (Some(code), Some(reason)) = (task["stopCode"].as_str(), task["stoppedReason"].as_str()) {
            self.note(Where::Stopped, format!("{code}: {reason}"));
        }
        for container in task["containers"].as_array().unwrap() {
            let Some(reason) = container["reason"].as_str() else { continue };
            let code = container["exitCode"].as_i64().map_or(String::new(), |code| format!("{code}: "));
            self.note(Where::Container, format!("{code}{reason}"));
        }
    }
}

async fn push(lab: &TestLab) -> String {
    lab.create("words").await;
    let login = lab.login().await;
    let mut layer = Layer::default();
    let program = std::fs::read(program::compiled("release/web.rs")).unwrap();
    layer.file("web", 0o755, &program).file("tool", 0o755, &std::fs::read(tool_path()).unwrap());
    let layer = layer.file("page", 0o644, b"words").finish();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": {"Entrypoint": ["/web"]}, "rootfs": {"type": "layers", "diff_ids": [sha256(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let blob = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": sha256(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": blob(CONFIG, &config), "layers": [blob(LAYER, &layer)],
    });
    for bytes in [config, layer] {
        let path = format!("/v2/words/blobs/uploads/?digest={}", sha256(&bytes));
        assert_eq!(lab.send("POST", &path, &[("authorization", &login)], bytes).await.status, 201);
    }
    let headers = [("authorization", login.as_str()), ("content-type", MANIFEST)];
    let answer = lab.send("PUT", "/v2/words/manifests/1", &headers, manifest.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    format!("{}/words:1", lab.host)
}
