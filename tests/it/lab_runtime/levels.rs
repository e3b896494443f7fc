//! What a container may expect, at every level that this machine permits.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use steadystate::lab::runtime::{Level, Runtime, RuntimeEvent};
use tokio::io::AsyncReadExt;

use super::{Bench, PATIENCE, bench, benches, value};

#[tokio::test]
async fn exit_codes_signals_and_output_arrive_once() {
    for mut bench in benches() {
        // process 1 of a PID namespace is deaf for its own SIGABRT, and then the C library crashes it
        let (abort, abort_signal) = if bench.level.has_network() { (139, Some(11)) } else { (134, Some(6)) };
        for (arguments, exit_code, signal) in [
            (["exit", "0"].as_slice(), 0, None),
            (&["exit", "3"], 3, None),
            (&["abort"], abort, abort_signal),
            (&["unknown"], 64, None),
        ] {
            let end = bench.run("ends", arguments).await;
            assert_eq!((end.exit_code, end.signal), (exit_code, signal), "{} {arguments:?}: {end:?}", bench.level);
            assert!(!end.oom_killed);
            gone(&bench, "ends").await;
        }
        let long = "x".repeat(40_000);
        let end = bench.run("says", &["say", "one", "", "zwölf \u{1b}[31m", &long]).await;
        let pieces = [&long[..16384], &long[..16384], &long[..7232]];
        assert_eq!(end.lines, ["one", "", "zwölf \u{1b}[31m", pieces[0], pieces[1], pieces[2], "no line end"]);
        assert_eq!(end.errors, ["on stderr"]);
        gone(&bench, "says").await;
        bench.assert_clean();
    }
}

#[tokio::test]
async fn command_environment_directory_user_and_hostname() {
    for mut bench in benches() {
        let mut task = bench.task("0123456789abcdef", &["show"]);
        let container = &mut task.containers[0];
        container.environment = vec![("BOTH".into(), "task".into()), ("SECRET".into(), "s3cret".into())];
        container.user = Some("app".into());
        let lines = bench.run_task(task).await.lines;
        let what = format!("{}: {lines:?}", bench.level);
        assert_eq!(value(&lines, "argv0"), Some("/tool"), "{what}");
        assert_eq!(value(&lines, "FROM"), Some("image"), "{what}");
        assert_eq!(value(&lines, "BOTH"), Some("task"), "{what}");
        assert_eq!(value(&lines, "SECRET"), Some("s3cret"), "{what}");
        assert_eq!(value(&lines, "HOME"), Some("/srv"), "{what}");
        assert_eq!(value(&lines, "HOSTNAME"), Some("0123456789abcdef"), "{what}");
        assert!(value(&lines, "PATH").is_some_and(|path| path.contains("/usr/bin")), "{what}");
        assert_eq!(lines.iter().filter(|line| line.contains('=')).count(), 9, "nothing of ours leaks: {what}");
        if bench.level == Level::Process {
            assert!(value(&lines, "cwd").unwrap().ends_with("/root/srv"), "{what}");
        } else {
            assert_eq!(value(&lines, "cwd"), Some("/srv"), "{what}");
        }
        if bench.level.has_network() {
            assert_eq!(value(&lines, "hostname"), Some("0123456789abcdef"), "{what}");
            assert!(lines.contains(&"Uid: 1000".to_owned()) && lines.contains(&"Gid: 1000".to_owned()), "{what}");
        }
    }
}

#[tokio::test]
async fn two_tasks_listen_on_the_same_port() {
    for mut bench in benches() {
        for (round, address) in ["0.0.0.0:80", "[::]:80", "127.0.0.1:8080"].into_iter().enumerate() {
            let port = address.rsplit(':').next().unwrap().parse().unwrap();
            let ids = [format!("a{round}"), format!("b{round}")];
            for id in &ids {
                bench.runtime.start(bench.task(id, &["serve", address, id])).await.unwrap();
                bench.said(id, "listening").await;
            }
            for id in &ids {
                assert_eq!(ask(&bench.runtime, id, port).await.unwrap(), *id, "{} {address}", bench.level);
            }
            let refused = bench.runtime.connect(&ids[0], 9).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{}", bench.level);
            for id in &ids {
                bench.runtime.stop(id, Duration::from_millis(50)).await;
                assert_eq!(bench.runtime.connect(id, port).await.unwrap_err().kind(), io::ErrorKind::NotFound);
                let signal = bench.end(id, "main").await.signal;
                assert!(matches!(signal, Some(9 | 15)), "{}: {signal:?}", bench.level);
            }
        }
        bench.assert_clean();
    }
}

