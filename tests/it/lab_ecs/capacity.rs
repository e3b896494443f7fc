//! Capacity providers: how a strategy divides tasks, and Auto Scaling groups that grow.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use steadystate::lab::clock::{Clock, Pace};
use steadystate::lab::faults::Fault;
use steadystate::lab::scheduler::{Context, Effect, step};

use super::Sim;

fn group(scaling: &str) -> Value {
    json!({
        "autoScalingGroupArn": "arn:aws:autoscaling:us-west-2:000000000000:autoScalingGroup:1:autoScalingGroupName/lab",
        "managedScaling": {"status": scaling},
    })
}

/// A Fargate task definition, and the default cluster associated with these providers.
fn sim(providers: Value, default: Value) -> Sim {
    let mut sim = Sim::new();
    for name in providers.as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !name.starts_with("FARGATE") {
            sim.call("CreateCapacityProvider", json!({"name": name, "autoScalingGroupProvider": group("ENABLED")}));
        }
    }
    sim.call(
        "PutClusterCapacityProviders",
        json!({"cluster": "default", "capacityProviders": providers, "defaultCapacityProviderStrategy": default}),
    );
    sim.call(
        "RegisterTaskDefinition",
        json!({
            "family": "web", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
            "containerDefinitions": [{"name": "app", "image": "v1", "portMappings": [{"containerPort": 8080}]}],
        }),
    );
    sim
}

fn network(sim: &Sim) -> Value {
    json!({"awsvpcConfiguration": {"subnets": [sim.state.ec2.subnets[0].id]}})
}

