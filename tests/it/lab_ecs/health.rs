//! When a task counts as healthy, and what it is spared until then.

use serde_json::{Value, json};
use steadystate::lab::{
    clock::{Clock, Pace},
    ecs::model::TaskStatus,
    runtime::Condition,
    scheduler::{Observation, launch},
};

use super::{Sim, service};

fn unbalanced(desired: i64) -> Value {
    let mut input = service(desired);
    input["loadBalancers"] = json!([]);
    input
}

/// Milliseconds from the first task's start to the steady state.
fn time_to_steady(sim: &mut Sim) -> i64 {
    sim.until("running", |sim| sim.service()["runningCount"] == 1);
    let task = sim.state.ecs.tasks.values().next().expect("a task");
    let started = task.started_at.expect("it started");
    sim.settle();
    let events = &sim.state.ecs.services[0].events;
    events[0].created_at - started
}

#[test]
fn a_task_that_nobody_checks_is_healthy_after_forty_seconds() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.call("CreateService", unbalanced(1));
    let took = time_to_steady(&mut sim);
    assert!((40_000..42_000).contains(&took), "{took}");
}

#[test]
fn container_health_checks_decide_when_there_are_any() {
    let mut sim = Sim::new();
    let check = json!({"command": ["CMD-SHELL", "true"]});
    let container = json!({"name": "app", "image": "v1", "memory": 64, "healthCheck": check});
    sim.call("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [container]}));
    sim.call("CreateService", unbalanced(1));
    let tell = |sim: &mut Sim, healthy: bool| {
        let running = sim.state.ecs.tasks.values().find(|task| task.is_wanted()).expect("a task").id.clone();
        sim.observe(Observation::Health { task_id: running, container: "app".into(), healthy });
    };
    sim.until("running", |sim| sim.service()["runningCount"] == 1);
    assert_eq!(sim.tasks("RUNNING")[0]["healthStatus"], "UNKNOWN");
    tell(&mut sim, true);
    sim.step();
    assert_eq!(sim.tasks("RUNNING")[0]["healthStatus"], "HEALTHY");
    assert_eq!(sim.service()["deployments"][0]["rolloutState"], "COMPLETED", "sooner than in 40 s");
    tell(&mut sim, false);
    sim.step();
    assert!(sim.tasks("STOPPED").is_empty(), "its replacement comes first");
    sim.until("a replacement", |sim| sim.tasks("RUNNING").len() == 2 && sim.service()["runningCount"] == 2);
    all_are_well(&mut sim);
    sim.step();
    let stopped = sim.tasks("STOPPED")[0].clone();
    assert_eq!(stopped["stoppedReason"], "Task failed container health checks");
    let id = stopped["taskArn"].as_str().and_then(|arn| arn.rsplit('/').next()).expect("an id").to_owned();
    assert!(sim.events().contains(&format!("(service web) (task {id}) failed container health checks.")));
}

/// ECS takes such lists, as Docker does, and neither runs anything.
#[test]
fn a_check_that_nobody_runs_is_not_waited_for() {
    for command in [json!(["/bin/check"]), json!(["NONE"])] {
        let mut sim = Sim::new();
        let container = json!({"name": "app", "image": "v1", "memory": 64, "healthCheck": {"command": command}});
        sim.call("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [container]}));
        sim.call("CreateService", unbalanced(1));
        sim.settle();
        assert_eq!(sim.tasks("RUNNING")[0]["healthStatus"], "UNKNOWN");
    }
}

#[test]
fn a_container_that_others_wait_for_decides_before_the_task_runs() {
    for (observation, reason) in
        [("unhealthy", "Task failed container health checks"), ("skipped", "Essential container in task exited")]
    {
        let mut sim = Sim::new();
        sim.slow.insert("slow".into());
        let check = json!({"command": ["CMD", "/check"], "interval": 10, "startPeriod": 30});
        let on = json!([{"containerName": "db", "condition": "HEALTHY"}]);
        let containers = json!([
            {"name": "db", "image": "slow", "memory": 64, "healthCheck": check},
            {"name": "app", "image": "v1", "memory": 64, "dependsOn": on},
        ]);
        sim.call("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": containers}));
        sim.call("CreateService", unbalanced(1));
        sim.until("pending", |sim| sim.state.ecs.tasks.values().any(|task| task.status == TaskStatus::Pending));
        let task = sim.state.ecs.tasks.values().next().expect("a task").clone();
        let definition = &sim.state.ecs.families["web"].revisions[&1];
        let spec = launch::task_spec(&task, definition, Clock::new(Pace::Fast));
        assert_eq!(spec.containers[1].depends_on[0].condition, Condition::Healthy);
        let check = spec.containers[0].health_check.as_ref().expect("a check");
        assert_eq!((check.command.as_slice(), check.retries), (&["/check".to_owned()][..], 3));
        assert_eq!((check.interval.as_millis(), check.start_period.as_secs()), (100, 10));
        let (task_id, container) = (task.id.clone(), "db".to_owned());
        sim.observe(Observation::Began { task_id: task_id.clone(), container: container.clone() });
        let (ours, why) = (task_id.clone(), "it depends on …".to_owned());
        sim.observe(match observation {
            "unhealthy" => Observation::Health { task_id, container, healthy: false },
            _ => Observation::Skipped { task_id, container: "app".into(), reason: why.clone() },
        });
        sim.step();
        assert_eq!(sim.state.ecs.tasks[&ours].stopped_reason.as_deref(), Some(reason), "and it is not waited for");
        sim.until("its end", |sim| sim.state.ecs.tasks[&ours].is_stopped());
        if observation == "skipped" {
            let app = sim.state.ecs.tasks[&ours].containers.iter().find(|of| of.name == "app").expect("app");
            assert_eq!((app.exit_code, app.reason.as_deref()), (Some(143), Some(why.as_str())));
        }
    }
}

