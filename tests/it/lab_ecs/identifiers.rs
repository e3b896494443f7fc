//! Names that are ARNs: what they say beside the name has to be true as well.

use serde_json::{Value, json};

use super::{Sim, service};

#[test]
fn an_arn_means_what_it_says_and_nothing_else() {
    let mut sim = Sim::new();
    let definition = sim.register("v1");
    sim.create(1);
    sim.settle();
    let task = sim.tasks("RUNNING")[0]["taskArn"].as_str().expect("an ARN").to_owned();
    sim.call("CreateCluster", json!({"clusterName": "other"}));
    let arn = |region: &str, account: &str, rest: &str| format!("arn:aws:ecs:{region}:{account}:{rest}");
    let here = |rest: &str| arn("us-west-2", "000000000000", rest);
    let there = |rest: &str| arn("eu-west-1", "000000000000", rest);
    let theirs = |rest: &str| arn("us-west-2", "111122223333", rest);
    let (region, kind) = ("Invalid Region in ARN", "Unsupported resource type: cluster");
    let cluster = "Invalid identifier: Identifier is for cluster other. Your cluster is default";
    let turned = "Invalid identifier: Identifier is for cluster default. Your cluster is other";
    let length = "taskId length should be one of [32,36]";
    let long = "Long arn format must be used for tagging operations";
    let table = [
        ("DescribeClusters", json!({"clusters": [there("cluster/default")]}), region),
        ("ListServices", json!({"cluster": there("cluster/default")}), region),
        ("ListServices", json!({"cluster": here("service/default/web")}), "Unsupported resource type: service"),
        ("ListServices", json!({"cluster": "a b"}), "Cluster must match ^[a-zA-Z0-9\\-_]{1,255}$, but was a b"),
        ("DescribeServices", json!({"services": ["web", there("service/default/web")]}), region),
        ("DescribeServices", json!({"services": [here("service/other/web")]}), cluster),
        ("DescribeServices", json!({"services": ["other/web"]}), cluster),
        ("DescribeServices", json!({"services": [here("cluster/default")]}), kind),
        ("UpdateService", json!({"service": here("service/other/web"), "desiredCount": 2}), cluster),
        ("DeleteService", json!({"service": here("service/default/web"), "cluster": "other", "force": true}), turned),
        ("ListTasks", json!({"serviceName": here("service/other/web")}), cluster),
        ("DescribeTasks", json!({"tasks": [task], "cluster": "other"}), turned),
        ("DescribeTasks", json!({"tasks": ["None"]}), length),
        ("StopTask", json!({"task": "None"}), length),
        ("DescribeTaskDefinition", json!({"taskDefinition": there("task-definition/web:1")}), region),
        ("UpdateService", json!({"service": "web", "taskDefinition": there("task-definition/web:1")}), region),
        ("RunTask", json!({"taskDefinition": there("task-definition/web:1")}), region),
        ("ListTagsForResource", json!({"resourceArn": there("service/default/web")}), region),
        ("ListTagsForResource", json!({"resourceArn": here("service/web")}), long),
    ];
    for (operation, input, message) in table {
        let error = sim.refused(operation, input.clone());
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("InvalidParameterException", message),
            "{operation} {input}"
        );
    }
    let refused = sim.refused("DescribeTaskDefinition", json!({"taskDefinition": theirs("task-definition/web:1")}));
    assert_eq!(refused.code, "AccessDeniedException");
    assert!(refused.message.contains("user/steady-lab is not authorized to perform: ecs:DescribeTaskDefinition on"));
    // all as it was, and by its own ARNs there
    assert_eq!(sim.service()["desiredCount"], 1);
    let found = sim.call(
        "DescribeServices",
        json!({"services": [here("service/default/web"), here("service/web"), "default/web"], "cluster": here("cluster/default")}),
    );
    assert_eq!((found["services"].as_array().map(Vec::len), &found["failures"]), (Some(3), &json!([])));
    assert_eq!(sim.call("DescribeTasks", json!({"tasks": [task]}))["failures"], json!([]));
    assert_eq!(
        sim.call("DescribeTaskDefinition", json!({"taskDefinition": definition}))["taskDefinition"]["revision"],
        1
    );
}

#[test]
fn what_has_to_be_named_is_and_no_more_than_fits() {
    let mut sim = Sim::new();
    for (operation, member) in
        [("DeleteCluster", "cluster"), ("UpdateCluster", "cluster"), ("ListAttributes", "targetType")]
    {
        let message = format!("{member} cannot be null or empty.");
        assert_eq!(sim.refused(operation, json!({})).message, message, "{operation}");
    }
    sim.register("v1");
    let run = |member: &str, value: Value| json!({"taskDefinition": "web", member: value});
    let long = json!({"containerOverrides": [{"name": "app", "command": ["x".repeat(8192)]}]});
    let table = [
        (run("overrides", long), "Container Overrides length must be at most 8192"),
        (run("startedBy", json!("x".repeat(129))), "startedBy longer than 128."),
        (
            run("propagateTags", json!("SERVICE")),
            "A task that no service starts cannot propagate the tags of one: use TASK_DEFINITION.",
        ),
    ];
    for (input, message) in table {
        assert_eq!(sim.refused("RunTask", input).message, message);
    }
    let many: Vec<Value> = (0..101).map(|at| json!(format!("c{at}"))).collect();
    let error = sim.refused("DescribeClusters", json!({"clusters": many}));
    assert_eq!(error.message, "Clusters cannot have more than 100 elements.");
}

