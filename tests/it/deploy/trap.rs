//! Fixed host ports: when a rollout would wait for ever.

use serde_json::json;
use steadystate::deploy::service::trap::{deadlock, fixed_ports};

#[test]
fn fixed_host_ports_that_can_never_roll() {
    let definition = |mode: &str, port: i64| json!({ "networkMode": mode, "containerDefinitions": [{ "portMappings": [{ "hostPort": port, "containerPort": 80 }] }] });
    for (mode, port, expected) in
        [("", 80, vec![80]), ("bridge", 0, vec![]), ("host", 0, vec![80]), ("awsvpc", 80, vec![]), ("none", 80, vec![])]
    {
        assert_eq!(fixed_ports(&definition(mode, port)), expected, "{mode} {port}");
    }
    let service = |desired: i64, running: i64| json!({ "desiredCount": desired, "runningCount": running });
    let percent = |percent: i64| json!({ "deploymentConfiguration": { "minimumHealthyPercent": percent } });
    for (row, live, wanted, new, old, instances, expected) in [
        ("the trap", service(1, 1), json!({}), vec![80], vec![80], 1, Some(80)),
        ("a second instance", service(1, 1), json!({}), vec![80], vec![80], 2, None),
        ("dynamic now", service(1, 1), json!({}), vec![], vec![80], 1, None),
        ("dynamic before", service(1, 1), json!({}), vec![80], vec![], 1, None),
        ("another port", service(1, 1), json!({}), vec![81], vec![80], 1, None),
        ("min 0", service(1, 1), percent(0), vec![80], vec![80], 1, None),
        ("min 50 of 1 rounds up", service(1, 1), percent(50), vec![80], vec![80], 1, Some(80)),
        ("min 50 of 2", service(2, 2), percent(50), vec![80], vec![80], 2, None),
        ("two on two", service(2, 2), json!({}), vec![80], vec![80], 2, Some(80)),
        ("nothing runs", service(1, 0), json!({}), vec![80], vec![80], 1, None),
        ("scaled to 0 by this update", service(1, 1), json!({ "desiredCount": 0 }), vec![80], vec![80], 1, None),
    ] {
        assert_eq!(deadlock(&live, &wanted, &new, &old, instances), expected, "{row}");
    }
}