#[test]
fn healthy_targets_do_not_make_up_for_a_container_that_was_not_checked_yet() {
    let mut sim = Sim::new();
    let container = json!({
        "name": "app", "image": "v1", "memory": 64, "portMappings": [{"containerPort": 8080}],
        "healthCheck": {"command": ["CMD-SHELL", "true"]},
    });
    sim.call("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [container]}));
    sim.create(1);
    sim.seconds(120);
    assert_eq!(sim.service()["deployments"][0]["rolloutState"], "IN_PROGRESS");
    let task_id = sim.state.ecs.tasks.keys().next().expect("a task").clone();
    sim.observe(Observation::Health { task_id, container: "app".into(), healthy: true });
    sim.settle();
    assert_eq!(sim.service()["deployments"][0]["rolloutState"], "COMPLETED");
}

#[test]
fn the_grace_period_spares_a_task_its_health_checks() {
    // (its seconds, pace, seconds until then, it is told)
    let table = [
        (0, Pace::Aws, 120, true),
        (600, Pace::Aws, 120, false),
        (0, Pace::Fast, 10, true),
        (40, Pace::Fast, 35, false),
        (40, Pace::Fast, 50, true),
        (600, Pace::Fast, 50, false),
        (600, Pace::Fast, 70, true),
    ];
    for (grace, pace, seconds, fails) in table {
        let mut sim = Sim::new();
        sim.pace = pace;
        sim.sick.insert("v1".into());
        sim.register("v1");
        let mut input = service(1);
        input["healthCheckGracePeriodSeconds"] = json!(grace);
        sim.call("CreateService", input);
        sim.seconds(seconds);
        let told = sim.events().iter().any(|event| event.contains("is unhealthy in"));
        assert_eq!(told, fails, "{grace} s at {pace:?}, after {seconds} s");
        assert_eq!(sim.state.ecs.tasks.len() > 1, fails);
    }
}

#[test]
fn a_task_is_stopped_only_when_its_connections_are_drained() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(1);
    sim.settle();
    sim.draining = 300_000;
    let second = sim.register("v2");
    sim.call("UpdateService", json!({"service": "web", "taskDefinition": second}));
    sim.until("draining", |sim| !sim.tasks("STOPPED").is_empty());
    let began = sim.now;
    sim.seconds(290);
    let old = sim.tasks("STOPPED")[0].clone();
    assert_eq!((&old["lastStatus"], &old["desiredStatus"]), (&json!("DEACTIVATING"), &json!("STOPPED")));
    let service = sim.service();
    assert_eq!(service["deployments"][0]["rolloutState"], "IN_PROGRESS", "the old task is still there");
    sim.settle();
    assert!(sim.now - began >= 300_000);
    // A task that is dead has no connections to wait for.
    let crashed = sim.state.ecs.tasks.values().find(|task| task.is_wanted()).expect("a task").id.clone();
    let exited =
        Observation::Exited { task_id: crashed.clone(), container: "app".into(), exit_code: 1, oom_killed: false };
    sim.observe(exited);
    sim.seconds(10);
    assert!(sim.state.ecs.tasks[&crashed].is_stopped());
}

#[test]
fn at_the_fast_pace_a_crash_loop_slows_down() {
    let mut sim = Sim::new();
    sim.pace = Pace::Fast;
    sim.register("v1");
    let mut input = service(1);
    input["deploymentConfiguration"] = json!({});
    sim.call("CreateService", input);
    let end = sim.now + 60_000;
    while sim.now < end {
        let running = sim.state.ecs.tasks.values().find(|task| task.status == TaskStatus::Running && !task.stop);
        if let Some(task_id) = running.map(|task| task.id.clone()) {
            let container = "app".to_owned();
            sim.observe(Observation::Exited { task_id, container, exit_code: 1, oom_killed: false });
        }
        sim.step();
    }
    let tasks = sim.state.ecs.tasks.len();
    assert!((10..30).contains(&tasks), "{tasks}");
}

