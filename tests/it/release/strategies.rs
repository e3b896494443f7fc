//! Releases that shift traffic, behind an application load balancer with two target groups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, ForwardActionConfig, LoadBalancerTypeEnum, ProtocolEnum, TargetGroupTuple, TargetTypeEnum,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Bench, PATIENCE, get, text};
use crate::ports::free_port;

/// A bench whose service document has all of its load balancer, and the page's URL.
async fn start() -> (Bench, String, Value) {
    let bench = Bench::start().await;
    let clients = bench.clients().await;
    let subnets = clients.ec2.describe_subnets(&[], &[]).await.unwrap();
    let (subnet, vpc) = (text(&subnets[0], "subnetId"), text(&subnets[0], "vpcId"));
    let elb = &clients.elbv2;
    let kind = LoadBalancerTypeEnum::Application;
    let subnets = subnets.iter().map(|subnet| text(subnet, "subnetId").to_owned()).collect();
    let created = elb.create_load_balancer().name("web").r#type(kind).set_subnets(Some(subnets)).send().await;
    let created = created.unwrap_or_else(|error| panic!("{subnet}: {error:?}"));
    let balancer = &created.load_balancers()[0];
    let mut groups = Vec::new();
    for name in ["blue", "green"] {
        let created = elb
            .create_target_group()
            .name(name)
            .protocol(ProtocolEnum::Http)
            .port(80)
            .vpc_id(vpc)
            .target_type(TargetTypeEnum::Instance)
            .health_check_path("/healthz")
            .health_check_interval_seconds(10)
            .healthy_threshold_count(2)
            .unhealthy_threshold_count(2);
        groups.push(created.send().await.unwrap().target_groups()[0].target_group_arn().unwrap().to_owned());
    }
    let tuple = |at: usize, weight| TargetGroupTuple::builder().target_group_arn(&groups[at]).weight(weight).build();
    let config = ForwardActionConfig::builder().target_groups(tuple(0, 1)).target_groups(tuple(1, 0)).build();
    let action = Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build();
    let port = free_port();
    let listener = elb.create_listener().load_balancer_arn(balancer.load_balancer_arn().unwrap());
    let listener =
        listener.protocol(ProtocolEnum::Http).port(port.into()).default_actions(action).send().await.unwrap();
    let listener = listener.listeners()[0].listener_arn().unwrap().to_owned();
    let rules = elb.describe_rules().listener_arn(listener).send().await.unwrap();
    let attached = json!([{
        "targetGroupArn": groups[0], "containerName": "web", "containerPort": 8080,
        "advancedConfiguration": {
            "alternateTargetGroupArn": groups[1], "productionListenerRule": rules.rules()[0].rule_arn().unwrap(),
            "roleArn": "arn:aws:iam::000000000000:role/ecsInfrastructureRole",
        },
    }]);
    let yaml = std::fs::read_to_string(bench.project().join("steady.yaml")).unwrap();
    let (before, rest) = yaml.split_once("    load_balancer:").unwrap();
    let (_, after) = rest.split_once("    rollout:").unwrap();
    bench.write("steady.yaml", &format!("{before}    rollout:{after}"));
    (bench, format!("http://{}:{port}/", balancer.dns_name().unwrap()), attached)
}

fn document(bench: &Bench, attached: &Value, desired: i64, configuration: Value) {
    let document =
        json!({ "loadBalancers": attached, "desiredCount": desired, "deploymentConfiguration": configuration });
    bench.write("service.json", &document.to_string());
}