fn counts(tasks: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for task in tasks {
        *counts.entry(task["capacityProviderName"].as_str().unwrap_or("none").to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn a_strategy_divides_tasks_by_base_and_weight() {
    let both = json!([
        {"capacityProvider": "FARGATE", "base": 1, "weight": 1},
        {"capacityProvider": "FARGATE_SPOT", "weight": 3},
    ]);
    let mut sim = sim(json!(["FARGATE", "FARGATE_SPOT"]), json!([]));
    let network = network(&sim);
    let run =
        json!({"taskDefinition": "web", "count": 9, "capacityProviderStrategy": both, "networkConfiguration": network});
    let tasks = sim.call("RunTask", run)["tasks"].as_array().cloned().expect("tasks");
    assert_eq!(counts(&tasks), BTreeMap::from([("FARGATE".to_owned(), 3), ("FARGATE_SPOT".to_owned(), 6)]));
    assert!(tasks.iter().all(|task| task["launchType"] == "FARGATE"));
    let create = json!({
        "serviceName": "web", "taskDefinition": "web", "desiredCount": 5, "capacityProviderStrategy": both,
        "networkConfiguration": network,
    });
    let service = sim.call("CreateService", create)["service"].clone();
    assert_eq!((&service["capacityProviderStrategy"], &service["launchType"]), (&both, &Value::Null));
    sim.settle();
    let ours = |sim: &mut Sim| {
        let tasks = sim.tasks("RUNNING").into_iter().filter(|task| task["group"] == "service:web");
        counts(&tasks.collect::<Vec<_>>())
    };
    assert_eq!(ours(&mut sim), BTreeMap::from([("FARGATE".to_owned(), 2), ("FARGATE_SPOT".to_owned(), 3)]));
    sim.call("UpdateService", json!({"service": "web", "desiredCount": 9}));
    sim.settle();
    assert_eq!(ours(&mut sim), BTreeMap::from([("FARGATE".to_owned(), 3), ("FARGATE_SPOT".to_owned(), 6)]));
    let refused = sim.refused(
        "PutClusterCapacityProviders",
        json!({"cluster": "default", "capacityProviders": ["FARGATE"], "defaultCapacityProviderStrategy": []}),
    );
    assert_eq!(refused.code, "ResourceInUseException");
    assert_eq!(refused.message, "The specified capacity provider is in use and cannot be removed.");
}

#[test]
fn who_names_neither_gets_the_cluster_s_default() {
    let mut sim = sim(json!(["FARGATE_SPOT"]), json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]));
    let network = network(&sim);
    let run = json!({"taskDefinition": "web", "networkConfiguration": network});
    assert_eq!(sim.call("RunTask", run)["tasks"][0]["capacityProviderName"], "FARGATE_SPOT");
    let run = json!({"taskDefinition": "web", "networkConfiguration": network, "launchType": "EC2"});
    let task = sim.call("RunTask", run)["tasks"][0].clone();
    assert_eq!((&task["capacityProviderName"], &task["launchType"]), (&Value::Null, &json!("EC2")));
}

#[test]
fn a_group_grows_with_its_tasks_as_far_as_it_may() {
    let mut sim = sim(json!(["group"]), json!([{"capacityProvider": "group", "weight": 1}]));
    let of_group = |sim: &mut Sim| {
        let all = sim.state.ecs.instances.values();
        all.filter(|instance| instance.capacity_provider.as_deref() == Some("group")).count()
    };
    assert_eq!(of_group(&mut sim), 1, "it begins with one");
    let container = json!({"name": "app", "image": "v1", "memory": 2000});
    sim.call("RegisterTaskDefinition", json!({"family": "large", "containerDefinitions": [container]}));
    let run = json!({"taskDefinition": "large", "count": 3});
    let tasks = sim.call("RunTask", run.clone())["tasks"].as_array().cloned().expect("tasks");
    assert_eq!(counts(&tasks), BTreeMap::from([("group".to_owned(), 3)]));
    assert_eq!(of_group(&mut sim), 3);
    assert!(tasks.iter().all(|task| task["launchType"] == "EC2"));
    // No instance would take this one.
    let container = json!({"name": "app", "image": "v1", "memory": 9000});
    sim.call("RegisterTaskDefinition", json!({"family": "huge", "containerDefinitions": [container]}));
    let reply = sim.call("RunTask", json!({"taskDefinition": "huge"}));
    assert_eq!(reply["failures"][0]["reason"], "RESOURCE:MEMORY");
    assert_eq!(of_group(&mut sim), 3);
    // Without managed scaling it stays as it is.
    let off = json!({"name": "group", "autoScalingGroupProvider": {"managedScaling": {"status": "DISABLED"}}});
    let provider = sim.call("UpdateCapacityProvider", off)["capacityProvider"].clone();
    assert_eq!(provider["autoScalingGroupProvider"]["managedScaling"]["status"], "DISABLED");
    assert_eq!(sim.call("RunTask", run)["failures"][0]["reason"], "RESOURCE:MEMORY");
}

#[test]
fn providers_are_described_and_go_when_nobody_uses_them() {
    let mut sim = sim(json!(["group", "FARGATE"]), json!([]));
    let reply = sim.call("DescribeCapacityProviders", json!({}));
    let names: Vec<&Value> =
        reply["capacityProviders"].as_array().into_iter().flatten().map(|of| &of["name"]).collect();
    assert_eq!(names, [&json!("FARGATE"), &json!("FARGATE_SPOT"), &json!("group")]);
    let arn = reply["capacityProviders"][2]["capacityProviderArn"].clone();
    sim.call("TagResource", json!({"resourceArn": arn, "tags": [{"key": "a", "value": "1"}]}));
    let tagged =
        sim.call("DescribeCapacityProviders", json!({"capacityProviders": [arn, "none"], "include": ["TAGS"]}));
    assert_eq!(tagged["capacityProviders"][0]["tags"], json!([{"key": "a", "value": "1"}]));
    assert_eq!(tagged["failures"][0]["reason"], "MISSING");
    let message = |sim: &mut Sim, operation: &str, input: Value| sim.refused(operation, input).message;
    let delete = json!({"capacityProvider": arn});
    assert_eq!(
        message(&mut sim, "DeleteCapacityProvider", delete.clone()),
        "The specified capacity provider is in use and cannot be removed."
    );
    let again = json!({"name": "group", "autoScalingGroupProvider": group("ENABLED")});
    assert_eq!(
        message(&mut sim, "CreateCapacityProvider", again),
        "The specified capacity provider already exists. To change the configuration of an existing capacity provider, update the capacity provider."
    );
    sim.call(
        "PutClusterCapacityProviders",
        json!({"cluster": "default", "capacityProviders": [], "defaultCapacityProviderStrategy": []}),
    );
    sim.call("DeleteCapacityProvider", delete);
    assert_eq!(sim.call("DescribeCapacityProviders", json!({}))["capacityProviders"].as_array().map(Vec::len), Some(2));
    assert!(sim.state.ecs.instances.values().all(|instance| instance.capacity_provider.is_none()));
}

#[test]
fn what_strategies_refuse() {
    let item = |name: &str, weight: i64| json!({"capacityProvider": name, "weight": weight});
    let cases = [
        (
            json!({"capacityProviderStrategy": [item("none", 1)]}),
            "The specified capacity provider strategy contains a capacity provider that is not associated with the cluster. Associate the capacity provider with the cluster and try again.",
        ),
        (
            json!({"capacityProviderStrategy": [item("FARGATE", 1), item("group", 1)]}),
            "A capacity provider strategy cannot contain a mix of capacity providers using Auto Scaling groups and Fargate providers. Specify one or the other and try again.",
        ),
        (
            json!({"capacityProviderStrategy": [item("FARGATE", 0)]}),
            "The specified capacity provider strategy does not contain any capacity providers with a weight value greater than zero. Specify a capacity provider with a weight value greater than zero and try again.",
        ),
        (
            json!({"capacityProviderStrategy": [item("FARGATE", 1)], "launchType": "FARGATE"}),
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        ),
        (
            json!({"capacityProviderStrategy": [{"capacityProvider": "FARGATE", "base": 1}, {"capacityProvider": "FARGATE_SPOT", "base": 1}]}),
            "Only one capacity provider in a capacity provider strategy can have a base defined.",
        ),
    ];
    let mut sim = sim(json!(["group", "FARGATE", "FARGATE_SPOT"]), json!([]));
    for (change, message) in cases {
        for operation in ["RunTask", "CreateService"] {
            let mut input = json!({"taskDefinition": "web", "networkConfiguration": network(&sim)});
            if operation == "CreateService" {
                (input["serviceName"], input["desiredCount"]) = (json!("web"), json!(1));
            }
            for (member, value) in change.as_object().expect("an object") {
                input[member] = value.clone();
            }
            let error = sim.refused(operation, input);
            assert_eq!((error.code.as_str(), error.message.as_str()), ("InvalidParameterException", message));
        }
    }
    let input = json!({"cluster": "default", "capacityProviders": ["none"], "defaultCapacityProviderStrategy": []});
    let message = "The specified capacity provider was not found. Specify a valid capacity provider and try again.";
    assert_eq!(sim.refused("PutClusterCapacityProviders", input).message, message);
    for name in ["aws-x", "ecsThing", "Fargate1", "a b"] {
        let input = json!({"name": name, "autoScalingGroupProvider": group("ENABLED")});
        assert_eq!(sim.refused("CreateCapacityProvider", input).code, "ClientException", "{name}");
    }
}

#[test]
fn a_daemon_is_on_an_instance_that_a_group_adds() {
    let mut sim = sim(json!(["group"]), json!([{"capacityProvider": "group", "weight": 1}]));
    let plain = |memory: i64| json!([{"name": "app", "image": "v1", "memory": memory}]);
    sim.call("RegisterTaskDefinition", json!({"family": "small", "containerDefinitions": plain(16)}));
    sim.call("RegisterTaskDefinition", json!({"family": "large", "containerDefinitions": plain(3000)}));
    let daemon =
        json!({"serviceName": "web", "taskDefinition": "small", "schedulingStrategy": "DAEMON", "launchType": "EC2"});
    sim.call("CreateService", daemon);
    sim.settle();
    assert_eq!(sim.service()["runningCount"], 2, "the cluster's own instance, and the group's");
    sim.call("RunTask", json!({"taskDefinition": "large", "count": 2}));
    sim.until("a third", |sim| sim.service()["runningCount"] == 3);
}

#[test]
fn services_are_listed_by_what_their_providers_are() {
    let mut sim = sim(json!(["FARGATE_SPOT"]), json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]));
    let network = network(&sim);
    sim.call(
        "CreateService",
        json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 0, "networkConfiguration": network}),
    );
    let count = |sim: &mut Sim, launch: &str| {
        sim.call("ListServices", json!({"launchType": launch}))["serviceArns"].as_array().map(Vec::len)
    };
    assert_eq!((count(&mut sim, "FARGATE"), count(&mut sim, "EC2")), (Some(1), Some(0)));
}

