//! Several container instances: where tasks go, and what happens when an instance is drained or leaves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Sim;

/// Registers further instances until there are so many; all ARNs.
fn instances(sim: &mut Sim, count: usize) -> Vec<String> {
    while arns(sim, json!({})).len() < count {
        sim.call("RegisterContainerInstance", json!({}));
    }
    arns(sim, json!({}))
}

fn arns(sim: &mut Sim, input: Value) -> Vec<String> {
    let listed = sim.call("ListContainerInstances", input)["containerInstanceArns"].clone();
    serde_json::from_value(listed).expect("ARNs")
}

/// How many tasks each instance has.
fn spread(sim: &mut Sim) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for task in sim.tasks("RUNNING") {
        *counts.entry(task["containerInstanceArn"].as_str().expect("an instance").to_owned()).or_default() += 1;
    }
    counts
}

/// A service without a load balancer.
fn create(sim: &mut Sim, desired: i64, more: Value) {
    let mut input = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": desired});
    for (member, value) in more.as_object().expect("an object") {
        input[member] = value.clone();
    }
    sim.call("CreateService", input);
}

#[test]
fn strategies_order_the_instances() {
    let table = [
        (json!([{"type": "spread", "field": "instanceId"}]), vec![2, 2, 2]),
        (json!([{"type": "spread", "field": "attribute:ecs.availability-zone"}]), vec![2, 2, 2]),
        (json!([]), vec![2, 2, 2]),
        (json!([{"type": "binpack", "field": "memory"}]), vec![6]),
        (json!([{"type": "binpack", "field": "CPU"}]), vec![6]),
        (json!([{"type": "spread", "field": "attribute:rack"}, {"type": "binpack", "field": "memory"}]), vec![3, 3]),
    ];
    for (strategy, expected) in table {
        let mut sim = Sim::new();
        let all = instances(&mut sim, 3);
        for (instance, rack) in all.iter().zip(["one", "one", "two"]) {
            let attribute = json!({"name": "rack", "value": rack, "targetId": instance});
            sim.call("PutAttributes", json!({"attributes": [attribute]}));
        }
        // A task takes no CPU, and the smallest instance is as good as another.
        sim.register("v1");
        create(&mut sim, 6, json!({"placementStrategy": strategy}));
        sim.settle();
        let mut counts: Vec<usize> = spread(&mut sim).into_values().collect();
        counts.sort_unstable();
        if strategy[0]["field"] == "CPU" {
            // nothing is packed by what nobody takes
            assert_eq!(counts.iter().sum::<usize>(), 6);
            continue;
        }
        assert_eq!(counts, expected, "{strategy}");
    }
}

#[test]
fn a_random_strategy_uses_all_instances() {
    let mut sim = Sim::new();
    instances(&mut sim, 3);
    sim.register("v1");
    create(&mut sim, 40, json!({"placementStrategy": [{"type": "random"}]}));
    sim.settle();
    assert_eq!(spread(&mut sim).len(), 3);
}

#[test]
fn constraints_leave_some_instances() {
    let mut sim = Sim::new();
    let all = instances(&mut sim, 3);
    sim.call("PutAttributes", json!({"attributes": [{"name": "stack", "value": "prod", "targetId": all[1]}]}));
    sim.register("v1");
    let member = json!([{"type": "memberOf", "expression": "attribute:stack == prod"}]);
    create(&mut sim, 3, json!({"placementConstraints": member}));
    sim.settle();
    assert_eq!(spread(&mut sim), BTreeMap::from([(all[1].clone(), 3)]));
    let nowhere = json!([{"type": "memberOf", "expression": "attribute:stack == test"}]);
    let reply = sim.call("RunTask", json!({"taskDefinition": "web", "placementConstraints": nowhere}));
    assert_eq!(reply["tasks"], json!([]));
    assert_eq!(reply["failures"][0]["reason"], "MemberOf placement constraint unsatisfied.");
    // The attribute goes, and no instance is left for the next task.
    sim.call("DeleteAttributes", json!({"attributes": [{"name": "stack", "targetId": all[1]}]}));
    sim.call("UpdateService", json!({"service": "web", "desiredCount": 4}));
    sim.seconds(5);
    let said = sim.events().pop().expect("an event");
    assert!(said.contains("encountered error \"MemberOf placement constraint unsatisfied.\"."), "{said}");
    // It comes back, and so does the room.
    sim.call("PutAttributes", json!({"attributes": [{"name": "stack", "value": "prod", "targetId": all[2]}]}));
    sim.settle();
    assert_eq!(spread(&mut sim).get(&all[2]), Some(&1));
}

