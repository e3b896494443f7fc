//! Health checks over real sockets: how fast, which words, and that a quiet lab stays quiet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use steadystate::lab::balancer;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::web::Web;
use super::{Front, Running, Targets, lab};

fn healthz() -> serde_json::Value {
    json!({ "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/healthz" })
}

#[tokio::test]
async fn a_good_target_is_healthy_at_once_and_then_nothing_is_written() {
    let front = Front::new(lab(), "application", healthz());
    let web = Web::start("web").await;
    let targets = Targets::default();
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), web.address);
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    assert_eq!(front.health("10.0.0.1"), "initial | Elb.RegistrationInProgress | Target registration is in progress");
    let took = front.until_health("10.0.0.1", "healthy").await;
    // Far less than one scaled interval in practice; a busy machine gets some slack.
    assert!(took < Duration::from_millis(1000), "{took:?}");

    let mut changes = front.lab.changes();
    changes.borrow_and_update();
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert!(!changes.has_changed().unwrap(), "an idle lab writes nothing");
    running.stop().await;
    web.stop().await;
}

#[tokio::test]
async fn a_wrong_code_is_the_reason_until_it_is_right_again() {
    // (load balancer, reason)
    let table = [("application", "Target.ResponseCodeMismatch"), ("network", "Target.FailedHealthChecks")];
    for (kind, reason) in table {
        let front = Front::new(lab(), kind, healthz());
        let web = Web::start("web").await;
        web.health.store(503, Ordering::Relaxed);
        let targets = Targets::default();
        targets.lock().unwrap().insert("10.0.0.1".to_owned(), web.address);
        let running = Running::start(&front.lab, &targets);
        front.register("10.0.0.1");
        front.until_health("10.0.0.1", "initial | Elb.InitialHealthChecking").await;
        front.until_health("10.0.0.1", "unhealthy").await;
        assert_eq!(
            front.health("10.0.0.1"),
            format!("unhealthy | {reason} | Health checks failed with these codes: [503]")
        );
        web.health.store(500, Ordering::Relaxed);
        front
            .until_health("10.0.0.1", &format!("unhealthy | {reason} | Health checks failed with these codes: [500]"))
            .await;
        web.health.store(200, Ordering::Relaxed);
        // Five good checks, 30 s apart at AWS.
        let took = front.until_health("10.0.0.1", "healthy").await;
        assert!(took > Duration::from_millis(800), "{took:?}");
        running.stop().await;
        web.stop().await;
    }
}

#[tokio::test]
async fn a_target_that_is_late_to_listen_stays_initial_and_one_that_dies_is_unhealthy() {
    let front = Front::new(lab(), "application", healthz());
    let targets = Targets::default();
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "initial | Elb.InitialHealthChecking").await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(front.health("10.0.0.1").starts_with("initial"), "a program may take a second to start, at any pace");
    let web = Web::start("web").await;
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), web.address);
    front.until_health("10.0.0.1", "healthy").await;
    targets.lock().unwrap().clear();
    front.until_health("10.0.0.1", "unhealthy | Target.FailedHealthChecks | Health checks failed").await;
    running.stop().await;
    web.stop().await;
}

#[tokio::test]
async fn a_target_that_never_answers_times_out() {
    let mut check = healthz();
    check["HealthCheckTimeoutSeconds"] = json!("2");
    let front = Front::new(lab(), "application", check);
    let (web, mute) = (Web::start("web").await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let targets = Targets::default();
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), web.address);
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;
    // Its kernel takes connections, and nobody reads them.
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), mute.local_addr().unwrap());
    front.until_health("10.0.0.1", "unhealthy | Target.Timeout | Request timed out").await;
    running.stop().await;
    web.stop().await;
}

#[tokio::test]
async fn nothing_listens_where_the_health_check_looks() {
    let check = json!({
        "HealthCheckPort": "9999", "HealthCheckIntervalSeconds": "5", "HealthCheckTimeoutSeconds": "2",
        "UnhealthyThresholdCount": "2",
    });
    let front = Front::new(lab(), "network", check);
    let running = Running::start(&front.lab, &Targets::default());
    front.register("10.0.0.1");
    let took = front.until_health("10.0.0.1", "unhealthy | Target.FailedHealthChecks | Health checks failed").await;
    assert!(took >= Duration::from_secs(9), "as long as at AWS: a program may not listen yet; {took:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_check_may_take_as_long_as_at_aws_and_one_bad_moment_is_no_illness() {
    let front = Front::new(lab(), "application", healthz());
    let web = Web::start("web").await;
    web.health_takes.store(1500, Ordering::Relaxed);
    let targets = Targets::default();
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), web.address);
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;

    web.health_takes.store(0, Ordering::Relaxed);
    web.health.store(503, Ordering::Relaxed);
    let took = front.until_health("10.0.0.1", "unhealthy").await;
    assert!(took >= Duration::from_millis(2900), "{took:?}");
    running.stop().await;
    web.stop().await;
}

#[tokio::test]
async fn a_health_check_that_a_defect_ends_begins_again() {
    let front = Front::new(lab(), "application", healthz());
    let web = Web::start("web").await;
    let (address, dialled) = (web.address, Arc::new(AtomicUsize::new(0)));
    let times = dialled.clone();
    let dial: balancer::Dial = Arc::new(move |_, _| {
        assert!(times.fetch_add(1, Ordering::SeqCst) > 0, "a defect");
        Box::pin(TcpStream::connect(address))
    });
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(balancer::run_with(Arc::clone(&front.lab), dial, shutdown.clone()));
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;
    assert!(dialled.load(Ordering::SeqCst) > 1);
    shutdown.cancel();
    running.await.unwrap();
    web.stop().await;
}