#[tokio::test]
async fn a_user_without_privilege_binds_port_80() {
    for mut bench in benches() {
        let mut task = bench.task("app", &["serve", "0.0.0.0:80", "app"]);
        task.containers[0].user = Some("app".to_owned());
        bench.runtime.start(task).await.unwrap();
        bench.said("app", "listening").await;
        assert_eq!(ask(&bench.runtime, "app", 80).await.unwrap(), "app", "{}", bench.level);
        bench.runtime.stop("app", Duration::ZERO).await;
    }
}

#[tokio::test]
async fn containers_of_a_task_share_its_localhost() {
    for mut bench in benches() {
        let mut task = bench.task("pod", &["serve", "0.0.0.0:80", "hello"]);
        let mut client = task.containers[0].clone();
        client.name = "client".to_owned();
        client.command = ["ask", "127.0.0.1:80"].map(str::to_owned).to_vec();
        task.containers.push(client);
        bench.runtime.start(task).await.unwrap();
        let end = bench.end("pod", "client").await;
        assert_eq!(end.lines, ["answer=hello"], "{}: {end:?}", bench.level);
        bench.runtime.stop("pod", Duration::ZERO).await;
        assert!(matches!(bench.end("pod", "main").await.exit_code, 137 | 143));
        bench.assert_clean();
    }
}

