//! Following against a lab that takes AWS's time and holds AWS's request budgets: how soon the end is noticed, and what it
//! costs. `tests/interop/test_waiters.py` prints the same of the AWS CLI's waiter.

#![allow(clippy::print_stdout)] // what was measured

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use secrecy::SecretString;
use serde_json::{Value, json};
use steadystate::aws::{self, Clients, Settings};
use steadystate::config::RolloutPlan;
use steadystate::deploy::event::{Event, Events};
use steadystate::deploy::follow::Steady;
use steadystate::deploy::follow::poller::Poller;
use steadystate::deploy::rollback::follow_together;
use steadystate::deploy::service::{Action, Placed};
use steadystate::error::{Error, Kind};
use steadystate::lab::clock::Pace;
use steadystate::lab::lifecycle::{self, Options, Status};
use steadystate::lab::runtime::Level;

use crate::lab_front::{TestLab, options};

/// A lab that runs no containers and takes AWS's time.
struct Slow {
    lab: TestLab,
    options: Options,
    clients: Clients,
}

impl Slow {
    async fn start() -> Slow {
        let folder = tempfile::tempdir().unwrap();
        let options =
            Options { pace: Some(Pace::Aws), runtime_level: Some(Level::Simulated), ..options(folder.path()) };
        let lab = TestLab::start_with(folder, options.clone()).await;
        let settings = Settings {
            region: Some(lifecycle::REGION.into()),
            endpoint_url: Some(format!("http://{}", lab.host)),
            static_credentials: Some((
                lifecycle::ACCESS_KEY_ID.into(),
                SecretString::from(lifecycle::SECRET_ACCESS_KEY),
            )),
            ..Settings::default()
        };
        let clients = aws::connect(&settings).await.unwrap();
        lab.create("there").await;
        lab.push("there", "v1", b"layer").await;
        let slow = Slow { lab, options, clients };
        slow.register("good", "").await;
        slow.register("bad", "start").await;
        slow
    }

    async fn register(&self, family: &str, fail: &str) {
        let container = json!({
            "name": "app", "image": format!("{}/there:v1", self.lab.host), "memory": 16,
            "environment": [{ "name": "FAIL", "value": fail }],
        });
        self.clients
            .register_task_definition(json!({ "family": family, "containerDefinitions": [container] }))
            .await
            .unwrap();
    }

    async fn create(&self, name: &str, family: &str, desired: i64) -> Placed {
        let input = json!({
            "serviceName": name, "taskDefinition": family, "desiredCount": desired,
            "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": true, "rollback": true } },
        });
        // as many at once as a burst holds
        let service = self.clients.create_service(input).await.unwrap()["service"].take();
        placed(service)
    }

    /// How many requests it has answered, and how many it throttled.
    async fn asked(&self) -> (u64, u64) {
        let Status::Running { report, .. } = lifecycle::status(&self.options).await.unwrap() else { panic!("it runs") };
        (report["requests"].as_u64().unwrap(), report["throttles"].as_u64().unwrap())
    }

    /// Milliseconds since the service's event with these words.
    async fn since(&self, service: &str, words: &str) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let reply = self.clients.describe_services(json!({ "services": [service] })).await.unwrap();
        let events = reply["services"][0]["events"].as_array().unwrap();
        let event = events.iter().find(|event| event["message"].as_str().unwrap().contains(words));
        let event = event.unwrap_or_else(|| panic!("no `{words}` in {events:#?}"));
        now - (event["createdAt"].as_f64().unwrap() * 1000.0) as i64
    }
}

fn placed(service: Value) -> Placed {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let primary = &service["deployments"][0];
    Placed {
        action: Action::Created,
        rolls: true,
        cluster: "default".into(),
        service_name: text(&service["serviceName"]),
        deployment_id: text(&primary["id"]),
        service_deployment: None,
        task_definition: text(&primary["taskDefinition"]),
        previous: None,
        before: Vec::new(),
        service_deployment_before: None,
        service: service.clone(),
        seen_events: Default::default(),
    }
}

async fn followed(slow: &Slow, placed: &Placed, poller: &Poller, events: &Events) -> Result<Steady, Error> {
    let rollout = RolloutPlan { timeout: Duration::from_secs(240), ..RolloutPlan::default() };
    follow_together(&rollout, placed, None, poller, &slow.clients, events).await
}

/// The longest that this machine keeps a program waiting, until it is asked.
fn lag() -> (Arc<AtomicU64>, tokio::task::AbortHandle) {
    let longest = Arc::new(AtomicU64::new(0));
    let noted = longest.clone();
    let ticking = tokio::spawn(async move {
        loop {
            let began = Instant::now();
            tokio::time::sleep(TICK).await;
            noted.fetch_max((began.elapsed() - TICK).as_millis() as u64, Ordering::Relaxed);
        }
    });
    (longest, ticking.abort_handle())
}

