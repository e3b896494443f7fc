//! A rolling deploy of twenty real tasks while requests come at a rate that nothing slows down: none is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use steadystate::lab::runtime::{Level, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::lab_words::stage::Stage;

const TASKS: i64 = 20;
/// Requests a second, where the machine gives that many.
const RATE: f64 = 2000.0;
/// What a request may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);
/// Open files are what limits requests under way.
const MOST_AT_ONCE: usize = 150;
const TICK: Duration = Duration::from_millis(5);

/// What answered, and how often; and why requests were lost.
#[derive(Default)]
struct Tally {
    answers: BTreeMap<String, usize>,
    lost: Vec<String>,
}

impl Tally {
    fn add(&mut self, outcome: Result<String, String>) {
        match outcome {
            Ok(answer) => *self.answers.entry(answer).or_default() += 1,
            Err(why) => self.lost.push(why),
        }
    }

    fn count(&self) -> usize {
        self.answers.values().sum::<usize>() + self.lost.len()
    }
}

/// Requests to one URL, by turns on a connection that is kept and on one of their own.
#[derive(Clone)]
struct Requests {
    host: String,
    kept: reqwest::Client,
    turn: Arc<AtomicUsize>,
}

impl Requests {
    fn new(host: String) -> Requests {
        steadystate::registry::use_ring();
        let kept = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Requests { host, kept, turn: Arc::default() }
    }

    async fn ask(&self) -> Result<String, String> {
        if self.turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return self.ask_kept().await;
        }
        timeout(PATIENCE, self.ask_fresh()).await.unwrap_or_else(|_| Err("a new connection: no answer".into()))
    }

    async fn ask_kept(&self) -> Result<String, String> {
        let said = |error: reqwest::Error| format!("a kept connection: {error:?}");
        let answer = self.kept.get(format!("http://{}/sum/RELEASE", self.host)).send().await.map_err(said)?;
        let status = answer.status();
        let text = answer.text().await.map_err(said)?;
        if status == 200 { Ok(text) } else { Err(format!("a kept connection: {status} {text}")) }
    }

    async fn ask_fresh(&self) -> Result<String, String> {
        let said = |error: std::io::Error| format!("a new connection: {error}");
        let mut stream = TcpStream::connect(&self.host).await.map_err(said)?;
        let request = format!("GET /sum/RELEASE HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.host);
        stream.write_all(request.as_bytes()).await.map_err(said)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(said)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200 ") && !body.is_empty() => Ok(body.to_owned()),
            _ => Err(format!("a new connection: {answer:?}")),
        }
    }

    /// Requests a second that this machine answers when each waits for the one before.
    async fn measure(&self) -> f64 {
        let (begun, count) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let mut workers = JoinSet::new();
        for _ in 0..16 {
            let (requests, count) = (self.clone(), Arc::clone(&count));
            workers.spawn(async move {
                while begun.elapsed() < Duration::from_secs(1) {
                    requests.ask().await.unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        workers.join_all().await;
        count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
    }

    /// Asks at this rate, whatever becomes of what was asked before.
    async fn load(self, rate: f64, stop: Arc<AtomicBool>) -> Tally {
        let (begun, mut sent, mut tally) = (Instant::now(), 0, Tally::default());
        let mut under_way = JoinSet::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            while let Some(done) = under_way.try_join_next() {
                tally.add(done.unwrap());
            }
            let due = (begun.elapsed().as_secs_f64() * rate) as usize;
            while sent < due {
                sent += 1;
                if under_way.len() < MOST_AT_ONCE {
                    let requests = self.clone();
                    under_way.spawn(async move { requests.ask().await });
                }
            }
        }
        while let Some(done) = under_way.join_next().await {
            tally.add(done.unwrap());
        }
        tally
    }
}

/// How the lab runs containers on this machine.
fn level() -> Level {
    let folder = tempfile::tempdir().unwrap();
    let probes = Runtime::probe(folder.path(), std::path::Path::new(env!("CARGO_BIN_EXE_steady")));
    probes.into_iter().find(|probe| probe.outcome.is_ok()).unwrap().level
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_deploy_of_twenty_tasks_loses_no_request() {
    let stage = Stage::start().await;
    let mut cause = stage.cause();
    let (group, host) = stage.served_group("loaded", "instance").await;
    let release = async |name: &str| {
        let environment = json!([{"name": "RELEASE", "value": name}]);
        stage.define("loaded", json!({"environment": environment}), json!({})).await
    };
    let first = release("one").await;
    let balancers = json!([{"targetGroupArn": group, "containerName": "loaded", "containerPort": 8080}]);
    let balanced = json!({
        "loadBalancers": balancers, "healthCheckGracePeriodSeconds": 60,
        "deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 125},
    });
    cause.create("loaded", &first, TASKS, balanced).await;
    assert_eq!(cause.over("loaded").await, "SUCCESSFUL");

    let requests = Requests::new(host);
    let answer = requests.ask().await.unwrap();
    let most = requests.measure().await;
    // Room for the deploy itself, which takes its part of the machine.
    let rate = RATE.min(most / 2.0);
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(requests.clone().load(rate, Arc::clone(&stop)));
    sleep(Duration::from_millis(500)).await;
    let second = release("two").await;
    let begun = Instant::now();
    for definition in [&second, &first, &second] {
        cause.update("loaded", json!({"taskDefinition": definition})).await;
        assert_eq!(cause.over("loaded").await, "SUCCESSFUL");
    }
    let took = begun.elapsed();
    let new = requests.ask().await.unwrap();
    sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let tally = load.await.unwrap();

    let figures = format!(
        "{} requests at {rate:.0} a second ({most:.0} were possible) while {TASKS} tasks rolled three times in {took:.1?} \
         with containers by {}: {:?}, {} lost",
        tally.count(),
        level(),
        tally.answers.values(),
        tally.lost.len()
    );
    crate::rehearsal::figures(&figures);
    assert!(tally.lost.is_empty(), "{} lost: {:#?}", tally.lost.len(), &tally.lost[..tally.lost.len().min(10)]);
    assert_ne!(answer, new, "each release has its answer");
    assert_eq!(tally.answers.len(), 2, "only the releases answered: {:?}", tally.answers);
    for release in [answer, new] {
        assert!(tally.answers.get(&release).is_some_and(|count| *count > 50), "{release}: {:?}", tally.answers);
    }
    drop(cause);
    stage.end().await;
}
