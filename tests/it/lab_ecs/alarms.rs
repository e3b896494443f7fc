//! Deployment alarms of rolling updates. Those of deployments that shift traffic are with these.

use serde_json::{Value, json};
use steadystate::lab::cloudwatch::Alarm;

use super::{Sim, service};

pub const ALARM: &str = "web-5xx";

/// Makes an alarm that looks at its metric for two minutes, or sets it.
pub fn set_alarm(sim: &mut Sim, name: &str, value: &str) {
    let configuration = json!({"Period": 60, "EvaluationPeriods": 2});
    let configuration = configuration.as_object().expect("members").clone();
    let alarm = Alarm { configuration, value: value.into(), ..Alarm::default() };
    sim.state.cloudwatch.alarms.insert(name.into(), alarm);
}

/// A steady service with these members in its deployment configuration, and a release that is not deployed yet.
fn steady(configuration: Value) -> (Sim, String) {
    let mut sim = Sim::new();
    set_alarm(&mut sim, ALARM, "OK");
    sim.register("v1");
    let mut input = service(2);
    let members = configuration.as_object().expect("members").clone();
    input["deploymentConfiguration"].as_object_mut().expect("members").extend(members);
    sim.call("CreateService", input);
    sim.settle();
    let second = sim.register("v2");
    (sim, second)
}

fn with(rollback: bool) -> Value {
    json!({"alarms": {"alarmNames": [ALARM, "not-made-yet"], "enable": true, "rollback": rollback}})
}

fn deploy(sim: &mut Sim, definition: &str) {
    sim.call("UpdateService", json!({"service": "web", "taskDefinition": definition}));
}

fn alarms(sim: &mut Sim) -> Value {
    sim.service_deployment()["alarms"].clone()
}

fn is_over(sim: &mut Sim) -> bool {
    sim.service()["currentServiceDeployment"].is_null()
}

fn until_running(sim: &mut Sim) {
    sim.until("a new task runs", |sim| sim.service()["deployments"][0]["runningCount"].as_i64() > Some(0));
}

#[test]
fn an_alarm_rolls_back_while_tasks_are_replaced_and_while_the_release_bakes() {
    for baking in [false, true] {
        let (mut sim, second) = steady(with(true));
        let first = sim.service()["deployments"][0]["id"].as_str().expect("an id").to_owned();
        deploy(&mut sim, &second);
        sim.step();
        let names = json!([ALARM, "not-made-yet"]);
        assert_eq!(alarms(&mut sim), json!({"status": "MONITORING", "alarmNames": names}));
        if baking {
            sim.until("all are replaced", |sim| sim.service()["deployments"][1]["runningCount"] == 0);
            sim.seconds(60);
            assert!(!is_over(&mut sim), "it bakes for the alarm's two minutes");
            assert_eq!(sim.service()["deployments"][0]["rolloutState"], "IN_PROGRESS");
        } else {
            until_running(&mut sim);
        }
        let failed = sim.service()["deployments"][0]["id"].as_str().expect("an id").to_owned();
        set_alarm(&mut sim, ALARM, "ALARM");
        sim.step();
        let service = sim.service();
        let told = |id: &str| {
            let found = service["deployments"].as_array().expect("a list").iter().find(|of| of["id"] == id);
            let of = found.expect("a deployment");
            (of["status"].clone(), of["rolloutState"].clone(), of["rolloutStateReason"].clone())
        };
        assert_eq!(told(&failed), (json!("ACTIVE"), json!("FAILED"), json!("ECS deployment alarm: alarm detected.")));
        let back = format!("ECS deployment alarm: rolling back to deploymentId {first}.");
        assert_eq!(told(&first), (json!("PRIMARY"), json!("IN_PROGRESS"), json!(back)));
        let events = sim.events();
        let at =
            |event: String| events.iter().position(|of| *of == event).unwrap_or_else(|| panic!("{event}: {events:#?}"));
        let failed_at = at(format!("(service web) (deployment {failed}) deployment failed: alarm detected."));
        assert_eq!(at(format!("(service web) rolling back to deployment {first}.")), failed_at + 1);
        sim.settle();
        let deployment = sim.service_deployment();
        assert_eq!(deployment["status"], "ROLLBACK_SUCCESSFUL");
        let triggered = json!({"status": "TRIGGERED", "alarmNames": names, "triggeredAlarmNames": [ALARM]});
        assert_eq!(deployment["alarms"], triggered);
        assert_eq!(deployment["deploymentCircuitBreaker"]["status"], "MONITORING_COMPLETE");
        assert_eq!(
            deployment["rollback"]["reason"],
            "Service deployment rolled back because one or more alarms were triggered."
        );
    }
}