fn trouble(sim: &Sim, fault: Value) -> u64 {
    let fault: Fault = serde_json::from_value(fault).expect("a fault");
    fault.check().expect("it can be meant");
    sim.state.faults.add(fault)["id"].as_u64().expect("an id")
}

/// A service of `desired` tasks, one of them on FARGATE and the others on FARGATE_SPOT, behind a load balancer whose
/// targets drain for five minutes.
fn on_spot(desired: i64) -> Sim {
    let mut sim = sim(json!(["FARGATE", "FARGATE_SPOT"]), json!([]));
    sim.draining = 300_000;
    let strategy = json!([
        {"capacityProvider": "FARGATE", "base": 1, "weight": 0},
        {"capacityProvider": "FARGATE_SPOT", "weight": 1},
    ]);
    let create = json!({
        "serviceName": "web", "taskDefinition": "web", "desiredCount": desired, "capacityProviderStrategy": strategy,
        "networkConfiguration": network(&sim),
        "loadBalancers": [{"targetGroupArn": "arn:ips", "containerName": "app", "containerPort": 8080}],
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true}},
    });
    sim.call("CreateService", create);
    sim.settle();
    sim
}

fn divided(sim: &mut Sim) -> (usize, usize) {
    let counts = counts(&sim.tasks("RUNNING"));
    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
    (of("FARGATE"), of("FARGATE_SPOT"))
}