#[test]
fn each_instance_has_one_of_distinct_tasks() {
    let mut sim = Sim::new();
    instances(&mut sim, 2);
    sim.register("v1");
    let constraints = json!([{"type": "distinctInstance"}]);
    let reply = sim.call("RunTask", json!({"taskDefinition": "web", "count": 3, "placementConstraints": constraints}));
    assert_eq!(reply["tasks"].as_array().map(Vec::len), Some(2));
    assert_eq!(reply["failures"][0]["reason"], "DistinctInstance placement constraint unsatisfied.");
    let of: BTreeSet<&str> =
        reply["tasks"].as_array().into_iter().flatten().filter_map(|of| of["containerInstanceArn"].as_str()).collect();
    assert_eq!(of.len(), 2);
}

#[test]
fn a_daemon_follows_its_cluster_s_instances() {
    let mut sim = Sim::new();
    let two = instances(&mut sim, 2);
    sim.register("v1");
    sim.call("CreateService", json!({"serviceName": "web", "taskDefinition": "web", "schedulingStrategy": "DAEMON"}));
    sim.settle();
    assert_eq!(spread(&mut sim).into_values().collect::<Vec<_>>(), [1, 1]);
    instances(&mut sim, 3);
    sim.until("a third", |sim| spread(sim).len() == 3);
    sim.call("DeregisterContainerInstance", json!({"containerInstance": two[0], "force": true}));
    sim.until("two again", |sim| sim.service()["runningCount"] == 2 && sim.service()["desiredCount"] == 2);
}

#[test]
fn a_drained_instance_loses_its_tasks_one_replaced_after_the_other() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(4);
    sim.settle();
    let first = arns(&mut sim, json!({}))[0].clone();
    let all = instances(&mut sim, 2);
    let second = all.iter().find(|arn| **arn != first).expect("another").clone();
    let lone = sim.call("RunTask", json!({"taskDefinition": "web", "placementConstraints": [{"type": "memberOf", "expression": "task:group == service:web"}]}));
    assert_eq!(lone["tasks"][0]["containerInstanceArn"], json!(first));
    sim.watch = true;
    let reply =
        sim.call("UpdateContainerInstancesState", json!({"containerInstances": [first, "none"], "status": "DRAINING"}));
    assert_eq!(reply["containerInstances"][0]["status"], "DRAINING");
    assert_eq!(reply["failures"][0]["reason"], "MISSING");
    assert_eq!(arns(&mut sim, json!({"status": "DRAINING"})), std::slice::from_ref(&first));
    sim.step();
    sim.settle();
    assert_eq!(sim.fewest_healthy, 4, "none is missed meanwhile");
    let service: Vec<Value> = sim.tasks("RUNNING").into_iter().filter(|of| of["group"] == "service:web").collect();
    assert_eq!(service.len(), 4);
    assert!(service.iter().all(|task| task["containerInstanceArn"] == json!(second)), "{service:#?}");
    let alone: Vec<Value> = sim.tasks("RUNNING").into_iter().filter(|of| of["group"] == "family:web").collect();
    assert_eq!(alone.len(), 1, "a task of no service stays");
    let refused = sim.refused("DeregisterContainerInstance", json!({"containerInstance": first}));
    assert_eq!(refused.message, "Found running tasks on the instance.");
    // ACTIVE again, it takes tasks again.
    sim.call("UpdateContainerInstancesState", json!({"containerInstances": [first], "status": "ACTIVE"}));
    sim.call("UpdateService", json!({"service": "web", "desiredCount": 6}));
    sim.settle();
    assert_eq!(spread(&mut sim).len(), 2);
}