fn strategies() -> [Value; 3] {
    [
        json!({ "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1 }),
        json!({
            "strategy": "CANARY", "bakeTimeInMinutes": 1,
            "canaryConfiguration": { "canaryPercent": 20.0, "canaryBakeTimeInMinutes": 1 },
        }),
        json!({
            "strategy": "LINEAR", "bakeTimeInMinutes": 0,
            "linearConfiguration": { "stepPercent": 50.0, "stepBakeTimeInMinutes": 1 },
        }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_strategy_ends_steady_and_a_bad_release_never_gets_through() {
    let (bench, url, attached) = start().await;
    document(&bench, &attached, 1, strategies()[0].clone());
    bench.deploy().await;
    assert_eq!(get(&url).await.unwrap(), "one");
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, until) = (url.clone(), stop.clone());
    let requests = tokio::spawn(async move {
        let (mut count, mut failures) = (0, Vec::new());
        while !until.load(Ordering::Relaxed) {
            count += 1;
            if let Err(failure) = get(&asked).await {
                failures.push(failure);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (count, failures)
    });
    for (page, configuration) in ["two", "three", "four"].into_iter().zip(strategies()) {
        document(&bench, &attached, 1, configuration.clone());
        bench.page(page);
        let released = bench.deploy().await;
        assert_eq!(text(&released, "status"), "steady");
        assert_eq!(get(&url).await.unwrap(), page, "{configuration}");
        let service = bench.service().await;
        assert_eq!(service["deploymentConfiguration"]["strategy"], configuration["strategy"]);
        assert_eq!((service["runningCount"].as_i64(), service["deployments"].as_array().unwrap().len()), (Some(1), 1));
        let run = bench.steady(&["deploy", "--var", "fail=health", "--progress", "lines"]).await;
        run.assert(5, &["Health checks failed with these codes: [500]", "is back and steady"]);
        assert_eq!(get(&url).await.unwrap(), page, "{configuration}");
    }
    stop.store(true, Ordering::Relaxed);
    let (count, failures) = requests.await.unwrap();
    assert_eq!(failures, Vec::<String>::new(), "of {count} requests");
    bench.end().await;
}

const REQUESTS: usize = 10_000;

/// How many requests each page answers.
async fn pages(url: &str) -> BTreeMap<String, usize> {
    steadystate::registry::use_ring();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let left = Arc::new(AtomicUsize::new(REQUESTS));
    let ask = |client: reqwest::Client, url: String, left: Arc<AtomicUsize>| async move {
        let mut pages: BTreeMap<String, usize> = BTreeMap::new();
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            let answer = client.get(&url).send().await.unwrap().error_for_status().unwrap();
            *pages.entry(answer.text().await.unwrap()).or_default() += 1;
        }
        pages
    };
    let all: Vec<_> = (0..8).map(|_| tokio::spawn(ask(client.clone(), url.to_owned(), left.clone()))).collect();
    let mut pages = BTreeMap::new();
    for asked in all {
        for (page, count) in asked.await.unwrap() {
            *pages.entry(page).or_default() += count;
        }
    }
    pages
}

/// The paused hook's id and the share of production traffic that was asked for.
async fn paused(bench: &Bench) -> (String, String, f64) {
    let ecs = bench.clients().await.ecs;
    let looked = async {
        loop {
            let list = ecs.list_service_deployments().service("web").send().await.unwrap();
            let arn = list.service_deployments()[0].service_deployment_arn().unwrap().to_owned();
            let found = ecs.describe_service_deployments().service_deployment_arns(&arn).send().await.unwrap();
            let deployment = &found.service_deployments()[0];
            let hook = deployment.lifecycle_hook_details().first();
            if let Some(hook) = hook.filter(|hook| hook.status().is_some_and(|of| of.as_str() == "AWAITING_ACTION")) {
                let target = deployment.target_service_revision().unwrap();
                return (
                    arn,
                    hook.hook_id().unwrap().to_owned(),
                    target.requested_production_traffic_weight().unwrap(),
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.expect("it pauses")
}

/// Canary and linear, two tasks each, held by a pause before each step and after the last.
#[tokio::test(flavor = "multi_thread")]
async fn the_share_of_requests_is_the_one_that_was_asked_for() {
    let (bench, url, attached) = start().await;
    document(&bench, &attached, 2, strategies()[0].clone());
    bench.deploy().await;
    let pause = json!([{
        "targetType": "PAUSE", "lifecycleStages": ["PRE_PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"],
    }]);
    let canary = json!({ "canaryPercent": 10.0, "canaryBakeTimeInMinutes": 0 });
    let linear = json!({ "stepPercent": 40.0, "stepBakeTimeInMinutes": 0 });
    let cases = [
        ("two", json!({ "strategy": "CANARY", "canaryConfiguration": canary }), vec![0.0, 10.0, 100.0]),
        ("three", json!({ "strategy": "LINEAR", "linearConfiguration": linear }), vec![0.0, 40.0, 80.0, 100.0]),
    ];
    for (page, mut configuration, shares) in cases {
        configuration["lifecycleHooks"] = pause.clone();
        document(&bench, &attached, 2, configuration);
        bench.page(page);
        let deploy = bench.spawn(&["deploy", "--timeout", "15m"]);
        for share in shares {
            let (deployment, hook, asked) = paused(&bench).await;
            assert_eq!(asked, share, "{page}");
            if (1.0..100.0).contains(&share) {
                let counted = pages(&url).await;
                let measured = counted.get(page).copied().unwrap_or_default() as f64 * 100.0 / REQUESTS as f64;
                assert!((measured - share).abs() <= 2.0, "{share} % of requests: {counted:?}");
                assert_eq!(counted.values().sum::<usize>(), REQUESTS);
            } else {
                let wanted =
                    if share == 0.0 { page != get(&url).await.unwrap() } else { page == get(&url).await.unwrap() };
                assert!(wanted, "{share} %");
            }
            let clients = bench.clients().await;
            let go_on = clients.ecs.continue_service_deployment().service_deployment_arn(deployment).hook_id(hook);
            go_on.send().await.unwrap();
        }
        let output = tokio::time::timeout(PATIENCE, deploy.wait_with_output()).await.expect("deploy ends").unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(get(&url).await.unwrap(), page);
    }
    bench.end().await;
}

/// A function at a URL: it answers these in turn, and gives back what it was told.
pub(super) async fn function(answers: Vec<&'static str>) -> (String, tokio::task::JoinHandle<Vec<Value>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/check?by=lab", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let mut told = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            let event = loop {
                let read = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
                if let Some(event) = body {
                    assert!(text.starts_with("POST /check?by=lab HTTP/1.1\r\n"), "{text}");
                    break event;
                }
                assert!(read > 0, "{text}");
            };
            told.push(event);
            let length = answer.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        told
    });
    (url, served)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_of_the_project_lets_a_release_through_or_not() {
    let (bench, url, attached) = start().await;
    document(&bench, &attached, 1, strategies()[0].clone());
    bench.deploy().await;
    bench.page("two");
    let in_progress = r#"{"hookStatus": "IN_PROGRESS", "callBackDelay": 5}"#;
    let (function, told) =
        function(vec![r#"{"hookStatus": "FAILED"}"#, in_progress, r#"{"hookStatus": "SUCCEEDED"}"#]).await;
    let mut configuration = strategies()[0].clone();
    configuration["lifecycleHooks"] = json!([{
        "hookTargetArn": function, "roleArn": "arn:aws:iam::000000000000:role/hooks",
        "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
    }]);
    document(&bench, &attached, 1, configuration);
    let run = bench.steady(&["deploy", "--progress", "lines"]).await;
    let why = format!(
        "POST_TEST_TRAFFIC_SHIFT lifecycle hook(s) failed. Lifecycle hook target {function} returned FAILED status."
    );
    run.assert(5, &[&why, "is back and steady"]);
    assert_eq!(get(&url).await.unwrap(), "one");
    bench.deploy().await;
    assert_eq!(get(&url).await.unwrap(), "two");
    let told = tokio::time::timeout(PATIENCE, told).await.expect("all were asked").unwrap();
    let stages: Vec<&str> = told.iter().map(|event| text(event, "lifecycleStage")).collect();
    assert_eq!(stages, ["POST_TEST_TRAFFIC_SHIFT"; 3]);
    assert_eq!(told[1]["executionId"], told[2]["executionId"]);
    assert_ne!(told[0]["resourceArn"], told[1]["resourceArn"]);
    bench.end().await;
}
