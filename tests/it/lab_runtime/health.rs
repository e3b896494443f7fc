//! Commands that are run inside containers, and containers that wait for each other, at every level.

use std::time::{Duration, Instant};

use steadystate::lab::runtime::{Condition, ContainerSpec, Dependency, HealthCheck, RuntimeEvent, TaskSpec};

use super::{Bench, benches};

fn check(command: &[&str]) -> Option<HealthCheck> {
    Some(HealthCheck {
        command: command.iter().map(ToString::to_string).collect(),
        interval: Duration::from_millis(20),
        settled_interval: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        retries: 2,
        start_period: Duration::ZERO,
    })
}

async fn verdict(bench: &mut Bench) -> bool {
    loop {
        match bench.event().await {
            RuntimeEvent::Health { healthy, .. } => return healthy,
            RuntimeEvent::Started { .. } => {}
            event => panic!("{}: {event:?}", bench.level),
        }
    }
}

#[tokio::test]
async fn a_check_runs_where_and_as_whom_its_container_runs() {
    for mut bench in benches() {
        for user in [None, Some("app")] {
            // its own port, its working directory, its environment's PATH
            for (id, command, command_of_check, healthy) in [
                (
                    "asks",
                    ["serve", "0.0.0.0:80", "hello"].as_slice(),
                    ["/tool", "ask", "127.0.0.1:80"].as_slice(),
                    true,
                ),
                ("sees", &["hold", "mine"], &["/tool", "exists", "mine"], true),
                ("path", &["sleep"], &["tool", "exists", "/"], true),
                ("misses", &["sleep"], &["/tool", "exists", "mine"], false),
                ("absent", &["sleep"], &["/no/such/program"], false),
            ] {
                let mut task = bench.task(id, command);
                let container = &mut task.containers[0];
                container.user = user.map(str::to_owned);
                container.environment = vec![("PATH".to_owned(), "/".to_owned())];
                container.working_directory = Some("/tmp".to_owned());
                container.health_check = check(command_of_check);
                if user.is_some() && id == "sees" {
                    // only root may write there
                    container.command[1] = "/dev/null".to_owned();
                    container.health_check = check(&["/tool", "exists", "."]);
                }
                bench.runtime.start(task).await.unwrap_or_else(|error| panic!("{} {id}: {error}", bench.level));
                assert_eq!(verdict(&mut bench).await, healthy, "{} {id} as {user:?}", bench.level);
                bench.runtime.stop(id, Duration::ZERO).await;
                bench.end(id, "main").await;
            }
        }
        bench.assert_clean();
    }
}

#[tokio::test]
async fn a_check_that_hangs_is_ended_and_fails() {
    for mut bench in benches() {
        let mut task = bench.task("hangs", &["sleep"]);
        task.containers[0].health_check =
            check(&["/tool", "sleep"]).map(|check| HealthCheck { timeout: Duration::from_millis(50), ..check });
        let began = Instant::now();
        bench.runtime.start(task).await.unwrap();
        assert!(!verdict(&mut bench).await, "{}", bench.level);
        assert!(began.elapsed() >= Duration::from_millis(2 * 70), "{}: twice interval and timeout", bench.level);
        bench.runtime.stop("hangs", Duration::ZERO).await;
        bench.end("hangs", "main").await;
        bench.assert_clean();
    }
}

#[tokio::test]
async fn what_a_check_leaves_behind_is_no_hindrance() {
    for mut bench in benches() {
        let mut task = bench.task("leaves", &["sleep"]);
        task.containers[0].health_check = check(&["/tool", "leave"]);
        bench.runtime.start(task).await.unwrap();
        assert!(verdict(&mut bench).await, "{}", bench.level);
        bench.runtime.stop("leaves", Duration::ZERO).await;
        bench.end("leaves", "main").await;
        bench.assert_clean();
    }
}

