//! Network load balancers over real sockets: half-close, turns, draining, rolling updates, restarts, busy ports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use steadystate::lab::elbv2;
use steadystate::lab::state::State;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::web::{KeepAlive, Web, get};
use super::{Front, Running, Targets, elb, error_text, lab, lab_with, until};

#[tokio::test]
async fn a_client_that_has_said_all_can_still_listen() {
    let front = Front::new(lab(), "network", json!({}));
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let targets = Targets::default();
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), echo.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).await.unwrap();
                heard.reverse();
                // A health check says nothing and is not there to hear.
                let _ = stream.write_all(&heard).await;
            });
        }
    });
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;

    let mut client = TcpStream::connect(front.address).await.unwrap();
    let said: Vec<u8> = (0..1_000_000).map(|at| (at % 251) as u8).collect();
    client.write_all(&said).await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    heard.reverse();
    assert!(heard == said, "{} bytes came back", heard.len());
    running.stop().await;
}

#[tokio::test]
async fn targets_take_turns_and_a_dead_one_costs_nothing() {
    let front = Front::new(lab(), "network", json!({}));
    let (one, two) = (Web::start("one").await, Web::start("two").await);
    let targets = Targets::default();
    targets.lock().unwrap().extend([("10.0.0.1".to_owned(), one.address), ("10.0.0.2".to_owned(), two.address)]);
    let running = Running::start(&front.lab, &targets);
    for ip in ["10.0.0.1", "10.0.0.2"] {
        front.register(ip);
        front.until_health(ip, "healthy").await;
    }
    for _ in 0..10 {
        get(front.address, "/").await.unwrap();
    }
    assert_eq!((one.requests.load(Ordering::Relaxed), two.requests.load(Ordering::Relaxed)), (5, 5));
    // Still `healthy` when it stops answering: the other one takes its connections.
    targets.lock().unwrap().remove("10.0.0.1");
    for _ in 0..10 {
        assert!(get(front.address, "/").await.unwrap().contains("two GET /"));
    }
    running.stop().await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn without_targets_a_connection_is_reset() {
    let front = Front::new(lab(), "network", json!({}));
    let running = Running::start(&front.lab, &Targets::default());
    let answer = get(front.address, "/").await;
    assert!(answer.is_err() || answer == Ok(String::new()), "{answer:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_draining_target_keeps_its_connections_and_gets_no_new_ones() {
    let front = Front::new(lab(), "network", json!({}));
    let delay = json!([{ "Key": "deregistration_delay.timeout_seconds", "Value": "60" }]);
    elb(&front.lab, "ModifyTargetGroupAttributes", json!({ "TargetGroupArn": front.group, "Attributes": delay }));
    let (old, new) = (Web::start("old").await, Web::start("new").await);
    let targets = Targets::default();
    targets.lock().unwrap().extend([("10.0.0.1".to_owned(), old.address), ("10.0.0.2".to_owned(), new.address)]);
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;
    let mut pinned = KeepAlive::new(front.address);
    pinned.get("/").await.unwrap();
    front.register("10.0.0.2");
    front.until_health("10.0.0.2", "healthy").await;

    front.deregister("10.0.0.1");
    assert_eq!(
        front.health("10.0.0.1"),
        "draining | Target.DeregistrationInProgress | Target deregistration is in progress"
    );
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(!front.is_gone("10.0.0.1"), "a connection is open");
    assert!(pinned.get("/").await.unwrap().contains("old GET /"));
    for _ in 0..4 {
        assert!(get(front.address, "/").await.unwrap().contains("new GET /"));
    }
    assert_eq!(pinned.reconnects, 0);
    drop(pinned);
    // Deregistration is complete when the last connection closes; the status says draining until the delay is over.
    until(|| front.is_gone("10.0.0.1")).await;
    until(|| front.health("10.0.0.1") == "gone").await;
    running.stop().await;
    old.stop().await;
    new.stop().await;
}

#[tokio::test]
async fn when_the_delay_is_over_connections_end_if_the_group_says_so() {
    let front = Front::new(lab(), "network", json!({}));
    let attributes = json!([
        { "Key": "deregistration_delay.timeout_seconds", "Value": "1" },
        { "Key": "deregistration_delay.connection_termination.enabled", "Value": "true" },
    ]);
    elb(&front.lab, "ModifyTargetGroupAttributes", json!({ "TargetGroupArn": front.group, "Attributes": attributes }));
    let web = Web::start("web").await;
    let targets = Targets::default();
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), web.address);
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;
    let mut client = TcpStream::connect(front.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    // Half a request: the target would wait for the rest of it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    front.deregister("10.0.0.1");
    let ended = tokio::time::timeout(Duration::from_secs(10), client.read_u8()).await.expect("it ends");
    assert!(ended.is_err());
    assert_eq!(front.health("10.0.0.1"), "gone");
    running.stop().await;
    web.stop().await;
}

#[tokio::test]
async fn a_request_that_is_under_way_is_waited_for_and_a_connection_that_is_only_kept_is_not() {
    for kind in ["network", "application"] {
        let front = Front::new(lab(), kind, json!({ "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/healthz" }));
        let delay = json!([{ "Key": "deregistration_delay.timeout_seconds", "Value": "30" }]);
        elb(&front.lab, "ModifyTargetGroupAttributes", json!({ "TargetGroupArn": front.group, "Attributes": delay }));
        let web = Web::start("old").await;
        let targets = Targets::default();
        targets.lock().unwrap().insert("10.0.0.1".to_owned(), web.address);
        let running = Running::start(&front.lab, &targets);
        front.register("10.0.0.1");
        front.until_health("10.0.0.1", "healthy").await;
        let mut kept = KeepAlive::new(front.address);
        kept.get("/").await.unwrap();
        let request = tokio::spawn(get(front.address, "/wait"));
        until(|| web.requests.load(Ordering::Relaxed) == 2).await;
        front.deregister("10.0.0.1");
        // Beyond the delay as the fast pace has it.
        tokio::time::sleep(Duration::from_millis(1000)).await;
        assert!(!front.is_gone("10.0.0.1"), "{kind}: a request is open");
        web.waiting.notify_one();
        assert!(request.await.unwrap().is_ok_and(|answer| answer.contains("old GET /wait")), "{kind}");
        let took = until(|| front.is_gone("10.0.0.1")).await;
        assert!(took < Duration::from_secs(5), "{kind}: {took:?}");
        drop(kept);
        running.stop().await;
        web.stop().await;
    }
}

/// Rolls from release to release, as the scheduler does, under a load of fresh and kept connections.
pub async fn roll_under_load(kind: &str) -> (usize, Vec<String>) {
    let front = Front::new(
        lab(),
        kind,
        json!({ "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/healthz", "HealthCheckIntervalSeconds": "10" }),
    );
    let delay = json!([{ "Key": "deregistration_delay.timeout_seconds", "Value": "10" }]);
    elb(&front.lab, "ModifyTargetGroupAttributes", json!({ "TargetGroupArn": front.group, "Attributes": delay }));
    let targets = Targets::default();
    let running = Running::start(&front.lab, &targets);
    let mut serving = Web::start("release-0").await;
    targets.lock().unwrap().insert("10.0.0.0".to_owned(), serving.address);
    front.register("10.0.0.0");
    front.until_health("10.0.0.0", "healthy").await;

    let (done, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for client in 0..6 {
        let (done, asked, address) = (Arc::clone(&done), Arc::clone(&asked), front.address);
        clients.push(tokio::spawn(async move {
            let mut failures = Vec::new();
            let mut kept = KeepAlive::new(address);
            while !done.load(Ordering::Relaxed) {
                let answer = if client % 2 == 0 { get(address, "/").await } else { kept.get("/").await };
                asked.fetch_add(1, Ordering::Relaxed);
                match answer {
                    Ok(answer) if answer.starts_with("HTTP/1.1 200") && answer.contains("release-") => {}
                    other => failures.push(format!("client {client}: {other:?}")),
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            failures
        }));
    }
    for release in 1..=6 {
        let (old_ip, new_ip) = (format!("10.0.0.{}", release - 1), format!("10.0.0.{release}"));
        let next = Web::start(&format!("release-{release}")).await;
        targets.lock().unwrap().insert(new_ip.clone(), next.address);
        front.register(&new_ip);
        front.until_health(&new_ip, "healthy").await;
        front.deregister(&old_ip);
        until(|| front.is_gone(&old_ip)).await;
        targets.lock().unwrap().remove(&old_ip);
        std::mem::replace(&mut serving, next).stop().await;
        let enough = asked.load(Ordering::Relaxed) + 30;
        until(|| asked.load(Ordering::Relaxed) >= enough).await;
    }
    done.store(true, Ordering::Relaxed);
    let mut failures = Vec::new();
    for client in clients {
        failures.extend(client.await.unwrap());
    }
    running.stop().await;
    serving.stop().await;
    (asked.load(Ordering::Relaxed), failures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_loses_no_request() {
    let (asked, failures) = roll_under_load("network").await;
    assert!(failures.is_empty(), "{} of {asked} failed: {failures:#?}", failures.len());
    assert!(asked >= 180, "{asked} requests say little");
}

#[tokio::test]
async fn a_restarted_lab_answers_at_the_same_address() {
    let front = Front::new(lab(), "network", json!({}));
    let web = Web::start("web").await;
    let targets = Targets::default();
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), web.address);
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;
    let kept = front.lab.read(|state| serde_json::to_string(state).unwrap());
    running.stop().await;
    drop(front.lab);

    let state: State = serde_json::from_str(&kept).unwrap();
    let lab = lab_with(state);
    // Somebody else has the port at first.
    let squatter = bind_soon(front.address).await;
    let running = Running::start(&lab, &targets);
    until(|| {
        lab.read(|state| elbv2::target_health(state, &front.group, "10.0.0.1", 80))
            .is_some_and(|one| one.state == "healthy")
    })
    .await;
    drop(squatter);
    let mut answer = get(front.address, "/").await;
    for _ in 0..400 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        answer = get(front.address, "/").await;
    }
    assert!(answer.unwrap().contains("web GET /"));
    running.stop().await;
    web.stop().await;
}

async fn bind_soon(address: std::net::SocketAddr) -> std::net::TcpListener {
    for _ in 0..400 {
        if let Ok(listener) = std::net::TcpListener::bind(address) {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{address} was not let go");
}

#[tokio::test]
async fn a_port_that_is_busy_is_an_error_that_names_it() {
    let front = Front::new(lab(), "network", json!({}));
    let squatter = std::net::TcpListener::bind((front.address.ip(), 0)).unwrap();
    let address = squatter.local_addr().unwrap();
    let input = json!({
        "LoadBalancerArn": front.load_balancer, "Protocol": "TCP", "Port": address.port().to_string(),
        "DefaultActions": [{ "Type": "forward", "TargetGroupArn": front.group }],
    });
    assert_eq!(
        error_text(elbv2::handle(&front.lab, "CreateListener", input.clone())),
        format!(
            "InvalidConfigurationRequest: The lab cannot listen on {address}: another program listens there. Choose another \
             listener port"
        )
    );
    drop(squatter);
    elb(&front.lab, "CreateListener", input.clone());
    // The same listener again is no conflict with itself, nor is one right after its deletion.
    let listener = super::text(&elb(&front.lab, "CreateListener", input.clone()), "/Listeners/0/ListenerArn");
    let running = Running::start(&front.lab, &Targets::default());
    tokio::time::sleep(Duration::from_millis(50)).await;
    elb(&front.lab, "DeleteListener", json!({ "ListenerArn": listener }));
    elb(&front.lab, "CreateListener", input);
    running.stop().await;
}