/// Who does not ask for the next page sees as little as at AWS.
#[test]
fn a_page_is_as_long_as_aws_s() {
    let mut sim = Sim::new();
    sim.register("v1");
    for at in 0..11 {
        let mut input = service(0);
        input["serviceName"] = json!(format!("web-{at}"));
        sim.call("CreateService", input);
        let group = json!({"autoScalingGroupArn": format!("group-{at}")});
        sim.call("CreateCapacityProvider", json!({"name": format!("lab-{at}"), "autoScalingGroupProvider": group}));
    }
    for _ in 0..20 {
        sim.call("UpdateService", json!({"service": "web-0", "forceNewDeployment": true}));
    }
    let table = [
        ("ListServices", json!({}), "serviceArns", 10, 1, 100),
        ("ListServiceDeployments", json!({"service": "web-0"}), "serviceDeployments", 20, 1, 100),
        ("DescribeCapacityProviders", json!({}), "capacityProviders", 10, 3, 10),
    ];
    for (operation, input, member, first, rest, limit) in table {
        let count = |reply: &Value| reply[member].as_array().map_or(0, Vec::len);
        let page = sim.call(operation, input.clone());
        let mut next = input.clone();
        next["nextToken"] = page["nextToken"].clone();
        assert_eq!((count(&page), count(&sim.call(operation, next))), (first, rest), "{operation}");
        let mut long = input;
        long["maxResults"] = json!(limit + 1);
        let message = format!("maxResults must be between 1 and {limit}.");
        assert_eq!(sim.refused(operation, long).message, message, "{operation}");
    }
    let error = sim.refused("ListAccountSettings", json!({"maxResults": 11}));
    assert_eq!(error.message, "maxResults must be between 1 and 10.");
}

/// What a service has of Service Connect and volumes is in its deployments.
#[test]
fn a_deployment_says_all_that_it_was_given() {
    let mut sim = Sim::new();
    sim.call(
        "RegisterTaskDefinition",
        json!({
            "family": "web", "volumes": [{"name": "data", "configuredAtLaunch": true}, {"name": "fixed"}],
            "containerDefinitions": [{
                "name": "app", "image": "v1", "memory": 64, "portMappings": [{"name": "http", "containerPort": 8080}],
            }],
        }),
    );
    let connect = json!({"enabled": true, "services": [{"portName": "http"}]});
    let volume = |name: &str| json!([{"name": name, "managedEBSVolume": {"roleArn": "arn:role", "sizeInGiB": 1}}]);
    let mut input = service(1);
    input["serviceConnectConfiguration"] = connect.clone();
    input["volumeConfigurations"] = volume("data");
    let table = [
        (
            "serviceConnectConfiguration",
            json!({"enabled": true, "namespace": "none"}),
            "The specified namespace was not found.",
        ),
        (
            "serviceConnectConfiguration",
            json!({"enabled": true, "services": [{"portName": "grpc"}]}),
            "The port name grpc is not defined in the task definition.",
        ),
        ("volumeConfigurations", volume("fixed"), "The volume fixed is not configuredAtLaunch in the task definition."),
        (
            "deploymentController",
            json!({"type": "CODE_DEPLOY"}),
            "The lab has no deployment controller CODE_DEPLOY: use ECS.",
        ),
        ("healthCheckGracePeriodSeconds", json!(-1), "The health check grace period cannot be negative."),
    ];
    for (member, value, message) in &table {
        let mut wrong = input.clone();
        wrong[*member] = value.clone();
        assert_eq!(sim.refused("CreateService", wrong).message, *message);
    }
    let created = sim.call("CreateService", input)["service"]["deployments"][0].clone();
    assert_eq!(
        (&created["serviceConnectConfiguration"], &created["volumeConfigurations"]),
        (&connect, &volume("data"))
    );
    for (member, value, message) in &table {
        assert_eq!(sim.refused("UpdateService", json!({"service": "web", *member: value})).message, *message);
    }
    let cleared =
        json!({"service": "web", "volumeConfigurations": [], "serviceConnectConfiguration": {"enabled": false}});
    let updated = sim.call("UpdateService", cleared)["service"]["deployments"].clone();
    assert_eq!(updated[0]["serviceConnectConfiguration"], json!({"enabled": false}));
    assert_eq!(
        (&updated[0]["volumeConfigurations"], &updated[1]["volumeConfigurations"]),
        (&json!(null), &volume("data"))
    );
}
