//! A push that is cut twenty times, at random moments and in every way.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::cutter::{Cut, Cutter, Random, When};
use crate::images::archives::{layer_of, saved_of};
use crate::lab_front::{TestLab, options};
use crate::site::{Ended, Site, noise};

/// The seed of a run that failed, to see it again.
const SEED: &str = "STEADY_TEST_SEED";

const CUTS: [Cut; 20] = [
    Cut::Lose(When::Before),
    Cut::Lose(When::Before),
    Cut::Lose(When::Middle),
    Cut::Lose(When::Middle),
    Cut::Lose(When::Middle),
    Cut::Lose(When::Done),
    Cut::Lose(When::Done),
    Cut::Lose(When::Done),
    Cut::Kill(When::Before),
    Cut::Kill(When::Middle),
    Cut::Kill(When::Middle),
    Cut::Kill(When::Done),
    Cut::Kill(When::Done),
    Cut::Kill(When::Done),
    Cut::Refuse(429, None),
    Cut::Refuse(429, Some(1)),
    Cut::Refuse(500, None),
    Cut::Refuse(503, None),
    Cut::Expire(401),
    Cut::Expire(403),
];

/// Passing requests between two cuts; with all of them used up, the push is not done yet.
const GAP: usize = 1;

/// As large as to be compressed on their way, and small ones that are compressed in memory.
const LARGE: usize = 12;
const SMALL: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_cut_twenty_times_ends_with_the_same_digest_and_sends_nothing_finished_again() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    #[allow(clippy::print_stdout)]
    {
        println!("{SEED}={seed}");
    }
    let folder = tempfile::tempdir().unwrap();
    let lab_options = steadystate::lab::lifecycle::Options { unlimited_requests: true, ..options(folder.path()) };
    let lab = TestLab::start_with(folder, lab_options).await;
    let mut cuts = CUTS.to_vec();
    let mut random = Random(seed);
    random.shuffle(&mut cuts);
    let cutter = Cutter::start(&lab.host, random.0, GAP, cuts).await;

    let site = Site::new(
        &format!("http://{}", cutter.address),
        "{ repository: hello, create: true, tags: [v1], build: { image: saved.tar } }",
    );
    let layers: Vec<Vec<u8>> = (0..LARGE + SMALL)
        .map(|at| layer_of(&noise(at as u64 + 1, if at < LARGE { (1 << 20) + at * 20_000 } else { 100_000 + at })))
        .collect();
    saved_of(&site.path("saved.tar"), &layers);
    let expected = site.command(&["build", "-o", "json"]).env("HOME", site.path("bin")).output().await.unwrap();
    let expected = Ended::of(expected).result()["digest"].clone();

    let mut runs = 0;
    let digest = loop {
        runs += 1;
        let ended = pushed(&site, &cutter, Signal::KILL).await;
        match ended.code {
            Some(0) => break ended.result()["digest"].clone(),
            // Killed, or several cuts met one blob: whoever ran it runs it again.
            None | Some(4) => {}
            _ => panic!("seed {seed}: {ended:?}"),
        }
        assert!(runs < 15, "seed {seed}: {:#?}", cutter.record().log);
    };
    {
        let record = cutter.record();
        let log = || format!("seed {seed}, {runs} runs: {:#?}", record.log);
        assert_eq!(digest, expected, "{}", log());
        assert_eq!(record.cuts, [], "all were made: {}", log());
        assert_eq!(record.again, Vec::<String>::new(), "{}", log());
        assert!(runs > CUTS.iter().filter(|cut| matches!(cut, Cut::Kill(_))).count(), "{}", log());
    }
    let asked = json!({ "repositoryName": "hello", "imageIds": [{ "imageTag": "v1" }] });
    let shown = lab.json("AmazonEC2ContainerRegistry_V20150921.DescribeImages", &asked).await;
    assert_eq!(shown.json()["imageDetails"][0]["imageDigest"], expected);
    lab.end().await;
}

/// Runs `steady push`, and sends this signal to it when the line says so.
pub async fn pushed(site: &Site, cutter: &Cutter, signal: Signal) -> Ended {
    let (killer, mut wanted) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    {
        let mut record = cutter.record();
        (record.killer, record.dying) = (Some(killer), false);
    }
    let mut child = site.command(&["push", "-o", "json"]).spawn().unwrap();
    let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    let ending = Ended::wait(&mut child);
    let mut ending = std::pin::pin!(tokio::time::timeout(Duration::from_secs(120), ending));
    let (ended, dead) = tokio::select! {
        ended = &mut ending => (ended, None),
        dead = wanted.recv() => {
            kill_process(pid, signal).unwrap();
            (ending.await, dead)
        }
    };
    cutter.record().killer = None;
    if let Some(dead) = dead {
        let _ = dead.send(());
    }
    ended.expect("it takes too long")
}
