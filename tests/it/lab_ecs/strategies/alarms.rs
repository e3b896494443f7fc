//! Alarms of deployments that shift traffic.

use serde_json::json;

use super::{PRODUCTION, TEST, deploy, is_over, serving, steady, until_stage, weights};
use crate::lab_ecs::alarms::{ALARM, set_alarm};

#[test]
fn an_alarm_gives_traffic_back_at_every_stage_up_to_the_bake_time() {
    let alarms = json!({"alarmNames": [ALARM], "enable": true, "rollback": true});
    let canary = json!({"canaryPercent": 10.0, "canaryBakeTimeInMinutes": 2});
    let linear = json!({"stepPercent": 50.0, "stepBakeTimeInMinutes": 2});
    let table = [
        (json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5}), "POST_SCALE_UP", 0.0),
        (json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5}), "BAKE_TIME", 100.0),
        (json!({"strategy": "CANARY", "canaryConfiguration": canary}), "PRODUCTION_TRAFFIC_SHIFT", 10.0),
        (json!({"strategy": "LINEAR", "linearConfiguration": linear}), "PRODUCTION_TRAFFIC_SHIFT", 50.0),
        (json!({"strategy": "LINEAR", "linearConfiguration": linear}), "BAKE_TIME", 100.0),
    ];
    for (mut configuration, stage, share) in table {
        configuration["alarms"] = alarms.clone();
        let (mut sim, second) = steady(configuration.clone());
        set_alarm(&mut sim, ALARM, "OK");
        deploy(&mut sim, &second);
        until_stage(&mut sim, stage, share);
        assert_eq!(sim.service_deployment()["alarms"]["status"], "MONITORING");
        set_alarm(&mut sim, ALARM, "ALARM");
        sim.step();
        assert_eq!((weights(&sim, PRODUCTION), weights(&sim, TEST)), ((0, 100), (0, 100)), "{stage} {configuration}");
        sim.until("back", |sim| {
            assert!(!serving(sim).contains(&0));
            is_over(&sim.service_deployment())
        });
        let deployment = sim.service_deployment();
        assert_eq!(deployment["status"], "ROLLBACK_SUCCESSFUL", "{stage} {configuration}");
        assert_eq!(deployment["alarms"]["triggeredAlarmNames"], json!([ALARM]));
    }
}

#[test]
fn without_a_bake_time_of_its_own_a_shift_bakes_as_long_as_its_alarms_take() {
    for (given, seconds) in [(None, 120), (Some(10), 600)] {
        let mut configuration =
            json!({"strategy": "BLUE_GREEN", "alarms": {"alarmNames": [ALARM], "enable": true, "rollback": true}});
        if let Some(minutes) = given {
            configuration["bakeTimeInMinutes"] = json!(minutes);
        }
        let (mut sim, second) = steady(configuration);
        set_alarm(&mut sim, ALARM, "OK");
        deploy(&mut sim, &second);
        until_stage(&mut sim, "BAKE_TIME", 100.0);
        let since = sim.now;
        until_stage(&mut sim, "CLEAN_UP", 100.0);
        let baked = (sim.now - since) / 1000;
        assert!((seconds - 2..=seconds + 2).contains(&baked), "{baked} s of {seconds}");
        // From here on nothing is left to go back to at once: an alarm is too late.
        set_alarm(&mut sim, ALARM, "ALARM");
        sim.until("over", |sim| is_over(&sim.service_deployment()));
        assert_eq!(sim.service_deployment()["status"], "SUCCESSFUL");
    }
}
