//! Signals: 34.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::cuts::pushed;
use super::cutter::{Cut, Cutter, When};
use crate::images::archives::{layer_of, saved_of};
use crate::lab_front::TestLab;
use crate::site::{Ended, Site, noise};

/// Answers, and builds for ever with a helper of its own.
const ENGINE: &str = "#!/bin/sh\n[ \"$1\" = version ] && exit\n[ \"$1\" = build ] || exit 1\n\
    sleep 1000 & echo $$ $! > started.new\nmv started.new started\nwait\n";

#[cfg(target_os = "linux")]
#[tokio::test]
async fn case_34_ctrl_c_in_a_build_ends_what_it_started() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let site = Site::new("", "{ repository: 127.0.0.1:1/hello, tags: [v1], build: { dockerfile: Dockerfile } }");
        site.write("Dockerfile", "FROM scratch\n");
        site.program("docker", ENGINE);
        let mut child = site.command(&["build", "--builder", "docker"]).spawn().unwrap();
        let started = Instant::now();
        while !site.path("started").exists() {
            assert!(started.elapsed() < Duration::from_secs(60), "{:?}", child.try_wait());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        kill_process(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
        let ended = Ended::wait(&mut child).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let pids = std::fs::read_to_string(site.path("started")).unwrap();
        for pid in pids.split_whitespace() {
            let started = Instant::now();
            while is_running(pid) {
                assert!(started.elapsed() < Duration::from_secs(10), "{pid} of {pids} is left");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// A process that has ended may wait for someone to ask how.
#[cfg(target_os = "linux")]
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_34_ctrl_c_in_a_push_and_the_next_one_sends_only_the_rest() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let lab = TestLab::start().await;
        let cutter = Cutter::start(&lab.host, 1, 24, vec![Cut::Kill(When::Middle)]).await;
        let site = Site::new(
            &format!("http://{}", cutter.address),
            "{ repository: hello, create: true, tags: [v1], build: { image: saved.tar } }",
        );
        let layers: Vec<Vec<u8>> =
            (0..10).map(|at| layer_of(&noise(at + 1, if at % 2 == 0 { 1_200_000 } else { 90_000 }))).collect();
        saved_of(&site.path("saved.tar"), &layers);
        let ended = pushed(&site, &cutter, signal).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.contains("the service is untouched"), "{ended:?}");
        let before = cutter.record().finished.len();
        assert!(before > 0, "{:#?}", cutter.record().log);
        let uploads = |log: &[String]| log.iter().filter(|line| line.starts_with("POST ")).count();
        let log = std::mem::take(&mut cutter.record().log);
        let done = pushed(&site, &cutter, signal).await.result();
        {
            let record = cutter.record();
            assert_eq!(record.again, Vec::<String>::new(), "{log:#?} and then {:#?}", record.log);
            assert!(uploads(&record.log) < uploads(&log), "{:#?}", record.log);
            assert!(done["digest"].as_str().unwrap().starts_with("sha256:"));
        }
        lab.end().await;
    }
}
