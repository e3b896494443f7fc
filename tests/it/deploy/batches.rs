//! Questions that one request holds several of.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use serde_json::Value;
use steadystate::aws::Failure;
use steadystate::aws::failure::Reach;
use steadystate::deploy::follow::batch::{Batch, Found};

/// Answers each name with itself, and writes down what was asked for together.
#[derive(Default)]
struct Asked(Mutex<Vec<Vec<String>>>);

impl Asked {
    async fn call(&self, names: Vec<String>, refuse_several: bool) -> Result<Found, Failure> {
        self.0.lock().unwrap().push(names.clone());
        tokio::time::sleep(Duration::from_millis(5)).await;
        if refuse_several && names.len() > 1 {
            let code = Some("AccessDeniedException".to_owned());
            let late = Failure::late("ECS", "DescribeServices");
            return Err(Failure { code, status: Some(400), reach: Reach::Refused, ..late });
        }
        Ok(names.into_iter().filter(|name| name != "none").map(|name| (name.clone(), Value::from(name))).collect())
    }

    fn sizes(&self) -> Vec<usize> {
        self.0.lock().unwrap().iter().map(Vec::len).collect()
    }
}

async fn ask(batch: &Batch, asked: &Asked, place: &str, name: &str, due: Instant, refuse: bool) -> Option<Value> {
    let call = |names| asked.call(names, refuse);
    let mut found = batch.ask(place, vec![name.to_owned()], due, call).await.expect("an answer");
    assert!(found.len() <= 1, "{found:?}");
    found.remove(name)
}

#[tokio::test]
async fn who_is_due_asks_for_all_that_wait() {
    let (batch, asked) = (Batch::of(10), Asked::default());
    let now = Instant::now();
    let wait = |at: usize| now + Duration::from_millis(100 + at as u64);
    let names: Vec<String> = (0..25).map(|at| format!("s{at:02}")).collect();
    let all = names.iter().enumerate().map(|(at, name)| ask(&batch, &asked, "default", name, wait(at), false));
    let found = join_all(all).await;
    assert_eq!(found, names.iter().map(|name| Some(Value::from(name.as_str()))).collect::<Vec<_>>());
    assert_eq!(asked.sizes(), [10, 10, 5]);
    assert_eq!(asked.0.lock().unwrap()[0], names[..10]);
}

#[tokio::test]
async fn another_cluster_is_another_request_and_what_is_missing_is_not_found() {
    let (batch, asked) = (Batch::of(10), Asked::default());
    let now = Instant::now();
    let (a, b, none) = tokio::join!(
        ask(&batch, &asked, "one", "a", now, false),
        ask(&batch, &asked, "two", "b", now, false),
        ask(&batch, &asked, "two", "none", now, false),
    );
    assert_eq!((a, b, none), (Some("a".into()), Some("b".into()), None));
    let mut sizes = asked.sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2]);
}

#[tokio::test]
async fn who_is_left_alone_asks_for_itself() {
    let (batch, asked) = (Arc::new(Batch::of(10)), Arc::new(Asked::default()));
    let now = Instant::now();
    let (shared, log) = (batch.clone(), asked.clone());
    let leader = tokio::spawn(async move { ask(&shared, &log, "default", "a", now, false).await });
    let follower = ask(&batch, &asked, "default", "b", now + Duration::from_secs(60), false);
    let ended = async {
        while asked.sizes().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        leader.abort();
    };
    let (found, ()) = tokio::join!(follower, ended);
    assert_eq!(found, Some("b".into()));
    assert_eq!(asked.sizes(), [2, 1], "b was asked for by a, and then by itself");
}

#[tokio::test]
async fn what_is_refused_together_is_asked_for_apart() {
    let (batch, asked) = (Batch::of(10), Asked::default());
    let now = Instant::now();
    let all = ["a", "b", "c"].map(|name| ask(&batch, &asked, "default", name, now, true));
    assert_eq!(join_all(all).await, ["a", "b", "c"].map(|name| Some(Value::from(name))));
    assert_eq!(asked.sizes(), [3, 1, 1, 1]);
}
