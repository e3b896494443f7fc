//! The lab's ECS: its API as request tables, its scheduler stepped through with a clock of our own.

mod alarms;
mod api;
mod capacity;
mod clusters;
#[cfg(debug_assertions)]
mod defects;
mod documents;
mod driver;
mod health;
mod identifiers;
mod instances;
mod moments;
mod placement;
mod properties;
mod refusals;
mod rollout;
mod steadfast;
mod strategies;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use serde_json::{Value, json};
use steadystate::lab::{
    Settings,
    api::{ApiError, ApiResult},
    clock::{Clock, Pace},
    ecs,
    elbv2::TargetStatus,
    scheduler::{self, Context, Effect, Observation},
    state::State,
};

pub const TARGET_GROUP: &str = "arn:aws:elasticloadbalancing:us-west-2:000000000000:targetgroup/web/0123456789abcdef";

pub fn settings() -> Settings {
    Settings {
        data: PathBuf::from("/nonexistent"),
        address: ([127, 0, 0, 1], 4566).into(),
        region: "us-west-2".into(),
        account_id: "000000000000".into(),
    }
}

/// What a lifecycle hook's function answers, or why it does not.
pub type Answer = Result<&'static str, &'static str>;

/// A lab without a runtime and a balancer: it plays them, in a time of its own.
pub struct Sim {
    pub state: State,
    pub settings: Settings,
    pub now: i64,
    /// Images that crash right after their start, cannot be pulled, or fail their target's health checks.
    pub crashing: BTreeSet<String>,
    pub missing: BTreeSet<String>,
    pub sick: BTreeSet<String>,
    /// Images whose containers keep others waiting.
    pub slow: BTreeSet<String>,
    /// How many healthy targets (or tasks, without a target group) there ever were at least.
    pub fewest_healthy: usize,
    pub watch: bool,
    /// How long (milliseconds) a target's connections last after its deregistration.
    pub draining: i64,
    pub pace: Pace,
    /// What the functions at these URLs answer, call by call; then nothing. And what they were told.
    pub functions: BTreeMap<String, VecDeque<Answer>>,
    pub events_of_hooks: Vec<Value>,
}

impl Sim {
    pub fn new() -> Self {
        let mut state = State { elbv2: balancer(), ..State::default() };
        ecs::prepare(&mut state, 0);
        Sim {
            state,
            settings: settings(),
            now: 1_700_000_000_000,
            crashing: BTreeSet::new(),
            missing: BTreeSet::new(),
            sick: BTreeSet::new(),
            slow: BTreeSet::new(),
            fewest_healthy: usize::MAX,
            watch: false,
            draining: 0,
            pace: Pace::Aws,
            functions: BTreeMap::new(),
            events_of_hooks: Vec::new(),
        }
    }

    pub fn try_call(&mut self, operation: &str, input: Value) -> ApiResult {
        ecs::apply(&mut self.state, &self.settings, self.now, operation, &input)
    }