#[test]
fn spot_capacity_that_is_taken_back_takes_its_tasks() {
    for kind in ["interrupt-spot", "lose-capacity"] {
        let mut sim = on_spot(3);
        assert_eq!(divided(&mut sim), (1, 2), "{kind}");
        let on = if kind == "interrupt-spot" { "scheduler:InterruptTask" } else { "scheduler:PlaceTask" };
        let began = sim.now;
        let fault = trouble(&sim, json!({"kind": kind, "on": on}));
        sim.step();
        let stopping = sim.tasks("STOPPED");
        assert_eq!(stopping.len(), 2, "{kind}");
        for task in &stopping {
            let said = (&task["stopCode"], &task["stoppedReason"], &task["capacityProviderName"]);
            let interrupted =
                (&json!("SpotInterruption"), &json!("Your Spot Task was interrupted."), &json!("FARGATE_SPOT"));
            assert_eq!(said, interrupted, "{kind}");
        }
        // They have their SIGTERM at once, and do not wait for their targets, which drain for long.
        sim.until("stopped", |sim| sim.tasks("STOPPED").iter().all(|task| task["lastStatus"] == "STOPPED"));
        assert!(sim.now - began < 20_000, "{kind}: {} ms", sim.now - began);
        // What is on demand stays, and is no substitute.
        sim.seconds(120);
        assert_eq!(divided(&mut sim), (1, 0), "{kind}");
        let why = "was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or \
                   in a different availability zone. For more information";
        let told = sim.events().iter().filter(|event| event.contains(why)).count();
        assert_eq!(told, 1, "{kind}: {:#?}", sim.events());

        sim.state.faults.clear(Some(fault));
        sim.until("replaced", |sim| sim.service()["runningCount"] == 3);
        sim.settle();
        assert_eq!(divided(&mut sim), (1, 2), "{kind}");
        let service = sim.service();
        let primary = &service["deployments"][0];
        assert_eq!((&primary["rolloutState"], &primary["failedTasks"]), (&json!("COMPLETED"), &json!(0)), "{kind}");
    }
}

#[test]
fn so_many_interruptions_leave_room_for_others() {
    let mut sim = on_spot(4);
    let before: Vec<Value> = sim.tasks("RUNNING");
    trouble(&sim, json!({"kind": "interrupt-spot", "on": "scheduler:*", "count": 2}));
    sim.step();
    sim.until("replaced", |sim| sim.service()["runningCount"] == 4);
    sim.settle();
    let stopped = sim.tasks("STOPPED");
    assert_eq!(stopped.iter().map(|task| &task["stopCode"]).collect::<Vec<_>>(), ["SpotInterruption"; 2]);
    let after = sim.tasks("RUNNING");
    let stayed = after.iter().filter(|task| before.iter().any(|of| of["taskArn"] == task["taskArn"])).count();
    assert_eq!((divided(&mut sim), stayed), ((1, 3), 2));
    assert!(sim.events().iter().all(|event| !event.contains("was unable to place a task")));
    let faults = sim.state.faults.list();
    assert_eq!((&faults[0]["struck"], sim.state.faults.trouble_spot()), (&json!(2), false));
}

/// A container that takes no notice of SIGTERM is killed after its `stopTimeout`, and after two minutes at the latest.
#[test]
fn an_interrupted_task_has_two_minutes_at_most() {
    for (stop_timeout, expected) in [(json!(null), 30), (json!(90), 90), (json!(600), 120)] {
        let mut sim = sim(json!(["FARGATE_SPOT"]), json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]));
        let mut container = json!({"name": "app", "image": "v1", "stopTimeout": stop_timeout});
        container.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        let definition = json!({
            "family": "web", "networkMode": "awsvpc", "cpu": "256", "memory": "512", "containerDefinitions": [container],
        });
        sim.call("RegisterTaskDefinition", definition);
        let run = json!({"taskDefinition": "web", "networkConfiguration": network(&sim)});
        sim.call("RunTask", run);
        sim.until("running", |sim| sim.tasks("RUNNING").iter().all(|task| task["lastStatus"] == "RUNNING"));
        trouble(&sim, json!({"kind": "interrupt-spot", "on": "scheduler:InterruptTask"}));
        let context = Context { settings: &sim.settings, clock: Clock::new(Pace::Aws), now: sim.now };
        let effects = step(&mut sim.state, context).effects;
        let timeouts: Vec<u64> = effects
            .iter()
            .map(|effect| match effect {
                Effect::Stop { timeout, .. } => timeout.as_secs(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(timeouts, [expected], "{stop_timeout}");
    }
}
