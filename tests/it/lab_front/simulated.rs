//! `--runtime simulated`: states without processes.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use steadystate::lab::lifecycle::{self, ACCESS_KEY_ID, Options, SECRET_ACCESS_KEY, Status};
use steadystate::lab::runtime::Level;
use tempfile::TempDir;

use super::{TestLab, options};
use crate::signing::Signer;

fn simulated(folder: &TempDir) -> Options {
    Options { runtime_level: Some(Level::Simulated), ..options(folder.path()) }
}

impl TestLab {
    async fn start_simulated() -> TestLab {
        let folder = tempfile::tempdir().unwrap();
        let options = simulated(&folder);
        TestLab::start_with(folder, options).await
    }

    async fn ecs(&self, operation: &str, input: Value) -> Value {
        let answer = self.json(&format!("AmazonEC2ContainerServiceV20141113.{operation}"), &input).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text());
        answer.json()
    }

    async fn elb(&self, form: String) -> String {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        let key = (ACCESS_KEY_ID, SECRET_ACCESS_KEY);
        let signer = Signer { key, service: "elasticloadbalancing", time: SystemTime::now() };
        let answer = self.signed_by(signer, &[kind], &format!("{form}&Version=2015-12-01")).await;
        assert_eq!(answer.status, 200, "{form}: {}", answer.text());
        answer.text()
    }

    /// Registers a revision of `family` with one container `app` and what `more` says of it.
    async fn register(&self, family: &str, image: &str, more: Value) {
        let mut container = json!({"name": "app", "image": image, "memory": 64});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ecs("RegisterTaskDefinition", json!({"family": family, "containerDefinitions": [container]})).await;
    }

    /// Runs a task and waits until `done`; the task as it is then.
    async fn run_until(&self, family: &str, done: impl Fn(&Value) -> bool) -> Value {
        let run = self.ecs("RunTask", json!({"taskDefinition": family})).await;
        self.task_until(&run["tasks"][0]["taskArn"], done).await
    }

    async fn task_until(&self, arn: &Value, done: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let task = self.ecs("DescribeTasks", json!({"tasks": [arn]})).await["tasks"][0].clone();
            if done(&task) {
                return task;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{task:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn tag<'x>(xml: &'x str, name: &str) -> &'x str {
    let found = xml.split(&format!("<{name}>")).nth(1).and_then(|rest| rest.split('<').next());
    found.unwrap_or_else(|| panic!("no {name} in {xml}"))
}

#[tokio::test]
async fn containers_go_through_their_states_and_the_lab_says_that_they_do_no_more() {
    let lab = TestLab::start_simulated().await;
    lab.create("there").await;
    lab.push("there", "v1", b"layer").await;
    let Status::Running { report, .. } = lifecycle::status(&simulated(&lab.folder)).await.unwrap() else {
        panic!("it runs")
    };
    assert_eq!(report["runtime"], "simulated");
    assert!(report["warning"].as_str().unwrap().contains("503"), "{report}");

    let image = format!("{}/there:v1", lab.host);
    let fails = |how: &str| json!([{"name": "FAIL", "value": how}]);
    let check = json!({"command": ["CMD-SHELL", "true"], "interval": 5, "retries": 2});
    lab.register("good", &image, json!({"healthCheck": check})).await;
    lab.register("crashing", &image, json!({"environment": fails("start")})).await;
    lab.register("sick", &image, json!({"environment": fails("health"), "healthCheck": check})).await;
    lab.register("missing", &format!("{}/none:v1", lab.host), json!({})).await;

    let good = lab.run_until("good", |task| task["healthStatus"] == "HEALTHY").await;
    assert_eq!((&good["lastStatus"], &good["containers"][0]["lastStatus"]), (&json!("RUNNING"), &json!("RUNNING")));
    assert!(good["containers"][0]["imageDigest"].as_str().unwrap().starts_with("sha256:"));
    lab.ecs("StopTask", json!({"task": good["taskArn"]})).await;
    let stopped = lab.task_until(&good["taskArn"], |task| task["lastStatus"] == "STOPPED").await;
    assert_eq!((&stopped["stopCode"], &stopped["containers"][0]["exitCode"]), (&json!("UserInitiated"), &json!(0)));

    let crashed = lab.run_until("crashing", |task| task["lastStatus"] == "STOPPED").await;
    assert_eq!(crashed["stoppedReason"], "Essential container in task exited");
    assert_eq!(crashed["containers"][0]["exitCode"], 1);

    lab.run_until("sick", |task| task["healthStatus"] == "UNHEALTHY").await;

    let missing = lab.run_until("missing", |task| task["lastStatus"] == "STOPPED").await;
    let reason = missing["containers"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("CannotPullContainerError"), "{reason}");
    lab.end().await;
}

#[tokio::test]
async fn containers_that_others_wait_for_end_or_are_healthy() {
    let lab = TestLab::start_simulated().await;
    lab.create("there").await;
    lab.push("there", "v1", b"layer").await;
    let image = format!("{}/there:v1", lab.host);
    let check = json!({"command": ["CMD", "true"], "interval": 5});
    let waits = json!([
        {"containerName": "migrate", "condition": "SUCCESS"}, {"containerName": "proxy", "condition": "HEALTHY"},
    ]);
    let containers = json!([
        {"name": "app", "image": image, "memory": 64, "dependsOn": waits},
        {"name": "migrate", "image": image, "memory": 64, "essential": false},
        {"name": "proxy", "image": image, "memory": 64, "healthCheck": check},
    ]);
    lab.ecs("RegisterTaskDefinition", json!({"family": "three", "containerDefinitions": containers})).await;
    let task = lab.run_until("three", |task| task["lastStatus"] == "RUNNING").await;
    let container = |name: &str| {
        let mut containers = task["containers"].as_array().unwrap().iter();
        containers.find(|container| container["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (&container("migrate")["exitCode"], &container("migrate")["lastStatus"]),
        (&json!(0), &json!("STOPPED"))
    );
    assert_eq!(container("proxy")["healthStatus"], "HEALTHY");
    assert_eq!(container("app")["lastStatus"], "RUNNING");
    lab.end().await;
}

#[tokio::test]
async fn targets_are_healthy_after_a_check_s_time_and_urls_say_why_nobody_answers() {
    let lab = TestLab::start_simulated().await;
    lab.create("there").await;
    lab.push("there", "v1", b"layer").await;
    let state: Value = serde_json::from_slice(&std::fs::read(lab.folder.path().join("state.json")).unwrap()).unwrap();
    let subnet = |at: usize| state["ec2"]["subnets"][at]["id"].as_str().unwrap();
    let vpc = state["ec2"]["vpc_id"].as_str().unwrap();
    let ports = json!({"portMappings": [{"containerPort": 80, "hostPort": 0}]});
    lab.register("web", &format!("{}/there:v1", lab.host), ports).await;
    for (kind, protocol) in [("application", "HTTP"), ("network", "TCP")] {
        let subnets = format!("Subnets.member.1={}&Subnets.member.2={}", subnet(0), subnet(1));
        let created = lab.elb(format!("Action=CreateLoadBalancer&Name={kind}&Type={kind}&{subnets}")).await;
        let (balancer, host) = (tag(&created, "LoadBalancerArn"), tag(&created, "DNSName"));
        let settings = format!("Name={kind}&Protocol={protocol}&Port=80&VpcId={vpc}&TargetType=instance");
        let created = lab.elb(format!("Action=CreateTargetGroup&{settings}")).await;
        let group = tag(&created, "TargetGroupArn");
        let port = crate::ports::free_port();
        let action = format!("DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={group}");
        let listener = format!("LoadBalancerArn={balancer}&Protocol={protocol}&Port={port}&{action}");
        lab.elb(format!("Action=CreateListener&{listener}")).await;
        let balancers = json!([{"targetGroupArn": group, "containerName": "app", "containerPort": 80}]);
        let service =
            json!({"serviceName": kind, "taskDefinition": "web", "desiredCount": 2, "loadBalancers": balancers});
        lab.ecs("CreateService", service).await;
        let began = Instant::now();
        loop {
            let service = lab.ecs("DescribeServices", json!({"services": [kind]})).await["services"][0].clone();
            if service["deployments"][0]["rolloutState"] == "COMPLETED" {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{service:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let health = lab.elb(format!("Action=DescribeTargetHealth&TargetGroupArn={group}")).await;
        assert_eq!(health.matches("<State>healthy</State>").count(), 2, "{health}");
        let answer = lab.send("GET", &format!("http://{host}:{port}/"), &[], "").await;
        assert_eq!(answer.status, 503, "{kind}");
        assert!(answer.text().contains("--runtime simulated"), "{kind}: {}", answer.text());
    }
    lab.end().await;
}
