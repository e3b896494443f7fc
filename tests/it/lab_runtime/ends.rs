//! How containers end, end each other and begin again, at every level.

use std::time::{Duration, Instant};

use steadystate::lab::runtime::{Condition, Dependency, RestartPolicy, RuntimeEvent, TaskSpec, Ulimit};

use super::levels::gone;
use super::{Bench, PATIENCE, benches, image};

/// `web` depends on `proxy`.
fn pair(bench: &Bench, id: &str, proxy: &[&str], web: &[&str]) -> TaskSpec {
    let mut task = bench.task(id, proxy);
    let mut dependent = task.containers[0].clone();
    task.containers[0].name = "proxy".to_owned();
    dependent.name = "web".to_owned();
    dependent.command = web.iter().map(ToString::to_string).collect();
    dependent.depends_on = vec![Dependency { container: "proxy".to_owned(), condition: Condition::Start }];
    task.containers.push(dependent);
    task
}

async fn exits(bench: &mut Bench, count: usize) -> Vec<(String, i32)> {
    let mut exits = Vec::new();
    while exits.len() < count {
        if let RuntimeEvent::Exited { container, exit_code, .. } = bench.event().await {
            exits.push((container, exit_code));
        }
    }
    exits
}

#[tokio::test]
async fn what_others_depend_on_is_stopped_after_them() {
    for mut bench in benches() {
        bench.runtime.start(pair(&bench, "chain", &["term", "0"], &["term", "100"])).await.unwrap();
        for _ in 0..2 {
            bench.said("chain", "waiting").await;
        }
        bench.runtime.stop("chain", PATIENCE).await;
        let expected = [("web".to_owned(), 0), ("proxy".to_owned(), 0)];
        assert_eq!(exits(&mut bench, 2).await, expected, "{}", bench.level);
        bench.assert_clean();
    }
}

#[tokio::test]
async fn each_container_has_its_own_time_to_stop() {
    for mut bench in benches() {
        let mut task = pair(&bench, "own", &["term", "0"], &["term", "60000"]);
        task.containers[1].stop_timeout = Some(Duration::from_millis(50));
        bench.runtime.start(task).await.unwrap();
        for _ in 0..2 {
            bench.said("own", "waiting").await;
        }
        let began = Instant::now();
        bench.runtime.stop("own", 2 * PATIENCE).await;
        assert!(began.elapsed() < PATIENCE, "{}", bench.level);
        let expected = [("web".to_owned(), 137), ("proxy".to_owned(), 0)];
        assert_eq!(exits(&mut bench, 2).await, expected, "{}", bench.level);
        bench.assert_clean();
    }
}

#[tokio::test]
async fn a_container_starts_again_by_its_policy_in_the_root_that_it_left() {
    for mut bench in benches() {
        let policy = |ignored: &[i32], period| {
            Some(RestartPolicy { ignored_exit_codes: ignored.to_vec(), attempt_period: Duration::from_secs(period) })
        };
        let mut task = bench.task("again", &["fail", "2", "3", "0"]);
        task.containers[0].restart = policy(&[4], 0);
        bench.runtime.start(task).await.unwrap();
        let mut told = Vec::new();
        while told.len() < 3 {
            told.push(match bench.event().await {
                RuntimeEvent::Started { .. } => "started",
                RuntimeEvent::Restarted { .. } => "restarted",
                event => panic!("{}: {event:?}", bench.level),
            });
        }
        assert_eq!(told, ["started", "restarted", "restarted"], "{}", bench.level);
        for run in ["run 1", "run 2", "run 3"] {
            bench.said("again", run).await;
        }
        bench.runtime.stop("again", Duration::ZERO).await;
        assert!(matches!(exits(&mut bench, 1).await[0].1, 137 | 143), "{}: a stop is for good", bench.level);

        for (id, policy) in [("ignored", policy(&[3], 0)), ("early", policy(&[], 60)), ("none", None)] {
            let mut task = bench.task(id, &["fail", "9", "3", "0"]);
            task.containers[0].restart = policy;
            let end = bench.run_task(task).await;
            assert_eq!((end.exit_code, end.lines), (3, vec!["run 1".to_owned()]), "{} {id}", bench.level);
            gone(&bench, id).await;
        }
        bench.assert_clean();
    }
}

#[tokio::test]
async fn ulimits_are_the_containers() {
    for mut bench in benches() {
        let limit = |name: &str, soft, hard| vec![Ulimit { name: name.to_owned(), soft, hard }];
        let mut task = bench.task("limited", &["nofile"]);
        task.containers[0].ulimits = limit("nofile", Some(40), Some(50));
        // before it becomes another user
        task.containers[0].user = Some("app".to_owned());
        assert_eq!(bench.run_task(task).await.lines, ["40 50"], "{}", bench.level);
        for (ulimits, reason) in [
            (limit("nofile", Some(50), Some(40)), "error setting ulimit nofile: "),
            (limit("files", Some(1), Some(1)), "invalid ulimit type: files"),
        ] {
            let mut task = bench.task("refused", &["nofile"]);
            task.containers[0].ulimits = ulimits;
            let error = bench.runtime.start(task).await.unwrap_err();
            assert!(error.reason.contains(reason), "{}: {error}", bench.level);
        }
        gone(&bench, "limited").await;
        bench.assert_clean();
    }
}

/// As with runc, which has said by then that the container runs.
#[tokio::test]
async fn a_program_for_another_machine_starts_and_ends_with_its_reason_in_the_log() {
    for mut bench in benches() {
        let mut foreign = std::fs::read(image::tool_path()).unwrap();
        // the machine in the ELF header: x86-64 or AArch64
        foreign[18] = if foreign[18] == 62 { 183 } else { 62 };
        let image = image::tool_with(&bench.data.path().join("blobs"), |layer| {
            layer.file("foreign", 0o755, &foreign);
        });
        for (program, reason) in [
            ("/foreign", "exec /foreign: exec format error"),
            ("/garbage", "exec /garbage: exec format error"),
            ("/script", "exec /script: no such file or directory: "),
        ] {
            let mut task = bench.task("late", &[]);
            task.containers[0].image = image.clone();
            task.containers[0].entry_point = vec![program.to_owned()];
            let end = bench.run_task(task).await;
            assert_eq!((end.exit_code, end.signal), (255, None), "{} {program}: {end:?}", bench.level);
            assert!(end.errors.len() == 1 && end.errors[0].starts_with(reason), "{}: {end:?}", bench.level);
            gone(&bench, "late").await;
        }
        bench.assert_clean();
    }
}