const TICK: Duration = Duration::from_millis(20);

async fn one_is_noticed_within_a_second_at_a_request_a_second() {
    let slow = Slow::start().await;
    let (events, _receiver) = Events::channel();
    let placed = slow.create("web", "good", 2).await;
    let (lag, ticking) = lag();
    let (before, started) = (slow.asked().await.0, Instant::now());
    let steady = followed(&slow, &placed, &Poller::default(), &events).await.expect("steady");
    let late = slow.since("web", "has reached a steady state").await;
    let (took, requests) = (started.elapsed().as_secs_f64(), slow.asked().await.0 - before);
    let rate = requests as f64 / took;
    println!("one: steady after {took:.1} s, noticed {late} ms later; {requests} requests, {rate:.2} a second");
    assert_eq!(steady.running, 2);
    ticking.abort();
    // what a busy machine adds to each of the few steps from there to here is not steady's
    let most = 1_000 + 5 * lag.load(Ordering::Relaxed) as i64;
    assert!((-50..=most).contains(&late), "noticed {late} ms later, where {most} ms are allowed");
    assert!(rate <= 1.0, "{requests} requests in {took:.1} s");
    slow.lab.end().await;
}

async fn fifty_share_their_requests() {
    let slow = Slow::start().await;
    let (events, _receiver) = Events::channel();
    let mut all = Vec::new();
    for at in 0..50 {
        all.push(slow.create(&format!("web{at}"), "good", 1).await);
    }
    let ((before, _), started) = (slow.asked().await, Instant::now());
    let poller = Poller::default();
    let ends = join_all(all.iter().map(|placed| followed(&slow, placed, &poller, &events))).await;
    let (took, (after, throttled)) = (started.elapsed().as_secs_f64(), slow.asked().await);
    let rate = (after - before) as f64 / took / 50.0;
    let ended = ends.iter().filter(|end| end.is_ok()).count();
    println!("fifty: steady after {took:.1} s; {} requests, {rate:.3} a second for each", after - before);
    assert_eq!((ended, throttled), (50, 0));
    assert!(rate <= 0.2, "{rate:.3} requests a second for each");
    slow.lab.end().await;
}

/// Where in the events steady's own warning is, and where ECS gives the deployment up.
fn told(events: &[Event]) -> (Option<usize>, Option<usize>) {
    let warned = |event: &Event| matches!(event, Event::Warning { message, .. } if message.contains("2 tasks stopped for the same cause"));
    let tripped =
        |event: &Event| matches!(event, Event::ServiceEvent { message, .. } if message.contains("deployment failed"));
    (events.iter().position(warned), events.iter().position(tripped))
}

/// ECS's circuit breaker trips at the third failure: by then steady has said why, or with `fail_fast: 2` has ended it.
async fn a_crash_loop_is_called_before_the_circuit_breaker() {
    let slow = Slow::start().await;
    let looped = async |name: &str, fail_fast: u32| {
        let (events, mut receiver) = Events::channel();
        let rollout = RolloutPlan { timeout: Duration::from_secs(240), fail_fast, ..RolloutPlan::default() };
        let (placed, started) = (slow.create(name, "bad", 1).await, Instant::now());
        let end = follow_together(&rollout, &placed, None, &Poller::default(), &slow.clients, &events).await;
        let error = end.expect_err("it fails");
        assert_eq!(error.kind(), Kind::RolloutFailed, "{error:?}");
        assert!(error.hints().iter().any(|hint| hint.contains("`app` exited with code 1")), "{error:?}");
        let seen: Vec<Event> = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        (told(&seen), started.elapsed().as_secs_f64(), seen)
    };
    let (patient, quick) = tokio::join!(looped("patient", 3), looped("quick", 2));
    let ((warned, tripped), _, seen) = patient;
    assert!(warned.is_some_and(|warned| tripped.is_none_or(|tripped| warned < tripped)), "{seen:#?}");
    let ((_, tripped), took, seen) = quick;
    assert_eq!(tripped, None, "{seen:#?}");
    println!("a crash loop: given up after {took:.1} s, before the circuit breaker tripped");
    slow.lab.end().await;
}

/// They wait side by side.
#[tokio::test(flavor = "multi_thread")]
async fn at_aws_s_pace_the_end_is_noticed_at_once_and_following_costs_little() {
    tokio::join!(
        one_is_noticed_within_a_second_at_a_request_a_second(),
        fifty_share_their_requests(),
        a_crash_loop_is_called_before_the_circuit_breaker(),
    );
}
