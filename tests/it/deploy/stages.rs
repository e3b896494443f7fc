//! How far a deployment is that shifts traffic, and what a pause does to whoever follows it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use steadystate::config::OnPause;
use steadystate::deploy::event::{Event, Events};
use steadystate::deploy::follow::stage::{Stage, StageTeller, bakes};
use steadystate::deploy::follow::steady::ServiceDeployment;
use steadystate::deploy::pause::{Pauses, by_itself};

use super::observations::with;

#[test]
fn what_is_left_to_bake_follows_from_strategy_stage_and_share() {
    let canary = json!({ "strategy": "CANARY", "bakeTimeInMinutes": 5, "canaryConfiguration": { "canaryPercent": 10.0, "canaryBakeTimeInMinutes": 20 } });
    let linear = json!({ "strategy": "LINEAR", "bakeTimeInMinutes": 5, "linearConfiguration": { "stepPercent": 40.0, "stepBakeTimeInMinutes": 3 } });
    let tenths = json!({ "strategy": "LINEAR", "linearConfiguration": { "stepPercent": 3.3 } });
    let blue_green = json!({ "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 7 });
    let shift = "PRODUCTION_TRAFFIC_SHIFT";
    let rows: Vec<(Value, &str, Option<f64>, Option<u64>)> = vec![
        (blue_green.clone(), "PRE_SCALE_UP", Some(0.0), Some(7)),
        (blue_green.clone(), shift, Some(100.0), Some(7)),
        (blue_green.clone(), "BAKE_TIME", Some(100.0), Some(7)),
        (blue_green.clone(), "CLEAN_UP", Some(100.0), Some(0)),
        (canary.clone(), "SCALE_UP", Some(0.0), Some(25)),
        (canary.clone(), shift, Some(10.0), Some(25)),
        (canary.clone(), shift, Some(100.0), Some(5)),
        (canary.clone(), "BAKE_TIME", Some(100.0), Some(5)),
        // 40 %, 80 % and 100 %: what is waited for is after the first two.
        (linear.clone(), "POST_SCALE_UP", Some(0.0), Some(11)),
        (linear.clone(), shift, Some(40.0), Some(11)),
        (linear.clone(), shift, Some(80.0), Some(8)),
        (linear.clone(), shift, Some(100.0), Some(5)),
        (tenths.clone(), shift, Some(99.0), Some(6)),
        // Nothing is known of what a newer ECS has, nor of a rolling deployment.
        (linear.clone(), "", None, None),
        (json!({ "strategy": "ROLLING", "bakeTimeInMinutes": 5 }), "SCALE_UP", None, None),
        (json!({ "strategy": "SPIRAL", "bakeTimeInMinutes": 5 }), shift, Some(50.0), None),
        // ECS's defaults.
        (json!({ "strategy": "CANARY" }), shift, Some(5.0), Some(10)),
        (json!({ "strategy": "LINEAR" }), "PRE_SCALE_UP", Some(0.0), Some(54)),
    ];
    for (configuration, stage, share, minutes) in rows {
        let expected = minutes.map(|minutes| Duration::from_secs(60 * minutes));
        assert_eq!(bakes(&configuration, stage, share), expected, "{configuration} {stage} {share:?}");
    }
}

fn reply() -> Value {
    json!({
        "status": "IN_PROGRESS",
        "lifecycleStage": "A_STAGE_FROM_THE_FUTURE",
        "deploymentConfiguration": { "strategy": "CANARY", "newer": {} },
        "targetServiceRevision": {
            "arn": "r2", "runningTaskCount": 2, "pendingTaskCount": 1,
            "requestedProductionTrafficWeight": 2.5, "requestedTestTrafficWeight": 100,
        },
        "sourceServiceRevisions": [
            { "arn": "r1", "runningTaskCount": 3, "requestedProductionTrafficWeight": 97.5 },
            { "arn": "r0", "runningTaskCount": 1 },
        ],
        "lifecycleHookDetails": [
            { "hookId": "h1", "targetType": "ORACLE", "status": "PONDERING", "targetArn": "arn:oracle" },
            { "hookId": "h2", "targetType": "PAUSE", "status": "AWAITING_ACTION", "expiresAt": 1.5, "timeoutAction": "SHRUG" },
        ],
        "alarms": { "status": "TRIGGERED", "alarmNames": ["a", "b"], "triggeredAlarmNames": ["b"] },
    })
}

#[test]
fn what_a_newer_ecs_answers_is_read_as_it_is() {
    let stage = Stage::of(&reply());
    assert_eq!((stage.strategy.as_str(), stage.name.as_str()), ("CANARY", "A_STAGE_FROM_THE_FUTURE"));
    assert_eq!(
        (stage.new.production, stage.new.test, stage.new.running, stage.new.pending),
        (Some(2.5), Some(100.0), 2, 1)
    );
    assert_eq!((stage.old.production, stage.old.test, stage.old.running), (Some(97.5), None, 4));
    assert_eq!(stage.pauses().map(|hook| hook.id.as_str()).collect::<Vec<_>>(), ["h2"]);
    // What has ended or goes back waits for nobody, though its hook stays as it was.
    for status in ["ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL", "STOPPED", "SUCCESSFUL"] {
        let mut reply = reply();
        reply["status"] = status.into();
        assert_eq!(Stage::of(&reply).pauses().count(), 0, "{status}");
    }
    assert_eq!(Stage::of(&Value::Null), Stage::default());
    assert_eq!(
        Stage::of(&json!({ "lifecycleStage": 7, "lifecycleHookDetails": "none", "alarms": [] })),
        Stage::default()
    );
    let half_an_hour = Some(Duration::from_secs(1799));
    assert_eq!(by_itself(half_an_hour, "ROLLBACK").unwrap(), "without an answer ECS rolls back in 30 min");
    assert_eq!(by_itself(half_an_hour, "SHRUG").unwrap(), "without an answer ECS does in 30 min what it calls SHRUG");
    assert_eq!(by_itself(None, "CONTINUE"), None);
}

#[test]
fn each_stage_and_each_hook_is_told_once() {
    let (events, mut told) = Events::channel();
    let mut teller = StageTeller::default();
    let mut stage = Stage::of(&reply());
    teller.tell(&stage, false, &events);
    teller.tell(&stage, false, &events);
    // More tasks are no other stage; another share is, and so is a hook's new state.
    stage.new.running = 3;
    teller.tell(&stage, false, &events);
    stage.new.production = Some(100.0);
    stage.hooks[1].status = "SUCCEEDED".into();
    teller.tell(&stage, false, &events);
    // A rolling deployment says why it waits though all its tasks run.
    let rolling = json!({ "alarms": { "status": "MONITORING", "alarmNames": ["web-5xx"] } });
    let rolling = Stage::of(&rolling);
    teller.tell(&rolling, false, &events);
    teller.tell(&rolling, true, &events);
    teller.tell(&rolling, true, &events);
    drop(events);
    let mut names = Vec::new();
    while let Ok(event) = told.try_recv() {
        names.push(match event {
            Event::Stage { production_traffic, .. } => format!("stage at {}", production_traffic.unwrap()),
            Event::Hook { id, status, hints, .. } => format!("hook {id} {status}, {} hints", hints.len()),
            Event::Notice { message } => message,
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(
        names,
        [
            "stage at 2.5",
            "hook h1 PONDERING, 0 hints",
            "hook h2 AWAITING_ACTION, 3 hints",
            "stage at 100",
            "hook h2 SUCCEEDED, 0 hints",
            "all tasks run; until its bake time is over, ECS watches the alarms web-5xx",
        ]
    );
}

#[test]
fn the_time_that_people_take_is_not_the_rollouts() {
    let pausing = with(|seen| {
        let stage = Stage::of(&reply());
        seen.service_deployment =
            Some(ServiceDeployment { status: "IN_PROGRESS".into(), stage, ..ServiceDeployment::default() });
    });
    let rolling = with(|_| {});
    let mut pauses = Pauses::default();
    let deadline = Instant::now() + Duration::from_secs(60);
    assert_eq!(pauses.deadline(deadline, &rolling, OnPause::Wait), deadline);
    assert_eq!(pauses.deadline(deadline, &pausing, OnPause::Wait), deadline);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(pauses.deadline(deadline, &pausing, OnPause::Wait), deadline);
    let later = pauses.deadline(deadline, &rolling, OnPause::Wait);
    assert!(later >= deadline + Duration::from_millis(30), "{:?}", later - deadline);
    assert_eq!(pauses.deadline(later, &rolling, OnPause::Wait), later);
    // A rollback that is under way waits for nobody.
    let mut back = pausing.clone();
    if let Some(deployment) = &mut back.service_deployment {
        deployment.status = "ROLLBACK_IN_PROGRESS".into();
    }
    assert_eq!(Pauses::default().deadline(deadline, &back, OnPause::Exit), deadline);
}
