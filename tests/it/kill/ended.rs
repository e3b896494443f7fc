//! Signals: SIGINT and SIGTERM end a run in order at any moment; no build outlives its `steady`, however that ended.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::proxy::{Deed, When};
use super::strikes;
use super::tally::Tally;
use super::world::{Output, Site, State, World, signal};

/// The code that a shell gives a command which this signal ended.
fn code(signal: Signal) -> Option<i32> {
    Some(128 + signal.as_raw())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_between_requests_ends_with_its_code_and_the_next_run_goes_on() {
    let began = Instant::now();
    let world = World::start().await;
    let site = world.site("calm").await;
    site.deploy().await.well().unwrap();
    site.page(2);
    let calm = site.deploy().await.well().unwrap();
    let site = world.site("signals").await;
    site.deploy().await.well().unwrap();
    let mut tally = Tally::default();
    let mut revision = 1;
    for (at, mut strike) in strikes(&calm.seen, Deed::Lose, 8).into_iter().enumerate() {
        let sent = if at % 2 == 0 { Signal::INT } else { Signal::TERM };
        (strike.deed, strike.when) = (Deed::Signal(sent), When::Done.min(strike.when));
        revision += 1;
        site.page(revision);
        let work = async {
            let ended = site.run(&["deploy"], Some(strike.clone())).await;
            let wanted = if ended.struck { code(sent) } else { Some(0) };
            if ended.code != wanted {
                return Err(format!("{:?} in place of {wanted:?}: {}", ended.code, ended.stderr));
            }
            let again = site.deploy().await.well()?;
            let wanted = State::undisturbed("signals", revision, revision, again.digest(), &["1", "latest"]);
            site.has(wanted).await.map(|()| ended.struck)
        };
        tally.add(&strike, &site, work.await);
    }
    world.end().await;
    tally.report("signals in an update", began);
}

/// A project whose build starts two processes that never end.
async fn slow_build<'a>(world: &'a World, name: &str) -> (Site<'a>, String) {
    let site = world.site(name).await;
    let folder = site.folder.display();
    let file = std::fs::read_to_string(site.folder.join("steady.yaml")).unwrap();
    let run = format!("run: '{folder}/tool sleep & echo building; {folder}/tool sleep'\n        layers:");
    site.write("steady.yaml", &file.replace("layers:", &run));
    let mark = format!("{folder}/tool\0sleep");
    (site, mark)
}

/// All processes with this mark end soon.
async fn assert_gone(mark: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    while !processes(mark).is_empty() {
        assert!(Instant::now() < until, "{:?} live on", processes(mark));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_build_outlives_its_steady() {
    let world = World::start().await;
    for (name, sent) in [("int", Signal::INT), ("term", Signal::TERM), ("kill", Signal::KILL)] {
        let (site, mark) = slow_build(&world, name).await;
        site.proxy.arm(None);
        let mut child = site.command(&["deploy"]).spawn().unwrap();
        let output = Output::of(&mut child);
        let until = Instant::now() + Duration::from_secs(30);
        while processes(&mark).len() < 2 {
            assert!(Instant::now() < until, "{name}: the build does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        signal(&child, sent);
        let status = child.wait().await.unwrap();
        let ended = output.ended(status.code(), &site.proxy).await;
        let wanted = if sent == Signal::KILL { None } else { code(sent) };
        assert_eq!(ended.code, wanted, "{name}: {}", ended.stderr);
        assert_gone(&mark).await;
        // a build that ends
        let file = std::fs::read_to_string(site.folder.join("steady.yaml")).unwrap();
        site.write("steady.yaml", &file.replace("tool sleep", "tool exit 0"));
        let again = site.deploy().await.well().unwrap();
        site.has(State::undisturbed(name, 1, 1, again.digest(), &["1", "latest"])).await.unwrap();
        site.retire().await;
    }
    world.end().await;
}

/// Processes whose command line holds `mark`.
fn processes(mark: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let line = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(mark) {
            found.push(pid);
        }
    }
    found
}
