//! The lab's load balancers, EC2, Cloud Map and logs: request tables over the state, and real sockets.

mod api;
mod discovery;
mod dns;
mod ec2;

mod health;
mod http;
mod idle;
mod logs;
mod rules;
mod sticky;
mod tcp;
mod web;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use steadystate::lab::api::{ApiError, ApiResult};
use steadystate::lab::clock::{Clock, Pace};
use steadystate::lab::runtime::Runtime;
use steadystate::lab::state::State;
use steadystate::lab::{Lab, Settings, balancer, elbv2};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ports::free_port;

pub fn lab_with(state: State) -> Arc<Lab> {
    let settings = Settings {
        // Never written to; its random name keeps the load balancers' addresses of two tests apart.
        data: PathBuf::from(format!("/nonexistent/{}", steadystate::lab::api::random_hex(32))),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        region: "us-west-2".to_owned(),
        account_id: "000000000000".to_owned(),
    };
    Arc::new(Lab::new(settings, Clock::new(Pace::Fast), Runtime::disabled(), state))
}

pub fn lab() -> Arc<Lab> {
    lab_with(State::default())
}

/// An ELBv2 call, which must succeed.
pub fn elb(lab: &Lab, operation: &str, input: Value) -> Value {
    elbv2::handle(lab, operation, input).unwrap_or_else(|error| panic!("{operation}: {error}"))
}

pub fn error(result: ApiResult) -> ApiError {
    result.expect_err("an error")
}

/// `code: message`, with what differs from run to run cut out.
pub fn error_text(result: ApiResult) -> String {
    error(result).to_string()
}

/// A load balancer with one listener that forwards to one target group of type ip.
pub struct Front {
    pub lab: Arc<Lab>,
    pub load_balancer: String,
    pub listener: String,
    pub group: String,
    pub address: SocketAddr,
}

impl Front {
    /// `kind` is network or application; `group` adds to the target group's settings.
    pub fn new(lab: Arc<Lab>, kind: &str, group: Value) -> Front {
        let protocol = if kind == "network" { "TCP" } else { "HTTP" };
        let (vpc, subnets) = lab.read(|state| {
            let subnets: Vec<String> = state.ec2.subnets.iter().map(|subnet| subnet.id.clone()).collect();
            (state.ec2.vpc_id.clone(), subnets)
        });
        let created = elb(&lab, "CreateLoadBalancer", json!({ "Name": "front", "Type": kind, "Subnets": subnets }));
        let load_balancer = text(&created, "/LoadBalancers/0/LoadBalancerArn");
        let ip = text(&created, "/LoadBalancers/0/DNSName").parse().unwrap();
        let mut settings =
            json!({ "Name": "group", "Protocol": protocol, "Port": "80", "VpcId": vpc, "TargetType": "ip" });
        settings.as_object_mut().unwrap().extend(group.as_object().unwrap().clone());
        let group = text(&elb(&lab, "CreateTargetGroup", settings), "/TargetGroups/0/TargetGroupArn");
        let port = free_port();
        let created = elb(
            &lab,
            "CreateListener",
            json!({
                "LoadBalancerArn": load_balancer, "Protocol": protocol, "Port": port.to_string(),
                "DefaultActions": [{ "Type": "forward", "TargetGroupArn": group }],
            }),
        );
        let listener = text(&created, "/Listeners/0/ListenerArn");
        Front { lab, load_balancer, listener, group, address: SocketAddr::new(ip, port) }
    }

    pub fn register(&self, ip: &str) {
        let now = self.lab.clock.now();
        assert!(self.lab.write(|state| elbv2::register_target(state, &self.group, ip, 80, now)));
    }

    pub fn deregister(&self, ip: &str) {
        let now = self.lab.clock.now();
        self.lab.write(|state| elbv2::deregister_target(state, &self.group, ip, 80, now));
    }

    /// State and reason of a target, such as `initial Elb.RegistrationInProgress`.
    pub fn health(&self, ip: &str) -> String {
        let health = self.lab.read(|state| elbv2::target_health(state, &self.group, ip, 80));
        health.map_or("gone".to_owned(), |health| {
            [Some(health.state), health.reason, health.description]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" | ")
        })
    }

    pub fn is_gone(&self, ip: &str) -> bool {
        self.lab.read(|state| elbv2::target_is_gone(state, &self.group, ip, 80))
    }

    pub async fn until_health(&self, ip: &str, wanted: &str) -> Duration {
        until(|| self.health(ip).starts_with(wanted)).await
    }
}

/// A running balancer that reaches `10.0.0.N` at the address that `targets` has for it; others refuse.
pub struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

pub type Targets = Arc<std::sync::Mutex<std::collections::HashMap<String, SocketAddr>>>;

impl Running {
    pub fn start(lab: &Arc<Lab>, targets: &Targets) -> Running {
        let targets = Arc::clone(targets);
        let dial: balancer::Dial = Arc::new(move |target, _port| {
            let address = targets.lock().unwrap().get(&target).copied();
            Box::pin(async move {
                match address {
                    Some(address) => TcpStream::connect(address).await,
                    None => Err(std::io::ErrorKind::ConnectionRefused.into()),
                }
            })
        });
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(balancer::run_with(Arc::clone(lab), dial, shutdown.clone()));
        Running { shutdown, task }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// Waits until something holds, and says how long it took.
pub async fn until(mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "it did not come to hold within 20 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

pub fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no text at {pointer} in {value}")).to_owned()
}
