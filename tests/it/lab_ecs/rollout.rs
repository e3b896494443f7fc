//! Deployments, from the first task to the steady state or back.

use serde_json::{Value, json};
use steadystate::lab::scheduler::Observation;

use super::Sim;

fn ids(sim: &mut Sim) -> Vec<String> {
    let service = sim.service();
    let deployments = service["deployments"].as_array().expect("deployments").iter();
    deployments.map(|of| of["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Events with what is random in them replaced.
fn told(sim: &mut Sim) -> Vec<String> {
    let hide = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_id = bare.len() == 32 && bare.chars().all(|c| c.is_ascii_hexdigit());
        match (is_id, word.contains("ecs-svc/"), word.contains("targetgroup/")) {
            (true, _, _) => word.replace(bare, "ID"),
            (_, true, _) => word.replace(&bare["ecs-svc/".len()..], "N"),
            (_, _, true) => "ARN)".into(),
            _ if bare.starts_with("i-0") => word.replace(bare, "i-0"),
            _ => word.to_owned(),
        }
    };
    sim.events().iter().map(|event| event.split(' ').map(hide).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_first_deployment_reaches_its_steady_state() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(2);
    let created = sim.service();
    assert_eq!(created["deployments"][0]["desiredCount"], 2);
    assert_eq!(created["deployments"][0]["rolloutState"], "IN_PROGRESS");
    assert_eq!(sim.service_deployment()["status"], "PENDING");
    sim.settle();
    let id = ids(&mut sim)[0].clone();
    assert_eq!(id.len(), "ecs-svc/".len() + 19);
    assert_eq!(
        told(&mut sim),
        [
            "(service web) has started 2 tasks: (task ID) (task ID).",
            "(service web) registered 2 targets in (target-group ARN)",
            "(service web) (deployment ecs-svc/N) deployment completed.",
            "(service web) has reached a steady state.",
        ]
    );
    let service = sim.service();
    let deployment = &service["deployments"][0];
    assert_eq!(deployment["rolloutState"], "COMPLETED");
    assert_eq!(deployment["rolloutStateReason"], json!(format!("ECS deployment {id} completed.")));
    assert_eq!((service["runningCount"].as_i64(), service["pendingCount"].as_i64()), (Some(2), Some(0)));
    assert_eq!(service["currentServiceDeployment"], Value::Null);
    let deployment = sim.service_deployment();
    assert_eq!(deployment["status"], "SUCCESSFUL");
    assert_eq!(
        deployment["deploymentCircuitBreaker"],
        json!({"status": "MONITORING_COMPLETE", "failureCount": 0, "threshold": 3})
    );
    assert_eq!(sim.tasks("RUNNING")[0]["containers"][0]["imageDigest"], "sha256:11");
}

#[test]
fn a_task_walks_through_its_states_in_order() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(1);
    let mut seen: Vec<String> = Vec::new();
    let mut note = |sim: &mut Sim| {
        let tasks = sim.tasks("RUNNING").into_iter().chain(sim.tasks("STOPPED"));
        for status in tasks.filter_map(|task| task["lastStatus"].as_str().map(str::to_owned)) {
            if seen.last() != Some(&status) {
                seen.push(status);
            }
        }
        seen.len()
    };
    sim.until("running", |sim| {
        note(sim);
        sim.service()["runningCount"] == 1
    });
    let task = sim.tasks("RUNNING")[0]["taskArn"].clone();
    sim.call("UpdateService", json!({"service": "web", "desiredCount": 0}));
    sim.until("stopped", |sim| {
        note(sim);
        sim.tasks("STOPPED").first().is_some_and(|task| task["lastStatus"] == "STOPPED")
    });
    // DEACTIVATING and STOPPING pass within one step here: the runtime and the balancer answer at once.
    let order =
        ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"];
    let mut rest = order.iter();
    assert!(seen.iter().all(|status| rest.any(|next| next == status)), "{seen:?}");
    let task = sim.call("DescribeTasks", json!({"tasks": [task]}))["tasks"][0].clone();
    assert_eq!(task["stopCode"], "ServiceSchedulerInitiated");
    let reason = task["stoppedReason"].as_str().expect("a reason");
    assert!(reason.starts_with("Scaling activity initiated by (deployment ecs-svc/"), "{reason}");
    let times =
        ["createdAt", "pullStartedAt", "pullStoppedAt", "startedAt", "stoppingAt", "executionStoppedAt", "stoppedAt"];
    let times: Vec<f64> = times.iter().map(|time| task[*time].as_f64().expect(time)).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_rolling_update_never_goes_below_the_minimum() {
    for (desired, minimum, maximum, fewest) in
        [(4, 100, 200, 4), (4, 50, 100, 2), (3, 50, 150, 2), (5, 80, 120, 4), (1, 0, 100, 0)]
    {
        let mut sim = Sim::new();
        sim.register("v1");
        sim.create(desired);
        let percents = json!({"minimumHealthyPercent": minimum, "maximumPercent": maximum});
        sim.call("UpdateService", json!({"service": "web", "deploymentConfiguration": percents}));
        sim.settle();
        let second = sim.register("v2");
        sim.watch = true;
        sim.call("UpdateService", json!({"service": "web", "taskDefinition": second}));
        let mut most = 0;
        sim.until("steady", |sim| {
            most = most.max(sim.state.ecs.tasks.values().filter(|task| !task.is_stopped()).count() as i64);
            sim.service()["deployments"][0]["rolloutState"] == "COMPLETED"
        });
        assert_eq!(sim.service()["taskDefinition"], json!(second));
        assert_eq!(sim.service()["deployments"].as_array().map(Vec::len), Some(1));
        assert!(sim.fewest_healthy >= fewest, "{desired} {minimum}%: {} healthy", sim.fewest_healthy);
        assert!(most <= desired * maximum / 100, "{desired} {maximum}%: {most} tasks");
    }
}

#[test]
fn an_update_says_what_it_does() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(1);
    sim.settle();
    let before = sim.events().len();
    let second = sim.register("v2");
    let reply = sim.call("UpdateService", json!({"service": "web", "taskDefinition": second}));
    let deployments = reply["service"]["deployments"].as_array().expect("deployments").clone();
    assert_eq!(deployments.len(), 2);
    for count in ["desiredCount", "runningCount", "pendingCount"] {
        assert_eq!(deployments[0][count], 0, "{count}");
    }
    assert_eq!((&deployments[1]["status"], &deployments[1]["rolloutState"]), (&json!("ACTIVE"), &json!("COMPLETED")));
    assert!(reply["service"]["currentServiceDeployment"].is_string());
    sim.settle();
    let mut said: Vec<String> = told(&mut sim).split_off(before);
    assert_eq!(said.first().map(String::as_str), Some("(service web) has started 1 tasks: (task ID)."));
    said.sort();
    assert_eq!(
        said,
        [
            "(service web) (deployment ecs-svc/N) deployment completed.",
            "(service web) deregistered 1 targets in (target-group ARN)",
            "(service web) has begun draining connections on 1 tasks.",
            "(service web) has reached a steady state.",
            "(service web) has started 1 tasks: (task ID).",
            "(service web) has stopped 1 running tasks: (task ID).",
            "(service web) registered 1 targets in (target-group ARN)",
        ]
    );
}

#[test]
fn the_circuit_breaker_trips_at_its_threshold_and_rolls_back() {
    // (desired, threshold): half of it rounded up, at least 3.
    for (desired, threshold, how) in [(1, 3, "crash"), (1, 3, "sick"), (1, 3, "missing"), (8, 4, "crash")] {
        let mut sim = Sim::new();
        sim.register("v1");
        sim.create(desired);
        sim.settle();
        let first = ids(&mut sim)[0].clone();
        let good = sim.service()["taskDefinition"].clone();
        match how {
            "crash" => sim.crashing.insert("v2".into()),
            "sick" => sim.sick.insert("v2".into()),
            _ => sim.missing.insert("v2".into()),
        };
        let second = sim.register("v2");
        sim.watch = true;
        sim.call("UpdateService", json!({"service": "web", "taskDefinition": second}));
        let bad = ids(&mut sim)[0].clone();
        sim.until("failed", |sim| sim.service()["deployments"][1]["rolloutState"] == "FAILED");
        let service = sim.service();
        assert_eq!(service["deployments"][1]["id"], json!(bad));
        assert!(service["deployments"][1]["failedTasks"].as_i64() >= Some(threshold));
        assert_eq!(
            service["deployments"][1]["rolloutStateReason"],
            "ECS deployment circuit breaker: tasks failed to start."
        );
        let reason = format!("ECS deployment circuit breaker: rolling back to deploymentId {first}.");
        assert_eq!(service["deployments"][0]["rolloutStateReason"], json!(reason));
        sim.settle();
        let events = sim.events();
        let at = |text: String| {
            events.iter().position(|event| *event == text).unwrap_or_else(|| panic!("{text}: {events:#?}"))
        };
        let failed = at(format!("(service web) (deployment {bad}) deployment failed: tasks failed to start."));
        let back = at(format!("(service web) rolling back to deployment {first}."));
        assert!(failed < back);
        let service = sim.service();
        assert_eq!(service["taskDefinition"], good);
        assert_eq!(service["deployments"].as_array().map(Vec::len), Some(1));
        assert_eq!(service["deployments"][0]["id"], json!(first));
        let deployment = sim.service_deployment();
        assert_eq!(deployment["status"], "ROLLBACK_SUCCESSFUL");
        assert_eq!(deployment["deploymentCircuitBreaker"]["status"], "TRIGGERED");
        assert_eq!(deployment["deploymentCircuitBreaker"]["threshold"], threshold);
        assert!(deployment["rollback"]["serviceRevisionArn"].is_string());
        assert_eq!(sim.fewest_healthy as i64, desired, "{how}: the old release must go on serving");
    }
}

#[test]
fn why_a_task_failed_stays_readable() {
    let cases = [
        ("crash", "EssentialContainerExited", "Essential container in task exited", None),
        ("sick", "ServiceSchedulerInitiated", "Task failed ELB health checks in (target-group ", None),
        ("missing", "TaskFailedToStart", "Task failed to start", Some("CannotPullContainerError: ")),
    ];
    for (how, code, reason, container) in cases {
        let mut sim = Sim::new();
        match how {
            "crash" => sim.crashing.insert("v1".into()),
            "sick" => sim.sick.insert("v1".into()),
            _ => sim.missing.insert("v1".into()),
        };
        sim.register("v1");
        sim.create(1);
        sim.until("failed", |sim| sim.service()["deployments"][0]["rolloutState"] == "FAILED");
        // Nothing to go back to: the first deployment stays, and starts nothing more.
        assert_eq!(sim.service_deployment()["status"], "ROLLBACK_FAILED");
        let before = sim.state.ecs.tasks.len();
        sim.seconds(60);
        assert_eq!(sim.state.ecs.tasks.len(), before);
        let task = sim.tasks("STOPPED")[0].clone();
        assert_eq!((task["stopCode"].as_str(), task["lastStatus"].as_str()), (Some(code), Some("STOPPED")));
        assert!(task["stoppedReason"].as_str().is_some_and(|of| of.starts_with(reason)), "{task:#}");
        match container {
            Some(container) => {
                let told = task["containers"][0]["reason"].as_str().expect("a reason");
                assert!(told.starts_with(container), "{told}");
                let expected = "(service web) was unable to place a task. Reason: CannotPullContainerError: ";
                assert!(sim.events().iter().any(|event| event.starts_with(expected)));
            }
            None if how == "crash" => assert_eq!(task["containers"][0]["exitCode"], 1),
            None => {
                let expected =
                    "is unhealthy in (target-group ARN) due to (reason Health checks failed with these codes: [503]).";
                let told = told(&mut sim);
                assert!(
                    told.iter().any(|event| event.contains("(instance i-0) (port 3") && event.ends_with(expected)),
                    "{told:#?}"
                );
            }
        }
    }
}

#[test]
fn a_failed_first_deployment_does_not_block_the_fix() {
    let mut sim = Sim::new();
    sim.crashing.insert("v1".into());
    sim.register("v1");
    sim.create(1);
    sim.until("failed", |sim| sim.service()["deployments"][0]["rolloutState"] == "FAILED");
    let second = sim.register("v2");
    sim.call("UpdateService", json!({"service": "web", "taskDefinition": second}));
    sim.settle();
    assert_eq!(sim.service()["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(sim.service_deployment()["status"], "SUCCESSFUL");
}

#[test]
fn without_the_circuit_breaker_a_deployment_tries_on_but_slower() {
    let mut sim = Sim::new();
    sim.missing.insert("v1".into());
    sim.register("v1");
    let mut input = super::service(1);
    input["deploymentConfiguration"] = json!({});
    sim.call("CreateService", input);
    sim.seconds(600);
    let service = sim.service();
    assert_eq!(service["deployments"][0]["rolloutState"], "IN_PROGRESS");
    let tried = service["deployments"][0]["failedTasks"].as_i64().expect("a number");
    assert!((4..=9).contains(&tried), "{tried} in ten minutes");
    let trouble = "(service web) is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.";
    assert_eq!(sim.events().iter().filter(|event| *event == trouble).count(), 1);
}

#[test]
fn a_newer_deployment_supersedes_and_goes_back_to_the_last_good_one() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(2);
    sim.settle();
    let good = ids(&mut sim)[0].clone();
    let second = sim.register("v2");
    sim.call("UpdateService", json!({"service": "web", "taskDefinition": second}));
    sim.step();
    let third = sim.register("v3");
    sim.crashing.insert("v3".into());
    sim.call("UpdateService", json!({"service": "web", "taskDefinition": third}));
    assert_eq!(ids(&mut sim).len(), 3);
    let list = sim.call("ListServiceDeployments", json!({"service": "web"}));
    let statuses: Vec<&Value> =
        list["serviceDeployments"].as_array().expect("a list").iter().map(|of| &of["status"]).collect();
    assert_eq!(statuses, ["PENDING", "STOPPED", "SUCCESSFUL"]);
    sim.settle();
    assert_eq!(ids(&mut sim), [good]);
    assert_eq!(sim.service_deployment()["status"], "ROLLBACK_SUCCESSFUL");
}

#[test]
fn a_service_deployment_can_be_stopped() {
    for (stop_type, during, after) in
        [("ROLLBACK", "ROLLBACK_REQUESTED", "ROLLBACK_SUCCESSFUL"), ("ABORT", "STOP_REQUESTED", "STOPPED")]
    {
        let mut sim = Sim::new();
        sim.register("v1");
        let mut input = super::service(1);
        input["deploymentConfiguration"] = json!({});
        sim.call("CreateService", input);
        sim.settle();
        let good = sim.service()["taskDefinition"].clone();
        let second = sim.register("v2");
        sim.missing.insert("v2".into());
        let reply = sim.call("UpdateService", json!({"service": "web", "taskDefinition": second}));
        sim.step();
        let arn = reply["service"]["currentServiceDeployment"].clone();
        sim.call("StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": stop_type}));
        assert_eq!(sim.service_deployment()["status"], during);
        sim.until(after, |sim| sim.service_deployment()["status"] == after);
        let running = sim.tasks("RUNNING");
        assert!(running.iter().any(|task| task["taskDefinitionArn"] == good), "{running:#?}");
        let error = sim.refused("StopServiceDeployment", json!({"serviceDeploymentArn": arn}));
        assert_eq!(error.code, "ConflictException");
    }
}

#[test]
fn scaling_makes_no_deployment() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(1);
    sim.settle();
    let before = ids(&mut sim);
    for desired in [4, 2, 0, 1] {
        sim.call("UpdateService", json!({"service": "web", "desiredCount": desired}));
        sim.settle();
        assert_eq!(sim.service()["runningCount"], desired);
        assert_eq!(sim.tasks("RUNNING").len() as i64, desired);
    }
    assert_eq!(ids(&mut sim), before);
}

#[test]
fn tasks_that_end_or_fall_ill_are_replaced() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(2);
    sim.settle();
    let task_id = sim.state.ecs.tasks.keys().next().expect("a task").clone();
    sim.observe(Observation::Exited { task_id, container: "app".into(), exit_code: 137, oom_killed: true });
    sim.settle();
    sim.seconds(120);
    assert_eq!(sim.service()["runningCount"], 2);
    let stopped = sim.tasks("STOPPED");
    assert_eq!(stopped[0]["containers"][0]["reason"], "OutOfMemoryError: Container killed due to memory usage");
    sim.sick.insert("v1".into());
    sim.until("replaced", |sim| sim.events().iter().any(|event| event.contains("replaced")));
    sim.sick.clear();
    sim.seconds(120);
    assert_eq!(sim.service()["runningCount"], 2);
    let suffix = " Amazon ECS replaced 2 tasks due to an unhealthy status.";
    assert!(sim.events().iter().any(|event| event.ends_with(suffix)), "{:#?}", sim.events());
    // After its completion a deployment has nothing to fail.
    assert_eq!(sim.service()["deployments"][0]["rolloutState"], "COMPLETED");
}