/// A service of two tasks with a container health check, all of them well.
fn two_that_are_checked(maximum: i64) -> Sim {
    let mut sim = Sim::new();
    let check = json!({"command": ["CMD-SHELL", "true"]});
    let container = json!({"name": "app", "image": "v1", "memory": 64, "healthCheck": check});
    sim.call("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [container]}));
    let mut input = unbalanced(2);
    input["deploymentConfiguration"] = json!({"minimumHealthyPercent": 50, "maximumPercent": maximum});
    sim.call("CreateService", input);
    sim.until("both run", |sim| sim.service()["runningCount"] == 2);
    all_are_well(&mut sim);
    sim.settle();
    sim
}

fn tell(sim: &mut Sim, task_id: &str, healthy: bool) {
    sim.observe(Observation::Health { task_id: task_id.into(), container: "app".into(), healthy });
}

fn all_are_well(sim: &mut Sim) {
    let running = sim.state.ecs.tasks.values().filter(|task| task.status == TaskStatus::Running);
    let well: Vec<String> = running.filter(|task| task.unhealthy.is_none()).map(|task| task.id.clone()).collect();
    well.iter().for_each(|id| tell(sim, id, true));
}

#[test]
fn what_falls_ill_is_replaced_first_where_the_maximum_allows_it() {
    // (maximum percent, how many fall ill, most and fewest tasks that run until all are well)
    for (maximum, ill, most, fewest) in [(200, 1, 3, 2), (200, 2, 4, 2), (150, 2, 3, 2), (100, 1, 2, 1), (100, 2, 2, 1)]
    {
        let mut sim = two_that_are_checked(maximum);
        let ids: Vec<String> = sim.state.ecs.tasks.keys().take(ill).cloned().collect();
        ids.iter().for_each(|id| tell(&mut sim, id, false));
        sim.step();
        let mut seen = (0, usize::MAX);
        sim.until("all are well", |sim| {
            all_are_well(sim);
            let running = sim.tasks("RUNNING").iter().filter(|task| task["lastStatus"] == "RUNNING").count();
            seen = (seen.0.max(running), seen.1.min(running));
            let gone = ids.iter().all(|id| sim.state.ecs.tasks[id].is_stopped());
            gone && sim.state.ecs.services[0].steady && sim.service()["runningCount"] == 2
        });
        assert_eq!(seen, (most, fewest), "{ill} of two fall ill, at most {maximum} %: {:#?}", sim.events());
        for id in &ids {
            let reason = sim.state.ecs.tasks[id].stopped_reason.as_deref();
            assert_eq!(reason, Some("Task failed container health checks"));
        }
        let told = sim.events().iter().filter(|event| event.ends_with("failed container health checks.")).count();
        assert_eq!(told, ill, "once each");
    }
}

#[test]
fn what_recovers_stays_and_its_replacement_goes() {
    let mut sim = two_that_are_checked(200);
    let id = sim.state.ecs.tasks.keys().next().expect("a task").clone();
    tell(&mut sim, &id, false);
    sim.until("a replacement", |sim| sim.tasks("RUNNING").len() == 3);
    tell(&mut sim, &id, true);
    sim.settle();
    assert!(sim.state.ecs.tasks[&id].is_wanted());
    let stopped = sim.tasks("STOPPED");
    assert_eq!((stopped.len(), sim.tasks("RUNNING").len()), (1, 2));
    assert!(stopped[0]["stoppedReason"].as_str().is_some_and(|reason| reason.starts_with("Scaling activity")));
}

#[test]
fn where_no_instance_has_room_for_a_replacement_what_is_ill_goes_first() {
    let mut sim = Sim::new();
    let check = json!({"command": ["CMD-SHELL", "true"]});
    let ports = json!([{"containerPort": 80, "hostPort": 80}]);
    let container = json!({"name": "app", "image": "v1", "memory": 64, "healthCheck": check, "portMappings": ports});
    sim.call("RegisterTaskDefinition", json!({"family": "web", "containerDefinitions": [container]}));
    sim.call("CreateService", unbalanced(1));
    sim.until("it runs", |sim| sim.service()["runningCount"] == 1);
    let id = sim.state.ecs.tasks.keys().next().expect("a task").clone();
    tell(&mut sim, &id, false);
    sim.until("another runs", |sim| sim.state.ecs.tasks[&id].is_stopped() && sim.service()["runningCount"] == 1);
}