#[test]
fn an_instance_that_is_drained_may_cost_what_the_minimum_allows() {
    let mut sim = Sim::new();
    sim.register("v1");
    create(&mut sim, 4, json!({"deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 100}}));
    sim.settle();
    let first = arns(&mut sim, json!({}))[0].clone();
    instances(&mut sim, 2);
    sim.call("UpdateContainerInstancesState", json!({"containerInstances": [first], "status": "DRAINING"}));
    sim.step();
    let stopping = sim.tasks("STOPPED").len();
    assert_eq!(stopping, 2, "half of them may go at once");
    sim.settle();
    assert!(!spread(&mut sim).contains_key(&first));
}

#[test]
fn what_leaves_by_force_is_replaced_elsewhere() {
    let mut sim = Sim::new();
    sim.register("v1");
    sim.create(2);
    sim.settle();
    let first = arns(&mut sim, json!({}))[0].clone();
    let reply = sim.call("DeregisterContainerInstance", json!({"containerInstance": first, "force": true}));
    assert_eq!(reply["containerInstance"]["status"], "INACTIVE");
    assert_eq!(arns(&mut sim, json!({})), [""; 0]);
    sim.seconds(5);
    let said = sim.events().pop().expect("an event");
    assert!(said.contains("No Container Instances were found in your cluster."), "{said}");
    let again = sim.call("RegisterContainerInstance", json!({}))["containerInstance"]["containerInstanceArn"].clone();
    sim.settle();
    assert!(sim.tasks("RUNNING").iter().all(|task| task["containerInstanceArn"] == again));
    let input = json!({"containerInstance": first});
    assert_eq!(sim.refused("DeregisterContainerInstance", input).code, "InvalidParameterException");
}

#[test]
fn a_task_starts_on_the_instances_that_it_is_started_on() {
    let mut sim = Sim::new();
    let all = instances(&mut sim, 3);
    sim.register("v1");
    sim.call("UpdateContainerInstancesState", json!({"containerInstances": [all[2]], "status": "DRAINING"}));
    let input =
        json!({"taskDefinition": "web", "containerInstances": [all[0], all[1], all[2], "none"], "startedBy": "me"});
    let reply = sim.call("StartTask", input);
    let of: Vec<&Value> =
        reply["tasks"].as_array().into_iter().flatten().map(|of| &of["containerInstanceArn"]).collect();
    assert_eq!(of, [&json!(all[0]), &json!(all[1])]);
    assert_eq!(
        (&reply["failures"][0]["reason"], &reply["failures"][1]["reason"]),
        (&json!("DRAINING"), &json!("MISSING"))
    );
    let large = json!({"family": "large", "containerDefinitions": [{"name": "app", "image": "v1", "memory": 3800}]});
    sim.call("RegisterTaskDefinition", large);
    let reply = sim.call("StartTask", json!({"taskDefinition": "large", "containerInstances": [all[0]]}));
    assert_eq!(reply["failures"], json!([{"arn": all[0], "reason": "RESOURCE:MEMORY"}]));
}

#[test]
fn instances_are_listed_by_what_is_known_of_them() {
    let mut sim = Sim::new();
    let all = instances(&mut sim, 3);
    let attributes =
        json!([{"name": "stack", "value": "prod", "targetId": all[0]}, {"name": "gpu", "targetId": all[1]}]);
    let put = sim.call("PutAttributes", json!({"attributes": attributes}));
    let full = json!({"name": "stack", "value": "prod", "targetType": "container-instance", "targetId": all[0]});
    assert_eq!(put["attributes"][0], full);
    let listed = |sim: &mut Sim, filter: &str| arns(sim, json!({"filter": filter}));
    assert_eq!(listed(&mut sim, "attribute:stack == prod"), [all[0].clone()]);
    assert_eq!(listed(&mut sim, "attribute:gpu exists"), [all[1].clone()]);
    assert_eq!(listed(&mut sim, "runningTasksCount == 0 and attribute:ecs.os-type == linux").len(), 3);
    let zones: BTreeSet<String> = sim
        .call("ListAttributes", json!({"targetType": "container-instance", "attributeName": "ecs.availability-zone"}))
        ["attributes"]
        .as_array()
        .expect("attributes")
        .iter()
        .map(|of| of["value"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(zones, BTreeSet::from(["us-west-2a", "us-west-2b", "us-west-2c"].map(str::to_owned)));
    let by_value = json!({"targetType": "container-instance", "attributeName": "stack", "attributeValue": "prod"});
    assert_eq!(sim.call("ListAttributes", by_value)["attributes"], json!([full]));
    let page = sim.call("ListAttributes", json!({"targetType": "container-instance", "maxResults": 2}));
    assert_eq!(page["attributes"].as_array().map(Vec::len), Some(2));
    assert!(page["nextToken"].is_string());
    let many: Vec<Value> = (0..10).map(|at| json!({"name": format!("a{at}"), "targetId": all[0]})).collect();
    assert_eq!(sim.refused("PutAttributes", json!({"attributes": many})).code, "AttributeLimitExceededException");
    let nobody = json!({"attributes": [{"name": "a", "targetId": "none"}]});
    assert_eq!(sim.refused("PutAttributes", nobody).code, "TargetNotFoundException");
    assert_eq!(
        sim.refused("ListContainerInstances", json!({"filter": "attribute:"})).code,
        "InvalidParameterException"
    );
}

#[test]
fn an_instance_registers_what_it_has() {
    let mut sim = Sim::new();
    let resource = |name: &str, value: i64| json!({"name": name, "type": "INTEGER", "integerValue": value});
    let input = json!({
        "totalResources": [resource("CPU", 512), resource("MEMORY", 100)],
        "attributes": [{"name": "stack", "value": "small"}],
        "tags": [{"key": "a", "value": "b"}],
    });
    let instance = sim.call("RegisterContainerInstance", input)["containerInstance"].clone();
    assert_eq!(instance["registeredResources"][1]["integerValue"], 100);
    assert_eq!(instance["tags"], json!([{"key": "a", "value": "b"}]));
    sim.register("v1");
    let here = json!([{"type": "memberOf", "expression": "attribute:stack == small"}]);
    let reply = sim.call("RunTask", json!({"taskDefinition": "web", "count": 2, "placementConstraints": here}));
    assert_eq!(reply["tasks"][0]["containerInstanceArn"], instance["containerInstanceArn"]);
    assert_eq!(reply["failures"][0]["reason"], "RESOURCE:MEMORY");
}

#[test]
fn what_placement_refuses() {
    let constraint = |of: Value| json!({"placementConstraints": [of]});
    let strategy = |of: Value| json!({"placementStrategy": [of]});
    let cases = [
        (constraint(json!({"type": "memberOf"})), "The placement constraint memberOf needs an expression."),
        (
            constraint(json!({"type": "memberOf", "expression": "stack == prod"})),
            "Invalid expression in a placement constraint: stack == prod",
        ),
        (
            strategy(json!({"type": "binpack", "field": "disk"})),
            "Invalid field 'disk' for the placement strategy binpack.",
        ),
        (strategy(json!({"type": "spread"})), "Invalid field '' for the placement strategy spread."),
        (
            json!({"launchType": "FARGATE", "placementConstraints": [{"type": "distinctInstance"}]}),
            "Placement constraints are not supported with FARGATE launch type.",
        ),
        (
            json!({"launchType": "FARGATE", "placementStrategy": [{"type": "random"}]}),
            "Placement strategies are not supported with FARGATE launch type.",
        ),
        (
            json!({"schedulingStrategy": "DAEMON", "desiredCount": null, "placementStrategy": [{"type": "random"}]}),
            "The daemon scheduling strategy does not support placement strategies.",
        ),
    ];
    for (change, message) in cases {
        let mut sim = Sim::new();
        sim.register("v1");
        let mut input = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1});
        for (member, value) in change.as_object().expect("an object") {
            input[member] = value.clone();
        }
        assert_eq!(sim.refused("CreateService", input).message, message);
    }
}