    pub fn call(&mut self, operation: &str, input: Value) -> Value {
        self.try_call(operation, input).unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    pub fn refused(&mut self, operation: &str, input: Value) -> ApiError {
        match self.try_call(operation, input) {
            Ok(reply) => panic!("{operation} succeeded: {reply}"),
            Err(error) => error,
        }
    }

    /// Registers a revision of family `web` whose image is `image`; its ARN.
    pub fn register(&mut self, image: &str) -> String {
        let container = json!({"name": "app", "image": image, "memory": 64, "portMappings": [{"containerPort": 8080}]});
        let reply = self.call("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [container]}));
        reply["taskDefinition"]["taskDefinitionArn"].as_str().expect("an ARN").to_owned()
    }

    /// Creates service `web` on the latest revision, behind the target group, with the circuit breaker on.
    pub fn create(&mut self, desired: i64) {
        self.call("CreateService", service(desired));
    }

    pub fn service(&mut self) -> Value {
        self.call("DescribeServices", json!({"services": ["web"]}))["services"][0].clone()
    }

    pub fn events(&mut self) -> Vec<String> {
        let service = self.service();
        let events = service["events"].as_array().expect("events").iter().rev();
        events.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub fn service_deployment(&mut self) -> Value {
        let list = self.call("ListServiceDeployments", json!({"service": "web"}));
        let arn = list["serviceDeployments"][0]["serviceDeploymentArn"].clone();
        let reply = self.call("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]}));
        reply["serviceDeployments"][0].clone()
    }

    pub fn tasks(&mut self, desired_status: &str) -> Vec<Value> {
        let list = self.call("ListTasks", json!({"desiredStatus": desired_status}));
        let arns = list["taskArns"].clone();
        if arns.as_array().is_none_or(Vec::is_empty) {
            return Vec::new();
        }
        self.call("DescribeTasks", json!({"tasks": arns}))["tasks"].as_array().cloned().unwrap_or_default()
    }

    /// One step now, and what follows from it at the runtime and the balancer.
    pub fn step(&mut self) {
        let clock = Clock::new(self.pace);
        let context = Context { settings: &self.settings, clock, now: self.now };
        let outcome = scheduler::step(&mut self.state, context);
        for effect in outcome.effects {
            self.perform(effect);
        }
        self.balance();
        if self.watch {
            self.fewest_healthy = self.fewest_healthy.min(self.healthy_targets());
        }
        self.now = outcome.next.unwrap_or(self.now + 1000).clamp(self.now + 1, self.now + 1000);
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Stop { task_id, .. } => self.observe(Observation::Stopped { task_id }),
            Effect::Call { deployment, hook, url, event } => {
                self.events_of_hooks.push(serde_json::from_str(&event).expect("an event"));
                let answer = self.functions.get_mut(&url).and_then(VecDeque::pop_front);
                if let Some(answer) = answer {
                    let answer = answer.map(str::to_owned).map_err(str::to_owned);
                    self.observe(Observation::Answered { deployment, hook, answer });
                }
            }
            Effect::Start { task_id } => {
                let task = &self.state.ecs.tasks[&task_id];
                let image = task.containers[0].image.clone();
                let container = task.containers[0].name.clone();
                if self.slow.contains(&image) {
                    return;
                }
                if self.missing.contains(&image) {
                    let reason = format!("CannotPullContainerError: failed to resolve ref {image}: not found");
                    return self.observe(Observation::NotStarted { task_id, container, reason });
                }
                let digests = vec![(container.clone(), "sha256:11".to_owned())];
                self.observe(Observation::Started { task_id: task_id.clone(), digests });
                if self.crashing.contains(&image) {
                    self.observe(Observation::Exited { task_id, container, exit_code: 1, oom_killed: false });
                }
            }
        }
    }

    pub fn observe(&mut self, observation: Observation) {
        scheduler::observe(&mut self.state, observation);
    }

    /// New targets become healthy, those of sick images unhealthy, and draining takes its time.
    fn balance(&mut self) {
        for at in 0..self.state.elbv2.target_groups.len() {
            self.check_targets(at);
        }
    }

    fn check_targets(&mut self, group: usize) {
        let mut targets = self.state.elbv2.target_groups[group].targets.clone();
        for target in &mut targets {
            let task =
                ecs::locate(&self.state, &target.id, target.port).and_then(|(id, _)| self.state.ecs.tasks.get(&id));
            let sick = task.is_some_and(|task| self.sick.contains(&task.containers[0].image));
            target.status = match &target.status {
                TargetStatus::Draining { since, .. } => {
                    TargetStatus::Draining { since: *since, drained: self.now - since >= self.draining }
                }
                _ if sick => TargetStatus::Unhealthy {
                    reason: "Target.ResponseCodeMismatch".into(),
                    description: "Health checks failed with these codes: [503]".into(),
                },
                _ => TargetStatus::Healthy,
            };
        }
        targets.retain(|target| !matches!(target.status, TargetStatus::Draining { drained: true, .. }));
        self.state.elbv2.target_groups[group].targets = targets;
    }

    fn healthy_targets(&self) -> usize {
        let targets = self.state.elbv2.target_groups[0].targets.iter();
        targets.filter(|target| target.status == TargetStatus::Healthy).count()
    }

    /// Steps until `done`, at most an hour of the lab's time.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Sim) -> bool) {
        let end = self.now + 3_600_000;
        while !done(self) {
            assert!(self.now < end, "never {what}: {:#?}\n{:#}", self.events(), self.service());
            self.step();
        }
    }

    pub fn settle(&mut self) {
        self.until("steady", |sim| {
            sim.state.ecs.services.iter().all(|service| service.steady)
                && sim.events().last().is_some_and(|last| last.ends_with("has reached a steady state."))
                && sim.tasks("STOPPED").iter().all(|task| task["lastStatus"] == "STOPPED")
        });
    }

    pub fn seconds(&mut self, seconds: i64) {
        let end = self.now + seconds * 1000;
        while self.now < end {
            self.step();
        }
    }
}

pub fn service(desired: i64) -> Value {
    json!({
        "serviceName": "web",
        "taskDefinition": "web",
        "desiredCount": desired,
        "loadBalancers": [{"targetGroupArn": TARGET_GROUP, "containerName": "app", "containerPort": 8080}],
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true}},
    })
}

/// One network load balancer whose listener forwards to [`TARGET_GROUP`]; a second group is not attached,
/// and a third takes addresses.
fn balancer() -> steadystate::lab::elbv2::ElbState {
    let group = |arn: &str, target_type: &str| {
        json!({
            "arn": arn, "name": "web", "protocol": "TCP", "port": 80, "vpc_id": "vpc-1", "target_type": target_type,
            "health_check": {"enabled": true, "protocol": "TCP", "port": null, "path": null, "interval": 30, "timeout": 10,
                "healthy_threshold": 3, "unhealthy_threshold": 3, "matcher": null},
            "attributes": {}, "tags": {}, "targets": [],
        })
    };
    let forward = |groups: Value| json!({"arn": "arn:rule", "priority": null, "conditions": [], "action": {"forward": {"groups": groups}}, "tags": {}});
    serde_json::from_value(json!({
        "load_balancers": [{
            "arn": "arn:lb", "name": "web", "kind": "network", "scheme": "internet-facing", "vpc_id": "vpc-1", "subnets": [],
            "security_groups": [], "ip_address_type": "ipv4", "created_at": 0, "address": "127.0.0.1", "attributes": {}, "tags": {},
        }],
        "target_groups": [group(TARGET_GROUP, "instance"), group("arn:alone", "instance"), group("arn:ips", "ip")],
        "listeners": [{
            "arn": "arn:listener", "load_balancer_arn": "arn:lb", "port": 80, "protocol": "TCP",
            "rules": [forward(json!([[TARGET_GROUP, 1], ["arn:ips", 1]]))], "tags": {},
        }],
    }))
    .expect("a balancer's state")
}