/// A task of a container `first` and a container `main` that depends on it.
fn dependent(bench: &Bench, id: &str, first: &[&str], condition: Condition) -> TaskSpec {
    let mut task = bench.task(id, &["say", "main"]);
    task.containers[0].depends_on = vec![Dependency { container: "first".to_owned(), condition }];
    let spec = bench.task(id, first).containers.remove(0);
    // though it comes last
    task.containers.push(ContainerSpec { name: "first".to_owned(), ..spec });
    task
}

#[tokio::test]
async fn a_container_waits_for_what_it_depends_on() {
    for mut bench in benches() {
        let mut healthy = dependent(&bench, "c", &["serve", "0.0.0.0:80", "x"], Condition::Healthy);
        healthy.containers[1].health_check = check(&["/tool", "ask", "127.0.0.1:80"]);
        for task in [
            dependent(&bench, "a", &["exit", "0"], Condition::Success),
            dependent(&bench, "b", &["exit", "7"], Condition::Complete),
            healthy,
        ] {
            let id = task.task_id.clone();
            bench.runtime.start(task).await.unwrap();
            let mut order = Vec::new();
            while order.last().is_none_or(|last: &String| last != "main ended") {
                let told = match bench.event().await {
                    RuntimeEvent::Started { container, .. } => format!("{container} started"),
                    RuntimeEvent::Exited { container, .. } => format!("{container} ended"),
                    RuntimeEvent::Health { container, healthy: true, .. } => format!("{container} is healthy"),
                    event => panic!("{event:?}"),
                };
                order.push(told);
            }
            let between = if id == "c" { "first is healthy" } else { "first ended" };
            let place = |what: &str| order.iter().position(|told| told == what);
            assert_eq!(order.len(), 4, "{} {id}: {order:?}", bench.level);
            assert!(place("first started") < place("main started"), "{} {id}: {order:?}", bench.level);
            // an end is told after all of its output, which may take its time
            if id == "c" {
                assert!(place(between) < place("main started"), "{} {id}: {order:?}", bench.level);
            }
            bench.runtime.stop(&id, Duration::ZERO).await;
            if id == "c" {
                bench.end(&id, "first").await;
            }
        }
        bench.assert_clean();
    }
}

#[tokio::test]
async fn a_container_whose_dependency_fails_is_skipped() {
    for mut bench in benches() {
        bench.runtime.start(dependent(&bench, "a", &["exit", "7"], Condition::Success)).await.unwrap();
        let mut skipped = None;
        let mut ended = false;
        while skipped.is_none() || !ended {
            match bench.event().await {
                RuntimeEvent::Skipped { container, reason, .. } => skipped = Some((container, reason)),
                RuntimeEvent::Exited { container, exit_code: 7, .. } => ended = container == "first",
                RuntimeEvent::Started { container, .. } => assert_eq!(container, "first", "{}", bench.level),
                event => panic!("{event:?}"),
            }
        }
        let reason = "it depends on container first (SUCCESS), which ended with exit code 7";
        assert_eq!(skipped, Some(("main".to_owned(), reason.to_owned())), "{}", bench.level);
        bench.runtime.stop("a", Duration::ZERO).await;
        bench.assert_clean();
    }
}

#[tokio::test]
async fn a_task_that_waits_can_be_stopped() {
    for mut bench in benches() {
        let mut task = dependent(&bench, "a", &["sleep"], Condition::Healthy);
        task.containers[1].health_check = check(&["/no/such/program"]);
        let (_, ()) = tokio::join!(bench.runtime.start(task), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bench.runtime.stop("a", Duration::from_millis(50)).await;
        });
        while let Ok(event) = bench.events.try_recv() {
            let ours = matches!(
                &event,
                RuntimeEvent::Started { container, .. } | RuntimeEvent::Exited { container, .. } if container == "main"
            );
            assert!(!ours, "{}: {event:?}", bench.level);
        }
        bench.assert_clean();
    }
}