#[tokio::test]
async fn what_cannot_start_says_why_and_leaves_nothing() {
    for mut bench in benches() {
        let table: &[(&[&str], &str)] = &[
            (&["/missing"], r#"exec: "/missing": no such file or directory"#),
            (&["missing"], r#"exec: "missing": executable file not found in $PATH"#),
            (&["/etc/passwd"], r#"exec: "/etc/passwd": permission denied"#),
        ];
        for (entry_point, reason) in table {
            let mut task = bench.task("fails", &[]);
            task.containers[0].entry_point = entry_point.iter().map(ToString::to_string).collect();
            // the one before it runs already, and has to go
            let mut first = bench.task("", &["sleep"]).containers.remove(0);
            first.name = "first".to_owned();
            task.containers.insert(0, first);
            let error = bench.runtime.start(task).await.unwrap_err();
            assert_eq!(error.container, "main");
            assert!(error.reason.starts_with("CannotStartContainerError: "), "{error}");
            assert!(error.reason.contains(reason), "{} {entry_point:?}: {error}", bench.level);
            bench.assert_clean();
        }
        let mut task = bench.task("user", &["exit", "0"]);
        task.containers[0].user = Some("nobody-here".to_owned());
        let error = bench.runtime.start(task).await.unwrap_err();
        assert!(error.reason.contains("unable to find user nobody-here"), "{error}");
        bench.assert_clean();
    }
}

#[tokio::test]
async fn stopping_is_soft_then_hard() {
    for mut bench in benches() {
        bench.runtime.start(bench.task("hard", &["sleep"])).await.unwrap();
        assert!(bench.runtime.start(bench.task("hard", &["sleep"])).await.unwrap_err().reason.contains("runs already"));
        let started = Instant::now();
        bench.runtime.stop("hard", Duration::from_millis(100)).await;
        assert!(started.elapsed() < PATIENCE);
        let end = bench.end("hard", "main").await;
        // process 1 of a PID namespace is deaf for a SIGTERM that it does not handle
        let expected = if bench.level.has_network() { (137, Some(9)) } else { (143, Some(15)) };
        assert_eq!((end.exit_code, end.signal), expected, "{}", bench.level);
        bench.runtime.stop("hard", PATIENCE).await;
        bench.runtime.stop("unknown", PATIENCE).await;

        // stopped while it starts: nothing may stay
        let (started, ()) = tokio::join!(bench.runtime.start(bench.task("early", &["sleep"])), async {
            tokio::task::yield_now().await;
            bench.runtime.stop("early", Duration::ZERO).await;
        });
        if started.is_ok() {
            assert!(matches!(bench.end("early", "main").await.exit_code, 137 | 143), "{}", bench.level);
        }
        for id in ["c", "d"] {
            bench.runtime.start(bench.task(id, &["sleep"])).await.unwrap();
        }
        bench.runtime.shutdown(Duration::ZERO).await;
        for id in ["c", "d"] {
            assert_eq!(bench.runtime.connect(id, 1).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        while let Ok(event) = bench.events.try_recv() {
            let known =
                matches!(event, RuntimeEvent::Exited { signal: Some(9 | 15), .. } | RuntimeEvent::Started { .. });
            assert!(known, "{event:?}");
        }
        bench.assert_clean();
    }
}

#[tokio::test]
async fn what_a_container_leaves_behind_ends_with_it() {
    for mut bench in benches() {
        let end = bench.run("leaver", &["leave"]).await;
        assert_eq!(end.exit_code, 0, "{}: {end:?}", bench.level);
        gone(&bench, "leaver").await;
        if !bench.level.has_network() {
            let pid = value(&end.lines, "left").unwrap();
            assert!(!std::path::Path::new("/proc").join(pid).exists(), "{}: {pid} still runs", bench.level);
        }
        bench.assert_clean();
    }
}

#[test]
fn a_lab_that_dies_takes_its_containers_along() {
    for bench in benches() {
        let lab = tokio::runtime::Runtime::new().unwrap();
        lab.block_on(bench.runtime.start(bench.task("orphan", &["sleep"]))).unwrap();
        let all: Vec<i32> = children_named(HELPER_ARGUMENT, &bench)
            .into_iter()
            .flat_map(|helper| {
                let mut all = descendants(helper);
                all.push(helper);
                all
            })
            .collect();
        assert_eq!(all.len(), 2, "{}", bench.level);
        // as with kill -9, nobody says goodbye: the line is just closed
        lab.shutdown_background();
        let level = bench.level;
        drop(bench);
        let started = Instant::now();
        while all.iter().any(|pid| alive(*pid)) {
            assert!(started.elapsed() < PATIENCE, "{level}: {all:?} outlive the lab");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[tokio::test]
async fn a_killed_helper_ends_its_containers() {
    for mut bench in benches() {
        bench.runtime.start(bench.task("orphan", &["serve", "127.0.0.1:80", "x"])).await.unwrap();
        bench.said("orphan", "listening").await;
        let helper = children_named(HELPER_ARGUMENT, &bench);
        assert_eq!(helper.len(), 1, "{}", bench.level);
        let inside = descendants(helper[0]);
        assert!(!inside.is_empty());
        nix_kill(helper[0]);
        let Bench { runtime, data, mut events, level, .. } = bench;
        let event = loop {
            let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
            if matches!(event, RuntimeEvent::Exited { .. }) {
                break event;
            }
        };
        assert!(matches!(event, RuntimeEvent::Exited { exit_code: 137, .. }), "{level}: {event:?}");
        let started = Instant::now();
        while inside.iter().any(|pid| alive(*pid)) {
            assert!(started.elapsed() < PATIENCE, "{level}: {inside:?} outlive their helper");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(runtime);
        // what is left on disk goes with the next runtime
        std::fs::create_dir_all(data.path().join("runtime/tasks/stale/0")).unwrap();
        Runtime::new(data.path().to_owned(), Some(level), super::HELPER.into()).unwrap();
        assert_eq!(std::fs::read_dir(data.path().join("runtime/tasks")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn roots_are_the_tasks_own() {
    for mut bench in benches() {
        // at the level without isolation a path of the image is one of this machine
        let path = if bench.level == Level::Process { "../etc/mine" } else { "/etc/mine" };
        let read = |bench: &Bench, id| bench.task(id, &["read", path]);
        assert_eq!(bench.run("writer", &["write", path]).await.lines, ["written"], "{}", bench.level);
        let task = read(&bench, "reader");
        assert_eq!(bench.run_task(task).await.lines, ["entity not found"], "{}", bench.level);
        for (id, path) in [("ro", "mine"), ("null", "/dev/null")] {
            let mut task = bench.task(id, &["write", path]);
            task.containers[0].readonly_root_filesystem = true;
            let expected = match (id, bench.level.has_network()) {
                ("null", _) => "written",
                (_, true) => "read-only filesystem or storage medium",
                // Landlock's word for it
                (_, false) => "permission denied",
            };
            assert_eq!(bench.run_task(task).await.lines, [expected], "{} {path}", bench.level);
            gone(&bench, id).await;
        }
        if !bench.level.has_network() {
            continue;
        }
        let hosts = bench.run("hosts", &["read", "/etc/hosts"]).await.lines;
        assert!(hosts.contains(&"127.0.0.1\thosts".to_owned()), "{hosts:?}");
        assert_eq!(bench.run("shm", &["write", "/dev/shm/x"]).await.lines, ["written"]);
        let names = bench.run("names", &["read", "/etc/resolv.conf"]).await.lines;
        assert!(names.len() == 1 && names[0].ends_with("nothing in it but its localhost."), "{names:?}");
        // TEST-NET-1: what is in nobody's network is not reached, and that is known at once
        let reached = bench.run("reached", &["reach", "192.0.2.1:80"]).await.lines;
        assert_eq!(reached, ["network unreachable"], "{}", bench.level);
        if bench.level == Level::Namespaces {
            let sysrq = bench.run("sysrq", &["write", "/proc/sysrq-trigger"]).await.lines;
            assert_ne!(sysrq, ["written"]);
        }
    }
}

#[tokio::test]
async fn disabled_runs_nothing() {
    let Some(bench) = Level::ALL.into_iter().find_map(|level| {
        let data = tempfile::tempdir().unwrap();
        let permitted = Runtime::probe(data.path(), super::HELPER.as_ref())
            .iter()
            .any(|probe| probe.level == level && probe.outcome.is_ok());
        bench(level, permitted)
    }) else {
        panic!("no level");
    };
    let disabled = Runtime::disabled();
    assert_eq!(disabled.level(), None);
    let error = disabled.start(bench.task("x", &["sleep"])).await.unwrap_err();
    assert_eq!(error.reason, "CannotStartContainerError: this lab runs no containers");
    disabled.stop("x", PATIENCE).await;
    assert_eq!(disabled.connect("x", 80).await.unwrap_err().kind(), io::ErrorKind::NotFound);
}

pub(super) const HELPER_ARGUMENT: &str = "__lab-container-helper";

async fn ask(runtime: &Runtime, id: &str, port: u16) -> io::Result<String> {
    let mut answer = String::new();
    runtime.connect(id, port).await?.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A task's name is free shortly after its last container ended.
pub(super) async fn gone(bench: &Bench, id: &str) {
    bench.runtime.stop(id, PATIENCE).await;
}

/// Helpers of this bench: children of ours that work in its folder.
pub(super) fn children_named(argument: &str, bench: &Bench) -> Vec<i32> {
    let base = bench.data.path().join("runtime").canonicalize().unwrap();
    processes()
        .into_iter()
        .filter(|(_, parent)| *parent == std::process::id() as i32)
        .map(|(pid, _)| pid)
        .filter(|pid| {
            let file = |name: &str| format!("/proc/{pid}/{name}");
            std::fs::read_to_string(file("cmdline")).is_ok_and(|line| line.contains(argument))
                && std::fs::read_link(file("cwd")).is_ok_and(|cwd| cwd == base)
        })
        .collect()
}

pub(super) fn descendants(of: i32) -> Vec<i32> {
    let all = processes();
    let mut found = vec![of];
    let mut at = 0;
    while at < found.len() {
        let of = found[at];
        found.extend(all.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

fn processes() -> Vec<(i32, i32)> {
    let stat = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((pid, stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?))
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(stat).collect()
}

pub(super) fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn nix_kill(pid: i32) {
    signal(pid, Signal::SIGKILL);
}

pub(super) fn signal(pid: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}