#[test]
fn without_an_alarm_the_deployment_completes_after_its_bake_time() {
    // Given in minutes, else as long as the slowest alarm takes: of those that are there, at least one minute.
    for (bake, seconds) in [(None, 120), (Some(0), 0), (Some(7), 420)] {
        let mut configuration = with(true);
        if let Some(minutes) = bake {
            configuration["bakeTimeInMinutes"] = json!(minutes);
        }
        let (mut sim, second) = steady(configuration);
        deploy(&mut sim, &second);
        sim.until("all are replaced", |sim| {
            let service = sim.service();
            let done = service["deployments"][1]["runningCount"] == 0
                || service["deployments"].as_array().is_some_and(|of| of.len() == 1);
            done && sim.tasks("STOPPED").len() == 2
        });
        let since = sim.now;
        sim.until("completed", is_over);
        let baked = (sim.now - since) / 1000;
        assert!((seconds - 5..=seconds + 5).contains(&baked), "{baked} s of {seconds}");
        let deployment = sim.service_deployment();
        assert_eq!(
            (&deployment["status"], &deployment["alarms"]["status"]),
            (&json!("SUCCESSFUL"), &json!("MONITORING_COMPLETE"))
        );
        set_alarm(&mut sim, ALARM, "ALARM");
        sim.seconds(60);
        assert_eq!(sim.service()["deployments"].as_array().map(Vec::len), Some(1), "what is over is not watched");
    }
}

#[test]
fn an_alarm_that_is_on_already_is_not_watched_for_that_deployment() {
    let (mut sim, second) = steady(with(true));
    set_alarm(&mut sim, ALARM, "ALARM");
    deploy(&mut sim, &second);
    sim.settle();
    assert_eq!(sim.service_deployment()["status"], "SUCCESSFUL");
    assert_eq!(alarms(&mut sim)["status"], "DISABLED");
    set_alarm(&mut sim, ALARM, "OK");
    sim.call("UpdateService", json!({"service": "web", "forceNewDeployment": true}));
    sim.step();
    assert_eq!(alarms(&mut sim)["status"], "MONITORING", "the next one is");
}

#[test]
fn without_rollback_an_alarm_only_ends_the_deployment() {
    let (mut sim, second) = steady(with(false));
    deploy(&mut sim, &second);
    until_running(&mut sim);
    set_alarm(&mut sim, ALARM, "ALARM");
    sim.until("over", is_over);
    let deployment = sim.service_deployment();
    assert_eq!(deployment["status"], "STOPPED");
    assert_eq!(deployment["statusReason"], "Service deployment stopped because one or more alarms were triggered.");
    let before = sim.state.ecs.tasks.len();
    sim.seconds(120);
    assert_eq!(sim.state.ecs.tasks.len(), before, "a failed deployment starts no tasks");
    assert_eq!(sim.service()["deployments"][0]["rolloutState"], "FAILED");
}

#[test]
fn circuit_breaker_and_alarms_both_end_a_deployment_whichever_is_first() {
    let (mut sim, _) = steady(with(false));
    sim.crashing.insert("crash".into());
    let bad = sim.register("crash");
    deploy(&mut sim, &bad);
    sim.settle();
    let deployment = sim.service_deployment();
    assert_eq!(deployment["status"], "ROLLBACK_SUCCESSFUL", "the breaker rolls back, though the alarms would not");
    assert_eq!(deployment["deploymentCircuitBreaker"]["status"], "TRIGGERED");
    assert_eq!(deployment["alarms"]["status"], "MONITORING_COMPLETE");
    // An alarm that comes on while the service goes back changes nothing.
    let (mut sim, _) = steady(with(true));
    sim.crashing.insert("crash".into());
    let bad = sim.register("crash");
    deploy(&mut sim, &bad);
    sim.until("going back", |sim| sim.service_deployment()["status"] == "ROLLBACK_IN_PROGRESS");
    set_alarm(&mut sim, ALARM, "ALARM");
    sim.settle();
    let deployment = sim.service_deployment();
    assert_eq!(
        (&deployment["status"], &deployment["alarms"]["triggeredAlarmNames"]),
        (&json!("ROLLBACK_SUCCESSFUL"), &Value::Null)
    );
}

#[test]
fn a_restart_of_the_lab_does_not_forget_what_bakes() {
    let (mut sim, second) = steady(with(true));
    deploy(&mut sim, &second);
    sim.until("all are replaced", |sim| sim.service()["deployments"][1]["runningCount"] == 0);
    sim.seconds(60);
    let state = serde_json::to_value(&sim.state).expect("JSON");
    sim.state = serde_json::from_value(state).expect("a state");
    set_alarm(&mut sim, ALARM, "ALARM");
    sim.settle();
    assert_eq!(sim.service_deployment()["status"], "ROLLBACK_SUCCESSFUL");
}

#[test]
fn alarms_are_checked_as_far_as_ecs_does() {
    let table = [
        (
            json!({"alarmNames": [], "enable": true, "rollback": true}),
            Some("alarmNames cannot be empty when deployment alarms are enabled."),
        ),
        (json!({"alarmNames": [], "enable": false, "rollback": false}), None),
        // CloudFormation makes an alarm on a service's metric after the service.
        (json!({"alarmNames": ["none"], "enable": true, "rollback": true}), None),
    ];
    for (alarms, refusal) in table {
        let mut sim = Sim::new();
        sim.register("v1");
        let mut input = service(1);
        input["deploymentConfiguration"]["alarms"] = alarms.clone();
        let refused = sim.try_call("CreateService", input).err();
        assert_eq!(refused.as_ref().map(|error| error.message.as_str()), refusal, "{alarms}");
        if refusal.is_none() {
            assert_eq!(sim.service()["deploymentConfiguration"]["alarms"], alarms);
        }
    }
}
